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

"""Measures how soon inverse relative depth of an unknown scale and shift becomes metric.

A sequence is played as r = (1/z - shift) / scale with random numbers, the same for all frames or,
``wandering``, with 5 % of change from frame to frame. z is the truth or a model's depth. What comes
out is compared with z itself, which is what the true scale and shift would give: a case passes when
its AbsRel is within 2 points of that after at most 15 frames and on average from there on.

    python benchmark/relative.py --json relative.json
    python benchmark/relative.py --source drive/  # of 'depthrefl render drive', with mounts.yaml

The anchors: ``reference_depth`` is the true depth with noise of 0.2 % z^2, nothing beyond 6 m, and
holes over a quarter of the image; ``reference_points``, ``range`` and ``ground`` are those of
benchmark/scale.py; ``ground, fixed`` knows only how the camera is mounted, not how it rocks, and
``ground, 1 degree`` has an error of so much in pitch. ``motion``, of the shipped recording only,
knows the robot's true poses. ``auto`` has floor and Range.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from costmap_drive import recorded_places
from scale import (
    RECORDING,
    SONAR_CONE_RAD,
    SONAR_POSE,
    SONAR_RANGE_M,
    Step,
    add_sequence_arguments,
    read_sequence,
    sonar,
    sparse_points,
)

from depthrefl_ros.geometry.anchors import RangeReading
from depthrefl_ros.geometry.correction import CorrectionSettings, DepthCorrection
from depthrefl_ros.geometry.motion import MotionDepth
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.surround import Surround
from depthrefl_ros.tools.command_line import (
    add_json_argument,
    make_parser,
    positive_int,
    run_tool,
    write_json,
)
from depthrefl_ros.training.metrics import depth_metrics

CASES = ("reference_depth", "reference_points", "motion", "ground", "ground, fixed",
         "ground, 1 degree", "range", "auto")  # fmt: skip
ALLOWED_FRAMES, ALLOWED_POINTS = 15, 0.02
HOLES = 0.25
_FARTHEST_REFERENCE_M = 6.0


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; see ``--help``."""
    return run_tool(_parser(), argv, _run)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "relative",
        "After how many frames relative depth is metric, and how well.",
        "python benchmark/relative.py --model indoor_tiny --json relative.json",
    )
    add_sequence_arguments(parser)
    parser.add_argument("--seeds", type=positive_int, default=3, help="default %(default)s")
    add_json_argument(parser, "the figures")
    return parser


def _run(args: argparse.Namespace, _ros_args: list[str]) -> None:
    steps = read_sequence(args, ALLOWED_FRAMES)
    cases = CASES
    if Path(args.source).resolve() == RECORDING.resolve():
        steps = with_motion(steps)
    else:
        cases = [case for case in CASES if case != "motion"]
    steps = [halved(step) for step in steps]
    rows = []
    for prediction in ("truth", args.model):
        chosen = steps
        if prediction == "truth":
            chosen = [replace(step, predicted_m=step.truth_m) for step in steps]
        for case in cases:
            for wanders in (False, True):
                found = [play(chosen, case, seed, wanders) for seed in range(args.seeds)]
                row = {"prediction": prediction, "anchor": case, "wandering": wanders}
                row |= {name: float(np.mean([one[name] for one in found])) for name in found[0]}
                rows.append(row)
    print(table(rows))
    write_json(args.json, {"source": args.source, "frames": len(steps), "rows": rows})


def with_motion(steps: list[Step]) -> list[Step]:
    """Return the recording's steps with what its motion tells, by the robot's true poses."""
    motion, found = MotionDepth(), []
    for step, place in zip(steps, recorded_places(len(steps)), strict=True):
        pose = place.pose @ Pose.from_mount(**step.mount)
        points = motion.update(step.grey, step.camera, None, pose, step.stamp_s)
        found.append(replace(step, motion=points))
    return found


def halved(step: Step) -> Step:
    """Return the step with every second row and column."""
    every = slice(None, None, 2)
    planes = (plane[every, every] for plane in (step.predicted_m, step.truth_m))
    predicted_m, truth_m = (np.ascontiguousarray(plane) for plane in planes)
    return replace(step, predicted_m=predicted_m, truth_m=truth_m, camera=step.camera.strided(2))


def play(steps: list[Step], case: str, seed: int, wanders: bool = False) -> dict[str, float]:
    """Make one sequence of random scale and shift metric.

    Returns:
        ``true_affine`` and ``corrected``: mean AbsRel from frame ``ALLOWED_FRAMES`` on, of the
        frames with metres; ``frames``: how many pass until it is within ``ALLOWED_POINTS`` on
        average over all that follow, NaN if never; ``within``: share of the frames from
        ``ALLOWED_FRAMES`` on that are within it; ``metric``: share of frames with metres.
    """
    rng = np.random.default_rng(seed)
    scale, shift = math.exp(rng.uniform(-5.0, 5.0)), rng.uniform(-0.3, 0.05)
    settings = CorrectionSettings(0.0, "auto" if case == "auto" else case.split(",")[0])
    correction, errors, metric = DepthCorrection(), [], []
    middle = {name: np.median([one.mount[name] for one in steps]) for name in steps[0].mount}
    for step in steps:
        if wanders:
            scale *= math.exp(rng.normal(0.0, 0.05))
            shift += rng.normal(0.0, 0.01)
        # Nearer than the model can tell (-Inf) is no distance, and its inverse would be far.
        predicted_m = np.where(np.isneginf(step.predicted_m), np.nan, step.predicted_m)
        relative = ((1.0 / predicted_m - shift) / scale).astype(np.float32)
        mount = dict(middle if case == "ground, fixed" else step.mount)
        if case == "ground, 1 degree":
            mount["pitch_rad"] += math.radians(1.0)
        nothing = np.full_like(relative, np.nan)
        picture = np.zeros((*relative.shape, 3), np.uint8)
        surround = _surround(step, case, Pose.from_mount(**mount), rng)
        found = correction.apply(nothing, picture, step.camera, surround, settings, False, relative)
        own = depth_metrics(step.predicted_m, step.truth_m)["abs_rel"]
        metric.append(bool(np.isfinite(found.depth_m).any()))
        far = np.minimum(found.depth_m, 20.0)
        error = depth_metrics(far, step.truth_m)["abs_rel"] if metric[-1] else math.nan
        errors.append((own, error))
    own, corrected = np.array(errors).T
    excess = corrected - own
    following = np.array([excess[count:].mean() for count in range(len(excess))])
    late = np.flatnonzero(~(following[: ALLOWED_FRAMES + 1] <= ALLOWED_POINTS))
    frames = float(late[-1] + 1) if len(late) else 0.0
    return {
        "true_affine": float(own[ALLOWED_FRAMES:].mean()),
        "corrected": float(np.nanmean(corrected[ALLOWED_FRAMES:]))
        if any(metric[ALLOWED_FRAMES:])
        else math.nan,
        "frames": frames if frames <= ALLOWED_FRAMES else math.nan,
        "within": float(np.mean(excess[ALLOWED_FRAMES:] <= ALLOWED_POINTS)),
        "metric": float(np.mean(metric)),
    }


def _surround(step: Step, case: str, mount: Pose, rng: np.random.Generator) -> Surround:
    known = {"time_s": 100.0 + step.stamp_s, "up": mount.up_in_source}
    if case == "reference_depth":
        return Surround(**known, reference_m=depth_camera(step.truth_m, rng))
    if case == "reference_points":
        return Surround(**known, points=sparse_points(step, rng))
    if case == "motion":
        return Surround(**known, motion=step.motion)
    if case in ("range", "auto"):
        reading = RangeReading(
            sonar(step) * math.exp(rng.normal(0, 0.01)), *SONAR_RANGE_M, SONAR_CONE_RAD
        )
        known |= {"reading": reading, "camera_from_ranger": SONAR_POSE}
    if case != "range":
        known |= {"base_from_camera": mount, "pose_source": "TF"}
    return Surround(**known)


def depth_camera(truth_m: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return what a depth camera has of a true depth (h, w), metres, NaN in its holes."""
    height, width = truth_m.shape
    noise = rng.normal(0.0, 0.002, truth_m.shape) * truth_m**2
    blobs = cv2.resize(rng.random((height // 40 + 2, width // 40 + 2)), (width, height))
    holes = (blobs < np.quantile(blobs, HOLES)) | ~(truth_m < _FARTHEST_REFERENCE_M)
    return np.where(holes, np.nan, truth_m + noise).astype(np.float32)


def table(rows: list[dict]) -> str:
    """Return the figures as a Markdown table."""
    lines = [
        "| prediction | anchor | scale and shift | AbsRel with the true ones "
        "| with the fitted ones | frames until within 2 points | within 2 points after 15 "
        "| frames with metres |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        moves = "wander" if row["wandering"] else "stay"
        lines.append(
            f"| {row['prediction']} | {row['anchor']} | {moves} | {row['true_affine']:.3f} "
            f"| {row['corrected']:.3f} | {row['frames']:.0f} | {100 * row['within']:.0f} % "
            f"| {100 * row['metric']:.0f} % |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
