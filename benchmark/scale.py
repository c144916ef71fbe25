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

"""Measures how soon the scale correction brings depth of a wrong scale back.

A sequence is played with its predicted depth multiplied by a wrong factor. The prediction is the
truth, which shows the correction alone, or a model's, which shows it at work. Unscaled means
without the wrong factor and without correction. A prediction from truth passes when its corrected
AbsRel is within a point of the unscaled one (within five by a sonar, which takes what reaches out
of a surface for noise) after at most 15 frames and in each that follows; a model's passes when it
is on average from there on: a model's own scale wanders, and now and then it happens to be right
by itself.

    python benchmark/scale.py --json scale.json
    python benchmark/scale.py --source drive/  # of 'depthrefl render drive', with mounts.yaml

The anchors: ``ground`` knows the camera's height and inclination in every frame, as TF gives them;
``ground, fixed`` only how the camera is mounted, not how it rocks;
``reference_points`` are 200 true points a frame, a tenth of them a third of the true distance;
``range`` is a sonar of 15 degrees beside the camera, read twice a frame, true within 1 %.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from depthrefl_ros.engine.base import EngineError
from depthrefl_ros.engine.bundle import Bundle, BundleError
from depthrefl_ros.engine.selection import open_engine
from depthrefl_ros.estimator import DepthEstimator, EstimatorSettings
from depthrefl_ros.geometry.anchors import (
    RangeReading,
    ReadingWindow,
    ground_anchor,
    points_anchor,
    range_anchor,
)
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.motion import MotionPoints
from depthrefl_ros.geometry.pose import BASE_FROM_OPTICAL, Pose
from depthrefl_ros.geometry.rays import pixel_rays
from depthrefl_ros.geometry.scale import ScaleCorrection, ScaleSettings
from depthrefl_ros.ros.convert.camera_info import camera_from_info
from depthrefl_ros.tools.camera_info_file import Intrinsics
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
from depthrefl_ros.tools.frame_sources import open_source
from depthrefl_ros.tools.truth import find_truth
from depthrefl_ros.training.metrics import depth_metrics
from depthrefl_ros.training.synth.folder import FolderError, RenderedFolder

RECORDING = Path(__file__).resolve().parents[1] / "test" / "data" / "corridor.mcap"
CASES = {  # name: anchor, and whether only the mount is known
    "reference_points": ("reference_points", False),
    "range": ("range", False),
    "ground": ("ground", False),
    "ground, fixed": ("ground", True),
}
WRONG_FACTORS = (0.6, 1.3, 1.8)
POINT = 0.01  # of AbsRel
ALLOWED_POINTS = {"range": 5}  # 1 by other anchors
ALLOWED_FRAMES = 15
SONAR_POSE = Pose(BASE_FROM_OPTICAL.T, np.array([0.1, 0.05, 0.0]))  # camera_from_sensor
SONAR_CONE_RAD = math.radians(15.0)
SONAR_RANGE_M = (0.2, 5.0)


Mount = dict[str, float]  # arguments of Pose.from_mount


@dataclass(eq=False)
class Step:
    """One frame of a sequence: prediction and truth (h, w) float32 metres, of the image's size.

    ``grey`` is the image, (h, w) uint8; ``motion`` the points whose distance the camera's motion
    tells, where somebody found them.
    """

    predicted_m: np.ndarray
    truth_m: np.ndarray
    camera: Camera
    mount: Mount
    stamp_s: float
    name: str = ""
    grey: np.ndarray | None = None
    motion: MotionPoints | None = None


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; see ``--help``."""
    return run_tool(_parser(), argv, _run)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "scale",
        "After how many frames the corrected scale of a sequence is right.",
        "python benchmark/scale.py --model indoor_tiny --json scale.json",
    )
    add_sequence_arguments(parser)
    add_json_argument(parser, "the figures")
    return parser


def _run(args: argparse.Namespace, _ros_args: list[str]) -> None:
    steps = read_sequence(args, ALLOWED_FRAMES)
    rows = []
    for prediction in ("truth", args.model):
        for case in CASES:
            for factor in WRONG_FACTORS:
                row = {"prediction": prediction, "anchor": case, "wrong_factor": factor}
                rows.append(row | converge(_chosen(steps, prediction), case, factor))
    for row in rows:
        exact = row["prediction"] == "truth"
        row["passes"] = (row["frames"] if exact else row["frames_on_average"]) <= ALLOWED_FRAMES
    print(table(rows))
    write_json(args.json, {"source": args.source, "frames": len(steps), "rows": rows})


def add_sequence_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``read_sequence`` needs to know."""
    parser.add_argument(
        "--source", default=str(RECORDING), help="recording or drive with truth; default: shipped"
    )
    parser.add_argument("--frames", type=positive_int, default=40, help="default %(default)s")
    parser.add_argument("--model", default="indoor_tiny", help="default %(default)s")
    parser.add_argument("--engine", default="openvino", help="default %(default)s")
    parser.add_argument(
        "--mount", action="store_true", help="give the camera's mount to a model that takes it"
    )


def read_sequence(args: argparse.Namespace, more_than: int) -> list[Step]:
    """Return the frames of the sequence that the arguments name.

    Raises:
        ToolError: there are not more than so many.
    """
    with StopRequest() as stop:
        how = (args.source, args.model, args.engine, args.frames, stop, args.mount)
        steps = list(read_steps(*how))
    if len(steps) <= more_than:
        raise ToolError(f"{args.source}: {len(steps)} frames; more than {more_than} are needed")
    return steps


def mounts_of(source: str) -> Callable[[str, float], Mount]:
    """Return where the camera is, by the frame's name and the seconds since the first frame.

    Args:
        source: the shipped recording, or a drive with ``mounts.yaml``.

    Raises:
        ToolError: the source is neither.
    """
    if Path(source).resolve() == RECORDING.resolve():
        return lambda name, seconds: recording_mount(seconds)
    try:
        mounts = RenderedFolder(source).mounts()
    except FolderError as error:
        raise ToolError(str(error)) from error
    return lambda name, seconds: mounts[name]


def recording_mount(seconds: float) -> Mount:
    """Return how the shipped recording's camera rocks; see ``drive_views`` in synth/drive.py."""
    return {
        "height_m": 0.5,
        "pitch_rad": math.radians(4.0 - 0.5 * math.sin(5.1 * seconds)),
        "roll_rad": math.radians(0.6 * math.sin(3.7 * seconds + 1.0)),
    }


def read_steps(
    source: str,
    model: str,
    engine_kind: str,
    frames: int,
    stop: object = False,
    is_told: bool = False,
) -> Iterator[Step]:
    """Yield the model's depth, before any gate, beside the truth.

    Args:
        source: recording or drive with truth.
        model: name of the bundle.
        engine_kind: runtime of the network.
        frames: as many at most.
        stop: true to end early.
        is_told: a model that takes the mount is told it.

    Raises:
        ToolError: the source has no truth, or the model cannot be run.
    """
    truth = find_truth(source)
    if truth is None:
        raise ToolError(f"{source}: has no true depth")
    try:
        bundle = Bundle.load(model)
        engine = open_engine(bundle, engine_kind).engine
    except (BundleError, EngineError) as error:
        raise ToolError(str(error)) from error
    # No gate: the scale is corrected before them.
    settings = EstimatorSettings(
        edge_ratio=0.0, max_grazing_angle_deg=0.0, min_range_m=0.0, max_range_m=1e3
    )
    estimator, mounts = DepthEstimator(engine, bundle, settings), mounts_of(source)
    bar, first_ns = progress(frames, "model", "frames"), None
    for count, frame in enumerate(open_source(source, Intrinsics()).frames()):
        if count == frames or stop:
            return
        first_ns = frame.stamp_ns if first_ns is None else first_ns
        seconds = (frame.stamp_ns - first_ns) / 1e9
        try:
            image = frame.rgb(source)
            camera = camera_from_info(frame.camera_info, source)
            camera = camera.for_image(frame.width, frame.height)
        except ValueError as error:
            raise ToolError(str(error)) from error
        mount = mounts(frame.name, seconds)
        told = Pose.from_mount(**mount) if is_told else None
        found = estimator.estimate(image, camera, base_from_camera=told)
        true = truth.depth_m({"source_stamp_ns": frame.stamp_ns, "name": frame.name})
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        yield Step(found.depth_m, true, found.camera, mount, seconds, frame.name, grey)
        bar.update()


def _chosen(steps: list[Step], prediction: str) -> list[Step]:
    if prediction != "truth":
        return steps
    # Unknown truth (NaN) stays unknown: the anchors take that.
    return [replace(step, predicted_m=step.truth_m) for step in steps]


def converge(steps: list[Step], case: str, wrong_factor: float) -> dict[str, float]:
    """Correct one sequence of a wrong scale.

    Returns:
        ``unscaled`` and ``corrected``: mean AbsRel from frame ``ALLOWED_FRAMES`` on; ``frames``:
        how many pass until the corrected AbsRel stays within the points that are allowed of the
        unscaled one in every frame, ``frames_on_average`` on average over all that follow, NaN if
        never; ``measured``: share of frames in which the anchor measured; ``believed``: share of
        frames with health.
    """
    anchor, is_fixed = CASES[case]
    fixed = {name: np.median([step.mount[name] for step in steps]) for name in steps[0].mount}
    correction = ScaleCorrection(ScaleSettings(correct_with=(anchor,)))
    window, rng = ReadingWindow(), np.random.default_rng(0)
    errors, healths = [], []
    for step in steps:
        depth = step.predicted_m * np.float32(wrong_factor)
        mount = Pose.from_mount(**(fixed if is_fixed else step.mount))
        ratios = log_ratios(anchor, depth, step, mount, window, rng)
        factor = correction.update({anchor: ratios}, step.stamp_s)
        healths.append(correction.health)
        corrected = depth_metrics(depth * np.float32(factor), step.truth_m)
        errors.append(
            (depth_metrics(step.predicted_m, step.truth_m)["abs_rel"], corrected["abs_rel"])
        )
    unscaled, corrected = np.array(errors).T
    excess = corrected - unscaled
    allowed = ALLOWED_POINTS.get(case, 1) * POINT
    following = np.cumsum(excess[::-1])[::-1] / np.arange(len(excess), 0, -1)
    return {
        "unscaled": float(unscaled[ALLOWED_FRAMES:].mean()),
        "corrected": float(corrected[ALLOWED_FRAMES:].mean()),
        "frames": _until_good(excess, allowed),
        "frames_on_average": _until_good(following[: ALLOWED_FRAMES + 1], allowed),
        "measured": float(np.mean([health.judged_by is not None for health in healths])),
        "believed": float(np.mean([health.ok for health in healths])),
    }


def _until_good(excess: np.ndarray, allowed: float) -> float:
    """Return how many frames pass until no excess is above the allowed; NaN where the last is."""
    late = np.flatnonzero(excess > allowed)
    if not len(late):
        return 0.0
    return float(late[-1] + 1) if late[-1] + 1 < len(excess) else math.nan


def log_ratios(
    anchor: str,
    depth_m: np.ndarray,
    step: Step,
    mount: Pose,
    window: ReadingWindow,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return what one anchor says of a frame's depth (h, w) of the wrong scale."""
    if anchor == "ground":
        return ground_anchor(depth_m, step.camera, mount.up_in_source, mount.translation[2])
    if anchor == "reference_points":
        return points_anchor(depth_m, step.camera, sparse_points(step, rng))
    for _ in range(2):
        true_m = sonar(step) * math.exp(rng.normal(0, 0.01))
        reading = RangeReading(true_m, *SONAR_RANGE_M, SONAR_CONE_RAD)
        window.add(range_anchor(depth_m, step.camera, reading, SONAR_POSE), step.stamp_s)
    return window.log_ratios(step.stamp_s)


def sparse_points(step: Step, rng: np.random.Generator) -> np.ndarray:
    """Return 200 true points of random pixels, (200, 3) m, a tenth at a third of the way."""
    rows = rng.integers(0, step.camera.height, 200)
    columns = rng.integers(0, step.camera.width, 200)
    points = pixel_rays(step.camera, columns, rows) * step.truth_m[rows, columns][:, None]
    points[:20] /= 3.0
    return points


def sonar(step: Step) -> float:
    """Return the distance (m) to the nearest true surface in the sonar's cone; inf without one."""
    rows, columns = np.mgrid[: step.camera.height, : step.camera.width].reshape(2, -1)
    points = pixel_rays(step.camera, columns, rows) * step.truth_m.reshape(-1, 1)
    points = SONAR_POSE.inverse().apply(points[np.isfinite(points[:, 2])])
    distances = np.linalg.norm(points, axis=1)
    inside = points[:, 0] > math.cos(SONAR_CONE_RAD / 2) * distances
    return float(distances[inside].min(initial=math.inf))


def table(rows: list[dict]) -> str:
    """Return the figures as a Markdown table."""
    lines = [
        "| prediction | anchor | depth times | AbsRel unscaled | corrected | frames, each "
        "| frames, on average | measured | believed | verdict |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['prediction']} | {row['anchor']} | {row['wrong_factor']} "
            f"| {row['unscaled']:.3f} | {row['corrected']:.3f} | {row['frames']:.0f} "
            f"| {row['frames_on_average']:.0f} | {100 * row['measured']:.0f} % "
            f"| {100 * row['believed']:.0f} % | {'pass' if row['passes'] else 'FAIL'} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
