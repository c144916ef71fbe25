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

"""Views of a sample stay true: what a pixel shows, how far it is, and the focal length."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from exact_bundle import decode_floor

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.floor_plane import camera_floor_depth, encoded_floor
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.rectification import PADDING_GREY, Rectification
from depthrefl_ros.training.augment import (
    PAD_COLOUR,
    AugmentConfig,
    Augmenter,
    render_view,
    view_matrix,
)
from depthrefl_ros.training.datasets import Sample

INTRINSICS = (200.0, 200.0, 90.0, 70.0)


def ramp_sample(height: int = 150, width: int = 200) -> Sample:
    """Red is the column, green the row; depth encodes the place as well."""
    rows, columns = np.mgrid[0:height, 0:width]
    image = np.stack([columns, rows, np.zeros_like(rows)], axis=-1).astype(np.uint8)
    depth_m = (1 + columns / 100 + rows / 1000).astype(np.float32)
    return Sample("ramp", image, depth_m, INTRINSICS)


def places(image: np.ndarray) -> np.ndarray:
    """Return the source (x, y) that each pixel of a ramp's view shows."""
    return image[..., :2].astype(float)


@pytest.mark.parametrize("area", [False, True])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("roll", [0.0, 0.08])
def test_colour_and_depth_show_the_same_place(flip, roll, area):
    sample = ramp_sample()
    matrix = view_matrix(np.array([100.0, 75.0]), 1.5, roll, flip, (48, 64))
    view, inside = render_view(sample, matrix, 1.5, (48, 64), area)
    x, y = places(view.image)[..., 0], places(view.image)[..., 1]
    assert inside.all()
    # Nearest depth is at most 0.71 pixel from the place; bytes are rounded.
    assert np.abs(view.depth_m - (1 + x / 100 + y / 1000)).max() < 0.017


@pytest.mark.parametrize("flip", [False, True])
def test_rays_keep_their_angle_to_the_optical_axis(flip):
    sample = ramp_sample()
    scale, roll = 1.3, 0.05
    matrix = view_matrix(np.array([105.0, 72.0]), scale, roll, flip, (48, 64))
    view, _ = render_view(sample, matrix, scale, (48, 64), area=False)
    assert view.focal_px == pytest.approx(200.0 / scale)
    for column, row in [(5, 7), (60, 40), (32, 24)]:
        source = matrix @ [column, row, 1]
        before = np.hypot(source[0] - 90.0, source[1] - 70.0) / 200.0
        after = np.hypot(column - view.centre[0], row - view.centre[1]) / view.focal_px
        assert after == pytest.approx(before)


@pytest.mark.parametrize("scale", [1.0, 1.7])
def test_a_turned_camera_sees_the_same_wall_where_it_is(scale):
    distance = 3.0
    sample = ramp_sample()
    sample = Sample("wall", sample.image, np.full((150, 200), distance, np.float32), INTRINSICS)
    turn = cv2.Rodrigues(np.array([0.10, -0.15, 0.0]))[0]
    size = (60, 80)
    matrix = view_matrix(np.array([99.5, 74.5]), scale, 0.05, False, size)
    view, inside = render_view(sample, matrix, scale, size, True, turn)
    assert 0.5 < inside.mean() <= 1
    columns, rows = np.meshgrid(np.arange(size[1]), np.arange(size[0]))
    # The view has a principal point and a roll of its own: back to rays of the turned camera.
    x, y = matrix @ np.stack([columns.ravel(), rows.ravel(), np.ones(columns.size)])
    rays = np.stack([(x - 90) / 200, (y - 70) / 200, np.ones(columns.size)]) * view.depth_m.ravel()
    height = (turn @ [0, 0, 1.0]) @ rays
    assert np.abs(height[inside.ravel()] - distance).max() < 1e-5
    # Colour says which source pixel is seen: it must lie on the same ray.
    back = turn.T @ rays[:, inside.ravel()]
    seen = places(view.image)[inside]
    expected = np.stack([200 * back[0] / back[2] + 90, 200 * back[1] / back[2] + 70], axis=-1)
    assert np.abs(seen - expected).max() < 1.5


def test_a_mirrored_view_mirrors_picture_and_principal_point():
    sample = ramp_sample()
    centre, size = np.array([99.5, 74.5]), (75, 100)
    plain, _ = render_view(sample, view_matrix(centre, 2.0, 0, False, size), 2.0, size, True)
    mirrored, _ = render_view(sample, view_matrix(centre, 2.0, 0, True, size), 2.0, size, True)
    assert np.abs(mirrored.image[:, ::-1].astype(int) - plain.image).max() <= 1
    assert mirrored.centre[0] == pytest.approx(99 - plain.centre[0])
    assert mirrored.centre[1] == pytest.approx(plain.centre[1])


def test_depth_is_never_invented_between_two_surfaces():
    sample = ramp_sample()
    depth_m = np.where(np.arange(200)[None, :] < 100, 1.0, 5.0) * np.ones((150, 1))
    sample = Sample("step", sample.image, depth_m.astype(np.float32), INTRINSICS)
    augmenter = Augmenter(48, 64)
    for seed in range(20):
        view = augmenter(sample, np.random.default_rng(seed))
        assert set(np.unique(view.depth_m)) <= {0.0, 1.0, 5.0}


def letterbox_matrix(source: tuple[int, int], size: tuple[int, int]) -> tuple[np.ndarray, float]:
    """Return matrix and scale that fit a whole (height, width) source into ``size``, centred."""
    scale = max(source[1] / size[1], source[0] / size[0])
    centre = np.array([(source[1] - 1) / 2, (source[0] - 1) / 2])
    return view_matrix(centre, scale, 0.0, False, size), scale


def test_letterbox_is_what_the_estimator_feeds_the_network():
    height, width = 130, 200  # wider than 4:3, so there are bars above and below
    sample = ramp_sample(height, width)
    matrix, scale = letterbox_matrix((height, width), (96, 128))
    view, inside = render_view(sample, matrix, scale, (96, 128), area=True)
    camera = Camera.pinhole(width, height, *INTRINSICS)
    rectification = Rectification(camera, True, (128, 96), "pad")
    fed = rectification.to_network(sample.image)
    assert PAD_COLOUR == PADDING_GREY
    assert view.focal_px == pytest.approx(rectification.network_focal_px, rel=0.005)
    assert (view.image[0] == PAD_COLOUR).all() and (fed[0] == PAD_COLOUR).all()
    shared = inside & (fed != PAD_COLOUR).any(axis=-1)
    assert shared.mean() > 0.8
    assert np.abs(view.image[shared].astype(int) - fed[shared]).max() <= 3


def test_pixels_outside_the_source_are_grey_and_have_no_truth():
    sample = ramp_sample()
    config = AugmentConfig(letterbox_chance=1.0, roll_chance=0.0)
    view = Augmenter(96, 64, config)(sample, np.random.default_rng(0))  # upright: bars
    assert (view.image[:10] == PAD_COLOUR).all() and (view.image[-10:] == PAD_COLOUR).all()
    assert (view.depth_m[:10] == 0).all() and (view.depth_m[40:50] > 0).all()


def test_zooming_out_is_a_shorter_focal_length_with_the_whole_image_in_view():
    config = AugmentConfig(letterbox_chance=1.0, max_zoom_out=2.0, roll_chance=0.0)
    augmenter = Augmenter(48, 64, config)
    views = [augmenter(ramp_sample(), np.random.default_rng(seed)) for seed in range(40)]
    fitting = 200.0 * 64 / 200
    focals = [view.focal_px for view in views]
    assert fitting / 2 * 0.999 <= min(focals) < fitting / 1.7
    assert fitting / 1.2 < max(focals) <= fitting * 1.001
    for view in views:  # what is seen shrinks with the focal length, and keeps its depth
        seen = (view.depth_m > 0).any(axis=0).sum()
        assert seen == pytest.approx(64 * view.focal_px / fitting, abs=1.5)


def test_zoom_stays_in_its_limits_and_crops_stay_inside():
    config = AugmentConfig(letterbox_chance=0.0, roll_chance=0.0)
    augmenter = Augmenter(48, 64, config)
    focals = []
    for seed in range(60):
        view = augmenter(ramp_sample(), np.random.default_rng(seed))
        assert (view.depth_m > 0).all()
        focals.append(view.focal_px)
    widest = 200.0 * 64 / 200
    assert min(focals) >= widest * 0.999 and max(focals) <= widest * 1.6 * 1.001
    assert max(focals) / min(focals) > 1.4


def test_colour_changes_and_depth_does_not_depend_on_it():
    sample = ramp_sample()
    loud = Augmenter(48, 64, AugmentConfig(colour_chance=1.0))
    quiet = Augmenter(
        48, 64, AugmentConfig(colour_chance=0.0, greyscale_chance=0.0, blur_chance=0.0,
                              noise_chance=0.0, jpeg_chance=0.0, shrink_chance=0.0),
    )  # fmt: skip
    first = loud(sample, np.random.default_rng(3))
    second = quiet(sample, np.random.default_rng(3))
    assert np.array_equal(first.depth_m, second.depth_m)
    assert np.abs(first.image.astype(int) - second.image).mean() > 3


def floor_sample(mount: Pose, height: int = 300, width: int = 400) -> Sample:
    """Return what a camera above a bare floor sees; black where it sees none."""
    camera = Camera.pinhole(width, height, 300.0, 310.0, 190.0, 140.0)
    depth_m = camera_floor_depth(camera, mount).astype(np.float32)
    image = np.repeat((depth_m > 0).astype(np.uint8)[..., None] * 255, 3, axis=2)
    return Sample("floor", image, depth_m, (300.0, 310.0, 190.0, 140.0), mount)


PLAIN = {"letterbox_chance": 0.0, "max_zoom": 1.0, "flip_chance": 0.0, "roll_chance": 0.0}
EXACT = {"mount_chance": 1.0, "mount_height": 0.0, "mount_tilt_deg": 0.0}
COLOURLESS = {
    name: 0.0 for name in ("colour_chance", "blur_chance", "noise_chance", "jpeg_chance",
                           "shrink_chance", "greyscale_chance", "area_chance")
}  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"max_zoom": 2.5},
        {"roll_chance": 1.0, "max_roll_deg": 15.0},
        {"turn_chance": 1.0, "turn_deg": 8.0},
        {"flip_chance": 1.0},
        {"letterbox_chance": 1.0, "max_zoom_out": 1.4},
        {"paste_chance": 1.0},
        {"letterbox_chance": 0.4, "max_zoom": 2.5, "flip_chance": 0.5, "roll_chance": 1.0,
         "turn_chance": 1.0, "max_zoom_out": 1.3, "paste_chance": 0.5},
    ],
    ids=["crop", "zoom", "roll", "turn", "mirror", "letterbox", "paste", "all"],
)  # fmt: skip
def test_the_plane_lies_on_the_floor_in_every_view(changes):
    sample = floor_sample(Pose.from_mount(0.5, 0.25, 0.08))
    config = AugmentConfig(**{**PLAIN, **EXACT, **COLOURLESS, **changes})
    augmenter = Augmenter(96, 128, config, canonical_px=240.0)
    seen = 0
    for seed in range(6):
        view = augmenter(sample, np.random.default_rng(seed))
        known = view.depth_m > 0
        canonical_m = view.depth_m * (240.0 / view.focal_px)
        known &= (canonical_m > 0.11) & (canonical_m < 35.0)
        seen += known.sum()
        # Half a byte, and nearest depth that is up to a pixel off the view's ray.
        ratio = decode_floor(view.plane)[known] / canonical_m[known]
        assert np.abs(ratio - 1).max() < 0.12 and np.abs(np.median(ratio) - 1) < 0.005
        # Truth ends where the image does, and the floor where it meets the sky; the plane agrees.
        sky = (view.image[..., 0] < 40) & ~known
        assert (view.plane[sky] == 0).mean() > 0.9 if sky.sum() > 50 else True
    assert seen > 6000


def test_a_mirrored_plane_is_the_mirror_image():
    sample = floor_sample(Pose.from_mount(0.5, 0.25, 0.3))
    centre, size = np.array([199.5, 149.5]), (75, 100)
    augmenter = Augmenter(*size, AugmentConfig(**EXACT), canonical_px=240.0)
    plain, mirrored = (
        augmenter.random_plane(
            sample, view_matrix(centre, 4.0, 0, flip, size), None, 76.0, np.random.default_rng(0)
        )
        for flip in (False, True)
    )
    assert not np.array_equal(plain, plain[:, ::-1])
    np.testing.assert_array_equal(mirrored, plain[:, ::-1])


def test_the_plane_is_that_of_running():
    """The whole image, letterboxed, is told as the estimator's rectification has it."""
    sample = floor_sample(Pose.from_mount(0.5, 0.25, 0.08), 258, 384)  # 86 x 128, with bars
    matrix, scale = letterbox_matrix((258, 384), (96, 128))
    augmenter = Augmenter(96, 128, AugmentConfig(**EXACT), canonical_px=240.0)
    view, _ = render_view(sample, matrix, scale, (96, 128), True)
    told = augmenter.random_plane(sample, matrix, None, view.focal_px, np.random.default_rng(0))
    camera = Camera.pinhole(384, 258, *sample.intrinsics)
    running = Rectification(camera, True, (128, 96), "pad").network_camera
    run = encoded_floor(running, sample.mount, 240.0)
    assert (told > 0).mean() > 0.4
    assert np.abs(told.astype(int) - run).max() <= 1


def test_views_are_the_same_with_and_without_the_plane():
    sample = floor_sample(Pose.from_mount(0.5, 0.25))
    config = AugmentConfig(turn_chance=0.5, paste_chance=0.5)
    for seed in range(5):
        without, told = (
            Augmenter(48, 64, config, focal)(sample, np.random.default_rng(seed))
            for focal in (None, 60.0)
        )
        assert without.plane is None and told.plane.dtype == np.uint8
        np.testing.assert_array_equal(told.image, without.image)
        np.testing.assert_array_equal(told.depth_m, without.depth_m)


def test_the_mount_is_told_for_half_the_images_and_not_quite_right():
    sample = floor_sample(Pose.from_mount(0.5, 0.25))
    camera = Camera.pinhole(400, 300, *sample.intrinsics)
    exact_m = camera_floor_depth(camera, sample.mount)[290, 200]
    found = []
    augmenter = Augmenter(300, 400, AugmentConfig(), canonical_px=300.0)
    generator = np.random.default_rng(0)
    whole = np.eye(3)[:2]
    for _ in range(400):
        plane = augmenter.random_plane(sample, whole, None, 300.0, generator)
        found.append(decode_floor(plane)[290, 200])
    found = np.array(found)
    assert (found > 0).mean() == pytest.approx(0.5, abs=0.08)
    logs = np.log(found[found > 0] / exact_m)
    # 3 % of height, and a degree on a ray 36 degrees below the horizon: 1 / (sin cos) is 2.1.
    assert logs.std() == pytest.approx(np.hypot(0.03, 2.1 * np.deg2rad(1)), rel=0.2)
    assert abs(logs.mean()) < 0.012


def test_an_unknown_mount_is_an_empty_plane():
    sample = floor_sample(Pose.from_mount(0.5, 0.25))
    sample = Sample(sample.name, sample.image, sample.depth_m, sample.intrinsics)
    augmenter = Augmenter(48, 64, AugmentConfig(**EXACT), canonical_px=60.0)
    assert not augmenter(sample, np.random.default_rng(0)).plane.any()


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("flip_chance", 7.0, "from 0 to 1"),
        ("roll_chance", -1.0, "from 0 to 1"),
        ("mount_chance", float("nan"), "from 0 to 1"),
        ("max_zoom", 0.1, "at least 1"),
        ("max_zoom", -2.0, "at least 1"),
        ("max_zoom_out", 0.0, "at least 1"),
        ("max_gamma", 0.0, "at least 1"),
        ("max_gamma", float("inf"), "at least 1"),
        ("max_pictures", 0, "at least 1"),
        ("mount_height", -1.0, "0 or more"),
        ("hue_deg", -1.0, "0 or more"),
    ],
)
def test_a_value_that_no_view_can_be_made_with_is_named(field, value, wanted):
    with pytest.raises(ValueError, match=f"^{field} is {value}; {wanted} is needed$"):
        AugmentConfig(**{field: value})
