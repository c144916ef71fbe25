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

"""Is z = 0 the floor: exact depth, the shipped network on the shipped recording, and words."""

from __future__ import annotations

import math

import numpy as np
import pytest
from room_depth import CAMERA, monocular, room_depth
from scale import RECORDING, read_steps

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.floor_check import FloorCheck, FloorCheckSettings, mount_doubt
from depthrefl_ros.geometry.pose import Pose, mount_rotation

MODEL_ERROR = 0.16  # of a network; the shipped one's is in its bundle
MOUNT = {"height_m": 0.5, "pitch_rad": 0.15}
PERIOD_S = 0.1
WHOLE_S = 6.0  # more than any verdict takes


def watched(depths, mounts, scale_error=MODEL_ERROR, check=None, camera=CAMERA):
    """Return the health of every frame."""
    check = check or FloorCheck()
    return [
        check.update(depth, camera, Pose.from_mount(**mount), scale_error, index * PERIOD_S)
        for index, (depth, mount) in enumerate(zip(depths, mounts, strict=True))
    ]


def stand(offset_m: float, scale: float = 1.0, scale_error=MODEL_ERROR, **mount):
    """Return a still camera with exact depth times a factor, its floor at offset_m of z = 0."""
    believed = {**MOUNT, **mount}
    true = {**believed, "height_m": believed["height_m"] - offset_m}
    depth = room_depth(Pose.from_mount(**true)) * np.float32(scale)
    count = int(WHOLE_S / PERIOD_S)
    return watched([depth] * count, [believed] * count, scale_error)


def test_what_a_wrong_base_frame_showed_is_forgotten_with_it():
    check, wrong, right = FloorCheck(), {**MOUNT, "height_m": 0.9}, MOUNT
    floor = room_depth(Pose.from_mount(**right))
    count = int(WHOLE_S / PERIOD_S)
    assert not watched([floor] * count, [wrong] * count, check=check)[-1].ok
    nothing = np.full_like(floor, np.nan)  # a wall fills the view
    health = check.update(nothing, CAMERA, Pose.from_mount(**right), MODEL_ERROR, WHOLE_S)
    assert health.ok and "0.90" not in health.reason and math.isnan(health.offset_m)


def test_what_another_camera_showed_is_forgotten():
    check, wrong = FloorCheck(), {**MOUNT, "height_m": 0.9}
    floor = room_depth(Pose.from_mount(**MOUNT))
    count = int(WHOLE_S / PERIOD_S)
    assert not watched([floor] * count, [wrong] * count, check=check)[-1].ok
    assert not check.follow(CAMERA, Pose.from_mount(**wrong)).ok
    other = Camera.from_horizontal_fov(CAMERA.width, CAMERA.height, 0.5)
    assert check.follow(other, Pose.from_mount(**wrong)).ok


@pytest.mark.parametrize("speed", [0.03, 0.2])
def test_a_mast_that_moves_keeps_what_was_seen(speed):
    count = int(WHOLE_S / PERIOD_S)
    mounts = [{**MOUNT, "height_m": 0.6 + speed * PERIOD_S * index} for index in range(count)]
    depths = [room_depth(Pose.from_mount(**{**one, "height_m": one["height_m"] - 0.5}))
              for one in mounts]  # fmt: skip
    oks = [health.ok for health in watched(depths, mounts)]
    assert oks == sorted(oks, reverse=True) and not oks[-1]  # once told, it stands


def test_a_lens_that_focuses_keeps_what_was_seen():
    check, wrong = FloorCheck(), Pose.from_mount(**{**MOUNT, "height_m": 0.9})
    floor = room_depth(Pose.from_mount(**MOUNT))
    for index in range(int(WHOLE_S / PERIOD_S)):
        focal = CAMERA.fx * (1 + 1e-4 * (index % 2))
        sizes = (CAMERA.width, CAMERA.height)
        camera = Camera.pinhole(*sizes, focal, focal, CAMERA.cx, CAMERA.cy)
        health = check.update(floor, camera, wrong, MODEL_ERROR, index * PERIOD_S)
    assert not health.ok


def test_what_was_said_of_a_camera_below_the_floor_ends_above_it():
    check, floor = FloorCheck(), np.full((CAMERA.height, CAMERA.width), np.nan, np.float32)
    for height_m, said in ((0.0, "at z = 0"), (-0.01, "0.01 m below z = 0")):
        pose = Pose(mount_rotation(0.15, 0.0), np.array([0.0, 0.0, height_m]))
        assert said in check.update(floor, CAMERA, pose, MODEL_ERROR, 0.0).reason
    assert check.update(floor, CAMERA, Pose.from_mount(0.02, 0.15), MODEL_ERROR, 0.1).ok


@pytest.mark.parametrize("scale_error", [0.0, MODEL_ERROR, math.inf])
def test_a_base_frame_on_the_body_is_found_with_exact_depth(scale_error):
    """Camera 0.5 m over the floor, 0.37 m over base_link, which is 0.13 m up."""
    healths = stand(-0.13, height_m=0.37, scale_error=scale_error)
    assert [health.ok for health in healths[:10]] == [True] * 4 + [False] * 6
    assert not healths[-1].ok and healths[-1].is_doubtful
    assert healths[-1].offset_m == pytest.approx(-0.13, abs=0.005)
    assert "0.13 m below z = 0" in healths[-1].reason and "0.37 m above" in healths[-1].reason


def test_a_floor_above_zero_is_found_but_takes_longer():
    """A table top that fills the view for a moment looks the same."""
    healths = stand(+0.2)
    stops = [health.ok for health in healths].index(False)
    assert 20 <= stops <= 50
    assert healths[-1].offset_m == pytest.approx(0.2, abs=0.005)
    assert "0.20 m above z = 0" in healths[-1].reason


@pytest.mark.parametrize("offset_m", [0.0, -0.04, 0.04])
@pytest.mark.parametrize(
    "pitch_rad, roll_rad", [(0.0, 0.0), (0.5, 0.0), (0.2, 0.3), (0.1, math.pi)]
)
def test_what_is_within_the_limit_is_believed(offset_m, pitch_rad, roll_rad):
    healths = stand(offset_m, pitch_rad=pitch_rad, roll_rad=roll_rad)
    assert all(health.ok for health in healths)
    assert healths[-1].offset_m == pytest.approx(offset_m, abs=0.005)
    assert not healths[-1].is_doubtful


def test_the_limit_is_a_setting():
    depth = room_depth(Pose.from_mount(0.6, 0.15))
    for limit_m, ok in ((0.05, False), (0.09, False), (0.11, True), (0.0, True)):
        check = FloorCheck(FloorCheckSettings(max_error_m=limit_m))
        health = watched([depth] * 20, [MOUNT] * 20, 0.0, check)[-1]
        assert health.ok is ok, limit_m
    assert "not compared" in health.reason
    with pytest.raises(ValueError, match="max_floor_error is -0.1 m"):
        FloorCheckSettings(max_error_m=-0.1)


@pytest.mark.parametrize("scale, ok", [(0.85, True), (1.15, True), (1.5, False)])
def test_a_networks_error_of_scale_alone_does_not_stop_it(scale, ok):
    """The floor of a network is uneven; 1.5 is more than it was validated with."""
    depth = room_depth(Pose.from_mount(**MOUNT))
    frames = [monocular(depth, seed) * np.float32(scale) for seed in range(30)]
    assert watched(frames, [MOUNT] * 30)[-1].ok is ok


def test_a_trusted_scale_shows_smaller_offsets():
    depth = monocular(room_depth(Pose.from_mount(0.6, 0.15)), 0)
    assert watched([depth] * 20, [MOUNT] * 20, MODEL_ERROR)[-1].ok
    assert not watched([depth] * 20, [MOUNT] * 20, 0.05)[-1].ok


@pytest.fixture(scope="module")
def drive():
    """Return the shipped recording through the shipped network."""
    return list(read_steps(str(RECORDING), "indoor_tiny", "openvino", 1000))


def healths_of(drive, raised_m: float, scale_error: float, truth: bool = False):
    depths = [step.truth_m if truth else step.predicted_m for step in drive]
    mounts = [{**step.mount, "height_m": step.mount["height_m"] - raised_m} for step in drive]
    return watched(depths, mounts, scale_error, camera=drive[0].camera)


@pytest.mark.parametrize("scale_error", [Bundle.load("indoor_tiny").untold_error, math.inf])
def test_the_shipped_network_on_the_shipped_recording_is_believed(drive, scale_error):
    assert len(drive) > 50
    assert all(health.ok for health in healths_of(drive, 0.0, scale_error))


def test_where_only_the_floor_tells_the_scale_an_uneven_one_may_have_another(drive):
    """As the ground anchor mends it, of a camera whose focal length is misstated."""
    camera = drive[0].camera
    own = np.median([np.nanmedian(step.predicted_m / step.truth_m) for step in drive])
    depths = [step.predicted_m * np.float32(1.4 / own) for step in drive]
    mounts = [step.mount for step in drive]
    assert all(health.ok for health in watched(depths, mounts, math.inf, camera=camera))
    assert not watched(depths, mounts, MODEL_ERROR, camera=camera)[-1].ok


@pytest.mark.parametrize("scale_error", [0.0, MODEL_ERROR, math.inf])
def test_exact_depth_of_the_recording_shows_a_frame_that_is_up(drive, scale_error):
    assert all(health.ok for health in healths_of(drive, 0.0, scale_error, truth=True))
    healths = healths_of(drive, 0.13, scale_error, truth=True)
    assert [health.ok for health in healths].index(False) < 10 and not healths[-1].ok
    assert healths[-1].offset_m == pytest.approx(-0.13, abs=0.01)


def test_without_a_floor_what_was_known_stands():
    check, wall = FloorCheck(), np.full((96, 128), 1.0, np.float32)
    assert math.isnan(watched([wall] * 5, [MOUNT] * 5, check=check)[-1].offset_m)
    assert check.health.ok and "no floor" in check.health.reason
    high = room_depth(Pose.from_mount(0.7, 0.15))
    assert not watched([high] * 10, [MOUNT] * 10, check=check)[-1].ok
    assert not watched([wall] * 30, [MOUNT] * 30, check=check)[-1].ok
    check.reset()
    assert check.health.ok


def test_it_recovers_when_the_floor_is_right_again():
    check, check_of = FloorCheck(), Pose.from_mount
    wrong, right = room_depth(check_of(0.7, 0.15)), room_depth(check_of(**MOUNT))
    healths = watched([wrong] * 10 + [right] * 50, [MOUNT] * 60, check=check)
    assert not healths[9].ok and healths[-1].ok


def test_a_look_every_half_second_is_enough(monkeypatch):
    from depthrefl_ros.geometry import floor_check

    looks, real = [], floor_check.find_floor
    monkeypatch.setattr(floor_check, "find_floor", lambda *args: looks.append(args) or real(*args))
    stand(0.0)
    assert 10 <= len(looks) <= 17  # five at once, then one each half second


def test_a_floor_that_leans_is_told_in_words():
    depth = room_depth(Pose.from_mount(0.5, pitch_rad=math.radians(35)))
    healths = watched([depth] * 200, [{"height_m": 0.5, "pitch_rad": math.radians(12)}] * 200)
    assert healths[-1].ok and healths[-1].is_doubtful
    assert "leans 23 degrees" in healths[-1].reason and "pitch" in healths[-1].reason


@pytest.mark.parametrize("height_m", [2.9, 3.1, 6.0])
def test_the_floor_of_a_high_camera_is_looked_for(height_m):
    """As of one under a ceiling, whose height is told as three fifths of what it is."""
    hall = ((-2.0, -6.0, 0.0), (20.0, 6.0, 8.0))
    depth = room_depth(Pose.from_mount(height_m, pitch_rad=math.radians(40)), room=hall)
    told = {"height_m": 0.6 * height_m, "pitch_rad": math.radians(40)}
    health = watched([depth] * 40, [told] * 40)[-1]
    assert not health.ok and f"{0.4 * height_m:.2f} m below z = 0" in health.reason


def test_a_camera_below_zero_needs_no_look():
    check = FloorCheck()
    below = Pose(mount_rotation(0.0, 0.0), np.array([0.0, 0.0, -0.1]))
    health = check.update(np.full((96, 128), np.nan, np.float32), CAMERA, below, 0.16, 0.0)
    assert not health.ok and "0.10 m below z = 0" in health.reason


def test_unusual_mounts_are_told():
    assert mount_doubt(Pose.from_mount(0.5, 0.3, 0.2)) is None
    assert mount_doubt(Pose.from_mount(0.5, math.radians(80))) is None
    assert "upside down" in mount_doubt(Pose.from_mount(0.5, 0.1, math.pi))
    assert "optical frame" in mount_doubt(Pose(np.eye(3), np.array([0, 0, 0.5])))
