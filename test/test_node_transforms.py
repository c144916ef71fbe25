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

"""The running node on a camera that moves on its robot, with TF that comes late. Over real DDS."""

import importlib.util
import math
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from box_scene import true_depth
from conftest import RunningProcess
from exact_bundle import exact_bundle
from exact_node import CAMERA, BoxHarness, is_silence, launched
from geometry_msgs.msg import TransformStamped
from node_harness import FRAME, MODULE
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import PointCloud2
from transform_buffer import transform_of

from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.ros.convert.clouds import cloud_to_points

STAND_IN = Path(__file__).parent / "tf2_stand_in"
HEIGHT_M = 0.5
PERIOD_S = 0.1
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tf2_ros") is not None, reason="the stand-in would hide tf2"
)


def pose_at(time_s: float) -> Pose:
    """Return a camera that nods by 5 degrees about 15, twice in three seconds."""
    return Pose.from_mount(HEIGHT_M, math.radians(15 + 5 * math.sin(2 * math.pi * time_s / 1.5)))


class NoddingHarness(BoxHarness):
    """Sends images in time, and their transforms late."""

    def __init__(self, process, folder):
        super().__init__(process, folder)
        latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.tf = self.node.create_publisher(TransformStamped, "/tf", 100)
        self.tf_static = self.node.create_publisher(TransformStamped, "/tf_static", latched)
        self.time_s = 1000.0
        self.poses: dict[int, Pose] = {}

    def header(self):
        header = super().header()
        nanoseconds = round(self.time_s * 1e9)
        header.stamp.sec, header.stamp.nanosec = divmod(nanoseconds, 10**9)
        self.poses[nanoseconds] = pose_at(self.time_s)
        return header

    def transform(self, time_s: float, child: str = FRAME) -> TransformStamped:
        message = transform_of(pose_at(time_s))
        message.header.frame_id, message.child_frame_id = "base_footprint", child
        stamp = message.header.stamp
        stamp.sec, stamp.nanosec = divmod(round(time_s * 1e9), 10**9)
        return message

    def nod(self, late_s: float | None) -> None:
        """One frame, and its transform ``late_s`` after it, or never."""
        self.time_s += PERIOD_S
        self.depth_m = true_depth(CAMERA, pose_at(self.time_s), [])
        self.send()
        if late_s is not None:
            self.spin_until(lambda: False, late_s)
            self.tf.publish(self.transform(self.time_s))
        self.spin_until(lambda: False, PERIOD_S - (late_s or 0.0))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return exact_bundle(tmp_path_factory.mktemp("bundle") / "exact", CAMERA)


@pytest.fixture
def node(ros, tmp_path, bundle):
    """Return a node that hears TF, and whose mount parameters would be wrong by 10 degrees."""
    values = {
        "model": str(bundle),
        "camera_height": HEIGHT_M,
        "camera_pitch": 5.0,
        "diagnostics_period": 0.1,
        "temporal_smoothing": 0.0,
        "max_floor_error": 0.0,  # or it would hide wrong poses
        "transform_timeout": 0.3,
    }
    environment = {"PYTHONPATH": str(STAND_IN)}
    harness = launched(NoddingHarness, tmp_path / "log.txt", environment, **values)
    for _ in range(3):
        harness.tf.publish(harness.transform(harness.time_s))
    harness.wait_for("active")
    yield harness
    harness.close()
    assert harness.process.stop(signal.SIGTERM) == 0, harness.process.output()


def marked_heights(node, message) -> np.ndarray:
    stamp = message.header.stamp
    pose = node.poses[stamp.sec * 10**9 + stamp.nanosec]
    return pose.apply(cloud_to_points(message, "marking"))[:, 2]


def test_no_floor_is_marked_while_the_camera_nods_and_tf_is_late(node):
    clouds = node.collect(PointCloud2, "points/marking", qos_profile_sensor_data)
    node.tf.publish(node.transform(node.time_s))
    for _ in range(10):  # listening and discovery
        node.nod(0.05)
    clouds.clear()
    for _ in range(45):
        node.nod(0.05)
    node.spin_until(lambda: False, 0.5)
    assert len(clouds) >= 40, (len(clouds), node.values())
    assert [cloud.width for cloud in clouds] == [0] * len(clouds)
    assert node.fresh_values()["camera_pose"] == "0.50 m up by TF"


def test_without_tf_at_its_time_a_frame_marks_nothing_and_nothing_stands_in(node):
    clouds = node.collect(PointCloud2, "points/marking", qos_profile_sensor_data)
    for _ in range(15):
        node.nod(0.02)
    assert node.spin_until(lambda: bool(clouds), 5, do=lambda: node.nod(0.02), period=0.0)
    clouds.clear()
    for _ in range(4):
        node.nod(None)
        node.spin_until(lambda: False, 0.3)
    assert all(map(is_silence, clouds)) and len(clouds) <= 1
    message = node.fresh_values()["message"]
    assert "no marking and clearing: no transform from 'camera_optical_frame'" in message
    assert "extrapolation into the future" in message
    node.tf.publish(node.transform(node.time_s))
    for _ in range(3):
        node.nod(0.02)
    assert node.spin_until(lambda: len(clouds) > 1, 5, do=lambda: node.nod(0.02), period=0.0)


def test_base_link_stands_in_for_a_footprint_that_tf_does_not_know(ros, tmp_path, bundle):
    process = RunningProcess(
        tmp_path / "log.txt",
        MODULE,
        *("--ros-args", "-p", f"model:={bundle}", "-p", "diagnostics_period:=0.1"),
        environment={"PYTHONPATH": str(STAND_IN)},
    )
    node = NoddingHarness(process, tmp_path)
    try:
        message = node.transform(node.time_s)
        message.header.frame_id = "base_link"
        node.tf_static.publish(message)
        clouds = node.collect(PointCloud2, "points/marking", qos_profile_sensor_data)
        node.depth_m = true_depth(CAMERA, pose_at(node.time_s), [((1.5, -0.3, 0), (1.8, 0.3, 0.4))])

        def send():
            node.time_s += PERIOD_S
            node.send()

        # A floor that is seen may serve until TF has arrived.
        words = "'base_link' stands in for it: its z = 0 must be the floor"
        assert node.spin_until(lambda: words in process.output(), 20, do=send), process.output()
        clouds.clear()
        assert node.spin_until(lambda: any(cloud.width for cloud in clouds), 20, do=send)
    finally:
        node.close()
        assert process.stop(signal.SIGTERM) == 0, process.output()
    assert os.path.exists(STAND_IN)
