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

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from depthrefl_ros.geometry.camera import CameraError
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.tools.camera_info_file import Intrinsics, recorded_camera
from depthrefl_ros.tools.command_line import ToolError, UnreadableError
from depthrefl_ros.tools.keyframes import Keyframes, KeyframeSettings
from depthrefl_ros.tools.recorded_depth import (
    CLOUD_TYPE,
    ColourImage,
    DepthImages,
    LidarPoints,
    RecordedDepth,
    find_depth_topic,
)
from depthrefl_ros.tools.recorded_infos import RecordedInfos
from depthrefl_ros.tools.recorded_pairs import RecordedPairs
from depthrefl_ros.tools.recorded_transforms import RecordedTransforms, TransformMissingError
from depthrefl_ros.tools.recording_source import RecordingSource
from depthrefl_ros.tools.recordings import Recording
from depthrefl_ros.tools.source_frame import SourceFrame
from depthrefl_ros.training.datasets import Sample
from depthrefl_ros.training.datasets.mounts import mount_of

FIXED_FRAMES = ("odom", "map", "world")  # in which a robot drives (REP-105)
FLOOR_FRAME = "base_footprint"  # whose z = 0 is the floor (REP-120)
FEWEST_KNOWN = 100  # pixels with depth; an image with fewer teaches nothing


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


class RecordedDrive:
    """One recording on its way into the folder.

    Args:
        bag: its path.
        settings: what is taken of it.

    Raises:
        ToolError: it has no images, no depth, or no two of about the same stamp.
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
            topic = find_depth_topic(recording, settings.depth_topic)
            self._transforms = RecordedTransforms(recording)
            self._frame = recording.first(self._source.image_topic).header.frame_id
            self._fixed = self._fixed_frame()
            self._floor = self._transforms.called(settings.floor_frame, self._frame)
            self._depth = self._opened_depth(recording, topic)
            gap_s = settings.max_gap_s or self._depth.largest_gap_s
            self._pairs = RecordedPairs(recording, self._source, topic, gap_s)
        if not len(self._pairs):
            raise ToolError(
                f"{bag}: none of {self._pairs.images} images on {self._source.image_topic} is "
                f"within {gap_s:g} s of one of {self._pairs.depths} stamps on {topic} (--max-gap)"
            )
        self._follows_tf = self._fixed is not None and self._transforms.moves(
            self._fixed, self._frame
        )
        if not self._floor and settings.floor_frame != FLOOR_FRAME:
            raise ToolError(f"{bag}: {settings.floor_frame} is not above {self._frame} on TF")

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self._pairs)

    def plan(self) -> str:
        """Return in words what will be taken."""
        thinned = "by TF" if self._follows_tf else "by the pictures"
        if self._settings.keyframes is None:
            thinned = "not at all"
        return (
            f"{self._bag}: {self._source.image_topic} with {self._depth.topic}, "
            f"{len(self._pairs)} pairs, thinned {thinned}, "
            f"{'mounts from ' + self._floor if self._floor else 'no mounts'}"
        )

    def _fixed_frame(self) -> str | None:
        chosen = self._settings.fixed_frame
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
        is_given = self._settings.intrinsics.are_given
        if is_given and info_topic == recording.camera_info_topic(self._source.image_topic):
            info_topic = None  # one camera: the user's word counts for its depth, too
        infos = RecordedInfos(recording, info_topic) if info_topic else None
        is_registered = self._settings.is_registered
        return DepthImages(topic, self._transforms, self._fixed, infos, is_registered)

    def samples(self, step: Any) -> Iterator[tuple[str, Sample, dict[str, float] | None]]:
        """Yield name, image with depth, and mount of what is worth keeping.

        Args:
            step: called once for every pair.

        Raises:
            ToolError: a frame can never be used, as where TF does not know the sensors.
        """
        chosen = self._settings.keyframes
        keyframes = None if chosen is None else Keyframes(chosen)

        def pose_at(time_ns: int) -> Pose | None:
            if keyframes is None or not self._follows_tf:
                return None
            return self._transforms.find(self._fixed, self._frame, time_ns)

        def wants(time_ns: int) -> bool:
            step()
            try:
                pose = pose_at(time_ns)
            except TransformMissingError as error:
                return self._leave_out("without transform", error)
            return pose is None or keyframes.is_new_pose(pose) or self._leave_out("alike")

        with Recording(self._bag) as recording:
            for frame, message in self._pairs.read(recording, wants):
                try:
                    pose, colour = pose_at(frame.stamp_ns), self._colour(frame)
                    if keyframes is not None:
                        # Asked anew: another may have been kept since, whose depth came late.
                        if not (
                            keyframes.is_new_picture(colour.pixels)
                            if pose is None
                            else keyframes.is_new_pose(pose)
                        ):
                            self._leave_out("alike")
                            continue
                    sample = self._bounded(self._depth.sample(message, colour))
                    mount = self._mount(frame.stamp_ns)
                except UnreadableError as error:
                    self._skip(frame, error)
                    continue
                except TransformMissingError as error:
                    if not error.is_of_time:
                        raise ToolError(f"{self._bag}: {error}") from error
                    self._leave_out("without transform", error)
                    continue
                if np.count_nonzero(sample.depth_m) < FEWEST_KNOWN:
                    self._leave_out("without depth in view")
                    continue
                if keyframes is not None:
                    keyframes.keep(colour.pixels, pose)
                self._kept += 1
                yield f"{int(frame.name):06d}", sample, mount

    def _skip(self, frame: SourceFrame, error: UnreadableError) -> None:
        text = f"{self._bag}: frame {frame.name}: {error}"
        self._source.skip(text)
        self._reason = self._reason or text

    def _leave_out(self, why: str, error: object = "") -> bool:
        self._left_out[why] += 1
        self._reason = self._reason or str(error)
        return False

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

    def _mount(self, time_ns: int) -> dict[str, float] | None:
        if self._floor is None:
            return None
        return mount_of(self._transforms.find(self._floor, self._frame, time_ns))

    def left_out(self) -> dict[str, int]:
        """Return how many pairs were left out so far, by the reason."""
        unreadable = len(self._source.skipped)
        return {**self._left_out, **({"unreadable": unreadable} if unreadable else {})}

    def figures(self) -> dict[str, Any]:
        """Return what became of the recording's images."""
        return {
            "recording": str(self._bag),
            "image_topic": self._source.image_topic,
            "depth_topic": self._depth.topic,
            "images": self._pairs.images,
            "pairs": len(self._pairs),
            "kept": self._kept,
            "left_out": self.left_out(),
        }

    def told(self) -> str:
        """Return the same in words."""
        without = self._pairs.images - len(self._pairs)
        parts = [f"{count} {why}" for why, count in self.left_out().items()]
        parts += [f"{without} without depth of that time"] if without else []
        text = f"{self._bag}: {self._kept} of {self._pairs.images} images kept"
        text += f"; {', '.join(parts)}" if parts else ""
        return f"{text} ({self._reason})" if self._reason else text
