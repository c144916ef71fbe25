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

"""What a costmap gets of the real node, over DDS: clouds, scan, and silence before a wrong wall."""

import math
import re
import signal

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from node_harness import FRAME, Harness, start_node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import LaserScan, PointCloud2, Range

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.ros.convert.clouds import cloud_message, cloud_to_points
from depthrefl_ros.ros.parameters import Parameters
from depthrefl_ros.settings import values_of

MOUNT = {"camera_height": 0.5, "camera_pitch": 5.0}
NO_MOUNT = {"camera_height": 0.0, "camera_pitch": -90.0}  # looks straight up: no floor there
KINDS = {"points/marking": PointCloud2, "points/clearing": PointCloud2, "scan": LaserScan}
LIMIT_BYTES = 192 * 1024


@pytest.fixture(scope="module")
def node(ros, tmp_path_factory, without_torch):
    log = tmp_path_factory.mktemp("node") / "log.txt"
    # The picture's camera stood somewhere else than MOUNT says.
    values = {**MOUNT, "max_floor_error": 0.0, "diagnostics_period": 0.1}
    harness = Harness(process=start_node(log, without_torch, **values))
    room = Bundle.load("indoor_tiny").golden().images[0, ..., :3]
    harness.picture = cv2.cvtColor(cv2.resize(room, (320, 240)), cv2.COLOR_RGB2BGR)
    harness.wait_for("active")
    yield harness
    harness.close()
    assert harness.process.stop(signal.SIGTERM) == 0, harness.process.output()


@pytest.fixture
def received(node):
    """Messages as they come, by topic; ends with the test, so that nothing listens then."""
    messages = {topic: [] for topic in KINDS}
    subscriptions = [
        node.node.create_subscription(kind, topic, messages[topic].append, qos_profile_sensor_data)
        for topic, kind in KINDS.items()
    ]
    yield messages
    for subscription in subscriptions:
        node.node.destroy_subscription(subscription)


@pytest.fixture
def setting(node):
    """Set parameters for the length of a test."""
    changed = set()

    def change(**values):
        for name, value in values.items():
            assert node.set(name, value) == ""
        changed.update(values)

    yield change
    before = {**values_of(Parameters()), **MOUNT}
    change(**{name: before[name] for name in changed})


def newest_common(node, received) -> dict:
    """All three messages of one frame sent now."""
    seen = node.stamp

    def stamps():
        return set.intersection(
            *({one.header.stamp.sec for one in messages} for messages in received.values())
        )

    assert node.spin_until(lambda: max(stamps(), default=0) > seen, do=node.send), node.values()
    stamp = max(stamps())
    return {
        topic: next(one for one in messages if one.header.stamp.sec == stamp)
        for topic, messages in received.items()
    }


def handled(node) -> int:
    """Frames that the node is done with, as its newest diagnostics have it."""
    return node.number("processed") + node.number("dropped")


def settle(node) -> None:
    """Wait until the node has nothing left of what was sent to it, also where it runs slowly."""

    def is_at_work() -> bool:
        before = handled(node)
        return node.spin_until(lambda: handled(node) != before, timeout=1.0)

    while is_at_work():
        pass


def send_frame(node, send=None) -> None:
    """Send a frame and wait until the node has processed or dropped it."""
    before = handled(node)
    (send or node.send)()
    assert node.spin_until(lambda: handled(node) > before)


def count_after(node, received, send=None) -> dict:
    """How many messages still come, of frames sent once silence has begun."""
    send_frame(node, send)
    settle(node)
    for messages in received.values():
        messages.clear()
    for _ in range(3):
        send_frame(node, send)
    return {topic: len(messages) for topic, messages in received.items()}


def heights(message, pose: Pose) -> np.ndarray:
    return pose.apply(cloud_to_points(message, "points"))[:, 2]


@pytest.mark.parametrize("roll_deg", [0.0, 180.0])
def test_clouds_and_scan_of_a_mounted_camera(node, received, setting, roll_deg):
    setting(camera_roll=roll_deg)
    found = newest_common(node, received)
    pose = Pose.from_mount(0.5, math.radians(5.0), math.radians(roll_deg))
    marking, clearing, scan = (found[topic] for topic in KINDS)
    for cloud in (marking, clearing):
        assert cloud.header.frame_id == FRAME and cloud.is_dense and cloud.height == 1
        assert [field.name for field in cloud.fields] == ["x", "y", "z", "confidence"]
        assert len(cloud.data) <= LIMIT_BYTES
        points = np.frombuffer(cloud.data, np.float32).reshape(-1, 4)
        assert np.isfinite(points).all() and (points[:, 2] > 0).all()
        assert ((points[:, 3] >= 0) & (points[:, 3] <= 1)).all()
    assert marking.width > 10 and clearing.width > 10
    marked = heights(marking, pose)
    assert marked.min() >= 0.1 - 1e-3 and marked.max() <= 1.8 + 1e-3
    assert scan.header.frame_id == "base_footprint"
    ranges = np.array(scan.ranges)
    assert len(ranges) == 720 and scan.angle_increment == pytest.approx(math.radians(0.5))
    angles = scan.angle_min + scan.angle_increment * np.arange(len(ranges))
    assert np.isnan(ranges[np.abs(angles) > 0.7]).all()  # the camera sees 65 degrees
    assert np.isfinite(ranges[np.abs(angles) < 0.5]).any()
    known = ranges[np.isfinite(ranges)]
    assert known.min() >= scan.range_min and known.max() <= scan.range_max
    assert node.fresh_values()["camera_pose"] == "0.50 m up by parameters"


@pytest.mark.parametrize(
    "gate, name, lax, strict",
    [
        ("edge", "edge_ratio", 0.0, 1.01),
        ("grazing", "max_grazing_angle", 0.0, 20.0),
        ("confidence", "min_confidence", 0.0, 0.9),
        ("too_near", "min_range", 0.01, 3.0),
        ("too_far", "max_range", 100.0, 2.0),
    ],
)
def test_each_gate_changes_while_it_runs_and_tells_what_it_takes(
    node, received, setting, gate, name, lax, strict
):
    taken = []
    for value in (lax, strict):
        setting(**{name: value})
        newest_common(node, received)
        taken.append(float(node.fresh_values()[f"gated_{gate}_percent"]))
    assert taken[0] == 0.0 < taken[1]
    assert float(node.values()["gated_unseen_percent"]) < 5.0  # what pads the image


def test_only_what_is_listened_to_is_computed(node):
    before = node.number("dropped_no_listener")
    assert node.spin_until(lambda: node.number("dropped_no_listener") > before, do=node.send)
    counts = {topic: node.number(f"published_{topic}") for topic in KINDS}
    scans: list = []
    subscription = node.node.create_subscription(LaserScan, "scan", scans.append, 1)
    node.next_of(scans)
    node.node.destroy_subscription(subscription)
    values = node.fresh_values()
    assert int(values["published_scan"]) > counts["scan"]
    for topic in ("points/marking", "points/clearing"):
        assert int(values.get(f"published_{topic}", 0)) == counts[topic]


def test_where_nothing_says_how_the_camera_stands_one_empty_pair_and_then_silence(
    node, received, setting
):
    newest_common(node, received)
    settle(node)
    setting(**NO_MOUNT)
    for messages in received.values():
        messages.clear()
    for _ in range(3):
        send_frame(node)
    for topic in ("points/marking", "points/clearing"):
        assert [one.width for one in received[topic]] == [0]
    assert [np.isnan(one.ranges).all() for one in received["scan"]] == [True]
    values = node.fresh_values()
    assert values["level"] == DiagnosticStatus.WARN
    assert re.search(
        "no marking and clearing: no transform from 'camera_optical_frame' to 'base_footprint': "
        ".*; "
        "camera_height is not given either; and no floor is in view",
        values["message"],
    )
    assert "no scan: no transform" in values["message"]
    setting(**MOUNT)
    newest_common(node, received)


def test_the_floor_in_view_stands_in_for_the_mount(node, received, setting):
    setting(camera_height=0.0)
    marking = received["points/marking"]
    node.next_of(marking)
    assert re.fullmatch(r"\d\.\d\d m up by floor", node.fresh_values()["camera_pose"])
    assert marking[-1].width > 0
    assert "no scan: no transform" in node.values()["message"]


def test_where_all_but_the_floor_is_gated_no_cloud_marks_and_all_go_on(node, received, setting):
    setting(min_confidence=0.99)
    found = [newest_common(node, received) for _ in range(3)][-1]
    assert found["points/marking"].width == 0
    assert not np.isfinite(found["scan"].ranges).any()
    values = node.fresh_values()
    # Of the floor, whose place the mount tells, the network is that certain.
    assert float(values["gated_confidence_percent"]) > 60.0


def test_a_bad_camera_silences_and_a_good_one_wakes(node, received):
    newest_common(node, received)

    def send_bad():
        image = node.image()
        info = node.info(image.header)
        info.k = [0.0] * 9
        node.infos.publish(info)
        node.images.publish(image)

    send_bad()
    assert count_after(node, received, send_bad) == dict.fromkeys(KINDS, 0)
    newest_common(node, received)


def complained(node, complaint, send) -> bool:
    """Send, no faster than a busy machine computes, until diagnostics hold a complaint.

    Stamps are a second apart: a frame that waits for others has no message of its own time.
    """
    return node.spin_until(lambda: complaint in node.values().get("message", ""), 20.0, 0.5, send)


def test_a_ranger_that_sees_nothing_is_told_and_the_depth_goes_on(node, received, setting):
    setting(scale_correction="range", camera_height=0.0)  # or the floor would judge the scale
    ranges = node.node.create_publisher(Range, "range", 5)

    def send():
        node.send()
        message = Range(min_range=0.1, max_range=4.0, range=math.inf)
        message.header.stamp.sec, message.header.frame_id = node.stamp, FRAME
        ranges.publish(message)

    complaint = "range cannot measure the scale: the reading is inf m"
    assert complained(node, complaint, send)
    assert node.next_of(received["points/marking"]).width > 0
    node.node.destroy_publisher(ranges)


def reference(node, points, frame_id=FRAME):
    message = cloud_message(np.asarray(points, np.float32), ("x", "y", "z"))
    message.header.stamp.sec, message.header.frame_id = node.stamp, frame_id
    return message


def test_points_in_an_unknown_frame_are_told_and_the_depth_goes_on(node, received, setting):
    setting(scale_correction="reference_points", camera_height=0.0)
    clouds = node.node.create_publisher(PointCloud2, "reference_points", 5)

    def send():
        node.send()
        clouds.publish(reference(node, np.ones((50, 3)), "mast"))

    complaint = "reference_points cannot measure the scale: no transform from"
    assert complained(node, complaint, send)
    assert "'mast'" in node.values()["message"]
    assert node.next_of(received["points/marking"]).width > 0
    node.node.destroy_publisher(clouds)


def test_a_scale_that_cannot_be_right_silences_the_costmap_and_not_the_depth(
    node, received, setting
):
    """Reference points that are ten times as far as anything here: the factor is clamped at 2."""
    setting(scale_correction="reference_points")
    clouds = node.node.create_publisher(PointCloud2, "reference_points", 5)
    grid = np.stack(np.meshgrid(np.linspace(-0.4, 0.4, 20), np.linspace(-0.3, 0.3, 20)), axis=-1)
    far = 40.0 * np.concatenate([grid.reshape(-1, 2), np.ones((400, 1))], axis=1)
    depth_points: list = []
    subscription = node.node.create_subscription(
        PointCloud2, "points", depth_points.append, qos_profile_sensor_data
    )

    def send():
        node.stamp += 1
        message = reference(node, far)
        node.stamp -= 1
        clouds.publish(message)
        node.spin_until(lambda: False, 0.05)
        node.send()

    try:
        assert complained(node, "% are allowed", send)
        message = node.values()["message"]
        for told in ("no marking and clearing: ", "no scan: ", "% off"):
            assert told in message
        assert count_after(node, received, send) == dict.fromkeys(KINDS, 0)
        assert node.number("published_points") > 0 and depth_points
        assert node.fresh_values()["scale_factor"] == "2"
    finally:
        node.node.destroy_subscription(subscription)
        node.node.destroy_publisher(clouds)
    setting(scale_correction="none")
    newest_common(node, received)
