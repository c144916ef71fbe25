"""The one pass, on the shipped model."""

import numpy as np
import pytest

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.selection import open_engine
from depthrefl_ros.estimator import DepthEstimator, EstimatorSettings, Frame
from depthrefl_ros.geometry.camera import Camera

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
    return bundle.golden().images[0]


def plain(**changes) -> EstimatorSettings:
    """Settings that gate nothing."""
    nothing = {"edge_ratio": 0.0, "max_grazing_angle_deg": 0.0}
    return EstimatorSettings(**{**nothing, "min_range_m": 0.0, "max_range_m": 1e3, **changes})


@pytest.fixture
def estimate(engine, bundle):
    def run(frame, with_colour=False, correct=None, **changes):
        estimator = DepthEstimator(engine, bundle, plain(**changes))
        return estimator.estimate(frame, with_colour, correct)

    return run


def test_depth_is_the_networks_unscaled_by_the_focal_lengths(estimate, bundle, picture):
    found = estimate(Frame(picture, "rgb", CAMERA))
    canonical = bundle.golden().depth[0, 0]
    expected = canonical * CAMERA.fx / bundle.focal_px
    # The 3x3 median is the only other thing between the two.
    assert np.median(np.abs(found.depth_m / expected - 1)) < 0.003
    np.testing.assert_allclose(found.sigma, bundle.golden().sigma[0, 0], rtol=1e-3)


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


def test_a_correction_comes_before_the_gates(estimate, picture):
    frame, seen = Frame(picture, "rgb", CAMERA), []

    def correct(depth_m, image, camera):
        seen.append((depth_m.shape, image, camera))
        return depth_m * np.float32(2.0)

    free = estimate(frame)
    doubled = estimate(frame, correct=correct)
    np.testing.assert_allclose(doubled.depth_m, 2 * free.depth_m, rtol=1e-6)
    np.testing.assert_allclose(doubled.ungated_m, 2 * free.ungated_m, rtol=1e-6)
    [(shape, image, camera)] = seen
    assert shape == (HEIGHT, WIDTH) and camera is doubled.network_camera
    np.testing.assert_array_equal(image, picture)
    middle = float(np.median(free.depth_m))
    limited = estimate(frame, correct=correct, max_range_m=middle)
    assert (np.isposinf(limited.depth_m) == (2 * free.depth_m > middle)).all()


def test_what_hides_behind_a_mask_or_padding_is_unseen(estimate, picture):
    pad = HEIGHT // 8  # rows above and below in the network's input
    wide = np.ascontiguousarray(picture[pad:-pad].repeat(2, axis=0).repeat(2, axis=1))
    height, width = wide.shape[:2]
    hidden = np.zeros((height, width), np.uint8)
    hidden[HEIGHT:] = 255
    depths = []

    def correct(depth_m, _image, _camera):
        depths.append(depth_m)
        return depth_m * np.float32(2.0)

    camera = Camera.from_horizontal_fov(width, height, 1.1)
    found = estimate(Frame(wide, "rgb", camera, hidden), correct=correct)
    assert np.isnan(found.depth_m[HEIGHT:]).all()
    assert np.isfinite(found.depth_m[: HEIGHT - 2]).all()
    padded = np.isnan(found.ungated_m)
    last = pad + HEIGHT // 2
    assert padded[: pad - 1].all() and padded[last + 1 :].all()
    assert not padded[pad + 1 : last - 1].any()
    np.testing.assert_array_equal(found.ungated_m, 2 * depths[0])  # which is NaN there, too
    np.testing.assert_array_equal(np.isnan(found.network_depth_m), padded)
    assert found.gate_counts["unseen"] == padded.sum()
    with pytest.raises(ValueError, match="hidden is .10, 20."):
        Frame(wide, "rgb", camera, hidden[:10, :20])


def test_confidence_is_the_bundles_and_grows_to_the_output(estimate, bundle, picture):
    big = np.ascontiguousarray(picture.repeat(2, axis=0).repeat(2, axis=1))
    found = estimate(Frame(big, "rgb", Camera.from_horizontal_fov(2 * WIDTH, 2 * HEIGHT, 1.1)))
    np.testing.assert_array_equal(found.confidence, bundle.confidence(found.sigma))
    assert found.confidence.shape == (HEIGHT, WIDTH) and 0 <= found.confidence.min()
    large = found.enlarged(found.confidence)
    assert large.shape == found.depth_m.shape
    assert large.mean() == pytest.approx(found.confidence.mean(), rel=0.01)
    small = estimate(Frame(picture, "rgb", CAMERA), output_size="network")
    assert small.enlarged(small.relative) is small.relative


def test_settings_change_between_frames(engine, bundle, picture):
    estimator = DepthEstimator(engine, bundle, plain())
    frame = Frame(picture, "rgb", CAMERA)
    assert np.isfinite(estimator.estimate(frame).depth_m).all()
    estimator.settings = plain(max_range_m=1e-3)
    assert np.isposinf(estimator.estimate(frame).depth_m).all()


def test_steps_are_timed(estimate, picture):
    found = estimate(Frame(picture, "rgb", CAMERA), with_colour=True)
    assert list(found.steps_ms) == [
        *("to_network", "engine", "correct", "gates", "upsample", "colour")
    ]
    assert all(value >= 0 for value in found.steps_ms.values())


@pytest.mark.parametrize(
    "image, channels, named",
    [
        (np.zeros((HEIGHT, WIDTH, 3), np.uint8), "hsv", "'hsv'"),
        (np.zeros((HEIGHT, WIDTH, 3), np.uint8), "rgba", f"need .{HEIGHT}, {WIDTH}, 4. uint8"),
        (np.zeros((100, WIDTH, 3), np.uint8), "rgb", f"camera of {WIDTH}x{HEIGHT}"),
        (np.zeros((HEIGHT, WIDTH, 3), np.float32), "rgb", "float32"),
    ],
)
def test_a_frame_that_does_not_fit_is_refused(image, channels, named):
    with pytest.raises(ValueError, match=named):
        Frame(image, channels, CAMERA)


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
