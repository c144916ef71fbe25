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

"""Trains one head: on cached features, or together with the backbone; and measures it."""

from __future__ import annotations

import copy
import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from depthrefl_ros.network.model import DepthModel
from depthrefl_ros.training.ablation_table import FIGURES, MEDIANS
from depthrefl_ros.training.batches import StepBatches
from depthrefl_ros.training.datasets import ImageFolder
from depthrefl_ros.training.depthwise import speed_up_depthwise
from depthrefl_ros.training.evaluation import evaluate_images, torch_infer
from depthrefl_ros.training.features import FeatureBatches
from depthrefl_ros.training.head_losses import head_loss
from depthrefl_ros.training.heads import HeadModel, HeadSizes, create_head
from depthrefl_ros.training.loop import TrainError
from depthrefl_ros.training.losses import at_stride, canonical_truth, relative_loss
from depthrefl_ros.training.train_settings import TrainSettings, rate_at
from depthrefl_ros.training.trainer import parameter_groups, update_average
from depthrefl_ros.training.whole_files import write_file

SAVE_EVERY = 25  # steps; what is done since is done again after a stop


@dataclass(frozen=True)
class TrainedHead:
    """A head with its backbone, averaged weights, and seconds a training step took (median)."""

    model: HeadModel
    step_s: float


def new_head(name: str, model: DepthModel) -> HeadModel:
    """Return a head of random weights on the model's own backbone."""
    head = create_head(name, HeadSizes.of(model.backbone, model.config))
    return HeadModel(model.config, model.backbone, head)


def train_on_features(
    name: str,
    model: DepthModel,
    batches: FeatureBatches,
    settings: TrainSettings,
    kept: Path | None = None,
) -> TrainedHead:
    """Train a head on cached features; the backbone stays as it is.

    Args:
        name: a key of ``HEADS``.
        model: whose backbone gave the features.
        batches: of the features, one a step.
        settings: steps, rates, seed.
        kept: file that a stopped training goes on from; None keeps nothing.

    Raises:
        TrainError: the loss is not finite.
    """
    torch.manual_seed(settings.seed)
    whole = new_head(name, model)
    head = whole.head.to(memory_format=torch.channels_last).train()

    def loss_at(step: int) -> Tensor:
        data = batches[step]
        features, truth = data["features"], data["depth_m"]
        truth, valid = at_stride(truth, truth > 0, features.blocks[-1].shape[2:])
        truth = torch.where(valid, truth / model.config.z_max_m, torch.ones_like(truth))
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.bf16):
            output = head(features)
        return head_loss(head, output, truth, valid)

    average, step_s = _train(head, copy.deepcopy(head), settings, loss_at, name, kept)
    return TrainedHead(HeadModel(model.config, model.backbone, average), step_s)


def train_jointly(
    name: str,
    model: DepthModel,
    batches: StepBatches,
    settings: TrainSettings,
    kept: Path | None = None,
) -> TrainedHead:
    """Train a head and a copy of the backbone together, by the head's loss and the relative loss.

    Args:
        name: a key of ``HEADS``.
        model: whose backbone is started from.
        batches: of augmented images, one a step.
        settings: steps, rates, seed; ``relative_weight`` counts as in stage 2.
        kept: as for ``train_on_features``.

    Raises:
        TrainError: the loss is not finite.
    """
    torch.manual_seed(settings.seed)
    config = model.config
    whole = copy.deepcopy(new_head(name, model)).to(memory_format=torch.channels_last).train()
    average = copy.deepcopy(whole)
    speed_up_depthwise(whole)

    def loss_at(step: int) -> Tensor:
        data = batches[step]
        image = data["image"].float().contiguous(memory_format=torch.channels_last)
        truth, valid = canonical_truth(
            data["depth_m"], data["focal_px"], config.focal_px, config.z_min_m, config.z_max_m
        )
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.bf16):
            features = whole.features(image)
            output = whole.head(features)
        coarse, known = at_stride(truth, valid, features.blocks[-1].shape[2:])
        relative = relative_loss(features.relative.float(), coarse, known)
        loss = head_loss(whole.head, output, coarse / config.z_max_m, known)
        return loss + settings.relative_weight * relative

    average, step_s = _train(whole, average, settings, loss_at, name, kept)
    return TrainedHead(average, step_s)


def _train(
    module: nn.Module,
    average: nn.Module,
    settings: TrainSettings,
    loss_at: Callable[[int], Tensor],
    name: str,
    kept: Path | None,
) -> tuple[nn.Module, float]:
    """Minimise ``loss_at(step)``; return the averaged weights and the median seconds of a step."""
    average = average.eval().requires_grad_(False)
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameter_groups(module, settings))
    seconds: list[float] = []
    if kept is not None and kept.is_file():
        seconds = _restore(kept, module, average, optimizer)
    for step in range(len(seconds), settings.steps):
        start = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = group["base_lr"] * rate_at(step, settings)
        loss = loss_at(step)
        if not torch.isfinite(loss):
            raise TrainError(f"{name}, seed {settings.seed}, step {step}: loss is {loss.item()}")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
        optimizer.step()
        update_average(average, module, settings.ema_decay, step)
        seconds.append(time.perf_counter() - start)
        if kept is not None and len(seconds) % SAVE_EVERY == 0:
            _save(kept, module, average, optimizer, seconds)
    return average, float(np.median(seconds))


def _save(
    path: Path,
    module: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    seconds: list[float],
) -> None:
    """Write all that changes while training, whole; one of ``seconds`` a step that is done."""
    state = {
        "module": module.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
        "random": torch.get_rng_state(),
        "seconds": seconds,
    }
    buffer = io.BytesIO()  # a full disk is an OSError then; torch.save makes it another
    torch.save(state, buffer)
    write_file(path, buffer.getvalue())


def _restore(
    path: Path, module: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer
) -> list[float]:
    """Read what ``_save`` wrote; return the seconds of the steps that are done."""
    # weights_only: tensors and plain containers, nothing that could run.
    state = torch.load(path, map_location="cpu", weights_only=True)
    module.load_state_dict(state["module"])
    average.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random"])
    return state["seconds"]


def measure(model: HeadModel, samples: ImageFolder) -> dict:
    """Return ``names`` of the images and, by name, ``FIGURES`` and ``MEDIANS`` of each.

    A figure that is not a number (no truth to rank) is None.
    """
    config = model.config
    size = (config.width, config.height)
    evaluation = evaluate_images(
        torch_infer(model), samples, size, config.focal_px, in_detail=False
    )
    values = {
        name: [None if np.isnan(value) else float(value) for value in evaluation.values(name)]
        for name in (*FIGURES, *MEDIANS)
    }
    return {"names": evaluation.names, "values": values}
