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

"""Furniture and clutter, each piece put together from several parts.

Every builder has the form `builder(stage, materials, width, depth, height)`: it builds the piece
around the local origin, standing on z = 0, x across its width, its back towards +y, in metres.
Random choices come from `materials.rng`. `CATALOGUE` lists the pieces with the ranges of their
sizes and where they belong.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from .materials import Materials
from .stage import Stage, bpy
from .things import bag, basket, carton, figure, screen, tabletop_things, toys

Range = tuple[float, float]


@dataclass(frozen=True)
class Piece:
    """One kind of furniture: its builder, ranges of width, depth and height (m), its place.

    `place` is "wall" (back to a wall), "free" (anywhere), or "clutter" (small, on the floor).
    """

    build: Callable[[Stage, Materials, float, float, float], None]
    width: Range
    depth: Range
    height: Range
    place: str


def legs(
    stage: Stage,
    material: bpy.types.Material,
    width: float,
    depth: float,
    height: float,
    thickness: float,
    round_legs: bool = False,
) -> None:
    """Build four legs at the corners of a footprint."""
    for x in (-1, 1):
        for y in (-1, 1):
            at = (x * (width - thickness) / 2, y * (depth - thickness) / 2, 0.0)
            if round_legs:
                stage.cylinder(at, thickness / 2, height, material)
            else:
                centre = (at[0], at[1], height / 2)
                stage.box(centre, (thickness, thickness, height), material)


def table(stage: Stage, materials: Materials, width: float, depth: float, height: float) -> None:
    """Build a table with four legs or a pedestal, with things on it."""
    rng, top = materials.rng, materials.furniture()
    stage.box((0, 0, height - 0.018), (width, depth, 0.036), top, rounding=0.006)
    if rng.random() < 0.8:
        material = top if rng.random() < 0.6 else materials.metal()
        legs(
            stage,
            material,
            width * 0.94,
            depth * 0.94,
            height - 0.036,
            rng.uniform(0.04, 0.08),
            rng.random() < 0.4,
        )
        stage.box((0, 0, height - 0.07), (width * 0.88, depth * 0.88, 0.07), material)
    else:
        stage.cylinder((0, 0, 0), min(width, depth) * 0.3, 0.03, top)
        stage.cylinder((0, 0, 0), 0.05, height - 0.03, top)
    tabletop_things(stage, materials, width, depth, height, rng.integers(2, 8))


def desk(stage: Stage, materials: Materials, width: float, depth: float, height: float) -> None:
    """Build a desk with a drawer block, a monitor or laptop, and things on it."""
    rng, top, body = materials.rng, materials.furniture(), materials.furniture()
    stage.box((0, 0, height - 0.015), (width, depth, 0.03), top)
    legs(stage, materials.metal(), width * 0.97, depth * 0.92, height - 0.03, 0.05)
    stage.box((width / 2 - 0.24, 0, 0.32), (0.4, depth * 0.85, 0.56), body)
    front = -depth * 0.425
    for level in range(3):
        centre = (width / 2 - 0.24, front - 0.008, 0.14 + 0.18 * level)
        stage.box(centre, (0.38, 0.016, 0.165), body)
        stage.box((centre[0], front - 0.025, centre[2] + 0.04), (0.12, 0.02, 0.012), top)
    with stage.at(rng.uniform(-0.3, 0.1) * width, depth * 0.2, height, rng.uniform(-0.3, 0.3)):
        screen(stage, materials, rng.uniform(0.35, 0.62))
    tabletop_things(stage, materials, width, depth, height, rng.integers(2, 6))


def chair(stage: Stage, materials: Materials, width: float, depth: float, height: float) -> None:
    """Build a chair: legs, seat, and a back of slats or a board."""
    rng, frame = materials.rng, materials.furniture()
    seat = 0.45
    legs(stage, frame, width, depth, seat, rng.uniform(0.025, 0.045), rng.random() < 0.5)
    cushion = materials.fabric() if rng.random() < 0.5 else frame
    stage.box((0, 0, seat + 0.015), (width, depth, 0.05), cushion, rounding=0.015)
    for side in (-1, 1):
        stage.box(
            (side * (width / 2 - 0.02), depth / 2 - 0.02, (seat + height) / 2),
            (0.035, 0.035, height - seat),
            frame,
        )
    if rng.random() < 0.5:
        count = int(rng.integers(2, 5))
        for index in range(count):
            level = seat + (height - seat) * (index + 0.8) / count
            stage.box((0, depth / 2 - 0.02, level), (width - 0.04, 0.02, 0.06), frame)
    else:
        centre = (0, depth / 2 - 0.02, seat + (height - seat) * 0.65)
        stage.box(centre, (width - 0.03, 0.03, (height - seat) * 0.65), cushion, rounding=0.01)


def office_chair(
    stage: Stage, materials: Materials, width: float, depth: float, height: float
) -> None:
    """Build a swivel chair: star foot, column, seat, back, arm rests."""
    rng, dark, cloth = materials.rng, materials.metal(), materials.fabric()
    turn = rng.uniform(0, 2 * math.pi)
    for arm in range(5):
        angle = turn + arm * 2 * math.pi / 5
        at = (0.17 * math.cos(angle), 0.17 * math.sin(angle), 0.07)
        stage.box(at, (0.32, 0.05, 0.035), dark, yaw=angle)
        stage.ellipsoid((2 * at[0] * 0.95, 2 * at[1] * 0.95, 0.03), (0.03, 0.03, 0.03), dark)
    stage.cylinder((0, 0, 0.07), 0.035, 0.35, dark)
    stage.box((0, 0, 0.46), (width * 0.8, depth * 0.8, 0.09), cloth, rounding=0.035)
    stage.box(
        (0, depth * 0.4, 0.46 + (height - 0.46) * 0.58),
        (width * 0.75, 0.08, (height - 0.46) * 0.8),
        cloth,
        rounding=0.035,
    )
    stage.box((0, depth * 0.4, 0.52), (0.07, 0.03, 0.2), dark)
    if rng.random() < 0.6:
        for side in (-1, 1):
            stage.box((side * width * 0.45, 0, 0.58), (0.04, 0.04, 0.2), dark)
            stage.box((side * width * 0.45, 0, 0.68), (0.06, 0.26, 0.03), dark, rounding=0.01)


def sofa(stage: Stage, materials: Materials, width: float, depth: float, height: float) -> None:
    """Build a sofa or armchair: base, back, arms, seat cushions, throw pillows."""
    rng, cloth = materials.rng, materials.fabric()
    arm, back, seat = rng.uniform(0.12, 0.24), rng.uniform(0.16, 0.25), rng.uniform(0.38, 0.46)
    stage.box((0, 0, 0.17), (width, depth, 0.22), cloth, rounding=0.03)
    stage.box(
        (0, depth / 2 - back / 2, height / 2 + 0.05),
        (width, back, height - 0.1),
        cloth,
        rounding=0.06,
    )
    arm_height = rng.uniform(0.5, 0.65)
    for side in (-1, 1):
        stage.box(
            (side * (width - arm) / 2, 0, arm_height / 2 + 0.03),
            (arm, depth, arm_height - 0.06),
            cloth,
            rounding=0.05,
        )
    seats = max(1, round((width - 2 * arm) / 0.65))
    step = (width - 2 * arm) / seats
    for index in range(seats):
        x = -width / 2 + arm + (index + 0.5) * step
        stage.box(
            (x, -back / 2, seat - 0.08), (step * 0.98, depth - back, 0.16), cloth, rounding=0.05
        )
        if rng.random() < 0.6:
            stage.box(
                (x, depth / 2 - back - 0.08, seat + 0.18),
                (0.42, 0.14, 0.38),
                materials.fabric(),
                yaw=rng.normal(0, 0.25),
                rounding=0.06,
            )
    legs(stage, materials.furniture(), width * 0.95, depth * 0.9, 0.07, 0.05)


def bed(stage: Stage, materials: Materials, width: float, depth: float, height: float) -> None:
    """Build a bed: frame, head board, mattress, blanket, pillows."""
    rng, frame = materials.rng, materials.furniture()
    stage.box((0, 0, 0.2), (width, depth, 0.2), frame, rounding=0.01)
    legs(stage, frame, width, depth, 0.12, 0.07)
    stage.box((0, depth / 2 - 0.03, height / 2), (width, 0.06, height), frame, rounding=0.015)
    sheet = materials.plain(materials.colour(saturation=(0.0, 0.2), value=(0.75, 0.95)), 0.9)
    stage.box((0, -0.03, 0.39), (width * 0.96, depth * 0.95, 0.2), sheet, rounding=0.06)
    cover = materials.fabric()
    stage.box((0, -depth * 0.15, 0.43), (width * 1.0, depth * 0.68, 0.2), cover, rounding=0.07)
    pillows = 1 if width < 1.3 else 2
    for index in range(pillows):
        x = (index - (pillows - 1) / 2) * width * 0.45
        stage.box(
            (x, depth / 2 - 0.3, 0.55),
            (0.58, 0.36, 0.14),
            sheet if rng.random() < 0.5 else materials.fabric(),
            rng.normal(0, 0.1),
            0.06,
        )


def shelf(stage: Stage, materials: Materials, width: float, depth: float, height: float) -> None:
    """Build an open shelf filled with books, boxes and things."""
    rng, wood = materials.rng, materials.furniture()
    for side in (-1, 1):
        stage.box((side * (width - 0.025) / 2, 0, height / 2), (0.025, depth, height), wood)
    if rng.random() < 0.8:
        stage.box((0, depth / 2 - 0.006, height / 2), (width, 0.012, height), wood)
    boards = max(2, round(height / rng.uniform(0.28, 0.45)))
    gap = (height - 0.03) / boards
    for index in range(boards + 1):
        stage.box((0, 0, 0.015 + index * gap), (width - 0.05, depth, 0.025), wood)
        if index < boards:
            with stage.at(0, 0, 0.028 + index * gap):
                shelf_row(stage, materials, width - 0.06, depth, gap - 0.04)


def shelf_row(
    stage: Stage, materials: Materials, width: float, depth: float, height: float
) -> None:
    """Fill one shelf board from left to right."""
    rng = materials.rng
    covers = [materials.thing() for _ in range(5)]
    x = -width / 2
    while x < width / 2 - 0.06:
        if rng.random() < 0.8:
            thick = rng.uniform(0.015, 0.055)
            tall, deep = height * rng.uniform(0.55, 0.95), depth * rng.uniform(0.6, 0.85)
            centre = (x + thick / 2, -depth / 2 + 0.02 + deep / 2, tall / 2)
            stage.box(centre, (thick, deep, tall), covers[rng.integers(5)])
            x += thick + 0.002
        elif rng.random() < 0.5:
            wide = min(rng.uniform(0.12, 0.3), width / 2 - x)
            tall = height * rng.uniform(0.4, 0.9)
            stage.box((x + wide / 2, 0, tall / 2), (wide, depth * 0.8, tall), materials.thing())
            x += wide + 0.01
        else:
            x += rng.uniform(0.05, 0.25)


def cabinet(stage: Stage, materials: Materials, width: float, depth: float, height: float) -> None:
    """Build a cupboard, dresser or kitchen unit with doors or drawers, handles and a plinth."""
    rng, body, front = materials.rng, materials.furniture(), materials.furniture()
    handle = materials.metal()
    if rng.random() < 0.6:
        front = body
    stage.box((0, 0.01, 0.04), (width * 0.96, depth * 0.92, 0.08), body)
    stage.box((0, 0, 0.08 + (height - 0.08) / 2), (width, depth, height - 0.08), body)
    columns = max(1, round(width / rng.uniform(0.4, 0.65)))
    rows = 1 if rng.random() < 0.5 else max(1, round(height / rng.uniform(0.22, 0.5)))
    cell_w, cell_h = width / columns, (height - 0.1) / rows
    for column in range(columns):
        for row in range(rows):
            x, z = -width / 2 + (column + 0.5) * cell_w, 0.09 + (row + 0.5) * cell_h
            size = (cell_w - 0.012, 0.02, cell_h - 0.012)
            stage.box((x, -depth / 2 - 0.01, z), size, front, rounding=0.003)
            offset = 0.0 if rows > 1 else (cell_w * 0.38) * (1 if column % 2 == 0 else -1)
            grip = (0.1, 0.02, 0.012) if rows > 1 else (0.012, 0.02, 0.14)
            stage.box((x + offset, -depth / 2 - 0.032, z), grip, handle)
    if height < 1.4:
        stage.box((0, -0.01, height + 0.012), (width + 0.03, depth + 0.04, 0.025), body)
        tabletop_things(stage, materials, width, depth, height + 0.025, rng.integers(1, 6))


def media_unit(
    stage: Stage, materials: Materials, width: float, depth: float, height: float
) -> None:
    """Build a low board with a television on it."""
    cabinet(stage, materials, width, depth, height)
    with stage.at(0, 0, height + 0.02):
        screen(stage, materials, min(width * 0.8, 1.2))


def floor_lamp(
    stage: Stage, materials: Materials, width: float, depth: float, height: float
) -> None:
    """Build a standing lamp with a glowing shade and its light."""
    rng, metal = materials.rng, materials.metal()
    stage.cylinder((0, 0, 0), width / 2, 0.025, metal)
    stage.cylinder((0, 0, 0), 0.014, height - 0.2, metal)
    warm = materials.colour((0.07, 0.13), (0.1, 0.5), (0.9, 1.0))
    lit = rng.random() < 0.6
    shade_material = materials.glow(warm, rng.uniform(1, 4)) if lit else materials.fabric()
    stage.cylinder((0, 0, height - 0.28), width * 0.6, 0.28, shade_material, width * 0.4)
    if lit:
        stage.point_light((0, 0, height + 0.12), 0.05, rng.uniform(10, 30), warm)


def plant(stage: Stage, materials: Materials, width: float, depth: float, height: float) -> None:
    """Build a potted plant: pot, stem, leaves."""
    rng, pot = materials.rng, materials.plain(materials.colour(), 0.7)
    pot_height = min(0.4, height * 0.3)
    stage.cylinder((0, 0, 0), width * 0.26, pot_height, pot, width * 0.36)
    stage.cylinder((0, 0, pot_height), 0.02, height * 0.5, materials.wood())
    spread = min(width, height - pot_height) * 0.5
    stage.leaves(
        (0, 0, height - spread * 0.8),
        spread,
        int(rng.integers(60, 180)),
        rng.uniform(0.1, 0.26),
        materials.leaf(),
        rng,
    )


CATALOGUE: dict[str, Piece] = {
    "table": Piece(table, (0.8, 1.9), (0.6, 1.0), (0.68, 0.78), "free"),
    "coffee_table": Piece(table, (0.6, 1.3), (0.45, 0.8), (0.32, 0.5), "free"),
    "desk": Piece(desk, (1.1, 1.7), (0.6, 0.8), (0.7, 0.77), "wall"),
    "chair": Piece(chair, (0.4, 0.5), (0.4, 0.5), (0.8, 1.05), "free"),
    "office_chair": Piece(office_chair, (0.55, 0.65), (0.55, 0.65), (0.85, 1.2), "free"),
    "sofa": Piece(sofa, (1.4, 2.4), (0.8, 1.0), (0.75, 0.95), "wall"),
    "armchair": Piece(sofa, (0.8, 1.0), (0.8, 0.95), (0.75, 1.0), "free"),
    "bed": Piece(bed, (0.9, 1.8), (1.95, 2.1), (0.7, 1.2), "wall"),
    "shelf": Piece(shelf, (0.5, 1.6), (0.24, 0.4), (0.8, 2.1), "wall"),
    "cabinet": Piece(cabinet, (0.5, 2.4), (0.4, 0.62), (0.7, 1.1), "wall"),
    "wardrobe": Piece(cabinet, (0.8, 2.2), (0.5, 0.65), (1.8, 2.2), "wall"),
    "media_unit": Piece(media_unit, (1.0, 1.8), (0.38, 0.5), (0.4, 0.6), "wall"),
    "floor_lamp": Piece(floor_lamp, (0.3, 0.45), (0.3, 0.45), (1.3, 1.8), "free"),
    "plant": Piece(plant, (0.4, 0.8), (0.4, 0.8), (0.5, 1.7), "free"),
    "carton": Piece(carton, (0.25, 0.7), (0.25, 0.6), (0.15, 0.6), "clutter"),
    "basket": Piece(basket, (0.25, 0.45), (0.25, 0.45), (0.25, 0.5), "clutter"),
    "bag": Piece(bag, (0.3, 0.55), (0.2, 0.4), (0.2, 0.45), "clutter"),
    "toys": Piece(toys, (0.4, 0.9), (0.4, 0.9), (0.2, 0.3), "clutter"),
    "figure": Piece(figure, (0.5, 0.55), (0.35, 0.4), (1.55, 1.9), "free"),
}
