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
import pickle
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from depthrefl_ros.conversion.checkpoint_folder import (
    CONFIG,
    EXPORT,
    PROCESSOR,
    WEIGHTS,
    check_file,
    save_tensors,
    words_of_pickle,
)
from depthrefl_ros.conversion.key_maps import (
    ROUTER_LAYERS,
    da1metric_pairs,
    depth_anything_pairs,
    to_transformers,
    zoedepth_pairs,
)
from depthrefl_ros.conversion.meaning import IMAGENET_MEAN, IMAGENET_STD, ConversionError
from depthrefl_ros.conversion.original_names import da3metric_name

_TAPS = {  # (version, layers) -> layers that feed the neck, counted from 1
    (1, 12): (9, 10, 11, 12),
    (1, 24): (21, 22, 23, 24),
    (2, 12): (3, 6, 9, 12),
    (2, 24): (5, 12, 18, 24),
}
_ZOE = "core.core.pretrained.model."
_CORE = "core.core."  # before the names of what stands under ZoeDepth's metric head
_REACH_M = {"indoor": 10.0, "outdoor": 80.0}  # of Depth Anything V1 metric: NYU, KITTI
_NK_REACH_M = {"nyu": 10.0, "kitti": 80.0}  # of ZoeDepth NK by head, in the router's order
_NK_SEEDS, _SEEDS = "seed_bin_regressors", "seed_bin_regressor"
_ROUTER_HEADS = 4  # of attention, which no tensor tells
# What ZoeDepth's files have besides the weights: timm's head and index, and constants.
_UNUSED = re.compile(r"relative_position_index$|model\.(head|norm|fc_norm)\.|k_idx$|[Kk]_minus_1$")
_HEAD_CHANNELS = 64  # of one attention head, in every one of these encoders


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint's tensors without running what it may contain.

    Raises:
        ConversionError: it is missing, cut off, a pointer, or needs code to be read.
    """
    if not path.is_file():
        raise ConversionError(f"{path} is no file")
    check_file(path)
    if path.suffix == ".safetensors":
        return load_file(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise ConversionError(words_of_pickle(path, error)) from error
    for name in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    if (
        not isinstance(content, dict)
        or not content
        or not all(isinstance(value, Tensor) for value in content.values())
    ):
        raise ConversionError(f"{path} holds no dictionary of tensors; {EXPORT}")
    return {name.removeprefix("module."): value for name, value in content.items()}


def write_folder(path: Path, folder: Path, name: str = "") -> str:
    """Write what ``read_folder`` reads from an authors' file.

    Args:
        path: of the file; its name tells versions and ranges that the tensors do not.
        folder: that is there and empty.
        name: of the network on the Hub; empty for a file by itself.

    Returns:
        The name for ``read_recipes``.

    Raises:
        ConversionError: the file is damaged, or of no known network.
        OSError: the folder's disk is full.
    """
    tensors = read_tensors(path)
    if any(name.startswith("pretrained.") for name in tensors):
        config, processor, found = _depth_anything(path, tensors)
    elif any(name.startswith("model.backbone.pretrained.") for name in tensors):
        config, processor, found = _da3metric(path, tensors)
        name = name or da3metric_name(path)
    elif any(name.startswith(_ZOE) for name in tensors):
        config, processor, found = _zoedepth(path, tensors)
    elif any(name.startswith(f"{_CORE}depth_head.") for name in tensors):
        config, processor, found = _da1metric(path, tensors)
    else:
        some = ", ".join(list(tensors)[:3])
        raise ConversionError(
            f"{path} holds no network whose tensors are known (they begin with {some}); {EXPORT}"
        )
    (folder / CONFIG).write_text(json.dumps(config))
    (folder / PROCESSOR).write_text(json.dumps(processor))
    tensors = {name: value.contiguous() for name, value in found.items()}
    save_tensors(tensors, folder / WEIGHTS[0])
    return name or path.stem.replace("_", "-")


def _depth_anything(
    path: Path, tensors: dict[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Tensor]]:
    name = path.stem.lower()
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
    layers = _layers(tensors, "pretrained.")
    config = _depth_anything_config(path, tensors, version, layers)
    if reach is not None:
        config |= {"depth_estimation_type": "metric", "max_depth": reach}
    processor = {"image_mean": list(IMAGENET_MEAN), "image_std": list(IMAGENET_STD)}
    return config, processor, to_transformers(tensors, depth_anything_pairs(layers), "pretrained.")


def _depth_anything_config(
    path: Path, tensors: dict[str, Tensor], version: int, layers: int
) -> dict[str, Any]:
    if (version, layers) not in _TAPS:
        raise ConversionError(f"{path} has {layers} layers; 12 (S, B) or 24 (L) are known")
    taps = _TAPS[version, layers]
    width = _shape(path, tensors, "pretrained.cls_token")[-1]
    grid = round((_shape(path, tensors, "pretrained.pos_embed")[1] - 1) ** 0.5)
    inner = _shape(path, tensors, "pretrained.blocks.0.mlp.fc1.weight")[0]
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
            _shape(path, tensors, f"depth_head.projects.{stage}.weight")[0] for stage in range(4)
        ],
        "fusion_hidden_size": _shape(path, tensors, "depth_head.scratch.layer1_rn.weight")[0],
        "head_hidden_size": _shape(path, tensors, "depth_head.scratch.output_conv2.0.weight")[0],
    }


def _da3metric(
    path: Path, tensors: dict[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Tensor]]:
    """Describe DA3METRIC: Depth Anything's encoder and neck; a head of two planes of its own."""
    renamed = {
        name.replace("model.backbone.", "").replace("model.head.", "depth_head."): value
        for name, value in tensors.items()
    }
    if not any("sky_output_conv2" in name for name in renamed):
        raise ConversionError(
            f"{path} is of Depth Anything 3, and not DA3METRIC-LARGE: it has no head for the sky"
        )
    layers = _layers(renamed, "pretrained.")
    config = _depth_anything_config(path, renamed, 2, layers) | {"model_type": "da3metric"}
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
    for own, theirs in (("0", "sky1"), ("2", "sky2")):
        for end in ("weight", "bias"):
            found[f"head.{theirs}.{end}"] = found.pop(
                f"depth_head.scratch.sky_output_conv2.{own}.{end}"
            )
    processor = {"image_mean": list(IMAGENET_MEAN), "image_std": list(IMAGENET_STD)}
    return config, processor, found


def _da1metric(
    path: Path, tensors: dict[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Tensor]]:
    """Describe Depth Anything V1 metric: Depth Anything V1 below ZoeDepth's metric head."""
    domain = next((one for one in _REACH_M if one in path.stem.lower()), None)
    if domain is None:
        raise ConversionError(
            f"{path} holds Depth Anything V1 metric; whether indoor (10 m) or outdoor (80 m) is in "
            "its name only: call it depth_anything_metric_depth_indoor.pt or "
            "depth_anything_metric_depth_outdoor.pt"
        )
    tensors = {name: value for name, value in tensors.items() if not _UNUSED.search(name)}
    core = {
        name.removeprefix(_CORE): value for name, value in tensors.items() if name.startswith(_CORE)
    }
    layers = _layers(core, "pretrained.")
    config = _depth_anything_config(path, core, 1, layers) | {"model_type": "da1metric"}
    finest = _shape(path, tensors, "attractors.3._net.2.weight")[0]  # one, or two of a normed head
    config["metric_head"] = _metric_head(path, tensors, finest == 2, _REACH_M[domain], domain) | {
        "fusion_hidden_size": config["fusion_hidden_size"],
        "num_relative_features": config["head_hidden_size"],
    }
    processor = {"image_mean": list(IMAGENET_MEAN), "image_std": list(IMAGENET_STD)}
    found = to_transformers(tensors, da1metric_pairs(layers), f"{_CORE}pretrained.")
    return config, processor, found


def _metric_head(
    path: Path, tensors: dict[str, Tensor], is_normed: bool, reach_m: float, domain: str
) -> dict[str, Any]:
    """Return what ZoeDepth's configuration says of a metric head; normed attractors are in twos."""
    return {
        "bottleneck_features": _outputs(path, tensors, "conv2"),
        "bin_embedding_dim": _outputs(path, tensors, "seed_projector._net.2"),
        "num_attractors": [
            _outputs(path, tensors, f"attractors.{stage}._net.2") // (2 if is_normed else 1)
            for stage in range(4)
        ],
        "bin_centers_type": "normed" if is_normed else "softplus",
        "bin_configurations": [_bins(path, tensors, _SEEDS, reach_m, domain)],
    }


def _metric_heads(path: Path, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Return what the configuration says of NK's two heads and the router between them.

    How many attractors a level has is no setting: the authors' code takes 16 at every level, and so
    does the public class.
    """
    return {
        "bottleneck_features": _outputs(path, tensors, "conv2"),
        "bin_embedding_dim": _outputs(path, tensors, "seed_projector._net.2"),
        "bin_centers_type": "softplus",
        "bin_configurations": [
            _bins(path, tensors, f"{_NK_SEEDS}.{domain}", reach_m, domain)
            for domain, reach_m in _NK_REACH_M.items()
        ],
        "num_patch_transformer_layers": ROUTER_LAYERS,
        "patch_transformer_hidden_size": _outputs(
            path, tensors, "patch_transformer.embedding_convPxP"
        ),
        "patch_transformer_intermediate_size": _outputs(
            path, tensors, "patch_transformer.transformer_encoder.layers.0.linear1"
        ),
        "patch_transformer_num_attention_heads": _ROUTER_HEADS,
    }


def _bins(
    path: Path, tensors: dict[str, Tensor], seeds: str, reach_m: float, domain: str
) -> dict[str, Any]:
    return {
        "n_bins": _outputs(path, tensors, f"{seeds}._net.2"),
        "min_depth": 1e-3,
        "max_depth": reach_m,
        "name": domain,
    }


def _zoedepth_domain(path: Path, tensors: dict[str, Tensor]) -> str:
    """Return ``n``, ``k`` or ``nk``: the tensors tell one head from two, the name N from K."""
    found = re.search(r"(?:^|_)(nk|n|k)$", path.stem.lower())
    named = found[1] if found else None
    has_two = any(name.startswith(f"{_NK_SEEDS}.") for name in tensors)
    has_one = any(name.startswith(f"{_SEEDS}.") for name in tensors)
    if has_two and named in ("n", "k"):
        raise ConversionError(
            f"{path} is ZoeDepth {named.upper()} by its name and has the two heads of NK "
            f"({_NK_SEEDS}): call it ZoeD_M12_NK.pt"
        )
    if has_one and named == "nk":
        raise ConversionError(
            f"{path} is ZoeDepth NK by its name and has the one head of N or K ({_SEEDS}): call it "
            "ZoeD_M12_N.pt or ZoeD_M12_K.pt, whichever it is"
        )
    if has_two or named is not None:
        return "nk" if has_two else named
    raise ConversionError(
        f"{path} holds ZoeDepth; whether N or K is in its name only: call it ZoeD_M12_N.pt or "
        "ZoeD_M12_K.pt"
    )


def _zoedepth(
    path: Path, tensors: dict[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Tensor]]:
    domain = _zoedepth_domain(path, tensors)
    layers = _layers(tensors, _ZOE)
    width = _shape(path, tensors, _ZOE + "cls_token")[-1]
    table = _shape(path, tensors, _ZOE + "blocks.0.attn.relative_position_bias_table")
    window = (round((table[0] - 3) ** 0.5) + 1) // 2
    patch = _shape(path, tensors, _ZOE + "patch_embed.proj.weight")[-1]
    taps = [layers * quarter // 4 for quarter in (1, 2, 3, 4)]
    domains = list(_NK_REACH_M) if domain == "nk" else []
    if domains:
        head = _metric_heads(path, tensors)
    elif domain == "n":
        head = _metric_head(path, tensors, False, 10.0, "nyu")
    else:
        head = _metric_head(path, tensors, True, 80.0, "kitti")
    config = {
        "model_type": "zoedepth",
        "backbone_config": {
            "model_type": "beit",
            "image_size": window * patch,
            "patch_size": patch,
            "hidden_size": width,
            "num_hidden_layers": layers,
            "num_attention_heads": table[1],
            "intermediate_size": _outputs(path, tensors, _ZOE + "blocks.0.mlp.fc1"),
            "layer_norm_eps": 1e-6,
            "use_relative_position_bias": True,
            "use_mask_token": False,
            "reshape_hidden_states": False,
            "out_indices": taps,
            "out_features": [f"stage{tap}" for tap in taps],
        },
        "neck_hidden_sizes": [
            _outputs(path, tensors, f"core.core.pretrained.act_postprocess{stage}.3")
            for stage in (1, 2, 3, 4)
        ],
        "fusion_hidden_size": _outputs(path, tensors, "core.core.scratch.layer1_rn"),
        "num_relative_features": _outputs(path, tensors, "core.core.scratch.output_conv.2"),
        **head,
    }
    size = {"height": 384, "width": 768 if domain == "k" else 512}
    half = [0.5, 0.5, 0.5]
    kept = {key: value for key, value in tensors.items() if not _UNUSED.search(key)}
    found = to_transformers(kept, zoedepth_pairs(layers, domains), _ZOE)
    return config, {"image_mean": half, "image_std": half, "size": size}, found


def _layers(tensors: dict[str, Tensor], encoder: str) -> int:
    found = (re.match(rf"{re.escape(encoder)}blocks\.(\d+)\.", name) for name in tensors)
    return max((int(match[1]) + 1 for match in found if match), default=0)


def _outputs(path: Path, tensors: dict[str, Tensor], layer: str) -> int:
    return _shape(path, tensors, f"{layer}.weight")[0]


def _shape(path: Path, tensors: dict[str, Tensor], name: str) -> tuple[int, ...]:
    if name not in tensors:
        raise ConversionError(f"{path} lacks {name}: it is cut off or of another network")
    return tuple(tensors[name].shape)
