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

"""The shell of a room: floor, ceiling, walls with doors, windows and pictures, and its lights.

A window is a bright pane in a recess: its truth depth is that of the glass, the surface that a
robot must not run into, and not of the view behind it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .materials import Materials
from .patterns import shade
from .stage import Stage, bpy
from .views import Region

WALL_THICKNESS_M = 0.12


@dataclass(frozen=True)
class Room:
    """A rectangular room: x in 0..length, y in 0..width, z in 0..height, all in metres."""

    length: float
    width: float
    height: float

    @property
    def region(self) -> Region:
        """Where cameras may be."""
        return Region((0.0, 0.0, self.length, self.width), self.height)

    def walls(self) -> list[tuple[float, float, float, float]]:
        """Return x, y, yaw and length of each wall's local frame.

        In that frame the wall runs along x from 0 to its length, and the room lies at y < 0.
        """
        return [
            (0.0, self.width, 0.0, self.length),
            (self.length, self.width, -math.pi / 2, self.width),
            (self.length, 0.0, math.pi, self.length),
            (0.0, 0.0, math.pi / 2, self.width),
        ]


@dataclass(frozen=True)
class Opening:
    """A hole in a wall, in the wall's frame (m): x from `left` to `right`, z `low` to `high`."""

    left: float
    right: float
    low: float
    high: float


@dataclass(frozen=True)
class Shell:
    """What a room's walls are like: the chance that a wall is glazed, and that it has a doorway."""

    glazed_chance: float = 0.0
    open_chance: float = 0.0


def build_shell(
    stage: Stage, materials: Materials, room: Room, style: Shell = Shell()
) -> list[list[Opening]]:
    """Build the room, its doors, windows, pictures, skirting and lights.

    Through a doorway one sees into another room, a plain one.

    Returns:
        For each of `room.walls()`, its doors: what furniture must not stand in front of.
    """
    rng = materials.rng
    floor_and_ceiling(stage, materials, room)
    main, accent = materials.wall(), materials.wall()
    skirting = materials.furniture() if rng.random() < 0.8 else None
    doors = []
    for x, y, yaw, length in room.walls():
        paint = accent if rng.random() < 0.25 else main
        if rng.random() < style.glazed_chance:
            wall_openings = window_front(rng, length, room.height)
        else:
            wall_openings = choose_openings(rng, length, room.height)
        ways = [o for o in wall_openings if o.low == 0]
        way = ways[0] if ways and rng.random() < style.open_chance else None
        with stage.at(x, y, 0.0, yaw):
            holes = [o for o in wall_openings if o.low > 0 or o is way]
            wall(stage, length, room.height, paint, holes)
            for opening in wall_openings:
                if opening is way:
                    doorway(stage, materials, opening, length, accent)
                elif opening.low > 0:
                    window(stage, materials, opening)
                else:
                    door(stage, materials, opening)
            decorate(stage, materials, length, room.height, wall_openings)
            if skirting is not None:
                tall = rng.uniform(0.06, 0.14)
                stage.block((0, -0.014, 0), (length, 0, tall), skirting)
        doors.append([opening for opening in wall_openings if opening.low == 0])
    ceiling_lights(stage, materials, room)
    return doors


def floor_and_ceiling(stage: Stage, materials: Materials, room: Room) -> None:
    """Build the floor (its top at z = 0) and the ceiling."""
    low, high = -WALL_THICKNESS_M, WALL_THICKNESS_M
    end = (room.length + high, room.width + high)
    stage.block((low, low, -0.1), (*end, 0.0), materials.floor())
    stage.block((low, low, room.height), (*end, room.height + 0.1), materials.ceiling())


def wall(
    stage: Stage,
    length: float,
    height: float,
    material: bpy.types.Material,
    openings: list[Opening],
) -> None:
    """Build a wall around its openings; they must be sorted along x and must not overlap."""
    thick, x = WALL_THICKNESS_M, -WALL_THICKNESS_M
    for opening in openings:
        stage.block((x, 0, 0), (opening.left, thick, height), material)
        stage.block((opening.left, 0, opening.high), (opening.right, thick, height), material)
        if opening.low > 0:
            stage.block((opening.left, 0, 0), (opening.right, thick, opening.low), material)
        x = opening.right
    stage.block((x, 0, 0), (length + thick, thick, height), material)


def choose_openings(rng: np.random.Generator, length: float, height: float) -> list[Opening]:
    """Choose doors (from the floor) and windows for a wall, left to right, 0.3 m apart."""
    openings: list[Opening] = []
    x = rng.uniform(0.3, 1.2)
    while x < length - 1.2:
        kind = rng.random()
        if kind < 0.25:
            openings.append(Opening(x, x + rng.uniform(0.78, 0.95), 0.0, min(2.03, height - 0.2)))
        elif kind < 0.55:
            right = min(x + rng.uniform(0.6, 2.2), length - 0.3)
            low = rng.uniform(0.5, 1.1)
            openings.append(Opening(x, right, low, min(low + rng.uniform(0.8, 1.5), height - 0.2)))
        x = (openings[-1].right if openings else x) + rng.uniform(0.3, 3.0)
    return openings


def window_front(rng: np.random.Generator, length: float, height: float) -> list[Opening]:
    """Choose tall windows side by side, as halls and schools have them."""
    low, high = rng.choice([0.02, rng.uniform(0.3, 1.0)]), height - rng.uniform(0.15, 0.6)
    wide, gap = rng.uniform(0.9, 2.4), rng.uniform(0.05, 0.5)
    count = max(1, int((length - 0.4) / (wide + gap)))
    start = (length - count * (wide + gap) + gap) / 2
    lefts = [start + index * (wide + gap) for index in range(count)]
    return [Opening(left, left + wide, float(low), high) for left in lefts]


def doorway(stage, materials: Materials, opening: Opening, length: float, paint) -> None:
    """Build an open door, and behind it a plain room with a few boxes and a light."""
    rng, leaf = materials.rng, materials.furniture()
    left, right, high = opening.left, opening.right, opening.high
    for low_x in (left - 0.07, right):
        stage.block((low_x, -0.03, 0), (low_x + 0.07, 0.14, high + 0.07), leaf)
    stage.block((left, -0.03, high), (right, 0.14, high + 0.07), leaf)
    if rng.random() < 0.7:  # its leaf swings into the room behind
        angle, wide = rng.uniform(0.9, 1.7), right - left
        centre = (left + math.cos(angle) * wide / 2, 0.14 + math.sin(angle) * wide / 2, high / 2)
        stage.box(centre, (wide, 0.04, high), leaf, yaw=angle)
    west, east = max(0.0, left - rng.uniform(0.3, 2.5)), min(length, right + rng.uniform(0.3, 2.5))
    near, far, tall = WALL_THICKNESS_M, WALL_THICKNESS_M + rng.uniform(1.8, 6.0), high + 0.4
    stage.block((west, near - 0.12, -0.1), (east, far, 0.0), materials.floor())
    stage.block((west, near, tall), (east, far, tall + 0.1), materials.ceiling())
    stage.block((west - 0.1, near, -0.1), (west, far, tall), paint)
    stage.block((east, near, -0.1), (east + 0.1, far, tall), paint)
    stage.block((west, far, -0.1), (east, far + 0.1, tall), materials.wall())
    stage.block((west, far - 0.02, 1.1), (west + 0.8, far, 1.7), materials.picture())
    for _ in range(rng.integers(1, 6)):
        size = rng.uniform(0.25, 0.9, 3)
        at = (rng.uniform(west + 0.3, east - 0.3), rng.uniform(near + 1.2, far - 0.2), size[2] / 2)
        stage.box(at, size, materials.furniture() if rng.random() < 0.6 else materials.thing())
    area = (east - west) * (far - near)
    centre = ((west + east) / 2, (near + far) / 2, tall - 0.03)
    stage.area_light(centre, (0.8, 0.8), area * rng.uniform(1.0, 8.0), (1.0, 0.95, 0.9))


def door(stage: Stage, materials: Materials, opening: Opening) -> None:
    """Build a shut door with frame, panels and handle on the wall's face."""
    rng, leaf, frame = materials.rng, materials.furniture(), materials.furniture()
    left, right, high = opening.left, opening.right, opening.high
    stage.block((left, -0.02, 0), (right, 0, high), leaf)
    for low_x in (left - 0.07, right):
        stage.block((low_x, -0.05, 0), (low_x + 0.07, 0, high + 0.07), frame)
    stage.block((left, -0.05, high), (right, 0, high + 0.07), frame)
    panels = int(rng.integers(0, 4))
    for index in range(panels):
        low = 0.15 + index * (high - 0.3) / panels
        top = low + (high - 0.3) / panels - 0.1
        stage.block((left + 0.12, -0.032, low), (right - 0.12, -0.02, top), leaf)
    metal = materials.metal()
    side = left + 0.08 if rng.random() < 0.5 else right - 0.08
    inward = 0.06 if side < (left + right) / 2 else -0.06
    stage.box((side, -0.06, 1.02), (0.02, 0.1, 0.02), metal)
    stage.box((side + inward, -0.1, 1.02), (0.14, 0.02, 0.02), metal, rounding=0.006)


def window(stage: Stage, materials: Materials, opening: Opening) -> None:
    """Build a window: bright pane in its recess, frame, bars, sill, curtains, incoming light."""
    rng = materials.rng
    wide, tall = opening.right - opening.left, opening.high - opening.low
    middle = ((opening.left + opening.right) / 2, (opening.low + opening.high) / 2)
    daylight = rng.uniform(1.0, 6.0)
    view = materials.window_view(daylight)
    stage.box((middle[0], 0.09, middle[1]), (wide, 0.02, tall), view)
    frame = materials.plain(materials.colour(saturation=(0.0, 0.25), value=(0.3, 0.95)), 0.5)
    for x in [
        opening.left + 0.03,
        opening.right - 0.03,
        *([middle[0]] if rng.random() < 0.7 else []),
    ]:
        stage.box((x, 0.06, middle[1]), (0.06, 0.05, tall), frame)
    for z in [
        opening.low + 0.03,
        opening.high - 0.03,
        *([middle[1]] if rng.random() < 0.4 else []),
    ]:
        stage.box((middle[0], 0.06, z), (wide, 0.05, 0.06), frame)
    stage.box((middle[0], -0.06, opening.low - 0.015), (wide + 0.1, 0.16, 0.03), frame)
    sky = materials.colour((0.53, 0.65), (0.0, 0.25), (0.95, 1.0))
    stage.area_light(
        (middle[0], 0.0, middle[1]),
        (wide, tall),
        14 * daylight * wide * tall,
        sky,
        facing=(rng.normal(0, 0.3), -1.0, rng.uniform(-0.6, 0.0)),
    )
    if rng.random() < 0.5:
        cloth = materials.fabric()
        for side, edge in ((-1, opening.left), (1, opening.right)):
            curtain(stage, edge + side * 0.08, rng.uniform(0.2, 0.5), opening.high + 0.15, cloth)
        bar = opening.high + 0.16
        stage.block(
            (opening.left - 0.35, -0.11, bar), (opening.right + 0.35, -0.09, bar + 0.02), frame
        )


def curtain(stage: Stage, x: float, width: float, height: float, cloth: bpy.types.Material) -> None:
    """Build a hanging curtain of overlapping folds around x."""
    folds = max(3, round(width / 0.06))
    for index in range(folds):
        centre = x + (index - folds / 2) * 0.05
        stage.cylinder((centre, -0.1 + 0.015 * (-1) ** index, 0.03), 0.036, height - 0.03, cloth)


def decorate(
    stage: Stage, materials: Materials, length: float, height: float, openings: list[Opening]
) -> None:
    """Hang pictures, clocks, boards, switches and radiators where the wall is free."""
    rng = materials.rng
    for _ in range(rng.integers(0, 5)):
        wide, tall = rng.uniform(0.2, 1.0), rng.uniform(0.2, 0.8)
        x = rng.uniform(0.2, max(length - wide - 0.2, 0.21))
        z = rng.uniform(1.1, 1.6)
        top = min(z + tall, height - 0.15)
        if any(o.left - 0.1 < x + wide and x < o.right + 0.1 for o in openings):
            continue
        frame = materials.furniture()
        stage.block((x, -0.03, z), (x + wide, 0, top), frame)
        stage.block(
            (x + 0.03, -0.034, z + 0.03), (x + wide - 0.03, -0.03, top - 0.03), materials.picture()
        )
        if rng.random() < 0.3:
            radiator(stage, materials, x, wide + 0.3)


def radiator(stage: Stage, materials: Materials, x: float, width: float) -> None:
    """Build a ribbed radiator low on the wall."""
    white = materials.plain(materials.colour(saturation=(0.0, 0.05), value=(0.8, 0.95)), 0.4)
    for index in range(int(width / 0.05)):
        stage.box((x + 0.05 * index, -0.06, 0.42), (0.04, 0.07, 0.55), white, rounding=0.012)
    stage.block((x, -0.05, 0.2), (x + width, -0.03, 0.25), white)


def ceiling_lights(stage: Stage, materials: Materials, room: Room) -> None:
    """Light the room from the ceiling: panels in a grid, spots, or a lamp hanging in the middle.

    About a fifth of the rooms have these lights off, or nearly, and live on their windows; the
    world's ambient light never reaches a closed room, so one weak wide light stands in for it.
    """
    rng = materials.rng
    tint = materials.colour((0.06, 0.16), (0.0, 0.4), (0.95, 1.0))
    area = room.length * room.width
    watts = area * (rng.uniform(0.2, 1.0) if rng.random() < 0.2 else rng.uniform(2.0, 8.0))
    top = room.height - 0.005
    stage.area_light(
        (room.length / 2, room.width / 2, top - 0.02),
        (room.length * 0.9, room.width * 0.9),
        1.2 * area,
        (1.0, 0.98, 0.95),
    )
    lit = materials.glow(tint, rng.uniform(1.5, 6.0))
    if rng.random() < 0.35:  # a hanging lamp
        x, y, drop = room.length / 2, room.width / 2, rng.uniform(0.3, 0.7)
        stage.cylinder((x, y, top - drop), 0.01, drop, materials.metal())
        stage.cylinder((x, y, top - drop - 0.2), rng.uniform(0.15, 0.3), 0.2, lit, 0.08)
        stage.point_light((x, y, top - drop - 0.3), 0.12, 1.5 * watts, tint)
        return
    spots = rng.random() < 0.4
    apart = max(2.2, math.sqrt(area / 20))
    columns, rows = max(1, round(room.length / apart)), max(1, round(room.width / apart))
    size = (0.16, 0.16) if spots else (rng.uniform(0.5, 1.2), rng.uniform(0.15, 0.6))
    rim = materials.plain(shade((1, 1, 1), 0.8), 0.4)
    for column in range(columns):
        for row in range(rows):
            x = (column + 0.5) * room.length / columns
            y = (row + 0.5) * room.width / rows
            stage.box((x, y, top - 0.01), (size[0] + 0.05, size[1] + 0.05, 0.03), rim)
            stage.box((x, y, top - 0.025), (*size, 0.02), lit)
            stage.area_light((x, y, top - 0.05), size, watts / (columns * rows), tint)
