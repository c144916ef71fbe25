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

"""``dataset``: recordings with a depth sensor or odometry become a folder to train on."""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from pathlib import Path

from depthrefl_ros.estimator import DepthEstimator
from depthrefl_ros.image_files import stem_of
from depthrefl_ros.tools.camera_info_file import Intrinsics, add_camera_arguments
from depthrefl_ros.tools.command_line import (
    EXIT_STOPPED,
    StopRequest,
    ToolError,
    add_json_argument,
    make_parser,
    positive_float,
    progress,
    run_tool,
    write_json,
)
from depthrefl_ros.tools.dataset_folder import DatasetFolder, is_of_dataset
from depthrefl_ros.tools.keyframes import KeyframeSettings
from depthrefl_ros.tools.motion_drive import MotionDrive
from depthrefl_ros.tools.output_folder import check_output_folder
from depthrefl_ros.tools.predict import open_estimator
from depthrefl_ros.tools.recorded_depth import DepthImages, LidarPoints
from depthrefl_ros.tools.recorded_drive import (
    FIXED_FRAMES,
    FLOOR_FRAME,
    DriveSettings,
    RecordedDrive,
)
from depthrefl_ros.tools.sensor_drive import SensorDrive

MAX_GIGABYTES = 20.0
MODEL = "indoor_tiny"  # that is trained further, and that knows most of what lies between corners


def main(argv: list[str] | None = None) -> int:
    """Run the command; see ``depthrefl dataset --help``."""
    return run_tool(_parser(), argv, _run)


def _parser() -> argparse.ArgumentParser:
    usual = KeyframeSettings()
    parser = make_parser(
        "depthrefl dataset",
        "Make a training folder from recordings with a colour camera and depth images, a lidar, or "
        "the robot's odometry. It pairs images and depth by stamp, brings depth into the colour "
        "camera's view by TF and camera info, leaves out frames that show nothing new, and "
        "rectifies the images. With --motion no depth sensor is needed: how the images change on "
        "the way that odometry tells, says how far away things are.",
        """depthrefl dataset drive1.mcap drive2.mcap my_folder
        depthrefl dataset rosbag2_folder/ my_folder --depth-topic /camera/depth/image_rect_raw
        depthrefl dataset drive.mcap my_folder --depth-topic /velodyne_points --max-depth 30
        depthrefl dataset drive.mcap my_folder --motion
        depthrefl train --finetune indoor_tiny --data my_folder""",
    )
    parser.add_argument(
        "bags", nargs="+", type=Path, metavar="BAG", help="MCAP file, .db3 file or rosbag2 folder"
    )
    parser.add_argument(
        "output", type=Path, metavar="OUT", help="new folder, or one from an earlier run"
    )
    parser.add_argument(
        "--image-topic", metavar="TOPIC", help="colour images; default: the colour camera"
    )
    parser.add_argument(
        "--depth-topic",
        metavar="TOPIC",
        help="depth images or a lidar's points; default: found in the recording, if unambiguous",
    )
    parser.add_argument(
        "--motion",
        action="store_true",
        help="depth by the camera's motion, which TF must have as odometry; a network fills in "
        "what lies between the corners that are followed",
    )
    parser.add_argument(
        "--model",
        metavar="NAME|FOLDER",
        help=f"network of --motion: a shipped model, or a bundle (default {MODEL})",
    )
    parser.add_argument(
        "--engine", help="engine of --motion: auto (default), openvino, torch or another"
    )
    parser.add_argument(
        "--registered",
        action="store_true",
        help="depth and image are aligned pixel by pixel, whatever frame or camera info say",
    )
    add_camera_arguments(parser, "the colour camera")
    parser.add_argument(
        "--max-gap",
        type=positive_float,
        metavar="S",
        help="largest difference between the stamps of image and depth; default "
        f"{DepthImages.largest_gap_s:g} for images, {LidarPoints.largest_gap_s:g} for points",
    )
    parser.add_argument(
        "--max-depth", type=positive_float, metavar="M", help="treat depth beyond this as unknown"
    )
    parser.add_argument(
        "--floor-frame",
        default=FLOOR_FRAME,
        metavar="FRAME",
        help="frame whose z = 0 is the floor, for mounts.yaml (default %(default)s)",
    )
    parser.add_argument(
        "--fixed-frame",
        metavar="FRAME",
        help=f"frame in which the robot moves; default: the first of {', '.join(FIXED_FRAMES)} "
        "on TF",
    )
    parser.add_argument(
        "--min-travel",
        type=positive_float,
        default=usual.travel_m,
        metavar="M",
        help="keep a frame after this much camera travel, where TF gives it (default %(default)g)",
    )
    parser.add_argument(
        "--min-turn",
        type=positive_float,
        default=round(math.degrees(usual.turn_rad), 3),
        metavar="DEGREES",
        help="or after this much camera rotation (default %(default)g)",
    )
    parser.add_argument(
        "--min-change",
        type=positive_float,
        default=usual.change,
        metavar="SHARE",
        help="without TF, keep a frame after this much of the image changed (default %(default)g)",
    )
    parser.add_argument("--all", action="store_true", help="keep every frame")
    parser.add_argument(
        "--max-gigabytes",
        type=positive_float,
        default=MAX_GIGABYTES,
        metavar="GB",
        help="stop cleanly when this much is written (default %(default)g)",
    )
    add_json_argument(parser, "how many frames were kept and why others were not")
    return parser


def _run(args: argparse.Namespace, _ros_args: list[str]) -> int:
    check_output_folder(args.output, is_of_dataset)
    estimator, settings = _estimator(args), _settings(args)
    drives: list[RecordedDrive] = []
    for bag in args.bags:  # every input is checked before any output
        drives.append(
            SensorDrive(bag, settings)
            if estimator is None
            else MotionDrive(bag, settings, estimator)
        )
        _say(drives[-1].plan())
    prefixes = _prefixes(args.bags)
    folder = DatasetFolder(args.output, prefixes, estimator and estimator.bundle)
    _say(f"writing to {args.output}/, at most {args.max_gigabytes:g} GB (--max-gigabytes)")
    begun: list[RecordedDrive] = []
    with StopRequest() as stop:  # a second Ctrl-C does not cut the end short
        try:
            stopped = _fill(folder, drives, prefixes, args.max_gigabytes, begun, stop)
        finally:  # whatever went wrong: what was kept can be trained on
            figures = [drive.figures() for drive in begun]
            folder.close(figures)
    kept = len(folder.names)
    if not kept and not stopped:
        raise ToolError(f"nothing to train on: {'; '.join(drive.told() for drive in begun)}")
    found = {"output": str(args.output), "kept": kept, "stopped": stopped, "recordings": figures}
    write_json(args.json, found)
    for bag, drive in zip(args.bags, begun, strict=False):
        print(drive.told(), flush=True)
        if not drive.kept and not stopped:
            _say(f"warning: nothing is kept of {bag}")
    if kept:
        model = args.model or MODEL
        print(f"{args.output}: {kept} images, {folder.written / 1e6:.0f} MB; train with:")
        print(f"  depthrefl train --finetune {model} --data {args.output}", flush=True)
    return EXIT_STOPPED if stopped else 0


def _fill(
    folder: DatasetFolder,
    drives: list[RecordedDrive],
    prefixes: list[str],
    max_gigabytes: float,
    begun: list[RecordedDrive],
    stop: StopRequest,
) -> bool:
    """Write what is worth keeping; returns whether the user stopped it.

    Args:
        folder: to write to.
        drives: the recordings.
        prefixes: of the names, one a recording.
        max_gigabytes: after which it ends.
        begun: gets each drive when its turn comes.
        stop: of the user.
    """
    total = sum(map(len, drives))
    with progress(total, "reading", "images") as bar:
        read = 0

        def step(done: int) -> None:
            nonlocal read
            if stop:
                raise _StoppedError
            read += done
            bar.update(done)

        try:
            for drive, prefix in zip(drives, prefixes, strict=True):
                begun.append(drive)
                for name, sample, mount in drive.samples(step):
                    folder.add(f"{prefix}{name}", sample, mount)
                    if folder.written > max_gigabytes * 1e9:
                        _say(f"{max_gigabytes:g} GB are written: ending")
                        return False
        except _StoppedError:
            _say(f"stopped after {read} of {total} images")
            return True
    return False


class _StoppedError(Exception):
    """The user wants an end."""


def _estimator(args: argparse.Namespace) -> DepthEstimator | None:
    """Return the network of --motion, None without.

    Raises:
        ToolError: options do not belong together, or the model cannot be used.
    """

    def given(*names: str) -> str:
        return ", ".join(f"--{one}" for one in names if getattr(args, one.replace("-", "_")))

    if not args.motion:
        if options := given("model", "engine"):
            raise ToolError(f"{options} has no effect without --motion")
        return None
    if options := given("depth-topic", "registered", "max-gap"):
        raise ToolError(f"--motion takes no depth of a sensor: leave out {options}")
    model = args.model or MODEL
    estimator = open_estimator(model, args.engine or "auto")
    if estimator.bundle.kind == "inverse_relative":
        raise ToolError(f"--model {model} gives relative depth; --motion needs metres")
    return estimator


def _settings(args: argparse.Namespace) -> DriveSettings:
    return DriveSettings(
        intrinsics=Intrinsics.of(args),
        image_topic=args.image_topic,
        depth_topic=args.depth_topic,
        is_registered=args.registered,
        max_gap_s=args.max_gap,
        max_depth_m=args.max_depth,
        floor_frame=args.floor_frame,
        fixed_frame=args.fixed_frame,
        keyframes=None
        if args.all
        else KeyframeSettings(args.min_travel, math.radians(args.min_turn), args.min_change),
    )


def _say(text: str) -> None:
    print(f"depthrefl dataset: {text}", file=sys.stderr, flush=True)


def _prefixes(bags: list[Path]) -> list[str]:
    """Return a subfolder for each of several recordings, which evaluation takes for one scene."""
    if len(bags) == 1:
        return [""]
    used: Counter[str] = Counter()
    prefixes = []
    for bag in bags:
        stem = stem_of(Path(bag.resolve().name))
        used[stem] += 1
        prefixes.append(f"{stem}/" if used[stem] == 1 else f"{stem}_{used[stem]}/")
    return prefixes


if __name__ == "__main__":
    sys.exit(main())
