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

"""The node's results on their way into a recording, and what their arrival tells."""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image, PointCloud2

from depthrefl_ros.ros.convert.images import compressed_image, image_to_array
from depthrefl_ros.ros.diagnostics import percentile
from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.recording_writer import RecordingWriter
from depthrefl_ros.tools.recordings import IMAGE_TYPES, header_stamp

QUEUE_DEPTH = 50
STATIC_TF = "/tf_static"
DIAGNOSTICS = "/diagnostics"
_ENGINE = re.compile(r"\S+ \S+ on \S")  # "openvino fp32 on CPU"; else what is being done


@dataclass
class Channel:
    """One topic on its way into the file.

    Attributes:
        topic: fully qualified.
        kind: message class.
        every: of so many messages the first is stored.
        as_jpeg: stored as CompressedImage on ``topic/compressed`` (image_transport's naming).
        is_result: published by the node, not by the camera.
        is_needed: the camera's topics wait for it.
        option: of the command, by which the user named it; a topic of another type is then refused.
        count: messages received.
        last: the newest message, as CDR.
    """

    topic: str
    kind: type
    every: int = 1
    as_jpeg: bool = False
    is_result: bool = True
    is_needed: bool = True
    option: str = ""
    count: int = 0
    last: bytes = b""

    @property
    def stored_topic(self) -> str:
        """The topic's name in the file."""
        return f"{self.topic}/compressed" if self.as_jpeg else self.topic

    @property
    def stored_type(self) -> str:
        """The message type in the file."""
        if self.as_jpeg:
            return "sensor_msgs/msg/CompressedImage"
        return self.type_name

    @property
    def type_name(self) -> str:
        """The message type on the topic."""
        return f"{self.kind.__module__.split('.')[0]}/msg/{self.kind.__name__}"


@dataclass
class Figures:
    """What was received, by the clock of this machine.

    Attributes:
        stamps_ns: of the depth images, in the order of receipt.
        received_ns: when each came.
        diagnostics: the node's newest values on ``/diagnostics``.
        message: the node's newest message there: what is wrong, or its state.
        told_s: when that came, by the monotonic clock.
    """

    stamps_ns: list[int] = field(default_factory=list)
    received_ns: list[int] = field(default_factory=list)
    diagnostics: dict[str, str] = field(default_factory=dict)
    message: str = ""
    told_s: float = -math.inf

    @property
    def engine_is_open(self) -> bool:
        """Whether the node has an engine that runs, by its own words."""
        return bool(_ENGINE.match(self.diagnostics.get("engine", "")))

    @property
    def engine_is_coming(self) -> bool:
        """Whether the node is opening or building one, by its own words."""
        doing = self.diagnostics.get("engine", "none")
        return not self.engine_is_open and doing != "none"

    @property
    def are_settled(self) -> bool:
        """Whether the node has no frame in work, by its own figures."""
        numbers = [
            int(self.diagnostics.get(key, 0)) for key in ("received", "processed", "dropped")
        ]
        return numbers[0] <= numbers[1] + numbers[2]

    def latencies_ms(self) -> list[float]:
        """Return from each depth image's stamp to its receipt."""
        pairs = zip(self.stamps_ns, self.received_ns, strict=True)
        return [(received - stamp) / 1e6 for stamp, received in pairs]

    def as_dict(self) -> dict:
        """Return frames, rate, latency percentiles, and every frame's stamp and latency."""
        latencies = self.latencies_ms()
        seconds = (self.received_ns[-1] - self.received_ns[0]) / 1e9 if latencies else 0.0
        return {
            "frames": len(latencies),
            "rate_hz": (len(latencies) - 1) / seconds if seconds > 0 else None,
            "latency_ms_p50": percentile(latencies, 0.5) if latencies else None,
            "latency_ms_p99": percentile(latencies, 0.99) if latencies else None,
            "stamps": [
                {"stamp_ns": stamp, "latency_ms": latency}
                for stamp, latency in zip(self.stamps_ns, latencies, strict=True)
            ],
            "diagnostics": self.diagnostics,
        }


class Recorder:
    """Subscribes to topics as they appear and hands their messages to the writer.

    Args:
        node: that subscribes.
        channels: the depth image's first.
        writer: of the file.
        pictures: folder for every n-th preview, and n; n is 0 for none.
        camera_waits: the camera's topics are not listened to before the node's engine is open, so
            that a camera that waits for its listeners plays nothing to a node that is not ready.
    """

    def __init__(
        self,
        node: Node,
        channels: list[Channel],
        writer: RecordingWriter,
        pictures: tuple[Path, int],
        camera_waits: bool = False,
    ):
        self.channels = channels
        self.figures = Figures()
        self._last_stamp_ns: int | None = None
        self._node = node
        self._writer = writer
        self._picture_folder, self._picture_every = pictures
        self._camera_waits = camera_waits
        self._waiting = list(channels)
        writer.add_topic(DIAGNOSTICS, "diagnostic_msgs/msg/DiagnosticArray")
        node.create_subscription(
            DiagnosticArray, DIAGNOSTICS, self._on_diagnostics, QUEUE_DEPTH, raw=True
        )

    @property
    def hears_all_results(self) -> bool:
        """Whether every topic of the node that is needed has appeared."""
        return not any(channel.is_result and channel.is_needed for channel in self._waiting)

    @property
    def is_ready(self) -> bool:
        """Whether the camera may begin."""
        return self.hears_all_results and (not self._camera_waits or self.figures.engine_is_open)

    @property
    def size_bytes(self) -> int:
        """What the file takes on the disk so far."""
        return self._writer.size_bytes

    def check(self) -> None:
        """Raise ToolError as soon as nothing can be written any more."""
        self._writer.check()

    def finish_frame(self) -> None:
        """Take only what belongs to the frames received so far, from now on."""
        self._last_stamp_ns = max(self.figures.stamps_ns, default=0)

    def subscribe_to_new_topics(self) -> None:
        """Subscribe to topics that have got a publisher, as reliably as it offers.

        To the camera's only when all of the node's are heard: a camera that waits for its
        subscribers then sends nothing whose result would be missed.

        Raises:
            ToolError: a topic that the user named has messages of another type.
        """
        is_ready = self.is_ready
        for channel in list(self._waiting):
            offered = self._node.get_publishers_info_by_topic(channel.topic)
            kinds = sorted({item.topic_type for item in offered})
            if channel.option and kinds and channel.type_name not in kinds:
                raise ToolError(
                    f"{channel.option} {channel.topic} has type {', '.join(kinds)}, not "
                    f"{channel.type_name}{self._other_images()}"
                )
            if not offered or (not channel.is_result and not is_ready):
                continue
            profiles = [item.qos_profile for item in offered]
            best_effort = any(one.reliability == ReliabilityPolicy.BEST_EFFORT for one in profiles)
            latched = all(one.durability == DurabilityPolicy.TRANSIENT_LOCAL for one in profiles)
            profile = QoSProfile(
                depth=QUEUE_DEPTH,
                reliability=(
                    ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE
                ),
                durability=(
                    DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
                ),
            )
            self._writer.add_topic(channel.stored_topic, channel.stored_type)
            self._node.create_subscription(
                channel.kind, channel.topic, partial(self._on_message, channel), profile, raw=True
            )
            self._waiting.remove(channel)

    def words_of_missing_images(self) -> str:
        """Return that no image came on the topic that the user named, and why; else ''."""
        for channel in self.channels:
            if channel.option and not channel.count:
                words = f"0 images of {channel.topic}: "
                if self._node.count_publishers(channel.topic):
                    return f"{words}its publisher sent none"
                return f"{words}nobody publishes there{self._other_images()}"
        return ""

    def _other_images(self) -> str:
        """Return the image topics that somebody publishes on, the node's left out."""
        own = "/" + self.channels[0].topic.removesuffix("image").lstrip("/")
        found = [
            name
            for name, kinds in self._node.get_topic_names_and_types()
            if set(kinds) & set(IMAGE_TYPES)
            and not name.startswith(own)
            and self._node.count_publishers(name)
        ]
        if not found:
            return "; no image topic exists"
        return f"; image topics that exist: {', '.join(sorted(found))}"

    def write_static_transforms(self, transforms: bytes) -> None:
        """Write a TFMessage (CDR) as if it had come on /tf_static now."""
        self._writer.add_topic(STATIC_TF, "tf2_msgs/msg/TFMessage", is_latched=True)
        self._writer.write(STATIC_TF, time.time_ns(), transforms)

    def _on_message(self, channel: Channel, serialised: bytes) -> None:
        received_ns = time.time_ns()
        if channel.topic == STATIC_TF:
            self._writer.write(channel.stored_topic, received_ns, serialised)
            channel.count += 1
            return
        if self._last_stamp_ns is not None and header_stamp(serialised) > self._last_stamp_ns:
            return
        if channel is self.channels[0]:
            self.figures.stamps_ns.append(header_stamp(serialised))
            self.figures.received_ns.append(received_ns)
        if channel.count % channel.every == 0:
            encode = _as_jpeg if channel.as_jpeg else None
            self._writer.write(channel.stored_topic, received_ns, serialised, encode)
        if channel.topic.endswith("depth/preview") and self._picture_every:
            if channel.count % self._picture_every == 0:
                picture = deserialize_message(serialised, Image)
                path = self._picture_folder / f"preview_{channel.count:06d}.png"
                cv2.imwrite(str(path), image_to_array(picture, channel.topic)[0])
        channel.last = serialised
        channel.count += 1

    def _on_diagnostics(self, serialised: bytes) -> None:
        self._writer.write(DIAGNOSTICS, time.time_ns(), serialised)
        for status in deserialize_message(serialised, DiagnosticArray).status:
            values = {item.key: item.value for item in status.values}
            if "engine" in values and "model" in values:
                self.figures.diagnostics = values
                self.figures.message = status.message
                self.figures.told_s = time.monotonic()


def points_of(message: PointCloud2) -> np.ndarray:
    """Return the points of the node's cloud, with its colours where it has them.

    Returns:
        (H, W, 4) float32 x, y, z in metres and packed rgb; (H, W, 3) of a cloud without colours.

    Raises:
        ToolError: a cloud of another layout.
    """
    places = {item.name: item.offset for item in message.fields}
    fields = [name for name in ("x", "y", "z", "rgb") if name in places]
    if [places[name] for name in fields] != [0, 4, 8, 12][: max(3, len(fields))]:
        layout = [(item.name, item.offset) for item in message.fields]
        raise ToolError(f"cloud with fields {layout}; x, y, z (and rgb) of 4 bytes are needed")
    rows = np.frombuffer(message.data, np.uint8).reshape(
        message.height, message.width, message.point_step
    )
    return np.ascontiguousarray(rows[:, :, : 4 * len(fields)]).view(np.float32)


def _as_jpeg(serialised: bytes) -> bytes:
    return serialize_message(compressed_image(deserialize_message(serialised, Image)))
