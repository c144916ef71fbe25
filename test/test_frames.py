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

from depthrefl_ros.frames import Frame, Prediction, SelfMask, network_view
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


@pytest.mark.parametrize("channels", ["rgb", "bgr", "rgba", "mono"])
def test_the_grey_image_is_rectified_and_says_where_it_shows_the_surroundings(channels):
    bent = Camera(
        width=WIDTH,
        height=HEIGHT,
        K=CAMERA.K,
        D=np.array([-0.3, 0.1, 0.0, 0.0, 0.0]),
        R=np.eye(3),
        P=CAMERA.P,
        distortion_model="plumb_bob",
    )
    rng = np.random.default_rng(2)
    image = cv2.GaussianBlur(rng.integers(0, 255, (HEIGHT, WIDTH), np.uint8), (0, 0), 3)
    shown = image if channels == "mono" else np.stack([image] * len(channels), axis=-1)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[100:] = 1
    view = network_view(bent, SelfMask(mask), False, (96, 64), "pad")
    planes = [np.zeros((64, 96), np.float32)] * 3
    frame = Frame(shown, channels, bent, SelfMask(mask))
    prediction = Prediction(frame, *planes, np.zeros((64, 96, 3), np.uint8), None, view)
    grey, seen = prediction.rectified_grey()
    assert np.array_equal(grey, view.rectification.rectify(image))
    assert np.abs(grey.astype(int) - image).max() > 10 and grey.shape == image.shape
    assert seen is prediction.rectified_grey()[1]
    assert not seen[view.rectification.unseen].any() and not seen[115:, 60:100].any()
    assert seen[40:80, 60:100].all()
    assert prediction.image_camera == view.rectification.camera


def test_where_all_is_seen_nothing_says_so():
    view = network_view(CAMERA, None, False, (96, 64), "pad")
    assert view.image_seen is None
