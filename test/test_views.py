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

"""Views: even over the logarithm of distance, mounts within their limits, never inside things."""

from __future__ import annotations

import math

import numpy as np
import pytest

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.rays import image_rays
from depthrefl_ros.training.synth import views
from depthrefl_ros.training.synth.views import MOUNTS, Region, View, choose_views

ROOM = (9.0, 7.0, 3.0)
SEEDS, COUNT = 30, 6


def cluttered_room(seed: int):
    """Return a caster into a room with 15 boxes, exact like the renderer's, and their middles."""
    rng = np.random.default_rng(seed)
    size = rng.uniform((0.2, 0.2, 0.2), (1.2, 1.2, 1.6), (15, 3))
    low = np.column_stack([rng.uniform(0, np.array(ROOM[:2]) - size[:, :2]), np.zeros(15)])
    boxes = np.stack([low, low + size], axis=1)

    def cast(origin, directions):
        with np.errstate(divide="ignore", invalid="ignore"):
            to_walls = np.where(directions > 0, (np.array(ROOM) - origin), -origin) / directions
            ways = np.nanmin(np.where(directions == 0, np.inf, to_walls), axis=1)
            behind = np.zeros(len(ways), bool)
            sides = (boxes[:, None] - origin[None, None, None]) / directions[None, :, None]
        near, far = sides.min(axis=2).max(axis=2), sides.max(axis=2).min(axis=2)
        for enter, leave in zip(near, far, strict=True):
            hit = (enter < leave) & (leave > 0)
            inside = hit & (enter < 0)
            first = np.where(inside, leave, enter)
            closer = hit & (first < ways)
            ways, behind = np.where(closer, first, ways), np.where(closer, inside, behind)
        return ways, behind

    return cast, boxes


@pytest.fixture(scope="module")
def chosen():
    """180 views of 30 rooms with the median depth of each, over more rays than the choice has."""
    region = Region((0.0, 0.0, *ROOM[:2]), ROOM[2])
    found = []
    for seed in range(SEEDS):
        cast, boxes = cluttered_room(seed)
        rng = np.random.default_rng(1000 + seed)
        for view in choose_views(cast, [region], rng, COUNT, boxes.mean(axis=1)):
            rays = view.rays(24, 18)
            lengths = np.linalg.norm(rays, axis=1)
            ways, _ = cast(np.array(view.position), rays / lengths[:, None])
            found.append((view, float(np.median(ways / lengths)), boxes))
    return found


def test_the_median_distance_is_even_in_its_logarithm(chosen):
    """Each sixth of the logarithm holds half of an even share or more, none twice as much."""
    medians = np.array([median for _, median, _ in chosen])
    assert medians.min() > 0.22
    edges = np.geomspace(0.28, 7.0, 7)
    shares = np.histogram(medians, edges)[0] / len(medians)
    assert 1 / 12 < shares.min() and shares.max() < 1 / 3, shares


def test_mounts_pitch_roll_and_field_of_view_cover_their_ranges(chosen):
    all_views = [view for view, _, _ in chosen]
    counts = {name: sum(view.mount == name for view in all_views) for name in MOUNTS}
    assert min(counts.values()) >= 0.03 * len(all_views), counts
    low = [v.position[2] for v in all_views if v.mount == "low"]
    assert 0.05 <= min(low) and max(low) <= 0.35 and np.mean(np.array(low) < 0.15) > 0.2
    pitch = np.degrees([v.pitch for v in all_views])
    assert pitch.min() >= -75.001 and pitch.min() < -55 and pitch.max() <= 30.001
    roll = np.abs(np.degrees([v.roll for v in all_views]))
    assert 0.03 < np.mean(roll > 6) < 0.17 and roll.max() <= 30
    fov = np.degrees([v.horizontal_fov for v in all_views])
    assert 40 <= fov.min() < 50 and 105 < fov.max() <= 120


def test_no_camera_is_in_a_box_or_outside_the_room(chosen):
    for view, _, boxes in chosen:
        position = np.array(view.position)
        assert (position > 0.03).all() and (position < np.array(ROOM) - 0.03).all()
        assert not ((position > boxes[:, 0]) & (position < boxes[:, 1])).all(axis=1).any()


def test_the_same_generator_chooses_the_same_views():
    cast, boxes = cluttered_room(3)
    region = Region((0.0, 0.0, *ROOM[:2]), ROOM[2])
    first, second = (
        choose_views(cast, [region], np.random.default_rng(5), 3, boxes.mean(axis=1))
        for _ in range(2)
    )
    assert first == second


def test_cameras_are_mounted_in_the_ways_that_were_named():
    cast, boxes = cluttered_room(2)
    region = Region((0.0, 0.0, *ROOM[:2]), ROOM[2])
    chosen = choose_views(
        cast, [region], np.random.default_rng(6), 6, boxes.mean(axis=1), mounts=["robot"]
    )
    low, high = MOUNTS["robot"].heights_m
    assert {view.mount for view in chosen} == {"robot"}
    assert all(low <= view.position[2] <= high for view in chosen)


def test_a_view_s_mount_puts_its_floor_at_zero():
    """The floor's depth by the view's rays back-projects by Pose.from_mount to z = 0."""
    view = View((1.0, 2.0, 2.6), 0.7, math.radians(-40), math.radians(25), 1.2, "arm", floor_m=2.0)
    rays = view.rays(32, 24)
    depth = (-(view.position[2] - view.floor_m) / rays[:, 2]).reshape(24, 32)
    camera = Camera.from_horizontal_fov(32, 24, view.horizontal_fov)
    points = Pose.from_mount(**view.pose()).apply(image_rays(camera) * depth[..., None])
    assert np.abs(points[depth > 0][:, 2]).max() < 1e-5
    assert view.pose()["height_m"] == pytest.approx(0.6)


def test_one_plane_is_told_from_a_corner():
    view = View((0.0, 0.0, 1.0), 0.0, math.radians(-10), 0.0, math.radians(70))
    rays = view.rays(*views.GRID)
    wall = 2.0 / rays[:, 0]
    floor = np.where(rays[:, 2] < 0, -1.0 / rays[:, 2], np.inf)
    assert views.is_flat(wall) and not views.is_flat(np.minimum(wall, floor))


def test_a_region_without_a_place_is_named():
    region = Region((0.0, 0.0, 0.1, 0.1), 0.2)
    with pytest.raises(ValueError, match="no place for a camera"):
        choose_views(cluttered_room(0)[0], [region], np.random.default_rng(0), 1)
