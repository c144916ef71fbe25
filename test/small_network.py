# SPDX-License-Identifier: Apache-2.0
"""A network small enough to be trained within a test."""

from __future__ import annotations

import torch

from depthrefl_ros.network.efficientnet import EfficientNetLiteConfig
from depthrefl_ros.network.model import ModelConfig, ReflectorConfig, create_model
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


def make_trainer(stage=2, steps=4, processes=None, teacher=None, **settings) -> Trainer:
    torch.manual_seed(0)
    settings = {"bf16": False, "warmup_steps": 2, **settings}
    settings = TrainSettings(stage=stage, steps=steps, **settings)
    return Trainer(create_model(CONFIG), settings, processes, teacher)
