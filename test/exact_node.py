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

"""A node whose network reads exact depth out of the images, and the camera that sends a box."""

import math
from array import array

import numpy as np
from box_scene import true_depth
from exact_bundle import encoded
from node_harness import Harness, start_node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image, LaserScan, PointCloud2

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.ros.convert.camera_info import camera_to_info

CAMERA = Camera.from_horizontal_fov(160, 128, 1.2)
HEIGHT_M, PITCH_DEG = 0.5, 15.0
MOUNT = Pose.from_mount(HEIGHT_M, math.radians(PITCH_DEG))
BOX = ((1.8, -0.3, 0.0), (2.2, 0.3, 0.4))
KINDS = {"points/marking": PointCloud2, "points/clearing": PointCloud2, "scan": LaserScan}


class BoxHarness(Harness):
    """Sends exact depth of a scene with a box."""

    def __init__(self, process, folder, **names):
        super().__init__(process=process, **names)
        self.folder = folder
        self.depth_m = true_depth(CAMERA, MOUNT, [BOX])
        self.nanosec = 0

    def image(self) -> Image:
        picture = encoded(self.depth_m)
        message = Image(height=CAMERA.height, width=CAMERA.width, encoding="rgb8")
        message.step, message.header = CAMERA.width * 3, self.header()
        message.data = array("B", picture.tobytes())
        return message

    def header(self):
        header = super().header()
        header.stamp.nanosec = self.nanosec
        return header

    def info(self, header):
        return camera_to_info(CAMERA, header)

    def collect_all(self) -> dict:
        return {
            topic: self.collect(kind, topic, qos_profile_sensor_data)
            for topic, kind in KINDS.items()
        }

    def see_the_box(self, received) -> None:
        """Send frames until a costmap has all three topics."""
        assert self.spin_until(lambda: all(received.values()), 20, do=self.send, period=0.1), (
            self.values(),
            self.process.output(),
        )
        self.spin_until(lambda: False, 0.5)


def is_silence(message) -> bool:
    if isinstance(message, LaserScan):
        return bool(np.isnan(message.ranges).all())
    return message.width == 0


def launched(kind, log, environment=None, **parameters):
    """Start a node; returns its harness, of a kind of ``BoxHarness``, at once."""
    return kind(start_node(log, environment, **parameters), log.parent)
