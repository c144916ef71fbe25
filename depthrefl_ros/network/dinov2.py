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

"""The large backbone: DINOv2 (Oquab et al. 2023) under a DPT neck and head (Ranftl et al. 2021).

The layers are those of the ``transformers`` package, which is imported only when such a backbone is
built. Nothing of it is changed, so that the weights of Depth Anything and of ``dpt-dinov2-*`` fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from depthrefl_ros.network.backbone import BackboneFeatures
from depthrefl_ros.network.ops import constant, enlarge, resize

# ImageNet's colours, which DINOv2 was trained with, in units of 0..255.
_MEAN = tuple(255.0 * value for value in (0.485, 0.456, 0.406))
_SCALE = tuple(1.0 / (255.0 * deviation) for deviation in (0.229, 0.224, 0.225))
_PATCH = 14

# Depth Anything V2 Small.
_SMALL = {
    "hidden_size": 384,
    "num_attention_heads": 6,
    "num_hidden_layers": 12,
    "mlp_ratio": 4,
    "image_size": 518,
    "out_indices": (3, 6, 9, 12),
    "neck_hidden_sizes": (48, 96, 192, 384),
    "fusion_hidden_size": 64,
    "head_hidden_size": 32,
}
SMALL, OTHER = "dinov2_small", "dinov2"
DEPTH_ANYTHING, DPT = "depth_anything", "dpt"
# Of all the forms of transformers' DPT, that of the networks of DINOv2's authors.
DPT_FORM = {
    "readout_type": "project",
    "hidden_act": "gelu",
    "add_projection": True,
    "use_batch_norm_in_fusion_residual": False,
    "use_bias_in_fusion_residual": False,
}
DPT_WIDTHS = {"fusion_hidden_size": 256, "head_hidden_size": 32}  # constants of the class


@dataclass(frozen=True)
class DinoV2Config:
    """What a DINOv2 backbone is built from.

    Attributes:
        encoder: ``dinov2_small``, Depth Anything V2 Small, whose sizes need not be told; or
            ``dinov2``, whose sizes are those below.
        hidden_size: channels of the encoder.
        num_attention_heads: of each layer.
        num_hidden_layers: of the encoder.
        mlp_ratio: inner over outer channels of a layer's perceptron.
        image_size: pixels of the square images that the position embedding is of.
        out_indices: layers that feed the neck, counted from 1.
        neck_hidden_sizes: channels of the neck's four levels, fine to coarse.
        fusion_hidden_size: channels of the fused levels.
        head_hidden_size: channels of the head's last feature.
        farther_is_larger: whether the head's number grows away from the camera, as that of metric
            networks does; that of relative ones grows toward it.
        neck: ``depth_anything``, Depth Anything's neck and head; or ``dpt``, those of
            ``dpt-dinov2-*``, which read the token of the whole image at each level.
        use_swiglu_ffn: whether the encoder's perceptrons are gated, as the giant one's are.

    Raises:
        ValueError: the encoder or the neck is unknown, or a size is missing or not theirs.
    """

    stride: ClassVar[int] = _PATCH
    takes_hints: ClassVar[bool] = False

    encoder: str = SMALL
    hidden_size: int | None = None
    num_attention_heads: int | None = None
    num_hidden_layers: int | None = None
    mlp_ratio: int | None = None
    image_size: int | None = None
    out_indices: tuple[int, ...] | None = None
    neck_hidden_sizes: tuple[int, ...] | None = None
    fusion_hidden_size: int | None = None
    head_hidden_size: int | None = None
    farther_is_larger: bool = False
    neck: str = DEPTH_ANYTHING
    use_swiglu_ffn: bool = False

    def __post_init__(self) -> None:
        if self.encoder not in (SMALL, OTHER):
            raise ValueError(f"encoder is {self.encoder!r}; known are {[OTHER, SMALL]}")
        if self.neck not in (DEPTH_ANYTHING, DPT):
            raise ValueError(f"neck is {self.neck!r}; known are {[DEPTH_ANYTHING, DPT]}")
        if self.encoder == SMALL and (self.neck != DEPTH_ANYTHING or self.use_swiglu_ffn):
            raise ValueError(f"encoder {SMALL} is Depth Anything's; take {OTHER} for another form")
        for name, usual in _SMALL.items():
            value = getattr(self, name)
            value = tuple(value) if isinstance(value, list) else value
            if value is None and self.encoder == OTHER:
                raise ValueError(f"{name} is missing; encoder {OTHER} needs it")
            if self.encoder == SMALL and value not in (None, usual):
                raise ValueError(f"{name} is {value}; encoder {SMALL} has {usual}")
            object.__setattr__(self, name, usual if value is None else value)
        for name, only in DPT_WIDTHS.items() if self.neck == DPT else ():
            if getattr(self, name) != only:
                raise ValueError(f"{name} is {getattr(self, name)}; neck {DPT} has {only}")


class DinoV2Backbone(nn.Module):
    """DINOv2, DPT neck and relative head; a ``backbone.Backbone``.

    The blocks are the neck's at strides 28, 14, 7 and 3.5. Its last one, at stride 1.75, feeds the
    relative head only: a reflector there would cost more than all the rest. Where a side is an odd
    number of patches, the blocks of neck ``dpt`` are those of one patch more.

    Raises:
        ImportError: ``transformers`` is not installed.
    """

    stride = _PATCH

    def __init__(self, config: DinoV2Config):
        super().__init__()
        self.head_channels = config.head_hidden_size
        self.bottleneck_channels = config.neck_hidden_sizes[-1]
        self.block_channels = (config.fusion_hidden_size,) * 4
        self._sign = 1.0 if config.farther_is_larger else -1.0
        # Its name is part of the names of all weights.
        self._name = config.neck
        self.add_module(self._name, _public_network(config))

    @property
    def network(self) -> nn.Module:
        """The network of ``transformers``."""
        return getattr(self, self._name)

    def forward(self, image: Tensor) -> BackboneFeatures:
        """Map (N, 3, H, W) normalised RGB, H and W multiples of 14, to ``BackboneFeatures``."""
        bottleneck, blocks, finest = self.neck(image)
        head, relative = self._relative(finest, image)
        # The reflector works at the last block's stride, not at the image's.
        return BackboneFeatures(bottleneck, blocks, resize(head, blocks[-1]), relative)

    def neck(self, image: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor, Tensor], Tensor]:
        """Run encoder and neck alone.

        Args:
            image: (N, 3, H, W) normalised RGB.

        Returns:
            The bottleneck at stride 28; the blocks at strides 28, 14, 7 and 3.5; the neck's finest
            output at stride 1.75.
        """
        model = self.network
        patches = (image.shape[2] // _PATCH, image.shape[3] // _PATCH)
        tokens = model.backbone(image).feature_maps
        maps = model.neck.reassemble_stage(list(tokens), *patches)
        narrowed = [conv(feature) for conv, feature in zip(model.neck.convs, maps, strict=True)]
        *fused, finest = model.neck.fusion_stage(narrowed)
        return maps[-1], (narrowed[-1], *fused), finest

    def _relative(self, finest: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Run the network's head to its last feature and to relative depth.

        Args:
            finest: (N, C, h, w), the neck's.
            image: of whose height and width the relative depth is.

        Returns:
            The feature, (N, C, h', w'), and near to far in (0, 1), (N, 1, H, W).
        """
        # Without the ReLU that follows in the public networks the far background, or the near
        # foreground of metric ones, keeps its order.
        head = self.network.head
        if self._name == DPT:
            feature = head.head[:4](torch.relu(head.projection(finest)))
            plane = enlarge(head.head[4](feature), image)
            # Metres would saturate a sigmoid within one room.
            return feature, 0.5 + 0.5 * nn.functional.softsign(self._sign * plane)
        widened = nn.functional.interpolate(
            head.conv1(finest), size=image.shape[2:], mode="bilinear", align_corners=True
        )
        feature = head.activation1(head.conv2(widened))
        return feature, torch.sigmoid(self._sign * head.conv3(feature))

    def fix_size(self, height: int, width: int) -> None:
        """Resize the position embedding once, in place, for images of this size (pixels).

        In an exported graph a bicubic resize of a constant would otherwise run for every frame.
        """
        encoder = self.network.backbone
        encoder.embeddings = _FixedSizeEmbeddings(encoder.embeddings, height, width)

    def prepare_for_export(self) -> None:
        """Compute attention as products and a softmax, in place, for exported graphs.

        Torch's fused attention is faster in torch, but exported it becomes a softmax that guards
        each layer against NaN: OpenVINO is 10 % slower with it.
        """
        self.network.backbone.set_attn_implementation("eager")

    @staticmethod
    def normalise(image: Tensor) -> Tensor:
        """Map RGB in 0..255 to ImageNet's zero mean and unit deviation, channel by channel."""
        mean, scale = (constant(_by_channel, values, like=image) for values in (_MEAN, _SCALE))
        return (image - mean) * scale


def _by_channel(values: tuple[float, ...]) -> np.ndarray:
    """Return the values as (1, C, 1, 1) float32."""
    return np.array(values, np.float32).reshape(1, -1, 1, 1)


def _public_network(config: DinoV2Config) -> nn.Module:
    """Build the network of ``transformers`` that a configuration describes.

    Raises:
        ImportError: ``transformers`` is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise ImportError(
            f"encoder {config.encoder} needs the package transformers ({error}): "
            "pip install transformers"
        ) from error
    encoder = (
        "hidden_size", "num_attention_heads", "num_hidden_layers", "mlp_ratio", "image_size",
        "use_swiglu_ffn",
    )  # fmt: skip
    sizes: dict[str, Any] = {
        "backbone_config": {
            "model_type": "dinov2",
            "reshape_hidden_states": False,
            "apply_layernorm": config.neck == DEPTH_ANYTHING,
            "out_indices": list(config.out_indices),
            **{name: getattr(config, name) for name in encoder},
        },
        "neck_hidden_sizes": list(config.neck_hidden_sizes),
        "fusion_hidden_size": config.fusion_hidden_size,
    }
    if config.neck == DPT:
        # A dictionary would be taken for the description of another encoder here.
        sizes["backbone_config"] = transformers.Dinov2Config(**sizes["backbone_config"])
        return transformers.DPTForDepthEstimation(transformers.DPTConfig(**sizes, **DPT_FORM))
    return transformers.DepthAnythingForDepthEstimation(
        transformers.DepthAnythingConfig(
            **sizes,
            reassemble_hidden_size=config.hidden_size,
            head_hidden_size=config.head_hidden_size,
        )
    )


class _FixedSizeEmbeddings(nn.Module):
    """The encoder's first step with its position embedding already resized.

    Args:
        embeddings: the encoder's own.
        height: of the images, pixels.
        width: of the images, pixels.
    """

    def __init__(self, embeddings: nn.Module, height: int, width: int):
        super().__init__()
        self.patch_embeddings = embeddings.patch_embeddings
        whole, channels = embeddings.cls_token, embeddings.cls_token.shape[2]
        # The method asks the tokens for their number and channels only.
        tokens = whole.new_empty(1, 1 + (height // _PATCH) * (width // _PATCH), channels)
        with torch.no_grad():
            position = embeddings.interpolate_pos_encoding(tokens, height, width)
            self.whole = nn.Parameter(whole + position[:, :1])
            self.position = nn.Parameter(position[:, 1:].clone())

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, 3, H, W) to tokens (N, 1 + H W / 14^2, C), that of the whole image first."""
        patches = self.patch_embeddings(image) + self.position
        return torch.cat([self.whole.expand(patches.shape[0], -1, -1), patches], dim=1)
