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

"""Stage 1: an image becomes features at strides 4 to 32 and a relative depth.

The encoder is EfficientNet-Lite (Tan & Le 2019, the Lite variant without squeeze-and-excitation and
with ReLU6). Its parameters carry the names of the public ImageNet weights (``_conv_stem``,
``_blocks.N._expand_conv``...), so that those load without a translation table. A block's ``folds``
are the pairs of convolution and batch norm that directly follow each other (see ``inference``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from depthrefl_ros.network.backbone import NO_HINTS, BackboneFeatures
from depthrefl_ros.network.ops import hinted, resize
from depthrefl_ros.network.relative import RelativeHead

# (kernel, stride, expansion, channels, repeats) of EfficientNet-B0, which Lite0 shares.
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
# (width multiplier, depth multiplier) of the Lite family.
_ENCODERS = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2)}
_STRIDES = (4, 8, 16, 32)


@dataclass(frozen=True)
class EfficientNetLiteConfig:
    """What an EfficientNet-Lite backbone is built from.

    Attributes:
        encoder: ``lite0``, ``lite1`` or ``lite2``.
        bottleneck_channels: channels of the bottleneck at stride 32, global context included.
        decoder_channels: channels of the decoder blocks, coarse (stride 32) to fine (stride 4).
        head_channels: channels of the last feature of the relative head, at stride 4.

    Raises:
        ValueError: a name or a number that no backbone can be built from.
    """

    stride: ClassVar[int] = _STRIDES[-1]
    takes_hints: ClassVar[bool] = True

    encoder: str = "lite0"
    bottleneck_channels: int = 256
    decoder_channels: tuple[int, int, int, int] = (160, 128, 96, 64)
    head_channels: int = 32

    def __post_init__(self) -> None:
        if self.encoder not in _ENCODERS:
            raise ValueError(f"encoder is {self.encoder!r}; known are {sorted(_ENCODERS)}")
        object.__setattr__(self, "decoder_channels", tuple(self.decoder_channels))
        if len(self.decoder_channels) != len(_STRIDES):
            raise ValueError(
                f"decoder_channels is {self.decoder_channels}; four levels are needed, "
                "strides 32, 16, 8 and 4"
            )
        widths = (self.bottleneck_channels, *self.decoder_channels, self.head_channels)
        if min(widths) < 1:
            raise ValueError(f"channels must be positive, got {widths}")


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding, which the public weights were trained with.

    At stride 2 on an even size SAME pads the bottom and the right side only; symmetric padding
    would shift every feature map by half a pixel against the weights.
    """

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', ceil(H / stride), ceil(W / stride))."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        pads = []
        for size in (image.shape[3], image.shape[2]):
            total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return super().forward(functional.pad(image, pads) if any(pads) else image)


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class InvertedResidual(nn.Module):
    """Inverted residual block (Sandler et al. 2018) as in EfficientNet-Lite: no squeeze-excite."""

    folds = (
        ("_expand_conv", "_bn0"),
        ("_depthwise_conv", "_bn1"),
        ("_project_conv", "_bn2"),
    )

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        hidden = inputs * expansion
        self.expands = expansion != 1
        self.is_residual = stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv = SameConv2d(inputs, hidden, 1, bias=False)
            self._bn0 = _batch_norm(hidden)
        self._depthwise_conv = SameConv2d(
            hidden, hidden, kernel, stride=stride, groups=hidden, bias=False
        )
        self._bn1 = _batch_norm(hidden)
        self._project_conv = SameConv2d(hidden, outputs, 1, bias=False)
        self._bn2 = _batch_norm(outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        hidden = features
        if self.expands:
            hidden = functional.relu6(self._bn0(self._expand_conv(hidden)))
        hidden = functional.relu6(self._bn1(self._depthwise_conv(hidden)))
        hidden = self._bn2(self._project_conv(hidden))
        return hidden + features if self.is_residual else hidden


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite without its classifier.

    Attributes:
        channels: channels of the features at strides 4, 8, 16 and 32.
    """

    folds = (("_conv_stem", "_bn0"),)

    def __init__(self, name: str):
        super().__init__()
        width, depth = _ENCODERS[name]
        channels = 32  # Lite keeps the stem unscaled.
        self._conv_stem = SameConv2d(3, channels, 3, stride=2, bias=False)
        self._bn0 = _batch_norm(channels)
        self._blocks = nn.ModuleList()
        stride = 2
        last_of_stride: dict[int, tuple[int, int]] = {}
        for index, (kernel, step, expansion, base, repeats) in enumerate(_STAGES):
            outputs = _round_channels(base * width)
            # Lite keeps the first and the last stage unrepeated.
            is_outer = index in (0, len(_STAGES) - 1)
            for repeat in range(repeats if is_outer else math.ceil(repeats * depth)):
                block_step = step if repeat == 0 else 1
                stride *= block_step
                self._blocks.append(
                    InvertedResidual(channels, outputs, kernel, block_step, expansion)
                )
                channels = outputs
                last_of_stride[stride] = (len(self._blocks) - 1, outputs)
        self._taps = {last_of_stride[s][0] for s in _STRIDES}
        self.channels = tuple(last_of_stride[s][1] for s in _STRIDES)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map (N, 3, H, W) normalised RGB to features at strides 4, 8, 16 and 32."""
        hidden = functional.relu6(self._bn0(self._conv_stem(image)))
        features = []
        for index, block in enumerate(self._blocks):
            hidden = block(hidden)
            if index in self._taps:
                features.append(hidden)
        return features


def _round_channels(channels: float) -> int:
    """Round to a multiple of 8, never down by more than a tenth (EfficientNet's rule)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


class GlobalContext(nn.Module):
    """Narrows the coarsest feature and adds the image's mean feature to every place.

    The absolute scale of a room is a property of the whole picture; a 6 x 8 feature map sees it
    only in part.
    """

    folds = (("local", "normalise"),)

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.local = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.normalise = nn.BatchNorm2d(outputs)
        self.whole = nn.Conv2d(inputs, outputs, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, inputs, h, w) to (N, outputs, h, w)."""
        whole = self.whole(features.mean(dim=(2, 3), keepdim=True))
        return functional.relu(self.normalise(self.local(features)) + whole)


class DecoderBlock(nn.Module):
    """Adds an encoder feature to the upsampled coarser block and blends the two by a 3x3."""

    folds = (("blend", "normalise_blend"),)

    def __init__(self, skip: int, coarser: int, outputs: int):
        super().__init__()
        self.lateral = nn.Conv2d(skip, outputs, 1, bias=False)
        self.descend = nn.Conv2d(coarser, outputs, 1, bias=False)
        self.normalise_sum = nn.BatchNorm2d(outputs)
        self.blend = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.normalise_blend = nn.BatchNorm2d(outputs)

    def forward(self, skip: Tensor, coarser: Tensor, hint: Tensor | None = None) -> Tensor:
        """Map (N, skip, h, w) and the coarser block to (N, outputs, h, w), as the hint is."""
        # The 1x1 runs before the upsampling, on a quarter of the pixels; the two commute.
        descended = resize(self.descend(coarser), skip)
        hidden = self.normalise_sum(self.lateral(skip) + descended)
        hidden = functional.relu(hinted(hidden, hint))
        return functional.relu(self.normalise_blend(self.blend(hidden)))


class EfficientNetLiteBackbone(nn.Module):
    """Encoder, pyramid decoder and relative head; a ``backbone.Backbone``."""

    stride = EfficientNetLiteConfig.stride

    def __init__(self, config: EfficientNetLiteConfig):
        super().__init__()
        self.bottleneck_channels = config.bottleneck_channels
        self.block_channels = config.decoder_channels
        self.head_channels = config.head_channels
        self.encoder = EfficientNetLite(config.encoder)
        self.context = GlobalContext(self.encoder.channels[-1], config.bottleneck_channels)
        coarser = (config.bottleneck_channels, *config.decoder_channels[:-1])
        self.decoder = nn.ModuleList(
            DecoderBlock(skip, above, outputs)
            for skip, above, outputs in zip(
                reversed(self.encoder.channels), coarser, config.decoder_channels, strict=True
            )
        )
        self.relative_head = RelativeHead(config.decoder_channels[-1], config.head_channels)

    def forward(self, image: Tensor, hints: Sequence[Tensor | None] = NO_HINTS) -> BackboneFeatures:
        """Map (N, 3, H, W) normalised RGB, H and W multiples of 32, to ``BackboneFeatures``.

        Args:
            image: what is seen.
            hints: added to the bottleneck and to each decoder block, as ``mount.Hints.deep`` is.
        """
        features = self.encoder(image)
        bottleneck = hinted(self.context(features[-1]), hints[0])
        blocks = []
        block = bottleneck
        for skip, decode, hint in zip(reversed(features), self.decoder, hints[1:], strict=True):
            block = decode(skip, block, hint)
            blocks.append(block)
        head, relative = self.relative_head(block)
        return BackboneFeatures(bottleneck, tuple(blocks), head, relative)

    def fix_size(self, height: int, width: int) -> None:
        """Prepare for inference on images of this size (pixels): nothing to do."""

    def prepare_for_export(self) -> None:
        """Replace what exports badly: nothing here."""

    @staticmethod
    def normalise(image: Tensor) -> Tensor:
        """Map RGB in 0..255 to what the ImageNet weights expect: (v - 127) / 128."""
        return (image - 127.0) * (1.0 / 128.0)
