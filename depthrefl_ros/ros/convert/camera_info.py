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

"""CameraInfo to Camera and back (REP-104)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from depthrefl_ros.geometry.camera import Camera, CameraError, RegionOfInterest
from depthrefl_ros.ros.convert.encodings import MessageError

if TYPE_CHECKING:  # files of recordings are read without ROS
    from sensor_msgs.msg import CameraInfo
    from std_msgs.msg import Header


def info_key(message: CameraInfo) -> tuple:
    """Return what makes two messages describe the same camera: everything but the header."""
    roi = message.roi
    return (
        message.width,
        message.height,
        message.distortion_model,
        bytes(message.d),
        message.k.tobytes(),
        message.r.tobytes(),
        message.p.tobytes(),
        message.binning_x,
        message.binning_y,
        (roi.x_offset, roi.y_offset, roi.height, roi.width),
    )


def camera_from_info(message: CameraInfo, topic: str, is_rectified: bool = False) -> Camera:
    """Return the camera that a CameraInfo describes (REP-104).

    Args:
        message: from a driver or a recording.
        topic: for errors.
        is_rectified: its images are rectified, so P alone will do where K was never filled.

    Raises:
        MessageError: a field cannot be true; names the topic, the field and its value.
    """
    roi = message.roi
    K, D = np.array(message.k).reshape(3, 3), np.array(message.d)
    if is_rectified and not K.any():
        K, D = np.array(message.p).reshape(3, 4)[:, :3], np.zeros(0)
    try:
        return Camera(
            width=message.width,
            height=message.height,
            K=K,
            D=D,
            # What is rectified is turned already.
            R=np.zeros((3, 3)) if is_rectified else np.array(message.r).reshape(3, 3),
            P=np.array(message.p).reshape(3, 4),
            distortion_model=message.distortion_model,
            binning_x=message.binning_x,
            binning_y=message.binning_y,
            roi=RegionOfInterest(roi.x_offset, roi.y_offset, roi.height, roi.width),
        )
    except CameraError as error:
        raise MessageError(f"{topic}: {error}") from error


def camera_to_info(camera: Camera, header: Header) -> CameraInfo:
    """Return the CameraInfo message of a camera, with this header."""
    from sensor_msgs.msg import CameraInfo

    message = CameraInfo(header=header, width=camera.width, height=camera.height)
    message.distortion_model = camera.distortion_model
    message.d = camera.D.tolist()
    message.k = camera.K.ravel()
    message.r = camera.R.ravel()
    message.p = camera.P.ravel()
    message.binning_x = camera.binning_x
    message.binning_y = camera.binning_y
    message.roi.x_offset = camera.roi.x_offset
    message.roi.y_offset = camera.roi.y_offset
    message.roi.height = camera.roi.height
    message.roi.width = camera.roi.width
    return message
