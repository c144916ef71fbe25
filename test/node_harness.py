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

"""The node under test as it looks from outside."""

from __future__ import annotations

from array import array
from pathlib import Path

import cv2
import numpy as np
from conftest import Peer, RunningProcess
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.ros.convert.camera_info import camera_to_info

WIDTH, HEIGHT = 320, 240
FRAME = "camera_optical_frame"
MODULE = "depthrefl_ros.ros.node"


def scene() -> np.ndarray:
    """Return a picture with smooth structure: (HEIGHT, WIDTH, 3) uint8."""
    coarse = np.random.default_rng(5).integers(0, 255, (6, 8, 3), np.uint8)
    return cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


class Harness(Peer):
    """The node under test seen from outside: its camera, its services, its diagnostics."""

    def __init__(
        self,
        node_name: str = "depthrefl",
        image_topic: str = "image",
        process: RunningProcess | None = None,
    ):
        super().__init__()
        self.node_name, self.process = node_name, process
        self.images = self.node.create_publisher(Image, image_topic, 1)
        self.pictures = self.node.create_publisher(CompressedImage, f"{image_topic}/compressed", 1)
        self.infos = self.node.create_publisher(CameraInfo, "camera_info", 1)
        self.arrays = self.collect(DiagnosticArray, "/diagnostics")
        self.stamp = 1000
        self.picture = scene()

    def header(self) -> Header:
        self.stamp += 1
        header = Header(frame_id=FRAME)
        header.stamp.sec = self.stamp
        return header

    def image(self) -> Image:
        message = Image(height=HEIGHT, width=WIDTH, encoding="bgr8", step=WIDTH * 3)
        message.header = self.header()
        message.data = array("B", self.picture.tobytes())
        return message

    def info(self, header: Header) -> CameraInfo:
        return camera_to_info(Camera.pinhole(WIDTH, HEIGHT, 250, 250, 159.5, 119.5), header)

    def send(self) -> None:
        image = self.image()
        self.infos.publish(self.info(image.header))
        self.images.publish(image)

    def values(self) -> dict[str, str]:
        """Return the newest diagnostic's values, its level and message beside them."""
        if not self.arrays:
            return {}
        (status,) = self.arrays[-1].status
        values = {item.key: item.value for item in status.values}
        return {**values, "level": status.level, "message": status.message}

    def number(self, name: str) -> int:
        return int(self.values().get(name, 0))

    def fresh_values(self) -> dict[str, str]:
        seen = len(self.arrays)
        assert self.spin_until(lambda: len(self.arrays) > seen + 1)
        return self.values()

    def wait_for(self, state: str) -> None:
        """Wait until the node is in a state of the lifecycle."""
        reached = self.spin_until(lambda: self.values().get("state") == state, 30)
        assert reached, self.process.output()

    def transition(self, number: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=number))
        return self.call(ChangeState, f"{self.node_name}/change_state", request).success

    def state(self) -> str:
        answer = self.call(GetState, f"{self.node_name}/get_state", GetState.Request())
        return answer.current_state.label

    def set(self, name: str, value) -> str:
        """Set a parameter; returns the reason of a refusal, or nothing."""
        types = {
            bool: ("bool_value", ParameterType.PARAMETER_BOOL),
            int: ("integer_value", ParameterType.PARAMETER_INTEGER),
            float: ("double_value", ParameterType.PARAMETER_DOUBLE),
            str: ("string_value", ParameterType.PARAMETER_STRING),
        }
        field, kind = types[type(value)]
        parameter = Parameter(name=name, value=ParameterValue(type=kind, **{field: value}))
        request = SetParameters.Request(parameters=[parameter])
        (result,) = self.call(SetParameters, f"{self.node_name}/set_parameters", request).results
        return "" if result.successful else result.reason or "refused"

    def next_of(self, messages: list, send=None):
        """Return the first message that comes after a frame sent now."""
        seen = self.stamp
        newer = lambda: [one for one in messages if one.header.stamp.sec > seen]  # noqa: E731
        # A busy machine takes its time to open the engine.
        assert self.spin_until(newer, 60.0, do=send or self.send), self.values()
        return newer()[-1]


class TenHertzHarness(Harness):
    """Stamps its images 0.1 s apart, as a camera of 10 Hz does."""

    def __init__(self, process: RunningProcess):
        super().__init__(process=process)
        self.tenths = 10_000

    def header(self) -> Header:
        self.tenths += 1
        header = super().header()
        header.stamp.sec, header.stamp.nanosec = self.tenths // 10, self.tenths % 10 * 10**8
        return header


def start_node(log: Path, environment=None, **parameters) -> RunningProcess:
    """Start a node with parameters, its output in a file."""
    arguments = ["--ros-args"]
    for name, value in parameters.items():
        arguments += ["-p", f"{name}:={value}"]
    return RunningProcess(log, MODULE, *arguments, environment=environment)


def depth_of(message: Image) -> np.ndarray:
    assert (message.encoding, message.step) == ("32FC1", 4 * message.width)
    return np.frombuffer(message.data, np.float32).reshape(message.height, message.width)
