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

"""A recorded drive of which a depth camera or a lidar tells the depth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.tools.command_line import ToolError, UnreadableError
from depthrefl_ros.tools.keyframes import Keyframes
from depthrefl_ros.tools.recorded_depth import (
    CLOUD_TYPE,
    DepthImages,
    LidarPoints,
    RecordedDepth,
    find_depth_topic,
)
from depthrefl_ros.tools.recorded_drive import (
    DriveSettings,
    RecordedDrive,
    frame_name,
)
from depthrefl_ros.tools.recorded_infos import RecordedInfos
from depthrefl_ros.tools.recorded_pairs import RecordedPairs
from depthrefl_ros.tools.recorded_transforms import TransformMissingError
from depthrefl_ros.tools.recordings import Recording
from depthrefl_ros.training.datasets import Sample
from depthrefl_ros.training.datasets.mounts import mount_numbers

FEWEST_KNOWN = 100  # pixels with depth; an image with fewer teaches nothing


class SensorDrive(RecordedDrive):
    """A recording in which a depth camera or a lidar saw what the colour camera sees.

    Args:
        bag: its path.
        settings: what is taken of it.

    Raises:
        ToolError: it has no images, no depth, or no two of about the same stamp.
    """

    def __init__(self, bag: Path, settings: DriveSettings):
        super().__init__(bag, settings)
        with Recording(bag) as recording:
            topic = find_depth_topic(recording, settings.depth_topic)
            self._depth = self._opened_depth(recording, topic)
            gap_s = settings.max_gap_s or self._depth.largest_gap_s
            self._pairs = RecordedPairs(recording, self._source, topic, gap_s)
        if not len(self._pairs):
            raise ToolError(
                f"{bag}: none of {self._pairs.images} images on {self._source.image_topic} is "
                f"within {gap_s:g} s of one of {self._pairs.depths} stamps on {topic} (--max-gap)"
            )

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self._pairs)

    def plan(self) -> str:
        """Return in words what will be taken."""
        return (
            f"{self._bag}: {self._source.image_topic} with {self._depth.topic}, "
            f"{len(self._pairs)} pairs, {self._thinned()}, {self._mounts()}"
        )

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

    def samples(
        self, step: Callable[[int], None]
    ) -> Iterator[tuple[str, Sample, dict[str, float] | None]]:
        """Yield what is worth keeping; see the base class."""
        chosen = self._settings.keyframes
        keyframes = None if chosen is None else Keyframes(chosen)

        def pose_at(time_ns: int) -> Pose | None:
            if keyframes is None or not self._follows_tf:
                return None
            return self._transforms.find(self._fixed, self._frame, time_ns)

        def wants(time_ns: int) -> bool:
            step(1)
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
                    mount = mount_numbers(self._base_from_camera(frame.stamp_ns))
                except UnreadableError as error:
                    self._skip(frame, error)
                    continue
                except TransformMissingError as error:
                    self._without_transform(error)
                    continue
                if np.count_nonzero(sample.depth_m) < FEWEST_KNOWN:
                    self._leave_out("without depth in view")
                    continue
                if keyframes is not None:
                    keyframes.keep(colour.pixels, pose)
                self._kept += 1
                yield frame_name(frame), sample, mount

    @property
    def images(self) -> int:
        """How many images the recording has."""
        return self._pairs.images

    def _depth_figures(self) -> dict[str, Any]:
        return {"depth_topic": self._depth.topic, "pairs": len(self._pairs)}

    def _not_kept(self) -> dict[str, int]:
        without = self.images - len(self._pairs)
        more = {"without depth of that time": without} if without else {}
        return {**self.left_out(), **more}
