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

"""Marking and clearing at their full size reach Nav2's kind of subscriber over default Fast DDS.

The node sets a profile for large messages; these two clouds must not need it. So publisher and
subscriber run in processes of their own without it: in this one a profile is set already.
"""

import os
import subprocess
import sys

import pytest

pytest.importorskip("rclpy")

from conftest import ROOT

from depthrefl_ros.ros.middleware import OLD_PROFILE_VARIABLE, PROFILE_VARIABLE

PAIRS = 100
TOPICS = ("points/marking", "points/clearing")

PUBLISHER = """
import sys, time
import numpy as np, rclpy
from sensor_msgs.msg import PointCloud2
from depthrefl_ros.geometry.obstacles import MAX_POINTS
from depthrefl_ros.ros.obstacle_publisher import FIELDS
from depthrefl_ros.ros.convert.clouds import cloud_message
from depthrefl_ros.ros.publishers import publisher_profile

topics, pairs = sys.argv[1:3], int(sys.argv[3])
rclpy.init()
node = rclpy.create_node("publisher")
publishers = [node.create_publisher(PointCloud2, topic, publisher_profile()) for topic in topics]
end = time.monotonic() + 20
while not all(one.get_subscription_count() for one in publishers) and time.monotonic() < end:
    rclpy.spin_once(node, timeout_sec=0.02)
time.sleep(0.5)  # the subscriber's side of the match
points = np.random.default_rng(1).random((MAX_POINTS, len(FIELDS)), np.float32)
for number in range(pairs):
    for publisher in publishers:  # back to back, as the node does
        message = cloud_message(points, FIELDS)
        message.header.stamp.sec = number
        publisher.publish(message)
    rclpy.spin_once(node, timeout_sec=0.033)
print(len(message.data))
time.sleep(1.0)  # the last ones
"""

SUBSCRIBER = """
import sys, time
import rclpy
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import PointCloud2

topics, pairs = sys.argv[1:3], int(sys.argv[3])
rclpy.init()
node = rclpy.create_node("subscriber")
received = {topic: [] for topic in topics}
for topic in topics:
    node.create_subscription(
        PointCloud2,
        topic,
        lambda one, to=received[topic]: to.append((one.header.stamp.sec, len(one.data))),
        qos_profile_sensor_data,
    )
end = time.monotonic() + 30
while any(not one or one[-1][0] < pairs - 1 for one in received.values()):
    if time.monotonic() > end:
        break
    rclpy.spin_once(node, timeout_sec=0.1)
print(*(len(received[topic]) for topic in topics))
print(*{size for one in received.values() for _, size in one})
"""


@pytest.fixture
def plain_environment():
    """Fast DDS with its default transports."""
    ours = (PROFILE_VARIABLE, OLD_PROFILE_VARIABLE, "FASTDDS_BUILTIN_TRANSPORTS")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")])
    return environment


def test_not_one_of_a_hundred_pairs_is_lost(plain_environment):
    def start(code: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-c", code, *TOPICS, str(PAIRS)],
            env=plain_environment,
            stdout=subprocess.PIPE,
            text=True,
        )

    subscriber, publisher = start(SUBSCRIBER), start(PUBLISHER)
    try:
        size = publisher.communicate(timeout=60)[0].strip()
        counts, sizes = subscriber.communicate(timeout=60)[0].splitlines()
    finally:
        publisher.kill()
        subscriber.kill()
    assert int(size) == 192 * 1024
    assert counts == f"{PAIRS} {PAIRS}"
    assert sizes == size
