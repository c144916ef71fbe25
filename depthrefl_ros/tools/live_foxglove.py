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

"""What is watched of a node, for Foxglove: the server of its own library behind ours.

Topics and message types are those of the node and of its recordings, so that one layout serves all.
"""

from __future__ import annotations

import secrets
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import foxglove
from foxglove import Channel, Parameter, Schema
from foxglove.websocket import Capability
from rclpy.serialization import serialize_message
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import CompressedImage

from depthrefl_ros.ros.publishers import CLEARING, DEPTH_PREVIEW, MARKING
from depthrefl_ros.tools.live_node import DIAGNOSTICS, RELAYED, LiveNode, Moment
from depthrefl_ros.tools.record import mount_transforms

STATIC_TF = "/tf_static"
BASE_FRAME = "base_footprint"  # as the node's own default
BACKLOG = 4  # messages for a slow app
_JPEG = "bgr8; jpeg compressed bgr8"
_KINDS = {
    MARKING: "sensor_msgs/msg/PointCloud2",
    CLEARING: "sensor_msgs/msg/PointCloud2",
    DIAGNOSTICS: "diagnostic_msgs/msg/DiagnosticArray",
    **{
        topic: f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"
        for topic, kind in RELAYED.items()
    },
}


class FoxgloveRelay:
    """Foxglove's server; hands it what comes of a node, and the node what it asks for.

    The server listens at a random loopback address that no web page can guess, since it asks
    nobody where he comes from; ``live_server.Tunnel`` does, and hands on.

    Args:
        live: the watched node.
        set_value: gets parameter and value; None where nobody may set anything.

    Attributes:
        url: of the server behind.
    """

    def __init__(self, live: LiveNode, set_value: Callable[[str, Any], None] | None):
        self._live, self._set_value = live, set_value
        self._context = foxglove.Context()
        self._store = get_typestore(Stores.LATEST)
        self._channels: dict[str, Channel] = {}
        self._lock = threading.Lock()
        self._wanted: Counter[str] = Counter()
        self._values: dict[str, Any] = {}
        self._base = ""
        host = "127." + ".".join(str(1 + secrets.randbelow(254)) for _ in range(3))
        self._server = foxglove.start_server(
            name="depthrefl",
            host=host,
            port=0,
            capabilities=[Capability.Parameters],
            server_listener=self,
            context=self._context,
            message_backlog_size=BACKLOG,
        )
        self.url = f"ws://{host}:{self._server.port}"

    def close(self) -> None:
        """End the server."""
        self._server.stop()

    def take_moment(self, moment: Moment) -> None:
        """Take pictures, and where the camera stands."""
        for part, topic, header in (
            ("camera", moment.camera_topic.removesuffix("/compressed"), moment.camera_header),
            ("depth", f"{self._base}/{DEPTH_PREVIEW}", moment.depth_header),
        ):
            if part in moment.parts:
                message = CompressedImage(header=header, format=_JPEG)
                message.data.frombytes(moment.parts[part])
                self._log(f"{topic}/compressed", "sensor_msgs/msg/CompressedImage", message)
        if moment.base_from_camera is not None and moment.depth_header is not None:
            frame_id = moment.depth_header.frame_id
            channel = self._channel(STATIC_TF, "tf2_msgs/msg/TFMessage")
            if channel.has_sinks():
                channel.log(mount_transforms(moment.base_from_camera, BASE_FRAME, frame_id))

    def take_message(self, topic: str, message: Any) -> None:
        """Take one of the node's messages."""
        name = topic if topic.startswith("/") else f"{self._base}/{topic}"
        self._log(name, _KINDS[topic], message)

    def take_news(self, news: dict[str, Any]) -> None:
        """Take which node it is, and its parameters."""
        if news["kind"] == "status" and news["node"]:
            self._base = news["node"].rpartition("/")[0]
            for topic, kind in _KINDS.items():  # offered before they come
                self._channel(topic if topic.startswith("/") else f"{self._base}/{topic}", kind)
        elif news["kind"] == "values":
            self._values.update(news["values"])
            self._server.publish_parameter_values(self._parameters(news["values"]))

    # What the server calls, in threads of its own.

    def on_subscribe(self, client: Any, channel: Any) -> None:
        """Listen to the node while an app wants anything of it."""
        self._follow(channel.topic, 1)

    def on_unsubscribe(self, client: Any, channel: Any) -> None:
        """Leave the node alone when no app wants anything of it any more."""
        self._follow(channel.topic, -1)

    def on_get_parameters(
        self, client: Any, names: list[str], request_id: str | None = None
    ) -> list[Parameter]:
        """Return the node's live parameters."""
        return self._parameters(names or list(self._values))

    def on_set_parameters(
        self, client: Any, parameters: list[Parameter], request_id: str | None = None
    ) -> list[Parameter]:
        """Ask the node to change parameters; what it makes of that is told when it has done so."""
        for one in parameters:
            if self._set_value is not None:
                self._set_value(one.name, one.get_value())
        return self._parameters([one.name for one in parameters])

    def on_parameters_subscribe(self, names: list[str]) -> None:
        """Do nothing: everybody hears of every change."""

    def on_parameters_unsubscribe(self, names: list[str]) -> None:
        """Do nothing: everybody hears of every change."""

    def _parameters(self, names: Any) -> list[Parameter]:
        return [Parameter(name, value=self._values[name]) for name in names if name in self._values]

    def _follow(self, topic: str, change: int) -> None:
        with self._lock:
            self._wanted[topic] += change
            own = topic.removeprefix(f"{self._base}/")
            if own in RELAYED:
                self._live.relay(own, self._wanted[topic] > 0)
            # Diagnostics come in any case.
            wanted = any(n > 0 for name, n in self._wanted.items() if name != DIAGNOSTICS)
            self._live.watch("foxglove", wanted)

    def _log(self, topic: str, kind: str, message: Any) -> None:
        channel = self._channel(topic, kind)
        if channel.has_sinks():
            stamp = getattr(getattr(message, "header", None), "stamp", None)
            when = stamp.sec * 1_000_000_000 + stamp.nanosec if stamp is not None else None
            channel.log(serialize_message(message), log_time=when or None)

    def _channel(self, topic: str, kind: str) -> Channel:
        channel = self._channels.get(topic)
        if channel is None:
            text, _ = self._store.generate_msgdef(kind)
            schema = Schema(name=kind, encoding="ros2msg", data=text.encode())
            channel = Channel(topic, schema=schema, message_encoding="cdr", context=self._context)
            self._channels[topic] = channel
        return channel
