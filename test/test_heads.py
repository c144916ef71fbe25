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

import math

import pytest
import torch

from depthrefl_ros.network.backbone import BackboneFeatures
from depthrefl_ros.network.model import ModelConfig, create_model
from depthrefl_ros.network.ops import resize
from depthrefl_ros.network.reflector import MINIMUM_SIGMA
from depthrefl_ros.training.head_losses import head_loss
from depthrefl_ros.training.heads import (
    HEADS,
    DepthRegression,
    HeadModel,
    HeadSizes,
    LogBinClassification,
    OrdinalRegression,
    create_head,
)
from depthrefl_ros.training.heads.adaptive import centres_of_widths, split_bins
from depthrefl_ros.training.heads.classification import spacing_increasing_thresholds
from depthrefl_ros.training.heads.trunk import log_sigma

CHANNELS = (12, 10, 8, 6)
GRID = (16, 24)
SIZES = HeadSizes(16, CHANNELS, 5, GRID, 0.15, 24.0, bins=32, embedding=8, hidden=16)


def random_features(scale: float = 1.0) -> BackboneFeatures:
    sizes = [(2, 3), (4, 6), (8, 12), GRID]
    return BackboneFeatures(
        bottleneck=scale * torch.randn(2, 16, 2, 3),
        blocks=tuple(
            scale * torch.randn(2, c, *size) for c, size in zip(CHANNELS, sizes, strict=True)
        ),
        head=scale * torch.randn(2, 5, *GRID),
        relative=torch.rand(2, 1, *GRID),
    )


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_every_head_gives_depth_in_range_and_a_positive_sigma(name, scale):
    torch.manual_seed(0)
    output = create_head(name, SIZES)(random_features(scale))
    assert output.depth.shape == (2, 1, *GRID) and output.depth.dtype == torch.float32
    assert output.depth.min() >= SIZES.near * 0.9999 and output.depth.max() <= 1.0001
    if "regression" in name:
        assert output.sigma is None
    else:
        assert output.sigma.shape == output.depth.shape
        assert torch.isfinite(output.sigma).all() and output.sigma.min() >= MINIMUM_SIGMA


@pytest.mark.parametrize("name", HEADS)
def test_the_loss_reaches_every_parameter(name):
    torch.manual_seed(1)
    head = create_head(name, SIZES)
    truth, valid = 0.05 + 0.3 * torch.rand(2, 1, *GRID), torch.rand(2, 1, *GRID) > 0.2
    head_loss(head, head(random_features()), truth, valid).backward()
    idle = [n for n, p in head.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle


@pytest.mark.parametrize("name", HEADS)
def test_autocast_keeps_depth_in_full_precision(name):
    torch.manual_seed(2)
    head, features = create_head(name, SIZES), random_features()
    exact = head(features)
    with torch.autocast("cpu", torch.bfloat16):
        output = head(features)
    assert output.depth.dtype == torch.float32
    close = ((output.depth / exact.depth).log().abs() < 0.1).float().mean()
    assert close > 0.95


@pytest.mark.parametrize("name", HEADS)
def test_every_head_learns_a_constant(name):
    torch.manual_seed(3)
    head, features = create_head(name, SIZES), random_features()
    truth, valid = torch.full((2, 1, *GRID), 0.1), torch.ones(2, 1, *GRID, dtype=torch.bool)
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        head_loss(head, head(features), truth, valid).backward()
        optimizer.step()
    error = (head(features).depth / truth).log().abs().mean()
    assert error < 0.15


def test_an_unknown_head_is_named():
    with pytest.raises(ValueError, match="'hourglass'; known are log_regression"):
        create_head("hourglass", SIZES)


@pytest.mark.parametrize(
    "changes, named", [({"bins": 24}, "bins is 24"), ({"z_min_m": 30.0}, "got 30.0 and 24.0")]
)
def test_sizes_that_cannot_be_are_named(changes, named):
    with pytest.raises(ValueError, match=named):
        HeadSizes(16, CHANNELS, 5, GRID, **{"z_min_m": 0.15, "z_max_m": 24.0, **changes})


def test_adabins_says_when_the_grid_has_too_few_tokens():
    sizes = HeadSizes(16, CHANNELS, 5, (8, 8), 0.15, 24.0, embedding=8)
    with pytest.raises(ValueError, match="gives 4 tokens"):
        create_head("adabins", sizes)


def test_regression_of_depth_trains_what_is_out_of_range():
    head = DepthRegression(SIZES)
    with torch.no_grad():
        head.predict[-1].bias.fill_(5.0)
    output = head(random_features())
    assert output.depth.max() == 1.0 and output.raw.min() > 1.0


def test_depth_of_a_classification_is_the_mean_of_log_bins():
    head = LogBinClassification(SIZES)
    with torch.no_grad():
        head.predict[-1].weight.zero_()
        head.predict[-1].bias.fill_(-100.0)
        head.predict[-1].bias[[10, 12]] = 0.0
    output = head(random_features())
    width = math.log(24.0 / 0.15) / 32
    middle = 0.15 * math.exp(11.5 * width)
    assert output.depth[0, 0, 0, 0].item() * 24.0 == pytest.approx(middle, rel=1e-4)
    sigma = math.sqrt(width**2 + MINIMUM_SIGMA**2)
    assert output.sigma[0, 0, 0, 0].item() == pytest.approx(sigma, rel=1e-4)


def test_labels_of_log_bins():
    head = LogBinClassification(SIZES)
    width = math.log(24.0 / 0.15) / 32
    depth_m = [0.15, 0.15 * math.exp(0.9 * width), 0.15 * math.exp(1.1 * width), 23.99, 30.0, 0.1]
    labels = head.labels(torch.tensor(depth_m).reshape(1, 1, 1, -1) / 24.0).flatten().tolist()
    assert labels[1:] == [0, 1, 31, 31, 0] and labels[0] == 0


def test_spacing_increases_by_a_constant_ratio():
    thresholds = spacing_increasing_thresholds(1.0, 16.0, 4)
    assert thresholds.tolist() == pytest.approx([1, 2, 4, 8, 16])


def test_ordinal_decoding_counts_the_thresholds_passed():
    head = OrdinalRegression(SIZES)
    ratio = 24.85 ** (1 / 32)
    thresholds_m = [ratio**i - 0.85 for i in range(33)]
    assert (head.thresholds.flatten() * 24.0).tolist() == pytest.approx(thresholds_m, rel=1e-4)
    logits = torch.full((1, 32, 1, 3), -20.0)
    logits[0, :5, 0, 1] = 20.0
    logits[0, :, 0, 2] = 20.0  # all passed: the last interval
    depth, sigma = head.decode(logits)
    expected = [(thresholds_m[k] + thresholds_m[k + 1]) / 2 for k in (0, 5, 31)]
    assert (depth.flatten() * 24.0).tolist() == pytest.approx(expected, rel=1e-4)
    assert sigma.flatten().tolist() == pytest.approx([MINIMUM_SIGMA] * 3, rel=1e-3)


def test_ordinal_labels_are_what_decoding_inverts():
    head = OrdinalRegression(SIZES)
    labels = head.labels(head.midpoints.reshape(1, 1, 4, 8))
    assert labels.flatten().tolist() == list(range(32))


def test_ordinal_sigma_grows_where_the_odds_are_even():
    head = OrdinalRegression(SIZES)
    logits = torch.full((1, 32, 1, 1), -20.0)
    logits[0, :4] = 20.0
    logits[0, 4:12] = -0.1
    assert head.decode(logits)[1].item() > 5 * MINIMUM_SIGMA


def test_log_sigma_of_two_bins():
    log_centres = torch.tensor([0.0, 1.0]).reshape(1, 2, 1, 1)
    probabilities = torch.tensor([0.25, 0.75]).reshape(1, 2, 1, 1)
    sigma = log_sigma(log_centres, probabilities, torch.tensor([math.exp(0.5)]).reshape(1, 1, 1, 1))
    assert sigma.item() == pytest.approx(math.sqrt(0.25 + MINIMUM_SIGMA**2))


def test_bins_are_split_in_place():
    widths = torch.tensor([0.4, 0.6]).reshape(1, 2, 1, 1)
    parts = torch.tensor([1.0, 3.0, 2.0, 1.0]).reshape(1, 4, 1, 1)
    split = split_bins(widths, parts)
    assert split.flatten().tolist() == pytest.approx([0.1, 0.3, 0.4, 0.2])
    centres = centres_of_widths(split, near=0.2)
    expected = [0.2 + 0.8 * c for c in (0.05, 0.25, 0.6, 0.9)]
    assert centres.flatten().tolist() == pytest.approx(expected)


def test_localbins_doubles_its_bins_at_every_level_and_keeps_them_ordered():
    torch.manual_seed(4)
    head = create_head("localbins", SIZES)
    output = head(random_features(10.0))
    assert [w.shape[1] for w in output.widths] == [2, 4, 8, 16, 32]
    for widths in output.widths:
        torch.testing.assert_close(widths.sum(dim=1), torch.ones_like(widths[:, 0]))
        # In float64 equality is not blurred by rounding where a bin is very thin.
        assert (centres_of_widths(widths.double(), SIZES.near).diff(dim=1) > 0).all()


def test_adabins_has_one_set_of_bins_an_image():
    torch.manual_seed(5)
    output = create_head("adabins", SIZES)(random_features())
    assert output.centres.shape == (2, 32, 1, 1)
    assert (output.centres.diff(dim=1) > 0).all()
    assert not torch.equal(output.centres[0], output.centres[1])


def moves_of_centres(name: str) -> torch.Tensor:
    torch.manual_seed(6)
    head, features = create_head(name, SIZES), random_features()
    seeds = head.bins(features.bottleneck)
    for block in features.blocks:
        seeds = resize(seeds, block)
    return (head(features).centres - seeds).abs()


def test_parts_that_are_taken_away_are_gone():
    assert moves_of_centres("reflector").max() > 0.01
    assert moves_of_centres("reflector_no_attractors").max() < 1e-6
    few, all_of_them = (
        sum(p.numel() for p in create_head(name, SIZES).attractors.parameters())
        for name in ("reflector_one_level", "reflector")
    )
    assert 0 < few < all_of_them


def test_without_relative_depth_the_output_does_not_depend_on_it():
    torch.manual_seed(7)
    features = random_features()
    other = features._replace(relative=1 - features.relative, head=-features.head)
    for name, same in (("reflector_no_relative", True), ("reflector", False)):
        head = create_head(name, SIZES)
        assert torch.equal(head(features).depth, head(other).depth) == same


def test_a_head_model_gives_planes_of_the_image_in_metres():
    torch.manual_seed(8)
    config = ModelConfig(height=64, width=96)
    model = create_model(config)
    sizes = HeadSizes.of(model.backbone, config)
    assert sizes.grid == (16, 24) and sizes.near == pytest.approx(0.15 / 24)
    whole = HeadModel(config, model.backbone, create_head("log_regression", sizes)).eval()
    output = whole(torch.full((1, 3, 64, 96), 120.0))
    assert [plane.shape for plane in output] == [(1, 1, 64, 96)] * 3
    assert (output.sigma == 1.0).all() and 0.15 <= output.depth.min() <= output.depth.max() <= 24.0
