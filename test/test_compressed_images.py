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

"""Compressed pictures: their colours, their bits, and those that were cut short."""

from array import array

import cv2
import numpy as np
import pytest
from image_messages import HEIGHT, TOPIC, WIDTH, bayer_mosaic, random_pixels
from sensor_msgs.msg import CompressedImage

from depthrefl_ros.ros.convert.encodings import SensorBits
from depthrefl_ros.ros.convert.images import (
    MessageError,
    compressed_image_to_array,
)


def compressed_message(extension, picture, parameters=()):
    data = cv2.imencode(extension, picture, list(parameters))[1]
    return CompressedImage(format=extension[1:], data=array("B", data.tobytes()))


@pytest.mark.parametrize(
    "codec, dtype",
    [(codec, np.uint8) for codec in ("png", "tiff", "jpeg")]
    + [(codec, np.uint16) for codec in ("png", "tiff")],
)
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_a_compressed_mosaic_gives_the_colour_that_was_seen(pattern, codec, dtype, request):
    bits = 8 * np.dtype(dtype).itemsize
    colour = (200, 90, 30)
    mosaic = np.tile(bayer_mosaic(pattern, [one << (bits - 8) for one in colour], dtype), (4, 4))
    message = compressed_message(f".{codec}", mosaic, JPEG_BEST if codec == "jpeg" else ())
    message.format = f"bayer_{pattern}{bits}; {codec} compressed "
    image, channels = compressed_image_to_array(message, request.node.name)
    assert channels == "bgr" and image.shape == (*mosaic.shape, 3)
    assert np.abs(image[4:-4, 4:-4].astype(int) - colour).max() <= (4 if codec == "jpeg" else 0)


JPEG_BEST = (cv2.IMWRITE_JPEG_QUALITY, 100)


@pytest.mark.parametrize(
    "form, is_swapped",
    [
        ("bgr8; jpeg compressed bgr8", False),
        ("rgb8; jpeg compressed bgr8", False),
        ("rgba8; png compressed bgr8", False),
        ("nv12; jpeg compressed bgr8", False),
        ("bayer_rggb8; jpeg compressed bgr8", False),  # the plugin converted it
        ("rgb8; jpeg compressed rgb8", True),
        ("bgr8; tiff compressed ", False),
        ("rgb8; tiff compressed ", True),
        ("jpeg", False),
        ("jpg", False),
        ("rgb8; jpeg compressed", False),  # of a driver's own: JPEG as it is
        ("", False),
    ],
)
def test_the_format_says_the_order_of_colours(form, is_swapped):
    codec = next((one for one in ("tiff", "png") if one in form), "jpg")
    picture = np.full((16, 16, 3), (200, 90, 30), np.uint8)
    message = compressed_message(f".{codec}", picture)
    message.format = form
    image, _ = compressed_image_to_array(message, TOPIC)
    expected = (30, 90, 200) if is_swapped else (200, 90, 30)
    assert np.abs(image.astype(int) - expected).max() <= 3


def test_a_grey_picture_of_a_bayer_camera_is_no_mosaic():
    grey = compressed_message(".jpg", np.tile(np.uint8([[10, 240], [240, 10]]), (16, 16)))
    grey.format = "bayer_rggb8; jpeg compressed mono8"
    image, _ = compressed_image_to_array(grey, TOPIC)
    assert (image[..., 0] == image[..., 2]).all()


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_compressed_pictures_of_16_bits_use_those_that_are_there(bits):
    values = np.random.default_rng(1).integers(0, 1 << bits, (HEIGHT, WIDTH)).astype(np.uint16)
    values[0, 0] = (1 << bits) - 1
    message = compressed_message(".png", values)
    message.format = "mono16; png compressed "
    camera = SensorBits()
    image, _ = compressed_image_to_array(message, TOPIC, camera)
    np.testing.assert_array_equal(image[..., 1], values >> (bits - 8))
    dark = compressed_message(".png", values // 4)
    dark.format = message.format
    image, _ = compressed_image_to_array(dark, TOPIC, camera)
    np.testing.assert_array_equal(image[..., 1], values // 4 >> (bits - 8))


def test_compressed_depth_is_no_picture():
    message = CompressedImage(format="16UC1; compressedDepth png", data=array("B", bytes(20)))
    with pytest.raises(MessageError, match="of a depth image; a camera's picture is needed"):
        compressed_image_to_array(message, TOPIC)


def test_png_comes_back_exactly():
    picture = random_pixels(HEIGHT, WIDTH, 3)
    image, channels = compressed_image_to_array(compressed_message(".png", picture), TOPIC)
    assert channels == "bgr"
    np.testing.assert_array_equal(image, picture)


def test_jpeg_comes_back_and_grey_becomes_three_channels():
    picture = cv2.resize(random_pixels(3, 4), (64, 48), interpolation=cv2.INTER_LINEAR)
    image, _ = compressed_image_to_array(compressed_message(".jpg", picture), TOPIC)
    assert image.shape == (48, 64, 3)
    assert np.abs(image[..., 1].astype(int) - picture).mean() < 4


def smooth_picture() -> np.ndarray:
    return cv2.resize(random_pixels(9, 12, 3), (192, 144), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("extension", [".jpg", ".png", ".webp", ".bmp", ".tiff"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
def test_pictures_cut_short_are_refused(extension, share):
    message = compressed_message(extension, smooth_picture())
    message.data = message.data[: int(share * len(message.data))]
    with pytest.raises(MessageError, match=f"{TOPIC}: data of format .* {len(message.data)} bytes"):
        compressed_image_to_array(message, TOPIC)


@pytest.mark.parametrize("options", [(), (cv2.IMWRITE_JPEG_RST_INTERVAL, 4)])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_jpeg_that_was_closed_before_its_last_rows_is_refused(share, options):
    message = compressed_message(".jpg", smooth_picture(), options)
    message.data = message.data[: int(share * len(message.data))] + array("B", b"\xff\xd9")
    with pytest.raises(MessageError, match="without the last rows: the picture was cut short"):
        compressed_image_to_array(message, TOPIC)


@pytest.mark.parametrize("options", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)])
@pytest.mark.parametrize("lost", [60, 200, 500])
def test_a_jpeg_that_lacks_a_part_of_its_last_rows_is_refused(lost, options):
    message = compressed_message(".jpg", smooth_picture(), options)
    message.data = message.data[: -2 - lost] + array("B", b"\xff\xd9")
    with pytest.raises(MessageError, match="without the last rows: the picture was cut short"):
        compressed_image_to_array(message, TOPIC)


@pytest.mark.parametrize("options", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)])
def test_a_whole_jpeg_with_a_grey_corner_is_taken(options):
    picture = smooth_picture()
    picture[-20:, -20:] = 128
    image, _ = compressed_image_to_array(compressed_message(".jpg", picture, options), TOPIC)
    assert (image[-1, -1] == 128).all()


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_picture():
    thumbnail = cv2.imencode(".jpg", smooth_picture()[::8, ::8])[1].tobytes()
    message = compressed_message(".jpg", smooth_picture())
    data = message.data.tobytes()
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    message.data = array("B", data[:2] + segment + data[2 : len(data) // 2])
    with pytest.raises(MessageError, match="no end marker: the picture was cut short"):
        compressed_image_to_array(message, TOPIC)


def test_a_picture_with_a_border_of_one_colour_is_whole():
    picture = smooth_picture()
    picture[-40:] = 0
    image, _ = compressed_image_to_array(compressed_message(".jpg", picture), TOPIC)
    assert (image[-16:] == 0).all()


@pytest.mark.parametrize("data", [b"", b"no picture", b"\xff\xd8\xff\xd9"])
def test_data_that_are_no_picture_are_refused(data):
    message = CompressedImage(format="jpeg", data=array("B", data))
    with pytest.raises(MessageError, match="'jpeg'"):
        compressed_image_to_array(message, TOPIC)
