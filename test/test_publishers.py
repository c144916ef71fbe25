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

"""What RViz and mapping get of a frame: images, the full cloud in each of its forms; over DDS."""

import numpy as np
import pytest
from rclpy.lifecycle import LifecycleNode
from rclpy.parameter import Parameter
from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from depthrefl_ros.engine.openvino_engine import OpenVinoEngine
from depthrefl_ros.estimator import DepthEstimator, EstimatorSettings, StepTimer
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.preview import LEGEND_WIDTH, depth_preview
from depthrefl_ros.ros.convert.images import compressed_depth_to_metres, compressed_image_to_array
from depthrefl_ros.ros.diagnostics import Diagnostics
from depthrefl_ros.ros.loaded_model import FrameSettings
from depthrefl_ros.ros.parameters import Parameters
from depthrefl_ros.ros.publishers import (
    DEPTH_CAMERA_INFO,
    DEPTH_CONFIDENCE,
    DEPTH_IMAGE,
    DEPTH_IMAGE_PNG,
    DEPTH_IMAGE_RAW,
    DEPTH_IMAGE_RAW_PNG,
    DEPTH_PREVIEW,
    DEPTH_RELATIVE,
    POINTS,
    PREVIEW_JPEG,
    TYPES,
    DepthPublisher,
    Publishers,
    check_overrides,
)
from depthrefl_ros.settings import SettingError, changed

WIDTH, HEIGHT = 320, 240
CAMERA = Camera.from_horizontal_fov(WIDTH, HEIGHT, 1.1)
HEADER = Header(frame_id="camera_optical_frame")


@pytest.fixture(scope="module")
def frame(bundle):
    """Return a rendered room at 320x240, of which the far half is not believed."""
    room = bundle.golden().images[0, ..., :3]
    picture = np.ascontiguousarray(room[:, np.arange(320) * 4 // 5][np.arange(240) * 4 // 5])
    settings = EstimatorSettings(max_range_m=3.0, min_range_m=0.2)
    estimator = DepthEstimator(OpenVinoEngine(bundle, 1), bundle, settings)
    frame = estimator.estimate(picture, CAMERA, with_colour=True)
    assert 0.2 < np.isfinite(frame.depth_m).mean() < 0.95
    return frame


class Maker:
    """One ``DepthPublisher``, and in the place of ``Publishers`` what keeps its messages."""

    def __init__(self, bundle, frame):
        self._bundle, self._frame = bundle, frame
        self._publisher = DepthPublisher(self)
        self._published = {}

    def publish(self, topic, message, header, _timer):
        message.header = header
        self._published[topic] = message

    def make(self, topic, **changes):
        settings = FrameSettings.of(changed(Parameters(), changes), self._bundle)
        self._publisher.publish(topic, self._frame, HEADER, settings, StepTimer())
        return self._published[topic]


@pytest.fixture
def maker(bundle, frame):
    return Maker(bundle, frame)


@pytest.fixture
def made(bundle, frame):
    """Make the message of a topic, with a publisher of its own."""
    return lambda topic, **changes: Maker(bundle, frame).make(topic, **changes)


# Overrides of the user's.


@pytest.fixture
def overridden(ros):
    """Return a lifecycle node with overrides for ``/front/points``."""
    nodes = []

    def make(**policies):
        prefix = "qos_overrides./front/points.publisher"
        given = [Parameter(f"{prefix}.{name}", value=value) for name, value in policies.items()]
        arguments = {"namespace": "/front", "parameter_overrides": given}
        nodes.append(LifecycleNode("overridden", **arguments))
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()


def test_overrides_that_rclpy_takes_are_taken(overridden):
    node = overridden(reliability="Best_Effort", history="keep_last", depth=7)
    check_overrides(node)
    publishers = Publishers(node, Diagnostics())
    profile = publishers._publishers[POINTS].qos_profile
    assert (profile.reliability, profile.depth) == (ReliabilityPolicy.BEST_EFFORT, 7)
    publishers.close()


@pytest.mark.parametrize(
    "policy, value, wanted",
    [
        ("reliability", "foo", "one of .*reliable, best_effort"),
        ("reliability", "unknown", "one of .*reliable, best_effort"),
        ("reliability", True, "one of .*reliable, best_effort"),
        ("history", "keep_some", "one of .*keep_last, keep_all"),
        ("depth", "two", "a whole number from 0"),
        ("depth", True, "a whole number from 0"),
        ("depth", -1, "a whole number from 0"),
    ],
)
def test_an_override_that_cannot_be_taken_is_named(overridden, policy, value, wanted):
    named = f"qos_overrides./front/points.publisher.{policy} is {value!r}; it must be {wanted}"
    with pytest.raises(SettingError, match=named):
        check_overrides(overridden(**{policy: value}))


def test_where_one_publisher_fails_the_others_are_closed(overridden):
    node = overridden(reliability="foo")
    with pytest.raises(RuntimeError, match="foo"):
        Publishers(node, Diagnostics())
    assert not [one for one in node.publishers if one.topic_name.startswith("/front/depth")]


# The full cloud.


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
def test_fields(made, frame, changes, expected):
    message = made(POINTS, **changes)
    assert names(message) == expected and message.point_step == 4 * len(expected)
    points = points_of(message)
    believed = np.isfinite(frame.depth_m)
    np.testing.assert_array_equal(np.isfinite(points[..., 2]), believed)
    np.testing.assert_array_equal(points[..., 2][believed], frame.depth_m[believed])
    if "rgb" in expected:
        colours = np.ascontiguousarray(points[..., 3]).view(np.uint8).reshape(240, 320, 4)
        np.testing.assert_array_equal(colours, frame.colour_bgra)
    if "confidence" in expected:
        np.testing.assert_array_equal(points[..., -1], frame.confidence)


@pytest.mark.parametrize("stride", [2, 3, 7])
def test_a_stride_keeps_every_so_many_th_point_of_the_full_cloud(made, stride):
    full = points_of(made(POINTS)).copy()
    thin = points_of(made(POINTS, cloud_stride=stride))
    expected = full[::stride, ::stride]
    assert thin.shape == expected.shape
    np.testing.assert_allclose(thin[..., :3], expected[..., :3], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(thin[..., 3].view(np.uint32), expected[..., 3].view(np.uint32))


def test_one_point_a_voxel_and_only_believed_ones(made):
    changes = {"cloud_colour": False, "cloud_confidence": True}
    full = points_of(made(POINTS, **changes)).reshape(-1, 4).copy()
    full = full[np.isfinite(full[:, 2])]
    message = made(POINTS, cloud_voxel_size=0.1, **changes)
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


def test_the_form_of_the_cloud_may_change_from_frame_to_frame(maker, made):
    for changes in ({}, {"cloud_stride": 2}, {"cloud_colour": False}, {}):
        message, fresh = maker.make(POINTS, **changes), made(POINTS, **changes)
        assert message.data == fresh.data and names(message) == names(fresh)


# Images.


def pixels(message, dtype) -> np.ndarray:
    return np.frombuffer(message.data, dtype).reshape(message.height, message.width, -1)


@pytest.mark.parametrize(
    "topic, plane",
    [(DEPTH_IMAGE, "depth_m"), (DEPTH_CONFIDENCE, "confidence"), (DEPTH_RELATIVE, "relative")],
)
def test_planes_are_float_images_of_the_depths_size(made, frame, topic, plane):
    message = made(topic)
    assert (message.encoding, message.step) == ("32FC1", 4 * WIDTH)
    found = pixels(message, np.float32)[..., 0]
    np.testing.assert_array_equal(found, getattr(frame, plane))
    if topic != DEPTH_IMAGE:
        unknown = np.isnan(frame.depth_m)
        assert unknown.any()
        np.testing.assert_array_equal(np.isnan(found), unknown)


def test_raw_depth_is_whole_millimetres_and_0_where_there_is_none(made, frame):
    message = made(DEPTH_IMAGE_RAW)
    assert (message.encoding, message.step) == ("16UC1", 2 * WIDTH)
    found = pixels(message, np.uint16)[..., 0]
    believed = np.isfinite(frame.depth_m)
    np.testing.assert_array_equal(found > 0, believed)
    np.testing.assert_allclose(found[believed], 1000 * frame.depth_m[believed], atol=0.51)


def test_the_preview_spans_the_range_of_the_settings(made, frame, bundle):
    message = made(DEPTH_PREVIEW, min_range=0.5, max_range=4.0)
    assert (message.encoding, message.width) == ("bgr8", WIDTH + LEGEND_WIDTH)
    expected = depth_preview(frame.depth_m, 0.5, 4.0)
    np.testing.assert_array_equal(pixels(message, np.uint8), expected)
    models = depth_preview(frame.depth_m, bundle.min_range_m, bundle.max_range_m)
    np.testing.assert_array_equal(pixels(made(DEPTH_PREVIEW), np.uint8), models)


def test_camera_info_is_of_the_depth(made):
    message = made(DEPTH_CAMERA_INFO)
    assert (message.width, message.height, message.header.frame_id) == (
        *(WIDTH, HEIGHT),
        HEADER.frame_id,
    )
    assert message.k[0] == message.p[0] == pytest.approx(CAMERA.fx)
    assert not any(message.d)


def test_messages_of_one_size_are_used_again(maker):
    for topic in (DEPTH_IMAGE, DEPTH_PREVIEW, POINTS):
        assert maker.make(topic) is maker.make(topic)


def test_compressed_outputs_hold_what_the_plain_ones_do(made, frame):
    believed = np.isfinite(frame.depth_m)
    message = made(DEPTH_IMAGE_PNG)
    assert message.format == "32FC1; compressedDepth png"
    found = compressed_depth_to_metres(message, DEPTH_IMAGE_PNG)
    np.testing.assert_array_equal(np.isfinite(found), believed)
    step = frame.depth_m[believed] ** 2 / 10100
    assert (np.abs(found[believed] - frame.depth_m[believed]) <= 0.51 * step + 1e-6).all()
    message = made(DEPTH_IMAGE_RAW_PNG)
    assert message.format == "16UC1; compressedDepth png"
    found = compressed_depth_to_metres(message, DEPTH_IMAGE_RAW_PNG)
    plain = pixels(made(DEPTH_IMAGE_RAW), np.uint16)[..., 0]
    np.testing.assert_allclose(np.nan_to_num(1000 * found), plain, atol=1e-2)
    message = made(PREVIEW_JPEG)
    assert message.format == "bgr8; jpeg compressed bgr8" and message.header == HEADER
    picture, _ = compressed_image_to_array(message, PREVIEW_JPEG)
    plain = pixels(made(DEPTH_PREVIEW), np.uint8)
    assert np.abs(picture.astype(int) - plain).mean() < 6


def test_a_preview_and_its_jpeg_are_drawn_once(bundle, frame, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "depthrefl_ros.ros.publishers.depth_preview",
        lambda *arguments: drawn.append(1) or depth_preview(*arguments),
    )
    maker = Maker(bundle, frame)
    settings = FrameSettings.of(Parameters(), bundle)
    for topic in (DEPTH_PREVIEW, PREVIEW_JPEG):
        maker._publisher.publish(topic, frame, HEADER, settings, StepTimer())
    assert len(drawn) == 1
    maker.make(DEPTH_PREVIEW, max_range=4.0)
    assert len(drawn) == 2


# Over DDS.


@pytest.fixture
def lifecycle_node(ros):
    nodes = []

    def make(**values):
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        nodes.append(LifecycleNode("bearer", parameter_overrides=overrides))
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()


@pytest.fixture
def publishers(lifecycle_node):
    node, diagnostics = lifecycle_node(), Diagnostics()
    publishers = Publishers(node, diagnostics)
    publishers.node, publishers.counts = node, diagnostics.counts
    node.trigger_configure()
    yield publishers
    publishers.close()


def test_wanted_is_what_somebody_listens_to(peer, publishers):
    assert publishers.wanted() == frozenset()
    subscription = peer.node.create_subscription(Image, DEPTH_IMAGE, lambda _: None, 1)
    assert peer.spin_until(lambda: publishers.wanted() == {DEPTH_IMAGE})
    peer.node.destroy_subscription(subscription)
    assert peer.spin_until(lambda: publishers.wanted() == frozenset())


def test_every_topic_is_there_with_its_type_before_the_node_is_active(peer, publishers):
    def known() -> dict:
        return dict(peer.node.get_topic_names_and_types())

    assert peer.spin_until(lambda: {f"/{topic}" for topic in TYPES} <= known().keys())
    for topic, kind in TYPES.items():
        package = kind.__module__.split(".")[0]
        assert known()[f"/{topic}"] == [f"{package}/msg/{kind.__name__}"]


def test_messages_go_out_while_the_node_is_active_with_the_header_that_is_given(peer, publishers):
    images = peer.collect(Image, DEPTH_IMAGE)
    assert peer.spin_until(lambda: publishers.wanted() == {DEPTH_IMAGE})
    timer = StepTimer()
    publishers.node.trigger_activate()
    publishers.publish(DEPTH_IMAGE, Image(width=7), HEADER, timer)
    assert peer.spin_until(lambda: bool(images))
    assert (images[0].width, images[0].header.frame_id) == (7, HEADER.frame_id)
    assert publishers.counts() == {"published_depth/image": 1}
    assert timer.steps_ms["publish"] > 0.0
    publishers.flush(frozenset({DEPTH_IMAGE}), 1.0)


def test_publishers_are_reliable_and_users_may_override_that(peer, lifecycle_node):
    name = "qos_overrides./points.publisher.reliability"
    publishers = Publishers(lifecycle_node(**{name: "best_effort"}), Diagnostics())

    def offered(topic):
        return [one.qos_profile for one in peer.node.get_publishers_info_by_topic(f"/{topic}")]

    try:
        assert peer.spin_until(lambda: all(len(offered(topic)) == 1 for topic in TYPES))
        for topic in TYPES:
            best_effort = topic == POINTS
            expected = ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE
            assert offered(topic)[0].reliability == expected
        assert publishers._publishers[POINTS].qos_profile.depth == 1
    finally:
        publishers.close()
    assert publishers.wanted() == frozenset()
    assert peer.spin_until(lambda: not any(offered(topic) for topic in TYPES))
