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

"""What a stage is trained with, and its learning rate by steps."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class TrainSettings:
    """What a stage is trained with.

    Attributes:
        stage: 1 (relative depth, backbone only) or 2 (metric depth, everything).
        steps: length of the schedule.
        learning_rate: peak, for all but the encoder.
        encoder_factor: the encoder's learning rate as a fraction of it.
        mount_factor: the learning rate of what is told the mount, which begins at zero, over it.
        weight_decay: of AdamW, on convolution weights only.
        warmup_steps: of linear warm-up before the cosine.
        ema_decay: of the weights' exponential average, shorter at the start.
        clip_norm: largest gradient norm.
        freeze_norm: keep the statistics of BatchNorm as they are (little data, small batches).
        freeze: modules that stay as they are, their statistics too, such as
            ``backbone.encoder``: a step then takes half the time, and what the encoder knows of
            photographs stays (fine-tuning on renders).
        balance: lambda of SILog (stage 2).
        likelihood_weight: of the bins' negative log-likelihood (stage 2).
        gradient_weight: of the log gradient loss (stage 2).
        relative_weight: of the relative loss (stage 2).
        distillation_weight: of the teacher's loss, where there is a teacher (stage 2).
        mix_share: of each batch, images that become mixtures of two, which have no truth but the
            teacher's answer.
        bf16: autocast convolutions to bfloat16.
        seed: of batches and weights.

    Raises:
        ValueError: a value that nothing can be trained with.
    """

    stage: int
    steps: int
    learning_rate: float = 1e-3
    encoder_factor: float = 0.1
    mount_factor: float = 3.0
    weight_decay: float = 0.05
    warmup_steps: int = 100
    ema_decay: float = 0.999
    clip_norm: float = 10.0
    freeze_norm: bool = False
    freeze: tuple[str, ...] = ()
    balance: float = 0.85
    likelihood_weight: float = 0.2
    gradient_weight: float = 0.5
    relative_weight: float = 0.5
    distillation_weight: float = 1.0
    mix_share: float = 0.0
    bf16: bool = True
    seed: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "freeze", tuple(self.freeze))
        if self.stage not in (1, 2):
            raise ValueError(f"stage is {self.stage}; 1 or 2 is needed")
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps}; at least 1 is needed")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; 0 or more is needed")
        for name in ("learning_rate", "clip_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        for name in ("ema_decay", "balance", "mix_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; from 0 to 1 is needed")


def rate_at(step: int, settings: TrainSettings) -> float:
    """Return the factor on the learning rates: linear warm-up, then a cosine down to 0.01."""
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    progress = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
