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

"""The camera model: REP-104 fields checked, binning, region of interest, scaling."""

import math

import numpy as np
import pytest

from depthrefl_ros.geometry.camera import Camera, CameraError, RegionOfInterest
from depthrefl_ros.geometry.lens import undistortion_maps

K = [500.0, 0, 320.5, 0, 510.0, 240.5, 0, 0, 1]


def camera(**changes) -> Camera:
    return Camera(**{"width": 640, "height": 480, "K": np.array(K), **changes})


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"K": np.zeros(9)}, "K is all zero"),
        ({"K": np.full(9, math.nan)}, "K is .*nan"),
        ({"K": np.array([-5.0, 0, 1, 0, 5, 1, 0, 0, 1])}, "focal lengths -5"),
        ({"K": np.zeros(8)}, "K has 8 values"),
        ({"D": np.array([0.1, math.inf])}, "D is .*inf"),
        ({"D": np.array([0.1, 0.1])}, "D has 2 coefficients"),
        ({"D": np.ones(8)}, "D has 8 coefficients.*plumb_bob takes one of .4, 5."),
        ({"D": np.ones(5), "distortion_model": "equidistant"}, "D has 5 coefficients"),
        ({"distortion_model": "magic", "D": np.ones(5)}, "'magic'"),
        ({"K": np.zeros(9), "P": np.ones(12), "D": np.ones(5)}, "K is all zero"),
        ({"K": np.diag([500.0, 500.0, 2.0])}, "K has 2 in its last row; 1 is needed"),
        ({"R": np.ones(9)}, "R is .1.0, .*no rotation: its rows are not unit vectors"),
        ({"R": np.diag([1.3, 1.0, 1.0])}, "R is .1.3, .*no rotation: its rows are not unit"),
        ({"R": np.diag([1.02, 1.02, 1.02])}, "R is .1.02, .*no rotation"),
        ({"R": np.array([1, 0.05, 0, 0, 1, 0, 0, 0, 1])}, "R is .*no rotation: its rows"),
        (
            {"R": np.diag([-1.0, 1, 1])},
            "no rotation: its determinant is -1, so it mirrors; .*all zero is read",
        ),
        ({"width": 0}, "0x480"),
        ({"height": 32768}, "640x32768; .*up to 32767"),
    ],
)
def test_what_cannot_be_true_is_refused_by_name(changes, named):
    with pytest.raises(CameraError, match=named):
        camera(**changes)


def test_an_empty_projection_and_rotation_are_filled_in():
    found = camera(P=np.zeros(12), R=np.zeros(9), binning_x=0, distortion_model="")
    assert (found.fx, found.fy, found.cx, found.cy) == (500.0, 510.0, 320.5, 240.5)
    np.testing.assert_array_equal(found.R, np.eye(3))
    assert (found.binning_x, found.distortion_model) == (1, "plumb_bob")
    assert not found.is_distorted


@pytest.mark.parametrize("decimals", [2, 6])
def test_a_rotation_that_a_file_has_rounded_is_taken(decimals):
    angle = math.radians(7.0)
    turn = [
        [math.cos(angle), 0, math.sin(angle)],
        [0, 1, 0],
        [-math.sin(angle), 0, math.cos(angle)],
    ]
    rounded = np.round(turn, decimals)
    np.testing.assert_array_equal(camera(R=rounded).R, rounded)


@pytest.mark.parametrize(
    "model, sent, read",
    [
        ("plumb_bob", [0.1, 0.2, 0.3, 0.4, 0.5, 0, 0, 0], [0.1, 0.2, 0.3, 0.4, 0.5]),
        ("plumb_bob", [0.1, 0.2, 0.3, 0.4, 0, 0, 0, 0], [0.1, 0.2, 0.3, 0.4]),
        ("plumb_bob", [0.1, 0, 0, 0], [0.1, 0, 0, 0]),
        ("equidistant", [0.1, 0, 0, 0.2, 0, 0], [0.1, 0, 0, 0.2]),
        ("rational_polynomial", [0.1, 0, 0, 0, 0.3], [0.1, 0, 0, 0, 0.3, 0, 0, 0]),
        ("plumb_bob", [0.1, 0.2, 0.3, 0.4, 0], [0.1, 0.2, 0.3, 0.4, 0]),
        ("rational_polynomial", [0.1] * 8 + [0.0] * 7, [0.1] * 8),
        ("rational_polynomial", [0.1] * 9, [0.1] * 9 + [0.0] * 3),
    ],
)
def test_zeros_at_the_end_of_d_mean_nothing(model, sent, read):
    found = camera(D=np.array(sent), distortion_model=model)
    assert found.D.tolist() == read and found.distortion_model == model


@pytest.mark.parametrize("name", ["none", "pinhole", "radtan", "PLUMB_BOB", "", "Brown-Conrady"])
@pytest.mark.parametrize("zeros", [0, 4, 5, 8, 9])
def test_without_distortion_any_name_will_do(name, zeros):
    found = camera(D=np.zeros(zeros), distortion_model=name)
    assert not found.is_distorted and found.distortion_model == "plumb_bob"


@pytest.mark.parametrize(
    "name, model",
    [("radtan", "plumb_bob"), ("Plumb_Bob", "plumb_bob"), ("", "plumb_bob"),
     ("fisheye", "equidistant"), ("Equidistant", "equidistant")],
)  # fmt: skip
def test_models_have_other_names(name, model):
    D = np.array([0.1, 0.0, 0.0, 0.01])
    assert camera(D=D, distortion_model=name) == camera(D=D, distortion_model=model)


def test_a_projection_whose_last_number_was_never_filled_is_read():
    P = np.array([500.0, 0, 320, 0, 0, 500, 240, 0, 0, 0, 0, 0])
    found = camera(P=P, D=np.array([-0.1, 0.02, 0, 0, 0]))
    assert found.P[2, 2] == 1.0
    x, y = undistortion_maps(found, found.P[:, :3], (640, 480))
    assert x[240, 320] == pytest.approx(320.5, abs=1) and np.isfinite(y).all()


def test_the_baseline_of_a_stereo_pair_is_not_passed_on():
    P = np.array([512.0, 0, 320, -61.44, 0, 512, 240, 0, 0, 0, 1, 0])
    assert camera(P=P).P[0, 3] == -61.44
    assert camera(P=P).rectified().P[:, 3].tolist() == [0, 0, 0]


def test_a_region_that_was_left_over_is_not_that_of_a_full_image():
    left = RegionOfInterest(x_offset=100, y_offset=60, width=400, height=200)
    found = camera(roi=left).for_image(640, 480)
    assert (found.fx, found.cx, found.roi) == (500.0, 320.5, RegionOfInterest())
    assert found.rescaled_from is None
    assert camera(roi=RegionOfInterest(width=640, height=480)).for_image(640, 480).fx == 500.0


def test_what_was_binned_already_is_not_binned_again():
    """The driver sends the binned picture's size and K, and its binning as well."""
    found = camera(binning_x=2, binning_y=2).for_image(640, 480)
    assert (found.fx, found.cx) == (500.0, 320.5) and found.rescaled_from == (320, 240)


def test_horizontal_field_of_view():
    found = Camera.from_horizontal_fov(640, 480, math.radians(90))
    assert found.fx == pytest.approx(320.0)
    assert (found.cx, found.cy) == (319.5, 239.5)
    with pytest.raises(CameraError, match="field of view"):
        Camera.from_horizontal_fov(640, 480, 0.0)


def test_the_mean_focal_length_is_that_of_both_directions():
    squashed = Camera.from_horizontal_fov(640, 480, math.radians(90)).scaled(320, 120)
    assert (squashed.fx, squashed.fy) == pytest.approx((160.0, 80.0))
    assert squashed.mean_focal_px == pytest.approx(120.0)


def project(found: Camera, point) -> np.ndarray:
    image = found.P[:, :3] @ np.asarray(point, float)
    return image[:2] / image[2]


def test_scaling_keeps_pixel_edges_in_place():
    full = camera()
    half = full.scaled(320, 240)
    point = (0.3, -0.2, 1.5)
    # The position measured from the picture's corner (half a pixel before the first centre) halves.
    np.testing.assert_allclose(
        project(half, point) + 0.5, (project(full, point) + 0.5) / 2, rtol=1e-12
    )
    assert (half.width, half.height) == (320, 240)


def test_region_of_interest_and_binning():
    roi = RegionOfInterest(x_offset=100, y_offset=60, width=400, height=300)
    found = camera(roi=roi, binning_x=2, binning_y=2).for_image(200, 150)
    point = (0.1, 0.1, 2.0)
    expected = (project(camera(), point) - (100, 60) + 0.5) / 2 - 0.5
    np.testing.assert_allclose(project(found, point), expected, rtol=1e-12)


def test_an_image_of_another_aspect_is_refused_with_both_sizes():
    with pytest.raises(CameraError, match="640x480.*but the image is 640x360, of another aspect"):
        camera().for_image(640, 360)
    roi = RegionOfInterest(width=400, height=300)
    with pytest.raises(CameraError, match="200x150 .*binning 2x2, roi 400x300.*is 200x160"):
        camera(roi=roi, binning_x=2, binning_y=2).for_image(200, 160)


@pytest.mark.parametrize("size", [(320, 240), (1280, 960), (213, 160), (200, 150), (400, 300)])
@pytest.mark.parametrize("binning", [1, 2])
@pytest.mark.parametrize("roi", [RegionOfInterest(), RegionOfInterest(60, 100, 300, 400)])
def test_the_info_of_a_rescaled_stream_is_scaled(size, binning, roi):
    described = camera(roi=roi, binning_x=binning, binning_y=binning)
    seen = (roi.width, roi.height) if roi.width else (640, 480)
    found = described.for_image(*size)
    scale = np.array(size) / seen
    expected = (project(camera(), (0.1, 0.1, 2.0)) - (roi.x_offset, roi.y_offset) + 0.5) * scale
    np.testing.assert_allclose(project(found, (0.1, 0.1, 2.0)), expected - 0.5, rtol=1e-12)
    fits = size == (seen[0] // binning, seen[1] // binning)
    assert found.rescaled_from == (None if fits else (seen[0] // binning, seen[1] // binning))


def test_region_and_binning_move_every_matrix_alike():
    P = np.array([400.0, 0, 300, -40, 0, 410, 250, -30, 0, 0, 1, 0])
    roi = RegionOfInterest(x_offset=11, y_offset=7, width=401, height=299)
    found = camera(P=P, roi=roi, binning_x=4, binning_y=2).for_image(100, 149)
    # Where a point lies in the raw image, by K, and in the rectified one, by P with its offset Tx.
    point = np.array([0.2, -0.1, 1.5, 1.0])
    for before, after in (
        (np.c_[camera().K, np.zeros(3)], np.c_[found.K, np.zeros(3)]),
        (P.reshape(3, 4), found.P),
    ):
        u, v = (before @ point)[:2] / point[2]
        expected = ((u - 11 + 0.5) / 4 - 0.5, (v - 7 + 0.5) / 2 - 0.5)
        np.testing.assert_allclose((after @ point)[:2] / point[2], expected, rtol=1e-12)
    assert (found.binning_x, found.binning_y, found.roi) == (1, 1, RegionOfInterest())
    assert found.for_image(100, 149) is found


def test_the_same_size_is_the_same_camera():
    found = camera()
    assert found.for_image(640, 480) is found


def test_distortion_is_noticed():
    assert camera(D=np.array([0.1, 0, 0, 0, 0])).is_distorted
    assert camera(P=np.array([400.0, 0, 320, 0, 0, 400, 240, 0, 0, 0, 1, 0])).is_distorted
    assert not camera(D=np.zeros(5)).is_distorted
    rectified = camera(D=np.array([0.1, 0, 0, 0, 0])).rectified()
    assert not rectified.is_distorted
