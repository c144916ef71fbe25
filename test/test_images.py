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

"""Raw images that come in and go out, byte by byte."""

import sys
from array import array

import cv2
import numpy as np
import pytest
from image_messages import HEIGHT, TOPIC, WIDTH, bayer_mosaic, image_message, random_pixels
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image

from depthrefl_ros.ros.convert import encodings
from depthrefl_ros.ros.convert.encodings import SensorBits
from depthrefl_ros.ros.convert.images import (
    ImageBuffer,
    MessageError,
    depth_image_to_metres,
    image_to_array,
    write_millimetres,
)

COLOURS = {"rgb8": "rgb", "bgr8": "bgr", "rgba8": "rgba", "bgra8": "bgra"}


@pytest.mark.parametrize("padding", [0, 1, 13])
@pytest.mark.parametrize("encoding", COLOURS)
def test_colours_are_exact_views(encoding, padding):
    pixels = random_pixels(HEIGHT, WIDTH, len(COLOURS[encoding]))
    message = image_message(encoding, pixels, pixels[0].size + padding)
    image, channels = image_to_array(message, TOPIC)
    assert channels == COLOURS[encoding]
    np.testing.assert_array_equal(image, pixels)
    assert np.shares_memory(image, np.frombuffer(message.data, np.uint8))
    # OpenCV reads the rows where they lie.
    np.testing.assert_array_equal(cv2.flip(image, 0), pixels[::-1])


@pytest.mark.parametrize("padding", [0, 5])
def test_mono8_is_an_exact_view(padding):
    pixels = random_pixels(HEIGHT, WIDTH)
    message = image_message("mono8", pixels, WIDTH + padding)
    image, channels = image_to_array(message, TOPIC)
    assert channels == "mono" and image.shape == (HEIGHT, WIDTH)
    np.testing.assert_array_equal(image, pixels)
    assert np.shares_memory(image, np.frombuffer(message.data, np.uint8))


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("encoding, channels", [("mono16", 1), ("rgb16", 3), ("bgra16", 4)])
def test_of_16_bits_the_high_byte_is_taken(encoding, channels, order, padding):
    shape = (HEIGHT, WIDTH) if channels == 1 else (HEIGHT, WIDTH, channels)
    values = np.random.default_rng(3).integers(0, 65536, shape).astype(f"{order}u2")
    message = image_message(encoding, values, WIDTH * 2 * channels + padding, order == ">")
    image, _ = image_to_array(message, TOPIC)
    np.testing.assert_array_equal(image, values >> 8)


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize(
    "encoding, code",
    [
        ("yuv422", cv2.COLOR_YUV2BGR_UYVY),
        ("uyvy", cv2.COLOR_YUV2BGR_UYVY),
        ("yuv422_yuy2", cv2.COLOR_YUV2BGR_YUY2),
        ("yuyv", cv2.COLOR_YUV2BGR_YUY2),
    ],
)
def test_yuv_which_old_cv_bridge_does_not_know(encoding, code, padding):
    pixels = random_pixels(HEIGHT, WIDTH, 2)
    image, channels = image_to_array(image_message(encoding, pixels, WIDTH * 2 + padding), TOPIC)
    assert channels == "bgr"
    np.testing.assert_array_equal(image, cv2.cvtColor(pixels, code))


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_gives_the_colour_that_was_seen(pattern, padding):
    colour = (200, 90, 30)
    mosaic = bayer_mosaic(pattern, colour)
    message = image_message(f"bayer_{pattern}8", mosaic, WIDTH + padding)
    image, channels = image_to_array(message, TOPIC)
    assert channels == "bgr"
    assert (image[2:-2, 2:-2] == colour).all()


@pytest.mark.parametrize("order", ["<", ">"])
def test_bayer_of_16_bits_which_old_cv_bridge_cannot_convert(order):
    colour = (200, 90, 30)
    mosaic = bayer_mosaic("rggb", [256 * value + 17 for value in colour], f"{order}u2")
    message = image_message("bayer_rggb16", mosaic, big_endian=order == ">")
    image, _ = image_to_array(message, TOPIC)
    assert (image[2:-2, 2:-2] == colour).all()


def test_bayer_agrees_with_cv_bridge_where_it_can():
    cv_bridge = pytest.importorskip("cv_bridge", reason="cv_bridge is not installed")
    message = image_message("bayer_rggb8", random_pixels(HEIGHT, WIDTH))
    image, _ = image_to_array(message, TOPIC)
    np.testing.assert_array_equal(image, cv_bridge.CvBridge().imgmsg_to_cv2(message, "bgr8"))


@pytest.fixture
def without_cv_bridge(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv_bridge", None)
    encodings._bridge.cache_clear()
    yield
    encodings._bridge.cache_clear()


def test_an_unknown_encoding_without_cv_bridge_is_refused_with_those_that_are_known(
    without_cv_bridge,
):
    message = image_message("yuv420", random_pixels(HEIGHT, WIDTH))
    with pytest.raises(MessageError, match="yuv420.*cannot be imported.*known without it.*rgb8"):
        image_to_array(message, TOPIC)


# Every constant of sensor_msgs/image_encodings.hpp (Rolling, with Humble's and Jazzy's).
CHANNEL_TYPES = ("8UC", "8SC", "16UC", "16SC", "32SC", "32FC", "64FC")
ALL_ENCODINGS = (
    *("rgb8", "rgba8", "rgb16", "rgba16", "bgr8", "bgra8", "bgr16", "bgra16", "mono8", "mono16"),
    *(f"{kind}{count}" for kind in CHANNEL_TYPES for count in (1, 2, 3, 4)),
    *(f"bayer_{one}{bits}" for one in ("rggb", "bggr", "gbrg", "grbg") for bits in (8, 16)),
    *("uyvy", "yuv422", "yuyv", "yuv422_yuy2", "nv12", "nv21", "nv24"),
)
REFUSED = {
    "8UC2": "two channels are no colour",
    "16UC2": "two channels are no colour",
    **{f"{bits}SC{n}": "no known black and white" for bits in (8, 16, 32) for n in (1, 2, 3, 4)},
    **{f"{bits}FC{n}": "no known white" for bits in (32, 64) for n in (1, 2, 3, 4)},
}


@pytest.mark.parametrize("encoding", ALL_ENCODINGS)
def test_every_encoding_of_sensor_msgs_is_read_or_refused_with_the_reason(encoding):
    step = 8 * 4 * WIDTH  # enough for four channels of 64 bits
    message = Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=step)
    message.data = array("B", bytes(3 * step * HEIGHT))
    if encoding in REFUSED:
        with pytest.raises(MessageError, match=f"{TOPIC}: encoding is {encoding!r}: .*") as error:
            image_to_array(message, TOPIC)
        assert REFUSED[encoding] in str(error.value) and "publish rgb8" in str(error.value)
        return
    image, channels = image_to_array(message, TOPIC)
    count = 1 if channels == "mono" else len(channels)
    assert image.shape == (HEIGHT, WIDTH, count)[: 2 if count == 1 else 3]
    assert image.dtype == np.uint8 and encoding in encodings.KNOWN_ENCODINGS


def colours() -> np.ndarray:
    """(24, 32, 3) uint8 BGR, even over blocks of 4x4 so that halving the colour loses nothing."""
    blocks = np.random.default_rng(5).integers(40, 215, (6, 8, 3), np.uint8)
    return blocks.repeat(4, axis=0).repeat(4, axis=1)


def planes_message(encoding: str, bgr: np.ndarray, padding: int = 0) -> Image:
    """Return the picture as a plane of brightness and one of colour."""
    height, width = bgr.shape[:2]
    i420 = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420).reshape(-1)
    size = height * width
    bright, blue, red = np.split(i420, [size, size * 5 // 4])
    pair = [plane.reshape(height // 2, width // 2) for plane in (blue, red)]
    if encoding == "nv21":
        pair.reverse()
    if encoding == "nv24":
        pair = [plane.repeat(2, axis=0).repeat(2, axis=1) for plane in pair]
    colour = np.stack(pair, axis=-1)
    colour = colour.reshape(len(colour), -1)
    rows = [np.pad(bright.reshape(height, width), ((0, 0), (0, padding)), constant_values=255)]
    extra = padding * colour.shape[1] // width
    rows.append(np.pad(colour, ((0, 0), (0, extra)), constant_values=255))
    message = Image(height=height, width=width, encoding=encoding, step=width + padding)
    message.data = array("B", b"".join(one.tobytes() for one in rows))
    return message


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("encoding", ["nv12", "nv21", "nv24"])
def test_pictures_of_two_planes(encoding, padding):
    bgr = colours()
    image, channels = image_to_array(planes_message(encoding, bgr, padding), TOPIC)
    assert channels == "bgr" and image.shape == bgr.shape
    assert np.abs(image.astype(int) - bgr).max() <= 3
    if encoding != "nv12":
        other, _ = image_to_array(planes_message("nv12", bgr), TOPIC)
        np.testing.assert_array_equal(image, other)


@pytest.mark.parametrize(
    "encoding, change, complaint",
    [
        ("nv12", {"height": 23}, "height is 23; nv12 holds pixels in pairs"),
        ("nv21", {"width": 31}, "width is 31"),
        ("nv12", {"data": array("B", bytes(32 * 24))}, "data has 768 .*12 rows of colour.*1152"),
        ("nv24", {"data": array("B", bytes(32 * 48))}, "needs 2304"),
    ],
)
def test_planes_that_are_not_whole_are_refused(encoding, change, complaint):
    message = planes_message(encoding, colours())
    for field, value in change.items():
        setattr(message, field, value)
    with pytest.raises(MessageError, match=complaint):
        image_to_array(message, TOPIC)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("encoding", ["mono16", "16UC1", "bayer_rggb16"])
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_bits_that_a_sensor_lacks_are_found_by_the_range(bits, encoding, order):
    values = (np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) * 97 % 256) << (bits - 8)
    values[0, 0] = (1 << bits) - 1
    message = image_message(encoding, values.astype(f"{order}u2"), big_endian=order == ">")
    image, _ = image_to_array(message, TOPIC)
    expected = (values >> (bits - 8)).astype(np.uint8)
    if encoding.startswith("bayer"):
        expected = encodings.demosaic(expected, encoding)
    np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("encoding", ["mono16", "bayer_rggb16", "rgb16"])
def test_one_pixel_changes_neither_the_picture_nor_those_that_follow(encoding):
    """12 bits of a camera: what is above them is white and no more."""
    count, bits = 3 if encoding == "rgb16" else 1, SensorBits()
    shape = (60, 80, count)[: 3 if count > 1 else 2]
    values = np.random.default_rng(1).integers(200, 4000, shape).astype("<u2")
    expected, _ = image_to_array(image_message(encoding, values), TOPIC, bits)
    faulty = values.copy()
    faulty[40, 50] = 65535
    image, _ = image_to_array(image_message(encoding, faulty), TOPIC, bits)
    np.testing.assert_array_equal(image[:38], expected[:38])
    assert image[40, 50].max() == 255
    again, _ = image_to_array(image_message(encoding, values), TOPIC, bits)
    np.testing.assert_array_equal(again, expected)


def test_a_camera_is_known_by_the_pictures_of_its_own_stream():
    bright = np.full((HEIGHT, WIDTH), 4000, np.uint16)
    dark = np.full((HEIGHT, WIDTH), 800, np.uint16)
    bits = SensorBits()
    messages = [image_message("mono16", one) for one in (bright, dark)]
    images = [image_to_array(message, TOPIC, bits)[0] for message in messages]
    assert [image[0, 0] for image in images] == [4000 >> 4, 800 >> 4]
    other, _ = image_to_array(image_message("mono16", dark), TOPIC)
    assert other[0, 0] == 800 >> 2


def test_what_goes_out_names_the_byte_order_that_it_has():
    message = ImageBuffer(2, 3, "32FC1", np.float32).message
    assert bool(message.is_bigendian) == (sys.byteorder == "big")


@pytest.mark.parametrize(
    "change, complaint",
    [
        ({"encoding": "rgb9"}, "encoding is 'rgb9'.*cv_bridge.*rgb8"),
        ({"width": 0}, "the image is 0x6"),
        ({"height": 0}, "the image is 8x0"),
        ({"step": 23}, "step is 23 bytes; 8 pixels of rgb8 need at least 24"),
        ({"step": 25}, "data has 144 bytes; step 25 x height 6 needs 150"),
        ({"data": array("B", bytes(143))}, "data has 143 bytes; .* needs 144"),
        ({"data": array("B")}, "data has 0 bytes"),
        ({"encoding": "yuv422", "width": 7}, "width is 7.*even"),
        ({"encoding": "bayer_rggb16", "step": 15}, "step is 15"),
    ],
)
def test_bad_images_are_refused_with_topic_field_and_value(change, complaint):
    message = image_message("rgb8", random_pixels(HEIGHT, WIDTH, 3))
    for field, value in change.items():
        setattr(message, field, value)
    with pytest.raises(MessageError, match=f"{TOPIC}: .*{complaint}"):
        image_to_array(message, TOPIC)


def test_buffers_are_written_in_place_and_serialised_each_time():
    buffer = ImageBuffer(2, 3, "32FC1", np.float32)
    data = buffer.message.data
    for value in (1.5, np.inf):
        buffer.pixels[...] = value
        received = deserialize_message(serialize_message(buffer.message), Image)
        assert (received.encoding, received.step) == ("32FC1", 12)
        assert (np.frombuffer(received.data, np.float32) == value).all()
    assert buffer.message.data is data


def test_preview_buffer_has_three_channels():
    buffer = ImageBuffer(2, 3, "bgr8", np.uint8, 3)
    assert buffer.pixels.shape == (2, 3, 3) and buffer.message.step == 9


def test_millimetres_round_and_what_is_unknown_is_0():
    depth = np.array([[1.2344, 1.2346, 65.535, 65.6], [np.nan, np.inf, -np.inf, 0.0]], np.float32)
    out = np.full(depth.shape, 7, np.uint16)
    write_millimetres(depth, out)
    assert out.tolist() == [[1234, 1235, 65535, 0], [0, 0, 0, 0]]
    assert np.isnan(depth[1, 0])  # which is somebody else's


def depth_message(values, encoding, big=False, padding=0) -> Image:
    kind = np.dtype((">" if big else "<") + ("f4" if encoding == "32FC1" else "u2"))
    rows = np.ascontiguousarray(values.astype(kind)).view(np.uint8)
    rows = np.pad(rows.reshape(len(values), -1), ((0, 0), (0, padding)))
    height, width = values.shape
    message = Image(height=height, width=width, encoding=encoding, step=rows.shape[1])
    message.is_bigendian = int(big)
    message.data = array("B", rows.tobytes())
    return message


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("padding", [0, 5])
def test_depth_is_read_in_metres(big, padding):
    millimetres = np.array([[0, 1500, 65535], [1, 2, 3]], np.uint16)
    metres = depth_image_to_metres(depth_message(millimetres, "16UC1", big, padding), "depth")
    assert metres.dtype == np.float32 and np.isnan(metres[0, 0])
    assert metres[0, 1:] == pytest.approx([1.5, 65.535])
    floats = np.array([[0.5, np.nan], [np.inf, 2.0]], np.float32)
    found = depth_image_to_metres(depth_message(floats, "32FC1", big, padding), "depth")
    np.testing.assert_array_equal(found, floats)


@pytest.mark.parametrize(
    "changes, complaint",
    [
        ({"encoding": "bgr8"}, "depth: encoding is 'bgr8'; a depth image of 16UC1"),
        ({"step": 3}, "depth: step is 3 bytes; 3 pixels of 16UC1 need at least 6"),
        ({"height": 4}, "depth: data has 12 bytes; step 6 x height 4 needs 24"),
        ({"width": 0}, "depth: the image is 0x2"),
    ],
)
def test_a_depth_image_that_cannot_be_one_is_named(changes, complaint):
    message = depth_message(np.ones((2, 3), np.uint16), "16UC1")
    for name, value in changes.items():
        setattr(message, name, value)
    with pytest.raises(MessageError, match=complaint):
        depth_image_to_metres(message, "depth")
