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

"""A robot that drives: images and the transforms of its odometry over DDS, the latter late."""

import importlib.util
import signal
from array import array
from pathlib import Path

import pytest
from corridor_drive import PERIOD_S, corridor_frames
from geometry_msgs.msg import TransformStamped
from node_harness import FRAME, Harness, start_node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from transform_buffer import transform_of

from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.ros.convert.camera_info import camera_to_info

STAND_IN = Path(__file__).parent / "tf2_stand_in"
LATE_S = 0.04
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tf2_ros") is not None, reason="the stand-in would hide tf2"
)


class DrivingHarness(Harness):
    """Plays the shipped recording, and the robot's odometry a little after each image."""

    def __init__(self, process):
        super().__init__(process=process)
        self.tf = self.node.create_publisher(TransformStamped, "/tf", 100)
        self.frame = corridor_frames()[0]
        self.time_s = 1000.0

    def header(self):
        header = super().header()
        header.stamp.sec, header.stamp.nanosec = divmod(round(self.time_s * 1e9), 10**9)
        return header

    def image(self) -> Image:
        height, width = self.frame.true_m.shape
        message = Image(height=height, width=width, encoding="rgb8", step=3 * width)
        message.header, message.data = self.header(), array("B", self.frame.rgb.tobytes())
        return message

    def info(self, header):
        return camera_to_info(self.frame.camera, header)

    def stand(self, target: str, pose: Pose) -> None:
        message = transform_of(pose)
        message.header.frame_id, message.child_frame_id = target, FRAME
        message.header.stamp = self.header().stamp
        self.tf.publish(message)

    def drive(self, frame) -> None:
        self.time_s, self.frame = self.time_s + PERIOD_S, frame
        self.send()
        self.spin_until(lambda: False, LATE_S)
        self.stand("base_footprint", frame.base_from_camera)
        self.stand("odom", frame.odom_from_camera)
        self.spin_until(lambda: False, PERIOD_S - LATE_S)


@pytest.fixture
def node(ros, tmp_path):
    environment = {"PYTHONPATH": str(STAND_IN)}
    values = {
        "model": "indoor_nano",
        "scale_correction": "motion",
        "diagnostics_period": 0.1,
        "transform_timeout": 0.5,
    }
    harness = DrivingHarness(start_node(tmp_path / "log.txt", environment, **values))
    harness.wait_for("active")
    yield harness
    harness.close()
    assert harness.process.stop(signal.SIGTERM) == 0, harness.process.output()


def test_a_node_that_waits_for_late_odometry_tells_distances_by_motion(node):
    depths = node.collect(Image, "depth/image", qos_profile_sensor_data)
    first, *rest = corridor_frames()
    # TF knows the frames, and the first depth is out.
    assert node.spin_until(lambda: len(depths) > 2, 30, do=lambda: node.drive(first)), node.values()
    for frame in rest:
        node.drive(frame)
    told = lambda: int(node.values().get("motion", "0").split(" ")[0])  # noqa: E731
    assert node.spin_until(lambda: told() > 60, 5), node.values()
    assert "depth changed by" in node.values()["motion"]
    assert "motion cannot tell" not in node.values()["message"]
