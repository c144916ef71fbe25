"""Random furnished rooms and corridors, and viewpoints in them. The same seed, the same room."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from .furniture import CATALOGUE, Piece
from .materials import Materials
from .shell import Opening, Room, build_shell
from .stage import Stage
from .things import tabletop_things

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
        "cabinet": 5,
        "wardrobe": 1,
        "table": 2,
        "chair": 5,
        "shelf": 1,
        "plant": 1,
        "figure": 0.3,
    },
    "corridor": {"cabinet": 2, "shelf": 1, "plant": 2, "chair": 2, "figure": 1, "wardrobe": 1},
}


@dataclass(frozen=True)
class View:
    """A camera in a scene: position (m), heading, pitch (up positive), roll (rad), field of view.

    `horizontal_fov` is the full horizontal angle of view in radians.
    """

    position: tuple[float, float, float]
    yaw: float
    pitch: float
    roll: float
    horizontal_fov: float

    def axes(self) -> np.ndarray:
        """Returns right, down and forward of the camera in the world as rows, (3, 3) float64."""
        cos_p, sin_p = math.cos(self.pitch), math.sin(self.pitch)
        cos_y, sin_y = math.cos(self.yaw), math.sin(self.yaw)
        forward = np.array([cos_y * cos_p, sin_y * cos_p, sin_p])
        level = np.array([sin_y, -cos_y, 0.0])
        below = np.cross(forward, level)
        cos_r, sin_r = math.cos(self.roll), math.sin(self.roll)
        return np.stack([cos_r * level + sin_r * below, cos_r * below - sin_r * level, forward])


@dataclass
class FloorPlan:
    """Which rectangles (x0, y0, x1, y1 in metres) of a room's floor are taken."""

    room: Room
    taken: list[tuple[float, float, float, float]] = field(default_factory=list)

    def is_free(self, x0: float, y0: float, x1: float, y1: float) -> bool:
        """Says whether the rectangle lies in the room and overlaps nothing."""
        if x0 < 0 or y0 < 0 or x1 > self.room.length or y1 > self.room.width:
            return False
        return not any(
            x0 < right and left < x1 and y0 < top and bottom < y1
            for left, bottom, right, top in self.taken
        )

    def claim(self, x: float, y: float, half_x: float, half_y: float, margin: float = 0.03) -> bool:
        """Takes the rectangle around (x, y) if it is free, and says whether it was."""
        rectangle = (x - half_x, y - half_y, x + half_x, y + half_y)
        if not self.is_free(*rectangle):
            return False
        x0, y0, x1, y1 = rectangle
        self.taken.append((x0 - margin, y0 - margin, x1 + margin, y1 + margin))
        return True


def build_room(stage: Stage, seed: int) -> tuple[Room, np.random.Generator]:
    """Builds the furnished room number `seed` and returns it with its random generator."""
    rng = np.random.default_rng(seed)
    materials = Materials(rng)
    style = str(rng.choice(list(STYLES), p=[0.3, 0.2, 0.22, 0.16, 0.12]))
    if style == "corridor":
        room = Room(rng.uniform(6, 14), rng.uniform(1.5, 2.8), rng.uniform(2.3, 3.0))
    else:
        room = Room(rng.uniform(3.0, 8.5), rng.uniform(2.8, 6.5), rng.uniform(2.3, 3.2))
    plan = FloorPlan(room)
    doors = build_shell(stage, materials, room)
    keep_doors_clear(plan, doors)
    furnish(stage, materials, plan, STYLES[style])
    return room, rng


def keep_doors_clear(plan: FloorPlan, doors: list[list[Opening]], reach: float = 0.7) -> None:
    """Takes the floor in front of each door, `reach` metres deep."""
    for (x, y, yaw, _), openings in zip(plan.room.walls(), doors, strict=True):
        along, inward = (math.cos(yaw), math.sin(yaw)), (math.sin(yaw), -math.cos(yaw))
        for opening in openings:
            corners = [
                (x + along[0] * s + inward[0] * d, y + along[1] * s + inward[1] * d)
                for s in (opening.left, opening.right)
                for d in (0.0, reach)
            ]
            xs, ys = zip(*corners, strict=True)
            plan.taken.append((min(xs), min(ys), max(xs), max(ys)))


def furnish(stage: Stage, materials: Materials, plan: FloorPlan, weights: dict[str, float]) -> None:
    """Fills the room by its style, from sparse to crammed, then strews clutter and rugs."""
    rng, room = materials.rng, plan.room
    names, chances = list(weights), np.array(list(weights.values()))
    pieces = int(room.length * room.width * rng.uniform(0.25, 0.8)) + 2
    for name in rng.choice(names, size=pieces, p=chances / chances.sum()):
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


def place(
    stage: Stage, materials: Materials, plan: FloorPlan, piece: Piece, tries: int = 12
) -> bool:
    """Builds a piece at a free spot, against a wall or anywhere; False if no spot was found."""
    rng = materials.rng
    width, depth, height = (rng.uniform(*r) for r in (piece.width, piece.depth, piece.height))
    height = min(height, plan.room.height - 0.1)
    for _ in range(tries):
        if piece.place == "wall":
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
                piece.build(stage, materials, width, depth, height)
            return True
    return False


def choose_views(stage: Stage, room: Room, rng: np.random.Generator, count: int) -> list[View]:
    """Chooses `count` views a robot's camera may have: 0.2 to 1.6 m high, 45 to 100 degrees wide.

    A view is kept if by a grid of rays nothing is nearer than 0.3 m, its median distance is at
    least 1.3 m, and it does not look at one flat wall alone; after 400 tries the rule is given up.
    """
    views: list[View] = []
    for attempt in range(400 + count):
        if len(views) == count:
            break
        view = View(
            position=(
                rng.uniform(0.25, room.length - 0.25),
                rng.uniform(0.25, room.width - 0.25),
                rng.uniform(0.2, 1.6),
            ),
            yaw=rng.uniform(-math.pi, math.pi),
            pitch=math.radians(np.clip(rng.normal(-5, 9), -30, 18)),
            roll=math.radians(np.clip(rng.normal(0, 2), -6, 6)),
            horizontal_fov=math.radians(rng.uniform(45, 100)),
        )
        if attempt >= 400 or is_worth_seeing(stage, view):
            views.append(view)
    return views


def is_worth_seeing(stage: Stage, view: View) -> bool:
    """Applies the rule of `choose_views` with 9 x 7 rays."""
    right, down, forward = view.axes()
    reach = math.tan(view.horizontal_fov / 2)
    distances = []
    for u in np.linspace(-1, 1, 9):
        for v in np.linspace(-0.75, 0.75, 7):
            direction = forward + reach * (u * right + v * down)
            distances.append(stage.distance(view.position, direction / np.linalg.norm(direction)))
    near, low, middle, high = np.percentile(distances, [0, 10, 50, 90])
    return bool(near > 0.3 and middle > 1.3 and high > 1.7 * low and math.isfinite(high))
