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

"""What a browser gets of one moment: pictures, distances, colours, marks."""

from array import array

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")

from recording_files import image_message, jpeg_message, picture
from sensor_msgs.msg import CompressedImage

from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.preview import colour_depth
from depthrefl_ros.ros.convert.clouds import cloud_message
from depthrefl_ros.ros.convert.encodings import SensorBits
from depthrefl_ros.ros.convert.images import ImageBuffer
from depthrefl_ros.ros.obstacle_publisher import FIELDS
from depthrefl_ros.tools.live_frame import (
    BEYOND_MM,
    MAX_WIDTH,
    ColourRange,
    cloud_confidence,
    depth_jpeg,
    depth_of,
    distances_mm,
    from_above,
    legend_colours,
    packed,
    picture_jpeg,
    unpacked,
)

MOUNT = Pose.from_mount(0.5)


def decoded(jpeg):
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)


def cloud(points):
    """Return a cloud in the camera's frame of points (x, y, z, confidence) in the base frame."""
    rows = np.asarray(points, np.float32).reshape(-1, 4)
    rows[:, :3] = MOUNT.inverse().apply(rows[:, :3])
    return cloud_message(rows, FIELDS)


def test_a_raw_picture_becomes_a_jpeg_with_the_right_colours():
    for encoding, order in (("bgr8", [0, 1, 2]), ("rgb8", [2, 1, 0])):
        message = image_message(3)
        message.encoding = encoding
        message.data = picture(3)[..., order].tobytes()
        shown = decoded(picture_jpeg(message, "image"))
        assert np.abs(shown.astype(int) - picture(3)).mean() < 4


def test_a_dark_picture_of_16_bits_keeps_the_brightness_of_its_camera():
    camera = SensorBits()
    for value in (4000, 800):
        message = image_message(0)
        message.encoding, message.step = "mono16", 2 * message.width
        values = np.full((message.height, message.width), value, "<u2")
        message.data = array("B", values.tobytes())
        shown = decoded(picture_jpeg(message, "image", camera))
    assert abs(int(shown[0, 0, 0]) - (800 >> 4)) < 3


def test_a_small_jpeg_goes_out_as_it_came_and_a_large_one_smaller():
    message = jpeg_message(2)
    assert picture_jpeg(message, "image") == bytes(message.data)
    noise = np.random.default_rng(0).integers(0, 255, (900, 1600, 3), np.uint8)
    large = CompressedImage(format="bgr8; jpeg compressed bgr8")
    large.data = cv2.imencode(".jpg", noise)[1].tobytes()
    shown = decoded(picture_jpeg(large, "image"))
    assert shown.shape == (360, MAX_WIDTH, 3)


def test_a_bayer_mosaic_is_not_shown_as_it_came():
    mosaic = CompressedImage(format="bayer_rggb8; jpeg compressed ")
    mosaic.data = cv2.imencode(".jpg", picture(1)[..., 0])[1].tobytes()
    assert decoded(picture_jpeg(mosaic, "image")).shape == picture(1).shape
    assert picture_jpeg(mosaic, "image") != bytes(mosaic.data)


def test_depth_is_read_and_coloured_like_the_preview():
    buffer = ImageBuffer(48, 64, "32FC1", np.float32)
    buffer.pixels[:] = np.linspace(0.6, 4.0, 64, dtype=np.float32)
    depth_m = depth_of(buffer.message)
    assert np.array_equal(depth_m, buffer.pixels)
    shown = decoded(depth_jpeg(depth_m, 0.5, 5.0)).astype(int)
    assert np.abs(shown - colour_depth(depth_m, 0.5, 5.0)).mean() < 8


def test_distances_tell_unknown_and_out_of_range_apart():
    depth_m = np.full((480, 640), 2.5, np.float32)
    depth_m[:240, :320] = np.nan
    depth_m[:240, 320:] = np.inf
    depth_m[240:, :320] = -np.inf
    grid = distances_mm(depth_m)
    assert grid.shape == (48, 64) and grid.dtype == np.dtype("<u2")
    assert (grid[0, 0], grid[0, 63], grid[47, 0], grid[47, 63]) == (0, BEYOND_MM, 1, 2500)


def test_the_range_of_colours_holds_what_is_seen_and_changes_seldom():
    colours, ranges = ColourRange(), []
    rng = np.random.default_rng(1)
    for number in range(40):
        far = 4.0 + 0.5 * np.sin(number)
        near_m, far_m = colours.follow(rng.uniform(0.8, far, (240, 320)).astype(np.float32))
        assert near_m <= 0.9 and far_m >= far * 0.97
        ranges.append((near_m, far_m))
    assert len(set(ranges)) <= 2
    near_m, far_m = colours.follow(np.full((240, 320), 12.0, np.float32))
    assert near_m <= 12.0 <= far_m and near_m < far_m
    assert colours.follow(np.full((240, 320), np.nan, np.float32)) == (near_m, far_m)


def test_a_scene_far_away_has_colours_too():
    for distance_m in (85.0, 130.0, 5000.0):
        depth_m = np.full((240, 320), distance_m, np.float32)
        near_m, far_m = ColourRange().follow(depth_m)
        assert near_m < far_m
        assert decoded(depth_jpeg(depth_m, near_m, far_m)).shape == (240, 320, 3)


def test_a_picture_of_one_row_keeps_it():
    message = image_message(0)
    message.encoding, message.height, message.width, message.step = "mono8", 1, 7000, 7000
    message.data = bytes(7000)
    assert decoded(picture_jpeg(message, "image")).shape[:2] == (1, 640)


def test_the_legend_begins_near_and_ends_far():
    colours = legend_colours()
    ends = [f"#{r:02x}{g:02x}{b:02x}" for b, g, r in colour_depth(np.float32([[1, 10]]), 1, 10)[0]]
    assert [colours[0], colours[-1]] == ends


def test_marks_and_rays_are_where_they_are_in_the_base_frame():
    marking = cloud([(2.02, 0.51, 0.4, 0.9), (2.03, 0.53, 0.9, 0.7), (1.01, -0.26, 0.3, 0.8)])
    clearing = cloud([(3.0, -1.0, 0.2, 0.5)])
    above = from_above(marking, clearing, MOUNT)
    cells = np.reshape(above["marks"], (-1, 2)).tolist()
    assert sorted(cells) == [[20, -6], [40, 10]]  # two returns in one cell are one mark
    assert above["ends"] == [300, -100] and above["camera"] == [0, 0]
    assert cloud_confidence(marking) == pytest.approx(0.8)


def test_nothing_marked_and_nothing_cleared_is_shown_as_such():
    nothing = cloud([])
    for clouds in ((nothing, nothing), (None, None)):
        assert from_above(*clouds, MOUNT) == {"marks": [], "ends": [], "camera": [0, 0]}
    assert cloud_confidence(nothing) is None


def test_rays_are_thinned():
    ends = [(4.0, y, 0.2, 0.5) for y in np.linspace(-2, 2, 5000)]
    above = from_above(None, cloud(ends), MOUNT)
    assert 200 <= len(above["ends"]) // 2 <= 400
    assert above["ends"][1] == -200 and above["ends"][-1] > 190


def test_what_is_packed_can_be_unpacked():
    head, parts = unpacked(packed({"depth": None}, camera=b"abc", depth=b""))
    assert head["depth"] is None
    assert parts == {"camera": b"abc", "depth": b""}
