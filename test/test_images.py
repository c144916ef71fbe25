"""Images that come in and go out, byte by byte."""

import sys
from array import array

import cv2
import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CompressedImage, Image

from depthrefl_ros.ros.convert import encodings
from depthrefl_ros.ros.convert.images import (
    ImageBuffer,
    MessageError,
    compressed_image_to_array,
    image_to_array,
    write_millimetres,
)

TOPIC = "/camera/image_raw"
HEIGHT, WIDTH = 6, 8
COLOURS = {"rgb8": "rgb", "bgr8": "bgr", "rgba8": "rgba", "bgra8": "bgra"}


def image_message(encoding, pixels, step=None, big_endian=False):
    """An Image with rows of ``pixels`` bytes padded to ``step`` with a byte that is in no pixel."""
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(pixels.shape[0], -1)
    step = step or rows.shape[1]
    padded = np.full((rows.shape[0], step), 255, np.uint8)
    padded[:, : rows.shape[1]] = rows
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding, step=step)
    message.is_bigendian = int(big_endian)
    message.data = array("B", padded.tobytes())
    return message


def random_pixels(*shape):
    return np.random.default_rng(7).integers(0, 255, shape, np.uint8)


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


def bayer_mosaic(pattern, colour_bgr, dtype=np.uint8):
    """What a sensor of this pattern sees of one even colour."""
    plane = {"r": colour_bgr[2], "g": colour_bgr[1], "b": colour_bgr[0]}
    mosaic = np.empty((HEIGHT, WIDTH), dtype)
    for index, letter in enumerate(pattern):
        mosaic[index // 2 :: 2, index % 2 :: 2] = plane[letter]
    return mosaic


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


def test_without_cv_bridge_opencv_converts_what_it_knows(without_cv_bridge):
    pixels = random_pixels(HEIGHT, WIDTH, 2)
    image, _ = image_to_array(image_message("yuv422", pixels), TOPIC)
    np.testing.assert_array_equal(image, cv2.cvtColor(pixels, cv2.COLOR_YUV2BGR_UYVY))
    with pytest.raises(MessageError, match="nv21.*cannot be imported.*known without it.*rgb8"):
        image_to_array(image_message("nv21", pixels[..., 0]), TOPIC)


@pytest.mark.parametrize(
    "change, complaint",
    [
        ({"encoding": "rgb9"}, "encoding is 'rgb9'.*cannot convert.*rgb8"),
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


def compressed_message(extension, picture, parameters=()):
    data = cv2.imencode(extension, picture, list(parameters))[1]
    return CompressedImage(format=extension[1:], data=array("B", data.tobytes()))


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


@pytest.mark.parametrize(
    "extension, complaint",
    [(".jpg", "bytes and no JPEG end marker: the picture was cut short"), (".png", "bytes")],
)
def test_pictures_cut_short_are_refused(extension, complaint):
    message = compressed_message(extension, random_pixels(48, 64, 3))
    message.data = message.data[: len(message.data) // 2]
    found = f"{TOPIC}: data of format .* has {len(message.data)} {complaint}"
    with pytest.raises(MessageError, match=found):
        compressed_image_to_array(message, TOPIC)


@pytest.mark.parametrize("data", [b"", b"no picture", b"\xff\xd8\xff\xd9"])
def test_data_that_are_no_picture_are_refused(data):
    message = CompressedImage(format="jpeg", data=array("B", data))
    with pytest.raises(MessageError, match="'jpeg'"):
        compressed_image_to_array(message, TOPIC)


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
