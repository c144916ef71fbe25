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

"""The colour camera of a recording as a source of frames."""

from __future__ import annotations

import copy
import itertools
import re
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from depthrefl_ros.geometry.camera import CameraError
from depthrefl_ros.ros.convert.encodings import SensorBits
from depthrefl_ros.tools.camera_info_file import CameraInfoError, Intrinsics, recorded_camera
from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.recorded_infos import RecordedInfos
from depthrefl_ros.tools.recordings import Recording, base_topic, picture_size, stamp_ns
from depthrefl_ros.tools.source_frame import (
    DEFAULT_FRAME_ID,
    DEFAULT_RATE_HZ,
    FrameSource,
    SourceFrame,
)

_LOOKED_AT = 30  # messages from which the rate is taken
RECTIFIED_NAME = re.compile(r"(^|[/_])rect(ified)?([/_]|$)")


class RecordingSource(FrameSource):
    """The colour camera of a recording, with its CameraInfo, raw or compressed.

    Frames are due when they were recorded; where a converter gave all of them one time, when they
    were taken.

    Args:
        path: of the recording.
        intrinsics: what the user says; it comes before what was recorded.
        image_topic: the user's choice, or None.

    Attributes:
        image_topic: of the camera.
        info_topic: of its CameraInfo; None where the user's word counts.
    """

    def __init__(self, path: Path, intrinsics: Intrinsics, image_topic: str | None):
        super().__init__()
        self.name = str(path)
        self.recording = path
        self._intrinsics = intrinsics
        self._bits = SensorBits()
        with Recording(path) as recording:
            self.image_topic = recording.image_topic(image_topic)
            self.info_topic = None
            if not intrinsics.are_given:
                self.info_topic = recording.camera_info_topic(self.image_topic)
            self.count = recording.count(self.image_topic)
            self._note_choices(recording)
            self._look_at_times(recording)
        self._is_rectified = bool(RECTIFIED_NAME.search(base_topic(self.image_topic).lower()))
        if self._is_rectified and self.info_topic:
            self.notes.append(
                f"{self.image_topic} is rectified by its name: published with P and no distortion"
            )

    def frames(self) -> Iterator[SourceFrame]:
        """Yield the frames as they were recorded, each with the newest CameraInfo before it."""
        self.skipped.clear()
        with Recording(self.recording) as recording:
            info = recording.first(self.info_topic) if self.info_topic else None
            topics = [topic for topic in (self.image_topic, self.info_topic) if topic]
            number = readable = 0
            for topic, time_ns, message in recording.timed_messages(*topics):
                if topic == self.info_topic:
                    info = message
                    continue
                due_ns = time_ns if self._has_times else stamp_ns(message)
                frame = self.frame(message, info, str(number), due_ns)
                number += 1
                if frame is not None:
                    readable += 1
                    yield frame
            if number and not readable:
                reason = self.first_reason()
                raise ToolError(f"{self.name}: none of {number} images can be read{reason}")

    def check_cameras(self) -> None:
        """Check that some recorded CameraInfo can be used; a driver's first ones may be empty.

        Raises:
            CameraInfoError: none can; says what is wrong with the first.
        """
        if self.info_topic is None:
            return
        with Recording(self.recording) as recording:
            message = recording.first(self.image_topic)
            try:
                self._check_camera(message, recording.first(self.info_topic))
            except CameraInfoError as error:
                infos = RecordedInfos(recording, self.info_topic)
                if not infos.is_any_usable(lambda info: self._check_camera(message, info)):
                    raise CameraInfoError(f"{self.name}: {error}") from error

    def _check_camera(self, message: Any, info: Any) -> None:
        size = picture_size(message)
        if size is None:  # an image that cannot be read says nothing about its camera
            return
        camera = recorded_camera(self._camera(info, *size, ""), self.image_topic)
        try:
            camera.for_image(*size)
        except CameraError as error:
            raise CameraInfoError(f"{self.image_topic}: {error}") from error

    def frame(self, message: Any, info: Any | None, name: str, due_ns: int) -> SourceFrame | None:
        """Return one image of the camera as a frame; None if it cannot be read, which is told.

        Args:
            message: Image or CompressedImage.
            info: the CameraInfo that belongs to it; None where the user's word counts.
            name: of the frame.
            due_ns: as ``SourceFrame.time_ns``.
        """
        frame_id = message.header.frame_id or DEFAULT_FRAME_ID
        if hasattr(message, "encoding"):
            return SourceFrame(
                data=np.frombuffer(message.data, np.uint8),
                height=message.height,
                width=message.width,
                step=message.step,
                encoding=message.encoding,
                is_bigendian=message.is_bigendian,
                camera=self._camera(info, message.width, message.height, name),
                frame_id=frame_id,
                stamp_ns=stamp_ns(message),
                name=name,
                time_ns=due_ns,
                bits=self._bits,
            )
        from depthrefl_ros.ros.convert.images import MessageError, compressed_image_to_array

        try:
            pixels, _ = compressed_image_to_array(message, self.image_topic, self._bits)
        except MessageError as error:
            self.skip(f"{self.recording}: frame {name}: {error}")
            return None
        height, width = pixels.shape[:2]
        camera = self._camera(info, width, height, name)
        return SourceFrame.from_pixels(
            pixels, camera, stamp_ns(message), name, frame_id, due_ns, message
        )

    def _camera(self, info: Any | None, width: int, height: int, name: str) -> Any:
        if info is None:
            return self._intrinsics.camera(width, height, name, self.name)
        return _of_rectified(info) if self._is_rectified else info

    def _note_choices(self, recording: Recording) -> None:
        others = [
            topic
            for topic in recording.image_topics()
            if base_topic(topic) != base_topic(self.image_topic)
        ]
        if others:
            self.notes.append(
                f"images of {self.image_topic}; also there: {', '.join(others)} (--image-topic)"
            )
        sibling = base_topic(self.image_topic).rsplit("/", 1)[0] + "/camera_info"
        if self.info_topic not in (None, sibling):
            self.notes.append(
                f"no {sibling}: camera info of {self.info_topic}, of the same frame and size"
            )

    def _look_at_times(self, recording: Recording) -> None:
        """Find out whether the times of recording differ, and the rate."""
        seen = [
            (time_ns, stamp_ns(message))
            for _, time_ns, message in itertools.islice(
                recording.timed_messages(self.image_topic), _LOOKED_AT
            )
        ]
        recorded = [time_ns for time_ns, _ in seen]
        self._has_times = len(set(recorded)) > 1 or len(seen) < 2
        times = recorded if self._has_times else [stamp for _, stamp in seen]
        gaps = [after - before for before, after in zip(times, times[1:], strict=False)]
        gaps = [gap for gap in gaps if gap > 0]
        self.rate_hz = 1e9 / statistics.median(gaps) if gaps else DEFAULT_RATE_HZ


def _of_rectified(info: Any) -> Any:
    """Return the CameraInfo of rectified images: P's geometry, so that none is rectified twice."""
    projection = np.asarray(info.p, np.float64).reshape(3, 4)
    if projection[0, 0] <= 0:
        return info
    of_rectified = copy.copy(info)
    of_rectified.k = np.ascontiguousarray(projection[:, :3]).ravel()
    of_rectified.r = np.eye(3).ravel()
    of_rectified.d = np.zeros(5)
    of_rectified.distortion_model = "plumb_bob"
    return of_rectified
