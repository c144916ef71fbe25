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

"""A slanted plane seen through three lens models: depth comes back as a pinhole would give it."""

import cv2
import numpy as np
import pytest

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.selection import open_engine
from depthrefl_ros.estimator import DepthEstimator
from depthrefl_ros.geometry.camera import Camera, RegionOfInterest
from depthrefl_ros.geometry.rectification import Rectification

WIDTH, HEIGHT = 640, 480
MODEL = Bundle.load("indoor_tiny")
NETWORK = (MODEL.width, MODEL.height)
# n . P = 1 on the plane: a floor that comes up to the camera, tilted to the side.
PLANE = np.array([0.08, 0.42, 0.40])
K = np.array([[420.0, 0, 322], [0, 424, 236], [0, 0, 1]])
TEXTURE_FOCAL = 0.875 * MODEL.height  # of the pictures on the plane, pixels: they fill the view
TURN = cv2.Rodrigues(np.array([0.02, -0.05, 0.01]))[0]  # as of a stereo pair
# The focal lengths of P are such that the raw image covers all of the rectified one.
LENSES = {
    "plumb_bob": (K, [-0.28, 0.09, 0.001, -0.002, -0.01], 470.0),
    "rational_polynomial": (K, [0.9, 0.1, 0.0005, -0.001, 0.01, 1.2, 0.3, 0.02], 500.0),
    "equidistant": (K * [[0.8, 1, 1], [1, 0.8, 1], [1, 1, 1]], [0.02, -0.01, 0.003, 0.0], 450.0),
}


def raw_camera(model: str, rotation: np.ndarray = TURN, **changes) -> Camera:
    matrix, coefficients, focal = LENSES[model]
    P = np.array([[focal, 0, 318, -25], [0, focal, 241, 0], [0, 0, 1, 0]])
    return Camera(WIDTH, HEIGHT, matrix, np.array(coefficients), rotation, P, model, **changes)


def rays_of(camera: Camera) -> np.ndarray:
    """(h, w, 3) rays in the rectified frame, z = 1: pixel by pixel back through the lens."""
    pixels = np.stack(np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), -1).astype(np.float64)
    pixels = pixels.reshape(-1, 1, 2)
    if camera.distortion_model == "equidistant" and camera.D.any():
        plane = from_equidistant(pixels.reshape(-1, 2), camera)
    else:
        criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 200, 1e-12)
        plane = cv2.undistortPointsIter(pixels, camera.K, camera.D, np.eye(3), np.eye(3), criteria)
    rays = np.concatenate([plane.reshape(-1, 2), np.ones((len(plane), 1))], axis=1) @ camera.R.T
    return (rays / rays[:, 2:]).reshape(HEIGHT, WIDTH, 3)


def from_equidistant(pixels: np.ndarray, camera: Camera) -> np.ndarray:
    """(n, 2) points at z = 1: theta_d = theta + k1 theta^3 + ... + k4 theta^9, by Newton's method.

    OpenCV's own takes no criteria before 4.6, and then stops too early.
    """
    points = (pixels - camera.K[:2, 2]) / np.diag(camera.K)[:2]
    distorted, powers = np.linalg.norm(points, axis=1), np.array([3, 5, 7, 9])
    theta = distorted.copy()
    for _ in range(30):
        error = theta + theta[:, None] ** powers @ camera.D[:4] - distorted
        theta -= error / (1 + theta[:, None] ** (powers - 1) @ (powers * camera.D[:4]))
    return points * (np.tan(theta) / np.maximum(distorted, 1e-12))[:, None]


def true_depth(rays: np.ndarray) -> np.ndarray:
    """Depth of the plane along rays (..., 3), at most 8 m; metres."""
    return 1.0 / np.maximum(rays @ PLANE, 1.0 / 8.0)


def render(rays: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """Return the plane with a picture on it, painted so that it looks like a room from the lens."""
    u, v = np.moveaxis(rays[..., :2].astype(np.float32), -1, 0) * TEXTURE_FOCAL
    u, v = u + (NETWORK[0] - 1) / 2, v + (NETWORK[1] - 1) / 2
    return cv2.remap(picture, u, v, cv2.INTER_CUBIC, None, cv2.BORDER_REFLECT_101)


@pytest.fixture(scope="module")
def depth_of():
    """Depth of the bundle's own three pictures on the plane: taken by one camera, read by one."""
    engine = open_engine(MODEL, "openvino").engine

    def estimate(taken_by: Camera, read_as: Camera) -> np.ndarray:
        estimator = DepthEstimator(engine, MODEL)
        rays = rays_of(taken_by)
        images = [render(rays, one) for one in MODEL.golden().images[:3, ..., :3]]
        return np.stack([estimator.estimate(one, read_as).ungated_m for one in images])

    return estimate


def seen_by(camera: Camera) -> np.ndarray:
    unseen = Rectification(camera, False, NETWORK).network_unseen()
    return np.ones(NETWORK[::-1], bool) if unseen is None else ~unseen


@pytest.mark.parametrize("model", LENSES)
@pytest.mark.parametrize("rotation", [np.eye(3), TURN], ids=["mono", "stereo"])
def test_the_network_sees_through_the_lens_what_a_pinhole_sees(depth_of, model, rotation):
    raw = raw_camera(model, rotation)
    pinhole = raw.rectified()
    seen = seen_by(raw)
    assert seen.mean() > 0.96
    expected = depth_of(pinhole, read_as=pinhole)[:, seen]
    error = np.abs(depth_of(raw, read_as=raw)[:, seen] / expected - 1)
    assert np.median(error) < 0.01, f"median {np.median(error):.4f}"
    wrong = np.abs(depth_of(raw, read_as=pinhole)[:, seen] / expected - 1)
    assert np.median(wrong) > 0.02, "without the lens model the depth is another"


@pytest.mark.parametrize("model", LENSES)
@pytest.mark.parametrize(
    "size, changes",
    [
        ((640, 480), {}),
        ((320, 240), {}),  # a rescaled stream
        ((320, 240), {"binning_x": 2, "binning_y": 2}),
        ((200, 150), {"roi": RegionOfInterest(80, 60, 300, 400), "binning_x": 2, "binning_y": 2}),
    ],
    ids=["full", "rescaled", "binning", "region-and-binning"],
)
def test_true_depth_through_the_maps_is_the_planes(model, size, changes):
    camera = raw_camera(model, **changes).for_image(*size)
    truth = true_depth(rays_of(raw_camera(model))).astype(np.float32)
    roi = changes.get("roi", RegionOfInterest(0, 0, HEIGHT, WIDTH))
    part = truth[roi.y_offset : roi.y_offset + roi.height, roi.x_offset : roi.x_offset + roi.width]
    part = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    rectification = Rectification(camera, False, NETWORK)
    # The maps carry bytes: 8 m are 248.
    found = rectification.to_network(np.rint(part * 31.0).astype(np.uint8)) / 31.0
    pinhole = rectification.network_camera
    x = (np.arange(NETWORK[0]) - pinhole.cx) / pinhole.fx
    y = (np.arange(NETWORK[1]) - pinhole.cy)[:, None] / pinhole.fy
    x, y = np.broadcast_arrays(x, y)
    expected = true_depth(np.stack([x, y, np.ones_like(x)], -1))
    seen = seen_by(camera)
    seen[[0, -1]] = seen[:, [0, -1]] = False
    error = np.abs(found / expected - 1)[seen]
    assert seen.mean() > 0.4 and np.median(error) < 0.01
    # And the inverse way: each pixel of the rectified image tells of its own depth.
    full = rectification.from_network(expected.astype(np.float32))
    ahead = full[camera.height // 2, camera.width // 2]
    ray_x = (camera.width // 2 - rectification.camera.cx) / rectification.camera.fx
    ray_y = (camera.height // 2 - rectification.camera.cy) / rectification.camera.fy
    assert ahead == pytest.approx(1.0 / (PLANE @ (ray_x, ray_y, 1.0)), rel=0.01)
