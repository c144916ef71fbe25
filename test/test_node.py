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

"""The real node in a process of its own, over DDS, without torch."""

import os
import re
import signal
import subprocess
import sys
from array import array

import cv2
import numpy as np
import pytest
from depth_subscriber import subscriber
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from node_harness import FRAME, HEIGHT, WIDTH, Harness, depth_of, start_node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.geometry.preview import LEGEND_WIDTH


@pytest.fixture(scope="module")
def node(ros, tmp_path_factory, without_torch):
    log = tmp_path_factory.mktemp("node") / "log.txt"
    harness = Harness(process=start_node(log, without_torch, diagnostics_period=0.1))
    harness.wait_for("active")
    yield harness
    harness.close()
    assert harness.process.stop(signal.SIGTERM) == 0, harness.process.output()


@pytest.fixture
def depth_images(node):
    """Depth images as they come; ends with the test, so that nothing listens then."""
    messages: list = []
    subscription = node.node.create_subscription(
        Image, "depth/image", messages.append, qos_profile_sensor_data
    )
    yield messages
    node.node.destroy_subscription(subscription)


def test_depth_comes_where_importing_torch_fails(node, depth_images, without_torch):
    attempt = subprocess.run(
        [sys.executable, "-c", "import torch"],
        env={**os.environ, **without_torch},
        capture_output=True,
        text=True,
    )
    assert "torch is not here" in attempt.stderr
    depth = depth_of(node.next_of(depth_images))
    assert depth.shape == (HEIGHT, WIDTH)
    known = depth[np.isfinite(depth)]
    assert known.size > 0 and (known > 0).all()


def test_all_outputs_carry_the_header_of_their_image(node, depth_images):
    planes = ("depth/image_raw", "depth/confidence", "depth/relative")
    kinds = {"depth/camera_info": CameraInfo, "depth/preview": Image, "points": PointCloud2}
    kinds.update(dict.fromkeys(planes, Image))
    packed = "depth/image/compressedDepth", "depth/preview/compressed"
    kinds.update(dict.fromkeys(packed, CompressedImage))
    received = {topic: [] for topic in kinds}
    subscriptions = [
        node.node.create_subscription(kind, topic, received[topic].append, 1)
        for topic, kind in kinds.items()
    ]
    received["depth/image"] = depth_images

    def common():
        stamps = [{one.header.stamp.sec for one in messages} for messages in received.values()]
        return set.intersection(*stamps)

    assert node.spin_until(common, do=node.send), node.values()
    stamp = max(common())
    found = {
        topic: next(one for one in messages if one.header.stamp.sec == stamp)
        for topic, messages in received.items()
    }
    for subscription in subscriptions:
        node.node.destroy_subscription(subscription)
    assert {one.header.frame_id for one in found.values()} == {FRAME}
    unpacked, preview = (found.pop(topic) for topic in packed)
    assert {(one.width, one.height) for topic, one in found.items() if "preview" not in topic} == {
        (WIDTH, HEIGHT)
    }
    unpacked = subscriber(bytes(unpacked.data), "32FC1")
    depth = depth_of(found["depth/image"])
    finite = np.where(np.isfinite(depth), depth, np.nan)
    np.testing.assert_allclose(unpacked, finite, rtol=1.1e-3)
    picture = cv2.imdecode(np.frombuffer(preview.data, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (HEIGHT, WIDTH + LEGEND_WIDTH, 3)
    assert found["depth/camera_info"].k[0] == found["depth/camera_info"].p[0] == 250
    assert not any(found["depth/camera_info"].d)
    preview = found["depth/preview"]
    assert (preview.encoding, preview.width) == ("bgr8", WIDTH + LEGEND_WIDTH)
    assert found["depth/image_raw"].encoding == "16UC1"
    millimetres = np.frombuffer(found["depth/image_raw"].data, np.uint16).reshape(depth.shape)
    believed = np.isfinite(depth)
    np.testing.assert_array_equal(millimetres > 0, believed)
    np.testing.assert_allclose(millimetres[believed], 1000 * depth[believed], atol=0.51)
    for topic in ("depth/confidence", "depth/relative"):
        plane = depth_of(found[topic])
        np.testing.assert_array_equal(np.isnan(plane), np.isnan(depth))
        assert 0.0 <= np.nanmin(plane) < np.nanmax(plane) <= 1.0
    points = np.frombuffer(found["points"].data, np.float32).reshape(HEIGHT, WIDTH, 4)
    np.testing.assert_array_equal(points[..., 2], np.where(np.isfinite(depth), depth, np.nan))
    row, column = np.argwhere(np.isfinite(depth))[0]
    expected_x = (column - 159.5) / 250 * depth[row, column]
    assert points[row, column, 0] == pytest.approx(expected_x, rel=1e-5, abs=1e-6)
    colours = np.ascontiguousarray(points[..., 3]).view(np.uint8).reshape(HEIGHT, WIDTH, 4)
    np.testing.assert_array_equal(colours[..., :3], node.picture)


def test_only_what_is_listened_to_is_computed(node, depth_images):
    node.next_of(depth_images)
    before = node.fresh_values()
    node.next_of(depth_images)
    after = node.fresh_values()
    assert int(after["published_depth/image"]) > int(before["published_depth/image"])
    for topic in ("points", "depth/preview"):
        assert after.get(f"published_{topic}") == before.get(f"published_{topic}")


def test_without_listeners_the_engine_rests(node):
    dropped = node.number("dropped_no_listener")
    assert node.spin_until(lambda: node.number("dropped_no_listener") > dropped, do=node.send)
    node.spin_until(lambda: False, 0.3)
    processed = node.fresh_values()["processed"]
    dropped = node.number("dropped_no_listener")
    assert node.spin_until(lambda: node.number("dropped_no_listener") > dropped, do=node.send)
    assert node.fresh_values()["processed"] == processed


def spoiled(message, change):
    for field, value in change.items():
        setattr(message, field, value)
    return message


@pytest.mark.parametrize(
    "change, complaint",
    [
        ({"encoding": "rgb9"}, "'rgb9'"),
        ({"data": array("B", bytes(100))}, "data has 100 bytes"),
        ({"width": 0, "height": 0}, "0x0"),
        ({"step": 5}, "step is 5"),
    ],
)
def test_after_a_bad_image_the_node_goes_on(node, depth_images, change, complaint):
    node.next_of(depth_images)
    dropped = node.number("dropped_bad_image")
    send = lambda: node.images.publish(spoiled(node.image(), change))  # noqa: E731
    assert node.spin_until(lambda: node.number("dropped_bad_image") > dropped, do=send)
    values = node.fresh_values()
    assert values["level"] == DiagnosticStatus.WARN
    assert "/image: " in values["message"] and complaint in values["message"]
    node.next_of(depth_images)


NAN = float("nan")


@pytest.mark.parametrize(
    "change, complaint",
    [
        ({"k": [NAN, 0.0, 160.0, 0.0, NAN, 120.0, 0.0, 0.0, 1.0]}, "nan"),
        ({"k": [0.0] * 9}, "K is all zero"),
        ({"width": 2 * WIDTH}, f"the image is {WIDTH}x{HEIGHT}"),
    ],
)
def test_after_a_bad_camera_info_the_node_goes_on(node, depth_images, change, complaint):
    node.next_of(depth_images)
    dropped = node.number("dropped_bad_camera_info")

    def send():
        image = node.image()
        node.infos.publish(spoiled(node.info(image.header), change))
        node.images.publish(image)

    assert node.spin_until(lambda: node.number("dropped_bad_camera_info") > dropped, do=send)
    values = node.fresh_values()
    assert "/camera_info: " in values["message"] and complaint in values["message"]
    node.next_of(depth_images)


def test_a_missing_camera_info_is_named_and_an_assumed_view_angle_helps(node, depth_images):
    assert node.transition(Transition.TRANSITION_DEACTIVATE)
    assert node.transition(Transition.TRANSITION_ACTIVATE)
    send = lambda: node.images.publish(node.image())  # noqa: E731
    dropped = node.number("dropped_no_camera_info")
    assert node.spin_until(lambda: node.number("dropped_no_camera_info") > dropped, do=send)
    assert "no CameraInfo on /camera_info" in node.fresh_values()["message"]
    assert "no CameraInfo on /camera_info" in node.process.output()
    try:
        assert node.set("assumed_horizontal_fov", 65.0) == ""
        node.next_of(depth_images, send)
        values = node.fresh_values()
        assert values["level"] == DiagnosticStatus.WARN
        assert "assumed_horizontal_fov 65 deg" in values["camera"]
    finally:
        node.set("assumed_horizontal_fov", 0.0)
    node.next_of(depth_images)
    assert node.fresh_values()["camera"] == "/camera_info"


def test_parameters_change_from_the_next_frame_on(node, depth_images, tmp_path):
    node.next_of(depth_images)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[HEIGHT // 2 :] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    changes = {
        "optical_frame_id": ("other_frame", ""),
        "output_size": ("network", "input"),
        "self_mask": (str(tmp_path / "mask.png"), ""),
    }
    for name, (value, _) in changes.items():
        assert node.set(name, value) == ""
    try:
        message = node.next_of(depth_images)
        assert message.header.frame_id == "other_frame"
        bundle = Bundle.load("indoor_tiny")
        assert (message.width, message.height) == (bundle.width, bundle.height)
        assert np.isnan(depth_of(message)[bundle.height // 2 + 1 :]).all()
        node.set("output_size", "input")
        depth = depth_of(node.next_of(depth_images))
        assert np.isnan(depth[HEIGHT // 2 :]).all() and np.isfinite(depth[: HEIGHT // 2]).any()
    finally:
        for name, (_, default) in changes.items():
            assert node.set(name, default) == ""
    assert node.next_of(depth_images).header.frame_id == FRAME


def test_range_limits_apply(node, depth_images):
    depth = depth_of(node.next_of(depth_images))
    middle = float(np.median(depth[np.isfinite(depth)]))
    assert node.set("max_range", round(middle, 3)) == ""
    try:
        limited = depth_of(node.next_of(depth_images))
        assert np.isposinf(limited).any()
        assert limited[np.isfinite(limited)].max() <= middle + 1e-3
    finally:
        assert node.set("max_range", 0.0) == ""


@pytest.mark.parametrize(
    "name, value, reason",
    [
        ("model", "other", "model can be changed only while the node is unconfigured"),
        ("image_transport", "compressed", "image_transport can be changed only while .*not active"),
        ("autostart", False, "autostart can be changed only at start"),
        ("max_rate", -1.0, "max_rate"),
        ("max_rate", "fast", "type"),
        ("max_rage", 5.0, "no parameter 'max_rage'; did you mean 'max_range'"),
        ("camera_info_url", "~nosuchuser/x.yaml", "nosuchuser"),
        ("aspect_fit", "squash", "aspect_fit is 'squash'; it must be one of"),
        ("min_range", 999.0, "min_range"),
        ("self_mask", "/nowhere.png", "self_mask is '/nowhere.png'"),
        ("camera_info_url", "/nowhere.yaml", "/nowhere.yaml"),
    ],
)
def test_changes_that_cannot_be_taken_are_refused_with_a_reason(node, name, value, reason):
    assert re.search(reason, node.set(name, value))
    assert node.state() == "active"


def test_a_mask_of_another_size_drops_frames_and_says_so(node, depth_images, tmp_path):
    node.next_of(depth_images)
    cv2.imwrite(str(tmp_path / "mask.png"), np.zeros((10, 20), np.uint8))
    assert node.set("self_mask", str(tmp_path / "mask.png")) == ""
    try:
        assert node.spin_until(lambda: node.number("dropped_bad_mask") > 0, do=node.send)
        assert "self_mask is 20x10" in node.fresh_values()["message"]
    finally:
        assert node.set("self_mask", "") == ""
    node.next_of(depth_images)


def test_the_newest_frame_wins_and_every_frame_is_accounted_for(node, depth_images):
    node.next_of(depth_images)
    before = node.number("dropped_superseded")
    node.spin_until(lambda: node.number("dropped_superseded") > before, do=node.send, period=0.0)

    def is_settled():
        values = node.values()
        return int(values["received"]) == int(values["processed"]) + int(values["dropped"])

    assert node.spin_until(is_settled)
    assert node.number("dropped_superseded") > before
    dropped = sum(int(value) for key, value in node.values().items() if key.startswith("dropped_"))
    assert dropped == node.number("dropped")


def test_max_rate_limits(node, depth_images):
    node.next_of(depth_images)
    assert node.set("max_rate", 2.0) == ""
    try:
        assert node.spin_until(
            lambda: node.number("dropped_rate_limited") > 2, do=node.send, period=0.02
        )
    finally:
        assert node.set("max_rate", 0.0) == ""


def test_old_stamps_are_dropped_only_where_asked(node, depth_images):
    node.next_of(depth_images)  # the stamps of these tests are decades old
    assert node.set("max_stamp_age", 1.0) == ""
    try:
        assert node.spin_until(lambda: node.number("dropped_too_old") > 0, do=node.send)
    finally:
        assert node.set("max_stamp_age", 0.0) == ""
    node.next_of(depth_images)


def test_timings_are_told_by_step(node, depth_images):
    for _ in range(3):
        node.next_of(depth_images)
    values = node.fresh_values()
    steps = ("decode", "to_network", "engine", "gates", "upsample", "fill", "publish")
    medians = {step: float(values[f"step_ms_{step}_p50"]) for step in steps}
    assert all(milliseconds > 0.0 for milliseconds in medians.values())
    assert medians["engine"] == max(medians.values())
    assert float(values["step_ms_outside_engine_p50"]) > 0.0
    assert values["engine"].startswith("openvino fp32 on ")
    assert "self-test" in values["engine_selection"]


def publishes_points(node) -> bool:
    topics = node.node.get_publisher_names_and_types_by_node("depthrefl", "/")
    return "/points" in dict(topics)


def test_lifecycle_round_trip_with_diagnostics_in_every_state(node, depth_images):
    steps = (
        (Transition.TRANSITION_DEACTIVATE, "inactive"),
        (Transition.TRANSITION_CLEANUP, "unconfigured"),
        (Transition.TRANSITION_CONFIGURE, "inactive"),
        (Transition.TRANSITION_ACTIVATE, "active"),
    )
    for number, state in steps:
        assert node.transition(number)
        assert node.state() == state
        assert node.fresh_values()["state"] == state
        exists = state != "unconfigured"  # topics and their QoS overrides while inactive, too
        assert node.spin_until(lambda exists=exists: publishes_points(node) == exists)
    node.next_of(depth_images)


def test_compressed_images(node, depth_images):
    assert node.transition(Transition.TRANSITION_DEACTIVATE)
    assert node.set("image_transport", "compressed") == ""
    assert node.transition(Transition.TRANSITION_ACTIVATE)
    try:

        def send(data=None):
            header = node.header()
            node.infos.publish(node.info(header))
            encoded = cv2.imencode(".jpg", node.picture)[1].tobytes() if data is None else data
            message = CompressedImage(header=header, format="jpeg", data=array("B", encoded))
            node.pictures.publish(message)

        assert depth_of(node.next_of(depth_images, send)).shape == (HEIGHT, WIDTH)
        dropped = node.number("dropped_bad_image")
        assert node.spin_until(
            lambda: node.number("dropped_bad_image") > dropped, do=lambda: send(b"no picture")
        )
        assert "/image/compressed: " in node.fresh_values()["message"]
        node.next_of(depth_images, send)
    finally:
        assert node.transition(Transition.TRANSITION_DEACTIVATE)
        assert node.set("image_transport", "raw") == ""
        assert node.transition(Transition.TRANSITION_ACTIVATE)
    node.next_of(depth_images)


def test_silence_is_told(node):
    assert node.spin_until(lambda: "no image on /image" in node.values().get("message", ""), 5)
    assert node.values()["level"] == DiagnosticStatus.WARN
