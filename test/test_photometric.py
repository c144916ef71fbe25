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

"""Colour and sharpness change, and nothing else does."""

from __future__ import annotations

import numpy as np
import pytest

from depthrefl_ros.training.augment import AugmentConfig
from depthrefl_ros.training.photometric import degrade, jitter_colour, tone_table

RAMP = np.stack([*np.mgrid[0:150, 0:200], np.zeros((150, 200))], axis=-1).astype(np.uint8)


def test_greyscale_has_equal_channels():
    config = AugmentConfig(greyscale_chance=1.0)
    image = jitter_colour(RAMP, config, np.random.default_rng(0))
    assert np.array_equal(image[..., 0], image[..., 1])
    assert np.array_equal(image[..., 1], image[..., 2])


def test_neutral_settings_leave_the_colours_alone():
    config = AugmentConfig(
        brightness=0, contrast=0, max_gamma=1, white_balance=0, saturation=0, hue_deg=0,
        greyscale_chance=0,
    )  # fmt: skip
    image = np.full((8, 8, 3), (200, 120, 60), np.uint8)
    changed = jitter_colour(image, config, np.random.default_rng(0))
    assert np.abs(changed.astype(int) - image).max() <= 3  # 8-bit hue


def test_a_worse_camera_keeps_the_scene():
    config = AugmentConfig(blur_chance=1.0, noise_chance=1.0, jpeg_chance=1.0, shrink_chance=1.0)
    image = np.zeros((96, 128, 3), np.uint8)
    image[:, 64:] = 200
    worse = degrade(image, config, np.random.default_rng(0))
    assert worse.shape == image.shape and worse.dtype == np.uint8
    assert not np.array_equal(worse, image)
    smooth = np.abs(worse.astype(int) - image)
    assert smooth[:, :54].mean() < 12 and smooth[:, 74:].mean() < 12
    # The edge is soft, and where it was.
    profile = worse.mean(axis=(0, 2))
    assert np.argmax(np.diff(profile)) == pytest.approx(63, abs=1)


def test_a_perfect_camera_changes_nothing():
    config = AugmentConfig(blur_chance=0.0, noise_chance=0.0, jpeg_chance=0.0, shrink_chance=0.0)
    assert np.array_equal(degrade(RAMP, config, np.random.default_rng(0)), RAMP)


def test_tones_keep_their_order():
    """Brighter stays brighter under any exposure; no two tables are alike."""
    tables = [tone_table(AugmentConfig(), np.random.default_rng(seed)) for seed in range(20)]
    for table in tables:
        assert table.shape == (1, 256, 3) and (np.diff(table[0].astype(int), axis=0) >= 0).all()
    assert len({table.tobytes() for table in tables}) == 20
