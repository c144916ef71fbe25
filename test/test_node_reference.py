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

"""The real node with a relative network and what makes it metric, over DDS."""

import math
import signal
from array import array

import numpy as np
import pytest
from box_scene import true_depth
from exact_bundle import FINE, encoded, exact_bundle
from node_harness import FRAME, HEIGHT, WIDTH, TenHertzHarness, depth_of, start_node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image, PointCloud2

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.rays import pixel_rays
from depthrefl_ros.ros.convert.clouds import cloud_message

CAMERA = Camera.pinhole(WIDTH, HEIGHT, 250, 250, 159.5, 119.5)
HEIGHT_M, PITCH_DEG = 0.5, 8.0
WALL = ((4.5, -4.0, 0.0), (5.0, 4.0, 4.0))
BOX = ((1.5, -0.4, 0.0), (1.9, 0.2, 0.6))
TRUTH = true_depth(CAMERA, Pose.from_mount(HEIGHT_M, math.radians(PITCH_DEG)), [WALL, BOX])
SCALE, SHIFT = 0.05, -0.1
KINDS = {"depth/image": Image, "depth/relative": Image, "points/marking": PointCloud2}


class Reference(TenHertzHarness):
    """A camera of 10 Hz whose network says r = (1/z - shift) / scale, and what else it knows."""

    def __init__(self, process):
        super().__init__(process)
        self.picture = np.ascontiguousarray(encoded((1.0 / TRUTH - SHIFT) / SCALE)[..., ::-1])
        self.clouds = self.node.create_publisher(PointCloud2, "reference_points", 5)
        self.depths = self.node.create_publisher(Image, "reference_depth", 5)
        self.received = {
            topic: self.collect(kind, topic, qos_profile_sensor_data)
            for topic, kind in KINDS.items()
        }

    def points(self, header, factor=1.0):
        rng = np.random.default_rng(self.tenths)
        rows, columns = rng.integers(0, HEIGHT, 200), rng.integers(0, WIDTH, 200)
        points = factor * pixel_rays(CAMERA, columns, rows) * TRUTH[rows, columns][:, None]
        message = cloud_message(points.astype(np.float32), ("x", "y", "z"))
        message.header = header
        self.clouds.publish(message)

    def depth(self, header, depth_m=TRUTH, frame_id=FRAME):
        """Return a 16UC1 image in millimetres, 0 where the depth is not finite."""
        millimetres = np.rint(np.nan_to_num(1000.0 * depth_m, nan=0.0)).astype(np.uint16)
        height, width = millimetres.shape
        message = Image(height=height, width=width, encoding="16UC1", step=2 * width)
        message.header.stamp, message.header.frame_id = header.stamp, frame_id
        message.data = array("B", millimetres.tobytes())
        self.depths.publish(message)

    def send(self, **kinds):
        image = self.image()
        for kind, arguments in kinds.items():
            getattr(self, kind)(image.header, **arguments)
        self.infos.publish(self.info(image.header))
        self.images.publish(image)

    def until(self, condition, timeout=20.0, **kinds) -> bool:
        """Send frames until the condition holds."""
        return self.spin_until(condition, timeout, 0.1, lambda: self.send(**kinds))

    def newest_depth(self) -> np.ndarray:
        messages = self.received["depth/image"]
        return depth_of(messages[-1]) if messages else np.full(TRUTH.shape, np.inf, np.float32)


def start(tmp_path_factory, without_torch, bundle, **parameters) -> Reference:
    log = tmp_path_factory.mktemp("node") / "log.txt"
    values = {"model": bundle, "diagnostics_period": 0.1, **parameters}
    harness = Reference(start_node(log, without_torch, **values))
    harness.wait_for("active")
    return harness


@pytest.fixture
def relative_node(ros, tmp_path_factory, without_torch):
    bundle = exact_bundle(
        tmp_path_factory.mktemp("bundles") / "relative",
        CAMERA,
        ("relative",),
        FINE,
        kind="inverse_relative",
        focal_px=None,
        calibration=None,
    )
    harness = start(
        tmp_path_factory, without_torch, bundle, camera_height=HEIGHT_M, camera_pitch=PITCH_DEG
    )
    yield harness
    harness.close()
    assert harness.process.stop(signal.SIGINT, timeout=10) == 0, harness.process.output()


def test_a_relative_network_becomes_metric_and_is_relative_again_without_measurements(
    relative_node,
):
    node = relative_node
    # Nothing makes it metric: only the relative depth goes out, and diagnostics say so.
    said = "depth is NaN: the model gives relative depth, no metres"
    assert node.until(lambda: said in node.values().get("message", "")), node.values()
    assert node.until(lambda: len(node.received["depth/relative"]) > 2)
    relative = depth_of(node.received["depth/relative"][-1])
    assert np.median(np.abs(relative - (1.0 / TRUTH - SHIFT) / SCALE)) < 1e-3
    assert np.isnan(node.newest_depth()).all()
    assert not any(cloud.width for cloud in node.received["points/marking"])

    # Points of a lidar.
    assert node.set("scale_correction", "reference_points") == ""
    points = {"points": {}}
    assert node.until(lambda: np.isfinite(node.newest_depth()).any(), **points), node.values()
    settled = len(node.received["depth/image"]) + 10
    assert node.until(lambda: len(node.received["depth/image"]) >= settled, **points)
    depth = node.newest_depth()
    known = np.isfinite(depth)
    assert known.mean() > 0.6
    assert np.median(np.abs(depth[known] / TRUTH[known] - 1.0)) < 0.01
    assert node.until(lambda: node.received["points/marking"][-1].width > 0, **points)
    assert node.until(lambda: "1/z = " in node.values().get("scale", ""), **points), node.values()
    assert "by reference_points" in node.values()["scale"]

    # A lidar that contradicts the floor: silence before a wrong wall.
    lying = {"points": {"factor": 2.0}}
    assert node.until(lambda: "% off its average" in node.values().get("message", ""), **lying)
    assert node.until(lambda: node.received["points/marking"][-1].width == 0, **lying)

    # No lidar any more: the metres are lost after 3 s.
    assert node.until(lambda: "are lost" in node.values().get("message", ""), 30.0), node.values()
    assert np.isnan(node.newest_depth()).all()
    assert node.set("scale_correction", "ground") == ""
    assert node.until(lambda: "by ground" in node.values().get("scale", "")), node.values()
    assert node.until(lambda: np.isfinite(node.newest_depth()).any())
    assert node.until(lambda: node.received["points/marking"][-1].width > 0)


@pytest.fixture
def with_depth_camera(ros, tmp_path_factory, without_torch):
    """Return a node whose network says 1.3 times the depth, and a depth camera beside it."""
    bundle = exact_bundle(tmp_path_factory.mktemp("bundles") / "metric", CAMERA)
    mount = {"camera_height": HEIGHT_M, "camera_pitch": PITCH_DEG}
    harness = start(
        tmp_path_factory, without_torch, bundle, scale_correction="reference_depth", **mount
    )
    harness.picture = np.ascontiguousarray(encoded(1.3 * TRUTH)[..., ::-1])
    yield harness
    harness.close()
    assert harness.process.stop(signal.SIGINT, timeout=10) == 0, harness.process.output()


def error_of(depth) -> float:
    known = np.isfinite(depth)
    return float(np.median(np.abs(depth[known] / TRUTH[known] - 1.0))) if known.any() else np.inf


def test_a_depth_image_corrects_the_scale_of_a_metric_network(with_depth_camera):
    node = with_depth_camera
    missing = "nothing has come on reference_depth yet"
    assert node.until(lambda: missing in node.values().get("message", "")), node.values()
    near = pytest.approx(0.3, abs=0.02)
    assert node.until(lambda: error_of(node.newest_depth()) == near)

    holes = np.where(TRUTH < 4.0, TRUTH, np.nan)
    assert node.until(lambda: error_of(node.newest_depth()) < 0.01, depth={"depth_m": holes})
    near = pytest.approx(1 / 1.3, rel=0.005)
    assert node.until(
        lambda: float(node.values().get("scale_factor", 0)) == near, depth={"depth_m": holes}
    ), node.values()

    aside = {"depth": {"frame_id": "camera_depth_optical_frame"}}
    said = "in frame 'camera_depth_optical_frame', the image is 320x240"
    assert node.until(lambda: said in node.values().get("message", ""), **aside), node.values()
    small = {"depth": {"depth_m": TRUTH[::2, ::2]}}
    said = "reference_depth is 160x120 in frame"
    assert node.until(lambda: said in node.values().get("message", ""), **small), node.values()
    assert error_of(node.newest_depth()) < 0.01  # the factor is held


def test_holes_of_a_depth_image_are_filled(with_depth_camera):
    node = with_depth_camera
    assert node.set("fill", "holes") == ""
    assert node.set("scale_correction", "none") == ""  # the fill brings its anchor along
    hole = np.zeros(TRUTH.shape, bool)
    hole[150:200, 40:120] = hole[60:110, 250:300] = True
    seen = {"depth": {"depth_m": np.where(hole, np.nan, TRUTH)}}

    def is_kept():
        depth = node.newest_depth()
        return depth.shape == TRUTH.shape and np.abs(depth - TRUTH)[~hole].max() < 6e-4

    assert node.until(is_kept, **seen), node.values()
    depth = node.newest_depth()
    assert np.abs(depth / TRUTH - 1.0)[hole].max() < 0.02
    assert node.set("fill", "all") == ""
    assert node.until(lambda: not is_kept() and error_of(node.newest_depth()) < 0.01, **seen)
    assert node.set("fill", "none") == ""
    assert node.until(lambda: node.values().get("scale") == "not corrected", **seen)


def test_a_sensor_that_was_not_listened_to_for_a_while_begins_anew(relative_node):
    node = relative_node
    assert node.set("scale_correction", "reference_depth") == ""
    assert node.until(lambda: np.isfinite(node.newest_depth()).any(), depth={}), node.values()
    assert node.set("scale_correction", "none") == ""
    assert node.set("scale_correction", "reference_depth") == ""
    said = "nothing has come on reference_depth yet"
    assert node.until(lambda: said in node.values().get("message", ""), 10), node.values()
