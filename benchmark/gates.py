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

"""Measures what each gate costs, on one core, at the size of a usual camera image.

The depth is that of a floor with boxes before a wall, blurred and uneven as a network's is. The
node applies the gates at its network's size, which is smaller.

    python benchmark/gates.py --json gates.json
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Callable

import cv2
import numpy as np

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.gates import (
    GateSettings,
    apply_gates,
    apply_range,
    depth_edges,
    floating,
    grazing,
    smooth,
)
from depthrefl_ros.tools.command_line import (
    add_json_argument,
    make_parser,
    positive_int,
    run_tool,
    write_json,
)

CAMERA_HEIGHT_M = 0.4
WALL_M = 6.0
BOXES = ((1.2, -0.3, 0.3, 0.5), (2.0, 0.5, 1.1, 1.0))  # distance, left, right, height in metres


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; see ``--help``."""
    return run_tool(_parser(), argv, _run)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "gates", "Milliseconds of each gate on one core.", "python benchmark/gates.py --rounds 500"
    )
    parser.add_argument("--width", type=positive_int, default=640, help="default %(default)s")
    parser.add_argument("--height", type=positive_int, default=480, help="default %(default)s")
    parser.add_argument("--rounds", type=positive_int, default=200, help="default %(default)s")
    add_json_argument(parser, "the figures")
    return parser


def scene(camera: Camera) -> np.ndarray:
    """Return depth (H, W) float32 m as a network gives it: no sharp steps, no even surfaces."""
    v, u = np.mgrid[: camera.height, : camera.width]
    x, y = (u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy
    with np.errstate(divide="ignore"):
        depth = np.minimum(np.where(y > 0, CAMERA_HEIGHT_M / y, np.inf), WALL_M)
    for distance, left, right, height in BOXES:
        top, bottom = CAMERA_HEIGHT_M - height, CAMERA_HEIGHT_M
        on_box = (x * distance > left) & (x * distance < right)
        on_box &= (y * distance > top) & (y * distance < bottom)
        depth = np.where(on_box, np.minimum(depth, distance), depth)
    noise = np.random.default_rng(0).normal(0, 1, depth.shape)
    uneven = cv2.GaussianBlur(np.log(depth), (0, 0), 2) + 0.1 * cv2.GaussianBlur(noise, (0, 0), 6)
    return np.exp(uneven).astype(np.float32)


def steps(camera: Camera) -> dict[str, Callable[[], object]]:
    """Return what is timed, by name."""
    depth, settings = scene(camera), GateSettings()
    sigma, limit = np.full(depth.shape, 0.1, np.float32), 0.2
    inverse = 1.0 / depth
    angle = math.radians(settings.max_grazing_angle_deg)
    return {
        "median": lambda: smooth(depth),
        "edge": lambda: floating(inverse, settings.edge_ratio),
        "steps (for upsampling)": lambda: depth_edges(depth, 1.2),
        "grazing": lambda: grazing(inverse, camera, angle),
        "confidence": lambda: ~(sigma <= limit),
        "range": lambda: apply_range(depth.copy(), settings.min_range_m, settings.max_range_m),
        "all together": lambda: apply_gates(depth, sigma, camera, limit, settings),
    }


def _run(arguments: argparse.Namespace, _: list[str]) -> int:
    cv2.setNumThreads(1)
    camera = Camera.from_horizontal_fov(arguments.width, arguments.height, 1.2)
    timed = steps(camera)
    times: dict[str, list[float]] = {name: [] for name in timed}
    for _round in range(arguments.rounds):
        for name, step in timed.items():
            start = time.perf_counter()
            step()
            times[name].append((time.perf_counter() - start) * 1e3)
    report = {name: float(np.median(values)) for name, values in times.items()}
    load, size = os.getloadavg()[0], f"{arguments.width}x{arguments.height}"
    print(f"{size}, one core, median of {arguments.rounds}, load {load:.2f}")
    for name, milliseconds in report.items():
        print(f"  {name:24} {milliseconds:6.2f} ms")
    write_json(arguments.json, {"milliseconds": report, "load": load})
    return 0


if __name__ == "__main__":
    sys.exit(main())
