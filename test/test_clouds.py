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

"""Clouds that come in and go out, byte by byte."""

import struct
import sys
from array import array

import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import PointCloud2, PointField

from depthrefl_ros.ros.convert.clouds import CloudBuffer, cloud_message, cloud_to_points
from depthrefl_ros.ros.convert.images import MessageError

FIELDS = ("x", "y", "z", "confidence")


def test_a_cloud_of_any_number_of_points_reads_back():
    points = np.random.default_rng(3).random((5, 4), np.float32)
    message = deserialize_message(serialize_message(cloud_message(points, FIELDS)), PointCloud2)
    assert (message.height, message.width, message.row_step) == (1, 5, 80)
    assert message.is_dense and [field.name for field in message.fields] == list(FIELDS)
    np.testing.assert_array_equal(cloud_to_points(message, "/points"), points[:, :3])


def test_an_empty_cloud_is_a_whole_message():
    message = cloud_message(np.zeros((0, 4), np.float32), FIELDS)
    assert (message.height, message.width, message.point_step, len(message.data)) == (1, 0, 16, 0)
    assert cloud_to_points(message, "/points").shape == (0, 3)


def test_an_organised_cloud_has_the_fields_that_are_wanted():
    buffer = CloudBuffer(2, 3, ("x", "y", "z"))
    buffer.points[...] = np.arange(18, dtype=np.float32).reshape(2, 3, 3)
    assert (buffer.message.point_step, buffer.message.row_step) == (12, 36)
    points = cloud_to_points(buffer.message, "/points")
    np.testing.assert_array_equal(points, np.arange(18).reshape(6, 3))


def strange_cloud(**changes) -> PointCloud2:
    """Doubles in big-endian order behind a leading field, with padded rows; z comes first."""
    kind = np.dtype(
        {
            "names": ["intensity", "z", "x", "y"],
            "formats": [">f4", ">f8", ">f8", ">f8"],
            "offsets": [0, 4, 12, 20],
            "itemsize": 32,
        }
    )
    rows = np.zeros((2, 3), kind)
    for number, name in enumerate("xyz"):
        rows[name] = 100 * number + np.arange(6).reshape(2, 3)
    message = PointCloud2(height=2, width=3, point_step=32, row_step=100, is_bigendian=True)
    for name in kind.names:
        real = PointField.FLOAT32 if name == "intensity" else PointField.FLOAT64
        message.fields.append(PointField(name=name, offset=kind.fields[name][1], datatype=real))
    message.data = array("B", b"".join(row.tobytes() + bytes(4) for row in rows))
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def test_clouds_of_other_makers_are_read():
    points = cloud_to_points(strange_cloud(), "/lidar")
    assert points.dtype == np.float32
    np.testing.assert_array_equal(points, [[n, 100 + n, 200 + n] for n in range(6)])


@pytest.mark.parametrize(
    "changes, complaint",
    [
        ({"data": array("B", bytes(150))}, "data has 150 bytes; 3x2 points .* need 184"),
        # Sizes that no memory holds are refused before any is taken.
        ({"width": 2**31, "height": 1}, "data has 200 bytes; 2147483648x1 points .* need"),
        ({"width": 2**32 - 1, "height": 2**32 - 1}, "row_step is 100 bytes; 4294967295 points"),
        ({"width": 2**32 - 1, "point_step": 0}, "point_step is 0 bytes; .* 'x' .* at least 20"),
        ({"height": 2**32 - 1, "row_step": 0}, "row_step is 0 bytes; 3 points .* at least 96"),
        ({"point_step": 27}, "point_step is 27 bytes; a point whose 'y' is at 20 needs .* 28"),
        ({"fields": []}, "field 'x' is missing"),
        ({"fields": [PointField(name="x", datatype=PointField.INT16)]}, "field 'x' is of type 3"),
    ],
)
def test_clouds_that_cannot_be_read_are_named(changes, complaint):
    with pytest.raises(MessageError, match=f"/lidar: {complaint}"):
        cloud_to_points(strange_cloud(**changes), "/lidar")


def filled_cloud():
    buffer = CloudBuffer(2, 3)
    buffer.points[..., :3] = np.arange(18, dtype=np.float32).reshape(2, 3, 3)
    buffer.points[0, 1, :3] = np.nan
    bgra = np.array([30, 20, 10, 255], np.uint8)
    buffer.points[..., 3] = bgra.view(np.float32)
    return buffer


def test_cloud_reads_back_as_structured_numpy():
    message = filled_cloud().message
    assert (message.height, message.width, message.point_step, message.row_step) == (2, 3, 16, 48)
    assert not message.is_dense and message.is_bigendian == (sys.byteorder == "big")
    formats = {PointField.FLOAT32: "f4"}
    layout = {
        "names": [field.name for field in message.fields],
        "formats": [formats[field.datatype] for field in message.fields],
        "offsets": [field.offset for field in message.fields],
        "itemsize": message.point_step,
    }
    points = np.frombuffer(message.data, np.dtype(layout)).reshape(2, 3)
    np.testing.assert_array_equal(points["x"][1], [9, 12, 15])
    assert np.isnan(points["y"][0, 1])
    (packed,) = struct.unpack("I", struct.pack("f", points["rgb"][0, 0]))
    assert (packed >> 16 & 255, packed >> 8 & 255, packed & 255) == (10, 20, 30)


def test_cloud_reads_back_by_sensor_msgs_py():
    point_cloud2 = pytest.importorskip(
        "sensor_msgs_py.point_cloud2", reason="sensor_msgs_py is not installed"
    )
    points = point_cloud2.read_points(filled_cloud().message, skip_nans=True)
    assert points.dtype.names == ("x", "y", "z", "rgb")
    assert len(points) == 5
    np.testing.assert_array_equal(points["z"], [2, 8, 11, 14, 17])
