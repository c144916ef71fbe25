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

"""The live view's subscriptions over DDS: made anew when publishers come, ended when unwanted."""

import pytest

pytest.importorskip("rclpy")

from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image

from depthrefl_ros.tools.live_subscriptions import LiveSubscriptions

TOPIC = "/late/image"


def asked_for(peer):
    """Return the reliability that listeners of the topic ask for."""
    found = peer.node.get_subscriptions_info_by_topic(TOPIC)
    return [one.qos_profile.reliability for one in found]


def test_a_publisher_that_comes_later_is_heard_as_reliably_as_it_speaks(peer):
    subscriptions, heard = LiveSubscriptions(peer.node), []
    wanted = {TOPIC: (Image, lambda message: heard.append(message))}
    follow = lambda: subscriptions.follow(wanted)  # noqa: E731
    follow()
    assert peer.spin_until(lambda: asked_for(peer) == [ReliabilityPolicy.BEST_EFFORT])
    reliable = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
    publisher = peer.node.create_publisher(Image, TOPIC, reliable)
    assert peer.spin_until(lambda: asked_for(peer) == [ReliabilityPolicy.RELIABLE], do=follow)
    # It goes and nobody knows what will come: what there is stays.
    peer.node.destroy_publisher(publisher)
    assert peer.spin_until(lambda: not peer.node.count_publishers(TOPIC))
    follow()
    assert asked_for(peer) == [ReliabilityPolicy.RELIABLE]
    publisher = peer.node.create_publisher(Image, TOPIC, qos_profile_sensor_data)
    assert peer.spin_until(lambda: asked_for(peer) == [ReliabilityPolicy.BEST_EFFORT], do=follow)
    assert peer.spin_until(lambda: heard, do=lambda: publisher.publish(Image(width=7)))
    peer.node.destroy_publisher(publisher)
    subscriptions.follow({})
    assert peer.spin_until(lambda: asked_for(peer) == [])


def test_a_topic_that_changes_its_type_is_subscribed_to_anew(peer):
    subscriptions, heard = LiveSubscriptions(peer.node), []
    take = lambda message: heard.append(message)  # noqa: E731
    subscriptions.follow({TOPIC: (Image, take)})
    subscriptions.follow({TOPIC: (CompressedImage, take)})
    publisher = peer.node.create_publisher(CompressedImage, TOPIC, 1)
    message = CompressedImage(format="jpeg")
    assert peer.spin_until(lambda: heard, do=lambda: publisher.publish(message))
    subscriptions.follow({})
    peer.node.destroy_publisher(publisher)
