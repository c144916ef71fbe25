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

"""Small recordings and folders for the tests of the tools."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import yaml
from builtin_interfaces.msg import Time
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.ros.convert.camera_info import camera_to_info
from depthrefl_ros.tools.recording_writer import RecordingWriter

WIDTH, HEIGHT = 64, 48
PERIOD_NS = 50_000_000
FIRST_NS = 1_000_000_000_000_000_000


def header_at(number: int) -> Header:
    seconds, nanoseconds = divmod(FIRST_NS + number * PERIOD_NS, 1_000_000_000)
    return Header(stamp=Time(sec=seconds, nanosec=nanoseconds), frame_id="camera_optical_frame")


def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Return (height, width, 3) uint8 BGR, smooth for JPEG's sake, another for every number."""
    y, x = np.mgrid[:height, :width]
    planes = (x * 255 / width, y * 255 / height, np.full_like(x, 20 * number % 256))
    return np.stack(planes, axis=-1).astype(np.uint8)


def image_message(number: int) -> Image:
    message = Image(header=header_at(number), height=HEIGHT, width=WIDTH, encoding="bgr8")
    message.step = 3 * WIDTH
    message.data = picture(number).tobytes()
    return message


def jpeg_message(number: int) -> CompressedImage:
    message = CompressedImage(header=header_at(number), format="bgr8; jpeg compressed bgr8")
    message.data = cv2.imencode(".jpg", picture(number))[1].tobytes()
    return message


def truth_message(number: int, metres: float) -> CompressedImage:
    message = CompressedImage(header=header_at(number), format="16UC1; png compressed")
    depth = np.full((HEIGHT, WIDTH), round(1000 * metres), np.uint16)
    depth[0] = 0
    message.data = cv2.imencode(".png", depth)[1].tobytes()
    return message


def info_message(number: int) -> CameraInfo:
    return camera_to_info(Camera.pinhole(WIDTH, HEIGHT, 60.0, 61.0, 31.5, 23.5), header_at(number))


def write_recording(path: Path, topics: dict[str, list]) -> Path:
    """Write messages by topic, in the order of their stamps."""
    writer = RecordingWriter(path)
    for topic, messages in topics.items():
        writer.add_topic(topic, f"sensor_msgs/msg/{type(messages[0]).__name__}")
    for number in range(max(len(messages) for messages in topics.values())):
        for topic, messages in topics.items():
            if number < len(messages):
                time_ns = FIRST_NS + number * PERIOD_NS
                writer.write(topic, time_ns, serialize_message(messages[number]))
    writer.close()
    return path


def camera_recording(path: Path, count: int, compressed: bool = True, truth_m: float = 0) -> Path:
    """Return a camera's images and camera info, and truth of ``truth_m`` everywhere, if given."""
    numbers = range(count)
    images = [jpeg_message(n) if compressed else image_message(n) for n in numbers]
    topics = {
        "/camera/image_raw" + ("/compressed" if compressed else ""): images,
        "/camera/camera_info": [info_message(n) for n in numbers],
    }
    if truth_m:
        topics["/camera/depth_truth/compressed"] = [truth_message(n, truth_m) for n in numbers]
    return write_recording(path, topics)


def image_folder(path: Path, count: int, with_intrinsics: bool = True) -> Path:
    """Return a plain folder, ``rgb/NNNN.png``, with intrinsics of its own for every image."""
    (path / "rgb").mkdir(parents=True)
    cameras = {}
    for number in range(count):
        cv2.imwrite(str(path / "rgb" / f"{number:04d}.png"), picture(number))
        camera = {"width": WIDTH, "height": HEIGHT, "fx": 50.0 + number, "fy": 51.0}
        cameras[f"{number:04d}"] = {**camera, "cx": 31.5, "cy": 23.5}
    if with_intrinsics:
        (path / "intrinsics.yaml").write_text(yaml.safe_dump({"images": cameras}))
    return path


def recording_with_one_bad(what: str, path: Path, camera: str) -> Path:
    """Write four images with their camera info; the third "image" or "camera info" is useless."""
    images, infos = [image_message(n) for n in range(4)], [info_message(n) for n in range(4)]
    if what == "image":
        images[2].data = images[2].data[:100]
    else:
        infos[2].k, infos[2].p = [0.0] * 9, [0.0] * 12
    return write_recording(path, {f"{camera}/camera_info": infos, f"{camera}/image_raw": images})
