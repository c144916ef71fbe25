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

"""Lobbies with columns and glass, warehouse aisles, and staircases.

The builders have the form that `spaces.py` describes.
"""

from __future__ import annotations

import math

from .floor_plan import FloorPlan
from .furniture import cabinet
from .materials import Materials
from .stage import Stage
from .things import carton, figure
from .views import Region


def lobby(stage: Stage, materials: Materials, plan: FloorPlan, doors) -> None:
    """Build columns in a grid, a reception desk, and a glass wall across a part of the hall."""
    rng, room = materials.rng, plan.room
    stone = materials.slab()
    apart, thick = rng.uniform(3.0, 6.0), rng.uniform(0.25, 0.6)
    round_columns = rng.random() < 0.5
    for x in _grid(room.length, apart):
        for y in _grid(room.width, apart):
            if plan.claim(x, y, thick / 2, thick / 2, 0.05):
                if round_columns:
                    stage.cylinder((x, y, 0), thick / 2, room.height, stone)
                else:
                    stage.box((x, y, room.height / 2), (thick, thick, room.height), stone)
    if rng.random() < 0.7:
        x, y = rng.uniform(0.25, 0.75) * room.length, rng.uniform(0.25, 0.75) * room.width
        wide = rng.uniform(1.6, 3.5)
        if plan.claim(x, y, wide / 2 + 0.1, 0.5):
            with stage.at(x, y):
                cabinet(stage, materials, wide, 0.7, rng.uniform(0.95, 1.15))
    if rng.random() < 0.6:
        glass_wall(stage, materials, plan)


def _grid(length: float, apart: float) -> list[float]:
    count = max(1, int(length / apart) - 1)
    return [(index + 1) * length / (count + 1) for index in range(count)]


def glass_wall(stage: Stage, materials: Materials, plan: FloorPlan) -> None:
    """Build a wall of panes with posts across the room, with one pane left out."""
    rng, room = materials.rng, plan.room
    x = rng.uniform(0.3, 0.7) * room.length
    tall = min(room.height, rng.uniform(2.2, 3.2))
    glass, metal = materials.glass(), materials.metal()
    count = max(2, round(room.width / rng.uniform(1.0, 1.8)))
    step, gap = room.width / count, int(rng.integers(count))
    for index in range(count):
        y = index * step
        stage.box((x, y, tall / 2), (0.06, 0.05, tall), metal)
        if index != gap:
            stage.block((x - 0.006, y, 0.02), (x + 0.006, y + step, tall), glass)
            plan.taken.append((x - 0.15, y, x + 0.15, y + step))
            if rng.random() < 0.4:  # marks that people see
                stage.block((x - 0.008, y, 1.0), (x + 0.008, y + step, 1.06), metal)
    stage.block((x - 0.03, 0, tall), (x + 0.03, room.width, tall + 0.06), metal)


def warehouse(stage: Stage, materials: Materials, plan: FloorPlan, doors) -> None:
    """Build racks with pallets in rows along the hall, loose pallets and lines on the floor."""
    rng, room = materials.rng, plan.room
    post = materials.plain(materials.colour((0.55, 0.66), (0.5, 0.95), (0.3, 0.8)), 0.4)
    beam = materials.plain(materials.colour((0.02, 0.14), (0.7, 0.95), (0.6, 0.95)), 0.4)
    wood = materials.wood()
    deep, bay = rng.uniform(0.6, 1.1), rng.uniform(1.8, 2.8)
    aisle = rng.uniform(1.6, 3.2)
    levels = max(1, int((room.height - 0.8) / rng.uniform(1.0, 1.7)))
    rise = (room.height - 0.8) / levels
    left, right = 0.8, room.length - 0.8
    bays = max(1, int((right - left) / bay))
    cards = [_card(materials) for _ in range(5)] + [materials.thing() for _ in range(3)]
    yellow = materials.plain(materials.colour((0.12, 0.15), (0.8, 1.0), (0.7, 0.95)), 0.5)
    y = deep / 2 + 0.1
    while y < room.width - deep / 2 - 0.05:
        for index in range(bays):
            x = left + (index + 0.5) * bay
            if not plan.claim(x, y, bay / 2, deep / 2, 0.0):
                continue
            with stage.at(x, y):
                rack_bay(stage, materials, (bay, deep), (levels, rise), (post, beam, wood), cards)
        stage.block((left, y + deep / 2 + 0.08, 0), (right, y + deep / 2 + 0.16, 0.002), yellow)
        y += deep + aisle
    for _ in range(rng.integers(2, 8)):
        x, y = rng.uniform(0.7, room.length - 0.7), rng.uniform(0.7, room.width - 0.7)
        if plan.claim(x, y, 0.62, 0.62):
            with stage.at(x, y, 0, rng.uniform(0, math.pi)):
                load(stage, materials, wood, cards, (1.1, 0.8), rng.uniform(0.3, 1.6))


def _card(materials: Materials):
    base = materials.colour((0.06, 0.1), (0.3, 0.5), (0.4, 0.75))
    return materials.mottled([base, tuple(c * 0.85 for c in base)], 8, 0.85)


def rack_bay(stage, materials, size, shape, surfaces, cards) -> None:
    """Build one bay of a rack, standing on the local origin, loaded at random."""
    (wide, deep), (levels, rise), (post, beam, wood) = size, shape, surfaces
    rng = materials.rng
    tall = levels * rise + 0.3
    for x in (-wide / 2, wide / 2):
        for y in (-deep / 2 + 0.04, deep / 2 - 0.04):
            stage.box((x, y, tall / 2), (0.08, 0.06, tall), post)
        for z in range(1, int(tall / 0.8) + 1):
            stage.box((x, 0, z * 0.8), (0.03, deep * 0.9, 0.03), post)
    for level in range(levels):
        z = level * rise
        if level:
            for y in (-deep / 2 + 0.03, deep / 2 - 0.03):
                stage.box((0, y, z), (wide, 0.05, 0.11), beam)
            if rng.random() < 0.5:
                stage.box((0, 0, z + 0.06), (wide, deep * 0.9, 0.02), wood)
        spots = max(1, int(wide / 1.25))
        for spot in range(spots):
            x = (spot + 0.5) * wide / spots - wide / 2
            if rng.random() < 0.8:
                with stage.at(x, rng.normal(0, 0.03), z + (0.07 if level else 0)):
                    room_above = rise - 0.35
                    width = min(1.1, wide / spots * 0.9)
                    load(stage, materials, wood, cards, (width, deep * 0.85), room_above)


def load(stage, materials, wood, cards, size, tall) -> None:
    """Build a pallet of the given size with a stack of cartons at most `tall` metres high."""
    rng, (wide, deep) = materials.rng, size
    slats = 4
    for index in range(slats):
        y = (index + 0.5) * deep / slats - deep / 2
        stage.box((0, y, 0.12), (wide, deep / slats * 0.7, 0.022), wood)
    for x in (-wide / 2 + 0.05, 0, wide / 2 - 0.05):
        stage.box((x, 0, 0.055), (0.09, deep, 0.1), wood)
    top, card = tall * rng.uniform(0.2, 1.0), cards[rng.integers(len(cards))]
    if rng.random() < 0.3:  # one wrapped block
        stage.box((0, 0, 0.135 + top / 2), (wide * 0.95, deep * 0.95, top), card, rounding=0.02)
        return
    columns, rows = max(1, round(wide / 0.42)), max(1, round(deep / 0.45))
    layers = max(1, round(top / 0.35))
    step = top / layers
    for layer in range(layers):
        for column in range(columns):
            for row in range(rows):
                if layer == layers - 1 and rng.random() < 0.35:
                    continue
                x = (column + 0.5) * wide / columns - wide / 2 + rng.normal(0, 0.006)
                y = (row + 0.5) * deep / rows - deep / 2 + rng.normal(0, 0.006)
                box = (wide / columns * 0.97, deep / rows * 0.97, step * 0.98)
                stage.box((x, y, 0.135 + step * (layer + 0.5)), box, card)


def staircase(stage: Stage, materials: Materials, plan: FloorPlan, doors) -> list[Region]:
    """Build a flight of stairs along a wall up to a landing, with a railing.

    Returns:
        Where cameras may be: on the floor beside the flight, and on the landing.
    """
    rng, room = materials.rng, plan.room
    rise, tread = rng.uniform(0.15, 0.19), rng.uniform(0.26, 0.31)
    wide = min(rng.uniform(1.0, 1.5), room.width - 1.1)
    steps = min(int(1.75 / rise) + int(rng.integers(0, 6)), int((room.length - 2.4) / tread))
    start = rng.uniform(1.0, max(room.length - 1.2 - steps * tread, 1.05))
    surface, metal = materials.slab(), materials.metal()
    nosing = materials.plain(materials.colour(), 0.5)
    solid = rng.random() < 0.6
    for index in range(steps):
        x, top = start + index * tread, (index + 1) * rise
        low = 0.0 if solid else top - 0.06
        stage.block((x, 0, low), (x + tread + 0.02, wide, top), surface)
        stage.block((x - 0.004, 0, top - 0.03), (x + 0.03, wide, top + 0.003), nosing)
        if index % 2 == 0:
            stage.cylinder((x + tread / 2, wide - 0.04, top), 0.012, 0.9, metal)
    end, high = start + steps * tread, steps * rise
    angle = math.atan2(steps * rise, steps * tread)
    length = math.hypot(steps * rise, steps * tread)
    stage.cylinder(
        (start, wide - 0.04, 0.92 + rise), 0.022, length, metal, tilt=(0.0, math.pi / 2 - angle)
    )
    stage.block((end, 0, 0 if solid else high - 0.2), (room.length, wide, high), surface)
    x = end
    while x < room.length:
        stage.cylinder((x, wide - 0.04, high), 0.012, 0.95, metal)
        x += 0.13
    stage.block((end, wide - 0.06, high + 0.93), (room.length, wide - 0.02, high + 0.97), metal)
    plan.taken.append((start - 0.8, 0, room.length, wide + 0.1))
    if rng.random() < 0.5:
        with stage.at(end + (room.length - end) * 0.6, wide * 0.4, high):
            (figure if rng.random() < 0.5 else carton)(stage, materials, 0.5, 0.4, 0.45)
    below = Region((0.0, wide + 0.1, room.length, room.width), room.height)
    foot = Region((0.0, 0.0, start, room.width), room.height)
    landing = Region((end, 0.0, room.length, wide - 0.1), room.height, high)
    return [below, foot, landing]
