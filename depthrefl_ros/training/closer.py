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

"""Photographs as a camera closer by would have taken them, from photographs with depth.

Indoor data sets hardly show anything nearer than 0.7 m, and an enlarged picture does not stand in
for a near one: its perspective is that of a distant camera. With depth the camera can be moved:
every pixel goes where it is seen from the new place, the nearest wins, and what no pixel reaches is
unknown (depth image based rendering, Fehn 2004).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.rays import image_rays, pixel_rays
from depthrefl_ros.training.datasets.image_folder import DatasetError, Sample

STANDS_M = (0.32, 0.85)  # of the new camera before what it looks at
ENLARGED = (1.15, 2.7)  # times; more shows the old picture's pixels
FROM_M = 2.3  # what is farther in the photograph is not approached
FIELD_OF_VIEW_DEG = (52.0, 80.0)
MEDIAN_M = (0.3, 1.0)  # of the depth in the new picture
MOST_UNKNOWN = 0.22  # share of the pixels without depth
MOST_INVENTED = 0.04  # share of the pixels that lie in gaps too wide to be filled well
_TRIES = 24  # places to look at in one photograph
_ROUNDS_IN_VAIN = 3  # through all photographs, before there is no more to be had
_DENSER = 3  # points for each pixel's edge, so that an enlarged surface has no gaps
_EDGE_RATIO = 1.06  # of depth between neighbours, beyond which no surface joins them
# Between neighbours on one surface, the steps of coded depth included.
_STEP_M = 0.06


def closer_views(
    samples: Sequence[Sample],
    count: int,
    rng: np.random.Generator,
    width: int,
    height: int,
    unreadable: dict[int, str],
) -> Iterator[tuple[Sample, Camera]]:
    """Yield up to `count` views from closer by, one of each photograph at a time.

    Args:
        samples: photographs with depth.
        count: of views.
        rng: draws photographs, places and fields of view.
        width: of the views, pixels.
        height: of the views, pixels.
        unreadable: gets the places of photographs that cannot be read, which are left out, and why.

    Yields:
        The view, named after its photograph, its depth in metres, 0 where unknown; and its camera.
    """
    made, in_vain = 0, 0
    while in_vain < _ROUNDS_IN_VAIN:
        in_vain += 1
        for index in rng.permutation(len(samples)):
            if index in unreadable:
                continue
            try:
                sample = samples[int(index)]
            except DatasetError as error:
                unreadable[int(index)] = str(error)
                continue
            found = closer_view(sample, rng, width, height)
            if found is not None:
                yield found
                made, in_vain = made + 1, 0
                if made == count:
                    return


def closer_view(
    sample: Sample, rng: np.random.Generator, width: int = 320, height: int = 240
) -> tuple[Sample, Camera] | None:
    """Return one view from closer by and its camera, or None where the photograph has none to give.

    Args:
        sample: photograph with depth.
        rng: draws the place.
        width: of the view, pixels.
        height: of the view, pixels.
    """
    depth = evened(sample.depth_m)
    solid = _solid(depth)
    near = solid & (depth < FROM_M)
    if near.mean() < 0.1:
        return None
    rows, columns = depth.shape
    points = image_rays(Camera.pinhole(columns, rows, *sample.intrinsics)) * depth[..., None]
    places = np.argwhere(near)
    for _ in range(_TRIES):
        target = points[tuple(places[rng.integers(len(places))])]
        pose = _draw_pose(target, rng)
        if pose is None:
            continue
        angle = math.radians(rng.uniform(*FIELD_OF_VIEW_DEG))
        camera = Camera.from_horizontal_fov(width, height, angle)
        if not _is_worth_it(pose, camera, points, solid):
            continue
        made = _seen_from(pose, camera, sample, depth, points, solid)
        if made is not None:
            return made, camera
    return None


def evened(depth_m: np.ndarray) -> np.ndarray:
    """Even out the steps in which depth is coded, within surfaces only.

    Args:
        depth_m: (H, W) float32 metres, 0 unknown. In 8 bits over 10 m a step is 0.04 m, a tenth of
            what is seen from 0.4 m.
    """
    known = depth_m > 0
    depth = np.where(known, depth_m, 1e3).astype(np.float32)
    for _ in range(2):
        depth = cv2.bilateralFilter(depth, 13, _STEP_M, 5.0)
    return np.where(known, depth, np.float32(0))


def _solid(depth: np.ndarray) -> np.ndarray:
    """Return where (H, W) a pixel and its neighbours lie on one surface."""
    around = np.ones((3, 3), np.uint8)
    farthest = cv2.dilate(depth, around)
    nearest = cv2.erode(np.where(depth > 0, depth, np.float32(1e6)), around)
    return (depth > 0) & (farthest < nearest * _EDGE_RATIO)


def _draw_pose(target: np.ndarray, rng: np.random.Generator) -> Pose | None:
    """Draw where to see a point (3,) from: nearer, a little around it, and not straight at it.

    Returns:
        The old camera's optical frame in the new one's, or None where the point is too near or far.
    """
    nearer = math.exp(rng.uniform(*np.log(STANDS_M)))
    if not ENLARGED[0] < target[2] / nearer < ENLARGED[1]:
        return None
    around, beside = rng.normal(0, 0.1, 2), rng.normal(0, 0.12, 2)
    centre = target - _turn(around) @ target * (nearer / target[2])
    ahead = _turn(beside) @ (target - centre)
    ahead /= np.linalg.norm(ahead)
    right = np.cross((0.0, 1.0, 0.0), ahead)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(ahead, right), ahead])
    return Pose(rotation, -rotation @ centre)


def _turn(angles: np.ndarray) -> np.ndarray:
    """Return the rotation about x, then y, by radians."""
    return (
        cv2.Rodrigues(np.array([0.0, angles[1], 0.0]))[0]
        @ cv2.Rodrigues(np.array([angles[0], 0.0, 0.0]))[0]
    )


def _projected(points: np.ndarray, pose: Pose, camera: Camera) -> np.ndarray:
    """Return u, v (pixels) and depth (metres) of points (n, 3): (3, n); depth <= 0 is behind."""
    x, y, depth = pose.apply(points).T
    ahead = np.maximum(depth, 1e-6)
    return np.stack([camera.fx * x / ahead + camera.cx, camera.fy * y / ahead + camera.cy, depth])


def _is_worth_it(pose: Pose, camera: Camera, points: np.ndarray, solid: np.ndarray) -> bool:
    """Return whether a coarse look, at one point in 16, finds the view full and near."""
    u, v, depth = _projected(points[::4, ::4][solid[::4, ::4]], pose, camera)
    columns, rows = camera.width // 16, camera.height // 16
    inside = (depth > 0.15) & (u >= 0) & (v >= 0) & (u < columns * 16) & (v < rows * 16)
    nearest = np.full(rows * columns, np.inf)
    cells = (v[inside] // 16).astype(int) * columns + (u[inside] // 16).astype(int)
    np.minimum.at(nearest, cells, depth[inside])
    seen = np.isfinite(nearest)
    return seen.mean() > 0.88 and MEDIAN_M[0] < np.median(nearest[seen]) < MEDIAN_M[1]


def _seen_from(
    pose: Pose,
    camera: Camera,
    sample: Sample,
    depth: np.ndarray,
    points: np.ndarray,
    solid: np.ndarray,
) -> Sample | None:
    """Return what is seen from the new place, or None where too much of it is unknown."""
    width, height = camera.width, camera.height
    u, v, found = _projected(points[solid], pose, camera)
    inside = (found > 0.15) & (np.abs(u - width / 2) < 0.55 * width)
    inside &= np.abs(v - height / 2) < 0.55 * height
    rows, columns = (places[inside] for places in np.nonzero(solid))
    top, left = rows.min(), columns.min()
    part = (slice(top, rows.max() + 1), slice(left, columns.max() + 1))
    # Densely within surfaces: depth between pixels is that of the plane through them.
    dense = cv2.resize(depth[part], None, fx=_DENSER, fy=_DENSER, interpolation=cv2.INTER_LINEAR)
    is_on = cv2.resize(solid[part].astype(np.float32), dense.shape[::-1]) > 0.999
    v, u = np.nonzero(is_on)
    source_u, source_v = ((x + 0.5) / _DENSER - 0.5 + first for x, first in ((u, left), (v, top)))
    old = Camera.pinhole(*depth.shape[::-1], *sample.intrinsics)
    rays = pixel_rays(old, source_u, source_v)
    u, v, found = _projected(rays * dense[is_on][:, None], pose, camera)
    u, v = np.rint(u).astype(int), np.rint(v).astype(int)
    inside = (found > 0.15) & (u >= 0) & (v >= 0) & (u < width) & (v < height)
    far_first = np.flatnonzero(inside)
    far_first = far_first[np.argsort(-found[far_first], kind="stable")]
    planes = np.full((3, height, width), -1, np.float32)  # depth, and where in the photograph
    planes[:, v[far_first], u[far_first]] = [one[far_first] for one in (found, source_u, source_v)]
    depth_m, *source = planes
    unknown = depth_m < 0
    if unknown.mean() > MOST_UNKNOWN:
        return None
    closed = cv2.morphologyEx((~unknown).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((9, 9)))
    if (closed == 0).mean() > MOST_INVENTED:
        return None
    if not MEDIAN_M[0] < np.median(depth_m[~unknown]) < MEDIAN_M[1]:
        return None
    image = cv2.remap(sample.image, *_smoothed(source, unknown), cv2.INTER_CUBIC)
    image = cv2.inpaint(image, unknown.astype(np.uint8), 3, cv2.INPAINT_TELEA)
    depth_m = np.where(unknown, np.float32(0), depth_m)
    mount = None if sample.mount is None else sample.mount @ pose.inverse()
    return Sample(sample.name, image, depth_m, (camera.fx, camera.fy, camera.cx, camera.cy), mount)


def _smoothed(source: list[np.ndarray], unknown: np.ndarray) -> list[np.ndarray]:
    """Smooth the places in the photograph, which lie on a grid, within surfaces.

    Points fall beside the middle of their pixels, so that straight edges would be ragged.
    """
    weight = cv2.GaussianBlur((~unknown).astype(np.float32), (0, 0), 0.8)
    smooth = []
    for plane in source:
        mean = cv2.GaussianBlur(np.where(unknown, 0, plane), (0, 0), 0.8)
        smooth.append(mean / np.maximum(weight, 1e-3))
    jumps = sum(np.abs(new - old) for new, old in zip(smooth, source, strict=True)) > 2
    keep = unknown | jumps
    return [np.where(keep, old, new) for new, old in zip(smooth, source, strict=True)]
