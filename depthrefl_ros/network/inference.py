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

"""The network as engines run it: bytes in, three planes out, batch norms folded.

The ONNX files and the torch engine both come from here, so that they compute the same numbers.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from depthrefl_ros.network.model import DepthModel

OUTPUT_NAMES = ("depth", "sigma", "relative")


def fold_batch_norms(model: nn.Module) -> None:
    """Fold, in place, every batch norm that directly follows a convolution into it."""
    for module, conv, norm in folds(model).values():
        fused = fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm))
        setattr(module, conv, fused)
        setattr(module, norm, nn.Identity())


def folds(model: nn.Module) -> dict[str, tuple[nn.Module, str, str]]:
    """Return what can be folded, by the convolution's full name.

    Returns:
        The module that has both, and its names of the convolution and of the batch norm.
    """
    return {
        f"{name}.{conv}".lstrip("."): (module, conv, norm)
        for name, module in model.named_modules()
        for conv, norm in getattr(module, "folds", ())
        if hasattr(module, conv)
    }


def fold_scale(weight: Tensor, running_var: Tensor, eps: float) -> Tensor:
    """Return what folding multiplies a convolution's weights by, (channels, 1, 1, 1) float32.

    Args:
        weight: of the batch norm, (channels,).
        running_var: of the batch norm, (channels,).
        eps: of the batch norm.
    """
    return (weight.float() * torch.rsqrt(running_var.float() + eps)).view(-1, 1, 1, 1)


class InferenceModel(nn.Module):
    """A trained network prepared for inference; the given one stays as it was.

    Weights are rounded to half precision, in which the ONNX files store them, and computed with in
    ``dtype``. From the bins' cumulative sum to depth and sigma everything stays float32.

    Args:
        model: the network.
        dtype: ``torch.float32``, or ``torch.float16`` for strongly typed half-precision engines.
    """

    def __init__(self, model: DepthModel, dtype: torch.dtype = torch.float32):
        super().__init__()
        model = copy.deepcopy(model).cpu().float().eval()
        fold_batch_norms(model)
        model.backbone.fix_size(model.config.height, model.config.width)
        # Modules cast their buffers along with their parameters; the constants of the bins must
        # keep float32.
        constants = dict(model.named_buffers())
        model = model.half().to(dtype)
        for name, value in constants.items():
            owner, _, leaf = name.rpartition(".")
            if not isinstance(model.get_submodule(owner), nn.BatchNorm2d):
                setattr(model.get_submodule(owner), leaf, value)
        self.model = model.requires_grad_(False)
        self.dtype = dtype

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map (N, H, W, channels) uint8 to depth, sigma and relative, (N, 1, H, W) float32 each."""
        # Cast before the transpose: TensorRT-RTX refuses to transpose uint8.
        output = self.model(images.to(self.dtype).permute(0, 3, 1, 2))
        return output.depth, output.sigma, output.relative
