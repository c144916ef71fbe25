# Copyright 2026 depthrefl_ros contributors
# SPDX-License-Identifier: Apache-2.0
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""Depth becomes points in the camera's optical frame: z forward, x right, y down (REP-103)."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.tables import frozen, table

_LARGEST_INT32 = 2**31 - 1
_BLOCK = 1 << 14  # pixels: 64 KiB a plane


def fill_cloud(
    depth_m: np.ndarray, image_bgra: np.ndarray | None, camera: Camera, out: np.ndarray
) -> None:
    """Write x, y, z and packed rgb of every pixel.

    Args:
        depth_m: (H, W) float32 metres; NaN and infinite depth give NaN points.
        image_bgra: (H, W, 4) uint8 colours aligned with the depth, or None for black.
        camera: the rectified pinhole camera of ``depth_m``.
        out: (H, W, 4) float32 that is written; the fourth is the colour's bytes b, g, r, a, which
            is how PointCloud2's ``rgb`` field is packed.
    """
    ray_x, ray_y = _rays(camera)
    height, width = depth_m.shape
    rows = max(1, _BLOCK // width)
    x, y, z, colour = np.zeros((4, min(rows, height), width), np.float32)
    # Block by block, so that what is in between stays in the processor's cache.
    for top in range(0, height, rows):
        depth = depth_m[top : top + rows]
        n = len(depth)
        # Infinite minus infinite is NaN and finite minus itself is 0: one pass instead of a mask.
        with np.errstate(invalid="ignore"):
            np.subtract(depth, depth, out=z[:n])
        np.add(z[:n], depth, out=z[:n])
        np.multiply(ray_x, z[:n], out=x[:n])
        np.multiply(ray_y[top : top + n], z[:n], out=y[:n])
        if image_bgra is not None:
            colour = np.ascontiguousarray(image_bgra[top : top + n]).view(np.float32)[..., 0]
        cv2.merge((x[:n], y[:n], z[:n], colour[:n]), out[top : top + n])


@table
def _rays(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Return the rays' x of every column (W,) and y of every row (H, 1), float32."""
    x = (np.arange(camera.width, dtype=np.float64) - camera.cx) / camera.fx
    y = (np.arange(camera.height, dtype=np.float64) - camera.cy) / camera.fy
    return frozen(x, np.float32), frozen(y[:, None], np.float32)


def voxel_thin(points: np.ndarray, confidence: np.ndarray, voxel_size_m: float) -> np.ndarray:
    """Return which points stay when each voxel keeps one, the most certain.

    Args:
        points: (N, 3) float32 metres, finite.
        confidence: (N,) float32, not negative.
        voxel_size_m: edge of the voxels, metres, above 0.

    Returns:
        (M,) int64 indices into ``points``, ascending.

    Raises:
        ValueError: the voxels have no size.
    """
    if not voxel_size_m > 0.0:
        raise ValueError(f"voxel_size is {voxel_size_m} m; need more than 0")
    if not len(points):
        return np.zeros(0, np.int64)
    cells = np.floor(points / np.float32(voxel_size_m)).astype(np.int64)
    cells -= cells.min(axis=0)
    size = cells.max(axis=0) + 1
    keys = (cells[:, 0] * size[1] + cells[:, 1]) * size[2] + cells[:, 2]
    if np.prod(size.astype(float)) >= 2**31:  # so many voxels that their number does not fit
        keys = np.unique(keys, return_inverse=True)[1].ravel()
    # One sort by voxel, and within it by confidence, falling: the bits of floats that are not
    # negative are in the order of their values.
    doubt = _LARGEST_INT32 - np.ascontiguousarray(confidence, np.float32).view(np.int32)
    order = np.argsort((keys << 31) + doubt)
    keys = keys[order]
    is_first = np.concatenate([[True], keys[1:] != keys[:-1]])
    return np.sort(order[is_first])


def write_ply(path: str | Path, points: np.ndarray) -> int:
    """Write the finite points of a cloud as a binary PLY file that viewers open upright.

    Viewers look along -z with y up, so y and z of the optical frame are turned round.

    Args:
        path: the file.
        points: (H, W, 4) or (N, 4) float32: x, y, z in metres and packed rgb, as ``fill_cloud``
            writes them; without colours (H, W, 3) or (N, 3).

    Returns:
        The number of points written.
    """
    flat = np.ascontiguousarray(points, np.float32).reshape(-1, points.shape[-1])
    flat = flat[np.isfinite(flat[:, :3]).all(axis=1)]
    colours = ("red", "green", "blue") if flat.shape[1] > 3 else ()
    layout = [(name, "<f4") for name in "xyz"] + [(name, "u1") for name in colours]
    vertices = np.empty(len(flat), layout)
    for index, (name, sign) in enumerate((("x", 1.0), ("y", -1.0), ("z", -1.0))):
        vertices[name] = flat[:, index] * np.float32(sign)
    if colours:
        bgra = np.ascontiguousarray(flat[:, 3]).view(np.uint8).reshape(-1, 4)
        for index, name in enumerate(reversed(colours)):
            vertices[name] = bgra[:, index]
    header = [
        "ply\nformat binary_little_endian 1.0",
        "comment metres: x right, y up, z towards the viewer; the camera is at the origin",
        f"element vertex {len(vertices)}",
        *(f"property float {name}" for name in "xyz"),
        *(f"property uchar {name}" for name in colours),
        "end_header\n",
    ]
    Path(path).write_bytes("\n".join(header).encode("ascii") + vertices.tobytes())
    return len(vertices)
