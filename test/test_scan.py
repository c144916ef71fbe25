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

"""The virtual scan: rooms whose ranges are known in closed form, and what no beam may claim."""

import math
import time

import numpy as np
import pytest

from depthrefl_ros.geometry import scan
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.gates import GateSettings
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.rays import pixel_rays
from depthrefl_ros.geometry.scan import ScanSettings, scan_ranges

CAMERA = Camera.from_horizontal_fov(256, 192, math.radians(80))
HEIGHT_M = 0.5
LENS_AHEAD_M = 0.2
WALL_M = 3.0  # ahead of the base frame's origin
INCREMENT = math.radians(1.0)
GATES = GateSettings(max_range_m=8.0)
SIGMA = np.full((192, 256), 0.05, np.float32)


def settings(**changes) -> ScanSettings:
    usual = {"min_height_m": 0.1, "max_height_m": 1.2, "angle_increment_deg": 1.0}
    return ScanSettings(**{**usual, **changes})


def mount(pitch_deg: float = 0.0, roll_deg: float = 0.0) -> Pose:
    return Pose.from_mount(
        HEIGHT_M, math.radians(pitch_deg), math.radians(roll_deg), LENS_AHEAD_M, 0.05
    )


def room(pose: Pose, wall_m: float = WALL_M, box: tuple | None = None) -> np.ndarray:
    """Depth (h, w) of a floor and a wall across the way, by intersection of rays and planes.

    ``box`` is (x, y_right, y_left, top) of a board that stands before the wall.
    """
    rows, columns = np.mgrid[: CAMERA.height, : CAMERA.width]
    rays = pixel_rays(CAMERA, columns.ravel(), rows.ravel()) @ pose.rotation.T
    with np.errstate(divide="ignore"):
        floor = np.where(rays[:, 2] < 0, -pose.translation[2] / rays[:, 2], np.inf)
        wall = (wall_m - pose.translation[0]) / rays[:, 0]
    wall = np.where(wall > 0, wall, np.inf)
    depth = np.minimum(floor, wall)
    if box is not None:
        x, right, left, top = box
        z = (x - pose.translation[0]) / rays[:, 0]
        at = pose.translation + z[:, None] * rays
        hit = (z > 0) & (at[:, 1] > right) & (at[:, 1] < left) & (at[:, 2] > 0) & (at[:, 2] < top)
        depth = np.where(hit, np.minimum(depth, z), depth)
    return depth.reshape(CAMERA.height, CAMERA.width).astype(np.float32)


def scan_of(depth, pose=None, ungated=None, sigma=SIGMA, scan_pose=None, **changes):
    pose = pose or mount()
    ungated = np.where(np.isfinite(depth), depth, 20.0) if ungated is None else ungated
    poses, ungated = (pose, scan_pose or pose), ungated.astype(np.float32)
    made = scan_ranges(depth, ungated, sigma, CAMERA, *poses, settings(**changes), GATES)
    angles = -math.pi + INCREMENT * np.arange(made.size)
    return made, angles


@pytest.mark.parametrize("pitch, roll", [(0, 0), (15, 0), (-5, 0), (5, 10), (0, 180)])
def test_a_wall_is_measured_from_the_scan_frame_whatever_the_mount(pitch, roll):
    pose = mount(pitch, roll)
    ranges, angles = scan_of(room(pose), pose)
    ahead = np.abs(angles) < math.radians(30)
    assert ranges.shape == (360,) and ranges.dtype == np.float32
    # A beam takes the nearest point within its half degree.
    np.testing.assert_allclose(ranges[ahead], WALL_M / np.cos(angles[ahead]), rtol=0.007)
    assert np.isnan(ranges[np.abs(angles) > math.radians(60)]).all()


def test_another_scan_frame_moves_the_ranges():
    pose = mount()
    behind = Pose(np.eye(3), np.array([1.0, 0.0, 0.0]))  # scan frame 1 m behind the base frame
    ranges, angles = scan_of(room(pose), pose, scan_pose=behind @ pose)
    assert ranges[np.abs(angles).argmin()] == pytest.approx(WALL_M + 1.0, rel=1e-3)
    turned = Pose(np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), np.zeros(3))
    ranges, angles = scan_of(room(pose), pose, scan_pose=turned @ pose)
    assert ranges[np.abs(angles - math.pi / 2).argmin()] == pytest.approx(WALL_M, rel=1e-3)


def test_the_beam_behind_is_one_beam():
    pose = mount()
    back = Pose(np.diag([-1.0, -1, 1]), np.zeros(3))
    ranges, angles = scan_of(room(pose), pose, scan_pose=back @ pose)
    assert ranges[0] == pytest.approx(WALL_M, rel=1e-3)  # at -180 degrees
    assert ranges[1] == pytest.approx(WALL_M, rel=1e-3)
    assert ranges[-1] == pytest.approx(WALL_M, rel=1e-3)


def test_the_nearest_return_of_a_beam_counts_wherever_it_is_in_the_image():
    depth = room(mount())
    horizon = CAMERA.height // 2
    depth[horizon - 6 : horizon - 3] = 1.0  # a beam of wood across the way, the wall below it
    ranges, angles = scan_of(depth)
    assert ranges[np.abs(angles).argmin()] == pytest.approx(1.0 + LENS_AHEAD_M, rel=1e-2)


def test_the_band_is_one_of_heights():
    box = (1.5, -0.3, 0.3, 0.3)
    ahead = 180
    assert scan_of(room(mount(), box=box))[0][ahead] == pytest.approx(1.5, rel=1e-3)
    high = scan_of(room(mount(), box=box), min_height_m=0.35)[0]
    assert high[ahead] == pytest.approx(WALL_M, rel=1e-3)
    floor_only = scan_of(room(mount(), wall_m=50.0))[0]
    assert not np.isfinite(floor_only).any()


def test_a_believed_ray_inside_the_band_makes_a_beam_free():
    depth = room(mount(), wall_m=50.0)
    depth[depth > 10.0] = np.inf
    ranges, angles = scan_of(depth)
    assert np.isposinf(ranges[np.abs(angles) < math.radians(35)]).all()
    assert np.isnan(ranges[np.abs(angles) > math.radians(60)]).all()
    # Beyond the gates' range, but maybe not beyond the scan's.
    nearer = scan_of(depth, ungated=np.where(np.isinf(depth), 7.0, depth))[0]
    assert np.isnan(nearer[180])


def test_rays_that_leave_the_band_prove_nothing():
    pose = mount(-40)  # looks up, over everything
    depth = np.full((192, 256), np.inf, np.float32)
    assert np.isnan(scan_of(depth, pose)[0]).all()
    pose = mount(45)  # sees nothing but the floor at its feet
    assert np.isnan(scan_of(room(pose), pose)[0]).all()
    assert np.isnan(scan_of(room(mount(), wall_m=50.0), min_height_m=0.6)[0]).all()


def test_an_unbelieved_pixel_in_the_band_is_unknown_never_free():
    depth = room(mount(), wall_m=50.0)
    depth[depth > 10.0] = np.inf
    truth = room(mount(), wall_m=50.0, box=(2.0, -0.3, 0.3, 0.45))
    box = truth < np.minimum(depth, 10.0) - 0.01
    depth[box] = np.nan
    ungated = np.where(np.isfinite(truth), truth, 20.0)
    ranges, angles = scan_of(depth, ungated=np.minimum(ungated, 20.0))
    hidden = np.abs(angles) < math.atan2(0.28, 2.0)
    assert np.isnan(ranges[hidden]).all()
    assert np.isposinf(ranges[(np.abs(angles) > 0.25) & (np.abs(angles) < 0.6)]).all()
    # A return in front of it stands.
    depth[90:96] = 1.0
    assert np.isfinite(scan_of(depth, ungated=ungated)[0][180])


def test_an_uncertain_pixel_may_lie_nearer_than_it_seems():
    depth = room(mount(), wall_m=50.0)
    depth[depth > 10.0] = np.inf
    gated = depth.copy()
    gated[96, 128] = np.nan
    ungated = np.where(np.isfinite(depth), depth, 20.0)
    assert np.isposinf(scan_of(gated, ungated=ungated)[0][180])  # 20 m exp(-0.1): out of range
    doubtful = np.full_like(SIGMA, 0.6)
    assert np.isnan(scan_of(gated, ungated=ungated, sigma=doubtful)[0][180])


@pytest.mark.parametrize(
    "first, second, expected",
    [
        ((1.0, 0.0), (1.0, 1.0), range(0, 46)),
        ((1.0, 1.0), (1.0, 0.0), range(0, 46)),
        ((-1.0, 0.1), (-1.0, -0.1), range(174, 187)),
        ((1.0, -0.1), (1.0, 0.1), [*range(0, 7), *range(354, 360)]),
        ((0.0, 2.0), (0.0, 1.0), [90]),
    ],
)
def test_every_beam_that_a_segment_crosses_is_found(first, second, expected):
    ends = (tuple(np.array([value]) for value in point) for point in (first, second))
    bearings = (settings().beams_between(*ends) - 180) % 360  # degrees; the first beam looks back
    assert sorted(bearings.tolist()) == list(expected)


def test_beams_between_the_ends_of_an_unbelieved_pixels_ray_are_unknown():
    pose = Pose(mount().rotation, np.array([0.6, 0.0, mount().translation[2]]))
    depth = np.full_like(room(mount()), np.inf)
    ungated = np.full_like(depth, 3.0)
    depth[:, :4] = np.nan
    ranges, angles = scan_of(depth, pose, ungated=ungated, sigma=np.full_like(SIGMA, 0.4))
    ray = np.array([3.0, pixel_rays(CAMERA, np.array([1]), np.array([96]))[0, 0] * -3.0])
    ends = [math.atan2(ray[1] * share, ray[0] * share + 0.6) for share in (math.exp(-0.4), 1.0)]
    between = (angles > min(ends)) & (angles < max(ends))
    assert between.sum() >= 2 and np.isnan(ranges[between]).all()


def test_unseen_pixels_are_no_evidence_at_all():
    depth = room(mount(), wall_m=50.0)
    depth[depth > 10.0] = np.inf
    ungated = np.where(np.isfinite(depth), depth, 20.0)
    depth[:, :128] = ungated[:, :128] = np.nan
    ranges, angles = scan_of(depth, ungated=ungated)
    assert np.isnan(ranges[angles > 0.05]).all()
    assert np.isposinf(ranges[(angles < -0.05) & (angles > -0.6)]).all()
    nothing = np.full_like(depth, np.nan)
    assert np.isnan(scan_of(nothing, ungated=nothing)[0]).all()


def test_what_is_too_near_has_the_range_of_the_ranges_end():
    depth = room(mount(), box=(0.7, -0.1, 0.1, 1.0))
    gated = np.where(depth < 0.6, -np.inf, depth).astype(np.float32)
    gates = GateSettings(min_range_m=0.6, max_range_m=8.0)
    poses = (mount(), mount())
    ranges = scan_ranges(gated, depth, SIGMA, CAMERA, *poses, settings(), gates)
    assert ranges[180] == pytest.approx(LENS_AHEAD_M + 0.6, rel=1e-3)
    assert ranges[180 + 25] > 3.0 and not np.isneginf(ranges).any()


def test_a_stop_is_not_released_when_somebody_comes_closer():
    """Nav2's collision monitor counts the points of ranges from range_min 0 on in its polygon."""
    gates, counts = GateSettings(min_range_m=0.4, max_range_m=8.0), []
    for distance_m in np.arange(0.55, 0.11, -0.02):
        depth = room(mount(), box=(LENS_AHEAD_M + distance_m, -0.2, 0.2, 1.0))
        gated = np.where(depth < gates.min_range_m, -np.inf, depth).astype(np.float32)
        poses = (mount(), mount())
        ranges = scan_ranges(gated, depth, SIGMA, CAMERA, *poses, settings(), gates)
        angles = settings().angle_min + INCREMENT * np.arange(ranges.size)
        usable = (ranges >= 0.0) & (ranges <= gates.max_range_m)
        x, y = (ranges[usable] * turn(angles[usable]) for turn in (np.cos, np.sin))
        counts.append(np.count_nonzero((x < LENS_AHEAD_M + 0.5) & (np.abs(y) < 0.3)))
    assert counts[0] < 4 and min(counts[3:]) >= 4


def test_pose_and_settings_may_change_from_frame_to_frame():
    for pitch, band in ((0, 0.1), (10, 0.1), (10, 0.2), (0, 0.2)):
        pose, chosen = mount(pitch), settings(min_height_m=band)
        depth = room(pose, box=(1.5, -0.3, 0.3, 0.4))
        args = (depth, depth, SIGMA, CAMERA, pose, pose, chosen, GATES)
        found = scan_ranges(*args)
        scan._mount.cache_clear()
        np.testing.assert_array_equal(found, scan_ranges(*args))


def test_equal_poses_that_are_other_objects_find_the_same_tables():
    """As of a scan in the camera's own frame, whose pose is made anew in every frame."""
    scan._mount.cache_clear()
    depth = room(mount())
    for _ in range(5):
        camera = Camera.from_horizontal_fov(256, 192, math.radians(80))
        poses = (mount(3.0), Pose.identity())
        scan_ranges(depth, depth, SIGMA, camera, *poses, settings(), GATES)
    assert scan._mount.cache_info().misses == 1


def test_a_moving_camera_piles_up_no_tables():
    for pitch in np.linspace(0.0, 5.0, 20):
        depth, pose = room(mount(pitch)), mount(pitch)
        scan_ranges(depth, depth, SIGMA, CAMERA, pose, pose, settings(), GATES)
    assert scan._mount.cache_info().currsize <= 4


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"min_height_m": 2.0}, "scan_min_height is 2.0 m"),
        ({"angle_increment_deg": 0.0}, "scan_angle_increment is 0.0 degrees"),
        ({"angle_increment_deg": 11.0}, "scan_angle_increment is 11.0 degrees"),
    ],
)
def test_settings_that_cannot_be_are_named(changes, named):
    with pytest.raises(ValueError, match=named):
        settings(**changes)


@pytest.mark.parametrize("increment", [0.5, 1.0, 0.7, 7.0])
def test_the_beams_go_once_around(increment):
    chosen = settings(angle_increment_deg=increment)
    assert chosen.angle_min == -math.pi and chosen.angle_increment == math.radians(increment)
    assert chosen.beams == int(360 / increment)
    gap = chosen.angle_min + 2 * math.pi - chosen.angle_max
    assert chosen.angle_increment <= gap + 1e-9 < 2 * chosen.angle_increment
    assert chosen.angle_max == pytest.approx(
        chosen.angle_min + (chosen.beams - 1) * chosen.angle_increment
    )


def test_a_scan_takes_no_time_to_speak_of():
    pose = mount()
    depth = room(pose)
    depth[::7] = np.nan
    chosen, ungated = settings(), room(pose)
    times = []
    for _ in range(12):
        start = time.thread_time()
        scan_ranges(depth, ungated, SIGMA, CAMERA, pose, pose, chosen, GATES)
        times.append(time.thread_time() - start)
    assert min(times) < 2e-3, f"{min(times) * 1e3:.1f} ms"


def test_a_beam_that_may_meet_anything_is_not_free():
    """No number came of the network, or the median has lost a pole as thin as a pixel."""
    free = np.full((192, 256), np.inf, np.float32)
    assert np.isposinf(scan_of(free)[0]).sum() > 60
    thin = np.full((192, 256), 20.0, np.float32)
    thin[:, 128] = 2.0
    cases = [(free, thin, SIGMA)]
    for answer, sigma in ((0.0, 0.05), (20.0, np.nan)):
        gated, ungated, sigmas = free.copy(), np.full_like(free, 20.0), SIGMA.copy()
        gated[:, 128], ungated[:, 128], sigmas[:, 128] = np.nan, answer, sigma
        cases.append((gated, ungated, sigmas))
    for gated, ungated, sigmas in cases:
        ranges, angles = scan_of(gated, ungated=ungated, sigma=sigmas)
        met = np.isclose(angles, INCREMENT)  # seen from the base frame's origin, at 2 m
        assert met.sum() == 1 and np.isnan(ranges[met]).all() and np.isposinf(ranges).sum() > 60
