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

"""A running depthrefl node, watched: found, listened to while someone looks, and set.

All of ROS happens in one thread. Nothing of the node's depth is subscribed to while nobody looks,
and once for however many look: each message is turned into what a browser gets once.
"""

from __future__ import annotations

import functools
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import ParameterEvent
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import qos_profile_parameter_events
from sensor_msgs.msg import CompressedImage, Image, LaserScan, PointCloud2
from std_msgs.msg import Header

from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.ros.convert.encodings import SensorBits
from depthrefl_ros.ros.convert.images import MessageError
from depthrefl_ros.ros.publishers import CLEARING, DEPTH_IMAGE, MARKING, POINTS, SCAN
from depthrefl_ros.tools.live_figures import Figures, pose_in
from depthrefl_ros.tools.live_frame import (
    ColourRange,
    cloud_confidence,
    depth_jpeg,
    depth_of,
    distances_mm,
    from_above,
    picture_jpeg,
)
from depthrefl_ros.tools.live_parameters import NOT_THERE, ParameterClient, answer
from depthrefl_ros.tools.live_subscriptions import LiveSubscriptions
from depthrefl_ros.tools.running_system import image_topics_of, running_nodes

DIAGNOSTICS = "/diagnostics"
RELAYED = {POINTS: PointCloud2, SCAN: LaserScan}  # listened to only where someone wants them
GRAPH_PERIOD_S = 0.5
LATE_S = 1.0  # without depth for so long, the camera's picture goes out alone
KEPT_PICTURES = 30  # of the camera, until their depth comes
SPIN_S = 0.2
LOG_PERIOD_S = 5.0


@dataclass(frozen=True)
class Moment:
    """What was made of one frame for all viewers.

    Attributes:
        head: of ``live_frame.packed``.
        parts: JPEG of ``camera`` and ``depth``, and ``distances``; those that there are.
        camera_topic: on which the picture came.
        camera_header: of the picture, or None.
        depth_header: of the depth, or None.
        base_from_camera: where the camera stands; None where the node does not know.
    """

    head: dict[str, Any]
    parts: dict[str, bytes]
    camera_topic: str
    camera_header: Header | None
    depth_header: Header | None
    base_from_camera: Pose | None


class LiveNode:
    """Watches one depthrefl node for any number of viewers.

    Args:
        node: ours; only this object's thread spins it.
        wanted: full name of the node to watch; empty takes the first that is found.
        rate_hz: pictures go out no more often.
        on_moment: gets the pictures of each moment; called by the thread, as all that follow.
        on_news: gets ``status``, ``values`` and ``answer`` for JSON.
        on_message: gets topic and message of all else that comes of the node.
    """

    def __init__(
        self,
        node: Node,
        wanted: str,
        rate_hz: float,
        on_moment: Callable[[Moment], None],
        on_news: Callable[[dict[str, Any]], None],
        on_message: Callable[[str, Any], None] = lambda topic, message: None,
    ):
        self._node, self._wanted, self._period_s = node, wanted, 1.0 / rate_hz
        self._on_moment, self._on_news, self._on_message = on_moment, on_news, on_message
        self._figures, self._colours = Figures(), ColourRange()
        self._found: tuple[str, str] | None = None  # name and namespace
        self._others = 0
        self._problem = ""  # of the pictures
        self._watchers: set[str] = set()
        self._relayed: set[str] = set()  # topics that are wanted
        self._camera_topic = ""
        self._camera_bits = SensorBits()
        self._subscriptions = LiveSubscriptions(node)
        self._parameters: ParameterClient | None = None  # of the node that was found
        self._calls: deque[Callable[[], None]] = deque()  # from other threads, in order
        self._pictures: deque[Image | CompressedImage] = deque(maxlen=KEPT_PICTURES)
        self._marking: PointCloud2 | None = None
        self._clearing: PointCloud2 | None = None
        self._pose: Pose | None = None
        self._depth_s = 0.0  # when the newest depth came
        self._sent_s = {"picture": 0.0, "depth": 0.0}  # when one went out last
        node.create_subscription(DiagnosticArray, DIAGNOSTICS, self._on_diagnostics, 10)
        node.create_subscription(
            ParameterEvent, "/parameter_events", self._on_event, qos_profile_parameter_events
        )
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(GRAPH_PERIOD_S, self._follow_graph, clock=steady)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)
        self._is_closing = False
        self._thread = threading.Thread(target=self._spin, name="live-node", daemon=True)

    @property
    def full_name(self) -> str:
        """The watched node's full name; empty while there is none."""
        if self._found is None:
            return ""
        name, namespace = self._found
        return f"{namespace.rstrip('/')}/{name}"

    def start(self) -> None:
        """Begin to look for the node."""
        self._thread.start()

    def close(self) -> None:
        """End the thread; the node may then be destroyed."""
        self._is_closing = True
        self._thread.join()
        self._executor.shutdown()

    def watch(self, who: str, is_watched: bool) -> None:
        """Say whether anybody looks; from any thread.

        Args:
            who: speaks for its own viewers only.
            is_watched: whether there are any.
        """
        self._call(functools.partial(self._watch, who, is_watched))

    def relay(self, topic: str, is_wanted: bool) -> None:
        """Say whether ``on_message`` is to get one of ``RELAYED`` as well; from any thread."""
        self._call(functools.partial(self._relay, topic, is_wanted))

    def set_value(self, name: str, value: Any) -> None:
        """Set a live parameter; from any thread. What comes of it is news of kind ``answer``."""
        self._call(functools.partial(self._set_value, name, value))

    def _call(self, function: Callable[[], None]) -> None:
        """Have the thread call a function; in order, which some rclpy's tasks do not keep."""
        self._calls.append(function)
        self._executor.create_task(lambda: self._calls.popleft()())

    def _status(self) -> dict[str, Any]:
        waiting = ""
        if self._found is None:
            wanted = self._wanted or "depthrefl"
            waiting = f"no node {wanted} in this ROS domain yet; waiting for it"
        return {
            "kind": "status",
            "node": self.full_name or None,
            "others": self._others,
            "waiting": waiting,
            "problem": self._problem,
            **self._figures.as_dict(),
        }

    def _spin(self) -> None:
        while not self._is_closing:
            try:
                self._executor.spin_once(timeout_sec=SPIN_S)
            except Exception as error:  # one message must not end the view
                self._problem = f"{type(error).__name__}: {error}"
                details = "".join(traceback.format_exception(error))
                self._node.get_logger().error(details, throttle_duration_sec=LOG_PERIOD_S)

    def _watch(self, who: str, is_watched: bool) -> None:
        (self._watchers.add if is_watched else self._watchers.discard)(who)
        self._follow_graph()

    def _relay(self, topic: str, is_wanted: bool) -> None:
        (self._relayed.add if is_wanted else self._relayed.discard)(topic)
        self._follow_graph()

    def _follow_graph(self) -> None:
        """Find the node, or notice that it has gone; subscribe to what it has now."""
        running = running_nodes(self._node)
        names = {
            f"{namespace.rstrip('/')}/{name}": (name, namespace) for name, namespace in running
        }
        if self._wanted:
            found = names.get(self._wanted)
        else:
            found = self._found if self._found in running else next(iter(running), None)
        self._others = max(0, len(running) - 1)
        if found != self._found:
            self._leave()
            self._found = found
            if found is not None:
                self._parameters = ParameterClient(self._node, self.full_name, self._on_news)
        if found is not None:
            self._subscribe()
        self._on_news(self._status())

    def _leave(self) -> None:
        """Forget the node that was watched."""
        self._unsubscribe()
        if self._parameters is not None:
            self._parameters.close()
            self._parameters = None
        self._figures.forget()

    def _subscribe(self) -> None:
        self._parameters.ask()
        if not self._watchers:
            self._unsubscribe()
            return
        base = self._found[1].rstrip("/")
        wanted: dict[str, tuple[type, Callable]] = {
            f"{base}/{DEPTH_IMAGE}": (Image, self._on_depth),
            f"{base}/{MARKING}": (PointCloud2, self._on_marking),
            f"{base}/{CLEARING}": (PointCloud2, self._on_clearing),
        }
        for topic in self._relayed:
            take = functools.partial(self._hand_on, topic)
            wanted[f"{base}/{topic}"] = (RELAYED[topic], take)
        topic, kind = self._find_camera()
        if topic != self._camera_topic:
            self._camera_topic, self._camera_bits = topic, SensorBits()
            self._pictures.clear()
        if topic:
            wanted[topic] = (kind, self._on_picture)
        self._subscriptions.follow(wanted)

    def _find_camera(self) -> tuple[str, type | None]:
        """Return topic and type of the images that the node listens to; empty for none."""
        try:
            topics = image_topics_of(self._node, *self._found)
        except Exception:  # it has just gone; rclpy's kinds of error differ between releases
            topics = {}
        # The node may listen to a depth camera as well.
        topic = min(topics, key=lambda name: "depth" in name, default="")
        return topic, topics.get(topic)

    def _unsubscribe(self) -> None:
        self._subscriptions.follow({})
        self._camera_topic = ""
        self._pictures.clear()
        self._marking = self._clearing = None
        self._problem = ""
        self._figures.forget_depth()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        name = self.full_name.lstrip("/")
        for status in message.status:
            if name and status.name == name:
                self._figures.take_status(status)
                self._on_news(self._status())
                self._on_message(DIAGNOSTICS, message)

    def _on_picture(self, message: Image | CompressedImage) -> None:
        self._pictures.append(message)
        if time.monotonic() - self._depth_s > LATE_S and self._is_due("picture"):
            self._send(message, None)

    def _on_marking(self, message: PointCloud2) -> None:
        self._marking = message
        self._on_message(MARKING, message)

    def _on_clearing(self, message: PointCloud2) -> None:
        self._clearing = message
        self._on_message(CLEARING, message)

    def _hand_on(self, topic: str, message: Any) -> None:
        self._on_message(topic, message)

    def _on_depth(self, message: Image) -> None:
        self._figures.take_depth()
        self._depth_s = time.monotonic()
        if not self._is_due("depth"):
            return
        same = [one for one in self._pictures if one.header.stamp == message.header.stamp]
        newest = list(self._pictures)[-1:]
        picture = (same or newest or [None])[0]
        self._send(picture, message)

    def _is_due(self, what: str) -> bool:
        """Tell whether the next one may go out; half a period early still counts at 30 Hz.

        Pictures that go out alone take no turn from the depth.
        """
        now = time.monotonic()
        if now - self._sent_s[what] < 0.8 * self._period_s:
            return False
        self._sent_s[what] = now
        return True

    def _send(self, picture: Image | CompressedImage | None, depth: Image | None) -> None:
        head: dict[str, Any] = {"depth": None, "above": None}
        parts: dict[str, bytes] = {}
        self._problem = ""
        if picture is not None:
            try:
                parts["camera"] = picture_jpeg(picture, self._camera_topic, self._camera_bits)
            except MessageError as error:
                self._problem = str(error)
        if depth is not None:
            depth_m = depth_of(depth)
            near_m, far_m = self._colours.follow(depth_m)
            distances = distances_mm(depth_m)
            parts["depth"] = depth_jpeg(depth_m, near_m, far_m)
            parts["distances"] = distances.tobytes()
            rows, columns = distances.shape
            head["depth"] = {"near": near_m, "far": far_m, "rows": rows, "columns": columns}
            self._pose = pose_in(self._figures.values)
            if self._pose is not None:
                head["above"] = from_above(self._marking, self._clearing, self._pose)
            believed = float(np.isfinite(depth_m[::4, ::4]).mean())
            confidence = None if self._marking is None else cloud_confidence(self._marking)
            self._figures.take_shares(believed, confidence)
        headers = [None if one is None else one.header for one in (picture, depth)]
        self._on_moment(Moment(head, parts, self._camera_topic, *headers, self._pose))

    def _set_value(self, name: str, value: Any) -> None:
        if self._parameters is None:
            self._on_news(answer(name, NOT_THERE))
        else:
            self._parameters.set_value(name, value)

    def _on_event(self, event: ParameterEvent) -> None:
        if self._parameters is not None:
            self._parameters.take_event(event)
