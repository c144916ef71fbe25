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

"""The shipped recording as a robot with one camera and odometry would have made it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from corridor_drive import DriveFrame, corridor_frames
from drive_recording import TF_TYPE, image, tf_message
from rclpy.serialization import serialize_message

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.ros.convert.camera_info import camera_to_info
from depthrefl_ros.tools.recording_writer import RecordingWriter
from depthrefl_ros.tools.recordings import stamp_ns

FRAME = "camera_optical_frame"


def corridor_recording(
    path: Path,
    frames: Sequence[DriveFrame] = (),
    with_odometry: bool = True,
    with_mounts: bool = True,
    camera: Camera | None = None,
    picture: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> Path:
    """Write what a robot with one camera and odometry records on its way.

    Args:
        path: of the recording.
        frames: one every 50 ms; by default those of ``corridor_frames``.
        with_odometry: odom -> base_footprint on /tf.
        with_mounts: it is the base's frame that is the floor, and otherwise another one.
        camera: of the images; by default the frames' own.
        picture: what the camera makes of a picture (H, W, 3) uint8.
    """
    base = "base_footprint" if with_mounts else "base_link"
    writer = RecordingWriter(path)
    writer.add_topic("/camera/image_raw", "sensor_msgs/msg/Image", is_latched=False)
    writer.add_topic("/camera/camera_info", "sensor_msgs/msg/CameraInfo", is_latched=False)
    writer.add_topic("/tf", TF_TYPE, is_latched=False)
    for number, frame in enumerate(frames or corridor_frames()):
        message = image(number, FRAME, picture(frame.rgb), "rgb8")
        info, now_ns = camera_to_info(camera or frame.camera, message.header), stamp_ns(message)
        writer.write("/tf", now_ns, tf_message(base, FRAME, frame.base_from_camera, now_ns))
        if with_odometry:
            writer.write("/tf", now_ns, tf_message("odom", base, frame.place.pose, now_ns))
        writer.write("/camera/camera_info", now_ns, serialize_message(info))
        writer.write("/camera/image_raw", now_ns, serialize_message(message))
    writer.close()
    return path
