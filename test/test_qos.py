import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import String

from depthrefl_ros.ros.anchors import TYPES
from depthrefl_ros.ros.inputs import Inputs
from depthrefl_ros.ros.parameters import Parameters
from depthrefl_ros.ros.qos import (
    Offer,
    anchor_profile,
    camera_info_profile,
    image_profile,
    offer_on,
    publisher_overrides,
    publisher_profile,
)

RELIABLE = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)


@pytest.mark.parametrize(
    "profiles, offer",
    [
        ([], Offer(False, False)),
        ([RELIABLE], Offer(True, False)),
        ([RELIABLE, BEST_EFFORT], Offer(False, False)),
        ([LATCHED, LATCHED], Offer(True, True)),
        ([LATCHED, RELIABLE], Offer(True, False)),
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
    profile = image_profile(Offer(reliable=offered), reliability)
    assert (profile.reliability, profile.depth) == (expected, 1)


def test_camera_info_follows_the_durability_of_its_publisher():
    assert camera_info_profile(Offer(True, True)).durability == DurabilityPolicy.TRANSIENT_LOCAL
    assert camera_info_profile(Offer(True, False)).durability == DurabilityPolicy.VOLATILE


def test_the_graph_is_read(peer):
    assert offer_on(peer.node, "/watched") == Offer(False, False)
    peer.node.create_publisher(String, "/watched", LATCHED)
    assert peer.spin_until(lambda: offer_on(peer.node, "/watched") == Offer(True, True))
    peer.node.create_publisher(String, "/watched", BEST_EFFORT)
    assert peer.spin_until(lambda: offer_on(peer.node, "/watched") == Offer(False, False))


def reliability_of_subscription(peer, topic):
    infos = peer.node.get_subscriptions_info_by_topic(topic)
    return [info.qos_profile.reliability for info in infos]


def test_subscriptions_follow_the_publishers(peer):
    images = []
    inputs = Inputs(peer.node, Parameters(), images.append, lambda message: None, {})
    topic = inputs.image_topic
    try:
        expected = [ReliabilityPolicy.BEST_EFFORT]
        assert peer.spin_until(lambda: reliability_of_subscription(peer, topic) == expected)
        publisher = peer.node.create_publisher(Image, topic, RELIABLE)
        expected = [ReliabilityPolicy.RELIABLE]
        assert peer.spin_until(lambda: reliability_of_subscription(peer, topic) == expected)
        peer.node.destroy_publisher(publisher)
        publisher = peer.node.create_publisher(Image, topic, BEST_EFFORT)
        assert peer.spin_until(lambda: bool(images), do=lambda: publisher.publish(Image()))
        assert reliability_of_subscription(peer, topic) == [ReliabilityPolicy.BEST_EFFORT]
    finally:
        inputs.close()
    assert peer.spin_until(lambda: reliability_of_subscription(peer, topic) == [])


def test_compressed_transport_listens_beside_the_image_topic(peer):
    def ignore(message):
        del message

    inputs = Inputs(peer.node, Parameters(image_transport="compressed"), ignore, ignore, {})
    inputs.close()
    assert inputs.image_topic == "/image/compressed"
    assert inputs.camera_info_topic == "/camera_info"


@pytest.mark.parametrize(
    "scale_correction, topics",
    [
        ("off", set()),
        ("ground", {"imu"}),
        ("range", {"range"}),
        ("reference_points", {"reference_points"}),
        ("auto", {"imu", "range", "reference_points"}),
    ],
)
def test_sensors_are_listened_to_only_where_the_scale_needs_them(peer, scale_correction, topics):
    received = {name: [] for name in TYPES}
    callbacks = {name: messages.append for name, messages in received.items()}

    def ignore(message):
        del message

    inputs = Inputs(peer.node, Parameters(), ignore, ignore, callbacks)

    def listened_to() -> set[str]:
        return {name for name in TYPES if peer.node.count_subscribers(name)}

    try:
        assert peer.spin_until(lambda: listened_to() == set())
        inputs.follow_parameters(Parameters(scale_correction=scale_correction))
        assert peer.spin_until(lambda: listened_to() == topics)
        publishers = {
            name: peer.node.create_publisher(TYPES[name], name, BEST_EFFORT) for name in topics
        }

        def send():
            for name, publisher in publishers.items():
                publisher.publish(TYPES[name]())

        assert peer.spin_until(lambda: all(received[name] for name in topics), do=send)
        inputs.follow_parameters(Parameters())
        assert peer.spin_until(lambda: listened_to() == set())
    finally:
        inputs.close()


def test_sensors_are_heard_as_reliably_as_they_speak():
    assert anchor_profile(Offer(reliable=True)).reliability == ReliabilityPolicy.RELIABLE
    assert anchor_profile(Offer()).reliability == ReliabilityPolicy.BEST_EFFORT


def test_publishers_are_reliable_and_users_may_override_that(ros):
    import rclpy
    from rclpy.parameter import Parameter

    name = "qos_overrides./points.publisher.reliability"
    node = rclpy.create_node(
        "overridden", parameter_overrides=[Parameter(name, value="best_effort")]
    )
    try:
        for topic, expected in (
            ("points", ReliabilityPolicy.BEST_EFFORT),
            ("depth/image", ReliabilityPolicy.RELIABLE),
        ):
            publisher = node.create_publisher(
                String, topic, publisher_profile(), qos_overriding_options=publisher_overrides()
            )
            assert publisher.qos_profile.reliability == expected
            assert publisher.qos_profile.depth == 1
    finally:
        node.destroy_node()
