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

"""One camera frame of any source, and what a source of frames is."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.ros.convert.encodings import SensorBits

DEFAULT_FRAME_ID = "camera_optical_frame"
DEFAULT_RATE_HZ = 10.0


@dataclass(frozen=True)
class SourceFrame:
    """One camera frame, ready to be put into an Image message.

    Attributes:
        data: (height * step,) uint8, as in the message.
        height: pixels.
        width: pixels.
        step: bytes a row.
        encoding: as in the message.
        is_bigendian: as in the message.
        camera: the camera of this frame, or the CameraInfo that was recorded with it.
        frame_id: of the optical frame.
        stamp_ns: when it was taken, by the source's own clock.
        name: the file's stem or the frame's number.
        time_ns: when it is due, by the clock that the source is paced by; it starts anywhere.
        picture: the CompressedImage it was read from, for publishing compressed, or None.
        bits: of the camera, which all frames of a recording share; None judges each by itself.
    """

    data: np.ndarray
    height: int
    width: int
    step: int
    encoding: str
    is_bigendian: int
    camera: Camera | Any
    frame_id: str
    stamp_ns: int
    name: str
    time_ns: int = 0
    picture: Any | None = None
    bits: SensorBits | None = None

    @classmethod
    def from_pixels(
        cls,
        pixels: np.ndarray,
        camera: Camera | Any,
        stamp_ns: int,
        name: str,
        frame_id: str = DEFAULT_FRAME_ID,
        time_ns: int | None = None,
        picture: Any | None = None,
    ) -> SourceFrame:
        """Make a frame of (H, W, 3) uint8 BGR or (H, W) uint8 grey pixels.

        Args:
            pixels: as OpenCV decodes them.
            camera: as the attribute.
            stamp_ns: as the attribute.
            name: as the attribute.
            frame_id: as the attribute.
            time_ns: as the attribute; None for the stamp.
            picture: as the attribute.
        """
        height, width = pixels.shape[:2]
        return cls(
            data=np.ascontiguousarray(pixels).reshape(-1),
            height=height,
            width=width,
            step=pixels[0].size,
            encoding="mono8" if pixels.ndim == 2 else "bgr8",
            is_bigendian=0,
            camera=camera,
            frame_id=frame_id,
            stamp_ns=stamp_ns,
            name=name,
            time_ns=stamp_ns if time_ns is None else time_ns,
            picture=picture,
        )

    @property
    def camera_info(self) -> Any:
        """The camera as an object with the fields of CameraInfo."""
        return camera_info_of(self.camera) if isinstance(self.camera, Camera) else self.camera

    def rgb(self, topic: str) -> np.ndarray:
        """Return the pixels (height, width, 3) uint8, red first, without what pads the rows.

        Args:
            topic: of the image, for the error.

        Raises:
            MessageError: the image cannot be read.
        """
        from depthrefl_ros.frames import to_rgb
        from depthrefl_ros.ros.convert.images import image_to_array

        pixels, channels = image_to_array(self, topic, self.bits)
        return to_rgb(np.ascontiguousarray(pixels), channels)


class FrameSource(ABC):
    """Frames in order; every call of ``frames`` starts again from the first.

    Attributes:
        name: for messages to the user.
        rate_hz: the source's own rate, roughly; frames say themselves when they are due.
        count: frames in one pass; None where the end is not known.
        is_live: a camera: it cannot be paused, looped or read ahead.
        is_still: pictures without a time of their own.
        recording: that they are read from; None for any other source.
        notes: what the user should know about what was chosen.
        skipped: frames that could not be read in the last pass, each with the reason.
    """

    name: str
    rate_hz: float = DEFAULT_RATE_HZ
    count: int | None = None
    is_live: bool = False
    is_still: bool = False
    recording: Path | None = None

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.skipped: list[str] = []

    @abstractmethod
    def frames(self) -> Iterator[SourceFrame]:
        """Yield the frames of one pass.

        Raises:
            ToolError: the source cannot be read, or nothing is known about its camera.
        """

    def check_cameras(self) -> None:
        """Check that of some image a recorded CameraInfo can be used.

        Raises:
            ToolError: none can; says what the user can do.
        """
        return None  # nothing is recorded but in a recording

    def first_reason(self) -> str:
        """Return why the first frame was left out, as the end of a line; "" if none was."""
        return f": {self.skipped[0].removeprefix(f'{self.name}: ')}" if self.skipped else ""

    def skip(self, reason: str) -> None:
        """Leave out one frame that cannot be read, and say so."""
        self.skipped.append(reason)
        print(f"skipped: {reason}", file=sys.stderr, flush=True)


def camera_info_of(camera: Camera) -> Any:
    """Return a camera as rosbags' CameraInfo with an empty header."""
    types = _message_types()
    header = types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](0, 0), "")
    roi = camera.roi
    return types["sensor_msgs/msg/CameraInfo"](
        header=header,
        height=camera.height,
        width=camera.width,
        distortion_model=camera.distortion_model,
        d=np.asarray(camera.D, np.float64),
        k=np.asarray(camera.K, np.float64).ravel(),
        r=np.asarray(camera.R, np.float64).ravel(),
        p=np.asarray(camera.P, np.float64).ravel(),
        binning_x=camera.binning_x,
        binning_y=camera.binning_y,
        roi=types["sensor_msgs/msg/RegionOfInterest"](
            roi.x_offset, roi.y_offset, roi.height, roi.width, False
        ),
    )


@cache
def _message_types() -> dict[str, Any]:
    """Return rosbags' message classes by name; only what deals with messages needs rosbags."""
    from rosbags.typesys import Stores, get_typestore

    return get_typestore(Stores.LATEST).types
