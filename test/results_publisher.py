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

"""What the node publishes, and its camera, for the tests of ``record``."""

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.qos import QoSProfile, ReliabilityPolicy
from recording_files import HEIGHT, WIDTH, info_message, picture
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header

from depthrefl_ros.ros.convert.clouds import CloudBuffer
from depthrefl_ros.ros.convert.images import ImageBuffer

FRAMES = 12


class ResultsPublisher:
    """Publishes what the node publishes: depth 2 m everywhere, a cloud and a preview."""

    def __init__(self, node):
        reliable = QoSProfile(depth=FRAMES, reliability=ReliabilityPolicy.RELIABLE)
        self.publishers = {
            topic: node.create_publisher(kind, topic, reliable)
            for topic, kind in (
                ("/results/depth/camera_info", CameraInfo),
                ("/results/depth/image", Image),
                ("/results/points", PointCloud2),
                ("/results/depth/preview", Image),
                ("/results/points/marking", PointCloud2),
                ("/results_camera/camera_info", CameraInfo),
                ("/results_camera/image_raw", Image),
            )
        }
        self.diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", 1)
        self.clock = node.get_clock()

    def publish(self, number: int) -> None:
        header = Header(frame_id="camera_optical_frame", stamp=self.clock.now().to_msg())
        depth = ImageBuffer(HEIGHT, WIDTH, "32FC1", np.float32)
        depth.pixels[:] = 2.0
        depth.pixels[0] = np.nan
        preview = ImageBuffer(HEIGHT, WIDTH, "bgr8", np.uint8, 3)
        preview.pixels[:] = picture(number)
        cloud = CloudBuffer(HEIGHT, WIDTH)
        cloud.points[..., :3] = (0.5, 1.0, 2.0)
        cloud.points[0] = np.nan
        info = info_message(number)
        results = (info, depth.message, cloud.message, preview.message, cloud.message)
        messages = (*results, info, preview.message)
        for publisher, message in zip(self.publishers.values(), messages, strict=True):
            message.header = header
            publisher.publish(message)
        values = [KeyValue(key="engine", value="none"), KeyValue(key="model", value="fake")]
        self.diagnostics.publish(DiagnosticArray(status=[DiagnosticStatus(values=values)]))

    def are_heard(self) -> bool:
        return all(publisher.get_subscription_count() for publisher in self.publishers.values())
