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

"""The whole network: configuration, shapes, canonical range, gradients, weights."""

import pytest
import torch

from depthrefl_ros.network.efficientnet import EfficientNetLiteConfig
from depthrefl_ros.network.model import ModelConfig, create_model
from depthrefl_ros.network.reflector import ReflectorConfig


def small_config(**changes) -> ModelConfig:
    return ModelConfig(
        backbone=EfficientNetLiteConfig(
            bottleneck_channels=16, decoder_channels=(16, 12, 8, 8), head_channels=8
        ),
        reflector=ReflectorConfig(bins=16, embedding=8),
        height=64,
        width=96,
        **changes,
    )


def test_outputs_have_the_promised_shapes_and_ranges():
    torch.manual_seed(0)
    config = small_config()
    model = create_model(config).eval()
    with torch.no_grad():
        output = model(torch.rand(2, 3, 64, 96) * 255)
    for name in ("depth", "sigma", "relative"):
        assert getattr(output, name).shape == (2, 1, 64, 96)
        assert getattr(output, name).dtype == torch.float32
    # All work on bins is at stride 4; (K, H, W) never exists.
    assert output.centres.shape == output.log_q.shape == (2, 16, 16, 24)
    assert ((output.depth > config.z_min_m) & (output.depth < config.z_max_m)).all()
    assert ((output.relative > 0) & (output.relative < 1)).all()
    assert (output.sigma > 0).all()


def test_relative_only_is_the_forward_passs_relative():
    torch.manual_seed(0)
    model = create_model(small_config()).eval()
    image = torch.rand(1, 3, 64, 96) * 255
    with torch.no_grad():
        torch.testing.assert_close(model.relative_only(image), model(image).relative)


def test_gradients_reach_every_parameter():
    torch.manual_seed(0)
    model = create_model(small_config()).train()
    output = model(torch.rand(2, 3, 64, 96) * 255)
    (output.depth.log().mean() + output.sigma.mean() + output.relative.mean()).backward()
    idle = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle


def test_most_parameters_are_the_backbones_and_the_whole_is_small():
    model = create_model(ModelConfig())
    backbone = sum(p.numel() for p in model.backbone.parameters())
    reflector = sum(p.numel() for p in model.reflector.parameters())
    assert backbone > 10 * reflector
    assert backbone + reflector <= 8e6


def test_config_survives_plain_values():
    config = small_config()
    assert ModelConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"height": 100}, "height is 100"),
        ({"z_min_m": 30.0}, "z_min_m"),
        ({"focal_px": 0}, "focal"),
    ],
)
def test_a_bad_config_names_the_value(changes, named):
    with pytest.raises(ValueError, match=named):
        ModelConfig(**changes)


def test_an_unknown_architecture_field_is_refused():
    plain = small_config().to_dict()
    plain["reflector"]["bounces"] = 3
    with pytest.raises(ValueError, match="bounces"):
        ModelConfig.from_dict(plain)
