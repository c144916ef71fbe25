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

"""Predict and believe, on the shipped model."""

import time

import numpy as np
import pytest

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.selection import open_engine
from depthrefl_ros.estimator import DepthEstimator, EstimatorSettings, StepTimer
from depthrefl_ros.frames import Frame, SelfMask
from depthrefl_ros.geometry.camera import Camera

MODEL = Bundle.load("indoor_tiny")
WIDTH, HEIGHT = MODEL.width, MODEL.height
MIDDLE = (WIDTH - 1) / 2, (HEIGHT - 1) / 2
CAMERA = Camera.from_horizontal_fov(WIDTH, HEIGHT, 1.1)


@pytest.fixture(scope="module")
def engine(bundle):
    return open_engine(bundle, "openvino").engine


@pytest.fixture
def picture(bundle):
    """Return the second golden image: where the network takes the mount, it was not told one."""
    return np.ascontiguousarray(bundle.golden().images[1, ..., :3])


def plain(**changes) -> EstimatorSettings:
    """Return settings that gate nothing."""
    nothing = {"edge_ratio": 0.0, "max_grazing_angle_deg": 0.0}
    return EstimatorSettings(**{**nothing, "min_range_m": 0.0, "max_range_m": 1e3, **changes})


@pytest.fixture
def estimate(engine, bundle):
    """Estimate a frame; ``correct`` takes the prediction and returns the depth to believe."""

    def run(frame, with_colour=False, correct=lambda one: one.depth_m, timer=None, **changes):
        settings = plain(**changes)
        estimator = DepthEstimator(engine, bundle, settings)
        prediction = estimator.predict(frame, settings, timer)
        return estimator.believe(prediction, correct(prediction), settings, with_colour, timer)

    return run


def test_depth_is_the_networks_unscaled_by_the_focal_lengths(estimate, bundle, picture):
    found = estimate(Frame(picture, "rgb", CAMERA))
    canonical = bundle.golden().depth[1, 0]
    expected = canonical * CAMERA.fx / bundle.focal_px
    # The 3x3 median is the only other thing between the two.
    assert np.median(np.abs(found.depth_m / expected - 1)) < 0.003
    np.testing.assert_allclose(found.sigma, bundle.golden().sigma[1, 0], rtol=1e-3)


def test_depth_scales_with_the_focal_length(estimate, picture):
    wide = estimate(Frame(picture, "rgb", Camera.pinhole(WIDTH, HEIGHT, 120, 120, *MIDDLE)))
    narrow = estimate(Frame(picture, "rgb", Camera.pinhole(WIDTH, HEIGHT, 240, 240, *MIDDLE)))
    np.testing.assert_allclose(narrow.depth_m, 2 * wide.depth_m, rtol=1e-5)


@pytest.mark.parametrize(
    "channels, order", [("bgr", [2, 1, 0]), ("rgba", [0, 1, 2, 0]), ("bgra", [2, 1, 0, 0])]
)
def test_the_order_of_channels_does_not_matter(estimate, picture, channels, order):
    expected = estimate(Frame(picture, "rgb", CAMERA), with_colour=True)
    image = np.ascontiguousarray(picture[..., order])
    found = estimate(Frame(image, channels, CAMERA), with_colour=True)
    np.testing.assert_array_equal(found.depth_m, expected.depth_m)
    np.testing.assert_array_equal(found.colour_bgra[..., :3], expected.colour_bgra[..., :3])


def test_grey_images_are_taken(estimate, picture):
    found = estimate(Frame(picture[..., 1].copy(), "mono", CAMERA), with_colour=True)
    assert np.isfinite(found.depth_m).all()
    np.testing.assert_array_equal(found.colour_bgra[..., 0], picture[..., 1])


def test_depth_has_the_input_images_size_and_camera(estimate, picture):
    big = np.ascontiguousarray(picture.repeat(3, axis=0).repeat(3, axis=1))
    camera = Camera.from_horizontal_fov(3 * WIDTH, 3 * HEIGHT, 1.1)
    found = estimate(Frame(big, "rgb", camera), with_colour=True)
    assert found.depth_m.shape == (3 * HEIGHT, 3 * WIDTH)
    assert found.colour_bgra.shape == (3 * HEIGHT, 3 * WIDTH, 4)
    assert (found.camera.width, found.camera.fx) == (3 * WIDTH, camera.fx)
    small = estimate(Frame(big, "rgb", camera), with_colour=True, output_size="network")
    assert small.depth_m.shape == (HEIGHT, WIDTH)
    assert small.colour_bgra.shape == (HEIGHT, WIDTH, 4)
    assert small.camera.fx == pytest.approx(camera.fx / 3)


def test_distorted_input_becomes_rectified_depth(estimate, picture):
    D = np.array([-0.2, 0.05, 0, 0, 0])
    found = estimate(Frame(picture, "rgb", Camera(WIDTH, HEIGHT, CAMERA.K, D)))
    assert not found.camera.is_distorted
    ignored = estimate(
        Frame(picture, "rgb", Camera(WIDTH, HEIGHT, CAMERA.K, D)), image_is_rectified=True
    )
    straight = estimate(Frame(picture, "rgb", CAMERA))
    np.testing.assert_array_equal(ignored.depth_m, straight.depth_m)
    assert not np.array_equal(found.depth_m, straight.depth_m)


def test_range_confidence_and_edges_gate(estimate, bundle, picture):
    frame = Frame(picture, "rgb", CAMERA)
    free = estimate(frame)
    middle = float(np.median(free.depth_m))
    gated = estimate(frame, max_range_m=middle, min_range_m=middle / 2)
    assert (np.isposinf(gated.depth_m) == (free.depth_m > middle)).all()
    assert (np.isneginf(gated.depth_m) == (free.depth_m < middle / 2)).all()

    confidence = bundle.confidence(free.sigma)
    threshold = float(np.median(confidence))
    sure = estimate(frame, min_confidence=threshold)
    np.testing.assert_allclose(
        np.isnan(sure.depth_m).mean(), (confidence < threshold).mean(), atol=0.01
    )

    for gate, setting in (
        ("edge", {"edge_ratio": 1.05}),
        ("grazing", {"max_grazing_angle_deg": 5}),
    ):
        found = estimate(frame, **setting)
        unknown = np.isnan(found.network_depth_m)
        assert 0 < unknown.mean() < 0.6
        assert found.gate_counts[gate] == unknown.sum()
        np.testing.assert_array_equal(np.isfinite(found.ungated_m), True)


def test_a_correction_comes_between_prediction_and_gates(estimate, picture):
    frame, seen = Frame(picture, "rgb", CAMERA), []

    def correct(prediction):
        seen.append(prediction)
        return prediction.depth_m * np.float32(2.0)

    free = estimate(frame)
    doubled = estimate(frame, correct=correct)
    np.testing.assert_allclose(doubled.depth_m, 2 * free.depth_m, rtol=1e-6)
    np.testing.assert_allclose(doubled.ungated_m, 2 * free.ungated_m, rtol=1e-6)
    [prediction] = seen
    assert prediction.depth_m.shape == (HEIGHT, WIDTH)
    assert prediction.camera is doubled.network_camera and prediction.frame is frame
    np.testing.assert_array_equal(prediction.image, picture)
    middle = float(np.median(free.depth_m))
    limited = estimate(frame, correct=correct, max_range_m=middle)
    assert (np.isposinf(limited.depth_m) == (2 * free.depth_m > middle)).all()


@pytest.fixture
def half_hidden(picture):
    """Return a wide picture, seen padded by the network; its lower half is the robot itself."""
    pad = HEIGHT // 8  # rows above and below in the network's input
    wide = np.ascontiguousarray(picture[pad:-pad].repeat(2, axis=0).repeat(2, axis=1))
    height, width = wide.shape[:2]
    hidden = np.zeros((height, width), np.uint8)
    hidden[HEIGHT:] = 255
    camera = Camera.from_horizontal_fov(width, height, 1.1)
    return Frame(wide, "rgb", camera, SelfMask(hidden))


def test_what_hides_behind_a_mask_or_padding_is_unseen(estimate, half_hidden):
    pad = HEIGHT // 8
    depths = []

    def correct(prediction):
        depths.append(prediction.depth_m)
        return prediction.depth_m * np.float32(2.0)

    found = estimate(half_hidden, correct=correct)
    assert np.isnan(found.depth_m[HEIGHT:]).all()
    assert np.isfinite(found.depth_m[: HEIGHT - 2]).all()
    padded = np.isnan(found.ungated_m)
    last = pad + HEIGHT // 2
    assert padded[: pad - 1].all() and padded[last + 1 :].all()
    assert not padded[pad + 1 : last - 1].any()
    np.testing.assert_array_equal(found.ungated_m, 2 * depths[0])  # which is NaN there, too
    np.testing.assert_array_equal(np.isnan(found.network_depth_m), padded)
    assert found.gate_counts["unseen"] == padded.sum()


@pytest.mark.parametrize("output_size", ["input", "network"])
@pytest.mark.parametrize("aspect_fit", ["pad", "crop"])
def test_where_depth_is_unknown_confidence_and_order_are_unknown(
    estimate, half_hidden, output_size, aspect_fit
):
    found = estimate(half_hidden, output_size=output_size, aspect_fit=aspect_fit, edge_ratio=1.05)
    unknown = np.isnan(found.depth_m)
    assert 0.3 < unknown.mean() < 0.9
    for plane in (found.confidence, found.relative):
        assert plane.shape == found.depth_m.shape and plane.dtype == np.float32
        np.testing.assert_array_equal(np.isnan(plane), unknown)


@pytest.mark.parametrize("row", [200, 201, 202, 203])
def test_what_is_too_thin_for_the_network_is_hidden_all_the_same(estimate, picture, row):
    big = np.ascontiguousarray(picture.repeat(4, axis=0).repeat(4, axis=1))
    hidden = np.zeros(big.shape[:2], np.uint8)
    hidden[row, 100:900] = 255
    camera = Camera.from_horizontal_fov(4 * WIDTH, 4 * HEIGHT, 1.1)
    found = estimate(Frame(big, "rgb", camera, SelfMask(hidden)))
    assert np.isnan(found.depth_m[row, 100:900]).all()


def test_what_a_depth_camera_sees_of_the_robot_itself_is_hidden_too(engine, bundle, half_hidden):
    estimator = DepthEstimator(engine, bundle, plain())
    prediction = estimator.predict(half_hidden, plain())
    measured = np.full(half_hidden.image.shape[:2], 1.5, np.float32)
    found = estimator.believe(prediction, prediction.depth_m, plain(), measured_m=measured)
    assert (found.depth_m[: HEIGHT - 2] == 1.5).all()
    assert np.isnan(found.depth_m[HEIGHT:]).all()


@pytest.mark.parametrize("aspect_fit, is_padded", [("pad", True), ("crop", False)])
def test_a_wide_picture_is_padded_or_cropped(estimate, half_hidden, aspect_fit, is_padded):
    wide = Frame(half_hidden.image, "rgb", half_hidden.camera)
    found = estimate(wide, aspect_fit=aspect_fit)
    assert np.isnan(found.ungated_m[:8]).all() == is_padded
    assert np.isfinite(found.ungated_m).all() != is_padded


def test_confidence_is_the_bundles_and_grows_to_the_output(estimate, bundle, picture):
    big = np.ascontiguousarray(picture.repeat(2, axis=0).repeat(2, axis=1))
    found = estimate(Frame(big, "rgb", Camera.from_horizontal_fov(2 * WIDTH, 2 * HEIGHT, 1.1)))
    small = found.network_confidence
    np.testing.assert_array_equal(small, bundle.confidence(found.sigma))
    assert small.shape == (HEIGHT, WIDTH) and 0 <= small.min()
    assert found.confidence.shape == found.depth_m.shape
    assert np.nanmean(found.confidence) == pytest.approx(small.mean(), rel=0.01)
    same = estimate(Frame(picture, "rgb", CAMERA), output_size="network")
    np.testing.assert_array_equal(same.confidence, same.network_confidence)


def test_settings_change_between_frames(engine, bundle, picture):
    estimator = DepthEstimator(engine, bundle)
    prediction = estimator.predict(Frame(picture, "rgb", CAMERA), plain())
    for settings, holds in ((plain(), np.isfinite), (plain(max_range_m=1e-3), np.isposinf)):
        assert holds(estimator.believe(prediction, prediction.depth_m, settings).depth_m).all()


def test_steps_are_timed(estimate, picture):
    timer = StepTimer()
    estimate(Frame(picture, "rgb", CAMERA), with_colour=True, timer=timer)
    assert list(timer.steps_ms) == ["to_network", "engine", "gates", "upsample", "colour"]
    assert all(value >= 0 for value in timer.steps_ms.values())


def test_times_of_one_step_add_up():
    timer = StepTimer()
    for _ in range(2):
        with timer.step("publish"):
            time.sleep(0.01)
    assert 20.0 <= timer.steps_ms["publish"] < 1000.0


# The public way: ``estimate``.


@pytest.fixture(scope="module")
def estimator(engine, bundle):
    return DepthEstimator(engine, bundle)


def test_estimate_goes_by_the_models_range_and_the_default_gates(estimator, bundle):
    assert estimator.settings.min_range_m == bundle.min_range_m
    assert estimator.settings.max_range_m == bundle.max_range_m
    assert estimator.settings.edge_ratio == EstimatorSettings().edge_ratio > 0


@pytest.mark.parametrize("width, height", [(320, 240), (64, 48), (501, 333), (100, 300), (7, 5)])
def test_estimate_takes_any_size(estimator, width, height):
    image = np.random.default_rng(3).integers(0, 255, (height, width, 3), np.uint8)
    found = estimator.estimate(image, hfov_deg=60.0)
    assert found.depth.shape == found.confidence.shape == (height, width)
    assert (found.camera.width, found.camera.height) == (width, height)
    assert found.camera.fx == pytest.approx(width / 2 / np.tan(np.radians(30.0)))


def test_estimate_by_a_camera_is_estimate_by_its_field_of_view(estimator, picture):
    by_camera = estimator.estimate(picture, CAMERA)
    by_view = estimator.estimate(picture, hfov_deg=float(np.degrees(1.1)))
    np.testing.assert_allclose(by_camera.depth, by_view.depth, rtol=1e-6)
    assert by_camera.depth is by_camera.depth_m
    # The same image twice as large, with the camera of the small one: it is fitted.
    large = np.ascontiguousarray(picture.repeat(2, axis=0).repeat(2, axis=1))
    fitted = estimator.estimate(large, CAMERA)
    assert fitted.camera.fx == pytest.approx(2 * CAMERA.fx)
    known = np.isfinite(fitted.depth[::2, ::2]) & np.isfinite(by_camera.depth)
    assert known.mean() > 0.3
    ratio = fitted.depth[::2, ::2][known] / by_camera.depth[known]
    assert np.median(np.abs(ratio - 1)) < 0.02


def test_estimate_takes_grey_and_named_channels_and_returns_colours(estimator, picture):
    grey = estimator.estimate(picture[..., 1].copy(), CAMERA, with_colour=True)
    np.testing.assert_array_equal(grey.colour_bgra[..., 0], picture[..., 1])
    bgr = estimator.estimate(np.ascontiguousarray(picture[..., ::-1]), CAMERA, channels="bgr")
    np.testing.assert_array_equal(bgr.depth, estimator.estimate(picture, CAMERA).depth)
    assert bgr.colour_bgra is None


@pytest.mark.parametrize(
    "K, named",
    [
        ([[70, 0, 640], [0, 70, 24], [0, 0, 1]], "principal point 640, 24 outside the 64x48"),
        ([[70, 0, 32], [0, 7, 24], [0, 0, 1]], "focal lengths 70 and 7 px"),
        ([[70, 0, 0], [0, 70, 0], [32, 24, 1]], "it may be transposed"),
    ],
)
def test_estimate_warns_once_of_a_camera_that_can_hardly_be_true(estimator, caplog, K, named):
    image = np.zeros((48, 64, 3), np.uint8)
    for _ in range(2):
        estimator.estimate(image, Camera(64, 48, np.array(K, float)))
    (record,) = (one for one in caplog.records if named in one.message)
    assert record.levelname == "WARNING" and record.name == "depthrefl_ros.estimator"


def test_estimate_does_not_warn_of_a_usual_camera(estimator, caplog, picture):
    estimator.estimate(picture, CAMERA)
    estimator.estimate(picture, hfov_deg=5.0)  # said, not calibrated
    assert not caplog.records


@pytest.mark.parametrize(
    "shape, arguments, named",
    [
        ((48, 64, 3), {}, "camera is None and hfov_deg None; exactly one of the two is needed"),
        ((HEIGHT, WIDTH, 3), {"camera": CAMERA, "hfov_deg": 60.0}, "hfov_deg 60.0; exactly one"),
        ((48,), {"hfov_deg": 60.0}, r"image is .48,.; .H, W, 3. or .H, W. is needed"),
        ((48, 64, 2), {"hfov_deg": 60.0}, "image is .48, 64, 2."),
        ((48, 64, 3), {"hfov_deg": 60.0, "channels": "hsv"}, "'hsv'"),
        ((48, 64, 3), {"hfov_deg": 0.0}, "horizontal field of view is 0"),
        ((48, 64, 3), {"hfov_deg": 180.0}, "horizontal field of view is 3.14"),
        ((48, 64, 3), {"camera": Camera.pinhole(64, 64, 50, 50, 32, 32)}, "64x64.*64x48"),
    ],
)
def test_estimate_names_wrong_arguments(estimator, shape, arguments, named):
    with pytest.raises(ValueError, match=named):
        estimator.estimate(np.zeros(shape, np.uint8), **arguments)


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"aspect_fit": "squash"}, "'squash'"),
        ({"output_size": "huge"}, "'huge'"),
        ({"min_confidence": 1.0}, "min_confidence is 1"),
        ({"edge_ratio": 0.9}, "edge_ratio is 0.9"),
        ({"max_grazing_angle_deg": 90.0}, "max_grazing_angle is 90"),
        ({"min_range_m": 5.0, "max_range_m": 4.0}, "min_range is 5"),
    ],
)
def test_bad_settings_name_the_value(changes, named):
    with pytest.raises(ValueError, match=named):
        plain(**changes)
