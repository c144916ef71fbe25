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

"""The watcher of a node, against a stand-in whose camera is faster than its depth."""

import numpy as np
import pytest

pytest.importorskip("rclpy")

import rclpy
from sensor_msgs.msg import Image

from depthrefl_ros.tools.live_node import LiveNode

CAMERA = "/camera/image_raw"


def image(encoding, value):
    array = np.full((24, 32), value, np.float32 if encoding == "32FC1" else np.uint8)
    message = Image(height=24, width=32, encoding=encoding, step=array.strides[0])
    message.data = array.tobytes()
    return message


class Watched:
    """A node with the topics of ours, and one that watches it."""

    def __init__(self, peer, rate_hz):
        self.peer, self.moments, self.news = peer, [], []
        self.node = rclpy.create_node("depthrefl")
        self.node.create_subscription(Image, CAMERA, lambda message: None, 1)
        self.camera = self.node.create_publisher(Image, CAMERA, 1)
        self.depth = self.node.create_publisher(Image, "depth/image", 1)
        self.watcher = rclpy.create_node("watcher")
        self.live = LiveNode(self.watcher, "", rate_hz, self.moments.append, self.news.append)
        self.live.start()

    def close(self):
        self.live.close()
        self.watcher.destroy_node()
        self.node.destroy_node()

    def wait(self, condition, do):
        assert self.peer.spin_until(condition, 20.0, do=do)


@pytest.fixture
def watched(peer):
    watched = Watched(peer, rate_hz=1.0)
    yield watched
    watched.close()


def test_pictures_that_go_out_alone_take_no_turn_from_the_depth(watched):
    watched.live.watch("test", True)
    picture = lambda: watched.camera.publish(image("mono8", 100))  # noqa: E731
    listeners = lambda: watched.depth.get_subscription_count()  # noqa: E731
    watched.wait(lambda: watched.moments and listeners(), picture)
    # At one a second the next would be due only later.
    seen = len(watched.moments)
    watched.wait(lambda: len(watched.moments) > seen, picture)
    assert set(watched.moments[-1].parts) == {"camera"}
    watched.depth.publish(image("32FC1", 2.0))
    is_depth = lambda: "depth" in watched.moments[-1].parts  # noqa: E731
    watched.wait(is_depth, lambda: None)
    assert "camera" in watched.moments[-1].parts


def test_what_other_threads_ask_for_is_done_in_their_order(watched):
    listeners = lambda: watched.depth.get_subscription_count()  # noqa: E731
    for _ in range(5):
        watched.live.watch("test", False)
        watched.live.watch("test", True)
    watched.wait(listeners, lambda: None)
    for _ in range(5):
        watched.live.watch("test", True)
        watched.live.watch("test", False)
    watched.wait(lambda: not listeners(), lambda: None)
