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

"""Metric depth and point clouds from one ordinary camera.

``depthrefl_ros.load("indoor_tiny").estimate(image, hfov_deg=60)`` gives ``depth`` in metres,
``confidence`` and the ``camera`` of both.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Camera", "DepthEstimator", "DepthFrame", "Pose", "load"]

if TYPE_CHECKING:
    from depthrefl_ros.estimator import DepthEstimator
    from depthrefl_ros.frames import DepthFrame
    from depthrefl_ros.geometry.camera import Camera
    from depthrefl_ros.geometry.pose import Pose

# Imported when asked for: parts of the package run where OpenCV is not installed.
_HOMES = {
    "Camera": "depthrefl_ros.geometry.camera",
    "DepthEstimator": "depthrefl_ros.estimator",
    "DepthFrame": "depthrefl_ros.estimator",
    "Pose": "depthrefl_ros.geometry.pose",
}


def load(model: str = "indoor_tiny", engine: str = "auto") -> DepthEstimator:
    """Load a model and open an engine that runs it on this machine.

    Args:
        model: name of a shipped model, or path of a bundle folder.
        engine: ``auto``, the first that works; or ``tensorrt``, ``tensorrt_rtx``, ``openvino`` or
            ``torch``, that one alone.

    Returns:
        The estimator; ``estimate(image, camera)`` or ``estimate(image, hfov_deg=60)`` gives depth.

    Raises:
        BundleError: the model is missing or damaged.
        EngineError: the engine asked for does not work, or none does; the message says why.
        ValueError: the engine is unknown.
    """
    from depthrefl_ros.engine.bundle import Bundle
    from depthrefl_ros.engine.selection import open_engine
    from depthrefl_ros.estimator import DepthEstimator

    bundle = Bundle.load(model)
    return DepthEstimator(open_engine(bundle, engine).engine, bundle)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
