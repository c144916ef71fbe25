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

"""A converted network of each kind marks what stands in the exact scene, over DDS.

In a file of its own: the node of ``test_convert.py`` runs as long as that file does.
"""

import math

import numpy as np
import onnx
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from exact_node import BOX, CAMERA, HEIGHT_M, MOUNT, PITCH_DEG, BoxHarness, launched
from node_harness import depth_of
from onnx import TensorProto, helper, numpy_helper
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image, PointCloud2

from depthrefl_ros.conversion.converter import convert_onnx
from depthrefl_ros.conversion.meaning import Meaning
from depthrefl_ros.ros.convert.clouds import cloud_to_points


def exact_network(path):
    """Depth is read out of red and green, in millimetres, from an image of float 0 to 255."""
    weights = np.float32([0.256, 0.001, 0.0]).reshape(1, 3, 1, 1)
    constants = [numpy_helper.from_array(weights, "weights")]
    nodes = [helper.make_node("Conv", ["image", "weights"], ["depth"])]
    size = (CAMERA.height, CAMERA.width)
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, *size])
    depth = helper.make_tensor_value_info("depth", TensorProto.FLOAT, [1, 1, *size])
    graph = helper.make_graph(nodes, "exact", [image], [depth], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    "kind, more, scale_correction",
    [
        ("canonical", {"focal_px": math.sqrt(CAMERA.fx * CAMERA.fy)}, "none"),
        ("metric", {}, "none"),
        ("inverse_relative", {"transform": "inverse"}, "ground"),
    ],
)
def test_a_converted_network_marks_the_box_over_dds(ros, tmp_path, kind, more, scale_correction):
    """The exact scene's box, through a network that takes float NCHW from 0 to 255.

    It has no sigma: the strictest confidence gate takes nothing, and the node says why.
    """
    meaning = Meaning(kind=kind, scale=1.0, licence="MIT", range_m=(0.3, 10.0), **more)
    made = convert_onnx(exact_network(tmp_path / "n.onnx"), meaning, tmp_path / "exact")
    values = {
        "model": str(made.bundle.folder),
        "camera_height": HEIGHT_M,
        "camera_pitch": PITCH_DEG,
        "diagnostics_period": 0.1,
        "temporal_smoothing": 0.0,
        "scale_correction": scale_correction,
        "min_confidence": 0.99,
    }
    node = launched(BoxHarness, tmp_path / "log.txt", **values)
    try:
        node.wait_for("active")
        clouds = node.collect(PointCloud2, "points/marking")
        confidences = node.collect(Image, "depth/confidence", qos_profile_sensor_data)
        seen = node.spin_until(
            lambda: any(one.width for one in clouds) and confidences, 20, do=node.send, period=0.1
        )
        assert seen, node.process.output()
        marked = MOUNT.apply(cloud_to_points(clouds[-1], "points/marking"))
        assert all(np.isnan(depth_of(one)).all() for one in confidences)
        said = node.fresh_values()
        assert float(said["gated_confidence_percent"]) == 0.0
        assert (
            "exact has no calibrated uncertainty: depth/confidence is NaN and min_confidence has "
            "no effect; depthrefl evaluate --calibrate measures it"
        ) in said["message"]
        assert said["level"] == DiagnosticStatus.WARN
    finally:
        node.close()
        node.process.stop()
    (near, left, _), (_, right, _) = BOX
    front = marked[(marked[:, 1] > left) & (marked[:, 1] < right) & (marked[:, 0] < 3.0)]
    assert len(front) > 20 and np.abs(front[:, 0] - near).max() < 0.3
