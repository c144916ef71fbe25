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

"""Measures how much depth flickers where nothing moves, with and without the stabiliser.

One frame of a recording is shown again and again, each time with fresh sensor noise, exposure and
JPEG compression: all change of its depth is flicker. Then the whole recording, with the same noise:
there a stabiliser that lags would show as a worse AbsRel and a scale that follows too late.

    python benchmark/flicker.py --json flicker.json
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.selection import open_engine
from depthrefl_ros.estimator import DepthEstimator
from depthrefl_ros.geometry.rectification import Rectification, reprojected
from depthrefl_ros.geometry.temporal import DepthStabiliser
from depthrefl_ros.ros.convert.camera_info import camera_from_info
from depthrefl_ros.tools.camera_info_file import Intrinsics
from depthrefl_ros.tools.command_line import (
    ToolError,
    add_json_argument,
    make_parser,
    positive_float,
    positive_int,
    progress,
    run_tool,
    write_json,
)
from depthrefl_ros.tools.frame_sources import SourceFrame, open_source
from depthrefl_ros.tools.machine import processor
from depthrefl_ros.tools.truth import find_truth

RECORDING = Path(__file__).resolve().parents[1] / "test" / "data" / "corridor.mcap"
FRAME_S = 0.1
READ_NOISE = 2.0  # grey levels, standard deviation
SHOT_NOISE = 0.15  # grey levels: variance per grey level
EXPOSURE = 0.04  # standard deviation of log brightness
JPEG_QUALITY = (75, 95)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; see ``--help``."""
    return run_tool(_parser(), argv, _run)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "flicker",
        "Flicker of depth on a still camera with sensor noise, raw and stabilised.",
        "python benchmark/flicker.py --json flicker.json",
    )
    parser.add_argument(
        "--recording", type=Path, default=RECORDING, help="recording with truth; default: shipped"
    )
    parser.add_argument("--model", default="indoor_tiny", help="default %(default)s")
    parser.add_argument(
        "--frame", type=int, default=16, help="frame to repeat; default %(default)s"
    )
    parser.add_argument("--repeats", type=positive_int, default=60, help="default %(default)s")
    parser.add_argument(
        "--time-constant", type=positive_float, default=0.5, help="seconds, default %(default)s"
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed, default %(default)s")
    add_json_argument(parser, "the figures")
    return parser


def _run(args: argparse.Namespace, _ros_args: list[str]) -> None:
    frames = list(open_source(str(args.recording), Intrinsics()).frames())
    if not 0 <= args.frame < len(frames):
        raise ToolError(f"--frame is {args.frame}; {args.recording} has 0 to {len(frames) - 1}")
    estimate = Estimate(args.model, np.random.default_rng(args.seed))
    with progress(args.repeats + len(frames), "frames", "frame") as bar:
        still = [(estimate(frames[args.frame]), index * FRAME_S) for index in range(args.repeats)]
        bar.update(args.repeats)
        drive = [(estimate(frame), frame.stamp_ns / 1e9) for frame in frames]
        bar.update(len(frames))
    truth = truth_of(args.recording, frames, estimate.network)
    figures = {
        "machine": processor(),
        "load_average": os.getloadavg(),
        "model": args.model,
        "time_constant_s": args.time_constant,
        "noise": {"read": READ_NOISE, "shot": SHOT_NOISE, "exposure": EXPOSURE},
        "still": still_figures(*stabilised(still, args.time_constant)),
        "drive": drive_figures(*stabilised(drive, args.time_constant), truth),
    }
    print(table(figures))
    write_json(args.json, figures)


class Estimate:
    """Depth (h, w) and the network's input of a recorded frame with fresh noise.

    Args:
        model: the bundle's name.
        rng: of the noise.
    """

    def __init__(self, model: str, rng: np.random.Generator):
        bundle = Bundle.load(model)
        engine = open_engine(bundle, "openvino").engine
        self._estimator = DepthEstimator(engine, bundle)
        self.network = (bundle.width, bundle.height)
        self._rng = rng

    def __call__(self, frame: SourceFrame) -> tuple[np.ndarray, np.ndarray]:
        """Return (h, w) float32 metres before the gates, and (h, w, 3) uint8 RGB."""
        try:
            image = noisy(frame.rgb("image"), self._rng)
            camera = camera_from_info(frame.camera_info, "camera_info")
            camera = camera.for_image(frame.width, frame.height)
        except ValueError as error:
            raise ToolError(str(error)) from error
        small = Rectification(camera, False, self.network).to_network(image)
        depth = self._estimator.estimate(image, camera).ungated_m
        return depth, small


def noisy(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the image (H, W, 3) uint8 RGB as a sensor would deliver it another time."""
    light = image * np.float32(np.exp(rng.normal(0.0, EXPOSURE)))
    deviation = np.sqrt(READ_NOISE**2 + SHOT_NOISE * light)
    light += rng.standard_normal(image.shape, np.float32) * deviation
    quality = int(rng.integers(*JPEG_QUALITY, endpoint=True))
    pixels = np.clip(np.rint(light), 0, 255).astype(np.uint8)
    blue_first = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", blue_first, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def truth_of(path: Path, frames: list[SourceFrame], network: tuple[int, int]) -> np.ndarray:
    """Return (n, h, w) float32 metres at the network's pixels (w, h), NaN where unknown.

    Raises:
        ToolError: the recording has no truth for some frame.
    """
    truths, planes = find_truth(str(path)), []
    if truths is None:
        raise ToolError(f"{path}: has no topic of true depth")
    for frame in frames:
        found = truths.depth_m({"source_stamp_ns": frame.stamp_ns, "name": frame.name})
        if found is None:
            raise ToolError(f"{path}: no true depth for frame {frame.name}")
        height, width = found.shape
        camera = camera_from_info(frame.camera_info, "camera_info").for_image(width, height)
        small = Rectification(camera, False, network).network_camera
        planes.append(reprojected(found, camera.rectified(), small))
    truth = np.stack(planes)
    return np.where(np.isfinite(truth) & (truth > 0.0), truth, np.nan)


def stabilised(
    sequence: list[tuple[tuple[np.ndarray, np.ndarray], float]], time_constant_s: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Log depth (n, h, w) raw and stabilised, and the median milliseconds a frame."""
    stabiliser = DepthStabiliser(time_constant_s)
    steady, times = [], []
    for (depth, image), stamp_s in sequence:
        start = time.perf_counter()
        steady.append(stabiliser.update(depth, image, stamp_s))
        times.append((time.perf_counter() - start) * 1e3)
    raw = np.stack([depth for (depth, _), _ in sequence])
    return np.log(raw), np.log(np.stack(steady)), float(np.median(times))


def still_figures(raw: np.ndarray, steady: np.ndarray, ms: float) -> dict:
    """Return the flicker: standard deviation over time of log depth, median over pixels."""
    # What a factor for the whole frame could at best do.
    scale = np.nanmedian(raw - raw.mean(axis=0), axis=(1, 2), keepdims=True)
    sequences = {"raw": raw, "perfect factor": raw - scale, "stabilised": steady}
    return {
        "flicker": {name: float(np.nanmedian(one.std(axis=0))) for name, one in sequences.items()},
        "stabiliser_ms": ms,
    }


def drive_figures(raw: np.ndarray, steady: np.ndarray, ms: float, truth: np.ndarray) -> dict:
    """Return AbsRel, jitter of the scale's error (second differences) and its lag."""
    figures = {"stabiliser_ms": ms}
    for name, sequence in {"raw": raw, "stabilised": steady}.items():
        error = sequence - np.log(truth)
        scale = np.nanmedian(error, axis=(1, 2))
        figures[name] = {
            "abs_rel": float(np.nanmean(np.abs(np.expm1(error)))),
            "scale_jitter": float(np.diff(scale, 2).std()),
            "scale_error_median": float(np.median(scale)),
        }
    figures["lag_frames"] = lag_frames(raw, steady)
    return figures


def lag_frames(raw: np.ndarray, steady: np.ndarray) -> float:
    """Return by how many frames the stabilised scale follows the raw one, by least squares.

    A lag of d frames makes the difference between both d times the scale's change per frame.
    """
    level = np.nanmedian(raw, axis=(1, 2))
    change = np.gradient(level)
    behind = level - np.nanmedian(steady, axis=(1, 2))
    return float((change @ behind) / (change @ change))


def table(figures: dict) -> str:
    """Return the figures for people."""
    flicker, drive = figures["still"]["flicker"], figures["drive"]
    lines = ["still camera: standard deviation of log depth over time, median pixel"]
    lines += [
        f"  {name:15} {value:.4f}  x{flicker['raw'] / value:.2f}" for name, value in flicker.items()
    ]
    lines.append("recorded drive       AbsRel  jitter of scale")
    lines += [
        f"  {name:15} {drive[name]['abs_rel']:9.4f} {drive[name]['scale_jitter']:16.4f}"
        for name in ("raw", "stabilised")
    ]
    lines.append(f"  lag of the scale: {drive['lag_frames']:.2f} frames")
    lines.append(f"stabiliser: {drive['stabiliser_ms']:.2f} ms a frame")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
