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

"""The running node with a network that takes the mount: its depth is the floor's. Over real DDS."""

import importlib.util
import math
import signal

import numpy as np
import pytest
from box_scene import true_depth
from exact_bundle import exact_bundle
from exact_node import CAMERA, BoxHarness, launched
from node_harness import depth_of
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image, PointCloud2
from test_node_transforms import PERIOD_S, STAND_IN, NoddingHarness

from depthrefl_ros.geometry.floor_plane import camera_floor_depth
from depthrefl_ros.geometry.pose import Pose

HEIGHT_M, PITCH_DEG = 0.5, 15.0
TRUTH = true_depth(CAMERA, Pose.from_mount(HEIGHT_M, math.radians(PITCH_DEG)), [])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """Return a network that is told the mount and believes half of it."""
    return exact_bundle(tmp_path_factory.mktemp("bundle") / "told", CAMERA, trust=0.5)


@pytest.fixture
def start(ros, tmp_path, bundle):
    harnesses = []

    def make(kind=BoxHarness, environment=None, **parameters):
        values = {"model": str(bundle), "diagnostics_period": 0.1, "temporal_smoothing": 0.0}
        values |= {"max_range": 40.0, "edge_ratio": 0.0, "max_grazing_angle": 0.0, **parameters}
        harness = launched(kind, tmp_path / "log.txt", environment, **values)
        harness.depth_m = TRUTH
        harnesses.append(harness)
        harness.wait_for("active")
        return harness

    yield make
    for harness in harnesses:
        harness.close()
        assert harness.process.stop(signal.SIGINT) == 0, harness.process.output()


def disagreement(depth: np.ndarray, truth: np.ndarray, mount: Pose | None) -> float:
    """Return how far depth is from what the network says of an image when told of a mount."""
    expected, seen = truth, np.ones(truth.shape, bool)
    if mount is not None:
        floor_m = camera_floor_depth(CAMERA, mount)
        seen = (floor_m > 0.2) & (floor_m < 30.0)
        expected = (truth + floor_m) / 2.0
    seen &= np.isfinite(depth)
    assert seen.mean() > 0.3
    return float(np.quantile(np.abs(depth[seen] / expected[seen] - 1.0), 0.99))


def test_depth_follows_the_mount_parameters_while_use_mount_is_on(start):
    node = start(camera_height=0.75, camera_pitch=PITCH_DEG)
    depths = node.collect(Image, "depth/image", qos_profile_sensor_data)
    told = Pose.from_mount(0.75, math.radians(PITCH_DEG))
    assert disagreement(depth_of(node.next_of(depths)), TRUTH, told) < 0.015
    words = "0.75 m up, looking 15.0 degrees down by parameters"
    assert node.fresh_values()["mount"] == words

    assert node.set("use_mount", False) == ""
    depth = depth_of(node.next_of(depths))
    assert disagreement(depth, TRUTH, None) < 0.005
    assert disagreement(depth, TRUTH, told) > 0.15
    assert node.fresh_values()["mount"] == "not told: use_mount is off"

    assert node.set("use_mount", True) == ""
    assert node.set("camera_height", HEIGHT_M) == ""  # the next frame is told the new one
    right = Pose.from_mount(HEIGHT_M, math.radians(PITCH_DEG))
    assert disagreement(depth_of(node.next_of(depths)), TRUTH, right) < 0.015


def test_without_a_mount_the_network_is_told_nothing_and_diagnostics_say_why(start):
    node = start()
    depths = node.collect(Image, "depth/image", qos_profile_sensor_data)
    assert disagreement(depth_of(node.next_of(depths)), TRUTH, None) < 0.005
    assert node.fresh_values()["mount"].endswith("; camera_height is not given either")


def test_a_wrong_mount_is_found_though_the_network_believes_it(start):
    """base_frame is 0.2 m above the floor."""
    node = start(camera_height=0.3, camera_pitch=PITCH_DEG)
    clouds = node.collect(PointCloud2, "points/marking", qos_profile_sensor_data)
    said = "the floor is seen 0.20 m below z = 0 of the base frame"
    found = node.spin_until(
        lambda: said in node.values().get("message", ""), 30, do=node.send, period=0.1
    )
    assert found, node.values()
    node.spin_until(lambda: False, 0.5)
    clouds.clear()
    for _ in range(10):
        node.send()
        node.spin_until(lambda: False, 0.1)
    assert not any(cloud.width for cloud in clouds)


@pytest.mark.skipif(
    importlib.util.find_spec("tf2_ros") is not None, reason="the stand-in would hide tf2"
)
def test_a_camera_that_nods_is_told_how_it_stands_in_every_frame(start):
    environment = {"PYTHONPATH": str(STAND_IN)}
    node = start(NoddingHarness, environment, transform_timeout=0.3)
    depths = node.collect(Image, "depth/image", qos_profile_sensor_data)
    truths = {}

    def nod():
        node.nod(0.02)
        truths[round(node.time_s * 1e9)] = node.depth_m

    for _ in range(3):
        node.tf.publish(node.transform(node.time_s))
        node.spin_until(lambda: False, PERIOD_S)
    assert node.spin_until(lambda: bool(depths), 20, do=nod, period=0.0), node.values()
    depths.clear()
    for _ in range(20):
        nod()
    assert node.spin_until(lambda: len(depths) >= 15, 5)
    pitches = set()
    for message in depths:
        stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        mount = node.poses[stamp]
        assert disagreement(depth_of(message), truths[stamp], mount) < 0.02
        pitches.add(mount.mount_in_words())
    assert len(pitches) > 8
    assert node.fresh_values()["mount"].endswith("degrees down by TF")
