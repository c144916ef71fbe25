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

"""A pipeline with a real engine, camera, robot and publishers, and what somebody gets of it."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterator

import numpy as np
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.openvino_engine import OpenVinoEngine
from depthrefl_ros.estimator import DepthEstimator
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.ros.camera_lookup import CameraLookup
from depthrefl_ros.ros.convert.camera_info import camera_to_info
from depthrefl_ros.ros.diagnostics import Diagnostics
from depthrefl_ros.ros.intake import Received
from depthrefl_ros.ros.loaded_model import FrameSettings
from depthrefl_ros.ros.obstacle_publisher import ObstaclePublisher
from depthrefl_ros.ros.parameters import Parameters
from depthrefl_ros.ros.pipeline import Pipeline
from depthrefl_ros.ros.publishers import CLEARING, MARKING, SCAN, TYPES, Publishers
from depthrefl_ros.ros.robot import Robot
from depthrefl_ros.ros.transforms import open_tf2_buffer
from depthrefl_ros.settings import changed

BUNDLE = Bundle.load("indoor_tiny")
WIDTH, HEIGHT = 160, 120
FRAME = "camera_optical_frame"
COSTMAP = (MARKING, CLEARING, SCAN)


def stamped(seconds: float, frame_id: str = FRAME) -> Header:
    header = Header(frame_id=frame_id)
    header.stamp.sec = int(seconds)
    header.stamp.nanosec = round(1e9 * (seconds - int(seconds)))
    return header


class Bench:
    """One pipeline; ``received`` has what came, by topic."""

    def __init__(self, peer, engines, topics, open_buffer, bundle=BUNDLE, **changes):
        self.peer, self.bundle = peer, bundle
        self._engines = engines
        self.node = LifecycleNode("bench")
        self.diagnostics = Diagnostics()
        self.diagnostics.log_to(self.node.get_logger())
        self.cameras = CameraLookup("/camera_info")
        self.publishers = Publishers(self.node, self.diagnostics)
        self.node.trigger_configure()
        self.node.trigger_activate()
        self.robot = Robot(self.node, open_buffer)
        self.obstacles = ObstaclePublisher(self.publishers)
        self.set(**changes)
        self.estimator = DepthEstimator(engines[0], bundle)
        self.first = []
        self.pipeline = Pipeline(
            self.estimator,
            self.cameras,
            self.robot,
            self.publishers,
            self.obstacles,
            self.diagnostics,
            self.node.get_clock(),
            "/image",
            self.first.append,
        )
        self.received = {
            topic: peer.collect(TYPES[topic], topic, qos_profile_sensor_data) for topic in topics
        }
        assert peer.spin_until(lambda: self.publishers.wanted() == frozenset(topics))

    def fail(self, fails: bool):
        """Let the engine fail, or work again."""
        self.estimator.engine = self._engines[fails]

    def set(self, **changes):
        """Change the settings of the frames that come from now on."""
        self.settings = FrameSettings.of(changed(Parameters(), changes), self.bundle)

    def give_camera(self, width=WIDTH, height=HEIGHT):
        camera = Camera.pinhole(width, height, 125, 125, (width - 1) / 2, (height - 1) / 2)
        self.cameras.add(camera_to_info(camera, Header()))

    def frame(self, waited_s=0.0, **changes) -> Received:
        message = Image(height=HEIGHT, width=WIDTH, encoding="mono8", step=WIDTH)
        message.header.frame_id = FRAME
        for name, value in changes.items():
            setattr(message, name, value)
        pixels = np.arange(message.height * message.step, dtype=np.uint8)
        if "data" not in changes:
            message.data = array("B", pixels.tobytes())
        return Received(message, time.monotonic() - waited_s, self.settings)

    def process(self, waited_s=0.0, **changes) -> dict[str, int]:
        self.pipeline.process(self.frame(waited_s, **changes))
        return self.diagnostics.counts()

    def newest(self, seconds: int) -> dict:
        """Return the messages with this stamp, by topic; each topic must have one."""

        def of_stamp(messages):
            return [one for one in messages if one.header.stamp.sec == seconds]

        assert self.peer.spin_until(lambda: all(map(of_stamp, self.received.values())))
        return {topic: of_stamp(messages)[-1] for topic, messages in self.received.items()}

    def widths(self) -> dict[str, int]:
        """Return how many messages came so far, by topic."""
        self.peer.spin_until(lambda: False, 0.2)
        return {topic: len(messages) for topic, messages in self.received.items()}

    def status(self):
        return self.diagnostics.status("depthrefl", "active", "")

    def values(self) -> dict[str, str]:
        return {item.key: item.value for item in self.status().values}

    def close(self):
        self.publishers.close()
        self.robot.close()
        self.node.destroy_node()


def open_engines() -> Iterator[tuple[OpenVinoEngine, OpenVinoEngine]]:
    """Give one that works and one that fails; the body of a fixture."""
    working, closed = OpenVinoEngine(BUNDLE, 1), OpenVinoEngine(BUNDLE, 1)
    closed.close()
    yield working, closed
    working.close()


def open_benches(peer, engines) -> Iterator[Callable[..., Bench]]:
    """Give what makes a bench with a camera, to whose topics somebody listens; as above."""
    benches = []

    def make(*topics, open_buffer=open_tf2_buffer, **changes) -> Bench:
        benches.append(Bench(peer, engines, topics, open_buffer, **changes))
        benches[-1].give_camera()
        return benches[-1]

    yield make
    for bench in benches:
        bench.close()
