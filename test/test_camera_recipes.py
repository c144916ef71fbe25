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

"""Each kind of camera: what its driver publishes reaches the node, as it is recorded there."""

import re
import threading
from array import array

import cv2
import numpy as np
import pytest
from conftest import ROOT
from diagnostic_msgs.msg import DiagnosticStatus
from node_harness import scene
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from depthrefl_ros import launch_files
from depthrefl_ros.camera_recipes import RECIPES
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.ros.convert.camera_info import camera_to_info
from depthrefl_ros.ros.node import DepthReflNode

# As drivers offer them by default, and what a user may have set.
BEST_EFFORT = ("v4l2_camera", "gscam")
ENCODINGS = {"v4l2_camera": "yuv422_yuy2", "zed": "bgra8", "realsense": "rgb8", "isaac_sim": "rgb8"}
K = np.array([[250.0, 0, 160], [0, 250.0, 120], [0, 0, 1]])
# A lens of which the driver tells, whether its images are rectified or not: P has its geometry.
LENS = Camera(320, 240, K, np.array([-0.2, 0.03, 0, 0, 0]),
              P=np.array([[230.0, 0, 158, 0], [0, 230.0, 121, 0], [0, 0, 1, 0]]))  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_topics_are_topics_and_a_parameter_names_an_argument(name):
    recipe = RECIPES[name]
    arguments = recipe.launch_arguments()
    for topic in ("image_topic", "camera_info_topic"):
        assert launch_files.topic(topic, arguments[topic]) == arguments[topic]
    declared = (ROOT / "launch" / "depthrefl.launch.py").read_text()
    assert all(f'"{one}": (' in declared for one in arguments)
    if recipe.driver is not None:
        assert bool(recipe.driver.executable) != bool(recipe.driver.launch_file)
        for value in recipe.driver.parameters.values():
            assert not str(value).startswith("{") or value in (
                "{video_device}",
                "{camera_info_url}",
            )


def test_the_page_on_cameras_has_a_row_for_each():
    text = (ROOT / "docs" / "cameras.md").read_text(encoding="utf-8")
    rows = {}
    for line in text.splitlines():
        if row := re.match(r"\| `camera:=(\w+)` \|(.*)\|$", line):
            rows[row[1]] = row[2]
    assert set(rows) == set(RECIPES)
    for name, row in rows.items():
        recipe = RECIPES[name]
        assert f"`{recipe.image_topic}`" in row and f"`{recipe.camera_info_topic}`" in row
        assert ("rectified" in row) == recipe.is_rectified
        assert ("`/clock`" in row) == recipe.uses_sim_time


class StandIn:
    """Publishes what a driver does, on its topics and with its QoS."""

    def __init__(self, peer, name, transport):
        recipe, node = RECIPES[name], peer.node
        qos = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
        if name in BEST_EFFORT:
            qos.reliability = ReliabilityPolicy.BEST_EFFORT
        self._name, self._recipe, self._transport = name, recipe, transport
        kind, end = (Image, "") if transport == "raw" else (CompressedImage, "/compressed")
        self._images = node.create_publisher(kind, recipe.image_topic + end, qos)
        self._infos = node.create_publisher(CameraInfo, recipe.camera_info_topic, qos)
        self._clock = node.create_publisher(Clock, "/clock", 10) if recipe.uses_sim_time else None
        self._node, self._seconds, self._picture = node, 1000, scene()

    def send(self):
        header = Header(frame_id=self._recipe.fixed_frame)
        header.stamp = self._node.get_clock().now().to_msg()
        if self._clock is not None:
            self._seconds += 1
            header.stamp.sec, header.stamp.nanosec = self._seconds, 0
            self._clock.publish(Clock(clock=header.stamp))
        self._infos.publish(camera_to_info(LENS, header))
        self._images.publish(self._image(header))

    def _image(self, header):
        if self._transport == "compressed":
            jpeg = cv2.imencode(".jpg", self._picture)[1].tobytes()
            return CompressedImage(header=header, format="bgr8; jpeg compressed bgr8", data=jpeg)
        encoding = ENCODINGS.get(self._name, "bgr8")
        pixels = {
            "bgr8": lambda: self._picture,
            "rgb8": lambda: self._picture[..., ::-1],
            "bgra8": lambda: cv2.cvtColor(self._picture, cv2.COLOR_BGR2BGRA),
            "yuv422_yuy2": lambda: cv2.cvtColor(self._picture, cv2.COLOR_BGR2YUV_YUY2),
        }[encoding]()
        message = Image(header=header, height=240, width=320, encoding=encoding)
        message.step = pixels.shape[1] * pixels.shape[2]
        message.data = array("B", np.ascontiguousarray(pixels).tobytes())
        return message


@pytest.fixture
def started(ros):
    """Start the node with ROS arguments, in this process, with a thread of its own."""
    executor, stopping = SingleThreadedExecutor(), threading.Event()
    nodes = []

    def spin():
        while not stopping.is_set():
            executor.spin_once(timeout_sec=0.1)

    thread = threading.Thread(target=spin)

    def start(*arguments):
        node = DepthReflNode(cli_args=["--ros-args", *arguments], use_global_arguments=False)
        nodes.append(node)
        executor.add_node(node)
        node.autostart()
        thread.start()
        return node

    yield start
    stopping.set()
    thread.join(10)
    executor.shutdown()
    for node in nodes:
        node.trigger_deactivate()
        node.trigger_cleanup()
        node.destroy_node()


def ros_arguments(name, transport) -> list[str]:
    """Return what depthrefl.launch.py makes of the recipe's arguments."""
    given = {**RECIPES[name].launch_arguments(), "image_transport": transport}
    arguments = ["-r", f"image:={given['image_topic']}"]
    arguments += ["-r", f"camera_info:={given['camera_info_topic']}"]
    for parameter in ("image_transport", "image_is_rectified", "use_sim_time"):
        arguments += ["-p", f"{parameter}:={given[parameter]}"]
    return arguments


@pytest.mark.parametrize(
    ("name", "transport"), [*((name, "raw") for name in RECIPES), ("bag", "compressed")]
)
def test_depth_comes_of_what_the_driver_publishes(started, peer, name, transport):
    quick = ("model:=indoor_nano", "engine:=openvino", "engine_threads:=1", "autostart:=true")
    parameters = [part for one in quick for part in ("-p", one)]
    node = started(*ros_arguments(name, transport), *parameters)
    driver = StandIn(peer, name, transport)
    depths = peer.collect(Image, "depth/image")
    infos = peer.collect(CameraInfo, "depth/camera_info")
    assert peer.spin_until(lambda: depths and infos, 40, do=driver.send), node.diagnostics.counts
    assert depths[-1].header.frame_id == RECIPES[name].fixed_frame
    # Rectified or not, what comes out has the geometry of P.
    assert infos[-1].k[0] == 230.0 and infos[-1].k[2] == 158.0 and not any(infos[-1].d)
    assert node.get_parameter("image_is_rectified").value == RECIPES[name].is_rectified
    assert node.diagnostics.status("", "", "").level == DiagnosticStatus.OK
