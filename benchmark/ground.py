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

"""Measures how often and how well the floor is found in NYU Depth v2, fed true depth.

Over all images that show at least 15 % floor by the labels: in how many a plane is found, and how
far the camera's height is from the one that a robust plane fit to the labelled pixels gives. Where
the labelled pixels hold no plane within 20 degrees of level that has half of them, there is no such
truth: these images count for finding, not for the height. Also: in how many images without any
labelled floor one is found all the same (beds and tables that fill the view, floors under rugs).

    python benchmark/ground.py nyuv2/ --json ground.json

The folder holds rgb/NNNN.jpg, depth/NNNN.png, floor/NNNN.png (255: floor) and
gravity_rotation.csv: for each image a rotation, row by row, that levels its camera's points.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from pathlib import Path

import cv2
import numpy as np

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.ground import find_floor
from depthrefl_ros.geometry.rays import pixel_rays
from depthrefl_ros.tools.command_line import (
    StopRequest,
    ToolError,
    add_json_argument,
    make_parser,
    positive_int,
    progress,
    run_tool,
    write_json,
)
from depthrefl_ros.training.datasets.image_folder import DatasetError
from depthrefl_ros.training.datasets.nyu import COLUMNS, ROWS, NyuFolder

FLOOR_SHARE = 0.15
ALLOWED_FOUND = 0.90
ALLOWED_ERROR = 0.05
TRUTH_TRIPLES = 300
TRUTH_TILT_DEG = 20.0


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; see ``--help``."""
    return run_tool(_parser(), argv, _run)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "ground",
        "Floors found in NYU Depth v2 from true depth and the gravity table.",
        "python benchmark/ground.py nyuv2/ --json ground.json",
    )
    parser.add_argument("folder", type=Path, help="NYU Depth v2; see the top of this file")
    parser.add_argument(
        "--every", type=positive_int, default=1, metavar="N", help="only each Nth image"
    )
    add_json_argument(parser, "the figures")
    return parser


def _run(args: argparse.Namespace, _ros_args: list[str]) -> None:
    try:
        images = NyuFolder(args.folder)
    except DatasetError as error:
        raise ToolError(str(error)) from error
    ups = read_ups(args.folder / "gravity_rotation.csv")
    names = [name for name in images.names if name in ups][:: args.every]
    rows = []
    with StopRequest() as stop:
        bar = progress(len(names), "floors", "images")
        for name in names:
            if stop:
                break
            row = look_for_floor(images, name, ups[name])
            if row is not None:
                rows.append({"name": name, **row})
            bar.update()
    figures = summarise(rows)
    for key, value in figures.items():
        print(f"  {key:<28}{value:.3f}" if isinstance(value, float) else f"  {key:<28}{value}")
    write_json(args.json, {**figures, "images": rows})


def read_ups(path: Path) -> dict[str, np.ndarray]:
    """Return up (3,) in each image's camera: minus the levelling rotation's second row (y down)."""
    if not path.is_file():
        raise ToolError(f"{path}: is missing; it holds the rotations that level the images")
    with path.open(newline="") as file:
        return {
            row["index"]: -np.array([float(row[name]) for name in ("r10", "r11", "r12")])
            for row in csv.DictReader(file)
        }


def look_for_floor(images: NyuFolder, name: str, up: np.ndarray) -> dict | None:
    """Return the figures of one image; None for one that shows a little floor only."""
    path = images.root / "floor" / f"{name}.png"
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise ToolError(f"{path}: not a readable mask")
    mask = mask[ROWS, COLUMNS] > 0
    share = float(mask.mean())
    if 0.0 < share < FLOOR_SHARE:
        return None
    sample = images.load(name)
    height, width = sample.depth_m.shape
    camera = Camera.pinhole(width, height, *sample.intrinsics)
    start = time.perf_counter()
    floor = find_floor(sample.depth_m, camera, up)
    elapsed_ms = 1e3 * (time.perf_counter() - start)
    truth = true_height(sample.depth_m, mask, camera, up) if share else math.nan
    return {
        "floor_share": share,
        "milliseconds": elapsed_ms,
        "true_height_m": truth,
        "height_m": floor.height_m if floor else math.nan,
    }


def true_height(depth_m: np.ndarray, mask: np.ndarray, camera: Camera, up: np.ndarray) -> float:
    """Return the camera's height (m) above the plane of most labelled pixels, within 3 %.

    NaN where that plane has less than half of them.
    """
    rows, columns = np.nonzero(mask & (depth_m > 0))
    points = pixel_rays(camera, columns, rows) * depth_m[rows, columns][:, None]
    rng, best, most = np.random.default_rng(0), None, 0
    for a, b, c in points[rng.integers(0, len(points), (TRUTH_TRIPLES, 3))]:
        normal = np.cross(b - a, c - a)
        if abs(normal @ up) < math.cos(math.radians(TRUTH_TILT_DEG)) * np.linalg.norm(normal):
            continue
        offset = normal @ a
        if offset and (count := np.sum(np.abs(points @ normal / offset - 1) < 0.03)) > most:
            best, most = normal / offset, count
    if best is None or most < 0.5 * len(points):
        return math.nan
    for _ in range(5):
        near = points[np.abs(points @ best - 1) < 0.03]
        best = np.linalg.lstsq(near, np.ones(len(near)), rcond=None)[0]
    return float(1.0 / np.linalg.norm(best))


def summarise(rows: list[dict]) -> dict[str, float | int | bool]:
    """Return the figures over all images."""
    shown = [row for row in rows if row["floor_share"]]
    hidden = [row for row in rows if not row["floor_share"]]
    if not shown:
        raise ToolError(f"no image shows {FLOOR_SHARE:.0%} floor")
    found = np.isfinite([row["height_m"] for row in shown])
    errors = np.array([abs(row["height_m"] / row["true_height_m"] - 1) for row in shown])
    known = np.isfinite([row["true_height_m"] for row in shown])
    right = errors[known] < ALLOWED_ERROR  # not found: NaN, not right
    measured = errors[np.isfinite(errors)]
    return {
        "images_with_floor": len(shown),
        "found": float(found.mean()),
        "with_known_height": int(known.sum()),
        "height_within_5_percent": float(right.mean()),
        "height_error_median": float(np.median(measured)),
        "height_error_90th": float(np.percentile(measured, 90)),
        "images_without_floor": len(hidden),
        "found_without_floor": sum(math.isfinite(row["height_m"]) for row in hidden),
        "milliseconds_median": float(np.median([row["milliseconds"] for row in rows])),
        "passes": bool(found.mean() >= ALLOWED_FOUND and right.mean() >= ALLOWED_FOUND),
    }


if __name__ == "__main__":
    raise SystemExit(main())
