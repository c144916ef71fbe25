"""True depth of a box-shaped room with boxes in it, by casting rays at flat faces."""

from __future__ import annotations

import numpy as np
from box_scene import before_boxes, enter_and_leave

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.rays import image_rays

CAMERA = Camera.from_horizontal_fov(128, 96, 1.2)
ROOM = ((-2.0, -2.5, 0.0), (6.0, 2.5, 2.6))  # low and high corner, metres, base frame


def room_depth(
    base_from_camera: Pose, boxes: list = (), camera: Camera = CAMERA, room: tuple = ROOM
) -> np.ndarray:
    """(H, W) float32 metres; boxes are (low corner, high corner) in the base frame, z = 0: floor.

    The camera must be inside the room and outside the boxes.
    """
    directions = image_rays(camera) @ base_from_camera.rotation.T
    _, depth = enter_and_leave(directions, base_from_camera.translation, room)
    return before_boxes(depth, directions, base_from_camera.translation, boxes).astype(np.float32)


def monocular(depth_m: np.ndarray, seed: int, spread: float = 0.03) -> np.ndarray:
    """Depth with the errors of a network: smooth over patches, in proportion to the depth."""
    rng = np.random.default_rng(seed)
    height, width = depth_m.shape
    patches = rng.normal(0, spread, (height // 8 + 1, width // 8 + 1))
    log_error = np.kron(patches, np.ones((8, 8)))[:height, :width]
    return (depth_m * np.exp(log_error)).astype(np.float32)
