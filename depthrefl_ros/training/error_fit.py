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

"""The error head fitted to errors on images that the weights have not seen.

Everything but the head stays as it is, so what the head reads is computed once, and the head is
fitted to places of it in a minute. Sigma becomes the standard deviation of a Laplace distribution
of the log error, whose likelihood minds a few large errors less than a normal distribution's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from depthrefl_ros.network.error_head import ErrorHead, picture_means
from depthrefl_ros.network.model import DepthModel
from depthrefl_ros.training.losses import at_stride, canonical_truth

PLACES = 250  # of a view, whose errors are looked at
LEAST_PLACES = 50  # with truth; a view with fewer is left out
STEPS = 300  # more, and it learns these images by heart: unseen ones are then ranked worse
_BATCH = 8192  # places a step
_RATE = 2e-3
_DECAY = 0.05
# Of standardised features: what the head reads of another camera is not quite what it learnt from.
_NOISE = 0.05
_LEAST_SPREAD = 1e-3  # of a feature that says anything


class PlaceErrors(NamedTuple):
    """Places of views, what an error head reads of them, and how far depth errs there.

    Attributes:
        condition: (n, C) float32.
        picture: (views, P) float32, means over each view.
        view: (n,) int64, the view of each place.
        error: (n,) float32, abs(log depth - log truth).
    """

    condition: Tensor
    picture: Tensor
    view: Tensor
    error: Tensor


@torch.inference_mode()
def collect_errors(
    model: DepthModel, batches: Iterable[dict[str, Any]], seed: int, places: int = PLACES
) -> PlaceErrors:
    """Run a network and keep what its error head reads, at random places whose truth is known.

    Args:
        model: in evaluation mode, with an error head, whatever that says.
        batches: ``image``, ``depth_m`` and ``focal_px`` as ``StepBatches`` gives them.
        seed: decides the places.
        places: of each view.

    Raises:
        ValueError: no view has enough truth.
    """
    read: list[tuple[Tensor, ...]] = []
    hook = model.error_head.register_forward_pre_hook(lambda _, given: read.append(given))
    generator = torch.Generator().manual_seed(seed)
    config, rows, pictures = model.config, [], []
    try:
        for batch in batches:
            depth = model(batch["image"].float()).depth
            condition, bottleneck = read.pop()
            picture = picture_means(condition, bottleneck)
            truth, valid = canonical_truth(
                batch["depth_m"], batch["focal_px"], config.focal_px, config.z_min_m, config.z_max_m
            )
            errors, known = at_stride(torch.log(depth / truth).abs(), valid, condition.shape[2:])
            for index in range(len(depth)):
                there = known[index].flatten().nonzero().flatten()
                if len(there) < LEAST_PLACES:
                    continue
                chosen = there[torch.randperm(len(there), generator=generator)[:places]]
                planes = (plane[index].flatten(1)[:, chosen].T for plane in (condition, errors))
                rows.append((*planes, torch.full((len(chosen),), len(pictures))))
                pictures.append(picture[index].flatten())
    finally:
        hook.remove()
    if not rows:
        raise ValueError(f"no view has {LEAST_PLACES} places with true depth; others are needed")
    condition, error, view = (torch.cat(planes) for planes in zip(*rows, strict=True))
    return PlaceErrors(condition, torch.stack(pictures), view, error.flatten())


def fit_error_head(
    head: ErrorHead, found: PlaceErrors, seed: int, steps: int = STEPS
) -> tuple[float, float]:
    """Set an error head's weights so that sigma is the deviation of the errors that were found.

    It minimises log s + error / s, s = sigma / sqrt 2, but for a constant the negative
    log-likelihood of a Laplace distribution whose standard deviation is sigma. All views count
    alike. Features are standardised; the weights have that in them in the end.

    Args:
        head: its weights are drawn anew.
        found: of ``collect_errors``.
        seed: decides weights and batches.
        steps: of ``AdamW``, with a cosine to 0.

    Returns:
        The mean loss over all places by one sigma for all of them, the best there is, and by the
        head.
    """
    generator = torch.Generator().manual_seed(seed)
    weight = 1.0 / found.view.bincount(minlength=len(found.picture))[found.view]
    weight = weight / weight.mean()
    scale = float((weight * found.error).mean())
    parts = _Standard.of(found.condition), _Standard.of(found.picture)
    places, pictures = parts[0](found.condition), parts[1](found.picture)
    inputs = places.shape[1] + pictures.shape[1]
    layers = _perceptron(inputs, head.log_sigma.in_channels, scale, generator)
    optimizer = torch.optim.AdamW(layers.parameters(), _RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)

    def losses(chosen: Tensor, noise: float) -> Tensor:
        seen = torch.cat([places[chosen], pictures[found.view[chosen]]], dim=1)
        if noise:
            seen = seen + noise * torch.randn(seen.shape, generator=generator)
        log_scale = layers(seen).squeeze(1)
        return weight[chosen] * (log_scale + found.error[chosen] * torch.exp(-log_scale))

    for _ in range(steps):
        chosen = torch.randint(len(places), (_BATCH,), generator=generator)
        optimizer.zero_grad()
        losses(chosen, _NOISE).mean().backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        everywhere = torch.arange(len(places)).split(_BATCH)
        after = sum(float(losses(chosen, 0.0).sum()) for chosen in everywhere) / len(places)
        _fold(head, layers, parts)
    return math.log(scale) + 1.0, after


class _Standard(NamedTuple):
    """Mean and spread of features, (C,) each; a feature that is always the same counts as 0."""

    mean: Tensor
    spread: Tensor

    @classmethod
    def of(cls, features: Tensor) -> _Standard:
        spread = features.std(dim=0)
        return cls(features.mean(dim=0), spread.where(spread > _LEAST_SPREAD, torch.inf))

    def __call__(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.spread


def _perceptron(
    inputs: int, hidden: int, scale: float, generator: torch.Generator
) -> nn.Sequential:
    """Return the head as it is fitted, which at first says ``scale`` everywhere."""
    layers = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, 1))
    bound = inputs**-0.5
    with torch.no_grad():
        for value in layers[0].parameters():
            value.uniform_(-bound, bound, generator=generator)
        layers[2].weight.zero_()
        layers[2].bias.fill_(scale).log_()
    return layers


def _fold(head: ErrorHead, layers: nn.Sequential, parts: tuple[_Standard, ...]) -> None:
    """Give the head the layers' weights, of features as they are and for sigma = sqrt 2 s."""
    first, _, last = layers
    mean, spread = (torch.cat(values) for values in zip(*parts, strict=True))
    weight = first.weight / spread
    sizes = [len(part.mean) for part in parts]
    for conv, part in zip((head.place, head.picture), weight.split(sizes, 1), strict=True):
        conv.weight.copy_(part[..., None, None])
    head.place.bias.copy_(first.bias - weight @ mean)
    head.log_sigma.weight.copy_(last.weight[..., None, None])
    head.log_sigma.bias.copy_(last.bias + math.log(2.0) / 2)
