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

"""The mean of several networks' weights."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from small_network import CONFIG, told_network

from depthrefl_ros.network.model import create_model
from depthrefl_ros.training.averaging import average_weights, renew_statistics


def test_parameters_and_statistics_are_averaged():
    torch.manual_seed(0)
    models = [create_model(CONFIG).eval() for _ in range(3)]
    models[1].backbone.encoder._bn0.running_var.fill_(4.0)
    states = [copy.deepcopy(model.state_dict()) for model in models]
    mean = average_weights(models).state_dict()
    for name, value in mean.items():
        if value.dtype.is_floating_point:
            expected = (states[0][name] + states[1][name] + states[2][name]) / 3
            assert torch.allclose(value, expected, atol=1e-6), name
    assert mean["backbone.encoder._bn0.running_var"][0] == pytest.approx(2.0)


def test_the_mean_of_one_network_is_that_network():
    torch.manual_seed(0)
    model = create_model(CONFIG).eval()
    image = torch.rand(1, 3, 64, 64) * 255
    with torch.no_grad():
        before = model(image).depth
        assert torch.equal(average_weights([model, copy.deepcopy(model)])(image).depth, before)


def test_shares_weigh_the_models():
    torch.manual_seed(0)
    models = [create_model(CONFIG).eval() for _ in range(2)]
    states = [copy.deepcopy(model.state_dict()) for model in models]
    mean = average_weights(models, [3.0, 1.0]).state_dict()
    for name, value in mean.items():
        if value.dtype.is_floating_point:
            expected = 0.75 * states[0][name] + 0.25 * states[1][name]
            assert torch.allclose(value, expected, atol=1e-6), name
    with pytest.raises(ValueError, match="must be a number above 0"):
        average_weights(models, [1.0, float("nan")])


def test_a_network_that_knows_no_mount_leaves_the_others_theirs():
    models = [create_model(CONFIG), told_network(seed=1), told_network(seed=2)]
    states = [copy.deepcopy(model.state_dict()) for model in models]
    mean = average_weights(models, [2.0, 1.0, 1.0])
    assert mean is models[1]
    found = mean.state_dict()
    name = "reflector.distribution.parameters_of.0.weight"
    both = (states[1][name] + states[2][name]) / 2
    torch.testing.assert_close(found[name], (states[0][name] + both) / 2)
    name = "mount.floor.condition.weight"
    torch.testing.assert_close(found[name], (states[1][name] + states[2][name]) / 2)


def test_an_error_head_is_kept_only_where_all_have_one():
    models = [told_network(seed=seed) for seed in (1, 2, 3)]
    for model in models[:2]:
        model.add_error_head()
        torch.nn.init.normal_(model.error_head.log_sigma.weight)
    weights = [model.error_head.log_sigma.weight.clone() for model in models[:2]]
    mean = average_weights(copy.deepcopy(models[:2]))
    torch.testing.assert_close(mean.error_head.log_sigma.weight, sum(weights) / 2)
    mixed = average_weights(models)
    assert mixed.error_head is None and not mixed.config.error_head
    assert not any("error_head" in name for name in mixed.state_dict())


def test_no_network_and_another_architecture_are_refused():
    with pytest.raises(ValueError, match="at least one is needed"):
        average_weights([])
    other = replace(CONFIG, reflector=replace(CONFIG.reflector, bins=9))
    with pytest.raises(ValueError, match="model 1 has another architecture"):
        average_weights([create_model(CONFIG), create_model(other)])


def test_statistics_are_those_of_the_images_that_are_shown():
    torch.manual_seed(0)
    model = create_model(CONFIG).eval()
    model.backbone.encoder._bn0.running_mean.fill_(7.0)
    images = [torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8) for _ in range(3)]
    weights = copy.deepcopy(dict(model.named_parameters()))
    renew_statistics(model, images)
    assert not model.training and model.backbone.encoder._bn0.momentum == 0.01
    stem = model.backbone.encoder._conv_stem
    with torch.no_grad():
        seen = [stem(model.backbone.normalise(batch.float())) for batch in images]
    mean = torch.stack([batch.mean(dim=(0, 2, 3)) for batch in seen]).mean(dim=0)
    assert torch.allclose(model.backbone.encoder._bn0.running_mean, mean, atol=1e-5)
    assert all(torch.equal(value, weights[name]) for name, value in model.named_parameters())
