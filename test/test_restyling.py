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

"""Light and colour of another picture, and what must stay of one's own."""

from dataclasses import replace

import numpy as np
import pytest

from depthrefl_ros.training.augment import AugmentConfig, Augmenter
from depthrefl_ros.training.datasets import Sample
from depthrefl_ros.training.restyling import restyle

CALM = AugmentConfig(
    letterbox_chance=0.0, max_zoom=1.0, flip_chance=0.0, roll_chance=0.0, colour_chance=0.0,
    greyscale_chance=0.0, blur_chance=0.0, noise_chance=0.0, jpeg_chance=0.0, shrink_chance=0.0,
)  # fmt: skip


def stripes(period, mean, size=(60, 80)):
    """Return a picture (h, w, 3) uint8 of vertical stripes, 40 brighter and darker than a mean."""
    wave = 40 * np.sin(2 * np.pi * np.arange(size[1]) / period)
    return np.rint(np.zeros((*size, 3)) + np.array(mean) + wave[None, :, None]).astype(np.uint8)


def test_mean_colour_becomes_the_others_and_fine_stripes_stay():
    image, other = stripes(4, (100, 120, 140)), stripes(4, (150, 110, 90), (90, 33))
    changed = restyle(image, other, reach=0.0, share=1.0)
    assert changed.shape == image.shape and changed.dtype == np.uint8
    np.testing.assert_allclose(changed.mean((0, 1)), other.mean((0, 1)), atol=1)
    np.testing.assert_allclose(changed - changed.mean((0, 1)), image - image.mean((0, 1)), atol=1.5)


def test_half_the_share_is_half_the_way():
    image, other = stripes(4, (100, 100, 100)), stripes(4, (140, 140, 140))
    assert abs(restyle(image, other, reach=0.0, share=0.5).mean() - 120) < 1


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 0, 2)], ids=["landscape", "portrait"])
def test_reach_says_up_to_which_frequency_light_is_taken(axes):
    flat, shaded = np.full((60, 80, 3), 120, np.uint8), stripes(40, (120, 120, 120))
    flat, shaded = flat.transpose(axes), shaded.transpose(axes)
    # The stripes have two periods along the longer side, one and a half along the shorter one.
    assert restyle(shaded, flat, reach=1.4, share=1.0).std() > 25
    assert restyle(shaded, flat, reach=1.6, share=1.0).std() < 2


def test_the_augmenter_restyles_by_chance_and_keeps_depth():
    sample = Sample("stripes", stripes(4, (90, 90, 90)), np.full((60, 80), 2.0, np.float32),
                    (60.0, 60.0, 39.5, 29.5))  # fmt: skip
    others = [stripes(4, (180, 180, 180))]
    plain = Augmenter(60, 80, CALM)(sample, np.random.default_rng(1), lambda _: others[0])
    always = Augmenter(60, 80, replace(CALM, restyle_chance=1.0))
    changed = always(sample, np.random.default_rng(1), lambda _: others[0])
    assert abs(plain.image.mean() - 90) < 1 and changed.image.mean() > 110
    np.testing.assert_array_equal(changed.depth_m, plain.depth_m)
