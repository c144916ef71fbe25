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

"""Random spaces, from bathrooms to halls. The same seed, the same space.

`KINDS` lists them. Each is a shell with its doors and windows, what is built in, and loose
furniture of a style.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import halls, spaces
from .floor_plan import FloorPlan, keep_doors_clear, place, place_model
from .furniture import CATALOGUE
from .imports import MODEL_CHANCE, ModelStore
from .looks import PLAIN, Looks
from .materials import Materials
from .models import Models
from .shell import Room, Shell, build_shell
from .stage import Stage
from .things import tabletop_things
from .views import Region

MOST_PIECES = 60

STYLES: dict[str, dict[str, float]] = {
    "living": {
        "sofa": 2,
        "armchair": 2,
        "coffee_table": 2,
        "shelf": 2,
        "media_unit": 1,
        "plant": 2,
        "floor_lamp": 2,
        "table": 1,
        "chair": 3,
        "cabinet": 1,
        "figure": 0.3,
    },
    "bedroom": {
        "bed": 2,
        "wardrobe": 2,
        "desk": 1,
        "chair": 2,
        "shelf": 1,
        "cabinet": 2,
        "floor_lamp": 1,
        "armchair": 1,
    },
    "office": {
        "desk": 4,
        "office_chair": 5,
        "shelf": 3,
        "cabinet": 2,
        "table": 1,
        "plant": 2,
        "figure": 0.5,
    },
    "kitchen": {
        "cabinet": 2,
        "table": 2,
        "chair": 5,
        "shelf": 1,
        "plant": 1,
        "figure": 0.3,
    },
    "hall": {
        "table": 2,
        "chair": 6,
        "sofa": 1,
        "armchair": 2,
        "plant": 3,
        "shelf": 2,
        "cabinet": 2,
        "figure": 3,
        "desk": 1,
    },
    "bathroom": {"cabinet": 2, "plant": 1, "shelf": 1},
    "store": {"shelf": 2, "cabinet": 2, "table": 1, "figure": 1, "chair": 1, "wardrobe": 1},
    "corridor": {"cabinet": 2, "shelf": 1, "plant": 2, "chair": 2, "figure": 1, "wardrobe": 1},
}


@dataclass(frozen=True)
class Kind:
    """One kind of space.

    Attributes:
        share: of all spaces.
        length, width, height: ranges of the room, metres.
        style: of its loose furniture, in `STYLES` and among the models.
        fill: range of pieces a square metre.
        shell: what the walls are like.
        built_in: builds what is fixed and claims its floor; may return where cameras may be.
    """

    share: float
    length: tuple[float, float]
    width: tuple[float, float]
    height: tuple[float, float]
    style: str
    fill: tuple[float, float] = (0.25, 0.8)
    shell: Shell = Shell()
    built_in: Callable | None = None


HOME = ((3.0, 8.5), (2.8, 6.5), (2.3, 3.2))
HALL = ((9, 25), (7, 15), (2.8, 7))
OPEN, BRIGHT = Shell(open_chance=0.6), Shell(glazed_chance=0.6, open_chance=0.2)
KINDS = {
    "living": Kind(0.12, *HOME, "living", shell=Shell(0.1, 0.15)),
    "bedroom": Kind(0.07, *HOME, "bedroom"),
    "office": Kind(0.1, *HOME, "office", shell=Shell(0.15, 0.1)),
    "kitchen": Kind(
        0.1, (2.4, 6.5), (2.2, 5), (2.3, 3), "kitchen", (0.1, 0.4), OPEN, spaces.kitchen
    ),
    "bathroom": Kind(
        0.07, (1.7, 4), (1.5, 3), (2.2, 2.8), "bathroom", (0.0, 0.3), Shell(), spaces.bathroom
    ),
    "corridor": Kind(0.12, (6, 25), (1.5, 2.8), (2.3, 3), "corridor", (0.1, 0.5), OPEN),
    "classroom": Kind(
        0.08, (6, 13), (5, 10), (2.7, 3.6), "office", (0.02, 0.1), BRIGHT, spaces.classroom
    ),
    "lobby": Kind(0.12, *HALL, "hall", (0.03, 0.2), BRIGHT, halls.lobby),
    "hall": Kind(0.04, *HALL, "hall", (0.1, 0.4), BRIGHT),
    "warehouse": Kind(
        0.08, (10, 25), (7, 15), (3.5, 7), "store", (0.01, 0.06), Shell(), halls.warehouse
    ),
    "workshop": Kind(
        0.06, (5, 12), (4, 9), (2.8, 5), "store", (0.05, 0.3), Shell(0.2, 0.1), spaces.workshop
    ),
    "stairs": Kind(
        0.04, (5.5, 9), (2.3, 4.5), (4.2, 6), "corridor", (0.0, 0.2), BRIGHT, halls.staircase
    ),
}


@dataclass(frozen=True)
class Space:
    """A built space: its kind and where cameras may be."""

    kind: str
    room: Room
    regions: tuple[Region, ...]


def build_room(
    stage: Stage,
    seed: int,
    models: Models | None = None,
    kind: str | None = None,
    looks: Looks = PLAIN,
) -> tuple[Space, np.random.Generator]:
    """Build the furnished space number `seed` and return it with its random generator.

    With `models` most of the furniture is theirs. `kind` picks one of `KINDS`. `looks` change how
    it is painted and lit, and nothing of its shape.
    """
    rng = np.random.default_rng(seed)
    materials = Materials(rng, looks)
    if models is not None:
        stage.store = ModelStore(stage, models, materials)
    shares = np.array([each.share for each in KINDS.values()])
    drawn = str(rng.choice(list(KINDS), p=shares / shares.sum()))
    name = kind or drawn
    what = KINDS[name]
    room = Room(*(rng.uniform(*limits) for limits in (what.length, what.width, what.height)))
    plan = FloorPlan(room)
    doors = build_shell(stage, materials, room, what.shell)
    keep_doors_clear(plan, doors)
    regions = None
    if what.built_in is not None:
        regions = what.built_in(stage, materials, plan, doors)
    furnish(stage, materials, plan, what)
    return Space(name, room, tuple(regions or [room.region])), rng


def furnish(stage: Stage, materials: Materials, plan: FloorPlan, what: Kind) -> None:
    """Fill the room by its style, from sparse to crammed, then strew clutter and rugs."""
    rng, room, style = materials.rng, plan.room, what.style
    names, chances = list(STYLES[style]), np.array(list(STYLES[style].values()))
    pieces = min(int(room.length * room.width * rng.uniform(*what.fill)) + 1, MOST_PIECES)
    for name in rng.choice(names, size=pieces, p=chances / chances.sum()):
        if stage.store is not None and rng.random() < MODEL_CHANCE:
            furnish_with_model(stage, rng, plan, style)
        else:
            place(stage, materials, plan, CATALOGUE[str(name)])
    clutter = [name for name, piece in CATALOGUE.items() if piece.place == "clutter"]
    for name in rng.choice(clutter, size=int(pieces * rng.uniform(0.1, 0.9))):
        place(stage, materials, plan, CATALOGUE[str(name)])
    if rng.random() < 0.5:
        wide, deep = rng.uniform(1.2, 2.6), rng.uniform(0.8, 1.8)
        centre = (rng.uniform(0.3, 0.7) * room.length, rng.uniform(0.35, 0.65) * room.width, 0.006)
        wide, deep = min(wide, room.length * 0.5), min(deep, room.width * 0.5)
        stage.box(centre, (wide, deep, 0.012), materials.fabric(), rng.normal(0, 0.2))
    with stage.at(room.length / 2, room.width / 2):
        tabletop_things(
            stage, materials, room.length * 0.9, room.width * 0.9, 0.0, rng.integers(0, 4)
        )


def furnish_with_model(stage: Stage, rng, plan: FloorPlan, style: str) -> None:
    """Place a random model that suits the room's style, rarely another's, rarely a person."""
    use = {"corridor": "living", "hall": "living", "store": "living"}.get(style, style)
    if rng.random() < 0.2:
        use = str(rng.choice(["living", "bedroom", "office", "kitchen"]))
    spot = "free" if rng.random() < 0.5 else "wall"
    if rng.random() < 0.05:
        use, spot = "people", "free"
    model = stage.store.choose(use, spot)
    if model is not None:
        place_model(stage, rng, plan, model)
