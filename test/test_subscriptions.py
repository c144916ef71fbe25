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

"""What is subscribed to, in step with the publishers on the graph; over real DDS."""

import time

import pytest
import rclpy
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import String

from depthrefl_ros.geometry.scale import ANCHORS
from depthrefl_ros.ros import subscriptions
from depthrefl_ros.ros.parameters import InputSettings
from depthrefl_ros.ros.sensors import SENSOR_TYPES
from depthrefl_ros.ros.subscriptions import (
    Offer,
    SequenceGaps,
    Subscriptions,
    camera_info_profiles,
    image_profile,
    offer_on,
    sensor_profile,
)

RELIABLE = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
RELIABLY_LATCHED = {"any_latched": True, "latched_reliable": True}


@pytest.mark.parametrize(
    "profiles, offer",
    [
        ([], Offer()),
        ([RELIABLE], Offer(1, reliable=True)),
        ([RELIABLE, BEST_EFFORT], Offer(2)),
        ([LATCHED, LATCHED], Offer(2, True, all_latched=True, **RELIABLY_LATCHED)),
        ([LATCHED, RELIABLE], Offer(2, True, **RELIABLY_LATCHED)),
        ([LATCHED, BEST_EFFORT], Offer(2, **RELIABLY_LATCHED)),
    ],
)
def test_an_offer_is_what_all_publishers_share(profiles, offer):
    assert Offer.of(profiles) == offer


@pytest.mark.parametrize(
    "reliability, offered, expected",
    [
        ("auto", True, ReliabilityPolicy.RELIABLE),
        ("auto", False, ReliabilityPolicy.BEST_EFFORT),
        ("reliable", False, ReliabilityPolicy.RELIABLE),
        ("best_effort", True, ReliabilityPolicy.BEST_EFFORT),
    ],
)
def test_image_reliability(reliability, offered, expected):
    profile = image_profile(Offer(1, reliable=offered), reliability)
    assert (profile.reliability, profile.depth) == (expected, 1)


@pytest.mark.parametrize(
    "profiles, expected",
    [
        ([], [BEST_EFFORT]),
        ([RELIABLE], [RELIABLE]),
        ([LATCHED], [LATCHED]),
        ([LATCHED, BEST_EFFORT], [BEST_EFFORT, LATCHED]),
        ([LATCHED, RELIABLE], [RELIABLE, LATCHED]),
    ],
)
def test_camera_info_follows_reliability_and_durability_of_its_publishers(profiles, expected):
    found = camera_info_profiles(Offer.of(profiles))
    assert [(one.reliability, one.durability) for one in found] == [
        (one.reliability, one.durability) for one in expected
    ]


def test_sensors_are_heard_as_reliably_as_they_speak():
    assert sensor_profile(Offer(1, reliable=True)).reliability == ReliabilityPolicy.RELIABLE
    assert sensor_profile(Offer()).reliability == ReliabilityPolicy.BEST_EFFORT


def test_the_graph_is_read(peer):
    assert offer_on(peer.node, "/watched") == Offer()
    peer.node.create_publisher(String, "/watched", LATCHED)
    latched = Offer(1, True, all_latched=True, **RELIABLY_LATCHED)
    assert peer.spin_until(lambda: offer_on(peer.node, "/watched") == latched)
    peer.node.create_publisher(String, "/watched", BEST_EFFORT)
    mixed = Offer(2, **RELIABLY_LATCHED)
    assert peer.spin_until(lambda: offer_on(peer.node, "/watched") == mixed)


def info(number, publisher=b"camera") -> dict:
    return {"publication_sequence_number": number, "publisher_gid": {"data": publisher}}


@pytest.mark.parametrize(
    "numbers, missed",
    [
        ([7, 8, 9], [0, 0, 0]),
        ([7, 8, 12], [0, 0, 3]),
        ([7, None, 12, 13], [0, 0, 4, 0]),
        ([12, 7, 8], [0, 0, 0]),  # the same one restarted
        ([7, 7], [0, 0]),
        ([1, 10_000, 10_001], [0, 0, 0]),  # no gap is as long as that
    ],
)
def test_gaps_of_the_sequence_are_counted(numbers, missed):
    gaps = SequenceGaps()
    assert [gaps.missed_before(info(number)) for number in numbers] == missed


def test_each_publisher_has_its_own_sequence():
    gaps = SequenceGaps()
    order = [(7, b"a"), (100, b"b"), (8, b"a"), (102, b"b"), (11, b"a")]
    assert [gaps.missed_before(info(*one)) for one in order] == [0, 0, 0, 1, 2]
    assert SequenceGaps().missed_before({}) == 0  # older rclpy says nothing


def test_publishers_that_are_not_named_cannot_be_told_apart():
    """Jazzy's rclpy numbers messages but does not say whose they are."""
    numbers = [500, 1, 501, 2]
    gaps = SequenceGaps()
    gaps.are_shared = True
    assert not any(gaps.missed_before({"publication_sequence_number": n}) for n in numbers)
    gaps = SequenceGaps()
    assert [gaps.missed_before({"publication_sequence_number": n}) for n in (5, 8)] == [0, 2]


def test_after_a_reset_the_sequence_begins_anew():
    gaps = SequenceGaps()
    gaps.missed_before(info(3))
    gaps.reset()
    assert gaps.missed_before(info(9)) == 0 and gaps.missed_before(info(11)) == 1


class Listener:
    """Subscriptions of a peer's node, and what came by topic."""

    def __init__(self, peer, anchors=(), **settings):
        self.images, self.missed, self.infos = [], [], []
        self.sensors = {name: [] for name in SENSOR_TYPES}
        self.guarded = []
        self.subscriptions = Subscriptions(
            peer.node,
            InputSettings(**settings),
            anchors,
            self._take_image,
            self.infos.append,
            lambda topic, message: self.sensors[topic].append(message),
            self._guard,
        )

    def _take_image(self, message, missed):
        self.images.append(message)
        self.missed.append(missed)

    def _guard(self, callback):
        self.guarded.append(callback)
        return callback


@pytest.fixture
def listen(peer):
    listeners = []

    def listen(*arguments, **settings) -> Listener:
        listeners.append(Listener(peer, *arguments, **settings))
        return listeners[-1]

    yield listen
    for listener in listeners:
        listener.subscriptions.close()


def reliability_of_subscription(peer, topic):
    infos = peer.node.get_subscriptions_info_by_topic(topic)
    return [info.qos_profile.reliability for info in infos]


def test_subscriptions_follow_the_publishers(peer, listen):
    listener = listen()
    topic = listener.subscriptions.image_topic
    expected = [ReliabilityPolicy.BEST_EFFORT]
    assert peer.spin_until(lambda: reliability_of_subscription(peer, topic) == expected)
    publisher = peer.node.create_publisher(Image, topic, RELIABLE)
    expected = [ReliabilityPolicy.RELIABLE]
    assert peer.spin_until(lambda: reliability_of_subscription(peer, topic) == expected)
    peer.node.destroy_publisher(publisher)
    publisher = peer.node.create_publisher(Image, topic, BEST_EFFORT)
    send = lambda: publisher.publish(Image())  # noqa: E731
    assert peer.spin_until(lambda: bool(listener.images), do=send)
    assert reliability_of_subscription(peer, topic) == [ReliabilityPolicy.BEST_EFFORT]
    listener.subscriptions.close()
    assert peer.spin_until(lambda: reliability_of_subscription(peer, topic) == [])


def test_humbles_rclpy_hands_on_the_message_alone(peer, listen, other, monkeypatch):
    """It calls every callback with one argument, and has no ``CallbackType``."""
    kinds = Subscription.CallbackType

    def set_callback(subscription, callback):
        subscription._callback, subscription._callback_type = callback, kinds.MessageOnly

    one_argument = property(lambda subscription: subscription._callback, set_callback)
    monkeypatch.setattr(Subscription, "callback", one_argument)
    monkeypatch.setattr(subscriptions, "Subscription", object)
    listener = listen()
    images = other.node.create_publisher(Image, listener.subscriptions.image_topic, RELIABLE)

    def has_come():
        images.publish(Image())
        return listener.images

    assert peer.spin_until(has_come)
    assert set(listener.missed) == {0}


def test_the_compressed_topic_may_be_remapped_by_itself(ros):
    arguments = ["--ros-args", "-r", "image/compressed:=/front/picture/jpeg"]
    node = rclpy.create_node("remapped", cli_args=arguments)
    nothing = [lambda *_: None] * 3
    settings = InputSettings(image_transport="compressed")
    subscribed = Subscriptions(node, settings, (), *nothing, lambda callback: callback)
    assert subscribed.image_topic == "/front/picture/jpeg"
    assert "nobody publishes there" in subscribed.silence_words()
    subscribed.close()
    node.destroy_node()


def test_what_dds_replaced_before_it_was_taken_is_counted(peer, listen):
    listener = listen()
    publisher = peer.node.create_publisher(Image, "image", RELIABLE)
    topic, expected = listener.subscriptions.image_topic, [ReliabilityPolicy.RELIABLE]
    assert peer.spin_until(lambda: reliability_of_subscription(peer, topic) == expected)
    send = lambda: publisher.publish(Image())  # noqa: E731
    assert peer.spin_until(lambda: len(listener.images) >= 2, do=send)
    peer.spin_until(lambda: False, 0.2)
    before = len(listener.images)
    for _ in range(5):  # nobody spins meanwhile: the subscription keeps the newest one only
        send()
    time.sleep(0.2)
    assert peer.spin_until(lambda: len(listener.images) > before)
    peer.spin_until(lambda: False, 0.2)
    came, missed = len(listener.images) - before, sum(listener.missed[before:])
    if listener.subscriptions._gaps._last is None:
        pytest.skip("this middleware numbers no messages")
    assert (came, missed) == (1, 4)


def test_latched_and_other_camera_infos_are_both_heard(peer, listen, other):
    latched = other.node.create_publisher(CameraInfo, "camera_info", LATCHED)
    plain = other.node.create_publisher(CameraInfo, "camera_info", BEST_EFFORT)
    latched.publish(CameraInfo(width=1))  # before anybody listens
    listener = listen()
    widths = lambda: {one.width for one in listener.infos}  # noqa: E731
    send = lambda: plain.publish(CameraInfo(width=2))  # noqa: E731
    assert peer.spin_until(lambda: widths() == {1, 2}, do=send), widths()
    other.node.destroy_publisher(latched)
    topic = listener.subscriptions.camera_info_topic
    assert peer.spin_until(lambda: len(reliability_of_subscription(peer, topic)) == 1)
    listener.infos.clear()
    assert peer.spin_until(lambda: widths() == {2}, do=send)


@pytest.mark.parametrize("name", ["_take_image", "_take_camera_info", "follow_graph"])
def test_every_callback_is_guarded(listen, name):
    assert name in [one.__name__ for one in listen().guarded]


def test_compressed_transport_listens_beside_the_image_topic(peer, listen, other):
    listener = listen(image_transport="compressed")
    assert listener.subscriptions.image_topic == "/image/compressed"
    assert listener.subscriptions.camera_info_topic == "/camera_info"
    publisher = other.node.create_publisher(CompressedImage, "image/compressed", RELIABLE)
    send = lambda: publisher.publish(CompressedImage(format="jpeg"))  # noqa: E731
    assert peer.spin_until(lambda: bool(listener.images), do=send)
    assert listener.images[0].format == "jpeg"


@pytest.mark.parametrize(
    "anchors, topics",
    [
        ((), set()),
        (("ground",), {"imu"}),
        (("range",), {"range"}),
        (("reference_points",), {"reference_points"}),
        (("reference_depth",), {"reference_depth"}),
        (ANCHORS, set(SENSOR_TYPES)),
    ],
)
def test_sensors_are_listened_to_only_where_the_scale_needs_them(peer, listen, anchors, topics):
    listener = listen()

    def listened_to() -> set[str]:
        return {name for name in SENSOR_TYPES if peer.node.count_subscribers(name)}

    assert peer.spin_until(lambda: listened_to() == set())
    listener.subscriptions.follow_anchors(anchors)
    assert peer.spin_until(lambda: listened_to() == topics)
    publishers = {
        name: peer.node.create_publisher(SENSOR_TYPES[name], name, BEST_EFFORT) for name in topics
    }

    def send():
        for name, publisher in publishers.items():
            publisher.publish(SENSOR_TYPES[name]())

    assert peer.spin_until(lambda: all(listener.sensors[name] for name in topics), do=send)
    assert all(isinstance(listener.sensors[name][0], SENSOR_TYPES[name]) for name in topics)
    listener.subscriptions.follow_anchors(())
    assert peer.spin_until(lambda: listened_to() == set())


def test_sensors_are_listened_to_from_the_start(peer, listen):
    listen(("ground",))
    assert peer.spin_until(lambda: peer.node.count_subscribers("imu") == 1)


def test_words_count_who_publishes(peer, listen, other):
    listener = listen()
    words = listener.subscriptions.words
    assert words() == (
        "/image (0 publishers; no topic of type sensor_msgs/msg/Image exists) and "
        "/camera_info (0 publishers; no topic of type sensor_msgs/msg/CameraInfo exists)"
    )
    other.node.create_publisher(Image, "image", 1)
    expected = "/image (1 publisher) and /camera_info (0 publishers; "
    assert peer.spin_until(lambda: words().startswith(expected)), words()
    for _ in range(2):
        other.node.create_publisher(CameraInfo, "camera_info", 1)
    expected = "/image (1 publisher) and /camera_info (2 publishers)"
    assert peer.spin_until(lambda: words() == expected), words()


def test_silence_is_explained_by_the_reliability_that_is_set(peer, listen, other):
    why = listen(image_reliability="reliable").subscriptions.silence_words
    other.node.create_publisher(Image, "image", BEST_EFFORT)
    assert peer.spin_until(lambda: why().startswith("image_reliability is reliable, ")), why()
