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

"""``import depthrefl_ros`` as a user of the package has it, where neither torch nor ROS is."""

import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

import depthrefl_ros
from depthrefl_ros.engine.bundle import BundleError

_BLOCKED = """
import sys


class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "rclpy", "sensor_msgs"):
            raise ImportError(f"{name} is not here")


sys.meta_path.insert(0, Blocked())
"""


def test_depth_of_an_image_needs_neither_torch_nor_ros():
    code = _BLOCKED + (
        "import numpy as np\n"
        "import depthrefl_ros\n"
        "try:\n    import torch\nexcept ImportError as error:\n    print(error)\n"
        "image = np.random.default_rng(1).integers(0, 255, (100, 150, 3), np.uint8)\n"
        "estimator = depthrefl_ros.load('indoor_tiny')\n"
        "found = estimator.estimate(image, hfov_deg=60)\n"
        "camera = depthrefl_ros.Camera.pinhole(150, 100, 130, 130, 74.5, 49.5)\n"
        "same = estimator.estimate(image, camera)\n"
        "print(found.depth.shape, found.depth.dtype, found.confidence.shape, same.depth.shape)\n"
        "print(found.camera.width, found.camera.height, round(found.camera.fx, 3))\n"
        "mount = depthrefl_ros.Pose.from_mount(0.5, 0.1)\n"
        "print(estimator.estimate(image, camera, base_from_camera=mount).depth.shape)\n"
        "print(type(found) is depthrefl_ros.DepthFrame)\n"
        "print(type(estimator) is depthrefl_ros.DepthEstimator)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines() == [
        "torch is not here",
        "(100, 150) float32 (100, 150) (100, 150)",
        f"150 100 {75 / np.tan(np.radians(30)):.3f}",
        "(100, 150)",
        "True",
        "True",
    ]


def test_everything_that_is_promised_is_there():
    for name in depthrefl_ros.__all__:
        assert callable(getattr(depthrefl_ros, name))
    with pytest.raises(AttributeError, match="no attribute 'Camcorder'"):
        depthrefl_ros.Camcorder  # noqa: B018


def test_a_model_and_an_engine_that_do_not_exist_are_named():
    with pytest.raises(BundleError, match="no_such_model"):
        depthrefl_ros.load("no_such_model")
    with pytest.raises(ValueError, match="engine is 'fast'"):
        depthrefl_ros.load("indoor_tiny", "fast")
