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

"""Weights of several runs become one network: a model soup (Wortsman et al. 2022).

Runs that begin from the same weights and differ in seed or augmentation end in one basin of the
loss; the mean of their weights errs about as little as the mean of their answers, at the cost of
one network. The mean of a network and what fine-tuning made of it keeps most of what the former
knew and of what the latter learnt (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models").
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.optim.swa_utils import update_bn

from depthrefl_ros.network.model import DepthModel


@torch.no_grad()
def average_weights(
    models: Sequence[DepthModel], shares: Sequence[float] | None = None
) -> DepthModel:
    """Return the first model with the mean of all models' parameters and statistics.

    Sums are taken in float64. BatchNorm's statistics are averaged like weights; of runs that are
    far apart they are not those of the mean (see ``renew_statistics``). Whole numbers (counters)
    are the first model's. Where some are told the mount and some are not, the first that is told
    is returned, and what it is told by is the mean of those that have it. An error head is left out
    unless all have one: it knows the errors of other weights than the mean's.

    Args:
        models: at least one, all of one architecture but for mount and error head.
        shares: of each model in the mean, relative to the others'; None for equal ones.

    Raises:
        ValueError: no model, one of another architecture than the first, or a share that is not
            a number above 0.
    """
    if not models:
        raise ValueError("no models to average; at least one is needed")
    first = next((model for model in models if model.config.mount), models[0])
    if not all(model.error_head for model in models):
        for model in models:
            model.remove_error_head()
    for index, model in enumerate(models):
        if replace(model.config, mount=first.config.mount) != first.config:
            raise ValueError(
                f"model {index} has another architecture than model {models.index(first)}: "
                f"{model.config} and {first.config}"
            )
    shares = [1.0] * len(models) if shares is None else shares
    if not all(math.isfinite(share) and share > 0 for share in shares):
        raise ValueError(f"shares are {list(shares)}; each must be a number above 0")
    states = [model.state_dict() for model in models]
    for name, value in first.state_dict().items():
        if value.dtype.is_floating_point:
            parts = [(n, s[name]) for n, s in zip(shares, states, strict=True) if name in s]
            total = sum(share for share, _ in parts)
            value.copy_(sum(share / total * tensor.double() for share, tensor in parts))
    return first


def renew_statistics(model: DepthModel, images: Iterable[Tensor]) -> None:
    """Set BatchNorm's statistics to what the model itself makes of images.

    Features of averaged weights vary less than those of any of the runs, so averaged statistics
    are too large for them (Izmailov et al. 2018, "Averaging weights leads to wider optima and
    better generalization", section 3.2). All batches count alike.

    Args:
        model: of averaged weights.
        images: batches (N, channels, H, W) in 0..255, any type.
    """
    update_bn((batch.float() for batch in images), model)
