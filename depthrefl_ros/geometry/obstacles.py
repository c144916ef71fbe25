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

"""Marking and clearing clouds for a costmap: what stands in the way, and which rays are free.

Nav2's 2-D obstacle layer knows no heights when it clears: a ray that passes over an obstacle erases
it. So rays are compared as the costmap sees them, from above: by their bearing around the camera,
which is an image column only while the camera is level. At each bearing the nearest thing within
the height band ends all clearing, whether it was believed or not, and so does the floor's end. What
is believed ends it one sigma nearer than it is marked, for a depth that errs outwards would free
the cells of the obstacle itself; what is not, two sigmas nearer than its estimate.

A network's depth of an upright surface varies from row to row, and would mark it many cells thick,
most of them wrong. Within one bearing, returns closer together in range than the range resolution
and without a gap between them are one surface, marked at its median. Where it begins more than one
sigma before that, its near end is marked, too: that is no noise but a table top seen from above.
What would be below the band if half a sigma farther away may be floor: it only ends clearing.

What is nearer than the gates' range is there, if not known where: it is marked at the range's near
end, for a collision monitor must not release its stop because somebody came closer still.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.cloud import voxel_thin
from depthrefl_ros.geometry.drop_offs import drop_offs
from depthrefl_ros.geometry.gates import DEVIATIONS, GateSettings, lost, nearest_possible
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.rays import image_rays
from depthrefl_ros.geometry.tables import frozen, table
from depthrefl_ros.settings import check, check_order, setting

MAX_POINTS = 12_288  # of 16 bytes: 192 KiB, two of which pass Fast DDS's default transport
_COARSER = 1.25  # how much voxels grow while there are too many points
_GAP_VOXELS = 3.0  # between two surfaces at one bearing
_NEAREST_M = 0.3  # what is nearer blocks no wider than at this distance
_STOP_BEFORE_M = 0.1  # clearing ends this far before an obstacle: two cells of a usual costmap
# A ray frees its way to where a believed obstacle probably is not yet.
_DEVIATIONS_OF_BELIEVED = np.float32(1.0)
_DEVIATIONS_OF_FLOOR = np.float32(0.5)  # what may be the floor, so much farther, is not marked


@dataclass(frozen=True)
class ObstacleSettings:
    """What counts as an obstacle; may change from one frame to the next.

    Attributes:
        min_height_m: lower end of the height band, above the base frame's z = 0.
        max_height_m: upper end.
        voxel_size_m: edge of the voxels, of which each keeps one point.
        range_resolution_m: returns within one bearing that are closer together than this, over the
            floor, and have no gap of three voxels between them are marked at their median, and at
            their near end where that is more than sigma away; 0 marks each where it is.

    Raises:
        SettingError: a value out of its range.
    """

    min_height_m: float = setting(
        0.1,
        "Lower edge of the height band above the floor in which something is an obstacle.",
        name="min_obstacle_height",
        limits=(-10.0, 100.0),
    )
    max_height_m: float = setting(
        1.8,
        "Upper edge of the height band above the floor in which something is an obstacle.",
        name="max_obstacle_height",
        limits=(-10.0, 100.0),
    )
    voxel_size_m: float = setting(
        0.05,
        "points/marking and points/clearing have one point per voxel of this size.",
        limits=(0.005, 1.0),
    )
    range_resolution_m: float = setting(
        0.4,
        "Within one bearing, returns closer together in range than this are one surface, marked at "
        "its median, and at its near end if the depth is certain enough. 0 marks each return.",
        limits=(0.0, 1.0),
    )

    def __post_init__(self) -> None:
        check(self)
        check_order(self, "min_height_m", "max_height_m")


@dataclass(frozen=True, eq=False)
class ObstaclePoints:
    """The two clouds, each at most ``MAX_POINTS`` long.

    Attributes:
        marking: (N, 4) float32: x, y, z in metres, optical frame, and confidence.
        clearing: (M, 4) the same: ends of rays that are free.
    """

    marking: np.ndarray
    clearing: np.ndarray


@dataclass(frozen=True, eq=False)
class _View:
    """The rays of a camera in the base frame, for one pose.

    Attributes:
        rays: (h, w, 3) float32 in the optical frame, z = 1.
        bearings: number of bearings around the camera.
        bearing: (h, w) int64, the number of each ray's bearing.
        turns: (h, w) float32, the ray's direction over the floor, -0.5 to 0.5 of a full turn.
        over_floor: (h, w) float32, metres over the floor for each metre of depth.
        rise: (h, w) float32, metres upwards for each metre of depth.
        to_floor: (h, w) float32, depth at which the ray meets z = 0, or inf.
        camera_height_m: metres above the floor.
    """

    rays: np.ndarray
    bearings: int
    bearing: np.ndarray
    turns: np.ndarray
    over_floor: np.ndarray
    rise: np.ndarray
    to_floor: np.ndarray
    camera_height_m: np.float32

    def height_m(self, depth_m: np.ndarray) -> np.ndarray:
        """Return (h, w) metres above the floor at this depth."""
        return self.camera_height_m + depth_m * self.rise


@table
def _rays(camera: Camera) -> np.ndarray:
    return frozen(image_rays(camera), np.float32)


@table
def _view(camera: Camera, base_from_camera: Pose) -> _View:
    rays = _rays(camera)
    # Pixels are farthest apart, in angle, where the camera looks: no bearing is left out.
    bearings = int(np.ceil(2 * np.pi * camera.fx))
    turned = rays @ base_from_camera.rotation.T.astype(np.float32)
    turns = np.arctan2(turned[..., 1], turned[..., 0]) / np.float32(2 * np.pi)
    camera_height_m = np.float32(base_from_camera.translation[2])
    rise = turned[..., 2]
    fall = np.maximum(-rise, np.float32(1e-6))
    to_floor = np.where(rise < 0, np.maximum(camera_height_m, 0) / fall, np.float32(np.inf))
    return _View(
        rays=rays,
        bearings=bearings,
        bearing=frozen(np.floor(turns * bearings).astype(np.int64) % bearings),
        turns=frozen(turns),
        over_floor=frozen(np.hypot(turned[..., 0], turned[..., 1])),
        rise=frozen(rise),
        to_floor=frozen(to_floor),
        camera_height_m=camera_height_m,
    )


def obstacle_clouds(
    depth_m: np.ndarray,
    ungated_m: np.ndarray,
    sigma: np.ndarray,
    confidence: np.ndarray,
    camera: Camera,
    base_from_camera: Pose,
    settings: ObstacleSettings,
    gates: GateSettings,
) -> ObstaclePoints:
    """Make the two clouds of one frame.

    Args:
        depth_m: (h, w) float32 metres after the gates; NaN, +Inf and -Inf by REP-117.
        ungated_m: (h, w) float32 metres before the gates; NaN where the camera saw nothing, +Inf
            where it saw the sky, 0 where the network's answer was no number.
        sigma: (h, w) float32 standard deviation of log depth.
        confidence: (h, w) float32, goes into the clouds.
        camera: the rectified pinhole camera of all four.
        base_from_camera: where the camera is; z = 0 of the base frame is the floor.
        settings: band and voxels.
        gates: what ``depth_m`` passed. Beyond their ``max_range_m`` nothing is marked and no ray is
            known to be free; what is nearer than their ``min_range_m`` is marked at it.
    """
    view = _view(camera, base_from_camera)
    over_floor, bearing = view.over_floor, view.bearing
    max_range_m = np.float32(gates.max_range_m)

    believed = np.isfinite(depth_m) & (depth_m <= max_range_m)
    beyond = depth_m > max_range_m  # +Inf too: nothing up to the end of the range
    depth = np.where(believed, depth_m, max_range_m)
    height = view.height_m(depth)
    in_band = (height >= settings.min_height_m) & (height <= settings.max_height_m)
    obstacle = believed & in_band

    deviations = np.where(believed, _DEVIATIONS_OF_BELIEVED, DEVIATIONS)
    nearest = nearest_possible(np.where(believed, depth, ungated_m), sigma, deviations)
    with np.errstate(invalid="ignore"):  # the sky is infinitely far, along a level ray too
        may_be = _crosses(view.height_m(nearest), view.height_m(ungated_m), settings)
    blocks = obstacle | (~believed & ~beyond & may_be)
    doubts, doubts_m = _doubts(depth_m, ungated_m, sigma, nearest, max_range_m, view, settings)
    holes = drop_offs(
        depth_m,
        ungated_m,
        sigma,
        height,
        view.to_floor,
        view.rise,
        over_floor,
        settings.min_height_m,
    )
    pixels = np.concatenate([np.flatnonzero(blocks), doubts, holes])
    ends_m = np.concatenate([nearest[blocks], doubts_m, view.to_floor.ravel()[holes]])
    limit_m = _limits(
        bearing.ravel()[pixels],
        ends_m * over_floor.ravel()[pixels],
        settings.voxel_size_m,
        view.bearings,
    )[bearing]

    free_m = np.maximum(limit_m - _STOP_BEFORE_M, 0.0)  # over the floor
    on_floor = believed & (height < settings.min_height_m)
    # Nothing is free under the floor: a depth that errs ends where its ray meets it.
    depth = np.where(on_floor, np.minimum(depth, view.to_floor), depth)
    reach_m = depth * over_floor
    stays_inside = (
        (settings.min_height_m <= view.camera_height_m <= settings.max_height_m) & in_band & beyond
    )
    free = (on_floor | stays_inside) & (reach_m <= free_m)
    # The nearest obstacle's own ray is free until shortly before it.
    is_nearest = nearest * over_floor <= limit_m + settings.voxel_size_m
    up_to_obstacle = obstacle & is_nearest & (free_m > 0)
    end = np.where(up_to_obstacle, free_m / np.maximum(over_floor, 1e-6), depth)
    cleared = free | up_to_obstacle
    too_near, near_m = _too_near(depth_m, ungated_m, view, settings, gates)
    depth[too_near] = near_m
    marked = obstacle | too_near
    marks = view.rays[marked] * depth[marked, None]
    if settings.range_resolution_m:
        marked_m = depth[marked] * over_floor[marked]
        surface = _marked_with(marked_m, view.turns[marked], sigma[marked], settings)
        way = marks[surface] - marks
        up = base_from_camera.up_in_source.astype(np.float32)
        marks += way - np.outer(way @ up, up)  # along the floor: heights stay
    farther_m = nearest_possible(depth, sigma, -_DEVIATIONS_OF_FLOOR)
    stands = (too_near | (view.height_m(farther_m) >= settings.min_height_m))[marked]
    return ObstaclePoints(
        _cloud(marks[stands], confidence[marked][stands], settings.voxel_size_m),
        _cloud(view.rays[cleared] * end[cleared, None], confidence[cleared], settings.voxel_size_m),
    )


def _doubts(
    depth_m: np.ndarray,
    ungated_m: np.ndarray,
    sigma: np.ndarray,
    nearest: np.ndarray,
    max_range_m: float,
    view: _View,
    settings: ObstacleSettings,
) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels, flat indices (n,) int64, that block at a depth (n,) nearer than they say.

    A pole as thin as a pixel is a speck to the median, which puts what is behind it in its place;
    and where the network's answer is no number, anything may stand anywhere.

    Args:
        depth_m: (h, w) metres after the gates.
        ungated_m: (h, w) metres before the gates.
        sigma: (h, w) standard deviation of log depth.
        nearest: (h, w) metres, ``nearest_possible``.
        max_range_m: of the gates.
        view: rays.
        settings: height band.
    """
    anywhere = np.flatnonzero(~(nearest > 0))
    is_asked = ~np.isnan(ungated_m.ravel()[anywhere]) & ~(depth_m.ravel()[anywhere] > 0)
    anywhere = anywhere[is_asked]
    thin = np.flatnonzero(lost(depth_m, ungated_m, max_range_m))
    own_m = ungated_m.ravel()[thin]
    near_m, rise = nearest_possible(own_m, sigma.ravel()[thin]), view.rise.ravel()[thin]
    height_m = (view.camera_height_m + end_m * rise for end_m in (near_m, own_m))
    may_be = _crosses(*height_m, settings)
    pixels = np.concatenate([anywhere, thin[may_be]])
    return pixels, np.concatenate([np.zeros(len(anywhere), np.float32), near_m[may_be]])


def _too_near(
    depth_m: np.ndarray,
    ungated_m: np.ndarray,
    view: _View,
    settings: ObstacleSettings,
    gates: GateSettings,
) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels (h, w) bool of obstacles nearer than the range, and depths (n,) for them.

    That is the range's near end, or where the ray leaves the height band before.
    """
    found = np.isneginf(depth_m)
    own_m = np.minimum(ungated_m[found], np.float32(gates.min_range_m))
    rise, camera_height_m = view.rise[found], view.camera_height_m
    height = camera_height_m + own_m * rise
    in_band = (height >= settings.min_height_m) & (height <= settings.max_height_m)
    found[found] = in_band
    own_m, rise = own_m[in_band], rise[in_band]
    edge_m = np.where(rise < 0, settings.min_height_m, settings.max_height_m)
    with np.errstate(divide="ignore"):
        leaves_m = (edge_m - camera_height_m) / rise
    # A little short of the edge, for a consumer's limit may be the same number.
    leaves_m = np.where(rise == 0, np.inf, np.maximum(own_m, 0.999 * leaves_m))
    return found, np.minimum(leaves_m, gates.min_range_m).astype(np.float32)


def _limits(
    bearing: np.ndarray, distance_m: np.ndarray, width_m: float, bearings: int
) -> np.ndarray:
    """Return (bearings,) the nearest distance at each bearing, or inf.

    What blocks one bearing blocks those within ``width_m`` of it, too: a costmap marks whole
    cells, and a ray past the obstacle's side would still cross its outermost ones.
    """
    nearest = np.full(bearings, np.inf, np.float32)
    np.minimum.at(nearest, bearing, distance_m)
    angle = width_m / np.maximum(nearest, _NEAREST_M)
    reach = np.ceil(bearings / (2 * np.pi) * angle)  # bearings to either side
    limits = nearest.copy()
    for step in range(1, int(reach.max()) + 1):
        wide = np.where(reach >= step, nearest, np.float32(np.inf))
        np.minimum(limits, np.roll(wide, step), out=limits)
        np.minimum(limits, np.roll(wide, -step), out=limits)
    return limits


def _marked_with(
    reach_m: np.ndarray, turns: np.ndarray, sigma: np.ndarray, settings: ObstacleSettings
) -> np.ndarray:
    """Return (N,) int64, of each point the one that stands where it is marked, itself perhaps.

    Points that share a cell of a polar grid over the floor, around the camera, as deep as the range
    resolution and as wide as a voxel, and have no gap between them, are one surface. It is marked
    at its median. Where its near end lies more than sigma before that, what is closer to the near
    end is marked there.

    Args:
        reach_m: (N,) float32 metres over the floor.
        turns: (N,) float32, -0.5 to 0.5 of a full turn.
        sigma: (N,) float32 standard deviation of log depth.
        settings: sizes of the cells and of the gap.
    """
    if not len(reach_m):
        return np.zeros(0, np.int64)
    ring = np.floor(reach_m / np.float32(settings.range_resolution_m)).astype(np.int64)
    # Cells are as wide as a voxel where their ring ends.
    rim = np.float32(2 * np.pi * settings.range_resolution_m / settings.voxel_size_m)
    sector = np.floor((turns + np.float32(0.5)) * (rim * (ring + 1))).astype(np.int64)
    cell = ring * (int(sector.max()) + 1) + sector
    # By cell, and by range within one: a single key sorts four times as fast as two.
    order = np.argsort(cell + reach_m / (1.0 + float(reach_m.max())))
    sorted_m, gap_m = reach_m[order], _GAP_VOXELS * settings.voxel_size_m
    begins = (np.diff(cell[order]) != 0) | (np.diff(sorted_m) > gap_m)
    first = np.flatnonzero(np.concatenate([[True], begins]))
    count = np.diff(np.append(first, len(order)))
    near, median = order[first], order[first + (count - 1) // 2]
    is_deep = reach_m[median] - reach_m[near] > sigma[median] * reach_m[median]
    # Of a surface that is not deep even the near end counts as closer to the median.
    border_m = np.where(is_deep, (reach_m[near] + reach_m[median]) / 2, -np.inf)
    is_near = sorted_m < np.repeat(border_m, count)
    surface = np.empty(len(order), np.int64)
    surface[order] = np.where(is_near, np.repeat(near, count), np.repeat(median, count))
    return surface


def _cloud(points: np.ndarray, certainty: np.ndarray, voxel_size_m: float) -> np.ndarray:
    """Return (N, 4) float32, thinned by voxels as large as it takes to keep ``MAX_POINTS``."""
    kept = voxel_thin(points, certainty, voxel_size_m)
    while len(kept) > MAX_POINTS:
        voxel_size_m *= _COARSER
        kept = voxel_thin(points, certainty, voxel_size_m)
    return np.column_stack([points[kept], certainty[kept]]).astype(np.float32)


def _crosses(near: np.ndarray, far: np.ndarray, settings: ObstacleSettings) -> np.ndarray:
    """Return where a stretch of a ray between two heights touches the band; no NaN does."""
    return (np.minimum(near, far) <= settings.max_height_m) & (
        np.maximum(near, far) >= settings.min_height_m
    )
