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

"""Why nothing comes on a topic, in words; over real DDS."""

import pytest
import rclpy
from conftest import RunningProcess
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from depthrefl_ros.ros.subscriptions import silence_words, topic_words

RELIABLE = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


@pytest.fixture
def why(peer):
    """Return why no image comes on a topic, by the peer's node."""
    return lambda topic="/image", kind=Image, reliability="auto": silence_words(
        peer.node, topic, kind, reliability
    )


def test_other_topics_of_the_type_that_somebody_publishes_on_are_named(peer, other, why):
    for topic in ("right/image_raw", "left/image_raw", "depth/image"):
        other.node.create_publisher(Image, topic, 1)
    other.node.create_publisher(String, "chatter", 1)
    peer.node.create_subscription(Image, "nobody_speaks_here", lambda _: None, 1)
    others = "; topics of type sensor_msgs/msg/Image: /left/image_raw, /right/image_raw"
    expected = f"/image (0 publishers{others})"
    assert peer.spin_until(lambda: topic_words(peer.node, "/image", Image) == expected)
    assert why() == f"nobody publishes there{others}"


def test_what_the_nodes_of_other_cameras_publish_is_left_out(peer, why):
    with_camera = rclpy.create_node(peer.node.get_name(), namespace="/left")
    with_camera.create_publisher(Image, "depth/image", 1)
    # Of the same name as this node, perhaps, but a driver.
    camera = rclpy.create_node(peer.node.get_name(), namespace="/drv")
    camera.create_publisher(Image, "image_raw", 1)
    try:
        found = "topics of type sensor_msgs/msg/Image: /drv/image_raw"
        assert peer.spin_until(lambda: why().endswith(found)), why()
    finally:
        with_camera.destroy_node()
        camera.destroy_node()


def test_our_own_topics_are_left_out_by_the_names_that_they_have(ros, other):
    node = rclpy.create_node(
        "remapped", cli_args=["--ros-args", "-r", "depth/image:=/camera/depth"]
    )
    for topic in ("depth/image", "depth/preview"):
        node.create_publisher(Image, topic, 1)
    for topic in ("/camera/image_raw", "/depth/of_another_camera"):
        other.node.create_publisher(Image, topic, 1)
    expected = (
        "nobody publishes there; topics of type sensor_msgs/msg/Image: /camera/image_raw, "
        "/depth/of_another_camera"
    )
    words = lambda: silence_words(node, "/image", Image, "auto")  # noqa: E731
    assert other.spin_until(lambda: words() == expected), words()
    node.destroy_node()


def test_of_many_topics_the_first_are_named(peer, other, why):
    for number in range(11):
        other.node.create_publisher(Image, f"camera_{number:02d}", 1)
    assert peer.spin_until(lambda: why().endswith("/camera_07 and 3 more")), why()


def test_silence_of_a_publisher_is_told(peer, other, why):
    other.node.create_publisher(Image, "image", 1)
    assert peer.spin_until(lambda: why() == "its publisher is silent"), why()


def test_best_effort_where_reliable_is_asked_for_is_told(peer, other, why):
    publisher = other.node.create_publisher(Image, "image", RELIABLE)
    asked = lambda: why(reliability="reliable")  # noqa: E731
    assert peer.spin_until(lambda: asked() == "its publisher is silent"), asked()
    other.node.destroy_publisher(publisher)
    other.node.create_publisher(Image, "image", BEST_EFFORT)
    expected = (
        "image_reliability is reliable, its publisher offers best effort: "
        "set image_reliability to auto"
    )
    assert peer.spin_until(lambda: asked() == expected), asked()
    assert why() == why(reliability="best_effort") == "its publisher is silent"


@pytest.fixture
def publish_elsewhere(tmp_path):
    """Publish on a topic in another process: one participant has one type for a topic."""
    processes = []

    def publish(kind: str, topic: str) -> None:
        (tmp_path / "elsewhere.py").write_text(
            # rclpy's own handler may miss a signal that comes before it spins.
            "import signal, sys, rclpy, sensor_msgs.msg\n"
            "from rclpy.signals import SignalHandlerOptions\n"
            "signal.signal(signal.SIGTERM, lambda number, frame: sys.exit())\n"
            "rclpy.init(signal_handler_options=SignalHandlerOptions.NO)\n"
            "node = rclpy.create_node('elsewhere')\n"
            "node.create_publisher(getattr(sensor_msgs.msg, sys.argv[1]), sys.argv[2], 1)\n"
            "while True:\n"
            "    rclpy.spin_once(node, timeout_sec=0.1)\n"
        )
        environment = {"PYTHONPATH": str(tmp_path)}
        log = tmp_path / "log.txt"
        processes.append(RunningProcess(log, "elsewhere", kind, topic, environment=environment))

    yield publish
    for process in processes:
        process.stop()


@pytest.mark.parametrize(
    "topic, wanted, published, hint",
    [
        (
            "/image",
            Image,
            "CompressedImage",
            "set image_transport to compressed and remap image to the topic without /compressed",
        ),
        ("/image/compressed", CompressedImage, "Image", "set image_transport to raw"),
        (
            "/camera/depth/compressedDepth",
            Image,
            "CompressedImage",
            "it holds depth, not a picture: remap image to a colour image",
        ),
    ],
)
def test_a_topic_of_the_other_type_is_told_with_what_to_do(
    peer, why, publish_elsewhere, topic, wanted, published, hint
):
    peer.node.create_subscription(wanted, topic, lambda _: None, 1)
    publish_elsewhere(published, topic)
    expected = (
        f"{topic} has type sensor_msgs/msg/{published}, not sensor_msgs/msg/{wanted.__name__}; "
        f"{hint}"
    )
    assert peer.spin_until(lambda: why(topic, wanted) == expected), why(topic, wanted)
