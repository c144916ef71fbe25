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

"""Where cameras stand: views whose median distance is spread evenly over its logarithm.

A robot meets a table edge at 0.4 m as often as a far wall at 8 m. So each view gets a distance to
aim for, drawn evenly in the logarithm, and candidates are drawn for each kind of mount until one
has it as the median of its depth, by a coarse grid of rays. What is cast against is any function
`cast(origin, directions)` that returns, for each of (N, 3) unit directions, the way (m, inf where
nothing is hit) and whether a surface was hit from behind; Blender is not needed here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Caster = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

NEAREST_M, FARTHEST_M = 0.3, 12.0  # range of the median depth
TOLERANCE = 0.15  # of the logarithm of the median depth
TRIES = 200  # candidates for one target, and
TARGETS = 6  # targets for one view, before the nearest miss is taken
FAR_M = 5.0
AIMED = 0.65  # of the candidates, at a thing
ASPECT = 0.75
GRID = (9, 7)  # rays of a candidate, across and down
CLEARANCE_M = 0.04  # of the lens to everything around it
NEAREST_PIXEL_M = 0.06
FROM_WALLS_M = 0.06  # of a camera
CELL_M = 0.5  # of the floor: things in one cell are aimed at as one
FLAT = 0.02  # relative spread of inverse depth about a plane, below which a view shows one wall
LARGE_REACH_M, LARGE_FAR_SHARE = 9.0, 0.8  # what is a large space; its views that aim far
FLAT_CHANCE = 0.15  # of keeping such a view


@dataclass(frozen=True)
class View:
    """A camera in a scene: position (m), heading, pitch (up positive), roll (rad), field of view.

    `horizontal_fov` is the full horizontal angle of view in radians, `mount` the kind of mount,
    and `floor_m` the height of the floor under the camera.
    """

    position: tuple[float, float, float]
    yaw: float
    pitch: float
    roll: float
    horizontal_fov: float
    mount: str = "robot"
    floor_m: float = 0.0

    def axes(self) -> np.ndarray:
        """Return right, down and forward of the camera in the world as rows, (3, 3) float64."""
        cos_p, sin_p = math.cos(self.pitch), math.sin(self.pitch)
        cos_y, sin_y = math.cos(self.yaw), math.sin(self.yaw)
        forward = np.array([cos_y * cos_p, sin_y * cos_p, sin_p])
        level = np.array([sin_y, -cos_y, 0.0])
        below = np.cross(forward, level)
        cos_r, sin_r = math.cos(self.roll), math.sin(self.roll)
        return np.stack([cos_r * level + sin_r * below, cos_r * below - sin_r * level, forward])

    def rays(self, columns: int, rows: int, aspect: float = ASPECT) -> np.ndarray:
        """Return a grid of rays of depth 1, (rows * columns, 3), through the cells' centres."""
        right, down, forward = self.axes()
        reach = math.tan(self.horizontal_fov / 2)
        across = (np.arange(columns) + 0.5) / columns * 2 - 1
        along = ((np.arange(rows) + 0.5) / rows * 2 - 1) * aspect
        u, v = np.meshgrid(across * reach, along * reach)
        return forward + u.reshape(-1, 1) * right + v.reshape(-1, 1) * down

    def pose(self) -> dict[str, float]:
        """Return where the camera is above its floor, as `Pose.from_mount` names it."""
        return {
            "height_m": float(self.position[2] - self.floor_m),
            "pitch_rad": float(-self.pitch),
            "roll_rad": float(self.roll),
        }


class NoPlaceError(ValueError):
    """A space leaves a camera no place; the message says how large it is."""


@dataclass(frozen=True)
class Mount:
    """One way in which cameras are mounted.

    Attributes:
        share: of the views.
        heights_m: over the floor, from and to; what is above the ceiling is put under it.
        pitch_deg: mean and standard deviation, up positive.
        pitch_limits_deg: lowest and highest.
        along_axis: an arm or a hand comes near along the optical axis; others drive, level.
    """

    share: float
    heights_m: tuple[float, float]
    pitch_deg: tuple[float, float]
    pitch_limits_deg: tuple[float, float]
    along_axis: bool = False


MOUNTS = {
    "low": Mount(0.24, (0.05, 0.35), (-1, 10), (-35, 30)),
    "robot": Mount(0.26, (0.35, 1.0), (-8, 14), (-50, 25)),
    "carried": Mount(0.2, (1.0, 1.85), (-14, 18), (-75, 25)),
    "arm": Mount(0.23, (0.15, 1.9), (-35, 25), (-75, 15), along_axis=True),
    "high": Mount(0.07, (1.9, 4.5), (-30, 15), (-75, 0)),
}


@dataclass(frozen=True)
class Region:
    """Where cameras may be: x0, y0, x1, y1 of the floor, its height and that of the ceiling (m)."""

    bounds: tuple[float, float, float, float]
    ceiling_m: float
    floor_m: float = 0.0

    def contains(self, position: np.ndarray) -> bool:
        """Tell whether a camera at `position` (3,) is inside, `FROM_WALLS_M` from the walls."""
        x0, y0, x1, y1 = self.bounds
        x, y, z = position
        margin = FROM_WALLS_M
        inside = x0 + margin < x < x1 - margin and y0 + margin < y < y1 - margin
        return bool(inside and self.floor_m + 0.04 < z < self.ceiling_m - margin)

    def reach(self) -> float:
        """Return the median depth (m) that views can hope for."""
        x0, y0, x1, y1 = self.bounds
        return float(np.clip(0.7 * math.hypot(x1 - x0, y1 - y0), 1.5, FARTHEST_M))


def choose_views(
    cast: Caster,
    regions: Sequence[Region],
    rng: np.random.Generator,
    count: int,
    things: np.ndarray | None = None,
    large_far_share: float = LARGE_FAR_SHARE,
    mounts: Sequence[str] = (),
) -> list[View]:
    """Choose `count` views of what surrounds the regions.

    `things` are points (N, 3) in metres that are worth looking at; without them most near views
    would be of walls. `mounts` are names of MOUNTS, by their shares; none stands for all.

    The distances to aim for are stratified: one in each of `count` equal parts of the logarithm's
    range, in random order. In large spaces `large_far_share` of the views aims at the upper part of
    it instead, which makes up for the rooms that have no far views.
    """
    parts = (rng.permutation(count) + rng.uniform(size=count)) / count
    far_share = large_far_share if _reach(regions) > LARGE_REACH_M else 0.0
    parts = np.where(rng.uniform(size=count) < far_share, 0.72 + 0.28 * parts, parts)
    mounts = list(mounts or MOUNTS)
    shares = np.array([MOUNTS[name].share for name in mounts])
    names = rng.choice(mounts, size=count, p=shares / shares.sum())
    cells = [] if things is None else group(things)
    return [
        _find(cast, regions, rng, _distance(regions, part), str(name), mounts, cells)
        for part, name in zip(parts, names, strict=True)
    ]


def _reach(regions: Sequence[Region]) -> float:
    return max(region.reach() for region in regions)


def _distance(regions: Sequence[Region], part: float) -> float:
    """Return the distance (m) at `part` (0..1) of the logarithm's range."""
    return NEAREST_M * (_reach(regions) / NEAREST_M) ** part


def group(things: np.ndarray) -> list[np.ndarray]:
    """Group points (N, 3) by cells of the floor: a full shelf counts no more than a ball."""
    cells: dict[tuple, list] = {}
    for point in things:
        cells.setdefault(tuple(np.floor(point[:2] / CELL_M).astype(int)), []).append(point)
    return [np.array(points) for points in cells.values()]


def _find(cast, regions, rng, target: float, name: str, mounts, cells: list[np.ndarray]) -> View:
    """Return a view of the mount `name` whose median depth is near `target` metres.

    Where there is none, another of `mounts` and another distance take their turn.
    """
    best, best_miss = None, math.inf
    for _ in range(TARGETS):
        for _ in range(TRIES):
            region = regions[rng.integers(len(regions))]
            view = propose(cast, region, rng, target, name, cells)
            median = None if view is None else median_depth(cast, view, rng)
            if median is None:
                continue
            miss = abs(math.log(median / target))
            if miss < TOLERANCE:
                return view
            if miss < best_miss:
                best, best_miss = view, miss
        name = str(rng.choice(mounts))
        target = _distance(regions, rng.uniform())
    if best is None:
        sizes = ", ".join(
            f"{x1 - x0:.2g} x {y1 - y0:.2g} x {region.ceiling_m - region.floor_m:.2g} m"
            for region in regions
            for x0, y0, x1, y1 in [region.bounds]
        )
        raise NoPlaceError(
            f"no place for a camera was found in {sizes}: it needs {CLEARANCE_M} m around it, and "
            "must see surfaces all over its image"
        )
    return best


def propose(cast, region: Region, rng, target: float, name: str, cells=()) -> View | None:
    """Draw a view of a mount that looks at something about `target` metres away.

    AIMED of the views look at a thing of `cells`. Of the others most are moved so that what
    happens to be in their middle is at that distance. Returns None where that leads out of the
    region.
    """
    mount = MOUNTS[name]
    low, high = mount.heights_m
    high = min(high, region.ceiling_m - region.floor_m - 0.08)
    height = rng.uniform(min(low, high - 0.4), high)
    if name == "low":  # as many at 5 to 13 cm as at 13 to 35 cm
        height = math.exp(rng.uniform(math.log(low), math.log(high)))
    pitch = math.radians(np.clip(rng.normal(*mount.pitch_deg), *mount.pitch_limits_deg))
    if rng.random() < 0.1:
        roll = rng.uniform(-30, 30)
    else:
        roll = np.clip(rng.normal(0, 1.5), -5, 5)
    fov = rng.uniform(55, 90) if rng.random() < 0.55 else rng.uniform(40, 120)
    if target > FAR_M:  # only a level and rather narrow view is far all over
        pitch *= 0.3
        fov = rng.uniform(40, 75)
    x0, y0, x1, y1 = region.bounds
    yaw = rng.uniform(-math.pi, math.pi)
    position = np.array([rng.uniform(x0, x1), rng.uniform(y0, y1), region.floor_m + height])
    way = np.array([math.cos(yaw) * math.cos(pitch), math.sin(yaw) * math.cos(pitch),
                    math.sin(pitch)])  # fmt: skip
    level = np.array([math.cos(yaw), math.sin(yaw), 0.0])
    away = target * rng.uniform(0.75, 1.25)
    if cells and rng.random() < AIMED:
        cell = cells[rng.integers(len(cells))]
        thing = cell[rng.integers(len(cell))]
        if mount.along_axis:
            position = thing - way * away
        else:
            position[:2] = (thing - level * away)[:2]
            upward = math.atan2(thing[2] - position[2], away) + rng.normal(0, 0.15)
            pitch = float(np.clip(upward, *np.radians(mount.pitch_limits_deg)))
    elif rng.random() < 0.67:
        if not region.contains(position):
            return None
        ahead = float(cast(position, way[None])[0][0])
        if not math.isfinite(ahead):
            return None
        position = position + (way if mount.along_axis else level) * (ahead - away)
    if not region.contains(position):
        return None
    return View(
        tuple(float(c) for c in position),
        yaw,
        pitch,
        math.radians(roll),
        math.radians(fov),
        name,
        region.floor_m,
    )


AROUND = np.array([(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1)], float)
AROUND = AROUND[np.abs(AROUND).sum(1) > 0]
AROUND /= np.linalg.norm(AROUND, axis=1, keepdims=True)


def median_depth(cast, view: View, rng) -> float | None:
    """Return the median depth (m) of a view, or None where the view is no good.

    It is no good where the lens touches something or is inside it, where something is right in
    front of it, where rays leave the scene, and mostly where it shows one flat wall alone.
    """
    rays = view.rays(*GRID)
    lengths = np.linalg.norm(rays, axis=1)
    ways, behind = cast(np.array(view.position), rays / lengths[:, None])
    depth = ways / lengths
    if depth.min() < NEAREST_PIXEL_M or np.mean(np.isfinite(depth)) < 0.97:
        return None
    if np.mean(behind) > 0.25:
        return None
    around, inside = cast(np.array(view.position), AROUND)
    if around.min() < CLEARANCE_M or np.mean(inside) > 0.3:
        return None
    middle = float(np.median(depth))
    if is_flat(depth) and rng.random() > FLAT_CHANCE:
        return None
    return middle


def is_flat(depth: np.ndarray) -> bool:
    """Tell whether a grid's depths, (rows * columns,) metres, are those of one plane.

    In an image of a plane inverse depth is linear in the pixels' coordinates.
    """
    columns, rows = GRID
    v, u = np.mgrid[0:rows, 0:columns].reshape(2, -1)
    pixels = np.stack([u, v, np.ones_like(u)], axis=1).astype(float)
    inverse = np.where(np.isfinite(depth), 1.0 / depth, 0.0)
    plane = np.linalg.lstsq(pixels, inverse, rcond=None)[0]
    return bool(np.std(inverse - pixels @ plane) < FLAT * np.mean(inverse))
