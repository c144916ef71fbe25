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

"""``dataset``: recordings with colour and depth, or a lidar, become a folder to train on."""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from depthrefl_ros.geometry.camera import Camera, CameraError
from depthrefl_ros.image_files import stem_of
from depthrefl_ros.tools.camera_info_file import Intrinsics, add_camera_arguments
from depthrefl_ros.tools.command_line import (
    StopRequest,
    ToolError,
    add_json_argument,
    make_parser,
    positive_float,
    progress,
    run_tool,
    write_json,
)
from depthrefl_ros.tools.keyframes import Keyframes, KeyframeSettings
from depthrefl_ros.tools.output_folder import check_output_folder
from depthrefl_ros.tools.recorded_depth import (
    CLOUD_TYPE,
    ColourImage,
    DepthImages,
    LidarPoints,
    RecordedDepth,
    find_depth_topic,
)
from depthrefl_ros.tools.recorded_pairs import RecordedPairs
from depthrefl_ros.tools.recorded_transforms import RecordedTransforms, TransformMissingError
from depthrefl_ros.tools.recording_source import RecordingSource
from depthrefl_ros.tools.recordings import Recording
from depthrefl_ros.tools.source_frame import SourceFrame
from depthrefl_ros.training.datasets import Sample
from depthrefl_ros.training.datasets.mounts import mount_of
from depthrefl_ros.training.synth.folder import RenderedFolder

LOG = "dataset.yaml"
MADE_BY = "depthrefl dataset"
MAX_GIGABYTES = 20.0
FIXED_FRAMES = ("odom", "map", "world")  # in which a robot drives (REP-105)
JPEG_QUALITY, PNG_LEVEL = 95, 3
FLUSH_EVERY = 100  # images
FEWEST_KNOWN = 100  # pixels with depth; an image with fewer teaches nothing
_TO_RGB = {"bgr": cv2.COLOR_BGR2RGB, "rgba": cv2.COLOR_RGBA2RGB, "bgra": cv2.COLOR_BGRA2RGB,
           "mono": cv2.COLOR_GRAY2RGB}  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Run the command; see ``depthrefl dataset --help``."""
    return run_tool(_parser(), argv, _run)


def _parser() -> argparse.ArgumentParser:
    usual = KeyframeSettings()
    parser = make_parser(
        "depthrefl dataset",
        "Make a folder to train on out of recordings with a colour camera and depth images or a "
        "lidar: pairs by stamp, depth brought into the colour camera's view by TF and camera info, "
        "frames that show nothing new left out. Lenses are rectified.",
        """depthrefl dataset drive1.mcap drive2.mcap my_folder
        depthrefl dataset rosbag2_folder/ my_folder --depth-topic /camera/depth/image_rect_raw
        depthrefl dataset drive.mcap my_folder --depth-topic /velodyne_points --max-depth 30
        depthrefl train --finetune indoor_tiny --data my_folder""",
    )
    parser.add_argument("bags", nargs="+", type=Path, metavar="BAG", help="MCAP, .db3, or a folder")
    parser.add_argument("output", type=Path, metavar="OUT", help="new folder, or one made before")
    parser.add_argument("--image-topic", metavar="TOPIC", help="default: the colour camera")
    parser.add_argument(
        "--depth-topic",
        metavar="TOPIC",
        help="depth images or a lidar's points; default: what the recording has, if it is clear",
    )
    parser.add_argument(
        "--registered",
        action="store_true",
        help="each depth pixel is of its image pixel, whatever frame or camera info say",
    )
    add_camera_arguments(parser, "the colour camera")
    parser.add_argument(
        "--max-gap",
        type=positive_float,
        metavar="S",
        help=f"between the stamps of image and depth; default {DepthImages.largest_gap_s:g} for "
        f"images, {LidarPoints.largest_gap_s:g} for points",
    )
    parser.add_argument(
        "--max-depth", type=positive_float, metavar="M", help="what is farther counts as unknown"
    )
    parser.add_argument(
        "--floor-frame",
        default="base_footprint",
        metavar="FRAME",
        help="whose z = 0 is the floor, for mounts.yaml (default %(default)s)",
    )
    parser.add_argument(
        "--fixed-frame",
        metavar="FRAME",
        help=f"in which the robot drives; default: the first of {', '.join(FIXED_FRAMES)} on TF",
    )
    parser.add_argument(
        "--min-travel",
        type=positive_float,
        default=usual.travel_m,
        metavar="M",
        help="of the camera since the last frame kept, where TF tells (default %(default)g)",
    )
    parser.add_argument(
        "--min-turn",
        type=positive_float,
        default=round(math.degrees(usual.turn_rad), 3),
        metavar="DEGREES",
        help="or this much (default %(default)g)",
    )
    parser.add_argument(
        "--min-change",
        type=positive_float,
        default=usual.change,
        metavar="SHARE",
        help="of the picture, where TF does not tell (default %(default)g)",
    )
    parser.add_argument("--all", action="store_true", help="keep every frame")
    parser.add_argument(
        "--max-gigabytes",
        type=positive_float,
        default=MAX_GIGABYTES,
        metavar="GB",
        help="end in order when this much is written (default %(default)g)",
    )
    add_json_argument(parser, "how many frames were kept and why others were not")
    return parser


def _run(args: argparse.Namespace, _ros_args: list[str]) -> None:
    check_output_folder(args.output, is_of_dataset)
    drives = [_Drive(bag, args) for bag in args.bags]  # every input is checked before any output
    folder = _opened_folder(args.output)
    _say(f"writing to {args.output}/, at most {args.max_gigabytes:g} GB (--max-gigabytes)")
    written, figures = 0, []
    with StopRequest() as stop, progress(sum(map(len, drives)), "reading", "pairs") as bar:
        for drive, prefix in zip(drives, _prefixes(args.bags), strict=True):
            for name, sample, mount in drive.samples(bar.update):
                folder.add(f"{prefix}{name}", sample.image, sample.depth_m, _pinhole(sample), mount)
                written += _size(args.output, f"{prefix}{name}")
                if stop or written > args.max_gigabytes * 1e9:
                    break
            figures.append(drive.figures())
            if stop or written > args.max_gigabytes * 1e9:
                _say("stopped" if stop else f"{args.max_gigabytes:g} GB are written: ending")
                break
    kept = sum(one["kept"] for one in figures)
    if not kept:
        raise ToolError(f"nothing to train on: {drives[0].told()}")
    folder.flush()
    log = {"made_by": MADE_BY, "recordings": figures}
    (args.output / LOG).write_text(yaml.safe_dump(log, sort_keys=False), encoding="utf-8")
    write_json(args.json, {"output": str(args.output), "kept": kept, "recordings": figures})
    for drive in drives[: len(figures)]:
        print(drive.told(), flush=True)
    print(f"{args.output}: {kept} images, {written / 1e6:.0f} MB; train with:")
    print(f"  depthrefl train --finetune indoor_tiny --data {args.output}", flush=True)


def _say(text: str) -> None:
    print(f"depthrefl dataset: {text}", file=sys.stderr, flush=True)


def is_of_dataset(folder: Path) -> bool:
    """Return whether a folder was made by an earlier ``dataset``."""
    try:
        content = yaml.safe_load((folder / LOG).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False
    return isinstance(content, dict) and content.get("made_by") == MADE_BY


def _opened_folder(path: Path) -> RenderedFolder:
    """Return a folder without the images of an earlier run; what the user put beside them stays."""
    if path.is_dir():
        for name in RenderedFolder(path).known():
            (path / "rgb" / f"{name}.jpg").unlink(missing_ok=True)
            (path / "depth" / f"{name}.png").unlink(missing_ok=True)
        for file in ("intrinsics.yaml", "mounts.yaml"):
            (path / file).unlink(missing_ok=True)
    folder = RenderedFolder(path, JPEG_QUALITY, PNG_LEVEL, FLUSH_EVERY)
    path.mkdir(parents=True, exist_ok=True)
    # From now on the folder is ours: what is stopped half way can be made anew.
    (path / LOG).write_text(yaml.safe_dump({"made_by": MADE_BY}), encoding="utf-8")
    return folder


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


def _pinhole(sample: Sample) -> Camera:
    height, width = sample.depth_m.shape
    return Camera.pinhole(width, height, *sample.intrinsics)


def _size(folder: Path, name: str) -> int:
    files = (folder / "rgb" / f"{name}.jpg", folder / "depth" / f"{name}.png")
    return sum(file.stat().st_size for file in files)


class _Drive:
    """One recording on its way into the folder.

    Args:
        bag: its path.
        args: of the command line.

    Raises:
        ToolError: it has no images, no depth, or no two of about the same stamp.
    """

    def __init__(self, bag: Path, args: argparse.Namespace):
        self._bag, self._args = bag, args
        self._source = RecordingSource(bag, Intrinsics.of(args), args.image_topic)
        self.left_out: Counter[str] = Counter()
        self._kept, self._reason = 0, ""
        with Recording(bag) as recording:
            if not self._source.info_topic and not (args.hfov or args.camera_info):
                raise ToolError(
                    f"{bag}: no camera info of {self._source.image_topic}; give --camera-info FILE "
                    "or --hfov DEGREES"
                )
            topic = find_depth_topic(recording, args.depth_topic)
            self._transforms = RecordedTransforms(recording)
            self._frame = recording.first(self._source.image_topic).header.frame_id
            self._fixed = self._fixed_frame()
            self._floor = self._transforms.called(args.floor_frame, self._frame)
            self._depth = self._opened_depth(recording, topic)
            gap_s = args.max_gap or self._depth.largest_gap_s
            self._pairs = RecordedPairs(recording, self._source, topic, gap_s)
        if not len(self._pairs):
            raise ToolError(
                f"{bag}: none of {self._pairs.images} images on {self._source.image_topic} is "
                f"within {gap_s:g} s of one of {self._pairs.depths} stamps on {topic} (--max-gap)"
            )
        self._follows_tf = self._fixed is not None and self._transforms.moves(
            self._fixed, self._frame
        )
        thinned = "not at all" if args.all else "by TF" if self._follows_tf else "by the pictures"
        _say(
            f"{bag}: {self._source.image_topic} with {topic}, {len(self._pairs)} pairs, thinned "
            f"{thinned}, {'mounts from ' + self._floor if self._floor else 'no mounts'}"
        )
        if not self._floor and args.floor_frame != "base_footprint":
            raise ToolError(f"{bag}: {args.floor_frame} is not above {self._frame} on TF")

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self._pairs)

    def _fixed_frame(self) -> str | None:
        chosen = self._args.fixed_frame
        names = (chosen,) if chosen else FIXED_FRAMES
        found = (self._transforms.called(name, self._frame) for name in names)
        frame = next((one for one in found if one), None)
        if chosen and frame is None:
            raise ToolError(f"{self._bag}: {chosen} is not above {self._frame} on TF")
        return frame

    def _opened_depth(self, recording: Recording, topic: str) -> RecordedDepth:
        if recording.topics[topic] == CLOUD_TYPE:
            return LidarPoints(topic, self._transforms, self._fixed)
        info_topic = recording.camera_info_topic(topic)
        info = recording.first(info_topic) if info_topic else None
        return DepthImages(topic, self._transforms, self._fixed, info, self._args.registered)

    def samples(self, step: Any) -> Iterator[tuple[str, Sample, dict[str, float] | None]]:
        """Yield name, image with depth, and mount of what is worth keeping.

        Args:
            step: called once for every pair.

        Raises:
            ToolError: a frame can never be used, as where TF does not know the sensors.
        """
        keyframes = Keyframes(
            KeyframeSettings(
                self._args.min_travel, math.radians(self._args.min_turn), self._args.min_change
            )
        )

        def wants(time_ns: int) -> bool:
            step()
            if self._args.all or not self._follows_tf:
                return True
            try:
                pose = self._transforms.find(self._fixed, self._frame, time_ns)
            except TransformMissingError as error:
                return self._leave_out("without transform", error)
            return keyframes.takes_pose(pose) or self._leave_out("alike")

        with Recording(self._bag) as recording:
            for frame, message in self._pairs.read(recording, wants):
                try:
                    colour = self._colour(frame)
                    if not self._args.all and not self._follows_tf:
                        if not keyframes.takes_picture(colour.pixels):
                            self._leave_out("alike")
                            continue
                    sample = self._bounded(self._depth.sample(message, colour))
                    mount = self._mount(frame.stamp_ns)
                except TransformMissingError as error:
                    if not error.is_of_time:
                        raise ToolError(f"{self._bag}: {error}") from error
                    self._leave_out("without transform", error)
                    continue
                if np.count_nonzero(sample.depth_m) < FEWEST_KNOWN:
                    self._leave_out("without depth in view")
                    continue
                self._kept += 1
                yield f"{int(frame.name):06d}", sample, mount
        self.left_out["unreadable"] += len(self._source.skipped)

    def _leave_out(self, why: str, error: object = "") -> bool:
        self.left_out[why] += 1
        self._reason = self._reason or str(error)
        return False

    def _colour(self, frame: SourceFrame) -> ColourImage:
        from depthrefl_ros.ros.convert.camera_info import camera_from_info
        from depthrefl_ros.ros.convert.images import MessageError, image_to_array

        name = f"{self._bag}: image {frame.name} of {self._source.image_topic}"
        try:
            pixels, channels = image_to_array(frame, self._source.image_topic)
            camera = camera_from_info(frame.camera_info, name)
            camera = camera.for_image(frame.width, frame.height)
        except (MessageError, CameraError) as error:
            raise ToolError(f"{name}: {error}") from error
        if channels != "rgb":
            pixels = cv2.cvtColor(np.ascontiguousarray(pixels), _TO_RGB[channels])
        return ColourImage(frame.name, pixels, camera, self._frame, frame.stamp_ns)

    def _bounded(self, sample: Sample) -> Sample:
        if self._args.max_depth is not None:
            sample.depth_m[sample.depth_m > self._args.max_depth] = 0.0
        return sample

    def _mount(self, time_ns: int) -> dict[str, float] | None:
        if self._floor is None:
            return None
        return mount_of(self._transforms.find(self._floor, self._frame, time_ns))

    def figures(self) -> dict[str, Any]:
        """Return what became of the recording's images."""
        return {
            "recording": str(self._bag),
            "image_topic": self._source.image_topic,
            "depth_topic": self._depth.topic,
            "images": self._pairs.images,
            "pairs": len(self._pairs),
            "kept": self._kept,
            "left_out": {why: count for why, count in self.left_out.items() if count},
        }

    def told(self) -> str:
        """Return the same in words."""
        without = self._pairs.images - len(self._pairs)
        parts = [f"{count} {why}" for why, count in self.left_out.items() if count]
        parts += [f"{without} without depth of that time"] if without else []
        text = f"{self._bag}: {self._kept} of {self._pairs.images} images kept"
        text += f"; {', '.join(parts)}" if parts else ""
        return f"{text} ({self._reason})" if self._reason else text


if __name__ == "__main__":
    sys.exit(main())
