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

"""The reflector: ordered bins, attraction that keeps the order, distributions, depth and sigma."""

import math

import pytest
import torch

from depthrefl_ros.network.backbone import BackboneFeatures
from depthrefl_ros.network.reflector import (
    MINIMUM_SIGMA,
    TEMPERATURE_RANGE,
    Attractor,
    BinsRegressor,
    LogBinomial,
    Reflector,
    ReflectorConfig,
    SoftmaxBins,
    attract,
    depth_and_sigma,
    log_spaced_widths,
)

NEAR = 0.01
CHANNELS = (12, 10, 8, 6)


def random_features(scale: float = 1.0) -> BackboneFeatures:
    sizes = [(2, 3), (4, 6), (8, 12), (16, 24)]
    blocks = tuple(
        scale * torch.randn(2, c, *size) for c, size in zip(CHANNELS, sizes, strict=True)
    )
    finest = sizes[-1]
    return BackboneFeatures(
        bottleneck=scale * torch.randn(2, 16, *sizes[0]),
        blocks=blocks,
        head=scale * torch.randn(2, 5, *finest),
        relative=torch.rand(2, 1, *finest),
    )


def build(**changes) -> Reflector:
    config = ReflectorConfig(bins=32, embedding=8, **changes)
    return Reflector(config, 16, CHANNELS, 5, NEAR)


def redraw(module: torch.nn.Module, gain: float) -> None:
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=gain)


def is_ascending(centres: torch.Tensor) -> bool:
    return bool((centres.diff(dim=1) >= 0).all())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("gain", [0.1, 1.0, 5.0])
def test_centres_stay_ordered_through_every_attractor(seed, gain):
    torch.manual_seed(seed)
    reflector, features = build(), random_features()
    redraw(reflector, gain)
    # In float64 equality is not blurred by rounding where a pull just cancels a gap.
    centres = reflector.bins(features.bottleneck).double()
    assert is_ascending(centres)
    embedding = None
    for block, project, level in zip(
        features.blocks, reflector.projectors, reflector.attractors, strict=True
    ):
        embedding = project(block, embedding)
        points = torch.sigmoid(level.points(embedding)).double()
        centres = torch.nn.functional.interpolate(
            centres, size=points.shape[2:], mode="bilinear", align_corners=False
        )
        centres = attract(centres, points, level.alpha, level.gamma)
        assert is_ascending(centres)


def test_mean_keeps_the_order_where_a_sum_breaks_it():
    centres = torch.tensor([0.45, 0.55], dtype=torch.float64).reshape(1, 2, 1, 1)
    attractors = torch.full((1, 16, 1, 1), 0.5, dtype=torch.float64)
    moved = attract(centres, attractors, alpha=300.0, gamma=2)
    summed = centres + 16 * (moved - centres)
    assert is_ascending(moved)
    assert not is_ascending(summed), "this input was chosen to break a sum"


def test_pull_peaks_where_the_design_says():
    attractors = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    centres = torch.linspace(0, 0.5, 5001, dtype=torch.float64).reshape(1, -1, 1, 1)
    pull = (centres - attract(centres, attractors, 300.0, 2)).flatten()
    peak = float(centres.flatten()[pull.argmax()])
    assert peak == pytest.approx(300.0**-0.5, abs=2e-4)
    assert peak == pytest.approx(0.058, abs=5e-4)


@pytest.mark.parametrize("distribution", ["log_binomial", "softmax"])
def test_number_of_bins_never_changes_and_q_sums_to_one(distribution):
    torch.manual_seed(1)
    reflector = build(distribution=distribution)
    redraw(reflector, 1.0)
    output = reflector(random_features(scale=3.0))
    assert output.centres.shape == output.log_probabilities.shape == (2, 32, 16, 24)
    total = output.log_probabilities.exp().sum(dim=1)
    torch.testing.assert_close(total, torch.ones_like(total), atol=1e-5, rtol=0)
    assert torch.isfinite(output.sigma).all() and (output.sigma >= MINIMUM_SIGMA).all()
    low, high = output.centres.amin(1, keepdim=True), output.centres.amax(1, keepdim=True)
    assert ((output.depth >= low * 0.9999) & (output.depth <= high * 1.0001)).all()


def test_sigma_of_a_hand_made_distribution():
    centres = torch.tensor([1.0, 2.0, 4.0]).reshape(1, 3, 1, 1)
    q = torch.tensor([0.25, 0.5, 0.25]).reshape(1, 3, 1, 1)
    depth, sigma = depth_and_sigma(centres, q.log())
    mean = 0.25 * 1 + 0.5 * 2 + 0.25 * 4
    variance = sum(
        p * (math.log(c) - math.log(mean)) ** 2 for p, c in ((0.25, 1), (0.5, 2), (0.25, 4))
    )
    assert depth.item() == pytest.approx(mean, rel=1e-6)
    assert sigma.item() == pytest.approx(math.sqrt(variance + 0.02**2), rel=1e-6)


def test_sigma_of_a_certain_pixel_is_the_floor():
    q = torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1)
    depth, sigma = depth_and_sigma(torch.tensor([3.0, 9.0]).reshape(1, 2, 1, 1), q.log())
    assert depth.item() == pytest.approx(3.0)
    assert sigma.item() == pytest.approx(MINIMUM_SIGMA)


def test_log_binomial_is_the_binomial_at_temperature_one():
    torch.manual_seed(0)
    bins = 16
    distribution = LogBinomial(1, 4, bins)
    final = distribution.parameters_of[-1]
    coldest, hottest = TEMPERATURE_RANGE
    share = math.log(1.0 / coldest) / math.log(hottest / coldest)
    p = 0.3
    with torch.no_grad():
        final.weight.zero_()
        final.bias.copy_(torch.tensor([math.log(p / (1 - p)), math.log(share / (1 - share))]))
    q = distribution(torch.zeros(1, 1, 1, 1)).exp().flatten()
    expected = [math.comb(bins - 1, k) * p**k * (1 - p) ** (bins - 1 - k) for k in range(bins)]
    torch.testing.assert_close(q, torch.tensor(expected), rtol=1e-4, atol=1e-6)


def test_log_binomial_survives_extreme_logits():
    distribution = LogBinomial(1, 4, 64)
    with torch.no_grad():
        distribution.parameters_of[-1].weight.zero_()
        distribution.parameters_of[-1].bias.copy_(torch.tensor([1e4, -1e4]))
    log_q = distribution(torch.zeros(1, 1, 1, 1))
    assert torch.isfinite(log_q).all()
    assert log_q.exp().flatten()[-1].item() == pytest.approx(1.0, abs=1e-2)


def test_softmax_bins_can_have_two_modes():
    distribution = SoftmaxBins(1, 4, 4)
    with torch.no_grad():
        distribution.logits[-1].weight.zero_()
        distribution.logits[-1].bias.copy_(torch.tensor([3.0, 0.0, 0.0, 3.0]))
    q = distribution(torch.zeros(1, 1, 1, 1)).exp().flatten()
    assert q[0] > q[1] and q[3] > q[2]


def test_centres_start_log_spaced_inside_the_range_and_attractors_move_them():
    torch.manual_seed(0)
    reflector, features = build(), random_features()
    start = reflector.bins(features.bottleneck)
    assert ((start > NEAR) & (start < 1.0)).all()
    edges = torch.logspace(-2, 0, 33)
    middles = (edges[1:] + edges[:-1]) / 2
    ratio = start / middles.reshape(1, -1, 1, 1)
    assert ((ratio > 0.8) & (ratio < 1.25)).all()
    moved = reflector(features).centres
    assert ((moved > NEAR) & (moved < 1.0)).all()
    upsampled = torch.nn.functional.interpolate(
        start, size=moved.shape[2:], mode="bilinear", align_corners=False
    )
    assert (moved - upsampled).abs().max() > 0.01


def test_log_spaced_widths_have_a_constant_ratio():
    widths = log_spaced_widths(8, 0.01)
    ratios = widths[1:] / widths[:-1]
    torch.testing.assert_close(ratios, ratios[:1].expand_as(ratios))
    assert float(widths.sum()) == pytest.approx(1.0)


@pytest.mark.parametrize("distribution", ["log_binomial", "softmax"])
def test_gradients_reach_every_parameter(distribution):
    torch.manual_seed(2)
    reflector = build(distribution=distribution)
    output = reflector(random_features())
    (output.depth.log().mean() + output.sigma.mean()).backward()
    idle = [n for n, p in reflector.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle


def test_autocast_leaves_the_bins_in_full_precision():
    torch.manual_seed(3)
    reflector, features = build(), random_features()
    with torch.autocast("cpu", torch.bfloat16):
        output = reflector(features)
    assert {tensor.dtype for tensor in output} == {torch.float32}
    assert is_ascending(BinsRegressor(16, 32, NEAR)(features.bottleneck))
    assert isinstance(reflector.attractors[0], Attractor)


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"bins": 1}, "bins is 1"),
        ({"attractors": (4, 2)}, "attractors is"),
        ({"gamma": 3}, "gamma 3"),
        ({"alpha": -1.0}, "alpha is -1"),
        ({"distribution": "gauss"}, "'gauss'"),
    ],
)
def test_a_bad_config_names_the_value(changes, named):
    with pytest.raises(ValueError, match=named):
        ReflectorConfig(**changes)
