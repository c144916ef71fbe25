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
from exact_bundle import encoded, exact_bundle

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.openvino_engine import OpenVinoEngine
from depthrefl_ros.engine.selection import open_engine
from depthrefl_ros.estimator import DepthEstimator, EstimatorSettings, StepTimer
from depthrefl_ros.frames import Frame, SelfMask, network_floor
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.floor_plane import camera_floor_depth
from depthrefl_ros.geometry.pose import Pose

MODEL = Bundle.load("indoor_tiny")
WIDTH, HEIGHT = MODEL.width, MODEL.height
MIDDLE = (WIDTH - 1) / 2, (HEIGHT - 1) / 2
CAMERA = Camera.from_horizontal_fov(WIDTH, HEIGHT, 1.1)


@pytest.fixture(scope="module")
def bundle():
    return MODEL


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


# What the outputs of foreign networks mean.

SMALL = Camera.from_horizontal_fov(64, 48, 1.1)
LONG = Camera.from_horizontal_fov(64, 48, 0.6)  # a longer lens


@pytest.fixture
def foreign(tmp_path):
    def make(outputs=("depth", "sigma", "relative"), **description):
        bundle = Bundle.load(str(exact_bundle(tmp_path / "b", SMALL, outputs, **description)))
        return DepthEstimator(OpenVinoEngine(bundle, 1), bundle)

    return make


def wall(metres=2.0, blue=20) -> np.ndarray:
    image = encoded(np.full((48, 64), metres))
    image[..., 2] = blue
    return image


def test_canonical_depth_grows_with_the_focal_length_and_metric_depth_does_not(tmp_path):
    found = {}
    for kind, focal in (("canonical", SMALL.fx), ("metric", None)):
        folder = exact_bundle(tmp_path / kind, SMALL, kind=kind, focal_px=focal)
        bundle = Bundle.load(str(folder))
        estimator = DepthEstimator(OpenVinoEngine(bundle, 1), bundle)
        found[kind] = [float(np.median(estimator.estimate(wall(), c).depth)) for c in (SMALL, LONG)]
    assert found["metric"] == pytest.approx([2.0, 2.0], abs=1e-3)
    assert found["canonical"] == pytest.approx([2.0, 2.0 * LONG.fx / SMALL.fx], rel=1e-3)


def test_sky_is_infinitely_far(foreign):
    image = wall()
    image[:20, :, 2] = 255
    found = foreign(("depth", "sigma", "sky")).estimate(image, SMALL)
    depth = found.depth
    assert np.isposinf(depth[:17]).all()
    # Before the gates, too: nothing there may take it for a distance.
    assert np.isposinf(found.ungated_m[:20]).all() and np.isfinite(found.ungated_m[20:]).all()
    assert (np.isfinite(depth[24:]) & (np.abs(depth[24:] - 2.0) < 0.01)).all()


def test_without_sigma_confidence_is_unknown_and_its_gate_is_off(foreign):
    network = foreign(("depth",), calibration=None)
    network.settings = type(network.settings)(min_confidence=0.9)
    result = network.estimate(wall(), SMALL)
    assert np.isfinite(result.depth).all() and np.isnan(result.confidence).all()
    assert np.isnan(result.relative).all()
    assert (result.sigma > 0).all()  # obstacles are held at a distance by it all the same


def test_a_relative_network_gives_relative_depth_and_no_metres(foreign):
    network = foreign(("relative",), kind="inverse_relative", focal_px=None, calibration=None)
    result = network.estimate(wall(), SMALL)
    assert np.isnan(result.depth).all()
    assert np.isfinite(result.relative).all()


def test_a_network_that_was_trained_on_squashed_images_gets_them_so(foreign):
    network = foreign(input={"height": 48, "width": 64, "resize": "stretch"})
    wide = Camera.from_horizontal_fov(192, 48, 1.4)
    result = network.estimate(np.tile(wall(), (1, 3, 1)), wide)
    assert np.isfinite(result.depth).all()  # no padding
    assert result.network_camera.fx == pytest.approx(wide.fx / 3)
    assert result.network_camera.fy == wide.fy


def test_measured_depth_stands_in_the_result_as_it_was_measured(foreign):
    network = foreign(("depth", "sigma", "relative"))
    camera = Camera.pinhole(128, 96, 2 * SMALL.fx, 2 * SMALL.fy, 63.5, 47.5)
    image = np.repeat(np.repeat(wall(), 2, axis=0), 2, axis=1)
    measured = np.full((96, 128), 1.5, np.float32)
    measured[:, 64:], measured[0, 0], measured[1, 1] = np.nan, 0.1, 99.0
    frame = Frame(image, "rgb", camera)
    prediction = network.predict(frame, network.settings)
    beside = prediction.beside(measured)
    merged = np.where(np.isfinite(beside), beside, prediction.depth_m)
    found = network.believe(prediction, merged, network.settings, measured_m=measured)
    assert (found.depth_m[2:, :64] == 1.5).all()
    assert found.depth_m[0, 0] == -np.inf and found.depth_m[1, 1] == np.inf
    assert found.depth_m[8:-8, 72:-8] == pytest.approx(2.0, abs=0.01)
    assert (found.sigma[:, :32] == np.float32(0.02)).all()
    assert (measured[0, 0], measured[1, 1]) == (np.float32(0.1), 99.0)  # left as it is


# A network that is told where the camera stands. This one believes it, and nothing else.


MOUNT = Pose.from_mount(0.5, 0.2)


@pytest.fixture(scope="module")
def gullible(tmp_path_factory):
    bundle = exact_bundle(tmp_path_factory.mktemp("bundles") / "told", SMALL, trust=1.0)
    bundle = Bundle.load(str(bundle))
    engine = OpenVinoEngine(bundle, 1)
    yield DepthEstimator(engine, bundle, plain())
    engine.close()


def floor_seen_by(camera: Camera, mount: Pose = MOUNT) -> np.ndarray:
    """Return the floor's depth at a camera's pixels, and elsewhere that of ``wall``."""
    floor_m = camera_floor_depth(camera, mount)
    return np.where(floor_m > 0.0, floor_m.clip(0.1, 40.0), 2.0)


def level(byte_m: np.ndarray) -> np.ndarray:
    """Return how exactly a byte can say a depth: half a step, 1.2 %."""
    return pytest.approx(byte_m, rel=0.013)


def test_a_network_is_told_where_every_pixel_meets_the_floor(gullible):
    untold = gullible.estimate(wall(), SMALL)
    assert untold.ungated_m == pytest.approx(2.0, abs=0.001)
    told = gullible.estimate(wall(), SMALL, base_from_camera=MOUNT)
    assert told.ungated_m == level(floor_seen_by(SMALL))
    assert np.ptp(told.ungated_m[SMALL.height // 2 :]) > 1.0  # or nothing was shown
    again = gullible.estimate(wall(), SMALL)
    np.testing.assert_array_equal(again.ungated_m, untold.ungated_m)


@pytest.mark.parametrize("ratio", [0.5, 2.0])
def test_what_it_is_told_is_for_the_canonical_camera(gullible, ratio):
    """A longer lens sees the same floor, told nearer, and unscaled again."""
    camera = Camera.pinhole(64, 48, ratio * SMALL.fx, ratio * SMALL.fy, SMALL.cx, SMALL.cy)
    frame = Frame(wall(), "rgb", camera)
    prediction = gullible.predict(frame, gullible.settings, base_from_camera=MOUNT)
    expected = camera_floor_depth(camera, MOUNT)
    seen = (expected > ratio * 0.1) & (expected < ratio * 40.0)
    assert seen.any()
    assert prediction.depth_m[seen] == level(expected[seen])


def test_a_plane_is_made_for_what_the_network_sees_of_a_distorted_padded_image(gullible):
    K = np.array([[90.0, 0, 63.5], [0, 90.0, 31.5], [0, 0, 1]])
    camera = Camera(128, 64, K, np.array([-0.1, 0.02, 0, 0, 0]))
    image = encoded(np.full((64, 128), 2.0, np.float32))
    frame = Frame(image, "rgb", camera)
    found = gullible.predict(frame, gullible.settings, base_from_camera=MOUNT)
    expected = camera_floor_depth(found.camera, MOUNT)
    seen = np.isfinite(found.depth_m) & (expected > 0.2) & (expected < 30.0)
    assert 0.1 < seen.mean() < 0.6 and np.isnan(found.depth_m).any()
    assert found.depth_m[seen] == level(expected[seen])


def test_the_plane_is_made_once_for_a_mount_and_anew_for_another(gullible):
    frame, how = Frame(wall(), "rgb", SMALL), gullible.settings
    first = gullible.predict(frame, how, base_from_camera=MOUNT)
    equal = gullible.predict(frame, how, base_from_camera=Pose.from_mount(0.5, 0.2, x_m=0.0))
    assert equal.floor is first.floor
    tilted = gullible.predict(frame, how, base_from_camera=Pose.from_mount(0.5, 0.21))
    assert (tilted.floor != first.floor).any()


@pytest.mark.parametrize(
    "mount", [None, Pose.from_mount(0.5, -1.2), Pose.from_mount(-0.1, 0.2), Pose.from_mount(0.0)]
)
def test_without_a_floor_in_view_it_is_told_nothing(gullible, mount):
    frame = Frame(wall(), "rgb", SMALL)
    found = gullible.predict(frame, gullible.settings, base_from_camera=mount)
    assert found.floor is None
    assert found.depth_m == pytest.approx(2.0, abs=0.001)


def test_the_same_image_can_be_asked_for_without_the_mount(gullible):
    frame, how = Frame(wall(), "rgb", SMALL), gullible.settings
    told = gullible.predict(frame, how, base_from_camera=MOUNT)
    assert told.depth_m == level(floor_seen_by(SMALL))
    assert gullible.depth_untold(told) == pytest.approx(2.0, abs=0.001)
    assert told.depth_m == level(floor_seen_by(SMALL))  # left as it is
    untold = gullible.predict(frame, how)
    assert gullible.depth_untold(untold) is untold.depth_m  # no second run


def test_a_network_of_three_channels_does_not_mind_the_mount(foreign):
    estimator = foreign()
    expected = estimator.estimate(wall(), SMALL)
    found = estimator.estimate(wall(), SMALL, base_from_camera=MOUNT)
    np.testing.assert_array_equal(found.depth, expected.depth)


def test_telling_a_mount_that_changes_with_every_frame_takes_little(gullible):
    """A plane of the shipped size, made anew; the limit has room for a busy machine."""
    camera = Camera.from_horizontal_fov(352, 256, 1.1)
    seconds = []
    for number in range(20):
        mount = Pose.from_mount(0.5, 0.1 + 1e-4 * number)
        start = time.perf_counter()
        network_floor(camera, mount, 240.0)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.002
