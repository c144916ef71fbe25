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

import yaml
from safetensors.torch import save_file
from torch import nn

from depthrefl_ros.conversion.families import Recipe
from depthrefl_ros.conversion.meaning import ConversionError
from depthrefl_ros.engine.bundle import BACKBONE_WEIGHTS, DESCRIPTION, file_digest
from depthrefl_ros.network.dinov2 import OTHER, DinoV2Config

_CLASS = "DepthAnythingForDepthEstimation"


def backbone_config(recipe: Recipe, config: Any) -> DinoV2Config:
    """Return how our backbone is built so that a network's weights fit it.

    Args:
        recipe: of the network.
        config: of ``transformers``.

    Raises:
        ConversionError: it is no DINOv2 with Depth Anything's DPT, or one of another form.
    """
    encoder = getattr(config, "backbone_config", None)
    if recipe.class_name != _CLASS or getattr(encoder, "model_type", "") != "dinov2":
        raise ConversionError(
            f"--weights: a reflector can be trained on a {_CLASS} with a DINOv2, and this network "
            f"is a {recipe.class_name}"
        )
    unlike = {
        "patch_size": (encoder.patch_size, DinoV2Config.stride),
        "use_swiglu_ffn": (encoder.use_swiglu_ffn, False),
        "apply_layernorm": (encoder.apply_layernorm, True),
        "reassemble_factors": (list(config.reassemble_factors), [4, 2, 1, 0.5]),
        "reassemble_hidden_size": (config.reassemble_hidden_size, encoder.hidden_size),
    }
    for name, (found, wanted) in unlike.items():
        if found != wanted:
            raise ConversionError(f"--weights: {name} is {found}, and only {wanted} is known")
    return DinoV2Config(
        OTHER,
        hidden_size=encoder.hidden_size,
        num_attention_heads=encoder.num_attention_heads,
        num_hidden_layers=encoder.num_hidden_layers,
        mlp_ratio=encoder.mlp_ratio,
        image_size=encoder.image_size,
        out_indices=tuple(encoder.out_indices),
        neck_hidden_sizes=tuple(config.neck_hidden_sizes),
        fusion_hidden_size=config.fusion_hidden_size,
        head_hidden_size=config.head_hidden_size,
        farther_is_larger=recipe.meaning.kind != "inverse_relative",
    )


def keep_weights(folder: Path, model: nn.Module, config: DinoV2Config) -> None:
    """Write ``backbone.safetensors`` into a bundle, and how it is built into ``model.yaml``.

    Args:
        folder: of the bundle.
        model: of ``transformers``.
        config: that ``backbone_config`` returned for it.

    Raises:
        OSError: it cannot be written.
    """
    tensors = {
        f"backbone.depth_anything.{name}": value.detach().contiguous()
        for name, value in model.state_dict().items()
    }
    save_file(tensors, folder / BACKBONE_WEIGHTS)
    path = folder / DESCRIPTION
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    plain = asdict(config)
    content["backbone"] = {
        name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()
    }
    content["files"][BACKBONE_WEIGHTS] = file_digest(folder / BACKBONE_WEIGHTS)
    part = path.with_suffix(".part")
    part.write_text(
        yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100), encoding="utf-8"
    )
    part.replace(path)
