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

The authors keep query, key and value in one tensor; BEiT's key has no bias. The router of ZoeDepth
NK is PyTorch's own transformer, which keeps them in one tensor of another name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

_ENDS = ("weight", "bias")
_PARTS = ("query", "key", "value")
_ROUTER = "patch_transformer.transformer_encoder."
ROUTER_LAYERS = 4  # in the authors' code as in transformers'
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


def zoedepth_pairs(layers: int, domains: Sequence[str] = ()) -> Pairs:
    """Return (authors', transformers') names of ZoeDepth, without those of attention.

    Args:
        layers: of the encoder.
        domains: names of the heads of NK; none for N and K, whose one head has no name.
    """
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
    if not domains:
        return pairs + _metric_head_pairs()
    for domain in domains:
        pairs += _metric_head_pairs(f".{domain}", "seed_bin_regressors")
    # A part that the heads share was told for each of them.
    return list(dict.fromkeys(pairs)) + _router_pairs()


def da1metric_pairs(layers: int) -> Pairs:
    """Return (authors', transformers') names of Depth Anything V1 metric, likewise.

    Its authors put Depth Anything where ZoeDepth has BEiT and its neck.
    """
    core = [(f"core.core.{own}", theirs) for own, theirs in depth_anything_pairs(layers)]
    return core + _metric_head_pairs()


def _metric_head_pairs(domain: str = "", seeds: str = "seed_bin_regressor") -> Pairs:
    pairs = _both("conv2", "metric_head.conv2")
    parts = [f"{seeds}{domain}", "seed_projector"]
    parts += [
        f"{name}.{stage}" for name in ("projectors", f"attractors{domain}") for stage in range(4)
    ]
    for part in parts:
        for own, theirs in ((0, 1), (2, 2)):
            pairs += _both(f"{part}._net.{own}", f"metric_head.{part}.conv{theirs}")
    for step in (0, 2):
        name = f"conditional_log_binomial{domain}.mlp.{step}"
        pairs += _both(name, f"metric_head.{name}")
    return pairs


def _router_pairs() -> Pairs:
    """Return the pairs of what chooses between the heads of ZoeDepth NK."""
    name = "patch_transformer.embedding_convPxP"
    pairs = _both(name, f"metric_head.{name}")
    for own, theirs in ((0, 1), (2, 2)):
        pairs += _both(f"mlp_classifier.{own}", f"metric_head.mlp_classifier.linear{theirs}")
    for layer in range(ROUTER_LAYERS):
        for part in ("self_attn.out_proj", "linear1", "linear2", "norm1", "norm2"):
            pairs += _both(
                f"{_ROUTER}layers.{layer}.{part}", f"metric_head.{_ROUTER}{layer}.{part}"
            )
    return pairs


def to_transformers(tensors: Mapping[str, Tensor], pairs: Pairs, encoder: str) -> dict[str, Tensor]:
    """Return an authors' tensors under transformers' names; those without one keep theirs.

    Args:
        tensors: of the authors.
        pairs: of the family.
        encoder: what the encoder's names begin with: ``pretrained.`` or the like.
    """
    names = dict(pairs)
    encoders = re.compile(
        rf"{re.escape(encoder)}blocks\.(\d+)\.attn\.(?:qkv\.(weight|bias)|([qv])_bias)"
    )
    routers = re.compile(rf"{re.escape(_ROUTER)}layers\.(\d+)\.self_attn\.in_proj_(weight|bias)")
    found = {}
    for name, tensor in tensors.items():
        layer, router = encoders.fullmatch(name), routers.fullmatch(name)
        if name in names:
            found[names[name]] = tensor
            continue
        if layer:
            target = f"backbone.encoder.layer.{layer[1]}.attention.attention."
        elif router:
            target = f"metric_head.{_ROUTER}{router[1]}.self_attn."
        else:
            found[name] = tensor
            continue
        if layer and layer[3]:
            found[f"{target}{'query' if layer[3] == 'q' else 'value'}.bias"] = tensor
        else:
            end = (layer or router)[2]
            thirds = zip(_PARTS, tensor.chunk(3), strict=True)
            found |= {f"{target}{part}.{end}": third.clone() for part, third in thirds}
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
