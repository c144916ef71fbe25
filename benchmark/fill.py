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

"""Measures how well a network fills the holes of a depth camera.

Of a recording with truth the depth camera's image is the truth with noise and holes of one kind:
``glare``, an ellipse on the floor; ``glass``, an upright rectangle; ``range``, everything beyond
4 m; ``panes``, the rendered glass walls and windows of a drive that has ``glass/``. In the hole
AbsRel is measured of the network as it is, scaled by what is measured around (``fill: all``) and
filled (``fill: holes``); at its rim the mean step of ln z, 3 pixels apart, that the truth does not
have.

    python benchmark/fill.py --model indoor_tiny --json fill.json
    python benchmark/fill.py --source drive/  # of 'depthrefl render drive', with mounts.yaml
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from relative import halved
from scale import Step, add_sequence_arguments, read_sequence

from depthrefl_ros.geometry.correction import CorrectionSettings, DepthCorrection
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.surround import Surround
from depthrefl_ros.tools.command_line import (
    ToolError,
    add_json_argument,
    make_parser,
    run_tool,
    write_json,
)
from depthrefl_ros.training.synth.folder import FolderError, RenderedFolder

HOLES = ("glare", "glass", "range")
FARTHEST_M = 4.0


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; see ``--help``."""
    return run_tool(_parser(), argv, _run)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "fill",
        "How well a network fills the holes of a depth camera.",
        "python benchmark/fill.py --model indoor_tiny --json fill.json",
    )
    add_sequence_arguments(parser)
    add_json_argument(parser, "the figures")
    return parser


def _run(args: argparse.Namespace, _ros_args: list[str]) -> None:
    steps = [halved(one) for one in read_sequence(args, 0)]
    holes = {kind: [hole_of(step, kind) for step in steps] for kind in HOLES}
    if panes := panes_of(args.source, steps):
        holes["panes"] = panes
    rows = [{"hole": kind} | measure(steps, where) for kind, where in holes.items()]
    print(
        "| hole | share of the image | AbsRel in it: network | scaled | filled "
        "| step at its rim: scaled | filled |\n|---|---|---|---|---|---|---|"
    )
    for row in rows:
        errors = " | ".join(f"{row[name]:.3f}" for name in ("network", "all", "holes"))
        rims = " | ".join(f"{row[name]:.3f}" for name in ("rim_all", "rim_holes"))
        print(f"| {row['hole']} | {100 * row['share']:.0f} % | {errors} | {rims} |")
    write_json(args.json, {"source": args.source, "frames": len(steps), "rows": rows})


def measure(steps: list[Step], holes: list[np.ndarray]) -> dict[str, float]:
    """Return AbsRel in the hole and the step at its rim by kind of fill, means over the frames.

    Args:
        steps: the frames.
        holes: where the depth camera sees nothing in each, (h, w) bool.
    """
    rng = np.random.default_rng(0)
    corrections = {fill: DepthCorrection() for fill in ("all", "holes")}
    figures: list[dict[str, float]] = []
    for step, hole in zip(steps, holes, strict=True):
        known = np.isfinite(step.truth_m) & np.isfinite(step.predicted_m)
        noisy = step.truth_m + rng.normal(0.0, 0.002, hole.shape) * step.truth_m**2
        reference_m = np.where(hole, np.nan, noisy).astype(np.float32)
        mount = Pose.from_mount(**step.mount)
        around = Surround(100.0 + step.stamp_s, mount.up_in_source, reference_m=reference_m)
        row = {
            "share": float(hole.mean()),
            "network": _error(step.predicted_m, step.truth_m, hole & known),
        }
        for fill, correction in corrections.items():
            settings = CorrectionSettings(temporal_smoothing_s=0.0, fill=fill)
            picture = np.zeros((*hole.shape, 3), np.uint8)
            found = correction.apply(step.predicted_m, picture, step.camera, around, settings)
            pasted = np.where(hole, found.depth_m, step.truth_m)
            row[fill] = _error(found.depth_m, step.truth_m, hole & known)
            row[f"rim_{fill}"] = _step(pasted, step.truth_m, hole)
        figures.append(row)
    means = {name: np.array([row[name] for row in figures]) for name in figures[0]}
    return {
        name: float(np.nanmean(each)) if np.isfinite(each).any() else np.nan
        for name, each in means.items()
    }


def hole_of(step: Step, kind: str) -> np.ndarray:
    """Return where the depth camera sees nothing, (h, w) bool."""
    height, width = step.truth_m.shape
    y, x = np.mgrid[:height, :width] / np.array([height, width])[:, None, None]
    if kind == "glare":
        return ((x - 0.55) / 0.15) ** 2 + ((y - 0.85) / 0.1) ** 2 < 1.0
    if kind == "glass":
        return (np.abs(x - 0.25) < 0.1) & (np.abs(y - 0.4) < 0.25)
    return ~(step.truth_m < FARTHEST_M)


def panes_of(source: str, steps: list[Step]) -> list[np.ndarray]:
    """Return where each frame of a drive has panes, of the size of its depth.

    The list is empty where the source does not say: a recording, or a drive without ``glass/``.

    Raises:
        ToolError: only some frames have it, or a file of it is not what it should be.
    """
    if not (Path(source) / "glass").is_dir():
        return []
    folder, found = RenderedFolder(source), []
    for step in steps:
        try:
            panes = folder.glass(step.name)
        except FolderError as error:
            raise ToolError(str(error)) from error
        if panes is None:
            raise ToolError(f"{source}: glass/{step.name}.png is missing")
        panes = panes[::2, ::2]  # as `halved` does
        if panes.shape != step.truth_m.shape:
            raise ToolError(f"{source}: glass/{step.name}.png has not the size of its depth")
        found.append(panes)
    return found


def _error(depth_m: np.ndarray, truth_m: np.ndarray, where: np.ndarray) -> float:
    return float(np.mean(np.abs(depth_m / truth_m - 1.0)[where])) if where.any() else np.nan


def _step(depth_m: np.ndarray, truth_m: np.ndarray, hole: np.ndarray) -> float:
    wrong, true, found = np.log(depth_m / truth_m), np.log(truth_m), []
    for axis in (0, 1):
        error, depth, inside = (np.swapaxes(plane, 0, axis) for plane in (wrong, true, hole))
        crosses = inside[3:] != inside[:-3]
        level = np.abs(depth[3:] - depth[:-3]) < 0.1
        found.append(np.abs(error[3:] - error[:-3])[crosses & level])
    found = np.concatenate(found)
    return float(np.nanmean(found)) if found.size else np.nan


if __name__ == "__main__":
    raise SystemExit(main())
