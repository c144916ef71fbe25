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

"""The way in: a message becomes a frame with its camera and time, or is dropped for a reason."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from builtin_interfaces.msg import Time
from rclpy.clock import Clock
from sensor_msgs.msg import CompressedImage, Image

from depthrefl_ros.frames import Frame
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.ros.camera_lookup import CameraLookup, NoCameraError, view_doubts
from depthrefl_ros.ros.convert.encodings import SensorBits
from depthrefl_ros.ros.convert.images import MessageError, compressed_image_to_array, image_to_array
from depthrefl_ros.ros.diagnostics import Diagnostics
from depthrefl_ros.ros.loaded_model import FrameSettings

# A frame this much before the last one is no late frame: the clock was set back, as by a bag that
# begins anew. Forward, silence looks the same, and what is remembered outdates by itself.
CLOCK_JUMP_S = 1.0


@dataclass(frozen=True, eq=False)
class Received:
    """An image message and when it came.

    Attributes:
        message: as it came.
        at_s: ``time.monotonic`` at receipt.
        settings: as they were then.
    """

    message: Image | CompressedImage
    at_s: float
    settings: FrameSettings


class DroppedError(Exception):
    """Ends a frame; ``reason`` is one of ``DROP_REASONS``, the message empty where all is well."""

    def __init__(self, reason: str, message: str = "", silences: bool = True):
        super().__init__(message)
        self.reason, self.silences = reason, silences


class Intake:
    """Makes frames of messages; remembers the last one's time, and the bits that the camera uses.

    Args:
        cameras: finds the camera of an image.
        diagnostics: is told which camera it was, and what is doubtful about it.
        clock: of the node, for ``max_stamp_age``.
        topic: of the images, named in errors.
        trained_hfov_deg: horizontal field of view that the network knows, degrees, or None.
    """

    def __init__(
        self,
        cameras: CameraLookup,
        diagnostics: Diagnostics,
        clock: Clock,
        topic: str,
        trained_hfov_deg: float | None,
    ):
        self._cameras, self._diagnostics = cameras, diagnostics
        self._clock, self._topic = clock, topic
        self._trained_hfov_deg = trained_hfov_deg
        self._was_too_old = False
        self._bits = SensorBits()
        self.forget()

    def forget(self) -> None:
        """Take whatever comes next as the first."""
        self._last_time_s = -math.inf

    def check_age(self, received: Received) -> None:
        """Let an image pass that is young enough.

        One such image may come beside good ones. From the second in a row on, the error says why.

        Raises:
            DroppedError: it is older than ``max_age`` or ``max_stamp_age``.
        """
        limits = received.settings.parameters.inputs
        waited_s = time.monotonic() - received.at_s
        why = ""
        if 0.0 < limits.max_age_s < waited_s:
            why = (
                f"{self._topic}: images wait {waited_s:.1f} s for the node, max_age is "
                f"{limits.max_age_s:g} s: the node is too slow"
            )
        elif limits.max_stamp_age_s > 0.0:
            why = self._stamp_problem(received.message.header.stamp, limits.max_stamp_age_s)
        told, self._was_too_old = self._was_too_old, bool(why)
        if why:
            raise DroppedError("too_old", why if told else "")

    def _stamp_problem(self, stamp: Time, most_s: float) -> str:
        """Return why a stamp is too old for ``max_stamp_age``, or nothing."""
        # Not by rclpy's Time, which raises where a stamp is negative.
        age_s = 1e-9 * (self._clock.now().nanoseconds - stamp.nanosec) - stamp.sec
        if age_s <= most_s:
            return ""
        if not stamp.sec and not stamp.nanosec:
            return (
                f"{self._topic}: images have no stamp, max_stamp_age is {most_s:g} s: "
                "set max_stamp_age to 0"
            )
        return (
            f"{self._topic}: stamps are {age_s:.1f} s old, max_stamp_age is {most_s:g} s: "
            "do the clocks of camera and robot differ?"
        )

    def is_set_back(self, time_s: float) -> bool:
        """Return whether the clock was set back: a time long before the last frame's."""
        return self._last_time_s - time_s > CLOCK_JUMP_S

    def admit(self, time_s: float) -> None:
        """Remember a frame's time, in seconds.

        Raises:
            DroppedError: it comes a little before the last one's.
        """
        back_s = self._last_time_s - time_s
        if back_s > 0.0:
            raise DroppedError(
                "out_of_order",
                f"{self._topic}: a stamp {1e3 * back_s:.0f} ms before the last frame's: dropped",
                silences=False,
            )
        self._last_time_s = time_s

    def frame(self, message: Image | CompressedImage, settings: FrameSettings) -> Frame:
        """Decode a message and find its camera.

        Raises:
            DroppedError: image, camera or mask cannot be used.
        """
        is_raw = isinstance(message, Image)
        try:
            convert = image_to_array if is_raw else compressed_image_to_array
            image, channels = convert(message, self._topic, self._bits)
        except MessageError as error:
            raise DroppedError("bad_image", str(error)) from error
        encoding = message.encoding if is_raw else message.format.partition(";")[0].strip()
        if encoding == "16UC1":  # some infrared cameras send it, too
            self._diagnostics.warn(
                "encoding",
                f"{self._topic}: encoding is '16UC1', as depth images have it, and is taken for "
                "grey; if it is depth, remap image to the camera's picture, else publish mono16",
            )
        height, width = image.shape[:2]
        camera = self._camera(message, width, height, settings)
        mask = settings.mask
        if mask is not None and mask.pixels.shape != (height, width):
            mask_height, mask_width = mask.pixels.shape
            raise DroppedError(
                "bad_mask",
                f"self_mask is {mask_width}x{mask_height}; the image on {self._topic} is "
                f"{width}x{height}",
            )
        return Frame(image, channels, camera, mask)

    def _camera(
        self, message: Image | CompressedImage, width: int, height: int, settings: FrameSettings
    ) -> Camera:
        parameters = settings.parameters
        assumed_deg = parameters.inputs.assumed_horizontal_fov_deg
        try:
            found = self._cameras.find(
                message.header,
                width,
                height,
                settings.calibration,
                assumed_deg,
                parameters.estimator.image_is_rectified,
                parameters.optical_frame_id,
            )
        except MessageError as error:
            reason = "no_camera_info" if isinstance(error, NoCameraError) else "bad_camera_info"
            raise DroppedError(reason, f"{error}; images come on {self._topic}") from error
        self._diagnostics.state_fact("camera", found.source)
        if found.is_assumed:
            self._diagnostics.warn("assumed_horizontal_fov", f"camera from {found.source}")
        trained_deg = self._trained_hfov_deg
        doubts = [*found.doubts, *view_doubts(found.camera, trained_deg)]
        if doubts:
            self._diagnostics.warn("camera_doubts", "; ".join(doubts))
        return found.camera
