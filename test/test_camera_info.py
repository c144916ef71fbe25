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

"""CameraInfo to Camera and back."""

import copy

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, RegionOfInterest
from std_msgs.msg import Header

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.ros.convert.camera_info import camera_from_info, camera_to_info, info_key
from depthrefl_ros.ros.convert.images import MessageError


def camera_info():
    message = CameraInfo(width=640, height=480, distortion_model="plumb_bob")
    message.d = [0.1, -0.05, 0.001, 0.002, 0.0]
    message.k = [500.0, 0, 320, 0, 510, 240, 0, 0, 1]
    message.r = [1.0, 0, 0, 0, 1, 0, 0, 0, 1]
    message.p = [490.0, 0, 321, 0, 0, 505, 241, 0, 0, 0, 1, 0]
    message.roi.x_offset, message.roi.width, message.roi.height = 2, 320, 480
    message.binning_x = message.binning_y = 2
    return message


def test_camera_info_round_trip():
    message = camera_info()
    camera = camera_from_info(message, "/camera_info")
    assert (camera.K[1, 1], camera.P[0, 2], camera.roi.x_offset) == (510, 321, 2)
    again = camera_to_info(camera, Header(frame_id="optical"))
    assert again.header.frame_id == "optical"
    assert info_key(again) == info_key(message)


def test_info_key_ignores_the_header_and_nothing_else():
    message = camera_info()
    key = info_key(message)
    message.header.stamp.sec = 5
    assert info_key(message) == key
    for change in (
        {"width": message.width + 1},
        {"height": message.height + 1},
        {"distortion_model": "equidistant"},
        {"d": [*message.d[:-1], message.d[-1] + 1e-6]},
        {"k": [*message.k[:-1], 2.0]},
        {"r": [*message.r[:-1], 2.0]},
        {"p": [*message.p[:-1], 2.0]},
        {"binning_x": 1},
        {"binning_y": 1},
        {"roi": RegionOfInterest(x_offset=1)},
    ):
        other = copy.deepcopy(message)
        for name, value in change.items():
            setattr(other, name, value)
        assert info_key(other) != key, change


@pytest.mark.parametrize(
    "field, value, complaint",
    [
        ("k", [0.0] * 9, "K is all zero"),
        ("k", [float("nan")] * 9, "K is .*nan"),
        ("width", 0, "0x480"),
        ("distortion_model", "warped", "'warped'"),
    ],
)
def test_bad_camera_info_is_refused_with_the_topic(field, value, complaint):
    message = camera_info()
    setattr(message, field, value)
    with pytest.raises(MessageError, match=f"/camera_info: .*{complaint}"):
        camera_from_info(message, "/camera_info")


def test_camera_to_info_of_a_pinhole_has_no_distortion():
    message = camera_to_info(Camera.pinhole(64, 48, 50, 51, 31.5, 23.5), Header())
    assert not any(message.d)
    np.testing.assert_array_equal(message.p[:4], [50, 0, 31.5, 0])


def test_where_images_are_rectified_nothing_is_asked_of_the_rotation():
    message = camera_info()
    message.r = [1.0] * 9
    with pytest.raises(MessageError, match="R is"):
        camera_from_info(message, "/camera_info")
    found = camera_from_info(message, "/camera_info", is_rectified=True)
    np.testing.assert_array_equal(found.R, np.eye(3))


def test_a_rectified_stream_may_have_a_projection_alone():
    message = camera_info()
    message.k = [0.0] * 9
    with pytest.raises(MessageError, match="K is all zero.*image_is_rectified"):
        camera_from_info(message, "/camera_info")
    found = camera_from_info(message, "/camera_info", is_rectified=True)
    np.testing.assert_array_equal(found.K, found.P[:, :3])
    assert not found.D.any() and found.cx == 321
