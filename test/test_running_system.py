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

"""What `doctor --graph` finds in a running system: the real node, and a camera of the test's."""

import threading

import pytest
import rclpy
from conftest import RunningProcess
from diagnostic_msgs.msg import KeyValue
from node_harness import Harness
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from depthrefl_ros.tools import running_system
from depthrefl_ros.tools.doctor import main

LISTEN_S = 2.0


@pytest.fixture
def looker(ros):
    """Look until the graph is known: a busy machine takes its time."""
    node = rclpy.create_node("looker")

    def look(is_seen=lambda found: True):
        for _ in range(5):
            found = {one.name: one for one in running_system.findings(node, LISTEN_S)}
            if is_seen(found):
                break
        return found

    yield look
    node.destroy_node()


class Camera:
    """A camera that publishes in a thread of its own until the block ends."""

    def __init__(self, change=lambda image, info: None, qos=1, topic="image"):
        self.harness = Harness(image_topic=f"{topic}_unused")
        self.images = self.harness.node.create_publisher(Image, topic, qos)
        self.change = change
        self.is_running = True
        self.thread = threading.Thread(target=self.run)

    def run(self):
        def publish():
            image = self.harness.image()
            info = self.harness.info(image.header)
            self.change(image, info)
            self.images.publish(image)
            self.harness.infos.publish(info)

        self.harness.spin_until(lambda: not self.is_running, timeout=120, period=0.2, do=publish)

    def __enter__(self):
        self.thread.start()
        return self.harness

    def __exit__(self, *_):
        self.is_running = False
        self.thread.join()
        self.harness.close()


@pytest.fixture(scope="module")
def running(ros, tmp_path_factory):
    """Return the node, its engine open."""
    log = tmp_path_factory.mktemp("node") / "log.txt"
    process = RunningProcess(log, "depthrefl_ros.ros.executable")
    harness = Harness()
    try:
        assert harness.spin_until(lambda: harness.values().get("engine"), 60), process.output()
    finally:
        harness.close()
    yield process
    assert process.stop() == 0


def test_without_a_node_it_says_what_to_look_at(looker, monkeypatch):
    monkeypatch.setattr(running_system, "running_nodes", lambda node: [])
    found = looker()
    assert list(found) == ["node"] and found["node"].state == "error"
    assert "ROS_DOMAIN_ID" in found["node"].text


def test_an_image_that_nobody_publishes_is_named_with_those_that_are(running, looker):
    with Camera(topic="camera/image_raw"):
        found = looker(lambda found: "/camera/image_raw" in found["image"].text)
    assert found["image"].state == "error"
    assert found["image"].text.startswith("nobody publishes /image: remap it to one of ")
    assert "/camera/image_raw" in found["image"].text
    assert "/depth/" not in found["image"].text  # the node's own


def test_a_whole_system_is_well(running, looker):
    def take(_):
        pass

    with Camera() as harness:
        harness.node.create_subscription(PointCloud2, "points/marking", take, 1)
        found = looker(lambda found: "calibration" in found and "/points" in found["outputs"].text)
    assert {one.state for one in found.values()} <= {"ok", "warning"}, found
    assert found["image"].state == found["camera_info"].state == "ok"
    assert "/image at" in found["image"].text and "Hz" in found["image"].text
    assert "fx 250.0 of 320 pixels, without distortion" in found["calibration"].text
    assert "/points/marking by peer_" in found["outputs"].text
    assert int(found["node"].facts["received"]) > 0


@pytest.mark.parametrize(
    "change, state, words",
    [
        (lambda image, info: setattr(info, "k", [0.0] * 9), "error", "K is all zero"),
        (lambda image, info: setattr(info, "width", 640), "warning", "of 640x240 pixels"),
    ],
)
def test_a_calibration_that_cannot_be_is_told(running, looker, change, state, words):
    with Camera(change):
        found = looker(lambda found: getattr(found.get("calibration"), "state", "") == state)
    assert found["calibration"].state == state and words in found["calibration"].text


def test_qualities_that_do_not_match_are_told(ros):
    offered = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    node = rclpy.create_node("depthrefl_stand_in")
    looking = rclpy.create_node("looking")
    try:
        node.create_subscription(Image, "mismatched", lambda _: None, 1)
        node.create_publisher(Image, "mismatched", offered)
        harness = Harness()
        harness.spin_until(lambda: looking.count_subscribers("/mismatched") > 0, 5)
        harness.close()
        kind = "sensor_msgs/msg/Image"
        args = (looking, "image", "/mismatched", kind, 0, "depthrefl_stand_in", 1.0)
        found = running_system._source(*args)
    finally:
        node.destroy_node()
        looking.destroy_node()
    assert found.state == "error" and "do not match" in found.text
    assert "image_reliability: auto" in found.text


def test_nothing_that_comes_is_silence_or_loss(ros):
    node = rclpy.create_node("silent")
    try:
        node.create_publisher(CameraInfo, "silent_info", 1)
        kind = "sensor_msgs/msg/CameraInfo"
        args = (node, "camera_info", "/silent_info", kind, 0, "depthrefl", 1.5)
        found = running_system._source(*args)
    finally:
        node.destroy_node()
    assert found.state == "warning" and "silent for 1.5 s" in found.text


def test_clouds_that_do_not_come_are_called_lost(ros):
    node = rclpy.create_node("losing")
    try:
        heard = running_system.Heard(clouds={"/points": 1})
        for count in (3, 23):
            status = running_system.DiagnosticStatus()
            status.values = [KeyValue(key="processed", value=str(count))]
            heard.statuses.append(status)
        found = running_system._outputs(node, "", heard, ["/points"])
    finally:
        node.destroy_node()
    assert found.state == "warning" and "20 frames were processed and 1 clouds" in found.text


def test_the_command_ends_with_1_where_something_is_broken(tmp_path, monkeypatch, capsys):
    report = tmp_path / "graph.json"
    broken = running_system.Finding("node", "error", "no node depthrefl")
    monkeypatch.setattr(running_system, "findings", lambda node, listen_s: iter([broken]))
    monkeypatch.setattr("depthrefl_ros.tools.ros_node.tool_node", Nothing)
    assert main(["--graph", "--json", str(report)]) == 1
    assert "ERROR node" in capsys.readouterr().out and "no node depthrefl" in report.read_text()


class Nothing:
    """In place of a node: a second rclpy.init in this process is not possible."""

    def __init__(self, *_):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass
