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

"""Self-distillation: what earlier networks, taken together, say about an augmented image.

An ensemble errs less than its members, and it has an answer where the truth is unknown. A student
that learns from both is one network with a part of the ensemble's gain (Hinton et al. 2015).
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
import yaml
from torch import Tensor
from torch.nn import functional

from depthrefl_ros.geometry.floor_plane import BYTES_PER_LOG
from depthrefl_ros.network.checkpoints import CheckpointError, load_weights
from depthrefl_ros.network.model import DepthModel, ModelConfig, create_model

# What says how the network of a weights file is built, and where in it.
_RECORDS = (
    ("state.json", "model"),
    ("metrics.json", "model"),
    ("model.yaml", "architecture"),
)


class Teacher:
    """One or several trained networks that answer together.

    Args:
        weights: safetensors, each beside the record of its checkpoint, run or bundle.
        focal_px: the student's canonical focal length, pixels of its own input.

    Raises:
        CheckpointError: a file is missing, or its architecture is not known or does not fit.
    """

    def __init__(self, weights: list[Path], focal_px: float):
        self.focal_px = focal_px
        # Channels innermost is what oneDNN and cuDNN are fastest with.
        self.models = [load_teacher(path).to(memory_format=torch.channels_last) for path in weights]

    @torch.no_grad()
    def targets(
        self, image: Tensor, orientations: tuple[bool, ...] = (False, True)
    ) -> tuple[Tensor, Tensor]:
        """Predict each image, and by default its mirror image, with each network.

        Args:
            image: (N, 3 or 4, H, W) uint8, as the student sees it; a network that takes no mount
                sees RGB alone, and one that does is told what the student is told.
            orientations: whether the image is mirrored, for each view of it.

        Returns:
            The mean of log canonical depth, as the student's camera has it, and sigma: the root of
            the networks' mean variance plus the variance between their answers. Both (N, 1, H, W)
            float32.
        """
        views = [
            (log_depth.flip(3), sigma.flip(3)) if is_mirrored else (log_depth, sigma)
            for model in self.models
            for is_mirrored in orientations
            for log_depth, sigma in [
                predict(model, image.flip(3) if is_mirrored else image, self.focal_px)
            ]
        ]
        log_depths = torch.stack([log_depth for log_depth, _ in views])
        variance = torch.stack([sigma for _, sigma in views]).square().mean(dim=0)
        variance = variance + log_depths.var(dim=0, unbiased=False)
        return log_depths.mean(dim=0), variance.sqrt()


def mix_images(image: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Blend some images of a batch with others of it: pictures that nobody has taken.

    A teacher is a function of every image. Where it was trained on the very images that the student
    sees, it says little there but what the labels say; on mixtures (Zhang et al. 2018) it says how
    it goes on between them, which is what a student is to learn (Beyer et al. 2022).

    Args:
        image: (N, 3 or 4, H, W) uint8 RGB, and perhaps the mount's plane.
        share: of the images that become mixtures, 0 to 1.

    Returns:
        The batch, of the same shape, with the mixtures in it, which have no mount, and the (N,)
        bool mask of them.
    """
    count = len(image)
    # Drawn on the CPU, whose random state a checkpoint keeps.
    is_mixed = torch.zeros(count, dtype=torch.bool)
    is_mixed[torch.randperm(count)[: round(share * count)]] = True
    weight = (0.3 + 0.4 * torch.rand(count, 1, 1, 1)).to(image.device)
    is_mixed = is_mixed.to(image.device)
    blend = (weight * image + (1 - weight) * image.roll(1, dims=0)).round().to(image.dtype)
    blend[:, 3:] = 0
    return torch.where(is_mixed[:, None, None, None], blend, image), is_mixed


def predict(model: DepthModel, image: Tensor, focal_px: float) -> tuple[Tensor, Tensor]:
    """Log canonical depth and sigma of one network, at the image's size.

    A network of another input size sees the image resized, through a focal length that grows with
    the width. Canonical depth is z f_c / f in either: the network's is f_m W / (w f_c) times that
    of the image's canonical camera, f_m and w the network's canonical focal length and width.

    Args:
        model: in evaluation mode.
        image: (N, 3 or 4, H, W) uint8 RGB, and perhaps the mount's plane, in canonical metres.
        focal_px: f_c, the canonical focal length of plane and result, pixels of the image.

    Returns:
        Two tensors (N, 1, H, W) float32.
    """
    model.to(image.device)
    size = (model.config.height, model.config.width)
    log_ratio = math.log(model.config.focal_px * image.shape[3] / (size[1] * focal_px))
    pixels, plane = image[:, :3].float(), image[:, 3:].float()
    if tuple(image.shape[2:]) != size:
        pixels = functional.interpolate(pixels, size=size, mode="bilinear", antialias=True)
        if plane.shape[1]:  # nearest: a mean of bytes across the horizon is the depth of nothing
            plane = functional.interpolate(plane, size=size, mode="nearest-exact")
    if model.config.mount:
        known = torch.zeros_like(pixels[:, :1])
        if plane.shape[1]:
            moved = (plane + log_ratio * BYTES_PER_LOG).round().clamp(1.0, 255.0)
            known = torch.where(plane > 0.0, moved, known)
        pixels = torch.cat([pixels, known], dim=1)
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    with torch.autocast(image.device.type, torch.bfloat16):
        output = model(pixels)
    planes = (output.depth.float().clamp(min=1e-3).log() - log_ratio, output.sigma.float())
    if tuple(image.shape[2:]) == size:
        return planes
    return tuple(functional.interpolate(p, size=image.shape[2:], mode="bilinear") for p in planes)


def load_teacher(weights: Path) -> DepthModel:
    """Return the network of a weights file, in evaluation mode.

    Raises:
        CheckpointError: the file or its record is missing or damaged.
    """
    for name, key in _RECORDS:
        record = weights.parent / name
        if record.is_file():
            text = record.read_text()
            content = json.loads(text) if record.suffix == ".json" else yaml.safe_load(text)
            if key not in content:
                raise CheckpointError(
                    f"{record} has no {key}: the network of {weights.name} is not one of ours"
                )
            model = create_model(ModelConfig.from_dict(content[key]))
            load_weights(weights, model)
            return model.eval().requires_grad_(False)
    known = ", ".join(name for name, _ in _RECORDS)
    raise CheckpointError(
        f"{weights}: nothing beside it says how its network is built; one of {known} is needed"
    )
