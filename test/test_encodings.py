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

"""How many bits of 16 a camera uses, found by what its pictures show."""

import numpy as np
import pytest

from depthrefl_ros.ros.convert.encodings import SensorBits, bits_in

SHAPE = (480, 640)


def picture(bits: int, shape=SHAPE) -> np.ndarray:
    return np.random.default_rng(bits).integers(0, 1 << bits, shape).astype(np.uint16)


@pytest.mark.parametrize("order", ["<u2", ">u2"])
@pytest.mark.parametrize("shape", [SHAPE, (*SHAPE, 3), (6, 8), (1, 1)])
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_all_bits_that_a_picture_uses_are_found(bits, shape, order):
    values = picture(bits, shape)
    values.flat[0] = (1 << bits) - 1
    assert bits_in(values.astype(order)) == bits


def test_a_bayer_colour_that_alone_is_bright_is_looked_at():
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        values = picture(10)
        values[row::2, column::2] = 4000
        assert bits_in(values) == 12


@pytest.mark.parametrize("share, bits", [(0.0005, 12), (0.003, 16)])
def test_a_few_pixels_do_not_tell(share, bits):
    values = picture(12)
    places = np.random.default_rng(0).choice(values.size, int(share * values.size), replace=False)
    values.flat[places] = 65535
    assert bits_in(values) == bits


def used(*shown: int) -> list[int]:
    """Return what is used of pictures that show so many bits, one after the other."""
    camera = SensorBits()
    return [camera.of(picture(bits, (60, 80))) for bits in shown]


def test_dark_pictures_keep_the_brightness_of_a_known_camera():
    assert used(12, 10, 10) == [12, 12, 12]
    assert used(12, 12, 12, *[10] * 9) == [12] * 12


def test_bright_pictures_after_dark_ones_are_never_washed_out():
    assert used(*[10] * 9, 12, 12, 12, 10, 10) == [10] * 9 + [12] * 5


def test_a_corrupt_picture_changes_no_picture_of_a_known_camera():
    assert used(12, 12, 12, 16, 12, 12) == [12, 12, 12, 16, 12, 12]
    assert used(12, 12, 12, 16, 16, 12, 12) == [12, 12, 12, 16, 16, 12, 12]


def test_a_lamp_that_comes_and_goes_does_not_change_the_brightness_for_long():
    assert used(*[10] * 5, *[12, 12, 10] * 4)[-8:] == [12] * 8


def test_a_corrupt_first_picture_is_soon_forgotten():
    assert used(16, 12, 12, 12, 12)[3:] == [12, 12]
