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

"""A drive without a depth sensor: what its motion tells is right, and what is left out is told."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")

from corridor_drive import corridor_frames
from corridor_recording import corridor_recording
from costmap_drive import Place

import depthrefl_ros
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.keyframes import KeyframeSettings
from depthrefl_ros.tools.motion_drive import MotionDrive
from depthrefl_ros.tools.recorded_drive import DriveSettings
from depthrefl_ros.training.datasets.file_pairs import pinhole_sample


@pytest.fixture(scope="module")
def estimator():
    return depthrefl_ros.load("indoor_tiny", "openvino")


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    return corridor_recording(tmp_path_factory.mktemp("motion") / "drive.mcap")


def samples_of(drive: MotionDrive):
    return [(name, sample, mount) for name, sample, mount in drive.samples(lambda done: None)]


def errors(sample, true_m) -> np.ndarray:
    known = (sample.depth_m > 0) & (true_m > 0)
    return np.abs(sample.depth_m[known] / true_m[known] - 1.0)


def all_errors(found) -> list[float]:
    return [
        errors(sample, frame.true_m).mean()
        for (_, sample, _), frame in zip(found, corridor_frames(), strict=True)
    ]


def test_depth_is_nearer_to_the_truth_than_the_networks_and_known_in_most_of_the_image(
    bag, estimator
):
    found = samples_of(MotionDrive(bag, DriveSettings(keyframes=None), estimator))
    assert [name for name, _, _ in found] == [f"{number:06d}" for number in range(16)]
    by_motion, by_network, known = [], [], []
    for (_, sample, mount), frame in zip(found, corridor_frames(), strict=True):
        assert sample.depth_m.dtype == np.float32 and sample.depth_m.shape == frame.true_m.shape
        assert np.array_equal(sample.image, frame.rgb)
        assert Pose.from_mount(**mount).translation[2] == pytest.approx(0.5, abs=1e-3)
        by_motion.append(errors(sample, frame.true_m).mean())
        depth = estimator.estimate(frame.rgb, frame.camera, base_from_camera=frame.base_from_camera)
        both = np.isfinite(depth.depth_m) & (sample.depth_m > 0)
        by_network.append(np.abs(depth.depth_m[both] / frame.true_m[both] - 1.0).mean())
        known.append((sample.depth_m > 0).mean())
    assert np.mean(by_motion) < 0.09 and np.mean(by_motion) < 0.85 * np.mean(by_network)
    assert min(known) > 0.3


def test_only_images_from_new_places_are_kept_and_the_rest_is_counted(bag, estimator):
    steps = []
    settings = DriveSettings(keyframes=KeyframeSettings(travel_m=0.25), max_depth_m=3.0)
    drive = MotionDrive(bag, settings, estimator)
    assert drive.plan() == (
        f"{bag}: /camera/image_raw with depth by its motion in odom, 16 images, thinned by TF, "
        "mounts from base_footprint"
    )
    found = [sample for _, sample, _ in drive.samples(steps.append)]
    assert sum(steps) == len(drive) == 16
    assert 4 <= len(found) <= 6 and max(one.depth_m.max() for one in found) <= 3.0
    figures = drive.figures()
    assert (figures["kept"], figures["left_out"]) == (len(found), {"alike": 16 - len(found)})
    assert figures["depth_by"] == "motion in odom, indoor_tiny"
    assert drive.told() == f"{bag}: {len(found)} of 16 images kept; {16 - len(found)} alike"


def test_a_robot_that_stands_tells_nothing(tmp_path, estimator):
    frames = [corridor_frames()[0]] * 6
    frames[5] = frames[5]._replace(place=corridor_frames()[1].place)  # a nudge, so that TF moves
    bag = corridor_recording(tmp_path / "stands.mcap", frames)
    drive = MotionDrive(bag, DriveSettings(keyframes=None), estimator)
    assert samples_of(drive) == []
    assert drive.figures()["left_out"] == {"with too little depth by motion": 6}
    assert drive.told() == (
        f"{bag}: 0 of 6 images kept; 6 with too little depth by motion; is the robot driving, "
        "'camera_optical_frame' the optical frame of /camera/image_raw, odom in metres, and TF of "
        "the images' clock?"
    )


def test_odometry_is_needed_and_said_so(tmp_path, estimator):
    bag = corridor_recording(tmp_path / "a.mcap", corridor_frames()[:3], with_odometry=False)
    with pytest.raises(ToolError, match="on TF, frame 'camera_optical_frame' of images"):
        MotionDrive(bag, DriveSettings(), estimator)
    with pytest.raises(ToolError, match="vicon is not above camera_optical_frame on TF"):
        MotionDrive(bag, DriveSettings(fixed_frame="vicon"), estimator)


def test_why_all_was_begun_anew_is_told(tmp_path, estimator):
    frames = [
        frame._replace(place=Place(12.0 * frame.place.x, frame.place.y, frame.place.yaw))
        for frame in corridor_frames()
    ]
    drive = MotionDrive(corridor_recording(tmp_path / "a.mcap", frames), DriveSettings(), estimator)
    assert samples_of(drive) == []
    assert "(odometry moved by 1.0 m and 0 degrees within 0.10 s)" in drive.told()


def test_depth_that_max_depth_leaves_out_is_told_apart(bag, estimator):
    drive = MotionDrive(bag, DriveSettings(keyframes=None, max_depth_m=0.5), estimator)
    assert samples_of(drive) == []
    assert drive.left_out() == {"with too little depth up to --max-depth": 16}
    assert drive.told() == f"{bag}: 0 of 16 images kept; 16 with too little depth up to --max-depth"


def test_without_a_frame_on_the_floor_there_are_no_mounts(tmp_path, estimator):
    bag = corridor_recording(tmp_path / "a.mcap", with_mounts=False)
    drive = MotionDrive(bag, DriveSettings(keyframes=None), estimator)
    assert "no mounts" in drive.plan()
    found = samples_of(drive)
    assert len(found) == 16 and all(mount is None for _, _, mount in found)
    assert np.mean(all_errors(found)) < 0.13


def test_what_lies_outside_a_distorted_image_teaches_nothing(tmp_path, estimator):
    """A lens of strong pincushion distortion: the corners of the rectified image are empty."""
    pinhole = corridor_frames()[0].camera
    lens = Camera(pinhole.width, pinhole.height, pinhole.K, np.array([0.4, 0.0, 0.0, 0.0, 0.0]))
    rows, columns = np.mgrid[0 : pinhole.height, 0 : pinhole.width]
    at = np.stack([columns, rows], -1).reshape(-1, 1, 2).astype(np.float64)
    straight = cv2.undistortPoints(at, lens.K, lens.D, P=pinhole.K).reshape(*rows.shape, 2)
    x, y = straight.astype(np.float32).transpose(2, 0, 1)

    def through_lens(picture):
        return cv2.remap(picture, x, y, cv2.INTER_LINEAR)

    bag = corridor_recording(tmp_path / "a.mcap", camera=lens, picture=through_lens)
    found = samples_of(MotionDrive(bag, DriveSettings(keyframes=None), estimator))
    assert len(found) == 16
    assert np.mean(all_errors(found)) < 0.1
    ones = np.ones(rows.shape, np.float32)
    outside = pinhole_sample("", corridor_frames()[0].rgb, ones, lens).depth_m == 0
    assert outside.mean() > 0.1
    assert not any(sample.depth_m[outside].any() for _, sample, _ in found)
