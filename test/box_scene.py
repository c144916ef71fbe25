"""A floor with boxes on it and the exact depth that a camera sees of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.pose import Pose

FARTHEST_M = 15.0  # what looks past everything sees this far along the optical axis

Box = tuple[tuple[float, float, float], tuple[float, float, float]]


def true_depth(camera: Camera, mount: Pose, boxes: Sequence[Box]) -> np.ndarray:
    """(H, W) float32 metres along the optical axis, by intersecting every pixel's ray.

    Args:
        camera: pinhole.
        mount: base_from_camera; the floor is z = 0 of the base frame.
        boxes: lower and upper corner of each, metres in the base frame.
    """
    v, u = np.mgrid[: camera.height, : camera.width]
    rays = np.stack(
        [(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones(u.shape)], axis=-1
    )
    directions = rays @ mount.rotation.T
    with np.errstate(divide="ignore"):
        depth = np.where(directions[..., 2] < 0, -mount.translation[2] / directions[..., 2], np.inf)
        for corners in boxes:
            bounds = (np.array(corners) - mount.translation)[:, None, None] / directions
            enter, leave = bounds.min(axis=0).max(axis=-1), bounds.max(axis=0).min(axis=-1)
            depth = np.where((enter > 0) & (enter < leave), np.minimum(depth, enter), depth)
    return np.minimum(depth, FARTHEST_M).astype(np.float32)
