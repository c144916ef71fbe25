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

"""Where the camera of a source stands over the floor: by the user's word, or a recording's TF."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.tools.command_line import ToolError, number_of, positive_float

if TYPE_CHECKING:
    from depthrefl_ros.tools.recorded_transforms import RecordedTransforms

BASE_FRAME = "base_footprint"


def add_mount_arguments(parser: argparse.ArgumentParser, purpose: str) -> None:
    """Add --camera-height, --camera-pitch and --camera-roll; see ``said_mount``.

    Args:
        parser: of the command.
        purpose: what the height is for, for the help.
    """
    add = parser.add_argument
    text = f"camera height above the floor, {purpose}"
    add("--camera-height", type=positive_float, metavar="M", help=text)
    add_angle_arguments(parser)


def add_angle_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --camera-pitch and --camera-roll."""
    add = parser.add_argument
    for name, kind, way in (("pitch", pitch_degrees, "down"), ("roll", roll_degrees, "clockwise")):
        text = f"camera {name}, positive {way} (default 0)"
        add(f"--camera-{name}", type=kind, default=0.0, metavar="DEGREES", help=text)


def pitch_degrees(text: str) -> float:
    """Return degrees from -90 to 90; for argparse's ``type``."""
    return _degrees(text, 90.0)


def roll_degrees(text: str) -> float:
    """Return degrees from -180 to 180; for argparse's ``type``."""
    return _degrees(text, 180.0)


def _degrees(text: str, limit: float) -> float:
    wanted = f"{-limit:g} to {limit:g} degrees"
    return number_of(text, float, lambda value: -limit <= value <= limit, wanted)


class MountAction(argparse.Action):
    """Takes HEIGHT PITCH ROLL, in metres and degrees, as three numbers that a mount can have."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: list[str],
        option_string: str | None = None,
    ) -> None:
        """Check the three and keep them."""
        mount = []
        kinds = (positive_float, pitch_degrees, roll_degrees)
        for name, kind, text in zip(self.metavar, kinds, values, strict=True):
            try:
                mount.append(kind(text))
            except (argparse.ArgumentTypeError, ValueError) as error:
                raise argparse.ArgumentError(self, f"{name}: {error}") from error
        setattr(namespace, self.dest, mount)


def add_base_frame_argument(parser: argparse.ArgumentParser) -> None:
    """Add --base-frame, of a recording's TF."""
    parser.add_argument(
        "--base-frame",
        default=BASE_FRAME,
        metavar="FRAME",
        help="frame on the floor; a recording's TF gives the camera's pose in it, for models that "
        "take the mount (default %(default)s)",
    )


def said_mount(args: argparse.Namespace) -> Pose | None:
    """Return base_from_camera as the arguments of ``add_mount_arguments`` say; None if unsaid.

    Raises:
        ToolError: an angle without the height.
    """
    if args.camera_height is None:
        for name in ("pitch", "roll"):
            if getattr(args, f"camera_{name}"):
                raise ToolError(f"--camera-{name} has no effect without --camera-height; give both")
        return None
    return Pose.from_mount(
        args.camera_height, math.radians(args.camera_pitch), math.radians(args.camera_roll)
    )


class SourceMounts:
    """Where the cameras of a source stand, image by image.

    Args:
        said: by the user; it comes before what was recorded.
        recording: path of the source where that is a recording; else None.
        base_frame: whose z = 0 is the floor.
    """

    def __init__(self, said: Pose | None, recording: Path | None, base_frame: str = BASE_FRAME):
        self._said, self._base_frame = said, base_frame
        self._transforms: RecordedTransforms | None = None
        if said is None and recording is not None:
            from depthrefl_ros.tools.recorded_transforms import RecordedTransforms
            from depthrefl_ros.tools.recordings import Recording

            with Recording(recording) as opened:
                self._transforms = RecordedTransforms(opened)

    def at(self, frame_id: str, time_ns: int) -> Pose | None:
        """Return base_from_camera, or None where nothing says it.

        Args:
            frame_id: of the image.
            time_ns: its stamp, nanoseconds.
        """
        transforms = self._transforms
        if transforms is None:
            return self._said
        from depthrefl_ros.tools.recorded_transforms import TransformMissingError

        base = transforms.called(self._base_frame, frame_id) or self._base_frame
        try:
            return transforms.find(base, frame_id, time_ns)
        except TransformMissingError:
            return None
