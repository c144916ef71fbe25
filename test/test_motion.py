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

from __future__ import annotations

import cv2
import numpy as np
import pytest
from corridor_drive import PERIOD_S, DriveFrame, corridor_frames

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.motion import MotionDepth, MotionPoints
from depthrefl_ros.geometry.pose import Pose


class Drive:
    """Sends frames of the recording to one ``MotionDepth``."""

    def __init__(self, turn_noise_deg=0.0):
        self.motion, self.time_s = MotionDepth(), 100.0
        self._rng, self._noise = np.random.default_rng(0), np.radians(turn_noise_deg)

    def send(self, frame: DriveFrame, pose=None, after_s=PERIOD_S, grey=None, seen=None):
        self.time_s += after_s
        turn = cv2.Rodrigues(self._noise * self._rng.normal(size=3))[0]
        pose = (pose or frame.odom_from_camera) @ Pose(turn, np.zeros(3))
        grey = frame.grey if grey is None else grey
        return self.motion.update(grey, frame.camera, seen, pose, self.time_s)

    def drive(self, count=16) -> MotionPoints:
        for frame in corridor_frames()[:count]:
            found = self.send(frame)
        return found


@pytest.fixture
def last() -> DriveFrame:
    return corridor_frames()[-1]


@pytest.mark.parametrize("turn_noise_deg", [0.0, 1.0])
def test_depth_is_right_within_a_few_percent_though_odometry_turns_wrongly(turn_noise_deg, last):
    found = Drive(turn_noise_deg).drive()
    off = np.abs(last.errors(found.points))
    assert len(found.points) == len(found.sigma) > 80
    assert np.median(off) < 0.04 and np.quantile(off, 0.8) < 0.12
    assert (found.sigma < 0.121).all() and (found.sigma >= 0.01).all()


def test_odometry_that_is_a_tenth_short_makes_all_a_tenth_nearer(last):
    drive = Drive()
    for frame in corridor_frames():
        pose = frame.odom_from_camera
        found = drive.send(frame, Pose(pose.rotation, 0.9 * pose.translation))
    right = np.median(last.errors(Drive().drive().points, 0))
    assert np.median(last.errors(found.points, 0)) - right == pytest.approx(np.log(0.9), abs=0.03)


def test_nothing_is_known_before_the_robot_drives(last):
    drive = Drive()
    for _ in range(12):
        assert len(drive.send(last).points) == 0


def test_a_robot_that_turns_on_the_spot_learns_nothing(last):
    drive = Drive()
    for index in range(8):
        turned = Pose(cv2.Rodrigues(np.array([0.0, 0.01 * index, 0.0]))[0], np.zeros(3))
        assert len(drive.send(last, last.odom_from_camera @ turned).points) == 0


def test_a_robot_that_stops_still_knows_what_it_saw(last):
    drive = Drive()
    driving = drive.drive()
    for _ in range(40):
        found = drive.send(last)
    assert len(found.points) > 0.8 * len(driving.points)
    assert np.median(np.abs(last.errors(found.points))) < 0.04


def test_what_begins_to_move_by_itself_is_left_out(last):
    drive = Drive()
    before = drive.drive()
    grey, moves = last.grey, 220  # columns
    before_there = (last.columns(before.points) < moves).sum()
    for step in range(1, 6):
        shown = grey.copy()
        shown[:, :moves] = np.roll(grey[:, :moves], 4 * step, axis=1)
        found = drive.send(last, grey=shown)
        if step == 2:  # 8 pixels off, of which 4 are allowed
            assert (last.columns(found.points) < moves).sum() < 0.5 * before_there
    there = (last.columns(found.points) < moves).sum()
    assert before_there > 20 and there < 0.15 * before_there
    assert len(found.points) - there > 0.6 * (len(before.points) - before_there)


def test_a_slip_of_the_odometry_costs_what_is_known_only_for_a_while(last):
    drive = Drive()
    for frame in corridor_frames()[:-1]:
        drive.send(frame)
    slipped = Pose(last.odom_from_camera.rotation, last.odom_from_camera.translation + (0.15, 0, 0))
    drive.send(last, slipped)
    for _ in range(3):
        found = drive.send(last)
    off = np.abs(last.errors(found.points))
    assert len(found.points) > 20 and np.quantile(off, 0.8) < 0.12


def test_a_robot_that_turns_fast_keeps_what_is_still_in_view(last):
    drive = Drive()
    before = drive.drive()
    turn = cv2.Rodrigues(np.array([0.0, np.radians(15.0), 0.0]))[0]
    camera = np.array(last.camera.K)
    grey = cv2.warpPerspective(last.grey, camera @ turn.T @ np.linalg.inv(camera), (640, 480))
    found = drive.send(last, last.odom_from_camera @ Pose(turn, np.zeros(3)), grey=grey)
    there = before.points @ turn
    still = (last.columns(there) > 20) & (there[:, 2] > 0.0)
    assert still.sum() > 30 and len(found.points) > 0.6 * still.sum()


REASONS = {
    "gap": "no image and place for 2.5 s; 2 s are allowed",
    "set back": "the clock was set back",
    "odometry": "odometry moved by 5.2 m and 0 degrees within 0.10 s",
    "turn": "odometry moved by 0.0 m and 90 degrees within 0.10 s",
    "camera": "the camera has changed",
}


@pytest.mark.parametrize("torn", REASONS)
def test_what_is_torn_begins_anew_and_says_why(torn, last):
    drive = Drive()
    drive.drive()
    pose, after_s, frame = None, PERIOD_S, last
    if torn == "gap":
        after_s = 2.5
    elif torn == "set back":
        after_s = -5.0
    elif torn == "odometry":
        pose = Pose(last.odom_from_camera.rotation, last.odom_from_camera.translation + 3.0)
    elif torn == "turn":
        turn = cv2.Rodrigues(np.array([0.0, np.pi / 2, 0.0]))[0]
        pose = last.odom_from_camera @ Pose(turn, np.zeros(3))
    else:
        frame = last._replace(camera=last.camera.scaled(640, 470), rgb=last.rgb[:470])
    found = drive.send(frame, pose, after_s)
    assert len(found.points) == 0 and found.begun_anew == REASONS[torn]


@pytest.mark.parametrize("jump_m", [0.3, 0.5])
def test_odometry_that_jumps_a_little_is_found_out_by_the_images(jump_m, last):
    drive = Drive()
    assert not drive.drive().begun_anew
    pose = last.odom_from_camera @ Pose(np.eye(3), np.array([0.0, 0.0, jump_m]))
    found = drive.send(last, pose)
    assert found.begun_anew == "images and odometry do not fit: it jumped, or wheels slipped"
    for _ in range(5):
        found = drive.send(last, pose)
        assert len(found.points) == 0 and not found.begun_anew


def test_the_same_image_once_more_tells_the_same(last):
    drive = Drive()
    before = drive.drive()
    assert drive.send(last, after_s=0.0) is before
    assert len(drive.send(last).points) > 0.8 * len(before.points)


def test_a_lens_that_breathes_begins_nothing_anew(last):
    drive = Drive()
    for index, frame in enumerate(corridor_frames()):
        f = frame.camera.fx * (1.0 + 2e-4 * (index % 2))
        camera = Camera.pinhole(640, 480, f, f, frame.camera.cx, frame.camera.cy)
        found = drive.send(frame._replace(camera=camera))
        assert not found.begun_anew
    assert np.median(np.abs(last.errors(found.points))) < 0.04 and len(found.points) > 80


def test_the_robot_itself_and_the_padding_are_no_surroundings():
    drive, seen = Drive(), np.ones((480, 640), bool)
    seen[240:] = False
    for frame in corridor_frames():
        found = drive.send(frame, seen=seen)
    rows = frame.rows(found.points)
    assert len(rows) > 20 and rows.max() < 240 - 6  # nor what a corner's window reaches into


def test_large_images_are_shrunk_and_tell_the_same(last):
    motion = MotionDepth()
    camera = last.camera.scaled(1920, 1440)
    seen = np.ones((1440, 1920), bool)
    seen[1200:] = False
    for index, frame in enumerate(corridor_frames()):
        grey = cv2.resize(frame.grey, (1920, 1440), interpolation=cv2.INTER_CUBIC)
        found = motion.update(grey, camera, seen, frame.odom_from_camera, index * PERIOD_S)
    assert len(found.points) > 50 and last.rows(found.points).max() < 400
    assert np.median(np.abs(last.errors(found.points))) < 0.05


def test_reset_forgets(last):
    drive = Drive()
    drive.drive()
    drive.motion.reset()
    assert len(drive.send(last).points) == 0
