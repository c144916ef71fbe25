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

"""A recorded drive through a room: colour, depth of another camera, a lidar, odometry on TF."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from box_scene import before_boxes, enter_and_leave
from motion_depth import TF_TYPE, transforms_message
from rclpy.serialization import serialize_message
from recording_files import FIRST_NS, PERIOD_NS, header_at
from room_depth import ROOM, room_depth, room_picture
from sensor_msgs.msg import Image, PointCloud2

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.ros.convert.camera_info import camera_to_info
from depthrefl_ros.ros.convert.clouds import cloud_message
from depthrefl_ros.tools.recording_writer import RecordingWriter

BOXES = [((2.5, -0.6, 0.0), (3.0, 0.1, 0.8)), ((3.5, 0.8, 0.0), (4.2, 1.5, 1.4))]
COLOUR = Camera.from_horizontal_fov(160, 120, 1.1)
DEPTH = Camera.from_horizontal_fov(128, 96, 1.3)
BASE_FROM_COLOUR = Pose.from_mount(0.5, 0.1, 0.02, 0.2)
BASE_FROM_DEPTH = Pose.from_mount(0.53, 0.08, 0.0, 0.2, 0.06)
BASE_FROM_LIDAR = Pose(np.eye(3), np.array([0.0, 0.0, 0.7]))


def odometry(seconds: float) -> Pose:
    """Return odom_from_base: half a metre a second ahead, and a slow turn."""
    turn = 0.3 * seconds
    rotation = [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    return Pose(np.array(rotation), np.array([0.5 * seconds, 0.0, 0.0]))


def tf_message(parent: str, child: str, pose: Pose, time_ns: int) -> bytes:
    return transforms_message([(parent, child, pose)], time_ns)


def image(number: int, frame: str, pixels: np.ndarray, encoding: str) -> Image:
    header = header_at(number)
    header.frame_id = frame
    height, width = pixels.shape[:2]
    message = Image(header=header, height=height, width=width, encoding=encoding)
    message.step = pixels.strides[0]
    message.data = pixels.tobytes()
    return message


def lidar_cloud(odom_from_lidar: Pose) -> PointCloud2:
    """Return a turn of 16 rings, in the lidar's frame: x ahead, z up."""
    around, up = np.meshgrid(np.linspace(-np.pi, np.pi, 720), np.radians(np.linspace(-15, 15, 16)))
    rays = [np.cos(up) * np.cos(around), np.cos(up) * np.sin(around), np.sin(up)]
    directions = np.stack(rays, -1).reshape(-1, 3)
    turned = directions @ odom_from_lidar.rotation.T

    _, reach = enter_and_leave(turned, odom_from_lidar.translation, ROOM)
    reach = before_boxes(reach, turned, odom_from_lidar.translation, BOXES)
    points = directions * reach[:, None]
    return cloud_message(points.astype(np.float32), ("x", "y", "z"))


@dataclass
class Drive:
    """What a drive records.

    Attributes:
        count: of images, 20 a second.
        with_depth: raw depth of a second camera.
        with_lidar: clouds, between the stamps of the images.
        with_odometry: odom -> base_footprint on /tf.
        with_mounts: base_footprint -> sensors on /tf_static.
    """

    count: int = 8
    with_depth: bool = True
    with_lidar: bool = False
    with_odometry: bool = True
    with_mounts: bool = True

    def colour_pose(self, number: int) -> Pose:
        """Return odom_from_camera of an image."""
        return odometry(number * PERIOD_NS / 1e9) @ BASE_FROM_COLOUR

    def true_depth(self, number: int) -> np.ndarray:
        """Return what the colour camera saw."""
        return room_depth(self.colour_pose(number), BOXES, COLOUR)

    def write(self, path: Path) -> Path:
        """Write the recording."""
        writer = RecordingWriter(path)
        for topic, kind in self._topics().items():
            writer.add_topic(topic, kind, is_latched=topic == "/tf_static")
        if self.with_mounts:
            mounts = {"colour": BASE_FROM_COLOUR, "depth": BASE_FROM_DEPTH}
            for frame, pose in {**mounts, "lidar": BASE_FROM_LIDAR}.items():
                message = tf_message("base_footprint", frame, pose, FIRST_NS)
                writer.write("/tf_static", FIRST_NS, message)
        for number in range(self.count):
            for topic, message in self._messages(number):
                data = message if isinstance(message, bytes) else serialize_message(message)
                writer.write(topic, FIRST_NS + number * PERIOD_NS, data)
        writer.close()
        return path

    def _topics(self) -> dict[str, str]:
        topics = {
            "/colour/image_raw": "sensor_msgs/msg/Image",
            "/colour/camera_info": "sensor_msgs/msg/CameraInfo",
        }
        if self.with_depth:
            topics["/depth/image_rect_raw"] = "sensor_msgs/msg/Image"
            topics["/depth/camera_info"] = "sensor_msgs/msg/CameraInfo"
        if self.with_lidar:
            topics["/lidar/points"] = "sensor_msgs/msg/PointCloud2"
        if self.with_mounts:
            topics["/tf_static"] = TF_TYPE
        if self.with_odometry:
            topics["/tf"] = TF_TYPE
        return topics

    def _messages(self, number: int):
        seconds = number * PERIOD_NS / 1e9
        if self.with_odometry:
            for part in (0, 0.5):  # 40 Hz
                time_ns = FIRST_NS + round((number + part) * PERIOD_NS)
                pose = odometry((number + part) * PERIOD_NS / 1e9)
                yield "/tf", tf_message("odom", "base_footprint", pose, time_ns)
        header = header_at(number)
        header.frame_id = "colour"
        pose = self.colour_pose(number)
        pixels = room_picture(pose, self.true_depth(number), COLOUR)
        yield "/colour/camera_info", camera_to_info(COLOUR, header)
        yield "/colour/image_raw", image(number, "colour", pixels, "rgb8")
        if self.with_depth:
            depth = room_depth(odometry(seconds) @ BASE_FROM_DEPTH, BOXES, DEPTH)
            header = header_at(number)
            header.frame_id = "depth"
            yield "/depth/camera_info", camera_to_info(DEPTH, header)
            millimetres = np.rint(1000 * depth).astype(np.uint16)
            yield "/depth/image_rect_raw", image(number, "depth", millimetres, "16UC1")
        if self.with_lidar:
            late_ns = 20_000_000
            cloud = lidar_cloud(odometry(seconds + late_ns / 1e9) @ BASE_FROM_LIDAR)
            cloud.header = header_at(number)
            cloud.header.stamp.nanosec += late_ns
            cloud.header.frame_id = "lidar"
            yield "/lidar/points", cloud


def error_of(depth_m: np.ndarray, truth_m: np.ndarray) -> np.ndarray:
    """Return relative error of the pixels that have depth."""
    known = depth_m > 0
    return np.abs(depth_m[known] / truth_m[known] - 1)
