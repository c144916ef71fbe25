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

"""What a model that takes the mount makes of a wrong one, and whether the floor check finds it.

Each row is a mount that the robot believes and tells the model. AbsRel is of depth before any gate,
truth below 10 m; ratio is the median of predicted over true. Then how many frames pass the floor
check: if it looked at the depth that was told, and as it is, looking at what the model says of the
same image untold; and after how many frames it first refuses one.

    python benchmark/mount.py --model BUNDLE --json mount.json
    python benchmark/mount.py --model BUNDLE --source drive/  # of 'depthrefl render drive'
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scale import RECORDING, mounts_of

from depthrefl_ros.engine.base import EngineError
from depthrefl_ros.engine.bundle import Bundle, BundleError
from depthrefl_ros.engine.selection import open_engine
from depthrefl_ros.estimator import DepthEstimator, EstimatorSettings
from depthrefl_ros.frames import Frame, Prediction
from depthrefl_ros.geometry.correction import CorrectionSettings, DepthCorrection
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.rectification import reprojected
from depthrefl_ros.geometry.surround import Surround
from depthrefl_ros.ros.convert.camera_info import camera_from_info
from depthrefl_ros.tools.camera_info_file import Intrinsics
from depthrefl_ros.tools.command_line import (
    ToolError,
    add_json_argument,
    make_parser,
    positive_int,
    progress,
    run_tool,
    write_json,
)
from depthrefl_ros.tools.frame_sources import open_source
from depthrefl_ros.tools.truth import find_truth

# What the believed height is multiplied by, and degrees that the camera is believed to look down
# beyond what it does.
WRONG_MOUNTS = {
    "right": (1.0, 0.0),
    "height times 1.3": (1.3, 0.0),
    "height over 1.3": (1 / 1.3, 0.0),
    "height over 2": (0.5, 0.0),
    "height times 2": (2.0, 0.0),
    "5 degrees down": (1.0, 5.0),
    "5 degrees up": (1.0, -5.0),
}
UNTOLD = "not told"
CAP_M = 10.0
_PLAIN = CorrectionSettings(temporal_smoothing_s=0.0)


@dataclass
class Verdicts:
    """Whether each frame passed the floor check.

    Attributes:
        correction: that has the check.
        passed: so far.
    """

    correction: DepthCorrection
    passed: list[bool] = field(default_factory=list)

    def add(
        self, depth_m: np.ndarray, shown: Prediction, surround: Surround, untold_m: Any
    ) -> None:
        """Judge a frame; ``untold_m`` (h, w) is the other depth, or None to look at this one."""
        is_told = untold_m is not None
        if is_told and not self.correction.needs_untold(surround, _PLAIN):
            untold_m = None
        found = self.correction.apply(
            depth_m, shown.image, shown.camera, surround, _PLAIN, True, None, is_told, untold_m
        )
        self.passed.append(not found.obstacle_problem)

    def figures(self, name: str) -> dict[str, float | None]:
        """Return the share that passed, and after how many frames the first one did not."""
        first = self.passed.index(False) if False in self.passed else None
        return {f"passed_{name}": float(np.mean(self.passed)), f"first_refused_{name}": first}


class Row:
    """One mount over all frames.

    Args:
        wrong: of ``WRONG_MOUNTS``; None for a network that is told nothing.
        model_error: relative error of the model, as it was validated.
    """

    def __init__(self, wrong: tuple[float, float] | None, model_error: float):
        self._wrong = wrong
        self._errors: list[float] = []
        self._ratios: list[float] = []
        self._told, self._untold = (Verdicts(DepthCorrection(model_error)) for _ in range(2))

    def mount(self, true: dict[str, float]) -> Pose | None:
        """Return the mount that is believed where this one is true (``Pose.from_mount``)."""
        if self._wrong is None:
            return None
        factor, down_deg = self._wrong
        pitch_rad = true["pitch_rad"] + math.radians(down_deg)
        return Pose.from_mount(true["height_m"] * factor, pitch_rad, true["roll_rad"])

    def add(
        self,
        found: Prediction,
        untold_m: np.ndarray,
        truth_m: np.ndarray,
        mount: Any,
        time_s: float,
    ) -> None:
        """Take one frame in: what was found, what untold, and the truth, each (h, w) metres."""
        known = (truth_m > 0.0) & (truth_m < CAP_M) & np.isfinite(found.depth_m)
        ratio = found.depth_m[known].clip(1e-3, CAP_M) / truth_m[known]
        self._errors.append(float(np.mean(np.abs(ratio - 1.0))))
        self._ratios.append(float(np.median(ratio)))
        if mount is not None:
            surround = Surround(time_s, mount.up_in_source, mount, "parameters")
            self._told.add(found.depth_m, found, surround, None)
            self._untold.add(found.depth_m, found, surround, untold_m)

    def figures(self) -> dict[str, float | None]:
        """Return AbsRel, ratio, and what the floor check said."""
        found = {"abs_rel": float(np.mean(self._errors)), "ratio": float(np.mean(self._ratios))}
        if self._wrong is None:
            return found
        return found | self._told.figures("told") | self._untold.figures("untold")


def measure(source: str, estimator: DepthEstimator, frames: int) -> dict[str, dict[str, Any]]:
    """Return the figures of every mount over the frames of a source.

    Args:
        source: the shipped recording, or a drive with ``mounts.yaml``.
        estimator: of a network that takes the mount.
        frames: as many at most.

    Raises:
        ToolError: the source has no truth, or no mounts.
    """
    truth, mounts, first_ns = find_truth(source), mounts_of(source), None
    if truth is None:
        raise ToolError(f"{source}: has no true depth")
    settings = EstimatorSettings(min_range_m=0.0, max_range_m=1e3)
    error = estimator.bundle.untold_error
    rows = {name: Row(wrong, error) for name, wrong in {UNTOLD: None, **WRONG_MOUNTS}.items()}
    with progress(frames, "measuring", "frames") as bar:
        for number, one in enumerate(open_source(source, Intrinsics()).frames()):
            if number == frames:
                break
            first_ns = one.stamp_ns if first_ns is None else first_ns
            seconds = (one.stamp_ns - first_ns) / 1e9
            true = mounts(one.name, seconds)
            camera = camera_from_info(one.camera_info, source).for_image(one.width, one.height)
            frame = Frame(one.rgb(source), "rgb", camera)
            truth_m = truth.depth_m({"source_stamp_ns": one.stamp_ns, "name": one.name})
            untold = estimator.predict(frame, settings)
            small_m = reprojected(truth_m, camera, untold.camera)
            for row in rows.values():
                mount = row.mount(true)
                told = untold
                if mount is not None:
                    told = estimator.predict(frame, settings, base_from_camera=mount)
                row.add(told, untold.depth_m, small_m, mount, seconds)
            bar.update()
    return {name: row.figures() for name, row in rows.items()}


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Return one line a mount, as a Markdown table."""
    lines = [
        "| mount that is told | AbsRel | ratio | pass by told depth | by untold | first refused |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        cells = [name, f"{row['abs_rel']:.3f}", f"{row['ratio']:.2f}", "", "", ""]
        if "passed_told" in row:
            first = row["first_refused_untold"]
            cells[3:] = (
                f"{100 * row['passed_told']:.0f} %",
                f"{100 * row['passed_untold']:.0f} %",
                "never" if first is None else str(first),
            )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; see ``--help``."""
    return run_tool(_parser(), argv, _run)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "mount",
        "How a wrong mount changes a model's depth, and whether the floor check notices it.",
        "python benchmark/mount.py --model my_bundle --json mount.json",
    )
    add = parser.add_argument
    add("--source", default=str(RECORDING), help="recording or drive with truth; default: shipped")
    add("--frames", type=positive_int, default=1000, help="at most (%(default)s)")
    add("--model", default="indoor_tiny", help="default %(default)s")
    add("--engine", default="openvino", help="default %(default)s")
    add_json_argument(parser, "the figures")
    return parser


def _run(args: argparse.Namespace, _ros_args: list[str]) -> None:
    try:
        bundle = Bundle.load(args.model)
        if not bundle.takes_mount:
            raise ToolError(f"{bundle.name} does not take the mount: its input has 3 channels")
        estimator = DepthEstimator(open_engine(bundle, args.engine).engine, bundle)
        rows = measure(args.source, estimator, args.frames)
    except (BundleError, EngineError, ValueError) as error:
        raise ToolError(str(error)) from error
    print(table(rows))
    write_json(args.json, {"source": args.source, "model": bundle.name, "mounts": rows})


if __name__ == "__main__":
    raise SystemExit(main())
