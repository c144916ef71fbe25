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

"""What is marked and what is cleared, on scenes whose truth is known."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from box_scene import true_depth
from conftest import ROOT

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.cloud import voxel_thin
from depthrefl_ros.geometry.gates import GateSettings, apply_gates
from depthrefl_ros.geometry.obstacles import MAX_POINTS, ObstacleSettings, obstacle_clouds
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.rectification import reprojected
from depthrefl_ros.ros.convert.camera_info import camera_from_info
from depthrefl_ros.tools.camera_info_file import Intrinsics
from depthrefl_ros.tools.frame_sources import open_source
from depthrefl_ros.tools.truth import find_truth

CORRIDOR = ROOT / "test" / "data" / "corridor.mcap"
CAMERA = Camera.from_horizontal_fov(256, 192, 1.2)
MOUNT = Pose.from_mount(0.5, pitch_rad=0.1)
SETTINGS = ObstacleSettings()
GATES = GateSettings(max_range_m=6.0)
NEAR = GateSettings(min_range_m=0.4, max_range_m=6.0)
BOX = ((2.0, -0.25, 0.0), (2.3, 0.25, 0.3))
WALL = ((4.0, -5.0, 0.0), (4.2, 5.0, 2.5))


def clouds(gated, truth=None, sigma=0.02, mount=MOUNT, settings=SETTINGS, gates=GATES):
    """Both clouds in the base frame, (N, 3) each."""
    truth = gated if truth is None else truth
    sigma = np.broadcast_to(np.float32(sigma), gated.shape)
    confidence = np.full(gated.shape, 0.9, np.float32)
    made = obstacle_clouds(gated, truth, sigma, confidence, CAMERA, mount, settings, gates)
    return tuple(mount.apply(cloud[:, :3]) for cloud in (made.marking, made.clearing))


def ranged(depth: np.ndarray) -> np.ndarray:
    return np.where(depth > GATES.max_range_m, np.inf, depth).astype(np.float32)


def on_box(truth: np.ndarray) -> np.ndarray:
    """(h, w) bool, pixels that show the box."""
    return truth < true_depth(CAMERA, MOUNT, [WALL]) - 1e-4


def ahead_of(points: np.ndarray, x: float, half_width: float) -> np.ndarray:
    """Points beyond x metres whose ray from the camera passes within half_width of y = 0 there."""
    crossing = points[:, 1] * x / np.maximum(points[:, 0], 1e-6)
    return points[(points[:, 0] > x) & (np.abs(crossing) < half_width)]


def test_a_box_is_marked_and_the_floor_before_it_cleared():
    truth = true_depth(CAMERA, MOUNT, [BOX])
    marking, clearing = clouds(ranged(truth), truth)
    assert len(marking) > 30
    assert np.abs(marking[:, 0] - 2.0).min() < 0.01
    assert ((marking[:, 0] > 1.99) & (marking[:, 0] < 2.31)).all()
    assert ((marking[:, 2] >= 0.099) & (marking[:, 2] <= 0.301)).all()
    before = clearing[(np.abs(clearing[:, 1]) < 0.2) & (clearing[:, 0] < 1.9)]
    assert before[:, 0].min() < 1.3 and before[:, 0].max() > 1.8
    assert not len(ahead_of(clearing, 1.95, 0.2))


def test_nothing_is_cleared_behind_a_box_of_which_every_pixel_is_gated():
    truth = true_depth(CAMERA, MOUNT, [BOX, WALL])
    gated = ranged(truth)
    gated[on_box(truth)] = np.nan
    marking, clearing = clouds(gated, truth)
    assert (marking[:, 0] > 3.9).all() and len(marking) > 100  # the wall above and beside it
    assert not len(ahead_of(clearing, 1.95, 0.2))
    assert len(ahead_of(clearing, 3.0, 5.0))  # beside the box rays go on to the wall


@pytest.mark.parametrize("shift", [-0.037, -0.02, 0.0, 0.013, 0.025, 0.037])
def test_no_ray_crosses_a_cell_of_a_gated_box(shift):
    """The cells of 0.05 m that the box's front is marked in, walked along every clearing ray."""
    box = ((2.0, -0.15 + shift, 0.0), (2.3, 0.15 + shift, 0.3))
    truth = true_depth(CAMERA, MOUNT, [box, WALL])
    gated = ranged(truth)
    gated[truth < true_depth(CAMERA, MOUNT, [WALL]) - 1e-4] = np.nan
    _, clearing = clouds(gated, truth)
    steps = np.linspace(0.0, 1.0, 400)[:, None, None]
    crossed = np.floor(steps * clearing[None, :, :2] / 0.05 + 1e-6).astype(int).reshape(-1, 2)
    rows = np.arange(int(np.ceil((-0.15 + shift) / 0.05)), int((0.15 + shift) / 0.05))
    crossed = {tuple(cell) for cell in np.unique(crossed, axis=0)}
    assert not crossed & {(40, int(row)) for row in rows}


def test_rays_keep_a_voxel_away_from_either_side_of_a_gated_box():
    truth = true_depth(CAMERA, MOUNT, [BOX, WALL])
    gated = ranged(truth)
    gated[on_box(truth)] = np.nan
    _, clearing = clouds(gated, truth)
    behind = clearing[clearing[:, 0] > 2.5]
    crossing = behind[:, 1] * 2.0 / behind[:, 0]  # where a ray passes the front of the box
    beside = 0.25 + 0.8 * SETTINGS.voxel_size_m
    assert not ((crossing > -beside) & (crossing < beside)).any()
    assert ((crossing > beside) & (crossing < 0.4)).sum() > 20
    assert ((crossing < -beside) & (crossing > -0.4)).sum() > 20


def test_floor_that_seems_too_far_is_cleared_only_up_to_the_floor():
    truth = true_depth(CAMERA, MOUNT, [])
    far = np.where(truth < 4.0, 1.5 * truth, np.inf).astype(np.float32)
    _, clearing = clouds(far, 1.5 * truth)
    assert len(clearing) and clearing[:, 2].min() > -0.005
    assert 3.8 < clearing[clearing[:, 2] < 0.05, 0].max() < 4.1


def test_an_uncertain_pixel_counts_where_it_may_be_at_the_nearest():
    truth = true_depth(CAMERA, MOUNT, [BOX, WALL])
    gated = ranged(truth)
    gated[on_box(truth)] = np.nan
    _, sure = clouds(gated, truth, sigma=0.02)
    _, unsure = clouds(gated, truth, sigma=0.2)
    nearest = 2.0 * np.exp(-2 * 0.2)
    assert len(ahead_of(sure, nearest, 0.15)) and not len(ahead_of(unsure, nearest, 0.15))


def test_a_believed_obstacle_is_marked_where_it_seems_and_frees_the_way_one_sigma_less():
    truth = true_depth(CAMERA, MOUNT, [WALL])
    ends = []
    for sigma in (0.0, 0.2):
        marking, clearing = clouds(ranged(truth), truth, sigma=sigma)
        assert np.all(np.abs(marking[:, 0] - 4.0) < 0.01)
        ends.append(clearing[np.abs(clearing[:, 1]) < 0.2, 0].max())
    assert 3.85 < ends[0] < 3.95  # two cells before the wall at 4 m
    assert ends[1] == pytest.approx(4.0 * np.exp(-0.2) - 0.1, abs=0.03)


def test_a_removed_box_is_cleared_by_what_is_behind_it():
    truth = true_depth(CAMERA, MOUNT, [WALL])
    marking, clearing = clouds(ranged(truth), truth)
    assert (marking[:, 0] > 3.9).all()
    assert len(ahead_of(clearing, 2.5, 0.2)) > 20


def test_free_space_is_cleared_only_by_rays_that_stay_in_the_band():
    nothing = true_depth(CAMERA, MOUNT, [])
    marking, clearing = clouds(ranged(nothing), nothing)
    assert not len(marking)
    assert clearing[:, 2].max() <= SETTINGS.max_height_m + 1e-3
    far = clearing[np.linalg.norm(clearing, axis=1) > 5.0]
    assert len(far)
    high = Pose.from_mount(2.2, pitch_rad=0.1)  # above the band: only the floor says what is free
    _, clearing = clouds(ranged(true_depth(CAMERA, high, [])), mount=high)
    assert len(clearing) and np.abs(clearing[:, 2]).max() < 0.01


def test_all_gated_marks_nothing_and_clears_nothing():
    truth = true_depth(CAMERA, MOUNT, [BOX, WALL])
    marking, clearing = clouds(np.full_like(truth, np.nan), truth)
    assert not len(marking) and not len(clearing)


def near_gated(truth: np.ndarray) -> np.ndarray:
    return np.where(truth < NEAR.min_range_m, -np.inf, ranged(truth)).astype(np.float32)


def stop_points(points: np.ndarray) -> int:
    """How Nav2's collision monitor counts: points inside a polygon, those at its heights alone."""
    ahead, aside, up = points.T
    inside = (ahead > 0.0) & (ahead < 0.6) & (np.abs(aside) < 0.3)
    return int(np.count_nonzero(inside & (up > 0.05) & (up < 1.85)))


MIN_POINTS = 4  # of the collision monitor's polygon
LENS_AHEAD_M = 0.1


@pytest.mark.parametrize("height_m, pitch", [(0.5, 0.1), (0.25, -0.2), (0.9, 0.6), (1.2, 0.9)])
def test_a_stop_is_not_released_when_somebody_comes_closer(height_m, pitch):
    mount = Pose.from_mount(height_m, pitch, x_m=LENS_AHEAD_M)
    counts, spared = {}, []
    for distance_m in np.arange(0.55, 0.11, -0.02):
        person = ((LENS_AHEAD_M + distance_m, -0.2, 0.0), (LENS_AHEAD_M + 0.9, 0.2, 1.7))
        truth = true_depth(CAMERA, mount, [person, WALL])
        marking, clearing = clouds(near_gated(truth), truth, mount=mount, gates=NEAR)
        counts[distance_m] = stop_points(marking)
        spared.append(ahead_of(clearing, LENS_AHEAD_M + distance_m, 0.1))
    counts = list(counts.values())
    begins = next(index for index, count in enumerate(counts) if count >= MIN_POINTS)
    assert begins < 8, "the polygon begins at 0.5 m from the lens"
    assert min(counts[begins:]) >= MIN_POINTS
    assert not any(map(len, spared)), "nothing is cleared behind it"


def test_a_recorded_drive_that_comes_closer_keeps_the_stop():
    """True depth of the shipped recording, the whole scene scaled towards the lens."""
    mount = Pose.from_mount(0.5, np.radians(4.0), x_m=LENS_AHEAD_M)
    source, truths = open_source(str(CORRIDOR), Intrinsics()), find_truth(str(CORRIDOR))
    stopped = 0
    for frame in itertools.islice(source.frames(), 0, None, 12):
        full = truths.depth_m({"source_stamp_ns": frame.stamp_ns, "name": frame.name})
        camera = camera_from_info(frame.camera_info, "camera_info")
        camera = camera.for_image(*full.shape[::-1]).rectified()
        truth = np.nan_to_num(reprojected(full, camera, CAMERA), nan=20.0)
        counts = []
        for factor in np.geomspace(1.0, 0.05, 25):
            seen = (truth * factor).astype(np.float32)
            gated = apply_gates(seen, np.zeros_like(seen), CAMERA, np.inf, NEAR).depth_m
            marking, _ = clouds(gated, seen, mount=mount, gates=NEAR)
            counts.append(stop_points(marking))
        begins = next(index for index, count in enumerate(counts) if count >= MIN_POINTS)
        assert min(counts[begins:]) >= MIN_POINTS, counts
        stopped += 1
    assert stopped >= 5


def test_what_is_too_near_is_marked_on_its_ray_at_the_ranges_end():
    truth = true_depth(CAMERA, MOUNT, [((0.2, -1.0, 0.0), (0.3, 1.0, 1.0)), WALL])
    as_they_stand = replace(SETTINGS, range_resolution_m=0.0)
    marking, clearing = clouds(near_gated(truth), truth, settings=as_they_stand, gates=NEAR)
    near = MOUNT.inverse().apply(marking[marking[:, 0] < 1.0])
    assert len(near) > 20 and not len(ahead_of(clearing, 0.2, 0.1))
    assert near[:, 2].max() == pytest.approx(NEAR.min_range_m, abs=1e-5)
    assert (near[:, 2] > 0.2).all()
    heights = marking[:, 2]
    assert (heights > SETTINGS.min_height_m).all() and (heights < SETTINGS.max_height_m).all()


def test_the_floor_at_the_robots_feet_is_no_obstacle():
    low = Pose.from_mount(0.15, pitch_rad=0.5)
    truth = true_depth(CAMERA, low, [])
    assert (truth < NEAR.min_range_m).mean() > 0.2
    marking, _ = clouds(near_gated(truth), truth, mount=low, gates=NEAR)
    assert not len(marking)


def test_pixels_that_saw_nothing_are_no_obstacle():
    truth = true_depth(CAMERA, MOUNT, [WALL])
    gated, ungated = ranged(truth), truth.copy()
    gated[:24], ungated[:24] = np.nan, np.nan  # padding
    _, clearing = clouds(gated, ungated)
    assert len(ahead_of(clearing, 2.5, 0.2)) > 20


@pytest.mark.parametrize("height_m, pitch", [(0.5, 0.2), (2.2, 0.6)])  # in the band, above it
@pytest.mark.parametrize("sigma, answer", [(np.nan, None), (0.02, 0.0), (0.02, -1.0)])
def test_nothing_is_cleared_where_the_network_gave_no_number(height_m, pitch, sigma, answer):
    mount = Pose.from_mount(height_m, pitch)
    truth = true_depth(CAMERA, mount, [BOX, WALL])
    on_it = truth < true_depth(CAMERA, mount, [WALL]) - 1e-4
    gated, ungated = ranged(truth), truth.copy()
    gated[on_it] = np.nan
    if answer is not None:
        ungated[on_it] = answer
    _, clearing = clouds(gated, ungated, np.where(on_it, sigma, 0.02), mount)
    assert not len(ahead_of(clearing, 2.0, 0.2)) and len(ahead_of(clearing, 2.5, 5.0))


@pytest.mark.parametrize("behind", [[WALL], []])
def test_nothing_is_cleared_behind_a_pole_that_the_median_loses(behind):
    pole = ((2.0, -0.002, 0.0), (2.02, 0.008, 1.2))
    truth = true_depth(CAMERA, MOUNT, [pole, *behind])
    lost = truth < true_depth(CAMERA, MOUNT, behind) - 0.05
    assert 50 < np.count_nonzero(lost) and np.count_nonzero(lost.any(0)) == 1
    gated = apply_gates(truth, np.full_like(truth, 0.02), CAMERA, np.inf, GATES).depth_m
    marking, clearing = clouds(gated, truth)
    assert not len(ahead_of(clearing, 2.0, 0.02))
    assert len(ahead_of(clearing, 2.0, 0.2)) > 20, "beside it rays go on"
    assert not len(marking) or marking[:, 0].min() > 3.9, "what may be noise is not marked"


@pytest.mark.parametrize("roll", [0.3, np.pi])
def test_a_tilted_or_upside_down_camera_marks_the_same_box(roll):
    mount = Pose.from_mount(0.5, pitch_rad=0.1, roll_rad=roll)
    truth = true_depth(CAMERA, mount, [BOX])
    marking, clearing = clouds(ranged(truth), truth, mount=mount)
    assert len(marking) > 30
    assert ((marking[:, 0] > 1.99) & (marking[:, 0] < 2.31)).all()
    assert not len(ahead_of(clearing, 1.95, 0.2))


def test_beyond_the_range_nothing_is_drawn():
    truth = true_depth(CAMERA, MOUNT, [((7.0, -9.0, 0.0), (7.2, 9.0, 2.5))])
    marking, _ = clouds(ranged(truth), truth)
    assert not len(marking)
    marking, _ = clouds(truth)  # gates that let it pass do not change that
    assert not len(marking)


def test_clouds_are_thinned_until_they_fit_a_message():
    rough = np.random.default_rng(0).uniform(0.5, 6.0, (192, 256)).astype(np.float32)
    camera_level = Pose.from_mount(1.0)
    tall = ObstacleSettings(min_height_m=-9.0, max_height_m=9.0, voxel_size_m=0.01)
    marking, clearing = clouds(rough, mount=camera_level, settings=tall)
    assert MAX_POINTS / 2 < len(marking) <= MAX_POINTS and len(clearing) <= MAX_POINTS
    assert MAX_POINTS * 16 == 192 * 1024


def wavering(truth: np.ndarray, share: float = 0.06) -> np.ndarray:
    """Depth that errs by up to this share, otherwise in every row, as a network's does."""
    factors = np.random.default_rng(0).uniform(1 - share, 1 + share, len(truth))
    return ranged(truth * factors[:, None].astype(np.float32))


def cells(points: np.ndarray) -> set[tuple[int, int]]:
    """Cells of 0.05 m on the floor."""
    return set(map(tuple, np.unique(np.floor(points[:, :2] / 0.05).astype(int), axis=0)))


def test_a_wavering_wall_is_marked_in_fewer_layers():
    seen = wavering(true_depth(CAMERA, MOUNT, [WALL]))
    every, _ = clouds(seen, settings=replace(SETTINGS, range_resolution_m=0.0))
    marked, _ = clouds(seen)
    assert 3 * len(cells(marked)) < len(cells(every))
    assert cells(marked) <= cells(every)  # nothing is marked where no point stood
    # No point is without a mark within a range resolution and a voxel.
    way = np.hypot(*(every[::3, None, :2] - marked[None, :, :2]).transpose(2, 0, 1)).min(axis=1)
    assert way.max() < SETTINGS.range_resolution_m + SETTINGS.voxel_size_m
    assert np.ptp(marked[:, 2]) > 0.95 * np.ptp(every[:, 2])  # heights stay


TABLE = ((1.22, -0.5, 0.0), (1.55, 0.5, 0.12))  # seen from above, within one ring


def test_a_surface_is_marked_at_its_median_and_where_depth_is_sure_at_its_near_end():
    truth = true_depth(CAMERA, MOUNT, [TABLE])
    sure, unsure = (clouds(ranged(truth), sigma=sigma)[0] for sigma in (0.01, 0.2))
    straight_ahead = [marks[np.abs(marks[:, 1]) < 0.1, 0] for marks in (sure, unsure)]
    assert straight_ahead[0].min() == pytest.approx(1.22, abs=0.01)
    assert np.all(np.abs(straight_ahead[1] - 1.36) < 0.04)
    assert np.any(np.abs(straight_ahead[0] - 1.36) < 0.04)


def test_what_may_be_floor_is_not_marked_and_ends_clearing():
    floor = true_depth(CAMERA, MOUNT, [])
    tile = (floor > 1.4) & (floor < 1.9) & (np.abs(np.arange(CAMERA.width) - CAMERA.cx) < 20)
    nearer = ranged(np.where(tile, floor / 1.35, floor))  # a dark one seems 0.13 m high
    (sure, _), (unsure, clearing) = (clouds(nearer, sigma=sigma) for sigma in (0.05, 0.25))
    assert len(sure) > 10 and not len(unsure) and not len(ahead_of(clearing, 1.4, 0.05))
    heights = clouds(ranged(true_depth(CAMERA, MOUNT, [BOX])), sigma=0.25)[0][:, 2]
    assert len(heights) > 30 and heights.min() > 0.14 and heights.max() > 0.29


def test_what_is_marked_at_another_place_keeps_its_height():
    stairs = [((x, -0.3, 0.0), (x + 0.02, 0.3, top)) for x, top in ((2.92, 0.2), (2.98, 0.6))]
    stairs.append(((3.1, -0.3, 0.0), (3.12, 0.3, 1.0)))
    marking, _ = clouds(ranged(true_depth(CAMERA, MOUNT, stairs)))
    middle = marking[np.abs(marking[:, 0] - 2.98) < 0.02]
    assert middle[:, 2].max() == pytest.approx(1.0, abs=0.05)


def test_what_stands_farther_behind_is_marked_by_itself():
    two = [((2.85, -0.4, 0.0), (2.87, 0.4, 0.3)), ((3.1, -0.4, 0.0), (3.12, 0.4, 1.0))]
    marking, _ = clouds(ranged(true_depth(CAMERA, MOUNT, two)), sigma=0.2)
    for front in (2.85, 3.1):  # in one ring
        assert (np.abs(marking[:, 0] - front) < 0.03).sum() > 40


def test_without_a_range_resolution_marks_stand_where_the_points_do():
    seen = wavering(true_depth(CAMERA, MOUNT, [WALL]))
    settings = replace(SETTINGS, range_resolution_m=0.0, voxel_size_m=0.005, min_height_m=0.5)
    marking, _ = clouds(seen, settings=settings)
    depth = MOUNT.inverse().apply(marking)[:, 2]
    assert np.isin(depth.round(3), np.unique(seen[np.isfinite(seen)]).round(3)).mean() > 0.99


def test_each_voxel_keeps_its_most_certain_point():
    points = np.array([[0.01, 0.01, 1.01], [0.02, 0.02, 1.02], [0.08, 0.0, 1.0], [-0.01, 0, 1.0]])
    kept = voxel_thin(points.astype(np.float32), np.array([0.2, 0.9, 0.1, 0.3], np.float32), 0.05)
    assert kept.tolist() == [1, 2, 3]
    assert len(voxel_thin(np.zeros((0, 3), np.float32), np.zeros(0, np.float32), 0.05)) == 0
    with pytest.raises(ValueError, match="voxel_size is 0 m"):
        voxel_thin(points, np.ones(4), 0)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"min_height_m": 2.0}, "min_obstacle_height must be the smaller"),
        ({"voxel_size_m": 0.0}, "voxel_size is 0.0 m"),
        ({"range_resolution_m": -0.1}, "range_resolution is -0.1 m"),
    ],
)
def test_settings_that_cannot_be_are_named(changes, named):
    with pytest.raises(ValueError, match=named):
        ObstacleSettings(**changes)
