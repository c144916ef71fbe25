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

"""The weights of a converted network beside its graph, for a reflector that is trained on them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from depthrefl_ros.conversion.meaning import ConversionError
from depthrefl_ros.conversion.recipe import Recipe
from depthrefl_ros.engine.bundle import BACKBONE_WEIGHTS
from depthrefl_ros.network.checkpoints import save_tensors
from depthrefl_ros.network.dinov2 import (
    DEPTH_ANYTHING,
    DPT,
    DPT_FORM,
    DPT_WIDTHS,
    OTHER,
    DinoV2Config,
)

TRAINABLE = "train stage2 --backbone takes the weights of backbone.safetensors"
_NECKS = {"DepthAnythingForDepthEstimation": DEPTH_ANYTHING, "DPTForDepthEstimation": DPT}


def backbone_config(recipe: Recipe, config: Any) -> DinoV2Config:
    """Return how our backbone is built so that a network's weights fit it.

    Args:
        recipe: of the network.
        config: of ``transformers``.

    Raises:
        ConversionError: it is no DINOv2 under a DPT, or one of another form.
    """
    encoder = getattr(config, "backbone_config", None)
    neck = _NECKS.get(recipe.class_name)
    model_type = getattr(encoder, "model_type", "an encoder of its own")
    if neck is None or model_type != "dinov2":
        raise ConversionError(
            f"--weights: a reflector can be trained on a {' or a '.join(_NECKS)} with a DINOv2, "
            f"and this network is a {recipe.class_name} with {model_type}"
        )
    _check_form(neck, config)
    widths = DPT_WIDTHS if neck == DPT else {name: getattr(config, name) for name in DPT_WIDTHS}
    return DinoV2Config(
        OTHER,
        hidden_size=encoder.hidden_size,
        num_attention_heads=encoder.num_attention_heads,
        num_hidden_layers=encoder.num_hidden_layers,
        mlp_ratio=encoder.mlp_ratio,
        image_size=encoder.image_size,
        out_indices=tuple(encoder.out_indices),
        neck_hidden_sizes=tuple(config.neck_hidden_sizes),
        **widths,
        farther_is_larger=recipe.meaning.kind != "inverse_relative",
        neck=neck,
        use_swiglu_ffn=encoder.use_swiglu_ffn,
    )


def _check_form(neck: str, config: Any) -> None:
    """Check that a network has the layers that our backbone will be built with.

    Args:
        neck: ``depth_anything`` or ``dpt``.
        config: of ``transformers``, with a DINOv2.

    Raises:
        ConversionError: a field differs; it is named.
    """
    encoder = config.backbone_config
    unlike = {
        "patch_size": (encoder.patch_size, DinoV2Config.stride),
        "apply_layernorm": (encoder.apply_layernorm, neck == DEPTH_ANYTHING),
        "reassemble_factors": (list(config.reassemble_factors), [4, 2, 1, 0.5]),
        "head_in_index": (config.head_in_index, -1),
    }
    if neck == DPT:
        known = {**DPT_FORM, "fusion_hidden_size": DPT_WIDTHS["fusion_hidden_size"]}
        unlike |= {name: (getattr(config, name), only) for name, only in known.items()}
    else:
        unlike["reassemble_hidden_size"] = (config.reassemble_hidden_size, encoder.hidden_size)
    for name, (found, wanted) in unlike.items():
        if found != wanted:
            raise ConversionError(f"--weights: {name} is {found}, and only {wanted} is known")


def described(config: DinoV2Config) -> dict[str, Any]:
    """Return what ``model.yaml`` says of weights that are kept, in plain YAML."""
    plain = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(config).items()
    }
    return {"training": TRAINABLE, "backbone": plain}


def save_backbone(folder: Path, model: nn.Module, config: DinoV2Config) -> None:
    """Write a network's ``backbone.safetensors`` into a bundle's folder.

    Args:
        folder: of the bundle.
        model: of ``transformers``.
        config: of ``backbone_config``.

    Raises:
        OSError: it cannot be written.
    """
    tensors = {
        f"backbone.{config.neck}.{name}": value for name, value in model.state_dict().items()
    }
    save_tensors(folder / BACKBONE_WEIGHTS, tensors)
