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

"""What a frame takes, refuses, and makes of its colours."""

import cv2
import numpy as np
import pytest

from depthrefl_ros.frames import Frame, SelfMask
from depthrefl_ros.geometry.camera import Camera

WIDTH, HEIGHT = 160, 120
CAMERA = Camera.from_horizontal_fov(WIDTH, HEIGHT, 1.0)


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match="mask is .10, 20.; the image needs"):
        Frame(
            np.zeros((HEIGHT, WIDTH, 3), np.uint8),
            "rgb",
            CAMERA,
            SelfMask(np.zeros((10, 20), np.uint8)),
        )


def test_masks_of_equal_content_are_equal():
    pixels = np.eye(4, dtype=np.uint8)
    first, second = SelfMask(pixels), SelfMask(pixels.copy())
    assert first == second and hash(first) == hash(second)
    pixels[0, 1] = 1
    assert first == second and SelfMask(pixels) != first


@pytest.mark.parametrize(
    "image, channels, named",
    [
        (np.zeros((HEIGHT, WIDTH, 3), np.uint8), "hsv", "'hsv'"),
        (np.zeros((HEIGHT, WIDTH, 3), np.uint8), "rgba", f"need .{HEIGHT}, {WIDTH}, 4. uint8"),
        (np.zeros((100, WIDTH, 3), np.uint8), "rgb", f"camera of {WIDTH}x{HEIGHT}"),
        (np.zeros((HEIGHT, WIDTH, 3), np.float32), "rgb", "float32"),
    ],
)
def test_a_frame_that_does_not_fit_is_refused(image, channels, named):
    with pytest.raises(ValueError, match=named):
        Frame(image, channels, CAMERA)


@pytest.mark.parametrize("channels, depth", [("rgb", 3), ("bgr", 3), ("rgba", 4), ("bgra", 4)])
def test_colours_of_any_order_come_out_in_the_order_that_is_asked_for(channels, depth):
    pixels = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, depth), np.uint8)
    frame = Frame(pixels, channels, CAMERA)
    small = pixels[:3, :4].copy()  # of any size
    rgb = small[..., [channels.index(letter) for letter in "rgb"]]
    np.testing.assert_array_equal(frame.as_rgb(small), rgb)
    np.testing.assert_array_equal(frame.as_bgra(small)[..., :3], rgb[..., ::-1])
    alpha = small[..., 3] if depth == 4 else 255
    np.testing.assert_array_equal(frame.as_bgra(small)[..., 3], alpha)


def test_grey_becomes_three_equal_colours():
    pixels = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH), np.uint8)
    frame = Frame(pixels, "mono", CAMERA)
    np.testing.assert_array_equal(frame.as_rgb(pixels), cv2.merge([pixels] * 3))
    np.testing.assert_array_equal(frame.as_bgra(pixels)[..., :3], cv2.merge([pixels] * 3))
