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

"""A robot's drives: along a furnished corridor for the shipped recording, and through any room.

The corridor's arrangement is fixed and made by hand, unlike the random rooms that training uses;
the seed only chooses materials and sizes. There the robot starts at x = 0.8 m and drives towards
+x. Through a random room it drives straight ahead, on the longest free lane that is found.
"""

from __future__ import annotations

import math

import numpy as np

from .furniture import CATALOGUE, legs
from .materials import Materials
from .shell import Opening, Room, ceiling_lights, decorate, door, floor_and_ceiling, wall, window
from .stage import Stage
from .views import Region, View

CORRIDOR = Room(length=12.5, width=2.7, height=2.6)
CAMERA_HEIGHT_M = 0.5
CAMERA_PITCH_RAD = math.radians(-4.0)
HORIZONTAL_FOV_RAD = math.radians(70.0)
SPEED_M_PER_S = 0.9
RATE_HZ = 10.0
ROBOT_RADIUS_M = 0.2
LANE_ASIDE_M = np.linspace(-ROBOT_RADIUS_M, ROBOT_RADIUS_M, 5)  # where a lane must be free,
LANE_HEIGHTS_M = np.arange(0.05, 0.8, 0.1)  # and how high
LANE_TRIES = 500
STOP_BEFORE_M = 0.7  # how far before the lane's end the robot stops

# Name, x, y (m), yaw (rad) and, to keep the way free, size (m) of what stands in the corridor.
# y = 0 is the wall on the right hand, y = 2.7 m that on the left; backs are towards +y at yaw 0.
OBSTACLES = [
    ("cabinet", 2.2, 2.43, 0.0, (1.2, 0.45, 0.85)),
    ("carton", 3.1, 0.42, 0.3, (0.5, 0.4, 0.45)),
    ("carton", 3.15, 0.40, 0.1, (0.42, 0.38, 0.82)),
    ("plant", 3.7, 2.35, 0.0, (0.6, 0.6, 1.3)),
    ("chair", 4.9, 0.55, 2.6, (0.45, 0.45, 0.9)),
    ("basket", 5.4, 0.35, 0.0, (0.35, 0.35, 0.45)),
    ("figure", 6.3, 2.1, -1.2, (0.5, 0.35, 1.75)),
    ("shelf", 7.2, 0.19, math.pi, (1.1, 0.32, 1.7)),
    ("office_chair", 8.2, 2.0, 1.0, (0.6, 0.6, 1.0)),
    ("carton", 9.2, 0.7, -0.4, (0.6, 0.5, 0.5)),
    ("bag", 9.9, 2.3, 0.4, (0.5, 0.3, 0.35)),
    ("figure", 11.0, 0.7, 0.6, (0.5, 0.35, 1.65)),
    ("plant", 12.1, 2.3, 0.0, (0.6, 0.6, 1.5)),
]


def build_corridor(stage: Stage, rng: np.random.Generator) -> None:
    """Build the corridor with its doors, a window at the end, lights and obstacles."""
    materials = Materials(rng)
    floor_and_ceiling(stage, materials, CORRIDOR)
    side_doors = [
        [Opening(1.0, 1.9, 0.0, 2.03), Opening(4.6, 5.5, 0.0, 2.03), Opening(9.0, 9.9, 0.0, 2.03)],
        [Opening(0.7, 2.0, 0.9, 2.1)],
        [Opening(1.0, 1.9, 0.0, 2.03), Opening(6.6, 7.5, 0.0, 2.03), Opening(10.3, 11.2, 0, 2.03)],
        [],
    ]
    paint, skirting = materials.wall(), materials.wood()
    for (x, y, yaw, length), openings in zip(CORRIDOR.walls(), side_doors, strict=True):
        with stage.at(x, y, 0.0, yaw):
            wall(stage, length, CORRIDOR.height, paint, [o for o in openings if o.low > 0])
            for opening in openings:
                (window if opening.low > 0 else door)(stage, materials, opening)
            decorate(stage, materials, length, CORRIDOR.height, openings)
            stage.block((0, -0.014, 0), (length, 0, 0.09), skirting)
    ceiling_lights(stage, materials, CORRIDOR)
    for name, x, y, yaw, size in OBSTACLES:
        with stage.at(x, y, 0.0, yaw):
            CATALOGUE[name].build(stage, materials, *size)
    with stage.at(7.6, 2.15, 0.0, 0.2):
        trolley(stage, materials)


def trolley(stage: Stage, materials: Materials) -> None:
    """Build a service trolley: two trays on a frame with wheels and a handle, loaded."""
    metal, tray = materials.metal(), materials.plain((0.05, 0.12, 0.3), 0.4)
    legs(stage, metal, 0.8, 0.5, 0.85, 0.03)
    for level in (0.22, 0.75):
        stage.box((0, 0, level), (0.78, 0.48, 0.04), tray, rounding=0.01)
    stage.box((-0.45, 0, 0.9), (0.03, 0.5, 0.03), metal)
    for x in (-0.36, 0.36):
        for y in (-0.2, 0.2):
            stage.ellipsoid((x, y, 0.04), (0.04, 0.02, 0.04), metal)
    stage.box((0.1, 0, 0.4), (0.35, 0.3, 0.32), materials.thing())
    stage.box((-0.1, 0.05, 0.87), (0.3, 0.3, 0.2), materials.thing())


def path_y(x: float) -> float:
    """Return the lateral position (m) of the robot at x: a gentle weave past the obstacles."""
    return 1.35 + 0.28 * math.sin((x - 0.8) * 2 * math.pi / 5.2)


def drive_views(count: int) -> list[View]:
    """Return the camera's pose at each of `count` frames, RATE_HZ apart.

    The camera looks along the path's tangent and rocks a little in pitch and roll, as a robot on
    a floor with joints does.
    """
    views, x = [], 0.8
    for index in range(count):
        slope = (path_y(x + 1e-3) - path_y(x - 1e-3)) / 2e-3
        heading = math.atan(slope)
        time_s = index / RATE_HZ
        views.append(
            View(
                position=(x, path_y(x), CAMERA_HEIGHT_M),
                yaw=heading,
                pitch=CAMERA_PITCH_RAD + math.radians(0.5) * math.sin(5.1 * time_s),
                roll=math.radians(0.6) * math.sin(3.7 * time_s + 1.0),
                horizontal_fov=HORIZONTAL_FOV_RAD,
            )
        )
        x += SPEED_M_PER_S / RATE_HZ * math.cos(heading)
    return views


def choose_drive(stage: Stage, region: Region, rng: np.random.Generator, count: int) -> list[View]:
    """Choose `count` views along a straight drive on the longest of LANE_TRIES random lanes.

    Camera height (0.3 to 0.6 m), mean pitch, field of view and lane are random; pitch and roll
    rock as in `drive_views`. Frames are 1 / RATE_HZ apart at SPEED_M_PER_S, or closer together
    where the lane is short.
    """
    x0, y0, x1, y1 = region.bounds
    lanes = [
        (rng.uniform(x0 + 0.5, x1 - 0.5), rng.uniform(y0 + 0.5, y1 - 0.5), heading)
        for heading in rng.uniform(-math.pi, math.pi, LANE_TRIES)
    ]
    lengths = [lane_length(stage, *lane, region.floor_m) for lane in lanes]
    longest = int(np.argmax(lengths))
    x, y, heading = lanes[longest]
    free = max(lengths[longest] - STOP_BEFORE_M, 0.0)
    step = min(SPEED_M_PER_S / RATE_HZ, free / max(count - 1, 1))
    height, fov = rng.uniform(0.3, 0.6), math.radians(rng.uniform(60, 85))
    pitch = math.radians(rng.uniform(-10, 0))
    return [
        View(
            position=(
                x + math.cos(heading) * step * index,
                y + math.sin(heading) * step * index,
                region.floor_m + height,
            ),
            yaw=heading,
            pitch=pitch + math.radians(0.5) * math.sin(5.1 * index / RATE_HZ),
            roll=math.radians(0.6) * math.sin(3.7 * index / RATE_HZ + 1.0),
            horizontal_fov=fov,
            floor_m=region.floor_m,
        )
        for index in range(count)
    ]


def lane_length(stage: Stage, x: float, y: float, heading: float, floor_m: float = 0.0) -> float:
    """Return how far (m) a robot at (x, y) can drive straight ahead, by a bundle of parallel rays.

    It is 0 where the robot would stand in something.
    """
    ahead = np.array([math.cos(heading), math.sin(heading), 0.0])
    starts = [
        (x - ahead[1] * aside, y + ahead[0] * aside, floor_m + height)
        for aside in LANE_ASIDE_M
        for height in LANE_HEIGHTS_M
    ]
    if any(stage.distance(start, -ahead) < ROBOT_RADIUS_M for start in starts):
        return 0.0
    return min(stage.distance(start, ahead) for start in starts)
