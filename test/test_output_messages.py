"""Clouds and images that go out, and clouds that come in, byte by byte."""

from array import array

import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import PointCloud2, PointField

from depthrefl_ros.ros.messages import MessageError, cloud_to_points
from depthrefl_ros.ros.output_messages import CloudBuffer, cloud_message, write_millimetres

FIELDS = ("x", "y", "z", "confidence")


def test_millimetres_round_and_what_is_unknown_is_0():
    depth = np.array([[1.2344, 1.2346, 65.535, 65.6], [np.nan, np.inf, -np.inf, 0.0]], np.float32)
    out = np.full(depth.shape, 7, np.uint16)
    write_millimetres(depth, out)
    assert out.tolist() == [[1234, 1235, 65535, 0], [0, 0, 0, 0]]
    assert np.isnan(depth[1, 0])  # which is somebody else's


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
        ({"fields": []}, "field 'x' is missing"),
        ({"fields": [PointField(name="x", datatype=PointField.INT16)]}, "field 'x' is of type 3"),
    ],
)
def test_clouds_that_cannot_be_read_are_named(changes, complaint):
    with pytest.raises(MessageError, match=f"/lidar: {complaint}"):
        cloud_to_points(strange_cloud(**changes), "/lidar")
