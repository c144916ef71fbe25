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

import math

import pytest
import torch

from depthrefl_ros.network.efficientnet import EfficientNetLiteConfig
from depthrefl_ros.network.model import ModelConfig, create_model
from depthrefl_ros.tools.head_timing import time_engines
from depthrefl_ros.training.heads import HeadModel, HeadSizes, create_head

pytest.importorskip("openvino")
pytest.importorskip("onnxscript")


def test_heads_are_exported_and_timed_side_by_side():
    torch.manual_seed(0)
    backbone = EfficientNetLiteConfig(decoder_channels=(8, 8, 8, 8), bottleneck_channels=8)
    config = ModelConfig(backbone=backbone, height=64, width=96)
    model = create_model(config)
    sizes = HeadSizes.of(model.backbone, config, bins=16, embedding=8, hidden=8)
    names = ("adabins", "reflector_no_relative")
    models = {n: HeadModel(config, model.backbone, create_head(n, sizes)) for n in names}
    timed = time_engines(models)
    assert tuple(timed) == names
    assert all(math.isfinite(value) and 0 < value < 10_000 for value in timed.values())
