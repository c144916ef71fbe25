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

"""Makes floor_views.npz: rendered rooms as a small camera sees them, with its height and mount.

Depth is cast ray by ray at 80x60 pixels instead of rendered. It needs Blender's Python module
(requirements-synth.txt) and takes about a minute:

    python test/data/floor_views.py
"""

import math
from pathlib import Path

import numpy as np

from depthrefl_ros.training.synth.rooms import build_room
from depthrefl_ros.training.synth.stage import Stage
from depthrefl_ros.training.synth.views import View

SEED, ROOMS, VIEWS = 777_000, 12, 3
KINDS = ("living", "bedroom", "office", "corridor")
WIDTH, HEIGHT = 80, 60


def main() -> None:
    """Write the file beside this one."""
    depths, views = [], []
    for number in range(ROOMS):
        stage = Stage()
        space, rng = build_room(stage, SEED + number, kind=KINDS[number % len(KINDS)])
        for view in choose(stage, space.room, rng):
            focal = WIDTH / 2 / math.tan(view.horizontal_fov / 2)
            depths.append(cast(stage, view, WIDTH, HEIGHT).reshape(HEIGHT, WIDTH))
            # Focal length in pixels, then the arguments of Pose.from_mount.
            views.append((focal, *view.pose().values()))
    millimetres = np.nan_to_num(np.stack(depths) * 1000, posinf=0).round().astype(np.uint16)
    path = Path(__file__).with_name("floor_views.npz")
    np.savez_compressed(path, depth_mm=millimetres, views=np.array(views))


def choose(stage: Stage, room, rng: np.random.Generator) -> list[View]:
    """Draw views of a robot that has space ahead, 0.2 to 1.6 m high and nearly level."""
    views: list[View] = []
    while len(views) < VIEWS:
        position = rng.uniform((0.25, 0.25, 0.2), (room.length - 0.25, room.width - 0.25, 1.6))
        pitch, roll = np.clip(rng.normal((-5, 0), (9, 2)), (-30, -6), (18, 6))
        view = View(
            tuple(position), rng.uniform(-math.pi, math.pi), math.radians(pitch),
            math.radians(roll), math.radians(rng.uniform(45, 100)),
        )  # fmt: skip
        near, low, middle, high = np.percentile(cast(stage, view, 9, 7), [0, 10, 50, 90])
        if near > 0.3 and middle > 1.3 and high > 1.7 * low and math.isfinite(high):
            views.append(view)
    return views


def cast(stage: Stage, view: View, columns: int, rows: int) -> np.ndarray:
    """Return depth (m) on a grid of the view, (rows * columns,)."""
    rays = view.rays(columns, rows)
    lengths = np.linalg.norm(rays, axis=1)
    return stage.cast(np.array(view.position), rays / lengths[:, None])[0] / lengths


if __name__ == "__main__":
    main()
