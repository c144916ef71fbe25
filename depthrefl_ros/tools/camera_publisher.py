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

"""Camera frames as messages: filled in place, published camera info first."""

from __future__ import annotations

import time
from array import array
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from depthrefl_ros.ros.convert.images import MessageError, compressed_image
from depthrefl_ros.tools.command_line import StopRequest, ToolError
from depthrefl_ros.tools.source_frame import SourceFrame

QUEUE_DEPTH = 5  # what camera drivers keep for reliable subscribers
ACKNOWLEDGED_WITHIN_S = 2.0


def info_message(info: Any) -> CameraInfo:
    """Return a CameraInfo message with the fields of any object that has them, but the header."""
    message = CameraInfo(
        height=info.height,
        width=info.width,
        distortion_model=info.distortion_model,
        d=[float(value) for value in info.d],
        binning_x=info.binning_x,
        binning_y=info.binning_y,
    )
    message.k[:], message.r[:], message.p[:] = info.k, info.r, info.p
    for name in ("x_offset", "y_offset", "height", "width", "do_rectify"):
        setattr(message.roi, name, getattr(info.roi, name))
    return message


class CameraMessages:
    """The messages of one frame, made once and filled again and again.

    Args:
        with_compressed: fill the compressed image as well.
    """

    def __init__(self, with_compressed: bool):
        self.image = Image()
        self.info = CameraInfo()
        self.compressed = CompressedImage() if with_compressed else None

    def fill(self, frame: SourceFrame) -> CameraMessages:
        """Take over a frame's pixels and camera; the stamp is set when it is published."""
        image = self.image
        if len(image.data) != frame.data.size:
            image.data = array("B", bytes(frame.data.size))
        np.frombuffer(image.data, np.uint8)[:] = frame.data
        image.height, image.width, image.step = frame.height, frame.width, frame.step
        image.encoding, image.is_bigendian = frame.encoding, frame.is_bigendian
        self.info = info_message(frame.camera_info)
        if self.compressed is not None:
            self._fill_compressed(frame)
        for message in self.all:
            message.header.frame_id = frame.frame_id
        return self

    def stamp(self, stamp_ns: int) -> None:
        """Set the stamp of all of them."""
        seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
        for message in self.all:
            message.header.stamp = Time(sec=seconds, nanosec=nanoseconds)

    @property
    def all(self) -> list[Image | CameraInfo | CompressedImage]:
        """The messages that are published, camera info first: it must be there before its image."""
        return [self.info, self.image] + ([self.compressed] if self.compressed else [])

    def _fill_compressed(self, frame: SourceFrame) -> None:
        if frame.picture is not None:
            self.compressed.format = frame.picture.format
            self.compressed.data = array("B", bytes(frame.picture.data))
            return
        try:
            jpeg = compressed_image(self.image)
        except MessageError as error:
            raise ToolError(f"frame {frame.name} cannot be compressed: {error}") from error
        self.compressed.format, self.compressed.data = jpeg.format, jpeg.data


class CameraPublisher:
    """Publishes ``image_raw`` and ``camera_info``, and ``image_raw/compressed`` if wanted.

    Args:
        node: its namespace is the camera's.
        with_compressed: also publish compressed.
        answers: topic of CameraInfo messages that answer a frame by its stamp; None for none.
    """

    def __init__(self, node: Node, with_compressed: bool, answers: str | None = None):
        profile = QoSProfile(depth=QUEUE_DEPTH, reliability=ReliabilityPolicy.RELIABLE)
        self.infos = node.create_publisher(CameraInfo, "camera_info", profile)
        self.images = node.create_publisher(Image, "image_raw", profile)
        self.publishers = [self.infos, self.images]
        if with_compressed:
            self.publishers.append(
                node.create_publisher(CompressedImage, "image_raw/compressed", profile)
            )

        self._node = node
        self._answered_ns = -1
        self._executor: SingleThreadedExecutor | None = None
        if answers:
            node.create_subscription(CameraInfo, answers, self._on_answer, profile)
            self._executor = SingleThreadedExecutor()
            self._executor.add_node(node)

    @property
    def topic(self) -> str:
        """The image's topic."""
        return self.images.topic_name

    def publish(self, messages: CameraMessages) -> None:
        """Publish one frame."""
        for publisher, message in zip(self.publishers, messages.all, strict=True):
            publisher.publish(message)

    def wait_for_answer(self, stamp_ns: int, seconds: float, stop: StopRequest) -> bool:
        """Wait until a frame was answered; False if it was not within so many seconds."""
        end = time.monotonic() + seconds
        while self._answered_ns < stamp_ns and not stop:
            if time.monotonic() > end:
                return False
            self._executor.spin_once(timeout_sec=0.05)
        return True

    def wait_for_subscribers(self, count: int, seconds: float, stop: StopRequest) -> None:
        """Wait until so many subscribe to the images, raw or compressed.

        Raises:
            ToolError: they did not come in time.
        """
        end = time.monotonic() + seconds
        while (here := self._image_subscribers()) < count:
            if stop.sleep_until(time.monotonic() + 0.05):
                return
            if time.monotonic() > end:
                raise ToolError(
                    f"{self.topic}: {here} of {count} subscribers came within {seconds:g} s"
                )
        # Whoever wants the camera info discovers it at about the same time as the image.
        end = time.monotonic() + 1.0
        while self.infos.get_subscription_count() < count and time.monotonic() < end:
            stop.sleep_until(time.monotonic() + 0.02)

    def wait_until_delivered(self) -> None:
        """Wait until reliable subscribers have got what was published, for a short while."""
        for publisher in self.publishers:
            publisher.wait_for_all_acked(Duration(seconds=ACKNOWLEDGED_WITHIN_S))

    def _on_answer(self, message: CameraInfo) -> None:
        stamp = message.header.stamp
        self._answered_ns = max(self._answered_ns, stamp.sec * 1_000_000_000 + stamp.nanosec)

    def _image_subscribers(self) -> int:
        return sum(publisher.get_subscription_count() for publisher in self.publishers[1:])
