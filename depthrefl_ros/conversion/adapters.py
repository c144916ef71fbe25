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

"""Between a bundle's image and the classes of ``transformers``: sizes, padding, one plane out.

Each adapter takes normalised RGB (1, 3, H, W) and gives (1, 1, H, W) at the same size, in the unit
of its ``Recipe``'s meaning. The classes are called as they are installed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from depthrefl_ros.conversion.recipe import Recipe

PATCH = 14  # pixels of DINOv2
_PADDING = 3.0  # ZoeDepth pads a side of s pixels by 3 sqrt(s / 2)
_STEP = 32  # that ZoeDepth's own sizes are multiples of
# Methods whose results depend on the image's size only, by the beginning of their class's name.
_BAKED = {
    "interpolate_pos_encoding": "",
    "_resize_pos_embed": "DPT",
    "forward": "BeitRelativePositionBias",
}


def make_adapter(model: nn.Module, recipe: Recipe) -> nn.Module:
    """Return the adapter that a recipe asks for around a model of its class."""
    if recipe.domain:
        model.metric_head = _OneDomainHead(model.metric_head, recipe.domain)
    if recipe.inner == "stretch":
        return StretchedAdapter(model, recipe.inner_size)
    if recipe.inner in ("reflect", "reflect_stretch"):
        return ReflectAdapter(model, keeps_aspect=recipe.inner == "reflect")
    mode = "bilinear" if recipe.class_name.startswith("Tips") else "bicubic"
    return PlainAdapter(model, mode)


class PlainAdapter(nn.Module):
    """The class at the image's own size; its output is enlarged as its authors do.

    Args:
        model: of ``transformers``.
        mode: of ``interpolate``, where the output has another size.
    """

    def __init__(self, model: nn.Module, mode: str = "bicubic"):
        super().__init__()
        self.model, self._mode = model, mode

    def forward(self, image: Tensor) -> Tensor:
        """Map (1, 3, H, W) to (1, 1, H, W)."""
        return _resized(_predict(self.model, image), image.shape[2:], self._mode)


class StretchedAdapter(nn.Module):
    """The class at a size of its own, to which the image is stretched.

    Args:
        model: of ``transformers``.
        size: (height, width) of the network, pixels.
    """

    def __init__(self, model: nn.Module, size: tuple[int, int]):
        super().__init__()
        self.model, self._size = model, size

    def forward(self, image: Tensor) -> Tensor:
        """Map (1, 3, H, W) to (1, 1, H, W)."""
        inner = _resized(image, self._size, "bilinear")
        return _resized(_predict(self.model, inner), image.shape[2:], "bilinear")


class ReflectAdapter(nn.Module):
    """ZoeDepth's own way: padded with its mirror image, scaled, and the padding cut off again.

    Without the padding the depth at the rim is wrong, as in its training.

    Args:
        model: of ``transformers``.
        keeps_aspect: whether ``zoedepth_size`` tells the network's size; else it is the image's.
    """

    def __init__(self, model: nn.Module, keeps_aspect: bool = True):
        super().__init__()
        self.model, self._keeps_aspect = model, keeps_aspect

    def forward(self, image: Tensor) -> Tensor:
        """Map (1, 3, H, W) to (1, 1, H, W)."""
        height, width = image.shape[2:]
        rows, columns = (int(_PADDING * math.sqrt(side / 2)) for side in (height, width))
        padded = pad(image, (columns, columns, rows, rows), mode="reflect")
        size = (height, width)
        if self._keeps_aspect:
            size = zoedepth_size(padded.shape[2:], size)
        inner = interpolate(padded, size, mode="bilinear", align_corners=True)
        depth = _resized(_predict(self.model, inner), padded.shape[2:], "bicubic")
        return depth[:, :, rows : rows + height, columns : columns + width]


def zoedepth_size(image: tuple[int, int], wanted: tuple[int, int]) -> tuple[int, int]:
    """Return the (height, width) at which ZoeDepth sees an image, pixels.

    Both sides are scaled by the one of the two factors that changes the image less, and rounded
    to multiples of 32.
    """
    factors = [to / side for to, side in zip(wanted, image, strict=True)]
    factor = factors[1] if abs(1 - factors[1]) < abs(1 - factors[0]) else factors[0]
    height, width = (max(1, round(factor * side / _STEP)) * _STEP for side in image)
    return height, width


class _OneDomainHead(nn.Module):
    """One of the heads of ZoeDepth NK, always taken: which one it would take depends on the image.

    Bins are seeded at the bottleneck, drawn block by block to the attractors, and weighted by a
    log-binomial distribution (Bhat et al. 2023, section 4).
    """

    def __init__(self, heads: nn.Module, domain: str):
        super().__init__()
        known = list(heads.attractors)
        bins = next(one for one in heads.bin_configurations if one["name"] == domain)
        self._low, self._high = bins["min_depth"], bins["max_depth"]
        self._is_normed = heads.bin_centers_type != "softplus"
        self.bottleneck = heads.conv2
        self.seeds = heads.seed_bin_regressors[known[known.index(domain)]]
        self.seed_projector, self.projectors = heads.seed_projector, heads.projectors
        self.attractors = heads.attractors[domain]
        self.distribution = heads.conditional_log_binomial[domain]

    def forward(
        self,
        outconv_activation: Tensor,
        bottleneck: Tensor,
        feature_blocks: list[Tensor],
        relative_depth: Tensor,
    ) -> tuple[Tensor, None]:
        """Map features to depth (N, 1, h, w), metres; the relative depth is not used."""
        coarse = self.bottleneck(bottleneck)
        centres = self.seeds(coarse)[1]
        if self._is_normed:
            centres = (centres - self._low) / (self._high - self._low)
        embedding = self.seed_projector(coarse)
        stages = zip(self.projectors, self.attractors, feature_blocks, strict=True)
        for projector, attractor, block in stages:
            own = projector(block)
            centres, depths = attractor(own, centres, embedding, interpolate=True)
            embedding = own
        size = outconv_activation.shape[2:]
        depths, embedding = (
            interpolate(one, size, mode="bilinear", align_corners=True)
            for one in (depths, embedding)
        )
        weights = self.distribution(outconv_activation, embedding)
        return (weights * depths).sum(dim=1, keepdim=True), None


def _predict(model: nn.Module, image: Tensor) -> Tensor:
    return model(pixel_values=image).predicted_depth[:, None]


def _resized(plane: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    if tuple(plane.shape[2:]) == tuple(size):
        return plane
    return interpolate(plane, tuple(size), mode=mode, align_corners=False)


@contextmanager
def baked_positions(adapter: nn.Module, height: int, width: int) -> Iterator[None]:
    """Make position embeddings and biases constants of this size, as long as the context lasts.

    In a graph they would be resized for every frame, and some exporters fix them wrongly.

    Args:
        adapter: around a model in evaluation.
        height: of the bundle's image, pixels.
        width: likewise.
    """
    found = [
        (module, method)
        for module in adapter.modules()
        for method, owner in _BAKED.items()
        if type(module).__name__.startswith(owner)
        and callable(getattr(module, method, None))
        and (owner or _has_positions(module))
    ]
    own = {
        (module, method): module.__dict__[method]
        for module, method in found
        if method in module.__dict__
    }
    kept: dict[tuple[int, str], Tensor] = {}

    def record(module: nn.Module, method: str) -> Callable[..., Tensor]:
        original = getattr(module, method)

        def recorded(*args: Any, **kwargs: Any) -> Tensor:
            kept[id(module), method] = result = original(*args, **kwargs)
            return result

        return recorded

    try:
        for module, method in found:
            setattr(module, method, record(module, method))
        with torch.no_grad():
            adapter(torch.zeros(1, 3, height, width))
        for module, method in found:
            if (id(module), method) in kept:
                value = kept[id(module), method].detach().clone()
                setattr(module, method, lambda *args, _value=value, **kwargs: _value)
        yield
    finally:
        for module, method in found:
            module.__dict__.pop(method, None)
            if (module, method) in own:
                setattr(module, method, own[module, method])


def _has_positions(module: nn.Module) -> bool:
    return getattr(module, "position_embeddings", None) is not None
