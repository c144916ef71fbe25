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

"""Kitchens, bathrooms, classrooms and workshops: what is built in, before loose furniture comes.

Every builder has the form `builder(stage, materials, plan, doors)`: it fills the walls and floor
of `plan.room` and claims what it takes. Walls are described in their own frames (`Room.walls`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from .floor_plan import FloorPlan, place
from .furniture import CATALOGUE, chair, legs, shelf
from .materials import Materials
from .patterns import shade
from .shell import Opening, Room
from .stage import Stage
from .things import basket, screen, tabletop_things

DOOR_FRAME_M = 0.12  # of a wall that stays free beside a door


@contextmanager
def wall_frame(stage: Stage, room: Room, index: int) -> Iterator[float]:
    """Place what is built at wall `index` and yields its length (m); the room lies at y < 0."""
    x, y, yaw, length = room.walls()[index]
    with stage.at(x, y, 0.0, yaw):
        yield length


def free_stretch(length: float, doors: list[Opening]) -> tuple[float, float]:
    """Return the longest part of a wall (m) that no door interrupts."""
    edges = [0.0]
    for opening in sorted(doors, key=lambda o: o.left):
        edges += [opening.left - DOOR_FRAME_M, opening.right + DOOR_FRAME_M]
    edges.append(length)
    stretches = list(zip(edges[::2], edges[1::2], strict=True))
    return max(stretches, key=lambda s: s[1] - s[0])


def claim_wall(plan: FloorPlan, index: int, left: float, right: float, depth: float) -> None:
    """Take the floor along a wall from `left` to `right`, `depth` metres deep."""
    x, y, yaw, _ = plan.room.walls()[index]
    along, inward = (math.cos(yaw), math.sin(yaw)), (math.sin(yaw), -math.cos(yaw))
    xs, ys = zip(
        *(
            (x + along[0] * s + inward[0] * d, y + along[1] * s + inward[1] * d)
            for s in (left, right)
            for d in (0.0, depth)
        ),
        strict=True,
    )
    plan.taken.append((min(xs), min(ys), max(xs), max(ys)))


def kitchen(stage: Stage, materials: Materials, plan: FloorPlan, doors) -> None:
    """Build counters along one to three walls, with sink, hob, oven, fridge and wall units."""
    rng = materials.rng
    body, front = materials.furniture(), materials.furniture()
    slab, steel = materials.slab(), materials.metal()
    black = materials.plain((0.01, 0.01, 0.012), 0.12)
    walls = rng.permutation(4)[: rng.integers(1, 4)]
    tops = rng.random() < 0.8
    for order, index in enumerate(walls):
        with wall_frame(stage, plan.room, index) as length:
            left, right = free_stretch(length, doors[index])
            left, right = max(left, 0.62), min(right, length - 0.62)  # corners stay free
            if right - left < 0.9:
                continue
            if rng.random() < 0.6:  # a fridge at its end
                stage.box((right - 0.31, -0.34, 0.95), (0.6, 0.64, 1.8), front, rounding=0.01)
                stage.box((right - 0.55, -0.69, 1.1), (0.02, 0.04, 0.5), steel)
                claim_wall(plan, index, right - 0.62, right, 0.7)
                right -= 0.64
            claim_wall(plan, index, left, right, 0.65)
            counter(stage, materials, left, right, body, front, slab, steel)
            if order == 0:
                sink(stage, left + (right - left) * rng.uniform(0.2, 0.4), steel)
            if order == len(walls) - 1:
                hob(stage, left + (right - left) * rng.uniform(0.6, 0.8), black, steel, rng)
            if tops:
                wall_units(stage, left, right, front, steel, rng)
            with stage.at((left + right) / 2, -0.3):
                tabletop_things(
                    stage, materials, (right - left) * 0.95, 0.5, 0.93, rng.integers(2, 10)
                )
            stage.block((left, -0.012, 0.93), (right, 0, 1.45), materials.splash())


def counter(stage, materials, left, right, body, front, slab, steel) -> None:
    """Build a row of base units under one work top."""
    rng = materials.rng
    stage.block((left, -0.55, 0), (right, 0, 0.1), body)
    stage.block((left, -0.58, 0.1), (right, 0, 0.89), body)
    stage.block((left - 0.01, -0.62, 0.89), (right + 0.01, 0, 0.93), slab)
    x = left
    while x < right - 0.2:
        wide = min(float(rng.choice([0.4, 0.5, 0.6, 0.8])), right - x)
        rows = int(rng.choice([1, 1, 3, 4]))
        tall = 0.77 / rows
        for row in range(rows):
            centre = (x + wide / 2, -0.59, 0.11 + tall * (row + 0.5))
            stage.box(centre, (wide - 0.008, 0.02, tall - 0.008), front, rounding=0.003)
            grip = (x + wide / 2, -0.615, 0.11 + tall * (row + 1) - 0.05)
            stage.box(grip, (min(0.16, wide * 0.5), 0.03, 0.012), steel)
        x += wide


def sink(stage: Stage, x: float, steel) -> None:
    """Build a steel sink with a tap on a work top."""
    stage.box((x, -0.31, 0.934), (0.78, 0.48, 0.008), steel, rounding=0.003)
    dark = steel.copy()
    dark.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = (0.1, 0.1, 0.1, 1)
    stage.box((x - 0.16, -0.31, 0.939), (0.38, 0.36, 0.004), dark)
    stage.cylinder((x - 0.16, -0.09, 0.93), 0.018, 0.28, steel)
    stage.box((x - 0.16, -0.19, 1.2), (0.025, 0.22, 0.025), steel, rounding=0.01)
    stage.cylinder((x - 0.16, -0.29, 1.13), 0.013, 0.07, steel)


def hob(stage: Stage, x: float, black, steel, rng) -> None:
    """Build a hob with an oven under and a hood over it, maybe with a pot."""
    stage.box((x, -0.31, 0.935), (0.58, 0.5, 0.01), black, rounding=0.002)
    for u in (-0.14, 0.14):
        for v in (-0.12, 0.12):
            stage.cylinder((x + u, -0.31 + v, 0.94), rng.uniform(0.07, 0.1), 0.003, steel)
    stage.box((x, -0.605, 0.5), (0.59, 0.03, 0.58), black)
    stage.box((x, -0.64, 0.74), (0.5, 0.03, 0.02), steel)
    for knob in range(4):
        stage.box((x - 0.2 + 0.13 * knob, -0.62, 0.84), (0.04, 0.03, 0.04), steel, rounding=0.012)
    stage.box((x, -0.25, 1.62), (0.6, 0.48, 0.06), steel)
    stage.box((x, -0.14, 1.95), (0.25, 0.25, 0.65), steel)
    if rng.random() < 0.6:
        stage.cylinder((x - 0.14, -0.2, 0.943), 0.1, rng.uniform(0.08, 0.2), steel)


def wall_units(stage: Stage, left: float, right: float, front, steel, rng) -> None:
    """Build wall units above a work top, with gaps."""
    x, tall = left, rng.uniform(0.5, 0.8)
    while x < right - 0.35:
        wide = min(rng.uniform(0.4, 0.8), right - x)
        if rng.random() < 0.7:
            stage.block((x, -0.34, 1.47), (x + wide - 0.006, 0, 1.47 + tall), front)
            stage.box((x + wide * 0.85, -0.36, 1.57), (0.012, 0.03, 0.13), steel)
        x += wide


def bathroom(stage: Stage, materials: Materials, plan: FloorPlan, doors) -> None:
    """Build a tub or a shower of glass, washbasin with mirror, toilet and towel."""
    rng, room = materials.rng, plan.room
    white = materials.plain(shade((1, 1, 0.98), rng.uniform(0.7, 0.9)), 0.15)
    steel, tiles = materials.mirror(), materials.splash()
    for index, kind in zip(rng.permutation(4), ("bath", "basin", "toilet"), strict=False):
        with wall_frame(stage, room, index) as length:
            left, right = free_stretch(length, doors[index])
            stage.block((0, -0.008, 1.9), (length, 0, 1.93), materials.furniture())
            if right - left < 0.7:
                continue
            stage.block((left, -0.01, 0), (right, 0, rng.uniform(1.2, 1.9)), tiles)
            middle = rng.uniform(left + 0.35, right - 0.35)
            if kind == "bath" and right - left > 1.6 and rng.random() < 0.6:
                with stage.at(left + 0.85, -0.4):
                    tub(stage, white, steel)
                claim_wall(plan, index, left, left + 1.75, 0.8)
            elif kind == "bath":
                glass = materials.glass()
                stage.block((left, -0.9, 0), (min(left + 0.9, right), 0, 0.05), white)
                stage.block((left, -0.9, 0.05), (left + 0.9, -0.892, 2.0), glass)
                stage.block((left + 0.892, -0.9, 0.05), (left + 0.9, 0, 2.0), glass)
                stage.cylinder((left + 0.45, -0.06, 1.0), 0.012, 1.1, steel)
                stage.cylinder((left + 0.45, -0.16, 2.05), 0.09, 0.02, steel)
                claim_wall(plan, index, left, left + 0.95, 0.95)
            elif kind == "basin":
                wide = min(rng.uniform(0.5, 1.1), right - left)
                middle = np.clip(middle, left + wide / 2, right - wide / 2)
                stage.box((middle, -0.23, 0.55), (wide, 0.44, 0.5), materials.furniture())
                stage.box((middle, -0.24, 0.83), (wide + 0.02, 0.47, 0.08), white, rounding=0.02)
                stage.ellipsoid((middle, -0.26, 0.87), (0.2, 0.15, 0.012), white)
                stage.cylinder((middle, -0.06, 0.87), 0.015, 0.14, steel)
                stage.box((middle, -0.12, 1.0), (0.025, 0.14, 0.02), steel, rounding=0.008)
                pane = (wide * rng.uniform(0.7, 1.1), 0.01, rng.uniform(0.5, 0.9))
                stage.box((middle, -0.02, 1.5), pane, steel)
                stage.point_light((middle, -0.2, 2.05), 0.06, 12, (1, 0.95, 0.85))
                with stage.at(middle, -0.2):
                    tabletop_things(stage, materials, wide * 0.8, 0.3, 0.87, rng.integers(1, 5))
                claim_wall(plan, index, middle - wide / 2, middle + wide / 2, 0.5)
            else:
                with stage.at(middle, 0):
                    stage.box((0, -0.1, 0.6), (0.38, 0.17, 0.36), white, rounding=0.03)
                    stage.cylinder((0, -0.4, 0), 0.11, 0.36, white, 0.17)
                    stage.ellipsoid((0, -0.42, 0.4), (0.19, 0.25, 0.035), white)
                    stage.cylinder((0.35, -0.05, 0.7), 0.055, 0.1, materials.fabric())
                claim_wall(plan, index, middle - 0.25, middle + 0.25, 0.7)
            towel = rng.uniform(left + 0.2, right - 0.2)
            stage.box((towel, -0.05, 1.25), (0.4, 0.03, 0.6), materials.fabric(), rounding=0.012)


def tub(stage: Stage, white, steel) -> None:
    """Build a bathtub 1.7 m long with a hollow and a tap."""
    for side in (-1, 1):
        stage.box((0, side * 0.36, 0.28), (1.7, 0.06, 0.56), white, rounding=0.02)
        stage.box((side * 0.8, 0, 0.28), (0.1, 0.76, 0.56), white, rounding=0.02)
    stage.box((0, 0, 0.09), (1.6, 0.7, 0.18), white)
    stage.cylinder((-0.78, 0, 0.56), 0.02, 0.15, steel)


def classroom(stage: Stage, materials: Materials, plan: FloorPlan, doors) -> None:
    """Build rows of desks with chairs before a board, and the teacher's desk."""
    rng, room = materials.rng, plan.room
    board = materials.plain((0.02, 0.09, 0.05) if rng.random() < 0.4 else (0.85, 0.86, 0.88), 0.3)
    wide = min(room.width * 0.6, 4.0)
    with wall_frame(stage, room, 3):
        x = room.width / 2
        stage.box((x, -0.03, 1.5), (wide, 0.04, 1.2), board)
        stage.box((x, -0.06, 0.88), (wide, 0.1, 0.03), materials.metal())
    top, metal, seat = materials.furniture(), materials.metal(), materials.furniture()
    desk_w, desk_d = rng.choice([0.7, 1.3, 1.6]), rng.uniform(0.5, 0.65)
    place(stage, materials, plan, CATALOGUE["desk"])
    apart_x, apart_y = desk_d + rng.uniform(0.75, 1.0), desk_w + rng.uniform(0.15, 0.9)
    x = 2.4
    while x < room.length - 0.9:
        y = 0.5 + desk_w / 2
        while y < room.width - desk_w / 2 - 0.4:
            if rng.random() < 0.93 and plan.claim(x, y, desk_d / 2 + 0.45, desk_w / 2, 0.0):
                with stage.at(x + rng.normal(0, 0.03), y, 0, math.pi / 2 + rng.normal(0, 0.04)):
                    stage.box((0, 0, 0.735), (desk_w, desk_d, 0.03), top)
                    legs(stage, metal, desk_w * 0.95, desk_d * 0.9, 0.72, 0.035)
                    tabletop_things(stage, materials, desk_w, desk_d, 0.75, rng.poisson(0.6))
                    for side in (-1, 1) if desk_w > 1 else (0,):
                        with stage.at(side * desk_w / 4, -desk_d / 2 - rng.uniform(0, 0.25), 0,
                                      math.pi + rng.normal(0, 0.2)):  # fmt: skip
                            simple_chair(stage, seat, metal)
            y += apart_y
        x += apart_x


def simple_chair(stage: Stage, seat, metal) -> None:
    """Build a school chair: bent boards on steel legs."""
    legs(stage, metal, 0.4, 0.4, 0.44, 0.025, round_legs=True)
    stage.box((0, 0, 0.45), (0.42, 0.42, 0.02), seat, rounding=0.006)
    stage.box((0, 0.2, 0.72), (0.42, 0.02, 0.24), seat, rounding=0.006)
    for side in (-1, 1):
        stage.box((side * 0.18, 0.2, 0.6), (0.02, 0.02, 0.35), metal)


def workshop(stage: Stage, materials: Materials, plan: FloorPlan, doors) -> None:
    """Build benches with tools and machines along walls and in the middle, pipes and drums."""
    rng, room = materials.rng, plan.room
    top, metal = materials.furniture(), materials.metal()
    for index in rng.permutation(4)[: rng.integers(2, 5)]:
        with wall_frame(stage, room, index) as length:
            left, right = free_stretch(length, doors[index])
            left, right = max(left, 0.8), min(right, length - 0.8)
            if right - left < 1.2:
                continue
            claim_wall(plan, index, left, right, 0.75)
            with stage.at((left + right) / 2, -0.37):
                bench(stage, materials, right - left, top, metal)
            panel = materials.thing()
            stage.block((left, -0.015, 1.15), (right, 0, 1.85), panel)
            for _ in range(int((right - left) * rng.uniform(2, 6))):
                at = (rng.uniform(left + 0.1, right - 0.1), -0.03, rng.uniform(1.25, 1.75))
                size = (rng.uniform(0.02, 0.08), 0.03, rng.uniform(0.1, 0.3))
                stage.box(at, size, materials.thing() if rng.random() < 0.5 else metal)
    for _ in range(rng.integers(1, 4)):
        x, y = rng.uniform(1.5, room.length - 1.5), rng.uniform(1.3, max(room.width - 1.3, 1.4))
        if plan.claim(x, y, 1.0, 0.5):
            with stage.at(x, y):
                bench(stage, materials, 1.9, top, metal)
    for _ in range(rng.integers(2, 7)):
        x, y, r = rng.uniform(0.4, room.length - 0.4), rng.uniform(0.4, room.width - 0.4), 0.29
        if plan.claim(x, y, r, r):
            with stage.at(x, y):
                basket(stage, materials, 2 * r, 2 * r, rng.uniform(0.6, 0.95))
    for _ in range(rng.integers(2, 8)):  # pipes and ducts
        y, z, r = rng.uniform(0.3, room.width - 0.3), room.height - 0.25, rng.uniform(0.02, 0.12)
        stage.cylinder((0, y, z), r, room.length, metal, tilt=(0.0, math.pi / 2))


def bench(stage: Stage, materials: Materials, width: float, top, metal) -> None:
    """Build a work bench with a board under it, boxes, a vice or an instrument."""
    rng = materials.rng
    legs(stage, metal, width * 0.97, 0.66, 0.85, 0.06)
    stage.box((0, 0, 0.875), (width, 0.72, 0.05), top)
    stage.box((0, 0, 0.25), (width * 0.95, 0.6, 0.03), top)
    for level, count in ((0.265, 2), (0.9, 3)):
        for _ in range(rng.poisson(count * width / 2)):
            size = (rng.uniform(0.15, 0.5), rng.uniform(0.15, 0.4), rng.uniform(0.1, 0.4))
            at = (rng.uniform(-0.45, 0.45) * width, rng.uniform(-0.12, 0.12))
            stage.box((*at, level + size[2] / 2), size, materials.thing(), rounding=0.008)
    with stage.at(rng.uniform(-0.4, 0.4) * width, 0.1, 0.9, rng.normal(0, 0.4)):
        screen(stage, materials, rng.uniform(0.3, 0.55))
    tabletop_things(stage, materials, width, 0.65, 0.9, rng.integers(2, 9))
    with stage.at(0, -0.9, 0, math.pi + rng.normal(0, 0.5)):
        if rng.random() < 0.4:
            chair(stage, materials, 0.42, 0.42, 0.9)
    if rng.random() < 0.4:
        with stage.at(0, 0.25, 0.9):
            shelf(stage, materials, min(width, 1.5), 0.25, 0.6)
