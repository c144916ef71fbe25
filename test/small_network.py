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

"""A network small enough to be trained within a test."""

from __future__ import annotations

from dataclasses import replace

import torch

from depthrefl_ros.network.efficientnet import EfficientNetLiteConfig
from depthrefl_ros.network.model import DepthModel, ModelConfig, ReflectorConfig, create_model
from depthrefl_ros.training.train_settings import TrainSettings
from depthrefl_ros.training.trainer import Trainer

CONFIG = ModelConfig(
    backbone=EfficientNetLiteConfig(
        bottleneck_channels=16, decoder_channels=(8, 8, 8, 8), head_channels=4
    ),
    reflector=ReflectorConfig(bins=8, embedding=8),
    height=64,
    width=64,
)


MOUNT_CONFIG = replace(CONFIG, mount=True)


def told_network(config: ModelConfig = MOUNT_CONFIG, seed: int = 0) -> DepthModel:
    """Return a network whose output depends on the mount; as initialised it hardly does."""
    torch.manual_seed(seed)
    model = create_model(config)
    branches = (*model.mount.deep, *model.mount.shallow)
    for last in (*(branch[-1] for branch in branches), model.mount.floor.share):
        torch.nn.init.normal_(last.weight, std=0.5)
        torch.nn.init.normal_(last.bias, std=0.5)
    return model.eval()


def make_trainer(
    stage=2, steps=4, processes=None, teacher=None, config=CONFIG, **settings
) -> Trainer:
    torch.manual_seed(0)
    settings = {"bf16": False, "warmup_steps": 2, **settings}
    settings = TrainSettings(stage=stage, steps=steps, **settings)
    return Trainer(create_model(config), settings, processes, teacher)
