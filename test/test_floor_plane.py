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

"""The floor's depth at every pixel, against floors whose geometry is known."""

import math
import time

import cv2
import numpy as np
import pytest
from exact_bundle import decode_floor

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.floor_plane import (
    FARTHEST_M,
    NEAREST_M,
    camera_floor_depth,
    encode_floor,
    encoded_floor,
    floor_depth,
)
from depthrefl_ros.geometry.pose import Pose, mount_rotation
from depthrefl_ros.geometry.rays import image_rays

CAMERA = Camera.pinhole(64, 48, 60.0, 58.0, 30.0, 22.0)
HALF_STEP = (FARTHEST_M / NEAREST_M) ** (0.5 / 254) - 1  # relative error of rounding to a byte


def test_a_level_camera_sees_the_floor_where_similar_triangles_have_it():
    depth_m = camera_floor_depth(CAMERA, Pose.from_mount(0.5))
    rows = np.arange(48)
    assert (depth_m[rows <= 22] == 0).all()  # the horizon is the principal point's row
    expected = 0.5 * 58.0 / (rows[23:] - 22.0)
    np.testing.assert_allclose(depth_m[23:], expected[:, None].repeat(64, axis=1), rtol=1e-12)


def test_a_camera_that_looks_straight_down_sees_one_depth():
    depth_m = camera_floor_depth(CAMERA, Pose.from_mount(1.2, pitch_rad=math.pi / 2))
    np.testing.assert_allclose(depth_m, 1.2, rtol=1e-12)


@pytest.mark.parametrize("pitch", [-0.2, 0.0, 0.35, 1.1])
@pytest.mark.parametrize("roll", [-0.3, 0.0, 0.1])
def test_every_point_of_the_plane_lies_on_the_floor(pitch, roll):
    pose = Pose.from_mount(0.8, pitch, roll, x_m=2.0, y_m=-1.0)
    depth_m = camera_floor_depth(CAMERA, pose)
    rays = image_rays(CAMERA)
    points = pose.apply(depth_m[..., None] * rays)
    seen = depth_m > 0
    assert seen.any()
    np.testing.assert_allclose(points[seen][:, 2], 0.0, atol=1e-9)
    # What is left out does not go down, or meets the floor ten thousand heights away.
    upward = (rays @ pose.rotation.T)[..., 2]
    assert (upward[~seen] > -2e-4).all()
    assert (upward[seen] < 0).all()


def test_depth_follows_the_axis_of_a_turned_camera():
    turn = cv2.Rodrigues(np.array([0.1, -0.2, 0.0]))[0]  # turned from source
    source = Pose.from_mount(0.6, 0.2, 0.05)
    turned = Pose(source.rotation @ turn.T, source.translation)
    pixels_to_rays = np.linalg.inv(CAMERA.K)
    down = -source.up_in_source
    depth_m = floor_depth(turn.T @ pixels_to_rays, down, 0.6, (48, 64), axis=turn[2])
    np.testing.assert_allclose(depth_m, camera_floor_depth(CAMERA, turned), rtol=1e-9)


def test_the_length_of_the_rays_does_not_matter():
    rays, down = np.linalg.inv(CAMERA.K), np.array([0.0, 1.0, 0.0])
    once, thrice = (floor_depth(factor * rays, down, 0.5, (48, 64)) for factor in (1.0, 3.0))
    np.testing.assert_allclose(thrice, once, rtol=1e-12)


@pytest.mark.parametrize("height_m", [0.0, -0.3])
def test_a_camera_that_is_not_above_the_floor_has_no_plane(height_m):
    pose = Pose(mount_rotation(0.3, 0.0), np.array([0.0, 0.0, height_m]))
    assert not camera_floor_depth(CAMERA, pose).any()


def test_bytes_keep_depth_to_half_a_step():
    depth = np.geomspace(NEAREST_M, FARTHEST_M, 20_000).reshape(100, 200)
    plane = encode_floor(depth)
    assert plane.dtype == np.uint8 and plane.min() == 1 and plane.max() == 255
    assert np.abs(decode_floor(plane) / depth - 1).max() <= HALF_STEP * 1.001 < 0.012
    np.testing.assert_array_equal(encode_floor(decode_floor(plane)), plane)


def test_bytes_follow_their_formula():
    depth = np.array([[0.1, 1.0, 3.7, 39.0]])
    expected = np.rint(1 + 254 * np.log(depth / 0.1) / math.log(400))
    np.testing.assert_array_equal(encode_floor(depth), expected)


def test_bytes_end_at_their_range_and_keep_what_is_unknown():
    plane = encode_floor(np.array([[0.0, 0.01, 0.1, 40.0, 9000.0]]))
    np.testing.assert_array_equal(plane, [[0, 1, 1, 255, 255]])
    np.testing.assert_allclose(decode_floor(plane), [[0, 0.1, 0.1, 40, 40]], rtol=1e-6)


def test_a_network_is_told_the_floor_of_its_canonical_camera():
    """Through twice the focal length the same floor looks half as far away."""
    camera = Camera.pinhole(64, 48, 60.0, 60.0, 30.0, 22.0)
    pose = Pose.from_mount(0.5, 0.3)
    told = decode_floor(encoded_floor(camera, pose, 240.0))
    expected = 4 * camera_floor_depth(camera, pose)
    known = (expected > NEAREST_M) & (expected < FARTHEST_M)
    assert known.mean() > 0.4
    assert np.abs(told[known] / expected[known] - 1).max() <= HALF_STEP * 1.001


def test_the_plane_of_a_frame_is_cheap():
    camera = Camera.pinhole(352, 256, 320.0, 320.0, 175.5, 127.5)
    seconds = []
    for turn in range(20):
        pose = Pose.from_mount(0.4, 0.1 + 1e-3 * turn, 0.01)
        start = time.perf_counter()
        encoded_floor(camera, pose, 320.0)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.01  # 1 ms on an idle core
