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

"""What well-known networks take and give, as their authors export them to ONNX."""

from __future__ import annotations

from depthrefl_ros.conversion.meaning import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ConversionError,
    Meaning,
    nearest_name,
)

_DEPTH_ANYTHING = {
    "kind": "inverse_relative",
    "mean": IMAGENET_MEAN,
    "std": IMAGENET_STD,
    "range_m": (0.3, 20.0),
    "outputs": ("predicted_depth", "depth"),
}

PRESETS = {
    "da3metric": Meaning(
        kind="canonical",
        focal_px=300.0,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        outputs=("depth", "predicted_depth"),
        # The head's own exp is part of the exported graph.
        transform="identity",
        # Its authors keep what is below 0.3 as not being sky.
        sky=("sky",),
        sky_threshold=0.3,
        sky_is="above",
        range_m=(0.3, 50.0),
        licence="Apache-2.0 (DA3METRIC-LARGE)",
        commercial="yes",
        source="depth-anything/DA3METRIC-LARGE",
    ),
    "metric3d": Meaning(
        kind="canonical",
        focal_px=1000.0,
        scale=1.0,  # it normalises bytes by itself
        outputs=("predicted_depth", "depth"),
        range_m=(0.3, 50.0),
        licence="BSD-2-Clause (Metric3D v2; the weights' own terms are not stated)",
        commercial="unknown",
        source="onnx-community/metric3d-vit-small",
    ),
    "dav3-metric": Meaning(
        kind="canonical",
        focal_px=300.0,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        resize="stretch",
        outputs=("depth",),
        # Its authors keep what is below 0.3 as not being sky, as Depth Anything 3's do.
        sky=("sky",),
        sky_threshold=0.3,
        sky_is="above",
        range_m=(0.3, 50.0),
        licence="AGPL-3.0 or a commercial licence of Lightly (LightlyTrain), and DINOv3's licence",
        commercial="unknown",
        source="LightlyTrain dav3-metric, export_onnx",
    ),
    "yolo26-depth": Meaning(
        kind="metric",
        resize="stretch",
        range_m=(0.3, 50.0),
        licence="AGPL-3.0 or an enterprise licence (Ultralytics)",
        commercial="unknown",
        source="Ultralytics yolo26-depth, yolo export format=onnx",
    ),
    "zipdepth": Meaning(
        kind="inverse_relative",
        resize="stretch",
        range_m=(0.3, 20.0),
        licence="MIT (ZipDepth; distilled from a CC-BY-NC-4.0 network)",
        commercial="unknown",
        source="ZipDepth, scripts/export.py with the _npu checkpoint",
    ),
    "midas-small": Meaning(
        kind="inverse_relative",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        range_m=(0.3, 20.0),
        licence="MIT (MiDaS)",
        commercial="unknown",
        source="MiDaS v2.1 small",
    ),
    "depth-anything-v2-small": Meaning(
        **_DEPTH_ANYTHING,
        licence="Apache-2.0 (Depth Anything V2 Small)",
        commercial="yes",
        source="onnx-community/depth-anything-v2-small or fabio-sim's Depth-Anything-ONNX",
    ),
    "depth-anything-v2": Meaning(
        **_DEPTH_ANYTHING,
        licence="CC-BY-NC-4.0 (Depth Anything V2 Base and Large; Small is Apache-2.0)",
        commercial="no",
        source="onnx-community/depth-anything-v2-* or fabio-sim's Depth-Anything-ONNX",
    ),
}


def find_preset(name: str) -> Meaning:
    """Return a preset.

    Raises:
        ConversionError: there is none of this name; says which comes nearest.
    """
    if name not in PRESETS:
        raise ConversionError(f"no preset {name!r}; {nearest_name(name, tuple(PRESETS))}")
    return PRESETS[name]
