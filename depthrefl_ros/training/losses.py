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

"""The training losses. All of them work in log depth and ignore pixels without truth.

``truth`` is canonical depth in metres, (N, 1, H, W) float32; ``valid`` the bool mask of the
same shape. Sums are taken in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

GRADIENT_SCALES = 4


def masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Return the mean of ``values`` where ``valid``; 0 if nothing is valid."""
    weight = valid.to(values.dtype)
    return (values * weight).sum() / weight.sum().clamp(min=1.0)


def canonical_truth(
    depth_m: Tensor, focal_px: Tensor, canonical_focal_px: float, z_min_m: float, z_max_m: float
) -> tuple[Tensor, Tensor]:
    """Return canonical depth z_c = z f_c / f and the mask of labels inside the model's range.

    Args:
        depth_m: (N, 1, H, W) float32 metres, 0 where unknown.
        focal_px: (N,) focal lengths in pixels of the network's input.
        canonical_focal_px: f_c.
        z_min_m: nearest canonical depth of the model.
        z_max_m: farthest canonical depth of the model.
    """
    canonical = depth_m * (canonical_focal_px / focal_px)[:, None, None, None]
    valid = (canonical > z_min_m) & (canonical < z_max_m)
    return torch.where(valid, canonical, torch.ones_like(canonical)), valid


def normalise_per_image(values: Tensor, valid: Tensor, floor: float) -> Tensor:
    """Return values shifted to mean 0 and scaled to mean absolute deviation 1, per image.

    Mean and mean absolute deviation are over the valid pixels of each image; a deviation below
    ``floor`` counts as ``floor``, so that a bare wall is not blown up to noise.
    """
    weight = valid.to(values.dtype)
    count = weight.sum(dim=(1, 2, 3), keepdim=True).clamp(min=1.0)
    centred = values - (values * weight).sum(dim=(1, 2, 3), keepdim=True) / count
    deviation = (centred.abs() * weight).sum(dim=(1, 2, 3), keepdim=True) / count
    return centred / deviation.clamp(min=floor)


def relative_loss(relative: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Return the scale-and-shift-invariant loss of relative depth against log depth.

    Prediction and log truth are both brought to mean 0 and mean absolute deviation 1 (Ranftl et
    al. 2022, eq. 5 and 6, with the mean for the median); the loss is their mean absolute
    difference plus half the multi-scale gradient of the difference. A closed-form least-squares
    alignment would accept an inverted prediction (negative scale); this does not.
    """
    prediction = normalise_per_image(relative.float(), valid, floor=1e-3)
    target = normalise_per_image(truth.log(), valid, floor=0.05)
    difference = prediction - target
    gradient = gradient_loss(difference, valid)
    return masked_mean(difference.abs(), valid) + 0.5 * gradient


def gradient_loss(difference: Tensor, valid: Tensor, scales: int = GRADIENT_SCALES) -> Tensor:
    """Return the mean absolute x and y gradient of ``difference``, summed over ``scales``.

    Scale s keeps every 2^s-th pixel (Li and Snavely 2018, eq. 4). Only pairs of valid pixels
    count.
    """
    total = difference.new_zeros(())
    for scale in range(scales):
        step = 2**scale
        part, known = difference[..., ::step, ::step], valid[..., ::step, ::step]
        for axis in (-1, -2):
            size = part.shape[axis]
            if size < 2:
                continue
            change = part.narrow(axis, 1, size - 1) - part.narrow(axis, 0, size - 1)
            both = known.narrow(axis, 1, size - 1) & known.narrow(axis, 0, size - 1)
            total = total + masked_mean(change.abs(), both)
    return total


def silog_loss(depth: Tensor, truth: Tensor, valid: Tensor, balance: float = 0.85) -> Tensor:
    """Return 10 sqrt(mean(d^2) - balance mean(d)^2), d = log depth - log truth.

    Over all valid pixels of the batch together, as in Bhat et al. 2021 (AdaBins), eq. 4.
    """
    difference = depth.float().clamp(min=1e-3).log() - truth.log()
    mean = masked_mean(difference, valid)
    square = masked_mean(difference.square(), valid)
    return 10.0 * (square - balance * mean.square()).clamp(min=1e-6).sqrt()


def log_gradient_loss(depth: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Return the multi-scale gradient loss of log depth."""
    return gradient_loss(depth.float().clamp(min=1e-3).log() - truth.log(), valid)


def distillation_loss(
    depth: Tensor, sigma: Tensor, teacher_log_depth: Tensor, teacher_sigma: Tensor
) -> Tensor:
    """Return how far depth and sigma are from a teacher's, each as a mean absolute log ratio.

    Depth counts ten times, as in SILog; sigma, which nobody measures, once. Every pixel counts: the
    teacher has an answer where the truth is unknown.

    Args:
        depth: (N, 1, H, W) canonical metres.
        sigma: (N, 1, H, W) standard deviation of log depth.
        teacher_log_depth: (N, 1, H, W), log of canonical metres.
        teacher_sigma: (N, 1, H, W).
    """
    log_depth = depth.float().clamp(min=1e-3).log()
    log_ratio = sigma.float().log() - teacher_sigma.log()
    return 10.0 * (log_depth - teacher_log_depth).abs().mean() + log_ratio.abs().mean()


def soft_bin_targets(centres: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Return the lower neighbouring bin (N, 1, h, w) int64 and its weight in [0, 1].

    The truth z between centres c_j <= z <= c_(j+1) gets weight (c_(j+1) - z) / (c_(j+1) - c_j)
    at j and the rest at j + 1, so that the soft target's expectation is z. Truth beyond the
    outermost centres goes wholly to the outermost bin.
    """
    below = (centres <= truth).sum(dim=1, keepdim=True) - 1
    below = below.clamp(0, centres.shape[1] - 2)
    lower, upper = centres.gather(1, below), centres.gather(1, below + 1)
    weight = (upper - truth) / (upper - lower).clamp(min=1e-6)
    return below, weight.clamp(0.0, 1.0)


def bin_likelihood_loss(centres: Tensor, log_q: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Return the negative log-likelihood of the soft-binned truth.

    Args:
        centres: (N, K, h, w) ordered bin centres in canonical metres; no gradient goes to them.
        log_q: (N, K, h, w) log-probabilities of the bins.
        truth: (N, 1, h, w) canonical depth at the bins' resolution.
        valid: (N, 1, h, w) bool.
    """
    below, weight = soft_bin_targets(centres.detach().float(), truth)
    log_q = log_q.float()
    likelihood = weight * log_q.gather(1, below) + (1 - weight) * log_q.gather(1, below + 1)
    return masked_mean(-likelihood, valid)


def at_stride(truth: Tensor, valid: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return truth and mask sampled nearest at a coarser (h, w) ``size``."""
    coarse = functional.interpolate(truth, size=size, mode="nearest-exact")
    known = functional.interpolate(valid.to(truth.dtype), size=size, mode="nearest-exact")
    return coarse, known > 0.5
