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

"""Things that stand on furniture and lie on floors, and people-sized figures.

The floor pieces have the builders' form that `furniture.py` describes.
"""

from __future__ import annotations

import math

from .materials import Materials
from .patterns import shade
from .stage import Stage


def screen(stage: Stage, materials: Materials, width: float) -> None:
    """Build a monitor on its foot, lit or dark."""
    rng, black = materials.rng, materials.plain((0.012, 0.012, 0.014), 0.35)
    tall = width * 0.6
    stage.box((0, 0, 0.01), (width * 0.4, 0.16, 0.02), black)
    stage.box((0, 0.02, 0.08), (0.05, 0.03, 0.16), black)
    stage.box((0, 0, 0.12 + tall / 2), (width, 0.035, tall), black, rounding=0.006)
    if rng.random() < 0.5:
        lit = materials.glow(materials.colour(saturation=(0.0, 0.6), value=(0.4, 0.9)), 1.0)
    else:
        lit = materials.plain((0.005, 0.005, 0.006), 0.1)
    stage.box((0, -0.018, 0.12 + tall / 2), (width * 0.95, 0.004, tall * 0.92), lit)


def tabletop_things(
    stage: Stage, materials: Materials, width: float, depth: float, height: float, count: int
) -> None:
    """Build cups, bottles, books, boxes, bowls and fruit on a surface."""
    rng = materials.rng
    for _ in range(int(count)):
        x, y = rng.uniform(-0.42, 0.42) * width, rng.uniform(-0.4, 0.4) * depth
        with stage.at(x, y, height, rng.uniform(0, 2 * math.pi)):
            if not (stage.store is not None and rng.random() < 0.6 and stage.store.small()):
                small_thing(stage, materials)


def small_thing(stage: Stage, materials: Materials) -> None:
    """Build one thing as it stands on a table or a shelf."""
    rng, material = materials.rng, materials.thing()
    kind = rng.integers(6)
    if kind == 0:  # cup with a handle
        radius = rng.uniform(0.03, 0.05)
        stage.cylinder((0, 0, 0), radius * 0.85, rng.uniform(0.07, 0.12), material, radius)
        stage.box((radius + 0.012, 0, 0.05), (0.03, 0.01, 0.045), material, rounding=0.004)
    elif kind == 1:  # bottle
        radius, tall = rng.uniform(0.03, 0.05), rng.uniform(0.14, 0.24)
        stage.cylinder((0, 0, 0), radius, tall, material)
        stage.cylinder((0, 0, tall), radius, 0.05, material, radius * 0.35)
        stage.cylinder((0, 0, tall + 0.05), radius * 0.35, 0.04, materials.thing())
    elif kind == 2:  # pile of books
        level = 0.0
        for _ in range(rng.integers(1, 6)):
            thick = rng.uniform(0.012, 0.045)
            size = (rng.uniform(0.14, 0.24), rng.uniform(0.18, 0.3), thick)
            stage.box((0, 0, level + thick / 2), size, materials.thing(), rng.normal(0, 0.15))
            level += thick
    elif kind == 3:  # carton
        size = rng.uniform(0.06, 0.3, 3)
        stage.box((0, 0, size[2] / 2), size, material)
    elif kind == 4:  # bowl with fruit
        stage.cylinder((0, 0, 0), 0.05, 0.06, material, 0.13)
        for _ in range(4):
            centre = (*rng.uniform(-0.06, 0.06, 2), 0.075)
            stage.ellipsoid(centre, rng.uniform(0.03, 0.045, 3), materials.thing())
    else:  # vase with a bunch
        stage.cylinder((0, 0, 0), 0.05, rng.uniform(0.12, 0.22), material, 0.035)
        stage.leaves((0, 0, 0.28), 0.1, 30, 0.1, materials.leaf(), rng)


def carton(stage: Stage, materials: Materials, width: float, depth: float, height: float) -> None:
    """Build a cardboard box, shut and taped or with open flaps."""
    rng, base = materials.rng, materials.colour((0.06, 0.1), (0.3, 0.5), (0.45, 0.75))
    card = materials.mottled([base, shade(base, 0.85)], 8, 0.85)
    stage.box((0, 0, height / 2), (width, depth, height), card)
    tape = materials.plain(shade(base, rng.uniform(0.5, 1.3)), 0.3)
    stage.box((0, 0, height / 2 + 0.001), (0.05, depth + 0.003, height), tape)
    if rng.random() < 0.4:
        stage.box((width / 2, 0, height + 0.05), (0.006, depth, 0.12), card)
        stage.box((-width / 2, 0, height + 0.04), (0.006, depth, 0.1), card)


def basket(stage: Stage, materials: Materials, width: float, depth: float, height: float) -> None:
    """Build a bin, basket or stool: a frustum with a rim."""
    body, radius = materials.thing(), min(width, depth) / 2
    stage.cylinder((0, 0, 0), radius * materials.rng.uniform(0.7, 0.95), height, body, radius)
    stage.cylinder((0, 0, height - 0.02), radius * 1.03, 0.025, materials.thing())


def bag(stage: Stage, materials: Materials, width: float, depth: float, height: float) -> None:
    """Build a bag or cushion lying on the floor, with straps."""
    cloth = materials.fabric()
    stage.box((0, 0, height / 2), (width, depth, height), cloth, rounding=0.4 * min(depth, height))
    for side in (-1, 1):
        centre = (side * width * 0.2, -depth / 2, height * 0.6)
        stage.box(centre, (0.03, 0.015, height * 0.5), cloth)


def toys(stage: Stage, materials: Materials, width: float, depth: float, height: float) -> None:
    """Build balls, blocks and shoes strewn over the footprint."""
    rng = materials.rng
    for _ in range(rng.integers(2, 7)):
        x, y = rng.uniform(-0.5, 0.5) * width, rng.uniform(-0.5, 0.5) * depth
        size = rng.uniform(0.04, 0.14)
        if rng.random() < 0.4:
            stage.ellipsoid((x, y, size), (size, size, size), materials.thing())
        elif rng.random() < 0.6:
            stage.box((x, y, size / 2), (size, size, size), materials.thing(), rng.uniform(0, 3))
        else:
            for offset in (0, 0.12):
                stage.box((x + offset, y, 0.045), (0.1, 0.27, 0.09), materials.thing(), 0.1, 0.035)


def figure(stage: Stage, materials: Materials, width: float, depth: float, height: float) -> None:
    """Build a person-sized figure: two legs, trunk, arms, head."""
    rng, trousers, shirt = materials.rng, materials.fabric(), materials.fabric()
    skin = materials.plain(materials.colour((0.04, 0.08), (0.3, 0.6), (0.35, 0.9)), 0.6)
    hip, shoulder = height * 0.48, height * 0.82
    for side in (-1, 1):
        stage.cylinder((side * 0.1, 0, 0), 0.065, hip, trousers, 0.085)
        stage.box((side * 0.1, -0.06, 0.04), (0.1, 0.26, 0.08), materials.thing(), 0, 0.03)
        stage.cylinder(
            (side * 0.24, 0, hip - 0.02),
            0.045,
            shoulder - hip,
            shirt,
            tilt=(rng.normal(0, 0.08), 0.0),
        )
    stage.box((0, 0, (hip + shoulder) / 2), (0.4, 0.23, shoulder - hip), shirt, 0, 0.09)
    stage.cylinder((0, 0, shoulder), 0.05, 0.08, skin)
    stage.ellipsoid((0, 0, height - 0.12), (0.08, 0.1, 0.12), skin)
