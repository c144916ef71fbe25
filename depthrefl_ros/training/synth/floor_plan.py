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

"""Where things stand on a room's floor: what is taken, and free spots for more."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from .furniture import Piece
from .materials import Materials
from .models import Model
from .shell import Opening, Room
from .stage import Stage

DOOR_DEPTH_M = 0.7  # of the floor that stays free in front of a door


@dataclass
class FloorPlan:
    """Which rectangles (x0, y0, x1, y1 in metres) of a room's floor are taken."""

    room: Room
    taken: list[tuple[float, float, float, float]] = field(default_factory=list)

    def is_free(self, x0: float, y0: float, x1: float, y1: float) -> bool:
        """Tell whether the rectangle lies in the room and overlaps nothing."""
        if x0 < 0 or y0 < 0 or x1 > self.room.length or y1 > self.room.width:
            return False
        return not any(
            x0 < right and left < x1 and y0 < top and bottom < y1
            for left, bottom, right, top in self.taken
        )

    def claim(self, x: float, y: float, half_x: float, half_y: float, margin: float = 0.03) -> bool:
        """Take the rectangle around (x, y) if it is free, and say whether it was."""
        rectangle = (x - half_x, y - half_y, x + half_x, y + half_y)
        if not self.is_free(*rectangle):
            return False
        x0, y0, x1, y1 = rectangle
        self.taken.append((x0 - margin, y0 - margin, x1 + margin, y1 + margin))
        return True


def keep_doors_clear(plan: FloorPlan, doors: list[list[Opening]]) -> None:
    """Take the floor in front of each door, `DOOR_DEPTH_M` deep."""
    for (x, y, yaw, _), openings in zip(plan.room.walls(), doors, strict=True):
        along, inward = (math.cos(yaw), math.sin(yaw)), (math.sin(yaw), -math.cos(yaw))
        for opening in openings:
            corners = [
                (x + along[0] * s + inward[0] * d, y + along[1] * s + inward[1] * d)
                for s in (opening.left, opening.right)
                for d in (0.0, DOOR_DEPTH_M)
            ]
            xs, ys = zip(*corners, strict=True)
            plan.taken.append((min(xs), min(ys), max(xs), max(ys)))


def place(
    stage: Stage, materials: Materials, plan: FloorPlan, piece: Piece, tries: int = 12
) -> bool:
    """Build a piece at a free spot, against a wall or anywhere; False if no spot was found."""
    rng = materials.rng
    width, depth, height = (rng.uniform(*r) for r in (piece.width, piece.depth, piece.height))
    height = min(height, plan.room.height - 0.1)

    def build() -> None:
        piece.build(stage, materials, width, depth, height)

    return put(stage, rng, plan, (width, depth), piece.place == "wall", build, tries)


def place_model(stage: Stage, rng, plan: FloorPlan, model: Model) -> bool:
    """Build an imported model at a free spot; False if no spot was found or it is too tall."""
    if model.size[2] > plan.room.height - 0.05 or max(model.size[:2]) > plan.room.width:
        return False

    def build() -> None:
        stage.store.furnished(model)

    return put(stage, rng, plan, model.size[:2], model.place == "wall", build, tries=12)


def put(
    stage: Stage,
    rng: np.random.Generator,
    plan: FloorPlan,
    size: tuple[float, float],
    at_wall: bool,
    build: Callable[[], None],
    tries: int,
) -> bool:
    """Call `build` in the frame of a free spot of width x depth `size`, and say if one was."""
    width, depth = size
    for _ in range(tries):
        if at_wall:
            x0, y0, yaw, length = plan.room.walls()[rng.integers(4)]
            along = rng.uniform(width / 2, max(length - width / 2, width / 2))
            off = depth / 2 + 0.03
            x = x0 + math.cos(yaw) * along + math.sin(yaw) * off
            y = y0 + math.sin(yaw) * along - math.cos(yaw) * off
            turned = abs(math.sin(yaw)) > 0.5
            half = (depth / 2, width / 2) if turned else (width / 2, depth / 2)
        else:
            x, y = rng.uniform(0, plan.room.length), rng.uniform(0, plan.room.width)
            yaw = rng.integers(4) * math.pi / 2 + rng.normal(0, 0.3)
            cos, sin = abs(math.cos(yaw)), abs(math.sin(yaw))
            half = (cos * width / 2 + sin * depth / 2, sin * width / 2 + cos * depth / 2)
        if plan.claim(x, y, *half):
            with stage.at(x, y, 0.0, yaw):
                build()
            return True
    return False
