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

"""What a costmap is told: the marks of several clouds against the truth of rendered drives.

A mark is a cell of 0.05 m on the floor, in the robot's frame (tools/occupancy.py). It is false when
it is more than 0.15 m from every cell that the true depth of the same frame marks. Recall is the
share of the true cells that have a mark within 0.15 m; "by chance" is the recall of the same marks
in the mirrored scene, for marks all over the floor find whatever there is. All rows have the same
height band, range and cells.

    python benchmark/costmap.py DRIVE... --json costmap.json
    python benchmark/costmap.py test/data/corridor.mcap --frames 12 36 --picture docs/costmap.jpg

A drive is a folder that `depthrefl render drive` made (images, true depth and the camera's mounts),
or the shipped recording. Rows with "blurred truth" are of a network whose only fault is its
resolution: true depth, blurred as the network's own interpolation does. They say what the gates do
about points that float between two surfaces, without the errors of one model's metric depth.

A model that takes the mount is told it, as by the node; what it marks when it is not told follows.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from scale import mounts_of

from depthrefl_ros.engine.base import EngineError
from depthrefl_ros.engine.bundle import Bundle, BundleError
from depthrefl_ros.engine.selection import EngineChoice, open_engine
from depthrefl_ros.estimator import DepthEstimator, EstimatorSettings
from depthrefl_ros.frames import Frame
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.gates import GateSettings, apply_gates
from depthrefl_ros.geometry.obstacles import obstacle_clouds
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.rectification import reprojected
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
from depthrefl_ros.tools.occupancy import BAND, Tally, all_points, in_view
from depthrefl_ros.tools.top_down import NavigationView
from depthrefl_ros.tools.truth import find_truth

BLUR_STRIDE = 4  # the network decides at a quarter of its input's resolution and interpolates
# Chosen on drives of other seeds: it takes little there; more takes true cells before false ones.
MIN_CONFIDENCE = 0.28
MOST_RAYS = 4000  # that are drawn

BLURRED_ROWS = ("blurred truth", "blurred truth, thinned", "blurred truth, ours")
UNTOLD = ", not told the mount"  # of a drive's name
ROWS = ("raw depth", "raw depth, thinned", "ours without confidence", "ours", *BLURRED_ROWS)


@dataclass(frozen=True, eq=False)
class Scene:
    """One frame of a drive.

    Attributes:
        truth_m: (H, W) float32 metres, 0 where unknown.
        camera: of the image.
        depth_m: (h, w) float32 metres, the network's, nothing removed; NaN where it saw nothing.
        sigma: (h, w) float32 standard deviation of log depth.
        confidence: (h, w) float32, calibrated probability to be within a factor of 1.25.
        network_camera: of ``depth_m``.
        base_from_camera: the mount; the base frame's z = 0 is the floor.
        image_bgr: (H, W, 3) uint8.
    """

    truth_m: np.ndarray
    camera: Camera
    depth_m: np.ndarray
    sigma: np.ndarray
    confidence: np.ndarray
    network_camera: Camera
    base_from_camera: Pose
    image_bgr: np.ndarray


def read_drive(
    drive: str, estimator: DepthEstimator, every: int = 1, is_told: bool = True
) -> Iterator[Scene]:
    """Yield each frame of a drive with what the network says of it.

    Args:
        drive: a rendered folder, or the shipped recording.
        estimator: of the network.
        every: n-th frame only.
        is_told: a network that takes the mount is told it.

    Raises:
        ToolError: it is no drive.
        EngineError: the engine failed.
    """
    mounts, truth, first_ns = mounts_of(drive), find_truth(drive), None
    settings = EstimatorSettings(image_is_rectified=True, min_range_m=0.0, max_range_m=1e3)
    for index, frame in enumerate(open_source(drive, Intrinsics()).frames()):
        first_ns = frame.stamp_ns if first_ns is None else first_ns
        if index % every:
            continue
        image = frame.rgb(drive)
        camera = camera_from_info(frame.camera_info, drive).for_image(frame.width, frame.height)
        true_m = truth.depth_m({"source_stamp_ns": frame.stamp_ns, "name": frame.name})
        mount = Pose.from_mount(**mounts(frame.name, (frame.stamp_ns - first_ns) / 1e9))
        told = mount if is_told else None
        found = estimator.predict(Frame(image, "rgb", camera), settings, base_from_camera=told)
        yield Scene(
            truth_m=np.where(np.isfinite(true_m), true_m, np.float32(0.0)),
            camera=found.view.rectification.camera,
            depth_m=found.depth_m,
            sigma=found.sigma,
            confidence=estimator.bundle.confidence(found.sigma),
            network_camera=found.camera,
            base_from_camera=mount,
            image_bgr=cv2.cvtColor(image, cv2.COLOR_RGB2BGR),
        )


@dataclass(frozen=True)
class Rows:
    """The clouds of every row of one frame, as points in the base frame.

    Attributes:
        gates: of the node.
        sigma_limit: of the row "ours" alone.
    """

    gates: GateSettings
    sigma_limit: float

    def points(self, scene: Scene) -> dict[str, np.ndarray]:
        """Return (n, 3) float32 metres of each row of ``ROWS``, not yet cut to band and range."""
        cameras = scene.network_camera, scene.camera
        raw = reprojected(scene.depth_m, *cameras, cv2.INTER_LINEAR)
        raw_points = all_points(raw, scene.camera, scene.base_from_camera)
        confident = self.marking(scene, scene.depth_m, self.sigma_limit)
        blurred = blur(scene.truth_m, scene.camera, scene.network_camera)
        blurred[np.isnan(scene.depth_m)] = np.nan
        blurred_raw = all_points(blurred, scene.network_camera, scene.base_from_camera)
        certain = replace(scene, sigma=np.zeros_like(scene.sigma))
        blurred_ours = self.marking(certain, blurred, math.inf)
        return {
            "raw depth": raw_points,
            "raw depth, thinned": thinned(raw_points, len(confident)),
            "ours without confidence": self.marking(scene, scene.depth_m, math.inf),
            "ours": confident,
            "blurred truth": blurred_raw,
            "blurred truth, thinned": thinned(blurred_raw, len(blurred_ours)),
            "blurred truth, ours": blurred_ours,
        }

    def marking(self, scene: Scene, depth_m: np.ndarray, sigma_limit: float) -> np.ndarray:
        """Return what the node would publish as points/marking of this depth, in the base frame."""
        return self.clouds(scene, depth_m, sigma_limit)[0]

    def clouds(
        self, scene: Scene, depth_m: np.ndarray, sigma_limit: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return points/marking and points/clearing of this depth, (n, 3) in the base frame."""
        camera = scene.network_camera
        gated = apply_gates(depth_m, scene.sigma, camera, sigma_limit, self.gates)
        clouds = obstacle_clouds(
            gated.depth_m,
            gated.smoothed_m,
            scene.sigma,
            scene.confidence,
            camera,
            scene.base_from_camera,
            BAND,
            self.gates,
        )
        into_base = scene.base_from_camera.apply
        return into_base(clouds.marking[:, :3]), into_base(clouds.clearing[:, :3])


def thinned(points: np.ndarray, count: int) -> np.ndarray:
    """Return `count` of the points that lie in band and range, chosen evenly at random."""
    inside = points[in_view(points)]
    chosen = np.random.default_rng(0).permutation(len(inside))[:count]
    return inside[chosen]


def blur(truth_m: np.ndarray, camera: Camera, network_camera: Camera) -> np.ndarray:
    """Return true depth as a network without any error but its resolution would give it.

    Args:
        truth_m: (H, W) float32 metres, known everywhere.
        camera: of the truth.
        network_camera: of the network's input (h, w).

    Returns:
        (h, w) float32: ramps a few pixels wide stand where surfaces end, as they do in what a
        network interpolates.
    """
    size = (network_camera.width, network_camera.height)
    coarse = (size[0] // BLUR_STRIDE, size[1] // BLUR_STRIDE)
    sharp = reprojected(truth_m, camera, network_camera)
    return cv2.resize(cv2.resize(sharp, coarse, interpolation=cv2.INTER_AREA), size)


def compare(scenes: Iterator[Scene], rows: Rows) -> dict[str, Tally]:
    """Return the tally of every row over the frames of one drive."""
    tallies = {name: Tally() for name in ROWS}
    for scene in scenes:
        truth = all_points(scene.truth_m, scene.camera, scene.base_from_camera)
        for name, points in rows.points(scene).items():
            tallies[name].add(points, truth)
    return tallies


def total(tallies: list[dict[str, Tally]]) -> dict[str, Tally]:
    """Return the sum over drives."""
    return {
        name: Tally(*(sum(asdict(one[name])[key] for one in tallies) for key in asdict(Tally())))
        for name in ROWS
    }


def table(tallies: dict[str, Tally]) -> str:
    """Return one line a row; factors and points are against the first row of the same depth."""
    head = (
        f"{'false marks':>12}{'of marks':>10}{'fewer by':>10}{'recall':>9}{'':>9}{'by chance':>11}"
    )
    lines = [f"{'':<28}{head}"]
    for name, tally in tallies.items():
        raw = tallies["blurred truth" if name in BLURRED_ROWS else "raw depth"]
        fewer = raw.false / tally.false if tally.false else math.inf
        points = 100 * (tally.recall - raw.recall)
        lines.append(
            f"{name:<28}{tally.false:>12}{tally.marks:>10}{fewer:>9.1f}x"
            f"{100 * tally.recall:>8.1f}%{points:>+9.1f}{100 * tally.by_chance:>10.1f}%"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; see ``--help``."""
    return run_tool(_parser(), argv, _run)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "costmap",
        "False marks and recall of raw and of gated clouds on rendered drives.",
        "python benchmark/costmap.py data/drive_9200 data/drive_9300 --json costmap.json",
    )
    text = "folders that `depthrefl render drive` made, or the shipped recording"
    parser.add_argument("drives", nargs="+", help=text)
    parser.add_argument("--model", default="indoor_tiny", help="default %(default)s")
    parser.add_argument("--engine", default="openvino", help="default %(default)s")
    parser.add_argument(
        "--min-confidence", type=float, default=MIN_CONFIDENCE, help="for ours (%(default)s)"
    )
    parser.add_argument(
        "--edge-ratio", type=float, default=GateSettings().edge_ratio, help="for ours (%(default)s)"
    )
    parser.add_argument(
        "--every", type=positive_int, default=1, metavar="N", help="compare each N-th frame only"
    )
    parser.add_argument(
        "--picture", type=Path, metavar="FILE", help="draw costmaps of frames, and compare nothing"
    )
    parser.add_argument(
        "--frames",
        type=int,
        nargs="+",
        default=[0],
        metavar="N",
        help="frames of the first drive, for --picture",
    )
    add_json_argument(parser, "the figures")
    return parser


def opened(model: str, engine: str, gates: GateSettings) -> tuple[Bundle, DepthEstimator, Rows]:
    """Return a model's bundle, what runs it, and its rows.

    Args:
        model: a bundle's folder, or a shipped model's name.
        engine: of ``EngineChoice``.
        gates: of ours; their range becomes the model's.

    Raises:
        BundleError: the bundle is missing or damaged.
        EngineError: the engine cannot run it.
    """
    bundle = Bundle.load(model)
    gates = replace(gates, min_range_m=bundle.min_range_m, max_range_m=bundle.max_range_m)
    estimator = DepthEstimator(open_engine(bundle, EngineChoice(engine)).engine, bundle)
    return bundle, estimator, Rows(gates, bundle.sigma_limit(gates.min_confidence))


def _run(args: argparse.Namespace, _ros_args: list[str]) -> None:
    try:
        gates = GateSettings(edge_ratio=args.edge_ratio, min_confidence=args.min_confidence)
        bundle, estimator, rows = opened(args.model, args.engine, gates)
        if args.picture:
            _draw(args, read_drive(args.drives[0], estimator), rows)
            return
        ways = {"": True, UNTOLD: False} if bundle.takes_mount else {"": True}
        compared = {}
        with progress(len(ways) * len(args.drives), "comparing", "drives") as bar:
            for words, is_told in ways.items():
                tallies = []
                for drive in args.drives:
                    scenes = read_drive(drive, estimator, args.every, is_told)
                    tallies.append(compare(scenes, rows))
                    bar.update()
                names = [f"{drive}{words}" for drive in (*args.drives, "all")]
                compared |= dict(zip(names, (*tallies, total(tallies)), strict=True))
    except (BundleError, EngineError, ValueError) as error:
        raise ToolError(str(error)) from error
    for drive, one in compared.items():
        print(f"{drive}\n{table(one)}\n")
    figures = {
        drive: {
            name: asdict(tally) | {"recall": tally.recall, "by_chance": tally.by_chance}
            for name, tally in one.items()
        }
        for drive, one in compared.items()
    }
    write_json(args.json, figures)


def _draw(args: argparse.Namespace, scenes: Iterator[Scene], rows: Rows) -> None:
    """Draw frames of the first drive.

    Raises:
        ToolError: it has no such frame, or the picture cannot be written.
    """
    from costmap_picture import CostmapRow, draw_costmaps

    drawn, count = {}, 0
    for count, scene in enumerate(scenes, 1):
        if count - 1 in args.frames:
            drawn[count - 1] = CostmapRow(scene.image_bgr, *_views(scene, rows))
    if missing := sorted(set(args.frames) - set(drawn)):
        raise ToolError(f"--frames has {missing[0]}; {args.drives[0]} has frames 0 to {count - 1}")
    picture = draw_costmaps([drawn[number] for number in args.frames])
    if not cv2.imwrite(str(args.picture), picture, [cv2.IMWRITE_JPEG_QUALITY, 88]):
        raise ToolError(f"{args.picture}: cannot be written")
    print(f"{args.picture}: frames {', '.join(map(str, args.frames))} of {args.drives[0]}")


def _views(scene: Scene, rows: Rows) -> tuple[NavigationView, NavigationView]:
    """Return the costmaps of every pixel and of the node's clouds, as an obstacle layer has them.

    Every point of a plain depth cloud that lies in the source's height band marks its cell and
    clears the way to it.
    """
    truth = all_points(scene.truth_m, scene.camera, scene.base_from_camera)
    every = rows.points(scene)["raw depth"]
    every = every[in_view(every)]
    marking, clearing = rows.clouds(scene, scene.depth_m, rows.sigma_limit)
    eye = scene.base_from_camera.translation[:2]
    rays = every[:: max(1, len(every) // MOST_RAYS)]
    return NavigationView(every, rays, eye, truth), NavigationView(marking, clearing, eye, truth)


if __name__ == "__main__":
    raise SystemExit(main())
