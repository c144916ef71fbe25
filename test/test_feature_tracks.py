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

import cv2
import numpy as np
import pytest

from depthrefl_ros.geometry.feature_tracks import FeatureTracks

SHIFT = np.array([4.0, -2.5])


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """(240, 320) uint8 with corners everywhere."""
    coarse = np.random.default_rng(1).integers(0, 255, (40, 53), np.uint8)
    return cv2.resize(coarse, (320, 240), interpolation=cv2.INTER_CUBIC)


def moved(picture: np.ndarray, shift=SHIFT) -> np.ndarray:
    matrix = np.column_stack([np.eye(2), shift])
    return cv2.warpAffine(picture, matrix, picture.shape[::-1], borderMode=cv2.BORDER_REFLECT)


def started(picture: np.ndarray, seen=None) -> FeatureTracks:
    tracks = FeatureTracks()
    tracks.follow(picture, tracks.pixels, seen)
    assert tracks.renew(seen) == len(tracks.pixels) > 0
    return tracks


def test_corners_are_found_again_where_the_picture_has_moved(picture):
    tracks = started(picture)
    before = tracks.pixels
    kept = tracks.follow(moved(picture), before, None)
    assert kept.sum() == len(tracks.pixels) > 0.8 * len(before) > 100
    off = np.linalg.norm(tracks.pixels - before[kept] - SHIFT, axis=1)
    assert np.median(off) < 0.05 and np.quantile(off, 0.95) < 0.3


def test_a_leap_is_followed_where_it_is_expected(picture):
    leap = np.array([90.0, 5.0])
    found = []
    for expected in (0.0, leap + 2.0):
        tracks = started(picture)
        before = tracks.pixels
        kept = tracks.follow(moved(picture, leap), before + expected, None)
        off = np.linalg.norm(tracks.pixels - before[kept] - leap, axis=1)
        found.append((off < 0.5).sum())
    assert found[1] > 100 > 5 * found[0]


def test_what_leaves_the_image_or_hides_is_dropped(picture):
    tracks = started(picture)
    seen = np.ones(picture.shape, bool)
    seen[:, 200:] = False
    before = tracks.pixels
    kept = tracks.follow(moved(picture), before, seen)
    assert not kept[before[:, 0] > 200].any() and kept[before[:, 0] < 150].mean() > 0.7
    assert tracks.pixels.min() >= 3 and tracks.pixels[:, 1].max() <= 236


def test_a_corner_that_something_hides_is_no_longer_followed(picture):
    tracks = started(picture)
    before, hidden = tracks.pixels, picture.copy()
    hidden[60:180, 100:220] = (
        np.random.default_rng(7).permuted(hidden[60:180, 100:220].ravel()).reshape(120, 120)
    )
    hidden = cv2.GaussianBlur(hidden, (5, 5), 2.0)
    kept = tracks.follow(hidden, before, None)
    behind = ((before > (110, 70)) & (before < (210, 170))).all(axis=1)
    assert behind.sum() > 10 and kept[behind].mean() < 0.2 and kept[~behind].mean() > 0.6


def test_new_corners_come_last_and_not_beside_the_old_ones_nor_where_nothing_is_seen(picture):
    tracks = started(picture)
    tracks.pixels = tracks.pixels[::4]
    before, seen = tracks.pixels.copy(), np.ones(picture.shape, bool)
    seen[:100] = False
    count = tracks.renew(seen)
    new = tracks.pixels[-count:]
    assert count > 20 and np.array_equal(tracks.pixels[:-count], before)
    assert new[:, 1].min() >= 100
    assert np.linalg.norm(new[:, None] - before, axis=2).min() >= 7


def test_a_blank_picture_has_no_corners():
    tracks, blank = FeatureTracks(), np.full((240, 320), 90, np.uint8)
    assert tracks.renew(None) == 0  # before any image
    assert tracks.follow(blank, tracks.pixels, None).shape == (0,)
    assert tracks.renew(None) == 0 and tracks.pixels.shape == (0, 2)
