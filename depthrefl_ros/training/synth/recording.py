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

"""Writes camera frames with true depth as one MCAP file that ROS 2 and Foxglove open."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from depthrefl_ros.geometry.camera import Camera

FRAME_ID = "camera_optical_frame"
START_S = 1_735_689_600  # 2025-01-01 00:00 UTC: fixed, so that a recording comes out the same
METADATA_VERSION = 8
IMAGE, INFO = "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/CameraInfo"
IMAGE_TOPIC = "/camera/image_raw/compressed"
INFO_TOPIC = "/camera/camera_info"
DEPTH_TOPIC = "/camera/depth_truth/compressed"
TOPICS = {IMAGE_TOPIC: IMAGE, INFO_TOPIC: INFO, DEPTH_TOPIC: IMAGE}

_STORE = get_typestore(Stores.ROS2_JAZZY)


def write_recording(
    path: str | Path, frames: Iterable[tuple[bytes, bytes, Camera]], rate_hz: float = 10.0
) -> int:
    """Write an MCAP file; one that exists is replaced once the new one is complete.

    Args:
        path: of the .mcap file.
        frames: for each, the JPEG's bytes, the bytes of a 16-bit PNG of depth in millimetres
            along the optical axis (0 unknown), and the camera.
        rate_hz: how far apart the frames' stamps are.

    Returns:
        The number of frames.

    Raises:
        ValueError: there are no frames.
        OSError: the file cannot be written.
    """
    path, count = Path(path), 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        folder = Path(scratch) / path.stem  # rosbag2 writes a folder with the file in it
        with Writer(folder, version=METADATA_VERSION, storage_plugin=StoragePlugin.MCAP) as writer:
            topics = {
                topic: writer.add_connection(topic, kind, typestore=_STORE)
                for topic, kind in TOPICS.items()
            }
            for count, frame in enumerate(frames, start=1):
                stamp_ns = START_S * 10**9 + round((count - 1) * 1e9 / rate_hz)
                for topic, message in _messages(frame, stamp_ns).items():
                    data = _STORE.serialize_cdr(message, TOPICS[topic])
                    writer.write(topics[topic], stamp_ns, data)
        if count == 0:
            raise ValueError(f"{path}: no frames to write; at least one is needed")
        os.replace(folder / f"{path.stem}.mcap", path)
    return count


def _messages(frame: tuple[bytes, bytes, Camera], stamp_ns: int) -> dict[str, object]:
    """Return the message for each topic of one frame."""
    types = _STORE.types
    jpeg, depth_png, camera = frame
    stamp = types["builtin_interfaces/msg/Time"](stamp_ns // 10**9, stamp_ns % 10**9)
    header = types["std_msgs/msg/Header"](stamp, FRAME_ID)

    def compressed(form: str, data: bytes) -> object:
        return types[IMAGE](header, form, np.frombuffer(data, np.uint8))

    info = types[INFO](
        header=header,
        height=camera.height,
        width=camera.width,
        distortion_model="plumb_bob",
        d=np.zeros(5),
        k=camera.K.ravel(),
        r=np.eye(3).ravel(),
        p=np.hstack([camera.K, np.zeros((3, 1))]).ravel(),
        binning_x=0,
        binning_y=0,
        roi=types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False),
    )
    return {  # the formats are those that image_transport's compressed plugin writes
        INFO_TOPIC: info,
        IMAGE_TOPIC: compressed("bgr8; jpeg compressed bgr8", jpeg),
        DEPTH_TOPIC: compressed("16UC1; png compressed ", depth_png),
    }
