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

"""How a converted network does here: in words, beside ours in a picture, on the travel exam."""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import yaml

from depthrefl_ros.engine.base import Engine
from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.estimator import DepthEstimator
from depthrefl_ros.frames import DepthFrame
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.preview import colour_depth, depth_preview

if TYPE_CHECKING:
    from depthrefl_ros.conversion.converter import Converted
    from depthrefl_ros.conversion.plausibility import Frames

_HEADING = 24  # pixels over each picture
_WITHIN = 1.25
_EXAM_IMAGES = 30
_TIMED_RUNS = 10
OURS = "indoor_tiny"  # that a converted network is shown beside
_KINDS = {
    "canonical": "metres, scaled by the camera's focal length (needs a calibrated camera)",
    "metric": "metres as the network has them",
    "inverse_relative": "relative: larger is nearer, of unknown scale; no metres",
}


def report(done: Converted, frames: Frames | None, is_compared: bool) -> dict[str, Any]:
    """Print how a converted network does on this machine.

    Args:
        done: the network.
        frames: of the shipped recording, for the picture; None without it.
        is_compared: draw it beside ours, and sit the travel exam.

    Returns:
        The same as figures, for JSON.
    """
    for note in done.notes:
        print(f"depthrefl convert: warning: {note}", file=sys.stderr)
    engine, words, is_refused = _open_engine(done.bundle)
    figures = {
        **_told(done.bundle),
        "order": None if done.agreement is None else round(done.agreement.order, 3),
        "scale": done.agreement and done.agreement.scale,
        "engine": words,
        "milliseconds": None,
        "is_refused": is_refused,
        "picture": None,
        "exam": None,
        "notes": done.notes,
    }
    if engine is not None:
        figures["milliseconds"] = _milliseconds(engine, done.bundle)
        if is_compared:
            figures |= _beside_ours(engine, done.bundle, frames)
        engine.close()
    _show(done.bundle, figures)
    return figures


def _beside_ours(engine: Engine, bundle: Bundle, frames: Frames | None) -> dict[str, Any]:
    """Return the path of the picture, and the figures of the travel exam in a checkout."""
    from depthrefl_ros.engine.openvino_engine import OpenVinoEngine
    from depthrefl_ros.ros.middleware import share_path

    ours = Bundle.load(OURS)
    networks = {bundle.folder.name: (engine, bundle), OURS: (OpenVinoEngine(ours), ours)}
    told: dict[str, Any] = {"picture": None, "exam": None}
    if frames is not None:
        image = frames.images[0]
        drawn = {
            name: DepthEstimator(*network).estimate(image, frames.camera)
            for name, network in networks.items()
        }
        picture = bundle.folder.with_name(f"{bundle.folder.name}.png")
        picture.write_bytes(cv2.imencode(".png", draw_comparison(drawn, image))[1].tobytes())
        told["picture"] = str(picture)
    try:
        exam = share_path("test/data/travel/intrinsics.yaml").parent
    except FileNotFoundError:
        exam = None
    if exam is not None and "depth" in bundle.outputs:
        told["exam"] = {
            name: asdict(exam_figures(*network, exam)) for name, network in networks.items()
        }
    networks[OURS][0].close()
    return told


def _told(bundle: Bundle) -> dict[str, Any]:
    return {
        "bundle": str(bundle.folder),
        "kind": bundle.kind,
        "needs_intrinsics": bundle.kind == "canonical",
        "input": f"{bundle.width}x{bundle.height} {bundle.resize}",
        "outputs": list(bundle.outputs),
        "licence": bundle.licence,
        "commercial": bundle.commercial,
        "source": bundle.source,
        "sources": bundle.sources,
        "training": bundle.description.get("training"),
        "bytes": sum(path.stat().st_size for path in bundle.folder.iterdir()),
    }


def _show(bundle: Bundle, figures: dict[str, Any]) -> None:
    print(f"{bundle.folder}: {figures['bytes'] / 1e6:.1f} MB")
    print(f"  kind        {bundle.kind}: {_KINDS[bundle.kind]}")
    print(f"  input       {figures['input']}; outputs {', '.join(bundle.outputs)}")
    print(f"  licence     {bundle.licence}")
    print(f"  commercial  {bundle.commercial}; read the terms on the network's own page")
    print(f"  origin      {bundle.origin}")
    if figures["order"] is not None:
        words = f"rank correlation with the truth {figures['order']:.2f}"
        if figures["scale"]:
            words += f", depth {figures['scale']:.2f} times the truth"
        print(f"  recording   {words}")
    if figures["milliseconds"] is not None:
        print(f"  engine      {figures['engine']}, {figures['milliseconds']:.1f} ms here")
    else:
        print(f"  engine      {figures['engine']}")
    for name, one in (figures["exam"] or {}).items():
        print(f"  exam        {name}: AbsRel {one['abs_rel']:.3f}, {one['delta1']:.0%} within 25 % "
              f"({one['images']} rendered views)")  # fmt: skip
    if figures["picture"]:
        print(f"  picture     {figures['picture']}: beside {OURS}")
    if "sigma" not in bundle.outputs:
        print("  confidence  none: depth/confidence is NaN and the confidence gate is off")
    print(f"  training    {figures['training']}")
    print(f"run it with   ros2 run depthrefl_ros depthrefl_node --ros-args -p "
          f"model:={bundle.folder}")  # fmt: skip


def _open_engine(bundle: Bundle) -> tuple[Engine | None, str, bool]:
    """Return what OpenVINO makes of a bundle: the engine, in words, and whether it refuses it."""
    from depthrefl_ros.engine.base import EngineError, EngineMissingError
    from depthrefl_ros.engine.openvino_engine import OpenVinoEngine
    from depthrefl_ros.engine.self_test import self_test

    try:
        engine = OpenVinoEngine(bundle)
        report = self_test(engine, bundle)
    except EngineMissingError as error:
        return None, f"not timed: {error}", False
    except EngineError as error:
        return None, f"OpenVINO does not run it: {error}", True
    return engine, f"openvino fp32 on {engine.device}, self-test passed ({report})", False


def _milliseconds(engine: Engine, bundle: Bundle) -> float:
    """Return median time of a frame."""
    image = bundle.golden().images[:1]
    times = []
    for _ in range(_TIMED_RUNS):
        start = time.perf_counter()
        engine.infer(image)
        times.append(1e3 * (time.perf_counter() - start))
    return round(statistics.median(times), 2)


@dataclass(frozen=True)
class ExamFigures:
    """Means of per-image values over the travel exam, without alignment.

    Attributes:
        images: how many.
        abs_rel: of |depth - truth| / truth, NaN where no image has any depth.
        delta1: share of pixels within a factor of 1.25.
        seen: share of the pixels with truth that have a depth: not sky, and within the input.
    """

    images: int
    abs_rel: float
    delta1: float
    seen: float

    def __str__(self) -> str:
        words = f"AbsRel {self.abs_rel:.3f}, {self.delta1:.0%} within 25 % of the truth"
        return words if self.seen > 0.995 else f"{words}, of the {self.seen:.0%} that have a depth"


def exam_figures(engine: Engine, bundle: Bundle, exam: Path) -> ExamFigures:
    """Hold a metric network against the travel exam's exact depth, through the estimator.

    Every so many of the exam's images are taken, since a large network needs seconds for one.

    Args:
        engine: that runs the bundle.
        bundle: with ``depth``.
        exam: folder with ``rgb/``, ``depth/`` and ``intrinsics.yaml``.

    Raises:
        OSError: the folder is not whole.
    """
    estimator = DepthEstimator(engine, bundle)
    cameras = yaml.safe_load((exam / "intrinsics.yaml").read_text("utf-8"))["images"]
    rows = []
    for name in list(cameras)[:: -(-len(cameras) // _EXAM_IMAGES)]:
        image = cv2.imread(str(exam / "rgb" / f"{name}.jpg"))
        truth = cv2.imread(str(exam / "depth" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        if image is None or truth is None:
            raise OSError(f"{exam} lacks rgb/{name}.jpg or depth/{name}.png")
        found = estimator.estimate(image[..., ::-1], Camera.pinhole(**cameras[name])).ungated_m
        if found.shape != truth.shape:
            found = cv2.resize(found, truth.shape[::-1], interpolation=cv2.INTER_LINEAR)
        known = truth > 0
        truth_m, found = truth[known] / np.float32(1000.0), found[known]
        finite = np.isfinite(found) & (found > 0)  # the sky is infinitely far
        if not finite.any():
            rows.append((np.nan, np.nan, 0.0))
            continue
        ratio = found[finite] / truth_m[finite]
        close = np.maximum(ratio, 1.0 / ratio) < _WITHIN
        rows.append((np.abs(ratio - 1.0).mean(), close.mean(), finite.mean()))
    error, close, seen = np.transpose(rows)
    if not seen.any():
        return ExamFigures(len(rows), np.nan, np.nan, 0.0)
    return ExamFigures(len(rows), *(float(np.nanmean(one)) for one in (error, close, seen)))


def draw_comparison(frames: dict[str, DepthFrame], source: np.ndarray) -> np.ndarray:
    """Return the camera's picture and the depth of several networks beside each other.

    Args:
        frames: by what stands over each; a frame without metres shows its relative depth.
        source: (H, W, 3) uint8 RGB.

    Returns:
        (H + 24, width, 3) uint8 BGR.
    """
    tiles = {"camera": source[..., ::-1]}
    for name, frame in frames.items():
        depth_m = frame.ungated_m
        if not np.isfinite(depth_m).any():
            # Nearness without a unit: its inverse, from the nearest to ten times as far.
            nearness = frame.relative / np.nanmax(frame.relative)
            tiles[f"{name} (relative)"] = colour_depth(1.0 / np.clip(nearness, 0.1, 1.0), 1.0, 10.0)
            continue
        known = depth_m[np.isfinite(depth_m)]
        tiles[name] = depth_preview(depth_m, float(known.min()), float(known.max()))
    height = max(len(tile) for tile in tiles.values())
    drawn = []
    for name, tile in tiles.items():
        tile = cv2.resize(tile, (round(tile.shape[1] * height / len(tile)), height))
        head = np.full((_HEADING, tile.shape[1], 3), 24, np.uint8)
        place, white = (6, _HEADING - 8), (255, 255, 255)
        cv2.putText(head, name, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, white, 1, cv2.LINE_AA)
        drawn.append(np.vstack([head, tile]))
    return np.hstack(drawn)
