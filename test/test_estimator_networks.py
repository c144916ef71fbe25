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

"""Networks of every kind, by one that says what its image says: units, sky, sigma, the mount."""

import time

import numpy as np
import pytest
from exact_bundle import encoded, exact_bundle

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.openvino_engine import OpenVinoEngine
from depthrefl_ros.estimator import DepthEstimator, EstimatorSettings
from depthrefl_ros.frames import Frame, network_floor
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.floor_plane import camera_floor_depth
from depthrefl_ros.geometry.pose import Pose, mount_rotation

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


def test_an_answer_that_is_no_number_is_told_from_what_nobody_saw(foreign):
    estimator, wide = foreign(), Camera.from_horizontal_fov(64, 36, 1.1)  # padded above and below
    frame = Frame(np.zeros((36, 64, 3), np.uint8), "rgb", wide)
    prediction = estimator.predict(frame, estimator.settings)
    answer = prediction.depth_m.copy()
    answer[20:24, 30:40] = np.nan
    found = estimator.believe(prediction, answer, estimator.settings)
    assert (found.ungated_m[20:24, 30:40] == 0.0).all()
    assert np.isnan(found.network_depth_m[20:24, 30:40]).all()
    np.testing.assert_array_equal(np.isnan(found.ungated_m), np.isnan(prediction.depth_m))


@pytest.mark.parametrize("edge_ratio", [1.12, 0.0])
def test_surfaces_do_not_mix_on_the_way_to_the_images_size(foreign, edge_ratio):
    estimator, large = foreign(), Camera.from_horizontal_fov(480, 360, 1.1)
    frame = Frame(np.zeros((360, 480, 3), np.uint8), "rgb", large)
    prediction = estimator.predict(frame, estimator.settings)
    depth = np.full((48, 64), 1.0, np.float32)
    depth[:, 32:], depth[:5, :5] = 5.0, np.nan
    settings = EstimatorSettings(edge_ratio=edge_ratio)
    found = estimator.believe(prediction, depth, settings).depth_m
    assert found.shape == (360, 480)
    assert set(np.unique(found[np.isfinite(found)])) == {1.0, 5.0}


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
    ungated = {"edge_ratio": 0.0, "max_grazing_angle_deg": 0.0}
    settings = EstimatorSettings(**ungated, min_range_m=0.0, max_range_m=1e3)
    yield DepthEstimator(engine, bundle, settings)
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
    "mount",
    [
        None,
        Pose.from_mount(0.5, -1.2),
        Pose(mount_rotation(0.2, 0.0), np.array([0.0, 0.0, -0.1])),
        Pose(mount_rotation(0.0, 0.0), np.zeros(3)),
    ],
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
