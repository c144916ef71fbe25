"""compressedDepth: what image_transport's subscribers make of it, and what is read of recordings.

``subscriber`` is the other side, written from the format alone: header, PNG, inverse depth.
"""

import struct
import zlib

import numpy as np
import pytest
from recording_files import image_message, info_message, write_recording
from sensor_msgs.msg import CompressedImage

from depthrefl_ros.ros.convert.compressed_depth import (
    METRES,
    MILLIMETRES,
    MessageError,
    compressed_depth_to_metres,
    encode_metres,
    encode_millimetres,
)
from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.recordings import Recording, depth_from_message


def png_rows(png: bytes) -> np.ndarray:
    """(H, W) uint16 of a 16 bit grey PNG, by the PNG specification alone."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    place, packed = 8, b""
    while place < len(png):
        (length,), kind = struct.unpack_from(">I", png, place), png[place + 4 : place + 8]
        content = png[place + 8 : place + 8 + length]
        if kind == b"IHDR":
            width, height, bits, colour, *_, interlaced = struct.unpack(">IIBBBBB", content)
            assert (bits, colour, interlaced) == (16, 0, 0)
        elif kind == b"IDAT":
            packed += content
        place += 12 + length
    rows = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, 1 + 2 * width)
    out = np.zeros((height + 1, 2 * width + 2), np.int64)  # a row and a pixel of zeros before
    for number, (method, *values) in enumerate(rows.tolist(), 1):
        for column, value in enumerate(values, 2):
            left, above = out[number, column - 2], out[number - 1, column]
            corner = out[number - 1, column - 2]
            guess = left + above - corner
            paeth = min((left, above, corner), key=lambda one: abs(guess - one))
            predicted = (0, left, above, (left + above) // 2, paeth)[method]
            out[number, column] = (value + predicted) % 256
    return (out[1:, 2::2] * 256 + out[1:, 3::2]).astype(np.uint16)


def subscriber(data: bytes, encoding: str) -> np.ndarray:
    """What compressed_depth_image_transport's subscriber hands on of such a message."""
    _method, a, b = struct.unpack("<iff", data[:12])
    plane = png_rows(data[12:])
    if encoding == "16UC1":
        return plane
    metres = np.full(plane.shape, np.nan, np.float32)
    metres[plane > 0] = np.float32(a) / (plane[plane > 0].astype(np.float32) - np.float32(b))
    return metres


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
    read = compressed_depth_to_metres(message(data, METRES), "/d")
    np.testing.assert_array_equal(read, subscriber(data, "32FC1"))
    # As the plugin writes it by default: 10 m, quantisation 100, values cut and not rounded.
    a = np.float32(100.0 * 101.0)
    b = np.float32(1.0) - a / np.float32(10.0)
    header = struct.pack("<iff", 0, a, b)
    foreign = header + encode_millimetres((a / DEPTH[:, :2] + b).astype(np.uint16))[12:]
    for described in (METRES, "32FC1; compressedDepth", "32FC1"):
        read = compressed_depth_to_metres(message(foreign, described), "/d")
        np.testing.assert_allclose(read, DEPTH[:, :2], rtol=1.1e-3)
    plane = np.array([[0, 1500]], np.uint16)
    read = compressed_depth_to_metres(message(encode_millimetres(plane), MILLIMETRES), "/d")
    np.testing.assert_array_equal(read, np.array([[np.nan, 1.5]], np.float32))


@pytest.mark.parametrize(
    "described, cut, complaint",
    [
        ("32FC1; compressedDepth rvl", None, "'32FC1; compressedDepth rvl'.*as png is needed"),
        ("bgr8; compressedDepth png", None, "16UC1 or 32FC1 as png is needed"),
        (METRES, 40, "has 40 bytes; 12 of a header and a 16 bit PNG"),
        (METRES, 0, "has 0 bytes; 12 of a header"),
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
            format=METRES,
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
