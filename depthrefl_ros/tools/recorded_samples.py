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

"""A recording as a data set: its camera's images with the true depth that was recorded beside."""

from __future__ import annotations

import bisect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.tools.bag_files import storage_files
from depthrefl_ros.tools.camera_info_file import Intrinsics, recorded_camera
from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.recorded_depth import (
    ColourImage,
    depth_camera,
    is_rectified,
    registered_sample,
)
from depthrefl_ros.tools.recorded_infos import RecordedInfos
from depthrefl_ros.tools.recording_source import RecordingSource
from depthrefl_ros.tools.recordings import (
    IMAGE_TYPES,
    Recording,
    depth_from_message,
    stamp_ns,
)
from depthrefl_ros.tools.source_frame import SourceFrame
from depthrefl_ros.training.datasets import DatasetError, ImageFolder, Sample
from depthrefl_ros.training.datasets.image_folder import check_size, combined_digest

_INSTEAD = "make a folder by 'depthrefl dataset' with --camera-info FILE or --hfov DEGREES"
LARGEST_GAP_NS = 20_000_000  # between an image and its depth, as in TUM's benchmark


class RecordedSamples(ImageFolder):
    """The images of a recording that have true depth of nearly the same stamp.

    Read in order it is read once; a step back begins anew, unless the samples fit into memory.
    Names are the frames' numbers.

    Args:
        path: of the recording, MCAP or rosbag2.
        image_topic: of the camera; None for the colour camera.
        truth_topic: of Image 32FC1 or 16UC1 or PNG, registered to the images; None for the one
            called ``depth_truth``, or the only depth topic there is.

    Attributes:
        root: the path.
        names: of the images that have depth.
        without_depth: of those that have none.
        unreadable: compressed images that cannot be decoded, each with the reason.

    Raises:
        ToolError: the recording cannot be read, or has no images or no depth.
    """

    kind = "recording"
    in_any_order = False

    def __init__(self, path: Path, image_topic: str | None = None, truth_topic: str | None = None):
        self._source = RecordingSource(path, Intrinsics(), image_topic)
        with Recording(path) as recording:
            self.truth_topic = truth_topic or find_truth_topic(recording)
            if recording.topics.get(self.truth_topic) not in IMAGE_TYPES:
                raise ToolError(f"{path}: no image topic {self.truth_topic} for the true depth")
            info_topic = recording.camera_info_topic(self.truth_topic)
            self._truth_infos = RecordedInfos(recording, info_topic) if info_topic else None
            self._told: set[str] = set()  # shared with every subset
            # Kept as recorded, mostly as PNG: decoded, a minute would fill the memory.
            self._truth = {
                stamp_ns(message): message for _, message in recording.messages(self.truth_topic)
            }
        self._stamps = sorted(self._truth)
        names: list[str] = []
        self.without_depth: list[str] = []
        for frame in self._source.frames():
            has_depth = self._nearest(frame.stamp_ns) is not None
            (names if has_depth else self.without_depth).append(frame.name)
        seen = {*names, *self.without_depth}
        missing = [name for name in map(str, range(self._source.count)) if name not in seen]
        self.unreadable = dict(zip(missing, self._source.skipped, strict=False))
        if not names:
            raise ToolError(
                f"{path}: no image has depth on {self.truth_topic} within "
                f"{LARGEST_GAP_NS / 1e9:g} s of its stamp"
            )
        super().__init__(path, names)
        self._place = {name: place for place, name in enumerate(names)}
        self._rewind()

    def _rewind(self) -> None:
        """Begin anew with the next sample."""
        self._next = 0
        self._frames: Iterator[SourceFrame] = (
            frame for frame in self._source.frames() if self._nearest(frame.stamp_ns) is not None
        )

    def subset(self, names: list[str]) -> RecordedSamples:
        """Return the same recording with only the images called ``names``, in that order."""
        part = super().subset(names)
        part._rewind()
        return part

    def load(self, name: str) -> Sample:
        """Decode one image with its depth in metres, without the lens's distortion."""
        place = self._place[name]
        if place < self._next:
            self._rewind()
        while True:
            frame = next(self._frames)
            self._next += 1
            if self._next > place:
                return self._sample(frame)

    def _nearest(self, stamp: int) -> int | None:
        """Return the stamp of the depth that belongs to an image's, None if none does."""
        place = bisect.bisect_left(self._stamps, stamp)
        around = self._stamps[max(place - 1, 0) : place + 1]
        nearest = min(around, key=lambda other: abs(other - stamp), default=None)
        return nearest if nearest is not None and abs(nearest - stamp) <= LARGEST_GAP_NS else None

    def _sample(self, frame: SourceFrame) -> Sample:
        from depthrefl_ros.ros.convert.images import MessageError

        topic = self._source.image_topic
        try:
            camera = recorded_camera(frame.camera_info, topic, instead=_INSTEAD)
            camera = camera.for_image(frame.width, frame.height)
            image = frame.rgb(topic)
            message = self._truth[self._nearest(frame.stamp_ns)]
            depth_m = depth_from_message(message, self.truth_topic)
            truth_camera = self._truth_camera(message, depth_m)
            check_size(Path(self.truth_topic), depth_m, image.shape[:2])
        except (MessageError, ToolError, ValueError) as error:
            raise DatasetError(f"{self.root}: frame {frame.name}: {error}") from error
        with np.errstate(invalid="ignore"):
            known = np.isfinite(depth_m) & (depth_m > 0)
        colour = ColourImage(frame.name, image, camera, frame.frame_id, frame.stamp_ns)
        pixels = truth_pixels(camera, truth_camera, is_rectified(self.truth_topic))
        return registered_sample(colour, np.where(known, depth_m, 0), pixels, None)

    def _truth_camera(self, message: Any, depth_m: np.ndarray) -> Camera | None:
        """Return what the depth's CameraInfo says; None, which is told once, where it is wrong."""
        if self._truth_infos is None:
            return None
        info = self._truth_infos.at(stamp_ns(message))
        try:
            return depth_camera(info, self.truth_topic, depth_m)
        except ToolError as error:
            if not self._told:
                self._told.add(self.truth_topic)
                print(
                    f"{self.root}: {error}; that camera info is left out, since true depth is "
                    "registered to the images",
                    file=sys.stderr,
                    flush=True,
                )
            return None

    def files_of(self, name: str) -> list[Path]:
        """Return the files of the recording, which hold all samples."""
        return storage_files(self.root)

    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) over the files of the recording."""
        folder = self.root if self.root.is_dir() else self.root.parent
        return combined_digest(storage_files(self.root), folder)

    def describe_depth(self) -> str:
        """Return in words where the true depth comes from."""
        return f"{self.truth_topic} of the recording"


def truth_pixels(camera: Camera, own: Camera | None, is_rectified: bool) -> Camera:
    """Return the camera of the true depth's pixels, which are registered to the image.

    Args:
        camera: of the image.
        own: what the depth's CameraInfo says, or None.
        is_rectified: whether the depth is called so.
    """
    if is_rectified or (own is not None and not own.is_distorted):
        return camera.rectified()
    return own or camera


def find_truth_topic(recording: Recording) -> str:
    """Return the topic of true depth; raises ToolError, which names the topics, without one."""
    topic = recording.truth_topic()
    if topic is not None:
        return topic
    depth = recording.depth_topics()
    if len(depth) == 1:
        return depth[0]
    found = f"several: {', '.join(depth)}" if depth else f"none of {', '.join(recording.topics)}"
    raise ToolError(
        f"{recording.path}: which topic is the true depth, registered to the images? Found "
        f"{found}; name it by --truth-topic"
    )
