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

"""A robot that knows what a test tells it."""

from builtin_interfaces.msg import Time as Stamp
from sensor_msgs.msg import Imu
from std_msgs.msg import Header
from transform_buffer import TransformBuffer

from depthrefl_ros.ros.parameters import Parameters
from depthrefl_ros.ros.robot import Robot
from depthrefl_ros.settings import changed

FRAME, FOOTPRINT, BODY = "camera_optical_frame", "base_footprint", "base_link"
NOW_S = 50


def at_time(seconds: float) -> Stamp:
    return Stamp(sec=int(seconds), nanosec=round(1e9 * (seconds % 1)))


def header(seconds: float = NOW_S, frame_id: str = FRAME) -> Header:
    return Header(stamp=at_time(seconds), frame_id=frame_id)


class Bench:
    """A robot and what its TF knows: by (target, source) frame."""

    def __init__(self, node):
        self.known: dict = {}
        self.buffer = TransformBuffer(self.known)
        self.robot = Robot(node, self.buffer.open)

    def at(self, seconds: float = NOW_S, **changes):
        parameters = changed(Parameters(), changes)
        return self.robot.at(header(seconds), float(seconds), parameters)


def imu_message(acceleration, frame_id=FRAME, seconds: float = NOW_S) -> Imu:
    message = Imu(header=header(seconds, frame_id))
    vector = message.linear_acceleration
    vector.x, vector.y, vector.z = (float(value) for value in acceleration)
    return message
