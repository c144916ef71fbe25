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

"""The error head fitted: to errors that it can know, and to those of a network on real views."""

import math

import pytest
import torch
from small_network import told_network

from depthrefl_ros.network.error_head import ErrorHead
from depthrefl_ros.training.error_fit import PlaceErrors, collect_errors, fit_error_head


def made_up(views: int = 60, places: int = 200) -> tuple[PlaceErrors, torch.Tensor]:
    """Return places with errors that depend on a feature and the picture, and the log scale."""
    generator = torch.Generator().manual_seed(0)
    view = torch.arange(views).repeat_interleave(places)
    condition = torch.randn(len(view), 6, generator=generator) * 3 + 5
    condition[:, 4] = 0.25  # says nothing
    picture = torch.randn(views, 4, generator=generator)
    log_scale = 0.2 * condition[:, 0] + 0.7 * picture[view, 2] - 2.0
    uniform = torch.rand(len(view), generator=generator)
    error = -torch.log(uniform) * log_scale.exp()  # the size of a Laplace distribution's
    return PlaceErrors(condition, picture, view, error), log_scale


def applied(head: ErrorHead, found: PlaceErrors) -> torch.Tensor:
    """Return log sigma of the head at the places, by its own layers."""
    with torch.no_grad():
        hidden = head.place(found.condition[..., None, None])
        hidden = hidden + head.picture(found.picture[..., None, None])[found.view]
        return head.log_sigma(hidden.relu()).flatten()


def test_it_finds_what_the_errors_depend_on():
    found, log_scale = made_up()
    head = ErrorHead(6, -2)  # four means
    before, after = fit_error_head(head, found, seed=1, steps=600)
    fitted = applied(head, found)
    log_deviation = log_scale + math.log(2.0) / 2  # of a Laplace distribution
    assert (fitted - log_deviation).abs().mean() < 0.15
    # No more can be had than by the scale itself.
    best = float((log_scale + found.error * torch.exp(-log_scale)).mean())
    assert after == pytest.approx(best, abs=0.02) and before > best + 0.2
    assert not head.place.weight[:, 4].any()  # what says nothing has no part


def test_the_loss_of_before_is_that_of_one_sigma():
    found, _ = made_up()
    before, _ = fit_error_head(ErrorHead(6, -2), found, seed=1, steps=1)
    losses = [float((torch.log(s) + found.error / s).mean()) for s in torch.linspace(0.1, 3, 3000)]
    assert before == pytest.approx(min(losses), abs=1e-3)


def test_the_same_seed_gives_the_same_head():
    found, _ = made_up(views=5)
    heads = [ErrorHead(6, -2) for _ in range(3)]
    for head, seed in zip(heads, (1, 1, 2), strict=True):
        fit_error_head(head, found, seed, steps=3)
    first, second, third = (head.place.weight for head in heads)
    assert torch.equal(first, second) and not torch.equal(first, third)


def batch(known: int) -> dict[str, torch.Tensor]:
    """Return two images; the truth of the second is known in its first ``known`` rows."""
    generator = torch.Generator().manual_seed(5)
    depth_m = torch.full((2, 1, 64, 64), 2.0)
    depth_m[1, :, known:] = 0.0
    image = torch.randint(1, 256, (2, 4, 64, 64), generator=generator, dtype=torch.uint8)
    return {"image": image, "depth_m": depth_m, "focal_px": torch.tensor([60.0, 120.0])}


def test_errors_are_those_of_canonical_depth_where_truth_is_known():
    model = told_network()
    model.add_error_head()
    model.eval()
    given = batch(known=24)
    found = collect_errors(model, [given], seed=1, places=80)
    assert found.view.bincount().tolist() == [80, 80]
    assert found.picture.shape == (2, model.error_head.picture.in_channels)
    # abs(log z - log t), t = 2 m times f_c / f: 240 / 60 and 240 / 120.
    with torch.no_grad():
        log_depth = torch.log(model(given["image"].float()).depth)
    for view, (canonical_m, rows) in enumerate(((8.0, 64), (4.0, 24))):
        there = (log_depth[view, 0, 2:rows:4, 2::4] - math.log(canonical_m)).abs().flatten()
        apart = (found.error[found.view == view][:, None] - there).abs()
        assert apart.min(dim=1).values.max() < 1e-5


def test_a_view_without_enough_truth_is_left_out():
    model = told_network()
    model.add_error_head()
    found = collect_errors(model.eval(), [batch(known=8)], seed=1)
    assert len(found.picture) == 1 and not found.view.any()
    nothing = {**batch(known=8), "depth_m": torch.zeros(2, 1, 64, 64)}
    with pytest.raises(ValueError, match="no view has 50 places with true depth"):
        collect_errors(model, [nothing], seed=1)
    assert not model.error_head._forward_pre_hooks
