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

"""Names of tensors in the authors' own checkpoints and in those of ``transformers``, both ways.

The authors keep query, key and value in one tensor; BEiT's key has no bias.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

_ENDS = ("weight", "bias")
_PARTS = ("query", "key", "value")
Pairs = list[tuple[str, str]]


def depth_anything_pairs(layers: int) -> Pairs:
    """Return (authors', transformers') names of Depth Anything, without those of attention.

    Args:
        layers: of the encoder.
    """
    pairs = [
        ("pretrained.cls_token", "backbone.embeddings.cls_token"),
        ("pretrained.mask_token", "backbone.embeddings.mask_token"),
        ("pretrained.pos_embed", "backbone.embeddings.position_embeddings"),
        *_both("pretrained.patch_embed.proj", "backbone.embeddings.patch_embeddings.projection"),
        *_both("pretrained.norm", "backbone.layernorm"),
    ]
    for layer in range(layers):
        own, theirs = f"pretrained.blocks.{layer}.", f"backbone.encoder.layer.{layer}."
        for name in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
            pairs += _both(own + name, theirs + name)
        pairs += _both(own + "attn.proj", theirs + "attention.output.dense")
        pairs += [(f"{own}ls{n}.gamma", f"{theirs}layer_scale{n}.lambda1") for n in (1, 2)]
    for stage in range(4):
        neck = f"neck.reassemble_stage.layers.{stage}."
        pairs += _both(f"depth_head.projects.{stage}", neck + "projection")
        if stage != 2:  # the third stays at the encoder's size
            pairs += _both(f"depth_head.resize_layers.{stage}", neck + "resize")
    pairs += _fusion_pairs("depth_head.scratch.")
    for own, theirs in (("1", "1"), ("2.0", "2"), ("2.2", "3")):
        pairs += _both(f"depth_head.scratch.output_conv{own}", f"head.conv{theirs}")
    return pairs


def zoedepth_pairs(layers: int) -> Pairs:
    """Return (authors', transformers') names of ZoeDepth N and K, without those of attention."""
    core = "core.core.pretrained."
    pairs = [
        (core + "model.cls_token", "backbone.embeddings.cls_token"),
        *_both(core + "model.patch_embed.proj", "backbone.embeddings.patch_embeddings.projection"),
    ]
    for layer in range(layers):
        own, theirs = f"{core}model.blocks.{layer}.", f"backbone.encoder.layer.{layer}."
        for name, other in (
            ("norm1", "layernorm_before"),
            ("norm2", "layernorm_after"),
            ("mlp.fc1", "intermediate.dense"),
            ("mlp.fc2", "output.dense"),
            ("attn.proj", "attention.output.dense"),
        ):
            pairs += _both(own + name, theirs + other)
        pairs += [(f"{own}gamma_{n}", f"{theirs}lambda_{n}") for n in (1, 2)]
        table = "relative_position_bias_table"
        pairs.append(
            (f"{own}attn.{table}", f"{theirs}attention.attention.relative_position_bias.{table}")
        )
    for stage in range(4):
        own, neck = f"{core}act_postprocess{stage + 1}.", "neck.reassemble_stage."
        pairs += _both(own + "0.project.0", f"{neck}readout_projects.{stage}.0")
        pairs += _both(own + "3", f"{neck}layers.{stage}.projection")
        if stage != 2:
            pairs += _both(own + "4", f"{neck}layers.{stage}.resize")
    pairs += _fusion_pairs("core.core.scratch.")
    for own, theirs in ((0, 1), (2, 2), (4, 3)):
        pairs += _both(f"core.core.scratch.output_conv.{own}", f"relative_head.conv{theirs}")
    return pairs + _metric_head_pairs()


def da1metric_pairs(layers: int) -> Pairs:
    """Return (authors', transformers') names of Depth Anything V1 metric, likewise.

    Its authors put Depth Anything where ZoeDepth has BEiT and its neck.
    """
    core = [(f"core.core.{own}", theirs) for own, theirs in depth_anything_pairs(layers)]
    return core + _metric_head_pairs()


def _metric_head_pairs() -> Pairs:
    pairs = _both("conv2", "metric_head.conv2")
    parts = ["seed_bin_regressor", "seed_projector"]
    parts += [f"{name}.{stage}" for name in ("projectors", "attractors") for stage in range(4)]
    for part in parts:
        for own, theirs in ((0, 1), (2, 2)):
            pairs += _both(f"{part}._net.{own}", f"metric_head.{part}.conv{theirs}")
    for step in (0, 2):
        name = f"conditional_log_binomial.mlp.{step}"
        pairs += _both(name, f"metric_head.{name}")
    return pairs


def to_transformers(tensors: Mapping[str, Tensor], pairs: Pairs, encoder: str) -> dict[str, Tensor]:
    """Return an authors' tensors under transformers' names; those without one keep theirs.

    Args:
        tensors: of the authors.
        pairs: of the family.
        encoder: what the encoder's names begin with: ``pretrained.`` or the like.
    """
    names = dict(pairs)
    found = {}
    for name, tensor in tensors.items():
        start, _, rest = name.removeprefix(f"{encoder}blocks.").partition(".")
        target = f"backbone.encoder.layer.{start}.attention.attention."
        if name in names:
            found[names[name]] = tensor
        elif name.startswith(f"{encoder}blocks.") and rest in ("attn.qkv.weight", "attn.qkv.bias"):
            thirds = zip(_PARTS, tensor.chunk(3), strict=True)
            found |= {f"{target}{part}.{rest[9:]}": third.clone() for part, third in thirds}
        elif name.startswith(f"{encoder}blocks.") and rest in ("attn.q_bias", "attn.v_bias"):
            found[f"{target}{'query' if rest[5] == 'q' else 'value'}.bias"] = tensor
        else:
            found[name] = tensor
    return found


def to_authors(tensors: Mapping[str, Tensor], pairs: Pairs, encoder: str) -> dict[str, Tensor]:
    """Return transformers' tensors under the authors' names: ``to_transformers`` turned round."""
    names = {theirs: own for own, theirs in pairs}
    found = {names[name]: tensor for name, tensor in tensors.items() if name in names}
    rest = {name: tensor for name, tensor in tensors.items() if name not in names}
    has_key_bias = any(name.endswith("attention.key.bias") for name in rest)
    for name, tensor in rest.items():
        if not name.startswith("backbone.encoder.layer."):
            found[name] = tensor
            continue
        stem, part, end = name.rsplit(".", 2)
        target = f"{encoder}blocks.{name.split('.')[3]}.attn."
        if end == "bias" and not has_key_bias:
            found[f"{target}{part[0]}_bias"] = tensor
        elif part == "query":
            found[f"{target}qkv.{end}"] = torch.cat([rest[f"{stem}.{p}.{end}"] for p in _PARTS])
    return found


def _both(own: str, theirs: str) -> Pairs:
    return [(f"{own}.{end}", f"{theirs}.{end}") for end in _ENDS]


def _fusion_pairs(scratch: str) -> Pairs:
    """Return the pairs of DPT's fusion; its authors number from fine to coarse, others back."""
    pairs = []
    for stage in range(4):
        pairs.append((f"{scratch}layer{stage + 1}_rn.weight", f"neck.convs.{stage}.weight"))
        own, theirs = f"{scratch}refinenet{4 - stage}.", f"neck.fusion_stage.layers.{stage}."
        pairs += _both(own + "out_conv", theirs + "projection")
        for unit in (1, 2):
            for conv in (1, 2):
                pairs += _both(
                    f"{own}resConfUnit{unit}.conv{conv}",
                    f"{theirs}residual_layer{unit}.convolution{conv}",
                )
    return pairs
