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

"""The floor is found, a table top is not taken for it, and no floor in view is no error."""

import csv
import json
import math
from pathlib import Path

import cv2
import ground as ground_benchmark
import numpy as np
import pytest
from room_depth import CAMERA, monocular, room_depth

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.ground import FloorSettings, find_floor, up_from_acceleration
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.rays import pixel_rays

# 36 views of 12 generated rooms, made by test/data/floor_views.py.
VIEWS = Path(__file__).parent / "data" / "floor_views.npz"
MOUNT = Pose.from_mount(0.6, pitch_rad=math.radians(12))
TABLE = ((1.2, -1.0, 0.0), (2.4, 1.0, 0.75))


def points_of(depth: np.ndarray, camera: Camera) -> np.ndarray:
    columns, rows = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    return pixel_rays(camera, columns.ravel(), rows.ravel()) * depth.reshape(-1, 1)


@pytest.mark.parametrize("height", [0.2, 0.6, 1.5])
@pytest.mark.parametrize("pitch_deg", [0, 15, 40])
@pytest.mark.parametrize("roll_deg", [0, -8])
def test_height_and_normal_of_an_exact_floor(height, pitch_deg, roll_deg):
    pose = Pose.from_mount(height, math.radians(pitch_deg), math.radians(roll_deg))
    floor = find_floor(room_depth(pose), CAMERA, pose.up_in_source)
    assert floor.height_m == pytest.approx(height, rel=0.005)
    assert floor.normal @ pose.up_in_source > math.cos(math.radians(0.5))


def test_a_prior_that_is_wrong_by_ten_degrees_does_not_bend_the_floor():
    prior = Pose.from_mount(0.6, math.radians(2)).up_in_source
    floor = find_floor(room_depth(MOUNT), CAMERA, prior)
    assert floor.tilt_deg == pytest.approx(10, abs=0.5)
    assert floor.height_m == pytest.approx(0.6, rel=0.005)


@pytest.mark.parametrize("seed", range(5))
def test_errors_of_a_network_move_the_height_little(seed):
    floor = find_floor(monocular(room_depth(MOUNT), seed), CAMERA, MOUNT.up_in_source)
    assert floor.height_m == pytest.approx(0.6, rel=0.05)


def test_generated_rooms_with_known_height_and_mount():
    stored = np.load(VIEWS)
    shown = found = 0
    for millimetres, (focal, height, pitch, roll) in zip(
        stored["depth_mm"], stored["views"], strict=True
    ):
        depth = np.where(millimetres > 0, millimetres / np.float32(1000), np.nan)
        depth = depth.astype(np.float32)
        camera = Camera.pinhole(80, 60, focal, focal, 39.5, 29.5)
        pose = Pose.from_mount(height, pitch, roll)
        heights = pose.apply(points_of(depth, camera))[:, 2]
        if np.mean(np.abs(heights) < 0.02) < 0.15:
            continue
        shown += 1
        # As an IMU or a mount would have it: some degrees off.
        prior = Pose.from_mount(height, pitch + math.radians(5), roll - math.radians(4))
        floor = find_floor(depth, camera, prior.up_in_source)
        found += floor is not None and abs(floor.height_m / height - 1) < 0.05
    assert shown >= 15
    assert found >= 0.9 * shown


def test_a_table_top_is_not_taken_for_the_floor():
    pose = Pose.from_mount(1.3, math.radians(25))
    depth = room_depth(pose, [TABLE])
    heights = pose.apply(points_of(depth, CAMERA))[:, 2]
    on_table, on_floor = (np.mean(np.abs(heights - level) < 0.01) for level in (0.75, 0.0))
    assert on_table > 1.2 * on_floor > 0.1  # the table is the larger plane
    floor = find_floor(depth, CAMERA, pose.up_in_source)
    assert floor.height_m == pytest.approx(1.3, rel=0.01)


def test_the_floor_beside_a_rug_is_the_floor():
    pose = Pose.from_mount(0.4, math.radians(20))
    rug = ((0.0, -0.6, 0.0), (1.5, 0.6, 0.012))  # the larger part of what is near
    floor = find_floor(room_depth(pose, [rug]), CAMERA, pose.up_in_source)
    assert floor.height_m == pytest.approx(0.4, rel=0.005)


def test_a_camera_that_sees_no_floor_finds_none():
    up_look = Pose.from_mount(1.0, math.radians(-50))
    assert find_floor(room_depth(up_look), CAMERA, up_look.up_in_source) is None
    wall = np.full((CAMERA.height, CAMERA.width), 1.0, np.float32)
    assert find_floor(wall, CAMERA, np.array([0.0, -1.0, 0.0])) is None


def test_a_camera_mounted_upside_down_finds_the_floor_in_the_upper_half():
    pose = Pose.from_mount(0.6, math.radians(12), math.pi)
    floor = find_floor(room_depth(pose), CAMERA, pose.up_in_source)
    assert floor.height_m == pytest.approx(0.6, rel=0.005)
    assert np.median(floor.rows) < CAMERA.height / 2


def test_a_camera_that_is_upside_down_unknown_to_its_mount_takes_the_ceiling_by_its_height_only():
    pose = Pose.from_mount(0.6, math.radians(-12), math.pi)
    depth = room_depth(pose)
    believed = Pose.from_mount(0.6, math.radians(12)).up_in_source
    ceiling = find_floor(depth, CAMERA, believed)
    assert ceiling.height_m == pytest.approx(2.0, rel=0.01)
    assert find_floor(depth, CAMERA, believed, FloorSettings(max_height_m=1.2)) is None


def test_unknown_depth_is_left_out():
    depth = room_depth(MOUNT)
    depth[::2] = np.nan
    depth[:, ::3] = np.inf
    floor = find_floor(depth, CAMERA, MOUNT.up_in_source)
    assert floor.height_m == pytest.approx(0.6, rel=0.005)
    assert np.isfinite(depth[floor.rows, floor.columns]).all()
    assert find_floor(np.full_like(depth, np.nan), CAMERA, MOUNT.up_in_source) is None


def test_the_same_generator_gives_the_same_floor():
    depth = monocular(room_depth(MOUNT), 1)
    floors = [
        find_floor(depth, CAMERA, MOUNT.up_in_source, rng=np.random.default_rng(7))
        for _ in range(2)
    ]
    assert floors[0].height_m == floors[1].height_m
    assert (floors[0].normal == floors[1].normal).all()


@pytest.mark.parametrize("pitch_deg", [0, 30, 90])
def test_the_floors_own_frame_is_level_and_stands_on_it(pitch_deg):
    pose = Pose.from_mount(0.6, math.radians(pitch_deg), math.radians(5))
    floor = find_floor(room_depth(pose), CAMERA, pose.up_in_source)
    own = floor.base_from_camera
    assert own.translation == pytest.approx((0, 0, 0.6), abs=0.005)
    assert own.up_in_source == pytest.approx(pose.up_in_source, abs=0.01)
    ahead = own.rotation @ ((0, 0, 1) if pitch_deg < 90 else (0, -1, 0))
    assert ahead[0] > 0.8 and abs(ahead[1]) < 1e-9


def test_up_from_an_accelerometer():
    assert up_from_acceleration(np.array([0.0, -9.8, 0.0])) == pytest.approx((0, -1, 0))
    assert up_from_acceleration(np.array([0.0, -9.8, 6.0])) is None  # braking
    assert up_from_acceleration(np.zeros(3)) is None
    assert up_from_acceleration(np.array([math.nan, 0, 9.8])) is None


@pytest.mark.parametrize("up", [(0, 0, 0), (math.nan, 0, 1), (0, 1)])
def test_an_up_that_is_no_direction_is_refused(up):
    with pytest.raises(ValueError, match="up is"):
        find_floor(room_depth(MOUNT), CAMERA, np.array(up, float))


def test_depth_of_another_size_than_the_cameras_is_refused():
    with pytest.raises(ValueError, match="128x96"):
        find_floor(np.ones((10, 10), np.float32), CAMERA, MOUNT.up_in_source)


@pytest.mark.parametrize(
    "change",
    [
        {"max_tilt_deg": 0},
        {"tolerance": 1},
        {"min_share": 0},
        {"min_height_m": 2, "max_height_m": 1},
    ],
)
def test_settings_out_of_range_are_refused(change):
    with pytest.raises(ValueError, match="need"):
        FloorSettings(**change)


def test_the_benchmark_counts_what_is_found(tmp_path):
    """Image 0 shows a floor, 1 shows one to the labels only, 2 shows none."""
    camera = Camera.pinhole(640, 480, 518.86, 519.47, 325.58, 253.74)
    pose = Pose.from_mount(1.3, math.radians(15))
    room = room_depth(pose, camera=camera)
    on_floor = np.abs(pose.apply(points_of(room, camera))[:, 2]) < 0.01
    mask = (255 * on_floor).astype(np.uint8).reshape(room.shape)
    wall = np.full_like(room, 2.0)
    for folder in ("rgb", "depth", "floor"):
        (tmp_path / folder).mkdir()
    images = [(room, mask), (wall, mask), (wall, 0 * mask)]
    for number, (depth, floor) in enumerate(images):
        steps = np.clip(depth * 255 / 9.99547 - 0.5, 0, 254).round().astype(np.uint8)
        cv2.imwrite(str(tmp_path / f"depth/000{number}.png"), steps)
        cv2.imwrite(str(tmp_path / f"floor/000{number}.png"), floor)
        cv2.imwrite(str(tmp_path / f"rgb/000{number}.jpg"), np.zeros((480, 640, 3), np.uint8))
    with (tmp_path / "gravity_rotation.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["index", "r10", "r11", "r12"])
        writer.writerows([f"000{number}", *-pose.up_in_source] for number in range(3))
    assert ground_benchmark.main([str(tmp_path), "--json", str(tmp_path / "out.json")]) == 0
    figures = json.loads((tmp_path / "out.json").read_text())
    assert figures["images_with_floor"] == 2 and figures["found"] == 0.5
    assert figures["with_known_height"] == 1 and figures["height_within_5_percent"] == 1.0
    assert figures["images"][0]["true_height_m"] == pytest.approx(1.3, rel=0.01)
    assert figures["images_without_floor"] == 1 and figures["found_without_floor"] == 0
    assert not figures["passes"]
