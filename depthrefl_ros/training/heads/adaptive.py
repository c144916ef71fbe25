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

"""Bins of the image's own: AdaBins divides the range anew, LocalBins splits level by level."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from depthrefl_ros.network.backbone import BackboneFeatures
from depthrefl_ros.network.ops import full_precision, perceptron, resize
from depthrefl_ros.network.reflector import ReflectorOutput, depth_and_sigma
from depthrefl_ros.training.heads.trunk import HeadSizes, Trunk

SMALLEST_WIDTH = 1e-3  # epsilon of both papers, added before normalisation
PATCH = 4  # finest pixels on a side of a token: stride 16 in the image, as in AdaBins' half
ATTENTION_HEADS = 4
LAYERS = 2


def centres_of_widths(widths: Tensor, near: float) -> Tensor:
    """Return centres c_k = near + (1 - near)(sum_{j<k} w_j + w_k / 2); widths sum to 1 over dim 1.

    Bhat et al. 2021, eq. 3; the same in Bhat et al. 2022.
    """
    return near + (1.0 - near) * (torch.cumsum(widths, dim=1) - 0.5 * widths)


def _start_alive(layer: nn.Linear | nn.Conv2d) -> None:
    """Let the ReLU behind a layer start positive: about equal widths, and none dead for ever."""
    nn.init.constant_(layer.bias, 1.0)


class TransformerLayer(nn.Module):
    """Self-attention and a perceptron, each added and normalised (Vaswani et al. 2017)."""

    def __init__(self, channels: int, heads: int, hidden: int):
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        self.normalise_attention = nn.LayerNorm(channels)
        self.expand = nn.Linear(channels, hidden)
        self.contract = nn.Linear(hidden, channels)
        self.normalise_perceptron = nn.LayerNorm(channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (N, S, E) to (N, S, E)."""
        batch, count, channels = tokens.shape
        split = self.query_key_value(tokens).reshape(batch, count, 3, self.heads, -1)
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        mixed = mixed.transpose(1, 2).reshape(batch, count, channels)
        tokens = self.normalise_attention(tokens + self.out(mixed))
        change = self.contract(functional.relu(self.expand(tokens)))
        return self.normalise_perceptron(tokens + change)


class AdaBins(nn.Module):
    """One set of bins an image, from a small transformer: Bhat et al., "AdaBins" (2021).

    Tokens are patches of the finest embedding with learned positions. The first token says the bin
    widths (ReLU + 1e-3, normalised); the next E are 1x1 kernels whose products with the decoded
    feature (a 3x3 convolution away) are the range attention maps, from which a 1x1 convolution and
    a softmax give the bins' probabilities. Smaller than the paper's: E = 64 for 128, two layers
    for four, since the whole network here is a tenth of theirs.
    """

    def __init__(self, sizes: HeadSizes):
        super().__init__()
        self.near = sizes.near
        embedding = sizes.embedding
        tokens = (sizes.grid[0] // PATCH) * (sizes.grid[1] // PATCH)
        if tokens <= embedding or embedding % ATTENTION_HEADS:
            raise ValueError(
                f"a grid of {sizes.grid} gives {tokens} tokens; more than embedding {embedding} "
                f"are needed, and an embedding that is a multiple of {ATTENTION_HEADS}"
            )
        self.trunk = Trunk(sizes)
        self.patches = nn.Conv2d(embedding, embedding, PATCH, stride=PATCH)
        self.positions = nn.Parameter(torch.rand(1, tokens, embedding))
        self.layers = nn.ModuleList(
            TransformerLayer(embedding, ATTENTION_HEADS, 2 * embedding) for _ in range(LAYERS)
        )
        self.widths = nn.Sequential(
            nn.Linear(embedding, 128), nn.LeakyReLU(), nn.Linear(128, 128), nn.LeakyReLU(),
            nn.Linear(128, sizes.bins),
        )  # fmt: skip
        _start_alive(self.widths[-1])
        self.decode = nn.Conv2d(self.trunk.channels, embedding, 3, padding=1)
        self.logits = nn.Conv2d(embedding, sizes.bins, 1)

    def forward(self, features: BackboneFeatures) -> ReflectorOutput:
        """Map backbone features to depth at the finest block's stride; centres are (N, K, 1, 1)."""
        embeddings, condition = self.trunk(features)
        tokens = self.patches(embeddings[-1]).flatten(2).transpose(1, 2)
        tokens = tokens + self.positions
        for layer in self.layers:
            tokens = layer(tokens)
        decoded = self.decode(condition)
        kernels = tokens[:, 1 : 1 + decoded.shape[1]]
        batch, _, height, width = decoded.shape
        attention = torch.bmm(kernels, decoded.flatten(2)).reshape(batch, -1, height, width)
        logits, widths = self.logits(attention), self.widths(tokens[:, 0])
        with full_precision(logits):
            widths = functional.relu(widths.float()) + SMALLEST_WIDTH
            widths = widths / widths.sum(dim=1, keepdim=True)
            centres = centres_of_widths(widths, self.near)[:, :, None, None]
            log_probabilities = functional.log_softmax(logits.float(), dim=1)
            depth, sigma = depth_and_sigma(centres, log_probabilities)
            return ReflectorOutput(depth, sigma, centres, log_probabilities)


class LocalBinsOutput(NamedTuple):
    """Depth (N, 1, h, w) in units of z_max, sigma, and the bins' widths at every level.

    Attributes:
        depth: (N, 1, h, w) in units of z_max.
        sigma: (N, 1, h, w).
        widths: (N, K_l, h_l, w_l) of the seeds and after every split, each sums to 1 over K_l.
    """

    depth: Tensor
    sigma: Tensor
    widths: tuple[Tensor, ...]


def split_bins(widths: Tensor, parts: Tensor) -> Tensor:
    """Split every bin into two of the shares ``parts``, keeping the order of the range.

    Args:
        widths: (N, K, h, w).
        parts: (N, 2 K, h, w) positive; the two parts of bin k stand at 2 k and 2 k + 1.

    Returns:
        (N, 2 K, h, w) with the same sum.
    """
    batch, count, height, width = parts.shape
    parts = parts.reshape(batch, count // 2, 2, height, width)
    shares = parts / parts.sum(dim=2, keepdim=True)
    return (widths.unsqueeze(2) * shares).reshape(batch, count, height, width)


class LocalBins(nn.Module):
    """Bins of every pixel's own, split in two at every level: Bhat et al., "LocalBins" (2022).

    K / 16 seeds from the bottleneck; at each decoder block the widths are upsampled, and a
    perceptron on the block's embedding says how each bin is split (ReLU + 1e-3, the "linear"
    splitter of the authors' code). Bins are ordered by construction. Depth is the mean of the K
    finest centres under a softmax.
    """

    def __init__(self, sizes: HeadSizes):
        super().__init__()
        self.near = sizes.near
        self.trunk = Trunk(sizes)
        count = sizes.bins // 2 ** len(sizes.block_channels)
        self.seeds = perceptron(sizes.bottleneck_channels, 128, count)
        self.splitters = nn.ModuleList(
            perceptron(sizes.embedding, sizes.embedding, count * 2 ** (level + 1))
            for level in range(len(sizes.block_channels))
        )
        for regressor in (self.seeds, *self.splitters):
            _start_alive(regressor[-1])
        self.logits = perceptron(self.trunk.channels, sizes.embedding, sizes.bins)

    def forward(self, features: BackboneFeatures) -> LocalBinsOutput:
        """Map backbone features to depth at the finest block's stride."""
        embeddings, condition = self.trunk(features)
        seeds = self.seeds(features.bottleneck)
        parts = [split(e) for split, e in zip(self.splitters, embeddings, strict=True)]
        logits = self.logits(condition)
        with full_precision(logits):
            widths = functional.relu(seeds.float()) + SMALLEST_WIDTH
            levels = [widths / widths.sum(dim=1, keepdim=True)]
            for part in parts:
                share = functional.relu(part.float()) + SMALLEST_WIDTH
                levels.append(split_bins(resize(levels[-1], share), share))
            centres = centres_of_widths(levels[-1], self.near)
            log_probabilities = functional.log_softmax(logits.float(), dim=1)
            depth, sigma = depth_and_sigma(centres, log_probabilities)
            return LocalBinsOutput(depth, sigma, tuple(levels))
