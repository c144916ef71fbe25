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

"""The authors' own checkpoints: which network a file holds, and its folder for ``transformers``.

Depth Anything V1 and V2 (``.pth``), V1 metric (``.pt``), ZoeDepth N, K and NK (``.pt``)
and DA3METRIC-LARGE (safetensors).
Only tensors are read: a file that needs code to be read is refused.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from depthrefl_ros.conversion.checkpoint_folder import (
    CONFIG,
    EXPORT,
    PROCESSOR,
    WEIGHTS,
)
from depthrefl_ros.conversion.key_maps import (
    da1metric_pairs,
    depth_anything_pairs,
    to_transformers,
)
from depthrefl_ros.conversion.meaning import IMAGENET_MEAN, IMAGENET_STD, ConversionError
from depthrefl_ros.conversion.original_names import da3metric_name
from depthrefl_ros.conversion.original_tensors import OriginalTensors, read_tensors
from depthrefl_ros.conversion.original_zoedepth import (
    ZOE,
    Described,
    describe_zoedepth,
    metric_head,
    weights,
)
from depthrefl_ros.network.checkpoints import save_tensors

_TAPS = {  # (version, layers) -> layers that feed the neck, counted from 1
    (1, 12): (9, 10, 11, 12),
    (1, 24): (21, 22, 23, 24),
    (2, 12): (3, 6, 9, 12),
    (2, 24): (5, 12, 18, 24),
}
_CORE = "core.core."  # before the names of what stands under ZoeDepth's metric head
_REACH_M = {"indoor": 10.0, "outdoor": 80.0}  # of Depth Anything V1 metric: NYU, KITTI
_HEAD_CHANNELS = 64  # of one attention head, in every one of these encoders


def write_folder(path: Path, folder: Path, name: str = "") -> str:
    """Write what ``read_folder`` reads from an authors' file.

    Args:
        path: of the file.
        folder: that is there and empty.
        name: of the network on the Hub; empty for a file by itself.

    Returns:
        The name for ``read_recipes``.

    Raises:
        ConversionError: the file is damaged, or of no known network.
        OSError: the folder's disk is full.
    """
    file = read_tensors(path)
    if file.has("pretrained."):
        config, processor, found = _depth_anything(file)
    elif file.has("model.backbone.pretrained."):
        config, processor, found = _da3metric(file)
        name = name or da3metric_name(path)
    elif file.has(ZOE):
        config, processor, found = describe_zoedepth(file)
    elif file.has(f"{_CORE}depth_head."):
        config, processor, found = _da1metric(file)
    else:
        some = ", ".join(list(file.tensors)[:3])
        raise ConversionError(
            f"{path} holds no network whose tensors are known (they begin with {some}); {EXPORT}"
        )
    (folder / CONFIG).write_text(json.dumps(config))
    (folder / PROCESSOR).write_text(json.dumps(processor))
    save_tensors(folder / WEIGHTS[0], found)
    return name or path.stem.replace("_", "-")


def _depth_anything(file: OriginalTensors) -> Described:
    path, name = file.path, file.path.stem.lower()
    if "metric_depth" in name:
        raise ConversionError(
            f"{path} is Depth Anything V1 metric by its name, and has no metric head (it lacks "
            "conv2.weight): its weights are those of a network without one, which its authors call "
            "depth_anything_vitl14.pth"
        )
    if not re.search(r"depth_anything_(v2|vit)", name):
        raise ConversionError(
            f"{path} holds Depth Anything; V1 and V2 differ only in which layers are used, which "
            "its name tells: call it depth_anything_v2_vits.pth or depth_anything_vits14.pth"
        )
    version = 2 if "_v2" in name else 1
    reach = next((m for word, m in {"hypersim": 20, "vkitti": 80}.items() if word in name), None)
    if reach is None and "metric" in name:
        raise ConversionError(
            f"{path} is metric, and its reach is not in the file: its name must have hypersim "
            "(20 m) or vkitti (80 m) in it, as its authors call it"
        )
    layers = file.layers("pretrained.")
    config = _depth_anything_config(file, version, layers)
    if reach is not None:
        config |= {"depth_estimation_type": "metric", "max_depth": reach}
    processor = {"image_mean": list(IMAGENET_MEAN), "image_std": list(IMAGENET_STD)}
    found = to_transformers(file.tensors, depth_anything_pairs(layers), "pretrained.")
    return config, processor, found


def _depth_anything_config(file: OriginalTensors, version: int, layers: int) -> dict[str, Any]:
    if (version, layers) not in _TAPS:
        raise ConversionError(f"{file.path} has {layers} layers; 12 (S, B) or 24 (L) are known")
    taps = _TAPS[version, layers]
    width = file.shape("pretrained.cls_token")[-1]
    grid = round((file.shape("pretrained.pos_embed")[1] - 1) ** 0.5)
    inner = file.shape("pretrained.blocks.0.mlp.fc1.weight")[0]
    return {
        "model_type": "depth_anything",
        "backbone_config": {
            "model_type": "dinov2",
            "image_size": 14 * grid,
            "patch_size": 14,
            "hidden_size": width,
            "num_hidden_layers": layers,
            "num_attention_heads": max(1, width // _HEAD_CHANNELS),
            "mlp_ratio": inner // width,
            "out_indices": list(taps),
            "out_features": [f"stage{tap}" for tap in taps],
            "reshape_hidden_states": False,
        },
        "reassemble_hidden_size": width,
        "neck_hidden_sizes": [
            file.shape(f"depth_head.projects.{stage}.weight")[0] for stage in range(4)
        ],
        "fusion_hidden_size": file.shape("depth_head.scratch.layer1_rn.weight")[0],
        "head_hidden_size": file.shape("depth_head.scratch.output_conv2.0.weight")[0],
    }


def _da3metric(file: OriginalTensors) -> Described:
    """Describe DA3METRIC: Depth Anything's encoder and neck; a head of two planes of its own."""
    renamed = {
        name.replace("model.backbone.", "").replace("model.head.", "depth_head."): value
        for name, value in file.tensors.items()
    }
    if not any("sky_output_conv2" in name for name in renamed):
        raise ConversionError(
            f"{file.path} is of Depth Anything 3, and not DA3METRIC-LARGE: it has no head for the "
            "sky"
        )
    own = replace(file, tensors=renamed)
    layers = own.layers("pretrained.")
    config = _depth_anything_config(own, 2, layers) | {"model_type": "da3metric"}
    found = to_transformers(renamed, depth_anything_pairs(layers), "pretrained.")
    width = config["fusion_hidden_size"]
    for name in ("convolution1", "convolution2"):  # of the coarsest level, where nothing is fused
        part = f"neck.fusion_stage.layers.0.residual_layer1.{name}."
        found.setdefault(part + "weight", torch.zeros(width, width, 3, 3))
        found.setdefault(part + "bias", torch.zeros(width))
    found.setdefault(
        "backbone.embeddings.mask_token",
        torch.zeros(1, config["backbone_config"]["hidden_size"]),
    )
    for number, theirs in (("0", "sky1"), ("2", "sky2")):
        for end in ("weight", "bias"):
            found[f"head.{theirs}.{end}"] = found.pop(
                f"depth_head.scratch.sky_output_conv2.{number}.{end}"
            )
    processor = {"image_mean": list(IMAGENET_MEAN), "image_std": list(IMAGENET_STD)}
    return config, processor, found


def _da1metric(file: OriginalTensors) -> Described:
    """Describe Depth Anything V1 metric: Depth Anything V1 below ZoeDepth's metric head."""
    domain = next((one for one in _REACH_M if one in file.path.stem.lower()), None)
    if domain is None:
        raise ConversionError(
            f"{file.path} holds Depth Anything V1 metric; whether indoor (10 m) or outdoor (80 m) "
            "is in its name only: call it depth_anything_metric_depth_indoor.pt or "
            "depth_anything_metric_depth_outdoor.pt"
        )
    tensors = weights(file.tensors)
    core = {
        name.removeprefix(_CORE): value for name, value in tensors.items() if name.startswith(_CORE)
    }
    below = replace(file, tensors=core)
    layers = below.layers("pretrained.")
    config = _depth_anything_config(below, 1, layers) | {"model_type": "da1metric"}
    finest = file.shape("attractors.3._net.2.weight")[0]  # one, or two of a normed head
    config["metric_head"] = metric_head(file, finest == 2, _REACH_M[domain], domain) | {
        "fusion_hidden_size": config["fusion_hidden_size"],
        "num_relative_features": config["head_hidden_size"],
    }
    processor = {"image_mean": list(IMAGENET_MEAN), "image_std": list(IMAGENET_STD)}
    found = to_transformers(tensors, da1metric_pairs(layers), f"{_CORE}pretrained.")
    return config, processor, found
