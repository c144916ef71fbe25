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

"""The error head: what it changes, and what it does not."""

import pytest
import torch
from small_network import CONFIG, told_network

from depthrefl_ros.network.error_head import MAXIMUM_SIGMA, ErrorHead
from depthrefl_ros.network.inference import InferenceModel
from depthrefl_ros.network.model import DepthModel, ModelConfig
from depthrefl_ros.network.reflector import MINIMUM_SIGMA


def with_head(std: float) -> DepthModel:
    model = told_network()
    model.add_error_head()
    torch.manual_seed(1)
    for module in (model.error_head.factor, model.error_head.picture):
        torch.nn.init.normal_(module.weight, std=std)
    return model.eval()


@pytest.fixture
def images():
    images = torch.randint(1, 256, (2, 4, 64, 64), generator=torch.Generator().manual_seed(3))
    return images.float()


def test_a_new_head_changes_nothing(images):
    with torch.no_grad():
        before, after = told_network()(images), with_head(0.0)(images)
    torch.testing.assert_close(after.sigma, before.sigma)
    for name in ("depth", "relative", "log_q"):
        assert torch.equal(getattr(before, name), getattr(after, name)), name


def test_it_moves_sigma_alone(images):
    with torch.no_grad():
        before, after = told_network()(images), with_head(0.5)(images)
    assert (after.sigma / before.sigma).log().abs().mean() > 0.05
    assert torch.equal(before.depth, after.depth)


def test_sigma_is_that_of_the_formula():
    torch.manual_seed(0)
    head = ErrorHead(5, 3)
    torch.nn.init.normal_(head.factor.weight, std=0.2)
    generator = torch.Generator().manual_seed(2)
    condition, bottleneck = (torch.randn(1, n, 4, 4, generator=generator) for n in (5, 3))
    depth, sigma = (0.1 + torch.rand(1, 1, 4, 4, generator=generator) for _ in range(2))
    with torch.no_grad():
        found = head(condition, bottleneck, depth, sigma)[0, 0, 2, 1]
        weights = [module.weight.flatten(1) for module in (head.place, head.said, head.picture)]
        seen = (
            condition[0, :, 2, 1],
            torch.stack([depth[0, 0, 2, 1].log(), sigma[0, 0, 2, 1].log()]),
            torch.cat([condition[0].mean(dim=(1, 2)), bottleneck[0].mean(dim=(1, 2))]),
        )
        hidden = head.place.bias + sum(w @ x for w, x in zip(weights, seen, strict=True))
        factor = head.factor.weight.flatten() @ hidden.relu() + head.factor.bias
    assert found == pytest.approx(float(sigma[0, 0, 2, 1] * factor.exp()), rel=1e-5)


@pytest.mark.parametrize(("factor", "limit"), [(-9.0, MINIMUM_SIGMA), (9.0, MAXIMUM_SIGMA)])
def test_sigma_stays_within_what_it_can_be(images, factor, limit):
    model = with_head(0.0)
    model.error_head.factor.bias.data.fill_(factor)
    with torch.no_grad():
        sigma = model(images).sigma
    torch.testing.assert_close(sigma, torch.full_like(sigma, limit))


def test_a_picture_is_judged_by_itself(images):
    model = with_head(0.5)
    with torch.no_grad():
        torch.testing.assert_close(model(images).sigma[:1], model(images[:1]).sigma)


def test_half_precision_gives_nearly_the_same(images):
    model = with_head(0.3)
    pictures = images.permute(0, 2, 3, 1).to(torch.uint8)
    with torch.no_grad():
        single, half = (InferenceModel(model, t)(pictures)[1] for t in (torch.float32, torch.half))
    assert half.dtype == torch.float32
    assert (single / half).log().abs().median() < 0.02


def test_the_description_tells_it_where_there_is_one():
    assert "error_head" not in CONFIG.to_dict()
    told = with_head(0.0).config.to_dict()
    assert told["error_head"] is True and ModelConfig.from_dict(told).error_head
    with pytest.raises(ValueError, match="error_head is 1; true or false is needed"):
        ModelConfig.from_dict({**told, "error_head": 1})
    model = with_head(0.0)
    model.remove_error_head()
    assert model.config == told_network().config
    assert not any("error_head" in name for name in model.state_dict())
