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

"""What each head of ``training/heads`` is trained by: its published loss, at stride 4.

``truth`` is canonical depth in units of z_max, (N, 1, h, w) float32 at the head's size; ``valid``
the bool mask of the same shape.
"""

from __future__ import annotations

from functools import singledispatch

import torch
from torch import Tensor, nn
from torch.nn import functional

from depthrefl_ros.training.heads import (
    AdaBins,
    DepthRegression,
    LocalBins,
    LogBinClassification,
    LogDepthControl,
    LogDepthRegression,
    OrdinalRegression,
    ReflectorHead,
)
from depthrefl_ros.training.heads.adaptive import centres_of_widths
from depthrefl_ros.training.losses import (
    bin_likelihood_loss,
    log_gradient_loss,
    masked_mean,
    silog_loss,
)
from depthrefl_ros.training.train_settings import TrainSettings

EIGEN_BALANCE = 0.5  # lambda of Eigen et al. 2014
BERHU_SHARE = 0.2  # c is this share of the largest error (Laina et al. 2016)
INFORMATION_GAIN = 0.2  # alpha of Cao et al. 2017
CHAMFER_WEIGHT = 0.1  # beta of Bhat et al. 2021
LOCAL_CHAMFER_WEIGHT = 0.02  # of the authors' code of Bhat et al. 2022
LOCAL_PLACES = 64  # pixels an image whose bins are compared with their surroundings
LOCAL_WINDOW = 7  # truth pixels on a side: 28 pixels of the image


@singledispatch
def head_loss(head: nn.Module, output, truth: Tensor, valid: Tensor) -> Tensor:
    """Return the scalar loss of a head's output; raises TypeError for a head that has none here."""
    raise TypeError(f"no loss is defined for {type(head).__name__}")


@head_loss.register
def _(head: LogDepthRegression, output, truth: Tensor, valid: Tensor) -> Tensor:
    return scale_invariant_loss(output.raw - truth.log(), valid)


@head_loss.register
def _(head: LogDepthControl, output, truth: Tensor, valid: Tensor) -> Tensor:
    # The reflector's losses less the one that needs bins.
    return silog_loss(output.depth, truth, valid) + TrainSettings.gradient_weight * (
        log_gradient_loss(output.depth, truth, valid)
    )


@head_loss.register
def _(head: DepthRegression, output, truth: Tensor, valid: Tensor) -> Tensor:
    return berhu_loss(output.raw - truth, valid)


@head_loss.register
def _(head: LogBinClassification, output, truth: Tensor, valid: Tensor) -> Tensor:
    return information_gain_loss(output.log_probabilities, head.labels(truth), valid)


@head_loss.register
def _(head: OrdinalRegression, output, truth: Tensor, valid: Tensor) -> Tensor:
    return ordinal_loss(output.logits, head.labels(truth), valid)


@head_loss.register
def _(head: AdaBins, output, truth: Tensor, valid: Tensor) -> Tensor:
    points, known = truth.flatten(1), valid.flatten(1)
    chamfer = chamfer_loss(output.centres[:, :, 0, 0], points, known)
    return silog_loss(output.depth, truth, valid) + CHAMFER_WEIGHT * chamfer


@head_loss.register
def _(head: LocalBins, output, truth: Tensor, valid: Tensor) -> Tensor:
    levels = [centres_of_widths(widths, head.near) for widths in output.widths]
    chamfer = local_chamfer_loss(levels, truth, valid)
    return silog_loss(output.depth, truth, valid) + LOCAL_CHAMFER_WEIGHT * chamfer


@head_loss.register
def _(head: ReflectorHead, output, truth: Tensor, valid: Tensor) -> Tensor:
    # What stage 2 trains with, at the weights that it has by default.
    likelihood = bin_likelihood_loss(output.centres, output.log_probabilities, truth, valid)
    return (
        silog_loss(output.depth, truth, valid)
        + TrainSettings.likelihood_weight * likelihood
        + TrainSettings.gradient_weight * log_gradient_loss(output.depth, truth, valid)
    )


def scale_invariant_loss(difference: Tensor, valid: Tensor) -> Tensor:
    """Return mean over images of mean(d^2) - 0.5 mean(d)^2 (Eigen et al. 2014, eq. 4).

    Args:
        difference: (N, 1, h, w) d, log depth less log truth.
        valid: (N, 1, h, w) bool.
    """
    weight = valid.to(difference.dtype)
    count = weight.sum(dim=(1, 2, 3)).clamp(min=1.0)
    square = (difference.square() * weight).sum(dim=(1, 2, 3)) / count
    mean = (difference * weight).sum(dim=(1, 2, 3)) / count
    return (square - EIGEN_BALANCE * mean.square()).mean()


def berhu_loss(difference: Tensor, valid: Tensor) -> Tensor:
    """Return the reverse Huber loss (Laina et al. 2016, eq. 1).

    abs(d) up to c, and (d^2 + c^2) / (2 c) beyond, with c a fifth of the largest error of the
    batch.

    Args:
        difference: (N, 1, h, w) d, depth less truth.
        valid: (N, 1, h, w) bool.
    """
    size = difference.abs()
    bend = BERHU_SHARE * torch.where(valid, size, torch.zeros_like(size)).max().detach()
    bend = bend.clamp(min=1e-6)
    return masked_mean(torch.where(size <= bend, size, (size**2 + bend**2) / (2 * bend)), valid)


def information_gain_matrix(bins: int) -> Tensor:
    """Return H (K, K), H(p, q) = exp(-0.2 (p - q)^2) (Cao et al. 2017)."""
    index = torch.arange(bins, dtype=torch.float32)
    return torch.exp(-INFORMATION_GAIN * (index[:, None] - index[None]).square())


def information_gain_loss(log_probabilities: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
    """Return mean of -sum_p H(l, p) log q_p (Cao et al. 2017, eq. 2).

    Args:
        log_probabilities: (N, K, h, w) log q.
        labels: (N, 1, h, w) int64, l.
        valid: (N, 1, h, w) bool.
    """
    gain = information_gain_matrix(log_probabilities.shape[1]).to(log_probabilities)
    weights = gain[labels[:, 0]].permute(0, 3, 1, 2)
    return masked_mean(-(weights * log_probabilities).sum(dim=1, keepdim=True), valid)


def ordinal_loss(logits: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
    """Return mean of -(sum_{k<l} log P_k + sum_{k>=l} log(1 - P_k)) (Fu et al. 2018, eq. 2).

    Args:
        logits: (N, K, h, w); sigmoid gives P_k.
        labels: (N, 1, h, w) int64, l.
        valid: (N, 1, h, w) bool.
    """
    index = torch.arange(logits.shape[1], device=logits.device).reshape(1, -1, 1, 1)
    is_beyond = (index < labels).to(logits.dtype)
    terms = functional.binary_cross_entropy_with_logits(logits, is_beyond, reduction="none")
    return masked_mean(terms.sum(dim=1, keepdim=True), valid)


def chamfer_loss(centres: Tensor, points: Tensor, known: Tensor) -> Tensor:
    """Return the mean squared distance from points to the nearest centre, and back.

    Chamfer (Bhat et al. 2021, eq. 5), each direction as a mean, as in the authors' code; sets
    without a known point count 0.

    Args:
        centres: (M, K) of M sets.
        points: (M, P) true depths.
        known: (M, P) bool, which of them are known.
    """
    distance = (centres[:, :, None] - points[:, None]).square()
    to_centre = distance.amin(dim=1)
    weight = known.to(centres.dtype)
    count = weight.sum(dim=1)
    from_points = (to_centre * weight).sum(dim=1) / count.clamp(min=1.0)
    masked = torch.where(known[:, None], distance, torch.full_like(distance, torch.inf))
    is_any = count > 0
    to_point = masked.amin(dim=2)
    from_centres = torch.where(is_any[:, None], to_point, torch.zeros_like(to_point)).mean(dim=1)
    return ((from_points + from_centres) * is_any).sum() / is_any.sum().clamp(min=1)


def local_chamfer_loss(levels: list[Tensor], truth: Tensor, valid: Tensor) -> Tensor:
    """Return the bins of single pixels against the truth around them, summed over levels.

    LocalBins (Bhat et al. 2022) compares a pixel's bins with the depths in windows of five sizes;
    here in one, 28 pixels of the image wide, at random pixels (of torch's global generator).

    Args:
        levels: (N, K_l, h_l, w_l) centres of every level.
        truth: (N, 1, h, w) with h, w multiples of every h_l, w_l.
        valid: (N, 1, h, w) bool.
    """
    batch, _, height, width = truth.shape
    y = torch.randint(height, (batch, LOCAL_PLACES), device=truth.device)
    x = torch.randint(width, (batch, LOCAL_PLACES), device=truth.device)
    places = (y * width + x)[:, None].expand(-1, LOCAL_WINDOW**2, -1)

    def around(plane: Tensor) -> Tensor:
        windows = functional.unfold(plane, LOCAL_WINDOW, padding=LOCAL_WINDOW // 2)
        return windows.gather(2, places).transpose(1, 2).flatten(0, 1)

    points, known = around(truth), around(valid.to(truth.dtype)) > 0.5
    total = truth.new_zeros(())
    for centres in levels:
        rows, columns = centres.shape[2:]
        place = (y * rows // height) * columns + x * columns // width
        place = place[:, None].expand(-1, centres.shape[1], -1)
        chosen = centres.flatten(2).gather(2, place).transpose(1, 2).flatten(0, 1)
        total = total + chamfer_loss(chosen, points, known)
    return total
