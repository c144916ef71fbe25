"""The one pass, on the shipped model."""

import numpy as np
import pytest

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.selection import open_engine
from depthrefl_ros.estimator import DepthEstimator, EstimatorSettings, Frame
from depthrefl_ros.geometry.camera import Camera

CAMERA = Camera.from_horizontal_fov(256, 192, 1.1)


@pytest.fixture(scope="module")
def bundle():
    return Bundle.load("indoor_tiny")


@pytest.fixture(scope="module")
def engine(bundle):
    return open_engine(bundle, "openvino").engine


@pytest.fixture
def picture(bundle):
    return bundle.golden().images[0]


def plain(**changes) -> EstimatorSettings:
    """Settings that gate nothing."""
    return EstimatorSettings(
        **{"edge_ratio": 0.0, "min_range_m": 0.0, "max_range_m": 1e3, **changes}
    )


@pytest.fixture
def estimate(engine, bundle):
    def run(frame, with_colour=False, **changes):
        return DepthEstimator(engine, bundle, plain(**changes)).estimate(frame, with_colour)

    return run


def test_depth_is_the_networks_unscaled_by_the_focal_lengths(estimate, bundle, picture):
    found = estimate(Frame(picture, "rgb", CAMERA))
    canonical = bundle.golden().depth[0, 0]
    expected = canonical * CAMERA.fx / bundle.focal_px
    # The 3x3 median is the only other thing between the two.
    assert np.median(np.abs(found.depth_m / expected - 1)) < 0.003
    np.testing.assert_allclose(found.sigma, bundle.golden().sigma[0, 0], rtol=1e-3)


def test_depth_scales_with_the_focal_length(estimate, picture):
    wide = estimate(Frame(picture, "rgb", Camera.pinhole(256, 192, 120, 120, 127.5, 95.5)))
    narrow = estimate(Frame(picture, "rgb", Camera.pinhole(256, 192, 240, 240, 127.5, 95.5)))
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
    camera = Camera.from_horizontal_fov(768, 576, 1.1)
    found = estimate(Frame(big, "rgb", camera), with_colour=True)
    assert found.depth_m.shape == (576, 768) and found.colour_bgra.shape == (576, 768, 4)
    assert (found.camera.width, found.camera.fx) == (768, camera.fx)
    small = estimate(Frame(big, "rgb", camera), with_colour=True, output_size="network")
    assert small.depth_m.shape == (192, 256) and small.colour_bgra.shape == (192, 256, 4)
    assert small.camera.fx == pytest.approx(camera.fx / 3)


def test_distorted_input_becomes_rectified_depth(estimate, picture):
    D = np.array([-0.2, 0.05, 0, 0, 0])
    found = estimate(Frame(picture, "rgb", Camera(256, 192, CAMERA.K, D)))
    assert not found.camera.is_distorted
    ignored = estimate(
        Frame(picture, "rgb", Camera(256, 192, CAMERA.K, D)), image_is_rectified=True
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

    edged = estimate(frame, edge_ratio=1.1)
    believed = edged.depth_m[np.isfinite(edged.depth_m)]
    assert 0 < np.isnan(edged.depth_m).mean() < 0.6 and len(believed)


def test_settings_change_between_frames(engine, bundle, picture):
    estimator = DepthEstimator(engine, bundle, plain())
    frame = Frame(picture, "rgb", CAMERA)
    assert np.isfinite(estimator.estimate(frame).depth_m).all()
    estimator.settings = plain(max_range_m=1e-3)
    assert np.isposinf(estimator.estimate(frame).depth_m).all()


def test_steps_are_timed(estimate, picture):
    found = estimate(Frame(picture, "rgb", CAMERA), with_colour=True)
    assert list(found.steps_ms) == ["to_network", "engine", "gates", "upsample", "colour"]
    assert all(value >= 0 for value in found.steps_ms.values())


@pytest.mark.parametrize(
    "image, channels, named",
    [
        (np.zeros((192, 256, 3), np.uint8), "hsv", "'hsv'"),
        (np.zeros((192, 256, 3), np.uint8), "rgba", "need .192, 256, 4. uint8"),
        (np.zeros((100, 256, 3), np.uint8), "rgb", "camera of 256x192"),
        (np.zeros((192, 256, 3), np.float32), "rgb", "float32"),
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
        ({"min_range_m": 5.0, "max_range_m": 4.0}, "min_range is 5"),
    ],
)
def test_bad_settings_name_the_value(changes, named):
    with pytest.raises(ValueError, match=named):
        plain(**changes)
