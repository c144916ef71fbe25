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

"""The subscriptions, kept in step with what the publishers on the graph offer.

Where nothing comes they tell why: who publishes on the topic, as what, and where else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from depthrefl_ros.ros.camera_lookup import CAMERA_INFO_DEPTH
from depthrefl_ros.ros.parameters import InputSettings
from depthrefl_ros.ros.publishers import TYPES
from depthrefl_ros.ros.sensors import SENSOR_TYPES, needed_sensors

GRAPH_PERIOD_S = 1.0
_SENSOR_DEPTH = 5
_MOST_TOPICS = 8  # named in a message
_LONGEST_GAP = 1000  # messages; a larger step of the sequence is another publisher


@dataclass(frozen=True)
class Offer:
    """What the publishers of a topic offer together.

    Attributes:
        publishers: how many there are.
        reliable: there are publishers, and each is reliable.
        all_latched: there are publishers, and each keeps its last message for late joiners.
        any_latched: at least one does.
        latched_reliable: there are such, and each of them is reliable.
    """

    publishers: int = 0
    reliable: bool = False
    all_latched: bool = False
    any_latched: bool = False
    latched_reliable: bool = False

    @classmethod
    def of(cls, profiles: Sequence[QoSProfile]) -> Offer:
        """Return the offer of publishers with these profiles."""
        latched = [one for one in profiles if one.durability == DurabilityPolicy.TRANSIENT_LOCAL]
        return cls(
            publishers=len(profiles),
            reliable=_are_reliable(profiles),
            all_latched=0 < len(profiles) == len(latched),
            any_latched=bool(latched),
            latched_reliable=_are_reliable(latched),
        )


def _are_reliable(profiles: Sequence[QoSProfile]) -> bool:
    """Return whether there are profiles, and each is reliable."""
    reliable = [one.reliability == ReliabilityPolicy.RELIABLE for one in profiles]
    return bool(profiles) and all(reliable)


def offer_on(node: Node, topic: str) -> Offer:
    """Return what the publishers of a topic offer now.

    Args:
        node: any node of ours.
        topic: fully qualified.
    """
    return Offer.of([info.qos_profile for info in node.get_publishers_info_by_topic(topic)])


def image_profile(offer: Offer, reliability: str) -> QoSProfile:
    """Return the profile of the image subscription: the newest only.

    Best effort matches every publisher but loses messages above 0.5 MB or so between processes
    where reliable gets them all, so it is only taken where a publisher offers no more.

    Args:
        offer: of the publishers.
        reliability: ``auto`` follows the offer; ``reliable`` and ``best_effort`` do not ask.
    """
    reliable = offer.reliable if reliability == "auto" else reliability == "reliable"
    return _profile(1, reliable)


def sensor_profile(offer: Offer) -> QoSProfile:
    """Return the profile for another sensor: as reliable as its publishers, the last messages."""
    return _profile(_SENSOR_DEPTH, offer.reliable)


def camera_info_profiles(offer: Offer) -> list[QoSProfile]:
    """Return the profiles for camera info, one or two.

    A subscription that asks for latched messages hears latched publishers only, and one that does
    not never gets a message from before it came. Where both kinds publish, both are heard; the
    latched ones as reliably as they speak, since best effort hears nothing from before either.
    """
    profiles = [_profile(CAMERA_INFO_DEPTH, offer.reliable, offer.all_latched)]
    if offer.any_latched and not offer.all_latched:
        profiles.append(_profile(CAMERA_INFO_DEPTH, offer.latched_reliable, latched=True))
    return profiles


def _profile(depth: int, reliable: bool, latched: bool = False) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


class SequenceGaps:
    """Counts the messages that never came, by the sequence numbers of each publisher.

    Attributes:
        are_shared: several publish on the topic.
    """

    def __init__(self) -> None:
        self.are_shared = False
        self._last: dict[bytes, int] = {}

    def reset(self) -> None:
        """Begin anew, as with another subscription."""
        self._last.clear()

    def missed_before(self, info: Mapping[str, Any]) -> int:
        """Return how many messages are missing between a publisher's last one and this.

        Args:
            info: of the message, as rclpy hands it to callbacks; 0 where it has no numbers. Up to
                Jazzy it does not name the publisher: then several cannot be told apart, and 0.
        """
        number = info.get("publication_sequence_number")
        publisher = (info.get("publisher_gid") or {}).get("data", b"")
        if number is None or (self.are_shared and not publisher):
            return 0
        last, self._last[publisher] = self._last.get(publisher), number
        if last is None:
            return 0
        missed = number - last - 1
        return missed if 0 < missed < _LONGEST_GAP else 0


class Subscriptions:
    """Subscribes to what is needed; subscribes anew when the publishers' offer changes.

    Args:
        node: that subscribes.
        settings: ``image_transport`` and ``image_reliability`` are used.
        anchors: which of the other sensors are needed, ``CorrectionSettings.anchors``.
        on_image: called with each image message and how many went missing before it.
        on_camera_info: called with each CameraInfo.
        on_sensor: called with topic (``sensors.SENSOR_TYPES``) and message of every other sensor.
        guarded: wraps every callback.

    Attributes:
        image_topic: resolved.
        camera_info_topic: resolved.
    """

    def __init__(
        self,
        node: Node,
        settings: InputSettings,
        anchors: Sequence[str],
        on_image: Callable[[Image | CompressedImage, int], None],
        on_camera_info: Callable[[CameraInfo], None],
        on_sensor: Callable[[str, Any], None],
        guarded: Callable[[Callable], Callable],
    ):
        self._node, self._settings, self._guarded = node, settings, guarded
        self._on_image, self._on_camera_info = on_image, on_camera_info
        self._on_sensor = on_sensor
        self.image_topic, self._image_type = node.resolve_topic_name("image"), Image
        if settings.image_transport == "compressed":
            # Resolved by itself: it may be remapped, too.
            self.image_topic = node.resolve_topic_name(f"{self.image_topic}/compressed")
            self._image_type = CompressedImage
        self.camera_info_topic = node.resolve_topic_name("camera_info")
        self._subscriptions: dict[str, tuple[list[QoSProfile], list[Subscription]]] = {}
        self._gaps = SequenceGaps()
        self._sensors = needed_sensors(anchors)
        self.follow_graph()
        # Steady: under use_sim_time the node's own clock may stand still.
        self._timer = node.create_timer(
            GRAPH_PERIOD_S,
            guarded(self.follow_graph),
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )

    def follow_graph(self) -> None:
        """Subscribe with the profiles that fit the publishers of this moment."""
        offer = offer_on(self._node, self.image_topic)
        self._gaps.are_shared = offer.publishers > 1
        profile = image_profile(offer, self._settings.image_reliability)
        # Humble's rclpy hands on the message alone; CallbackType came with the other way.
        take = self._take_image if hasattr(Subscription, "CallbackType") else self._take_image_alone
        self._subscribe(self._image_type, self.image_topic, take, [profile])
        offer = offer_on(self._node, self.camera_info_topic)
        self._subscribe(
            CameraInfo, self.camera_info_topic, self._take_camera_info, camera_info_profiles(offer)
        )
        for name, kind in SENSOR_TYPES.items():
            topic = self._node.resolve_topic_name(name)
            if name in self._sensors:
                profile = sensor_profile(offer_on(self._node, topic))
                self._subscribe(kind, topic, self._taker(name), [profile])
            else:
                self._unsubscribe(topic)

    def follow_anchors(self, anchors: Sequence[str]) -> None:
        """Listen to the sensors that these anchors need, and to no others."""
        self._sensors = needed_sensors(anchors)
        self.follow_graph()

    def words(self) -> str:
        """Return what is listened to and how many publish there, for people."""
        return " and ".join(
            (
                topic_words(self._node, self.image_topic, self._image_type),
                topic_words(self._node, self.camera_info_topic, CameraInfo),
            )
        )

    def silence_words(self) -> str:
        """Return why no image may come, for people."""
        reliability = self._settings.image_reliability
        return silence_words(self._node, self.image_topic, self._image_type, reliability)

    def close(self) -> None:
        """End the subscriptions."""
        self._node.destroy_timer(self._timer)
        for topic in list(self._subscriptions):
            self._unsubscribe(topic)

    def _take_image(self, message: Image | CompressedImage, info: dict) -> None:
        self._on_image(message, self._gaps.missed_before(info))

    def _take_image_alone(self, message: Image | CompressedImage) -> None:
        self._on_image(message, 0)

    # rclpy looks at the signature of a callback: built-in functions have none before Python 3.13.
    def _take_camera_info(self, message: CameraInfo) -> None:
        self._on_camera_info(message)

    def _taker(self, name: str) -> Callable[[Any], None]:
        def take(message: Any) -> None:
            self._on_sensor(name, message)

        return take

    def _subscribe(
        self, kind: type, topic: str, callback: Callable, profiles: list[QoSProfile]
    ) -> None:
        """Subscribe, or subscribe anew where the profiles have changed."""
        before, _ = self._subscriptions.get(topic, (None, None))
        if before == profiles:
            return
        self._unsubscribe(topic)
        if topic == self.image_topic:
            self._gaps.reset()
        callback = self._guarded(callback)
        made = [
            self._node.create_subscription(kind, topic, callback, profile) for profile in profiles
        ]
        self._subscriptions[topic] = (profiles, made)

    def _unsubscribe(self, topic: str) -> None:
        for subscription in self._subscriptions.pop(topic, ((), ()))[1]:
            self._node.destroy_subscription(subscription)


def topic_words(node: Node, topic: str, kind: type) -> str:
    """Return a topic and how many publish on it; where nobody does, the others of its type.

    Args:
        node: any node of ours.
        topic: fully qualified.
        kind: type of its messages.
    """
    publishers = node.count_publishers(topic)
    others = "" if publishers else _other_topics(node, topic, kind)
    return f"{topic} ({publishers} publisher{'' if publishers == 1 else 's'}{others})"


def silence_words(
    node: Node, topic: str, kind: type[CompressedImage] | type[Image], reliability: str
) -> str:
    """Return why no image may come: nobody publishes, another type, or with another QoS.

    Args:
        node: any node of ours.
        topic: of the images, fully qualified.
        kind: type of the messages that are subscribed to.
        reliability: ``image_reliability``.
    """
    kinds = dict(node.get_topic_names_and_types()).get(topic, [])
    wanted = _type_name(kind)
    others = [one for one in kinds if one != wanted]
    if others:
        hint = _type_hint(topic, others)
        return f"{topic} has type {', '.join(others)}, not {wanted}; {hint}"
    if not node.count_publishers(topic):
        return f"nobody publishes there{_other_topics(node, topic, kind)}"
    if reliability == "reliable" and _is_best_effort_offered(node, topic):
        return (
            "image_reliability is reliable, its publisher offers best effort: "
            "set image_reliability to auto"
        )
    return "its publisher is silent"


def _is_best_effort_offered(node: Node, topic: str) -> bool:
    """Return whether a publisher has no reliability to offer."""
    offers = node.get_publishers_info_by_topic(topic)
    return any(one.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT for one in offers)


def _other_topics(node: Node, topic: str, kind: type) -> str:
    """Return the topics of a type that somebody publishes on, our own ones left out."""
    wanted = _type_name(kind)
    own = {node.resolve_topic_name(one) for one in TYPES}
    found = [
        name
        for name, kinds in node.get_topic_names_and_types()
        if wanted in kinds and name not in (topic, *own) and _is_published_by_others(node, name)
    ]
    if not found:
        return f"; no topic of type {wanted} exists"
    more = f" and {len(found) - _MOST_TOPICS} more" if len(found) > _MOST_TOPICS else ""
    return f"; topics of type {wanted}: {', '.join(sorted(found)[:_MOST_TOPICS])}{more}"


def _is_published_by_others(node: Node, topic: str) -> bool:
    """Return whether somebody publishes there who is no node like this, for another camera."""
    return any(
        end.node_name != node.get_name()
        or topic.removeprefix(f"{end.node_namespace.rstrip('/')}/") not in TYPES
        for end in node.get_publishers_info_by_topic(topic)
    )


def _type_hint(topic: str, kinds: Sequence[str]) -> str:
    """Return what to do where a topic has other types than the one that is asked for."""
    if _type_name(CompressedImage) not in kinds:
        return "set image_transport to raw"
    if topic.endswith("/compressedDepth"):
        return "it holds depth, not a picture: remap image to a colour image"
    return "set image_transport to compressed and remap image to the topic without /compressed"


def _type_name(kind: type) -> str:
    """Return the ROS name of a message type, such as ``sensor_msgs/msg/Image``."""
    package = kind.__module__.split(".")[0]
    return f"{package}/msg/{kind.__name__}"
