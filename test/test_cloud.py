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

"""Organised clouds and PLY files."""

import numpy as np
import pytest

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.cloud import fill_cloud, write_ply
from depthrefl_ros.geometry.rays import image_rays

CAMERA = Camera.pinhole(6, 4, fx=5.0, fy=4.0, cx=2.5, cy=1.5)


def build(depth, colours=None) -> np.ndarray:
    out = np.empty((4, 6, 4), np.float32)
    fill_cloud(depth, colours, CAMERA, out)
    return out


def test_points_lie_on_their_pixels_rays():
    depth = np.random.default_rng(0).uniform(0.5, 5, (4, 6)).astype(np.float32)
    cloud = build(depth)
    for v in range(4):
        for u in range(6):
            x, y, z = (float(value) for value in cloud[v, u, :3])
            assert z == depth[v, u]
            assert 5.0 * x / z + 2.5 == pytest.approx(u, abs=1e-5)
            assert 4.0 * y / z + 1.5 == pytest.approx(v, abs=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_unknown_and_out_of_range_depth_gives_nan_points(value):
    depth = np.ones((4, 6), np.float32)
    depth[2, 3] = value
    cloud = build(depth)
    assert np.isnan(cloud[2, 3, :3]).all()
    assert np.isfinite(np.delete(cloud[..., :3].reshape(24, 3), 2 * 6 + 3, axis=0)).all()


@pytest.mark.parametrize("size", [(640, 480), (20000, 2)])
def test_a_large_cloud_is_that_of_its_pixels(size):
    """It is filled in blocks of rows."""
    camera = Camera.from_horizontal_fov(*size, 1.2)
    rng = np.random.default_rng(2)
    depth = rng.uniform(0.5, 5, size[::-1]).astype(np.float32)
    colours = rng.integers(0, 255, (*size[::-1], 4), np.uint8)
    out = np.empty((*size[::-1], 4), np.float32)
    fill_cloud(depth, colours, camera, out)
    np.testing.assert_allclose(out[..., :3], image_rays(camera) * depth[..., None], atol=1e-5)
    np.testing.assert_array_equal(out[..., 3].copy().view(np.uint8).reshape(colours.shape), colours)
    fill_cloud(depth, None, camera, out)
    assert not out[..., 3].any()


def test_colours_are_packed_as_blue_green_red_bytes():
    colours = np.random.default_rng(1).integers(0, 255, (4, 6, 4), np.uint8)
    cloud = build(np.ones((4, 6), np.float32), colours)
    np.testing.assert_array_equal(
        np.ascontiguousarray(cloud[..., 3]).view(np.uint8).reshape(4, 6, 4), colours
    )


def test_ply_holds_the_finite_points(tmp_path):
    depth = np.ones((4, 6), np.float32)
    depth[0] = np.nan
    colours = np.zeros((4, 6, 4), np.uint8)
    colours[..., :3] = (10, 20, 30)
    path = tmp_path / "cloud.ply"
    assert write_ply(path, build(depth, colours)) == 18
    header, body = path.read_bytes().split(b"end_header\n")
    assert b"element vertex 18" in header
    vertices = np.frombuffer(
        body, [("xyz", "<f4", 3), ("red", "u1"), ("green", "u1"), ("blue", "u1")]
    )
    upright = build(depth)[1:, :, :3].reshape(-1, 3) * (1, -1, -1)
    np.testing.assert_allclose(vertices["xyz"], upright)
    assert {tuple(v) for v in vertices[["red", "green", "blue"]].tolist()} == {(30, 20, 10)}


def test_ply_of_a_cloud_without_colours(tmp_path):
    depth = np.full((4, 6), 2.0, np.float32)
    path = tmp_path / "cloud.ply"
    assert write_ply(path, build(depth)[..., :3]) == 24
    header, body = path.read_bytes().split(b"end_header\n")
    assert b"property float z" in header and b"red" not in header
    upright = build(depth)[..., :3].reshape(-1, 3) * (1, -1, -1)
    np.testing.assert_allclose(np.frombuffer(body, "<f4").reshape(-1, 3), upright)
