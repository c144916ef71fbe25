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
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import qos_profile_parameter_events
from sensor_msgs.msg import CompressedImage, Image, LaserScan, PointCloud2
from std_msgs.msg import Header

from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.ros.convert.images import MessageError
from depthrefl_ros.ros.publishers import CLEARING, DEPTH_IMAGE, MARKING, POINTS, SCAN
from depthrefl_ros.ros.subscriptions import image_profile, offer_on
from depthrefl_ros.settings import SettingError
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
from depthrefl_ros.tools.live_parameters import live_controls, plain_value
from depthrefl_ros.tools.running_system import image_topics_of, running_nodes

DIAGNOSTICS = "/diagnostics"
RELAYED = {POINTS: PointCloud2, SCAN: LaserScan}  # listened to only where someone wants them
GRAPH_PERIOD_S = 0.5
LATE_S = 1.0  # without depth for so long, the camera's picture goes out alone
KEPT_PICTURES = 30  # of the camera, until their depth comes
SPIN_S = 0.2
LOG_PERIOD_S = 5.0
NOT_THERE = "there is no node to set"


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
        self._controls = live_controls()
        self._figures, self._colours = Figures(), ColourRange()
        self._found: tuple[str, str] | None = None  # name and namespace
        self._others = 0
        self._problem = ""  # of the pictures
        self._watchers: set[str] = set()
        self._relayed: dict[str, Any] = {}  # topics that are wanted, with their subscriptions
        self._camera: tuple[str, Any] | None = None  # topic and subscription
        self._subscriptions: list[Any] = []
        self._clients: list[Any] = []
        self._get = self._set = None
        self._pictures: deque[Image | CompressedImage] = deque(maxlen=KEPT_PICTURES)
        self._marking: PointCloud2 | None = None
        self._clearing: PointCloud2 | None = None
        self._pose: Pose | None = None
        self._sent_s = self._depth_s = 0.0
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
        self._executor.create_task(self._watch, who, is_watched)

    def relay(self, topic: str, is_wanted: bool) -> None:
        """Say whether ``on_message`` is to get one of ``RELAYED`` as well; from any thread."""
        self._executor.create_task(self._relay, topic, is_wanted)

    def set_value(self, name: str, value: Any) -> None:
        """Set a live parameter; from any thread. What comes of it is news of kind ``answer``."""
        self._executor.create_task(self._set_value, name, value)

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
        if is_wanted:
            self._relayed.setdefault(topic, None)
        elif (opened := self._relayed.pop(topic, None)) is not None:
            self._node.destroy_subscription(opened)
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
                self._meet()
        if found is not None:
            self._subscribe()
        self._on_news(self._status())

    def _meet(self) -> None:
        """Ask a node that has just been found for its parameters."""
        name = self.full_name
        self._get = self._node.create_client(GetParameters, f"{name}/get_parameters")
        self._set = self._node.create_client(SetParameters, f"{name}/set_parameters")
        self._clients = [self._get, self._set]
        self._asked = False

    def _leave(self) -> None:
        """Forget the node that was watched."""
        self._unsubscribe()
        for client in self._clients:
            self._node.destroy_client(client)
        self._clients, self._get, self._set = [], None, None
        self._figures.forget()

    def _subscribe(self) -> None:
        if not self._asked and self._get.service_is_ready():
            self._asked = True
            request = GetParameters.Request(names=list(self._controls))
            self._get.call_async(request).add_done_callback(self._on_values)
        if not self._watchers:
            self._unsubscribe()
            return
        base = self._found[1].rstrip("/")
        for topic, opened in self._relayed.items():
            if opened is None:
                take = functools.partial(self._hand_on, topic)
                self._relayed[topic] = self._listen(RELAYED[topic], f"{base}/{topic}", take)
        if not self._subscriptions:
            for kind, topic, callback in (
                (Image, DEPTH_IMAGE, self._on_depth),
                (PointCloud2, MARKING, self._on_marking),
                (PointCloud2, CLEARING, self._on_clearing),
            ):
                self._subscriptions.append(self._listen(kind, f"{base}/{topic}", callback))
        self._follow_camera()

    def _follow_camera(self) -> None:
        """Listen to the images that the node listens to."""
        try:
            topics = image_topics_of(self._node, *self._found)
        except Exception:  # it has just gone; rclpy's kinds of error differ between releases
            topics = {}
        # The node may listen to a depth camera as well.
        topic = min(topics, key=lambda name: "depth" in name, default="")
        if self._camera is not None and self._camera[0] != topic:
            self._node.destroy_subscription(self._camera[1])
            self._camera = None
            self._pictures.clear()
        if topic and self._camera is None:
            self._camera = (topic, self._listen(topics[topic], topic, self._on_picture))

    def _listen(self, kind: type, topic: str, callback: Callable) -> Any:
        profile = image_profile(offer_on(self._node, topic), "auto")
        return self._node.create_subscription(kind, topic, callback, profile)

    def _unsubscribe(self) -> None:
        opened = [*self._subscriptions, *([self._camera[1]] if self._camera else [])]
        for subscription in (*opened, *filter(None, self._relayed.values())):
            self._node.destroy_subscription(subscription)
        self._subscriptions, self._camera = [], None
        self._relayed = dict.fromkeys(self._relayed)
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
        if time.monotonic() - self._depth_s > LATE_S and self._is_due():
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
        if not self._is_due():
            return
        same = [one for one in self._pictures if one.header.stamp == message.header.stamp]
        newest = list(self._pictures)[-1:]
        picture = (same or newest or [None])[0]
        self._send(picture, message)

    def _is_due(self) -> bool:
        """Whether the next picture may go out; half a period early still counts at 30 Hz."""
        now = time.monotonic()
        if now - self._sent_s < 0.8 * self._period_s:
            return False
        self._sent_s = now
        return True

    def _send(self, picture: Image | CompressedImage | None, depth: Image | None) -> None:
        head: dict[str, Any] = {"depth": None, "above": None}
        parts: dict[str, bytes] = {}
        self._problem = ""
        if picture is not None:
            try:
                parts["camera"] = picture_jpeg(picture, self._camera[0])
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
        topic = self._camera[0] if self._camera else ""
        self._on_moment(Moment(head, parts, topic, *headers, self._pose))

    def _set_value(self, name: str, value: Any) -> None:
        control = self._controls.get(name)
        try:
            if control is None:
                raise SettingError(f"{name!r} is not among the parameters that can be set here")
            parameter = control.parameter(value)
        except SettingError as error:
            self._answer(name, str(error))
            return
        if self._set is None or not self._set.service_is_ready():
            self._answer(name, NOT_THERE)
            return

        def answered(future: Any) -> None:
            (result,) = future.result().results
            self._answer(name, "" if result.successful else result.reason or "refused")

        request = SetParameters.Request(parameters=[parameter])
        self._set.call_async(request).add_done_callback(answered)

    def _answer(self, name: str, problem: str) -> None:
        self._on_news({"kind": "answer", "name": name, "problem": problem})

    def _on_values(self, future: Any) -> None:
        found = zip(self._controls, future.result().values, strict=False)
        self._tell_values({name: plain_value(value) for name, value in found})

    def _on_event(self, event: ParameterEvent) -> None:
        """Take in what anybody has set."""
        if event.node != self.full_name:
            return
        changes = [*event.new_parameters, *event.changed_parameters]
        self._tell_values({one.name: plain_value(one.value) for one in changes})

    def _tell_values(self, values: dict[str, Any]) -> None:
        known = {
            name: value
            for name, value in values.items()
            if name in self._controls and value is not None
        }
        if known:
            self._on_news({"kind": "values", "node": self.full_name, "values": known})
