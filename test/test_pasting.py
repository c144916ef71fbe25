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

"""Pictures lie on plane surfaces in their own size and perspective, and depth stays as it is."""

from __future__ import annotations

import numpy as np
import pytest

from depthrefl_ros.training.augment import AugmentConfig, Augmenter, View
from depthrefl_ros.training.datasets import Sample
from depthrefl_ros.training.pasting import SIZES_M, paste_pictures, place, plane_at, visible

FOCAL_PX, CENTRE, SIZE = 150.0, (95.5, 79.5), (160, 192)
GREY = 128


def plane_depth(normal: tuple[float, float, float], distance_m: float) -> np.ndarray:
    """Depth (h, w) of the plane normal . X = distance."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    rays = np.stack(
        [(columns - CENTRE[0]) / FOCAL_PX, (rows - CENTRE[1]) / FOCAL_PX, np.ones(SIZE)], axis=-1
    )
    return (distance_m / (rays @ np.asarray(normal))).astype(np.float32)


def grey_view(depth_m: np.ndarray) -> View:
    return View(np.full((*SIZE, 3), GREY, np.uint8), depth_m, FOCAL_PX, CENTRE)


def red() -> np.ndarray:
    return np.full((90, 120, 3), (250, 0, 0), np.uint8)


def pasted(depth_m: np.ndarray, count: int = 1, seed: int = 0) -> np.ndarray:
    """Mask (h, w) of what is covered by red pictures."""
    generator = np.random.default_rng(seed)
    image = paste_pictures(grey_view(depth_m), red(), count, generator)
    changed = (image != GREY).any(axis=-1)
    assert (image[changed][:, 1] == 0).all()  # nothing but the picture
    return changed


def test_a_window_on_a_plane_gives_that_plane():
    depth_m = plane_depth((0.2, 0.6, 0.77), 0.7)
    a, b, c = plane_at(depth_m, 100, 90, 40.0)
    for x, y in [(90, 80), (110, 95)]:
        assert 1 / (a * x + b * y + c) == pytest.approx(depth_m[y, x], rel=1e-4)


@pytest.mark.parametrize("normal", [(0, 0, 1), (0.5, 0, 0.87), (0.1, 0.8, 0.6)])
def test_corners_lie_on_the_plane_at_the_stated_size(normal):
    distance_m, size_m = 0.6, 0.2
    depth_m = plane_depth(normal, distance_m)
    plane = plane_at(depth_m, 90, 85, 30.0)
    for seed in range(5):
        corners = place(grey_view(depth_m), plane, 90, 85, size_m, np.random.default_rng(seed))
        depth = 1 / (corners @ plane[:2] + plane[2])
        points = np.column_stack([(corners - CENTRE) / FOCAL_PX, np.ones(4)]) * depth[:, None]
        assert points @ np.asarray(normal) == pytest.approx(distance_m, rel=1e-3)
        sides = np.linalg.norm(points - np.roll(points, -1, axis=0), axis=1)
        assert sides[1] == pytest.approx(size_m, rel=1e-3)
        assert size_m / 2 - 1e-3 < sides[0] < size_m + 1e-3
        assert np.diff(points, axis=0)[0] @ np.diff(points, axis=0)[1] == pytest.approx(0, abs=1e-6)


def test_what_is_twice_as_far_is_covered_a_quarter_as_much():
    near, far = (
        np.mean([pasted(plane_depth((0, 0, 1), m), 1, seed).sum() for seed in range(40)])
        for m in (0.6, 1.2)
    )
    assert 2.5 < near / far < 6
    assert near < (SIZES_M[1] * FOCAL_PX / 0.6) ** 2


def test_things_in_front_and_unknown_pixels_stay_uncovered():
    depth_m = plane_depth((0, 0.3, 0.95), 0.8)
    depth_m[:, 90:96] = 0.4
    depth_m[40:46] = 0.0
    covered = pasted(depth_m, count=40)
    assert covered.any() and not covered[:, 90:96].any() and not covered[40:46].any()


def test_the_mask_is_where_the_plane_is_seen():
    depth_m = plane_depth((0, 0, 1), 1.0)
    depth_m[:, 100:] = 1.2
    corners = np.array([(80.0, 60.0), (120.0, 60.0), (120.0, 90.0), (80.0, 90.0)])
    mask = visible(depth_m, np.array([0.0, 0.0, 1.0]), corners)
    assert mask[60:90, 80:100].all() and not mask[:, 100:].any() and not mask[:59].any()


@pytest.mark.parametrize("kind", ["curved", "unknown"])
def test_no_plane_no_picture(kind):
    if kind == "curved":
        rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
        depth_m = (1 + 0.3 * np.sin(columns / 2) * np.sin(rows / 2)).astype(np.float32)
    else:
        depth_m = np.zeros(SIZE, np.float32)
    assert not pasted(depth_m, count=20).any()


def test_light_of_the_surface_falls_on_the_picture():
    view = grey_view(plane_depth((0, 0, 1), 0.5))
    view.image[:, :96], view.image[:, 96:] = 60, 180
    image = paste_pictures(view, red(), 30, np.random.default_rng(3)).astype(int)
    is_red = image[..., 0] - image[..., 1] > 20
    left, right = image[:, :80][is_red[:, :80]], image[:, 112:][is_red[:, 112:]]
    assert image.shape == (*SIZE, 3) and left[:, 0].mean() < right[:, 0].mean()


def test_the_augmenter_pastes_by_chance_and_keeps_depth():
    depth_m = np.full((120, 160), 0.6, np.float32)
    sample = Sample("wall", np.full((120, 160, 3), GREY, np.uint8), depth_m, (150, 150, 79.5, 59.5))
    quiet = dict(colour_chance=0, greyscale_chance=0, blur_chance=0, noise_chance=0, jpeg_chance=0,
                 shrink_chance=0, roll_chance=0, letterbox_chance=0)  # fmt: skip

    def views(chance):
        augmenter = Augmenter(60, 80, AugmentConfig(paste_chance=chance, **quiet))
        return [augmenter(sample, np.random.default_rng(i), lambda _: red()) for i in range(20)]

    assert all((view.image == GREY).all() for view in views(0.0))
    some, all_of_them = views(0.5), views(1.0)
    changed = [(view.image != GREY).any() for view in some]
    assert 3 < sum(changed) < 17 and all((view.image != GREY).any() for view in all_of_them)
    assert all((view.depth_m == depth_m.max()).all() for view in all_of_them)
    reds = [(view.image[..., 0] > 100) & (view.image[..., 1:] == 0).all(axis=-1)
            for view in all_of_them]  # fmt: skip
    assert any(found.sum() > 50 for found in reds)
