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

"""The way from image to network and back: geometry held against OpenCV's own projection."""

import cv2
import numpy as np
import pytest

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.rays import image_rays
from depthrefl_ros.geometry.rectification import (
    PADDING_GREY,
    Rectification,
    fit_rectangles,
    reprojected,
)

NETWORK = (256, 192)
K = np.array([[480.0, 0, 322.0], [0, 482.0, 236.0], [0, 0, 1]])
BARREL = np.array([-0.28, 0.09, 0.001, -0.002, -0.01])


def blob(width: int, height: int, u: float, v: float, sigma: float) -> np.ndarray:
    """Return a bright Gaussian spot centred at (u, v) pixels."""
    rows, columns = np.mgrid[:height, :width]
    spot = np.exp(-((columns - u) ** 2 + (rows - v) ** 2) / (2 * sigma**2))
    return (spot * 250).astype(np.uint8)


def centroid(image: np.ndarray, background: int = 0) -> np.ndarray:
    weights = np.abs(image.astype(np.float64) - background)
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.array([(columns * weights).sum(), (rows * weights).sum()]) / weights.sum()


def pinhole_pixel(camera: Camera, point) -> np.ndarray:
    x, y, z = point
    return np.array([camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy])


@pytest.mark.parametrize("model, D", [("plumb_bob", BARREL), ("plumb_bob", np.zeros(5))])
@pytest.mark.parametrize("size", [(640, 480), (1280, 960), (200, 150)])
@pytest.mark.parametrize("point", [(0.1, -0.2, 1.0), (-0.35, 0.25, 1.0)])
def test_a_point_lands_where_the_network_camera_says(model, D, size, point):
    scale = size[0] / 640
    matrix = K * np.array([[scale, 1, scale], [1, scale, scale], [1, 1, 1]])
    camera = Camera(*size, matrix, D, distortion_model=model)
    raw, _ = cv2.projectPoints(np.array([point]), np.zeros(3), np.zeros(3), matrix, D)
    image = blob(*size, *raw.ravel(), sigma=6 * scale)
    rectification = Rectification(camera, False, NETWORK)
    small = rectification.to_network(image)
    assert small.shape == NETWORK[::-1]
    expected = pinhole_pixel(rectification.network_camera, point)
    inside = np.where(small == PADDING_GREY, 0, small)
    np.testing.assert_allclose(centroid(inside), expected, atol=0.3)
    np.testing.assert_allclose(
        centroid(rectification.rectify(image)),
        pinhole_pixel(rectification.camera, point),
        atol=0.3 * max(scale, 1),
    )


def test_equidistant_fisheye_is_undistorted():
    D = np.array([0.02, -0.01, 0.003, 0.0])
    camera = Camera(640, 480, K, D, distortion_model="equidistant")
    point = np.array([[[0.5, 0.3, 1.0]]])
    raw, _ = cv2.fisheye.projectPoints(point, np.zeros(3), np.zeros(3), K, D)
    rectification = Rectification(camera, False, NETWORK)
    small = rectification.to_network(blob(640, 480, *raw.ravel(), sigma=6))
    expected = pinhole_pixel(rectification.network_camera, point.ravel())
    np.testing.assert_allclose(centroid(small), expected, atol=0.5)


def test_rectified_input_uses_p_and_ignores_d():
    P = np.array([[400.0, 0, 300, 0], [0, 400, 200, 0], [0, 0, 1, 0]])
    camera = Camera(640, 480, K, BARREL, P=P)
    rectification = Rectification(camera, True, NETWORK)
    image = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
    assert rectification.rectify(image) is image
    assert rectification.network_focal_px == pytest.approx(400 * 256 / 640)
    assert rectification.network_unseen() is None


@pytest.mark.parametrize(
    "image, fit, seen, place",
    [
        ((640, 480), "pad", (0, 0, 640, 480), (0, 0, 256, 192)),
        ((1280, 720), "pad", (0, 0, 1280, 720), (0, 24, 256, 144)),
        ((1280, 720), "crop", (160, 0, 960, 720), (0, 0, 256, 192)),
        ((480, 640), "pad", (0, 0, 480, 640), (56, 0, 144, 192)),
    ],
)
def test_the_aspect_is_kept(image, fit, seen, place):
    assert fit_rectangles(image, NETWORK, fit) == (seen, place)


def test_an_unknown_fit_is_named():
    with pytest.raises(ValueError, match="'squash'"):
        fit_rectangles((640, 480), NETWORK, "squash")


def test_padding_is_grey_and_its_depth_unknown():
    camera = Camera.from_horizontal_fov(1280, 720, 1.2)
    rectification = Rectification(camera, True, NETWORK)
    small = rectification.to_network(np.full((720, 1280, 3), 200, np.uint8))
    assert (small[:24] == PADDING_GREY).all() and (small[-24:] == PADDING_GREY).all()
    assert (small[24:-24] == 200).all()
    unseen = rectification.network_unseen()
    assert unseen[:24].all() and not unseen[24:-24].any()
    depth = np.where(unseen, np.nan, 2.0).astype(np.float32)
    np.testing.assert_array_equal(rectification.from_network(depth), np.full((720, 1280), 2.0))


def test_cropped_away_pixels_have_no_depth():
    camera = Camera.from_horizontal_fov(1280, 720, 1.2)
    rectification = Rectification(camera, True, NETWORK, "crop")
    full = rectification.from_network(np.full((192, 256), 3.0, np.float32))
    assert np.isnan(full[:, :160]).all() and np.isnan(full[:, -160:]).all()
    assert (full[:, 160:-160] == 3.0).all()


def test_pixels_that_the_lens_never_saw_have_no_depth():
    # Pincushion: the rectified corners reach outside the raw image.
    camera = Camera(640, 480, K, np.array([0.4, 0.1, 0, 0, 0]))
    rectification = Rectification(camera, False, NETWORK)
    full = rectification.from_network(np.full((192, 256), 2.0, np.float32))
    assert np.isnan(full[0, 0]) and full[240, 320] == 2.0
    assert rectification.network_unseen()[0, 0]


def test_upsampling_never_mixes_surfaces():
    rectification = Rectification(Camera.from_horizontal_fov(640, 480, 1.2), True, NETWORK)
    depth = np.full((192, 256), 1.0, np.float32)
    depth[:, 128:] = 5.0
    edges = np.zeros(depth.shape, bool)
    edges[:, 127:129] = True
    assert set(np.unique(rectification.from_network(depth, edges))) == {1.0, 5.0}
    blended = np.unique(rectification.from_network(depth))
    assert len(blended) > 2, "without the edges a bilinear resize does mix"


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_nothing_finite_is_lost_beside_what_is_not(factor):
    """At odd factors a neighbour may have no weight, and NaN times 0 is NaN."""
    width, height = 256 * factor, 192 * factor
    camera = Camera.pinhole(width, height, 500.0, 500.0, width / 2, height / 2)
    depth = np.full((192, 256), 2.0, np.float32)
    depth[60, 70] = depth[100, 30] = np.nan
    depth[120:140, 150:170] = np.inf
    full = Rectification(camera, True, (256, 192)).from_network(depth)
    np.testing.assert_array_equal(full, depth.repeat(factor, 0).repeat(factor, 1))


def test_unknown_and_infinite_pixels_do_not_spread():
    rectification = Rectification(Camera.from_horizontal_fov(640, 480, 1.2), True, NETWORK)
    depth = np.full((192, 256), 2.0, np.float32)
    depth[50, 60], depth[100, 100] = np.nan, np.inf
    full = rectification.from_network(depth)
    area = (640 / 256) ** 2
    assert 0 < np.isnan(full).sum() <= 9 and abs(np.isnan(full).sum() - area) < 4
    assert 0 < np.isposinf(full).sum() <= 9
    assert (full[np.isfinite(full)] == 2.0).all()


def test_interpolation_is_aligned_with_the_image():
    rectification = Rectification(Camera.from_horizontal_fov(640, 480, 1.2), True, NETWORK)
    columns = (np.arange(256, dtype=np.float32) + 0.5) * 2.5
    full = rectification.from_network(np.tile(columns, (192, 1)))
    np.testing.assert_allclose(
        full[:, 4:-4], np.tile(np.arange(640) + 0.5, (480, 1))[:, 4:-4], atol=0.02
    )


@pytest.mark.parametrize("size", [1, 3, 6])
def test_zero_distortion_of_any_length_is_no_distortion(size):
    P = np.array([[400.0, 0, 300, 0], [0, 400, 200, 0], [0, 0, 1, 0]])
    rectification = Rectification(Camera(640, 480, K, np.zeros(size), P=P), False, NETWORK)
    assert rectification.to_network(np.zeros((480, 640, 3), np.uint8)).shape == (192, 256, 3)


def fisheye(turned_deg: float) -> Camera:
    """Return a fisheye of 200 degrees whose rectified view is turned towards its rim."""
    focal = 320 / np.radians(100)
    matrix = np.array([[focal, 0, 320], [0, focal, 240], [0, 0, 1]])
    R = cv2.Rodrigues(np.array([0.0, np.radians(turned_deg), 0.0]))[0]
    P = np.array([[150.0, 0, 320, 0], [0, 150, 240, 0], [0, 0, 1, 0]])
    return Camera(640, 480, matrix, np.array([1e-9, 0, 0, 0]), R, P, "equidistant")


@pytest.mark.parametrize("turned_deg", [0, 50, -80])
def test_a_fisheye_looks_beyond_ninety_degrees(turned_deg):
    camera = fisheye(turned_deg)
    # The middle of the rectified view, and a point 25 degrees nearer to the rim.
    for towards_rim in (0.0, 25.0 * np.sign(turned_deg)):
        angle = np.radians(turned_deg + towards_rim)
        if abs(angle) > np.radians(95):
            continue
        raw = (320 - camera.K[0, 0] * angle, 240.0)
        rectification = Rectification(camera, False, NETWORK)
        found = centroid(rectification.rectify(blob(640, 480, *raw, sigma=3)))
        expected = 320 - 150 * np.tan(np.radians(towards_rim))
        np.testing.assert_allclose(found, (expected, 240), atol=1.5)


def test_what_lies_behind_the_lens_is_unseen():
    rectification = Rectification(fisheye(120.0), False, NETWORK)
    full = rectification.from_network(np.full((192, 256), 2.0, np.float32))
    edge = round(320 + 150 * np.tan(np.radians(20)))  # 100 degrees off the axis
    assert np.isnan(full[240, : edge - 2]).all() and np.isfinite(full[240, edge + 2 : 500]).all()
    P = np.array([[150.0, 0, 320, 0], [0, 150, 240, 0], [0, 0, 1, 0]])
    back = Camera(640, 480, K, BARREL, np.diag([-1.0, 1, -1]), P)
    assert Rectification(back, False, NETWORK).network_unseen().all(), "no mirrored ghost"


def test_another_pinhole_sees_the_same_places():
    camera = Camera.pinhole(320, 240, 250.0, 250.0, 150.0, 110.0)
    way = Rectification(camera, True, (352, 256))  # 4:3 is padded in it
    x = np.broadcast_to((np.arange(320, dtype=np.float32) - 150.0) / 250.0, (240, 320))
    small = way.network_camera
    expected = (np.arange(352) - small.cx) / small.fx
    past = way.network_unseen()
    assert past[:, :5].all() and past[:, -5:].all() and not past[:, 6:-6].any()
    found = reprojected(x, camera, small, cv2.INTER_LINEAR)
    np.testing.assert_allclose(found[100, 8:-8], expected[8:-8], atol=1e-4)
    nearest = reprojected(x, camera, small)
    assert np.abs(nearest[100, 8:-8] - expected[8:-8]).max() <= 0.51 / 250.0
    back = reprojected(found, small, camera, cv2.INTER_LINEAR)
    np.testing.assert_allclose(back[:, 4:-4], x[:, 4:-4], atol=1e-3)


# A depth camera beside the image.


@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
@pytest.mark.parametrize("distortion", [np.zeros(0), BARREL])
def test_measured_depth_comes_to_the_pixels_that_the_network_sees(fit, distortion):
    """A picture that is as bright as it is far goes one way, the depth the other."""
    way = Rectification(Camera(640, 400, K, distortion), False, (96, 72), fit)
    rows, columns = np.mgrid[:400, :640]
    level = (40 + 0.25 * columns + 0.1 * rows).astype(np.uint8)
    depth = level.astype(np.float32) / 10
    seen, picture = way.depth_to_network(depth), way.to_network(level)
    known = np.isfinite(seen)
    assert seen.shape == (72, 96) and seen.dtype == np.float32
    unseen = way.network_unseen()
    assert unseen is None or not known[unseen].any()
    assert known.mean() > 0.7
    inner = cv2.erode(known.view(np.uint8), np.ones((3, 3))) > 0
    assert np.abs(10 * seen[inner] - picture[inner]).max() < 4.0
    full = way.rectify_depth(depth)
    inner = cv2.erode(np.isfinite(full).view(np.uint8), np.ones((3, 3))) > 0
    assert np.abs(10 * full[inner] - way.rectify(level)[inner]).max() < 2.0


def test_holes_of_measured_depth_stay_holes():
    way = Rectification(Camera.pinhole(64, 48, 50, 50, 31.5, 23.5), False, (32, 24))
    depth = np.full((48, 64), 2.0, np.float32)
    depth[10:20, 10:30] = np.nan
    seen = way.depth_to_network(depth)
    assert np.isnan(seen[6:9, 6:14]).all() and np.isfinite(seen[12:]).all()
    assert set(np.unique(seen[np.isfinite(seen)])) == {2.0}


@pytest.mark.parametrize("axis", [(0.0, 0.09, 0.0), (0.05, -0.03, 0.02)])
def test_measured_depth_turns_with_the_cameras_axis(axis):
    """A depth camera that looks straight at a wall; the rectified camera sees it at a slant."""
    R = cv2.Rodrigues(np.array(axis))[0]
    way = Rectification(Camera(640, 480, K, np.zeros(5), R), False, NETWORK)
    for found, camera in (
        (way.rectify_depth(np.full((480, 640), 2.0, np.float32)), way.camera),
        (way.depth_to_network(np.full((480, 640), 2.0, np.float32)), way.network_camera),
    ):
        true = 2.0 / (image_rays(camera) @ R[:, 2])
        known = np.isfinite(found)
        assert found.dtype == np.float32 and known.mean() > 0.7 and np.ptp(true[known]) > 0.1
        np.testing.assert_allclose(found[known], true[known], rtol=2e-3)


@pytest.mark.parametrize("focal", [0.5, 1.0, 20.0])
def test_a_projection_that_was_never_filled_in_is_no_error(focal):
    """Its picture is worthless, and the camera's doubts say so: P is the identity, for one."""
    camera = Camera(640, 480, K, BARREL, P=np.diag([focal, focal, 1.0, 0.0])[:3])
    assert Rectification(camera, False, NETWORK).to_network(blob(640, 480, 9, 9, 3)).any()
