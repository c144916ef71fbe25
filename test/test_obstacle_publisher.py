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

"""What a costmap acts on, or one message without evidence and then silence; over DDS."""

import math
import threading

import numpy as np
import pytest
from box_scene import true_depth
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import LaserScan, PointCloud2
from std_msgs.msg import Header

from depthrefl_ros.estimator import StepTimer
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.surround import Surround
from depthrefl_ros.ros.convert.clouds import cloud_to_points
from depthrefl_ros.ros.diagnostics import Diagnostics
from depthrefl_ros.ros.loaded_model import FrameSettings
from depthrefl_ros.ros.obstacle_publisher import CLOUDS, FIELDS, TOPICS, ObstaclePublisher
from depthrefl_ros.ros.parameters import Parameters
from depthrefl_ros.ros.publishers import CLEARING, MARKING, SCAN, Publishers
from depthrefl_ros.settings import changed

CAMERA = Camera.from_horizontal_fov(256, 192, 1.2)
MOUNT = Pose.from_mount(0.5, math.radians(10.0))
BOX = ((2.0, -0.4, 0.0), (2.3, 0.4, 0.5))
KINDS = {MARKING: PointCloud2, CLEARING: PointCloud2, SCAN: LaserScan}


class Seen:
    """What one frame of exact depth became, as far as a costmap is concerned."""

    def __init__(self, boxes=(BOX,)):
        depth = true_depth(CAMERA, MOUNT, boxes)
        self.network_depth_m = self.ungated_m = depth
        self.sigma = np.full_like(depth, 0.02)
        self.network_confidence = np.full_like(depth, 0.9)
        self.network_camera = CAMERA
        self.base_from_camera = MOUNT  # as ``Corrected`` has it


class Bench:
    """An obstacle publisher on a real active node, and what a costmap gets of it."""

    def __init__(self, node, peer, bundle):
        self.peer, self.bundle = peer, bundle
        self.diagnostics = Diagnostics()
        self.node = node
        self.publishers = Publishers(node, self.diagnostics)
        node.trigger_configure()
        node.trigger_activate()
        self.obstacles = ObstaclePublisher(self.publishers)
        self.received = {topic: peer.collect(kind, topic) for topic, kind in KINDS.items()}
        assert peer.spin_until(lambda: self.publishers.wanted() == TOPICS)
        self.timer = StepTimer()

    def publish(self, seconds=1, boxes=(BOX,), wanted=TOPICS, **changes):
        seen = Seen(boxes)
        settings = FrameSettings.of(changed(Parameters(), changes), self.bundle)
        header = Header(frame_id="camera_optical_frame")
        header.stamp.sec = seconds
        more = (header, settings, self.timer)
        if wanted & CLOUDS:
            self.obstacles.publish_clouds(wanted, seen, seen, *more)
        if SCAN in wanted:
            surround = Surround(
                time_s=float(seconds),
                up=MOUNT.up_in_source,
                base_from_camera=MOUNT,
                scan_frame="lidar",
                scan_from_camera=MOUNT,
            )
            self.obstacles.publish_scan(seen, seen, surround, *more)

    def next_of(self, topic, number=1):
        """Return the newest message on a topic, of which so many must come."""
        messages = self.received[topic]
        assert self.peer.spin_until(lambda: len(messages) >= number), topic
        return messages[-1]

    def counts(self) -> dict:
        self.peer.spin_until(lambda: False, 0.2)
        return {topic: len(messages) for topic, messages in self.received.items()}


@pytest.fixture
def bench(peer, bundle):
    node = LifecycleNode("obstacles")
    bench = Bench(node, peer, bundle)
    yield bench
    bench.publishers.close()
    node.destroy_node()


def test_a_box_is_marked_the_floor_before_it_is_cleared_and_the_scan_ends_there(bench):
    bench.publish()
    marking, clearing, scan = (bench.next_of(topic) for topic in KINDS)
    for cloud in (marking, clearing):
        assert tuple(field.name for field in cloud.fields) == FIELDS
        assert (cloud.header.stamp.sec, cloud.header.frame_id) == (1, "camera_optical_frame")
    marked = MOUNT.apply(cloud_to_points(marking, MARKING))
    assert len(marked) > 10
    assert marked[:, 0].min() > 1.9 and np.abs(marked[:, 1]).max() < 0.5
    assert (marked[:, 2] > 0.09).all()
    assert clearing.width > 10
    assert (scan.header.stamp.sec, scan.header.frame_id) == (1, "lidar")
    ahead = scan.ranges[round(-scan.angle_min / scan.angle_increment)]
    assert ahead == pytest.approx(2.0, abs=0.05)
    assert {"obstacles", "scan", "publish"} == bench.timer.steps_ms.keys()


@pytest.mark.parametrize("max_range", [0.0, 4.5])
def test_the_scans_range_ends_where_the_gates_do(bench, bundle, max_range):
    """A costmap clears up to range_max, and takes farther readings for nothing seen."""
    bench.publish(max_range=max_range)
    expected = max_range or bundle.max_range_m
    assert bench.next_of(SCAN).range_max == pytest.approx(expected)
    assert bench.next_of(SCAN).range_min == 0.0
    bench.obstacles.fall_silent()
    assert bench.next_of(SCAN, 2).range_max == pytest.approx(expected)


def test_the_scan_has_the_angles_of_the_settings(bench):
    bench.publish()
    scan = bench.next_of(SCAN)
    settings = Parameters().scan
    assert len(scan.ranges) == settings.beams
    assert scan.angle_min == pytest.approx(settings.angle_min)
    assert scan.angle_max == pytest.approx(settings.angle_max)
    assert scan.angle_increment == pytest.approx(settings.angle_increment)


def test_only_what_is_wanted_is_published(bench):
    bench.publish(wanted=frozenset({MARKING}))
    assert bench.counts() == {MARKING: 1, CLEARING: 0, SCAN: 0}
    bench.publish(wanted=frozenset({SCAN}))
    assert bench.counts() == {MARKING: 1, CLEARING: 0, SCAN: 1}


def test_silence_is_one_message_without_evidence_with_the_last_ones_header(bench):
    bench.publish(3)
    assert bench.obstacles.fall_silent() == TOPICS
    assert bench.obstacles.fall_silent() == frozenset()
    assert bench.counts() == dict.fromkeys(KINDS, 2)
    for topic in CLOUDS:
        assert bench.received[topic][1].width == 0
        assert [field.name for field in bench.received[topic][1].fields] == list(FIELDS)
    scan = bench.received[SCAN][1]
    assert len(scan.ranges) == len(bench.received[SCAN][0].ranges) and np.isnan(scan.ranges).all()
    for before, after in bench.received.values():
        assert after.header == before.header


def test_what_never_spoke_needs_no_silence(bench):
    assert bench.obstacles.fall_silent() == frozenset()
    bench.publish(wanted=frozenset({MARKING}))
    assert bench.obstacles.fall_silent() == {MARKING}
    assert bench.counts() == {MARKING: 2, CLEARING: 0, SCAN: 0}


def test_some_topics_may_fall_silent_while_others_go_on(bench):
    bench.publish()
    assert bench.obstacles.fall_silent(frozenset({SCAN})) == {SCAN}
    assert bench.counts() == {MARKING: 1, CLEARING: 1, SCAN: 2}
    bench.publish(2)  # and speak again
    assert bench.obstacles.fall_silent() == TOPICS


def test_a_frame_that_sees_nothing_gives_empty_clouds_and_is_no_silence(bench):
    bench.publish(1, boxes=())
    assert bench.next_of(MARKING).width == 0
    bench.publish(2, boxes=())
    assert bench.next_of(MARKING, 2).header.stamp.sec == 2


def test_after_the_close_nothing_is_published_any_more(bench):
    bench.publish(1)
    assert bench.obstacles.close() == TOPICS
    bench.publish(2)  # by a thread that was left behind
    assert bench.counts() == dict.fromkeys(KINDS, 2)
    assert bench.obstacles.close() == frozenset()


def test_silence_does_not_wait_for_a_thread_that_hangs_while_it_publishes(bench, monkeypatch):
    bench.publish(1)
    began, may_end, publish = threading.Event(), threading.Event(), bench.publishers.publish

    def hanging(*arguments):
        began.set()
        assert may_end.wait(10)
        publish(*arguments)

    monkeypatch.setattr(bench.publishers, "publish", hanging)
    thread = threading.Thread(target=bench.publish, args=(2,))
    thread.start()
    try:
        assert began.wait(5)
        assert bench.obstacles.close() == frozenset()
    finally:
        monkeypatch.undo()
        may_end.set()
        thread.join()
    # What it still was about to say comes, and nothing after that.
    assert bench.counts() == {MARKING: 2, CLEARING: 1, SCAN: 1}
