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
    torch.nn.init.normal_(model.error_head.log_sigma.weight, std=std)
    return model.eval()


@pytest.fixture
def images():
    images = torch.randint(1, 256, (2, 4, 64, 64), generator=torch.Generator().manual_seed(3))
    return images.float()


def test_it_says_sigma_and_nothing_else(images):
    with torch.no_grad():
        before, unfitted, after = (
            model(images) for model in (told_network(), with_head(0.0), with_head(0.5))
        )
    torch.testing.assert_close(unfitted.sigma, torch.full_like(before.sigma, 0.2))
    assert (after.sigma / unfitted.sigma).log().abs().mean() > 0.05
    for name in ("depth", "relative", "log_q"):
        assert torch.equal(getattr(before, name), getattr(after, name)), name


def test_sigma_is_that_of_the_formula():
    torch.manual_seed(0)
    head = ErrorHead(5, 3)
    torch.nn.init.normal_(head.log_sigma.weight, std=0.2)
    condition, bottleneck = torch.randn(1, 5, 4, 4), torch.randn(1, 3, 2, 2)
    with torch.no_grad():
        found = head(condition, bottleneck)[0, 0, 2, 1]
        means = torch.cat([condition[0].mean(dim=(1, 2)), bottleneck[0].mean(dim=(1, 2))])
        place, picture = (module.weight.flatten(1) for module in (head.place, head.picture))
        hidden = head.place.bias + place @ condition[0, :, 2, 1] + picture @ means
        log_sigma = head.log_sigma.weight.flatten() @ hidden.relu() + head.log_sigma.bias
    assert found == pytest.approx(float(log_sigma.exp()), rel=1e-5)


@pytest.mark.parametrize(("log_sigma", "limit"), [(-9.0, MINIMUM_SIGMA), (9.0, MAXIMUM_SIGMA)])
def test_sigma_stays_within_what_it_can_be(images, log_sigma, limit):
    model = with_head(0.0)
    model.error_head.log_sigma.bias.data.fill_(log_sigma)
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
