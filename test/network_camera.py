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

"""A camera of a converted network's own size, before the real node over DDS.

The node hands such images on as they are, so that what it says must be what the network says.
"""

from __future__ import annotations

import signal
from array import array
from contextlib import contextmanager

import cv2
import numpy as np
from conftest import RunningProcess
from lifecycle_msgs.msg import Transition
from node_harness import TenHertzHarness, scene, start_node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image, PointCloud2

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.ros.convert.camera_info import camera_to_info
from depthrefl_ros.ros.convert.clouds import cloud_to_points

_PARAMETERS = {
    "camera_height": 0.5,
    "scale_correction": "reference_depth",
    "diagnostics_period": 0.1,
    "temporal_smoothing": 0.0,
    "output_size": "network",
}


class NetworkCamera(TenHertzHarness):
    """A camera of the network's own size, so that the node hands its pixels on as they are.

    Attributes:
        camera: of the images.
        depth_m: (H, W) float32 that a depth camera beside it sees; None for no depth camera.
    """

    camera = depth_m = None

    def __init__(self, process: RunningProcess):
        super().__init__(process)
        self.depths = self.node.create_publisher(Image, "reference_depth", 5)
        self.marking, self.points = (
            self.collect(PointCloud2, topic, qos_profile_sensor_data)
            for topic in ("points/marking", "points")
        )

    def image(self):
        height, width = self.picture.shape[:2]
        message = Image(height=height, width=width, encoding="rgb8", step=3 * width)
        message.header, message.data = self.header(), array("B", self.picture.tobytes())
        if self.depth_m is not None:
            depth = Image(height=height, width=width, encoding="32FC1", step=4 * width)
            depth.header, depth.data = message.header, array("B", self.depth_m.tobytes())
            self.depths.publish(depth)
        return message

    def info(self, header):
        return camera_to_info(self.camera, header)

    def seen(self) -> np.ndarray:
        """Return depth (n,) metres of the newest cloud's points, NaN where unknown."""
        return cloud_to_points(self.points[-1], "points")[:, 2] if self.points else np.empty(0)

    def check(self, bundle, network, licence: str) -> None:
        """Check that the node has the network's depth in ``points`` and marks some of it.

        Args:
            bundle: of the network; its ``sky``, where there is one, must be empty.
            network: bytes (1, H, W, 3) to its plane (1, 1, H, W), by the public class.
            licence: that the node must tell.
        """
        width, height = bundle.width, bundle.height
        focal_px = 0.8 * width
        centre = ((width - 1) / 2, (height - 1) / 2)
        self.camera = Camera.pinhole(width, height, focal_px, focal_px, *centre)
        # Smooth, so that there are few edges.
        self.picture = cv2.resize(scene(), (width, height))[..., ::-1].copy()
        truth, self.depth_m = network(self.picture[None])[0, 0], None
        if bundle.kind == "canonical":
            truth = truth * np.float32(focal_px / bundle.focal_px)
        elif bundle.kind == "inverse_relative":
            self.depth_m = truth = np.float32(1.0 / (0.15 * truth + 0.1))
        self.take_up(str(bundle.folder))
        for received in (self.marking, self.points):
            received.clear()
        seen = self.spin_until(
            lambda: any(one.width for one in self.marking) and np.isfinite(self.seen()).any(),
            timeout=20,
            period=0.1,
            do=self.send,
        )
        assert seen, (self.values(), self.process.output())
        terms = f"{licence} (commercial use: {bundle.commercial}); {bundle.origin}"
        assert f"model {bundle.name}: {terms}" in self.process.output()
        found = self.seen().reshape(height, width)
        error = np.abs(found / cv2.medianBlur(truth, 3) - 1.0)[np.isfinite(found)]
        assert len(error) > 50 and np.percentile(error, 95) < 0.005, np.percentile(error, (50, 95))

    def take_up(self, model: str) -> None:
        """Bring the running node up with another model."""
        for number in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP):
            assert self.transition(number)
        assert self.set("model", model) == ""
        for number in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            assert self.transition(number)


@contextmanager
def running_node(folder):
    """Give the camera of a running node, which takes up one network after the other."""
    node = NetworkCamera(start_node(folder / "log.txt", **_PARAMETERS))
    try:
        node.wait_for("active")
        yield node
    finally:
        node.close()
        node.process.stop(signal.SIGINT)
