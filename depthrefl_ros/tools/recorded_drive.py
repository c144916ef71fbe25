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

"""A recorded drive: which of its images are worth training on, each with depth and mount."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from depthrefl_ros.geometry.camera import CameraError
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.tools.camera_info_file import Intrinsics, recorded_camera
from depthrefl_ros.tools.command_line import ToolError, UnreadableError
from depthrefl_ros.tools.keyframes import KeyframeSettings
from depthrefl_ros.tools.recorded_depth import ColourImage
from depthrefl_ros.tools.recorded_transforms import RecordedTransforms, TransformMissingError
from depthrefl_ros.tools.recording_source import RecordingSource
from depthrefl_ros.tools.recordings import Recording
from depthrefl_ros.tools.source_frame import SourceFrame
from depthrefl_ros.training.datasets import Sample

FIXED_FRAMES = ("odom", "map", "world")  # in which a robot drives (REP-105)
FLOOR_FRAME = "base_footprint"  # whose z = 0 is the floor (REP-120)


@dataclass(frozen=True)
class DriveSettings:
    """What is taken of a recording.

    Attributes:
        intrinsics: of the colour camera, where the recording does not have them.
        image_topic: of the colour camera; None finds it.
        depth_topic: depth images or a lidar's points; None finds it, if it is clear.
        is_registered: each depth pixel is of its image pixel, whatever frame or camera info say.
        max_gap_s: between the stamps of image and depth, seconds; None for the kind's own.
        max_depth_m: what is farther counts as unknown, metres; None for no limit.
        floor_frame: whose z = 0 is the floor. The usual one may be missing; no other may.
        fixed_frame: in which the robot drives; None takes the first of ``FIXED_FRAMES`` on TF.
        keyframes: how much must have changed between two frames; None keeps every frame.
    """

    intrinsics: Intrinsics = Intrinsics()
    image_topic: str | None = None
    depth_topic: str | None = None
    is_registered: bool = False
    max_gap_s: float | None = None
    max_depth_m: float | None = None
    floor_frame: str = FLOOR_FRAME
    fixed_frame: str | None = None
    keyframes: KeyframeSettings | None = KeyframeSettings()


class RecordedDrive(ABC):
    """One recording on its way into the folder.

    Args:
        bag: its path.
        settings: what is taken of it.

    Raises:
        ToolError: it has no images, nothing says what camera took them, or a frame that was asked
            for is not on TF.
    """

    def __init__(self, bag: Path, settings: DriveSettings):
        self._bag, self._settings = bag, settings
        self._source = RecordingSource(bag, settings.intrinsics, settings.image_topic)
        self._left_out: Counter[str] = Counter()
        self._kept, self._reason = 0, ""
        with Recording(bag) as recording:
            if not self._source.info_topic and not settings.intrinsics.are_given:
                raise ToolError(
                    f"{bag}: no camera info of {self._source.image_topic}; give --camera-info FILE "
                    "or --hfov DEGREES"
                )
            self._source.check_cameras()
            self._transforms = RecordedTransforms(recording)
            self._frame = recording.first(self._source.image_topic).header.frame_id
        self._fixed = self._fixed_frame()
        self._floor = self._transforms.called(settings.floor_frame, self._frame)
        if not self._floor and settings.floor_frame != FLOOR_FRAME:
            raise ToolError(f"{bag}: {settings.floor_frame} is not above {self._frame} on TF")
        self._follows_tf = self._fixed is not None and self._transforms.moves(
            self._fixed, self._frame
        )

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of images that are looked at."""

    @abstractmethod
    def plan(self) -> str:
        """Return in words what will be taken."""

    @abstractmethod
    def samples(
        self, step: Callable[[int], None]
    ) -> Iterator[tuple[str, Sample, dict[str, float] | None]]:
        """Yield name, image with depth, and mount of what is worth keeping.

        Args:
            step: called with the number of images that are done, adding up to the length; with 0
                now and then in between. What it raises ends the work.

        Raises:
            ToolError: a frame can never be used, as where TF does not know the sensors.
        """

    @property
    def kept(self) -> int:
        """How many images were kept so far."""
        return self._kept

    @property
    @abstractmethod
    def images(self) -> int:
        """How many images the recording has."""

    @abstractmethod
    def _depth_figures(self) -> dict[str, Any]:
        """Return what tells the depth, for ``figures``."""

    def figures(self) -> dict[str, Any]:
        """Return what became of the recording's images."""
        return {
            "recording": str(self._bag),
            "image_topic": self._source.image_topic,
            **self._depth_figures(),
            "images": self.images,
            "kept": self._kept,
            "left_out": self.left_out(),
        }

    def told(self) -> str:
        """Return the same in words."""
        left_out = self._not_kept()
        rest = self.images - self._kept - sum(left_out.values())
        left_out |= {"not looked at": rest} if rest > 0 else {}
        parts = [f"{count} {why}" for why, count in left_out.items()]
        text = f"{self._bag}: {self._kept} of {self.images} images kept"
        text += f"; {', '.join(parts)}" if parts else ""
        return f"{text} ({self._reason})" if self._reason else text

    def left_out(self) -> dict[str, int]:
        """Return how many images were left out so far, by the reason."""
        unreadable = len(self._source.skipped)
        return {**self._left_out, **({"unreadable": unreadable} if unreadable else {})}

    def _not_kept(self) -> dict[str, int]:
        return self.left_out()

    def _thinned(self) -> str:
        if self._settings.keyframes is None:
            return "thinned not at all"
        return f"thinned {'by TF' if self._follows_tf else 'by the pictures'}"

    def _mounts(self) -> str:
        return f"mounts from {self._floor}" if self._floor else "no mounts"

    def _fixed_frame(self) -> str | None:
        chosen = self._settings.fixed_frame
        names = (chosen,) if chosen else FIXED_FRAMES
        found = (self._transforms.called(name, self._frame) for name in names)
        frame = next((one for one in found if one), None)
        if chosen and frame is None:
            raise ToolError(f"{self._bag}: {chosen} is not above {self._frame} on TF")
        return frame

    def _skip(self, frame: SourceFrame, error: UnreadableError) -> None:
        text = f"{self._bag}: frame {frame.name}: {error}"
        self._source.skip(text)
        self._reason = self._reason or text

    def _leave_out(self, why: str, error: object = "") -> bool:
        self._left_out[why] += 1
        self._reason = self._reason or str(error)
        return False

    def _without_transform(self, error: TransformMissingError) -> None:
        """Leave out an image of whose time TF says nothing.

        Raises:
            ToolError: it says nothing of any time.
        """
        if not error.is_of_time:
            raise ToolError(f"{self._bag}: {error}") from error
        self._leave_out("without transform", error)

    def _colour(self, frame: SourceFrame) -> ColourImage:
        from depthrefl_ros.ros.convert.images import MessageError

        topic = self._source.image_topic
        try:
            pixels = frame.rgb(topic)
            camera = recorded_camera(frame.camera_info, topic)
            camera = camera.for_image(frame.width, frame.height)
        except MessageError as error:
            raise UnreadableError(str(error)) from error
        except CameraError as error:
            raise UnreadableError(f"{topic}: {error}") from error
        return ColourImage(frame.name, pixels, camera, self._frame, frame.stamp_ns)

    def _bounded(self, sample: Sample) -> Sample:
        if self._settings.max_depth_m is not None:
            sample.depth_m[sample.depth_m > self._settings.max_depth_m] = 0.0
        return sample

    def _base_from_camera(self, time_ns: int) -> Pose | None:
        """Return where the camera stands over the floor; None where no frame is on the floor."""
        if self._floor is None:
            return None
        return self._transforms.find(self._floor, self._frame, time_ns)


def frame_name(frame: SourceFrame) -> str:
    """Return the name that an image of a recording has in the folder."""
    return f"{int(frame.name):06d}"
