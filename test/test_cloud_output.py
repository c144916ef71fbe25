"""The full cloud in each of its forms."""

import numpy as np
import pytest

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.openvino_engine import OpenVinoEngine
from depthrefl_ros.estimator import DepthEstimator, EstimatorSettings, Frame
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.ros.cloud_output import CloudOutput
from depthrefl_ros.ros.parameters import Parameters

CAMERA = Camera.from_horizontal_fov(320, 240, 1.1)


@pytest.fixture(scope="module")
def frame():
    """A rendered room at 320x240, of which the far half is not believed."""
    bundle = Bundle.load("indoor_tiny")
    room = bundle.golden().images[0]
    picture = np.ascontiguousarray(room[:, np.arange(320) * 4 // 5][np.arange(240) * 4 // 5])
    settings = EstimatorSettings(max_range_m=3.0, min_range_m=0.2)
    estimator = DepthEstimator(OpenVinoEngine(bundle, 1), bundle, settings)
    frame = estimator.estimate(Frame(picture, "rgb", CAMERA), with_colour=True)
    assert 0.2 < np.isfinite(frame.depth_m).mean() < 0.95
    return frame


def points_of(message) -> np.ndarray:
    values = np.frombuffer(message.data, np.float32)
    return values.reshape(message.height, message.width, len(message.fields))


def names(message) -> list[str]:
    return [field.name for field in message.fields]


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({}, ["x", "y", "z", "rgb"]),
        ({"cloud_colour": False}, ["x", "y", "z"]),
        ({"cloud_confidence": True}, ["x", "y", "z", "rgb", "confidence"]),
        ({"cloud_colour": False, "cloud_confidence": True}, ["x", "y", "z", "confidence"]),
    ],
)
def test_fields(frame, changes, expected):
    message = CloudOutput().make(frame, Parameters(**changes))
    assert names(message) == expected and message.point_step == 4 * len(expected)
    points = points_of(message)
    believed = np.isfinite(frame.depth_m)
    np.testing.assert_array_equal(np.isfinite(points[..., 2]), believed)
    np.testing.assert_array_equal(points[..., 2][believed], frame.depth_m[believed])
    if "rgb" in expected:
        colours = np.ascontiguousarray(points[..., 3]).view(np.uint8).reshape(240, 320, 4)
        np.testing.assert_array_equal(colours, frame.colour_bgra)
    if "confidence" in expected:
        confidence = frame.enlarged(frame.confidence)
        np.testing.assert_array_equal(points[..., -1], confidence)


@pytest.mark.parametrize("stride", [2, 3, 7])
def test_a_stride_keeps_every_so_many_th_point_of_the_full_cloud(frame, stride):
    full = points_of(CloudOutput().make(frame, Parameters())).copy()
    thin = points_of(CloudOutput().make(frame, Parameters(cloud_stride=stride)))
    expected = full[::stride, ::stride]
    assert thin.shape == expected.shape
    np.testing.assert_allclose(thin[..., :3], expected[..., :3], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(thin[..., 3].view(np.uint32), expected[..., 3].view(np.uint32))


def test_one_point_a_voxel_and_only_believed_ones(frame):
    changes = {"cloud_colour": False, "cloud_confidence": True}
    full = points_of(CloudOutput().make(frame, Parameters(**changes))).reshape(-1, 4).copy()
    full = full[np.isfinite(full[:, 2])]
    message = CloudOutput().make(frame, Parameters(cloud_voxel_size=0.1, **changes))
    assert message.height == 1 and message.is_dense
    points = points_of(message)[0]
    assert np.isfinite(points).all() and 10 < len(points) < len(full) / 4
    voxels, full_voxels = (
        np.floor(one[:, :3] / np.float32(0.1)).astype(int) for one in (points, full)
    )
    best: dict[tuple, float] = {}  # of each voxel the most certain point's confidence
    for voxel, confidence in zip(map(tuple, full_voxels), full[:, 3], strict=True):
        best[voxel] = max(best.get(voxel, 0.0), confidence)
    assert dict(zip(map(tuple, voxels), points[:, 3], strict=True)) == best
    assert len(best) == len(points)


def test_the_form_may_change_from_frame_to_frame(frame):
    output = CloudOutput()
    for changes in ({}, {"cloud_stride": 2}, {"cloud_colour": False}, {}):
        message = output.make(frame, Parameters(**changes))
        fresh = CloudOutput().make(frame, Parameters(**changes))
        assert message.data == fresh.data and names(message) == names(fresh)
