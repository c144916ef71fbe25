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

"""compressedDepth: what image_transport makes of it, and what is read of recordings."""

import struct

import numpy as np
import pytest
from depth_subscriber import subscriber
from recording_files import image_message, info_message, write_recording
from sensor_msgs.msg import CompressedImage

from depthrefl_ros.ros.convert.images import (
    METRES_FORMAT,
    MILLIMETRES_FORMAT,
    MessageError,
    compressed_depth_to_metres,
    encode_metres,
    encode_millimetres,
)
from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.recordings import Recording, depth_from_message

DEPTH = np.array([[0.16, 0.5, 1.0, 2.345], [4.0, 9.99, 11.9, 3.0]], np.float32)


def test_metres_arrive_within_a_step_and_what_is_unknown_stays_so():
    depth = np.vstack([DEPTH, [[np.nan, np.inf, -np.inf, 12.0]], [[0.0, -1.0, 0.01, 5.0]]])
    received = subscriber(encode_metres(depth.astype(np.float32), 12.0), "32FC1")
    known = np.isfinite(received)
    assert known[:2].all() and not known[2].any() and known[3].tolist() == [False] * 3 + [True]
    step = depth[known] ** 2 / 10100
    assert (np.abs(received[known] - depth[known]) <= 0.51 * step + 1e-6).all()


def test_millimetres_arrive_exactly():
    plane = np.random.default_rng(1).integers(0, 65536, (13, 17)).astype(np.uint16)
    np.testing.assert_array_equal(subscriber(encode_millimetres(plane), "16UC1"), plane)


def message(data: bytes, described: str) -> CompressedImage:
    return CompressedImage(format=described, data=data)


def test_we_read_what_a_subscriber_reads():
    data = encode_metres(DEPTH, 12.0)
    read = compressed_depth_to_metres(message(data, METRES_FORMAT), "/d")
    np.testing.assert_array_equal(read, subscriber(data, "32FC1"))
    # As the plugin writes it by default: 10 m, quantisation 100, values cut and not rounded.
    a = np.float32(100.0 * 101.0)
    b = np.float32(1.0) - a / np.float32(10.0)
    header = struct.pack("<iff", 0, a, b)
    foreign = header + encode_millimetres((a / DEPTH[:, :2] + b).astype(np.uint16))[12:]
    for described in (METRES_FORMAT, "32FC1; compressedDepth", "32FC1"):
        read = compressed_depth_to_metres(message(foreign, described), "/d")
        np.testing.assert_allclose(read, DEPTH[:, :2], rtol=1.1e-3)
    plane = np.array([[0, 1500]], np.uint16)
    read = compressed_depth_to_metres(message(encode_millimetres(plane), MILLIMETRES_FORMAT), "/d")
    np.testing.assert_array_equal(read, np.array([[np.nan, 1.5]], np.float32))


@pytest.mark.parametrize(
    "described, cut, complaint",
    [
        ("32FC1; compressedDepth rvl", None, "'32FC1; compressedDepth rvl'.*as png is needed"),
        ("bgr8; compressedDepth png", None, "16UC1 or 32FC1 as png is needed"),
        (METRES_FORMAT, 40, "has 40 bytes; 12 of a header and a 16 bit PNG"),
        (METRES_FORMAT, 0, "has 0 bytes; 12 of a header"),
    ],
)
def test_what_cannot_be_read_is_named(described, cut, complaint):
    data = encode_metres(DEPTH, 12.0)[:cut]
    with pytest.raises(MessageError, match=f"^/d: .*{complaint}"):
        compressed_depth_to_metres(message(data, described), "/d")
    with pytest.raises(ToolError, match="^/d: "):
        depth_from_message(message(data, "32FC1; compressedDepth rvl"), "/d")


def test_a_recording_has_its_depth_and_camera_by_that_name(tmp_path):
    topic = "/camera/depth/image/compressedDepth"
    images = [image_message(number) for number in range(2)]
    depths = [
        CompressedImage(
            header=one.header,
            format=METRES_FORMAT,
            data=encode_metres(np.full((one.height, one.width), 2.0, np.float32), 10.0),
        )
        for one in images
    ]
    infos = [info_message(number) for number in range(2)]
    path = write_recording(
        tmp_path / "a.mcap",
        {"/camera/image_raw": images, topic: depths, "/camera/depth/camera_info": infos},
    )
    with Recording(path) as recording:
        assert recording.depth_topics() == [topic]
        assert recording.camera_info_topic(topic) == "/camera/depth/camera_info"
        depth = depth_from_message(recording.first(topic), topic)
    assert depth.shape == (48, 64) and np.abs(depth - 2.0).max() < 1e-3
