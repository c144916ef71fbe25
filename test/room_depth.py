"""True depth of a box-shaped room with boxes in it, by casting rays at flat faces."""

from __future__ import annotations

import numpy as np

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.rays import pixel_rays

CAMERA = Camera.from_horizontal_fov(128, 96, 1.2)
ROOM = ((-2.0, -2.5, 0.0), (6.0, 2.5, 2.6))  # low and high corner, metres, base frame


def room_depth(
    base_from_camera: Pose, boxes: list = (), camera: Camera = CAMERA, room: tuple = ROOM
) -> np.ndarray:
    """(H, W) float32 metres; boxes are (low corner, high corner) in the base frame, z = 0: floor.

    The camera must be inside the room and outside the boxes.
    """
    columns, rows = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    rays = pixel_rays(camera, columns.ravel(), rows.ravel()) @ base_from_camera.rotation.T
    rays = np.where(rays == 0, 1e-12, rays)
    depth = _entry_and_exit(rays, base_from_camera.translation, *room)[1]
    for low, high in boxes:
        entry, leave = _entry_and_exit(rays, base_from_camera.translation, low, high)
        hit = (entry > 0) & (entry < leave)
        depth = np.where(hit, np.minimum(depth, entry), depth)
    return depth.reshape(camera.height, camera.width).astype(np.float32)


def _entry_and_exit(rays, origin, low, high) -> tuple[np.ndarray, np.ndarray]:
    """Slab method: where each ray enters and leaves an axis-aligned box, in ray lengths."""
    to_low, to_high = (np.asarray(low) - origin) / rays, (np.asarray(high) - origin) / rays
    return np.minimum(to_low, to_high).max(axis=1), np.maximum(to_low, to_high).min(axis=1)


def monocular(depth_m: np.ndarray, seed: int, spread: float = 0.03) -> np.ndarray:
    """Depth with the errors of a network: smooth over patches, in proportion to the depth."""
    rng = np.random.default_rng(seed)
    height, width = depth_m.shape
    patches = rng.normal(0, spread, (height // 8 + 1, width // 8 + 1))
    log_error = np.kron(patches, np.ones((8, 8)))[:height, :width]
    return (depth_m * np.exp(log_error)).astype(np.float32)
