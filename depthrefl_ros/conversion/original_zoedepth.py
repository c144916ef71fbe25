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

"""ZoeDepth's own files: what ``transformers`` would say of their network, and its metric heads."""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor

from depthrefl_ros.conversion.key_maps import ROUTER_LAYERS, to_transformers, zoedepth_pairs
from depthrefl_ros.conversion.meaning import ConversionError
from depthrefl_ros.conversion.original_tensors import OriginalTensors

# config.json, preprocessor_config.json and the weights, as ``transformers`` has them.
Described = tuple[dict[str, Any], dict[str, Any], dict[str, Tensor]]
ZOE = "core.core.pretrained.model."  # before the names of its encoder
_NK_REACH_M = {"nyu": 10.0, "kitti": 80.0}  # of ZoeDepth NK by head, in the router's order
_NK_SEEDS, _SEEDS = "seed_bin_regressors", "seed_bin_regressor"
_ROUTER_HEADS = 4  # of attention, which no tensor tells
# What the files have besides the weights: timm's head and index, and constants.
_UNUSED = re.compile(r"relative_position_index$|model\.(head|norm|fc_norm)\.|k_idx$|[Kk]_minus_1$")


def weights(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors that are weights."""
    return {name: value for name, value in tensors.items() if not _UNUSED.search(name)}


def metric_head(
    file: OriginalTensors, is_normed: bool, reach_m: float, domain: str
) -> dict[str, Any]:
    """Return what ZoeDepth's configuration says of a metric head; normed attractors are in twos."""
    return {
        "bottleneck_features": file.outputs("conv2"),
        "bin_embedding_dim": file.outputs("seed_projector._net.2"),
        "num_attractors": [
            file.outputs(f"attractors.{stage}._net.2") // (2 if is_normed else 1)
            for stage in range(4)
        ],
        "bin_centers_type": "normed" if is_normed else "softplus",
        "bin_configurations": [_bins(file, _SEEDS, reach_m, domain)],
    }


def _metric_heads(file: OriginalTensors) -> dict[str, Any]:
    """Return what the configuration says of NK's two heads and the router between them.

    How many attractors a level has is no setting: the authors' code takes 16 at every level, and so
    does the public class.
    """
    return {
        "bottleneck_features": file.outputs("conv2"),
        "bin_embedding_dim": file.outputs("seed_projector._net.2"),
        "bin_centers_type": "softplus",
        "bin_configurations": [
            _bins(file, f"{_NK_SEEDS}.{domain}", reach_m, domain)
            for domain, reach_m in _NK_REACH_M.items()
        ],
        "num_patch_transformer_layers": ROUTER_LAYERS,
        "patch_transformer_hidden_size": file.outputs("patch_transformer.embedding_convPxP"),
        "patch_transformer_intermediate_size": file.outputs(
            "patch_transformer.transformer_encoder.layers.0.linear1"
        ),
        "patch_transformer_num_attention_heads": _ROUTER_HEADS,
    }


def _bins(file: OriginalTensors, seeds: str, reach_m: float, domain: str) -> dict[str, Any]:
    return {
        "n_bins": file.outputs(f"{seeds}._net.2"),
        "min_depth": 1e-3,
        "max_depth": reach_m,
        "name": domain,
    }


def _zoedepth_domain(file: OriginalTensors) -> str:
    """Return ``n``, ``k`` or ``nk``: the tensors tell one head from two, the name N from K."""
    found = re.search(r"(?:^|_)(nk|n|k)$", file.path.stem.lower())
    named = found[1] if found else None
    has_two = file.has(f"{_NK_SEEDS}.")
    has_one = file.has(f"{_SEEDS}.")
    if has_two and named in ("n", "k"):
        raise ConversionError(
            f"{file.path} is ZoeDepth {named.upper()} by its name and has the two heads of NK "
            f"({_NK_SEEDS}): call it ZoeD_M12_NK.pt"
        )
    if has_one and named == "nk":
        raise ConversionError(
            f"{file.path} is ZoeDepth NK by its name and has the one head of N or K ({_SEEDS}): "
            "call it ZoeD_M12_N.pt or ZoeD_M12_K.pt, whichever it is"
        )
    if has_two or named is not None:
        return "nk" if has_two else named
    raise ConversionError(
        f"{file.path} holds ZoeDepth; whether N or K is in its name only: call it ZoeD_M12_N.pt or "
        "ZoeD_M12_K.pt"
    )


def describe_zoedepth(file: OriginalTensors) -> Described:
    """Return what ``config.json`` and ``preprocessor_config.json`` say, and the weights.

    Raises:
        ConversionError: neither tensors nor name tell the head, or tensors are missing.
    """
    domain = _zoedepth_domain(file)
    layers = file.layers(ZOE)
    width = file.shape(ZOE + "cls_token")[-1]
    table = file.shape(ZOE + "blocks.0.attn.relative_position_bias_table")
    window = (round((table[0] - 3) ** 0.5) + 1) // 2
    patch = file.shape(ZOE + "patch_embed.proj.weight")[-1]
    taps = [layers * quarter // 4 for quarter in (1, 2, 3, 4)]
    domains = list(_NK_REACH_M) if domain == "nk" else []
    if domains:
        head = _metric_heads(file)
    elif domain == "n":
        head = metric_head(file, False, 10.0, "nyu")
    else:
        head = metric_head(file, True, 80.0, "kitti")
    config = {
        "model_type": "zoedepth",
        "backbone_config": {
            "model_type": "beit",
            "image_size": window * patch,
            "patch_size": patch,
            "hidden_size": width,
            "num_hidden_layers": layers,
            "num_attention_heads": table[1],
            "intermediate_size": file.outputs(ZOE + "blocks.0.mlp.fc1"),
            "layer_norm_eps": 1e-6,
            "use_relative_position_bias": True,
            "use_mask_token": False,
            "reshape_hidden_states": False,
            "out_indices": taps,
            "out_features": [f"stage{tap}" for tap in taps],
        },
        "neck_hidden_sizes": [
            file.outputs(f"core.core.pretrained.act_postprocess{stage}.3") for stage in (1, 2, 3, 4)
        ],
        "fusion_hidden_size": file.outputs("core.core.scratch.layer1_rn"),
        "num_relative_features": file.outputs("core.core.scratch.output_conv.2"),
        **head,
    }
    size = {"height": 384, "width": 768 if domain == "k" else 512}
    half = [0.5, 0.5, 0.5]
    found = to_transformers(weights(file.tensors), zoedepth_pairs(layers, domains), ZOE)
    return config, {"image_mean": half, "image_std": half, "size": size}, found
