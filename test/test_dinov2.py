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

"""The large backbone: shapes, agreement with Depth Anything's own forward pass, fixed sizes."""

import copy
import sys

import pytest
import torch

from depthrefl_ros.network.dinov2 import DinoV2Backbone, DinoV2Config
from depthrefl_ros.network.flagship import random_flagship
from depthrefl_ros.network.model import ModelConfig
from depthrefl_ros.network.ops import resize

pytest.importorskip("transformers")

HEIGHT, WIDTH = 84, 112
# (height, width) of even and of odd numbers of patches.
SIZES = [(HEIGHT, WIDTH), (70, 98), (56, 126)]
TINY = {
    "hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 4, "mlp_ratio": 2,
    "image_size": 70, "out_indices": (1, 2, 3, 4), "neck_hidden_sizes": (8, 12, 16, 24),
    "fusion_hidden_size": 256, "head_hidden_size": 32,
}  # fmt: skip


@pytest.fixture(scope="module")
def backbone() -> DinoV2Backbone:
    return random_flagship(HEIGHT, WIDTH).backbone


@pytest.fixture(scope="module")
def dpt() -> DinoV2Backbone:
    """Return a small one with the neck and head of ``dpt-dinov2-*``."""
    from tiny_networks import draw_weights

    config = DinoV2Config("dinov2", **TINY, neck="dpt", farther_is_larger=True)
    backbone = DinoV2Backbone(config).eval()
    draw_weights(backbone.network)
    return backbone


def image(count: int = 1, seed: int = 0, size: tuple[int, int] = (HEIGHT, WIDTH)) -> torch.Tensor:
    """(count, 3, *size), smooth as pictures are."""
    coarse = torch.randn(count, 3, 6, 8, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=size, mode="bicubic")


def assert_as_public(backbone, images, network=None):
    """Hold the features against what the public network computes on the way to its depth."""
    network, seen = network or backbone.network, {}
    parts = {
        "narrowed": network.neck.convs[-1], "fused": network.neck.fusion_stage,
        "reassembled": network.neck.reassemble_stage,
        "head": network.head.head[3] if hasattr(network.head, "head") else network.head.activation1,
    }  # fmt: skip
    hooks = [
        part.register_forward_hook(lambda *a, name=name: seen.__setitem__(name, a[2]))
        for name, part in parts.items()
    ]
    with torch.no_grad():
        depth = network(images).predicted_depth[:, None]
        for hook in hooks:
            hook.remove()
        found = backbone(images)
    close = {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(found.bottleneck, seen["reassembled"][-1], **close)
    wanted = (seen["narrowed"], *seen["fused"][:3])
    for block, other in zip(found.blocks, wanted, strict=True):
        torch.testing.assert_close(block, other, **close)
    torch.testing.assert_close(found.head, resize(seen["head"], found.blocks[-1]), **close)
    assert found.relative.shape == (images.shape[0], 1, *images.shape[2:])
    return found.relative, depth


def test_features_have_the_promised_strides_and_channels(backbone):
    with torch.no_grad():
        features = backbone(image(2))
    assert features.bottleneck.shape == (2, backbone.bottleneck_channels, 3, 4)
    sizes = [(3, 4), (6, 8), (12, 16), (24, 32)]
    expected = [(2, c, *size) for c, size in zip(backbone.block_channels, sizes, strict=True)]
    assert [tuple(block.shape) for block in features.blocks] == expected
    assert features.head.shape == (2, backbone.head_channels, 24, 32)
    assert features.relative.shape == (2, 1, HEIGHT, WIDTH)
    assert ((features.relative > 0) & (features.relative < 1)).all()


def test_relative_depth_is_depth_anythings_disparity_turned_near_to_far(backbone):
    backbone, images = copy.deepcopy(backbone), image(2)
    with torch.no_grad():
        logits = torch.logit(backbone(images).relative)
        # Depth Anything cuts negative disparities off; let about half of the pixels be positive.
        backbone.depth_anything.head.conv3.bias += logits.median()
        relative = backbone(images).relative[:, 0]
        disparity = backbone.depth_anything(images).predicted_depth
    seen = disparity > 0
    assert 0.3 < seen.float().mean() < 0.7 and disparity[seen].std() > 0.1
    torch.testing.assert_close(relative[seen], torch.sigmoid(-disparity[seen]))
    assert (relative[~seen] >= 0.5).all()


@pytest.mark.parametrize("size", SIZES)
def test_dpt_gives_the_features_of_the_public_network(dpt, size):
    relative, depth = assert_as_public(dpt, image(2, size=size))
    assert depth.min() > 0 and depth.std() > 0.1
    wanted = resize(depth, relative)
    torch.testing.assert_close(relative, 0.5 + 0.5 * wanted / (1 + wanted), rtol=1e-4, atol=1e-5)


def test_depth_anything_gives_the_features_of_the_public_network(backbone):
    assert_as_public(backbone, image(2))


def ignore_the_whole_image(network):
    for project in network.neck.reassemble_stage.readout_projects:
        project[0].weight.data[:, network.config.backbone_config.hidden_size :] = 0


def leave_the_projection_out(network):
    network.head.projection = torch.nn.Identity()


def align_no_corners(network):
    for layer in network.neck.fusion_stage.layers:
        layer.align_corners = False


@pytest.mark.parametrize(
    "mutate", [ignore_the_whole_image, leave_the_projection_out, align_no_corners]
)
def test_a_mutation_of_dpt_fails_parity(dpt, mutate):
    mutated = copy.deepcopy(dpt)
    assert_as_public(mutated, image(), dpt.network)
    mutate(mutated.network)
    with pytest.raises(AssertionError, match="not close"):
        assert_as_public(mutated, image(), dpt.network)


@pytest.mark.parametrize("name, neck", [("backbone", "depth_anything"), ("dpt", "dpt")])
def test_fixing_the_size_changes_no_feature(request, name, neck):
    backbone = request.getfixturevalue(name)
    fixed = copy.deepcopy(backbone)
    fixed.fix_size(HEIGHT, WIDTH)
    with torch.no_grad():
        expected, found = backbone(image(2)), fixed(image(2))
    torch.testing.assert_close(found.relative, expected.relative)
    torch.testing.assert_close(found.blocks[-1], expected.blocks[-1])
    names = {name for name, _ in fixed.named_parameters() if "position" in name}
    assert names == {f"{neck}.backbone.embeddings.position"}


def test_at_its_own_size_the_encoders_embedding_stays_as_it_is(backbone):
    embed = backbone.depth_anything.backbone.embeddings
    fixed = copy.deepcopy(backbone)
    fixed.fix_size(518, 518)  # where nothing is interpolated
    images = torch.randn(1, 3, 518, 518, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = fixed.depth_anything.backbone.embeddings(images)
        torch.testing.assert_close(found, embed(images))
    position = fixed.depth_anything.backbone.embeddings.position
    torch.testing.assert_close(position, embed.position_embeddings[:, 1:], rtol=0, atol=0)
    assert position.std() > 0.01


@pytest.mark.parametrize("name", ["backbone", "dpt"])
def test_preparing_for_export_changes_no_feature(request, name):
    backbone = request.getfixturevalue(name)
    spelled = copy.deepcopy(backbone)
    spelled.prepare_for_export()
    with torch.no_grad():
        expected, found = backbone(image()), spelled(image())
    torch.testing.assert_close(found.relative, expected.relative, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.blocks[-1], expected.blocks[-1], rtol=1e-3, atol=1e-4)


def test_normalise_is_imagenets():
    grey = torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1) * 255
    deviation = torch.tensor([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1) * 255
    both = torch.cat([grey, grey + deviation])
    expected = torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1).expand(2, 3, 1, 1)
    torch.testing.assert_close(DinoV2Backbone.normalise(both), expected, rtol=0, atol=1e-5)
    assert DinoV2Backbone.normalise(both.half()).dtype == torch.float16


def test_gradients_reach_every_parameter_that_is_used():
    model = random_flagship(56, 56).train()
    output = model(torch.rand(2, 3, 56, 56) * 255)
    (output.depth.log().mean() + output.sigma.mean() + output.relative.mean()).backward()
    idle = {n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    # The mask token serves the encoder's own training, and the coarsest level fuses nothing.
    start, unused = "backbone.depth_anything.", "neck.fusion_stage.layers.0.residual_layer1."
    assert f"{start}backbone.embeddings.mask_token" in idle
    idle.remove(f"{start}backbone.embeddings.mask_token")
    assert idle and all(name.startswith(start + unused) for name in idle)


def test_config_survives_plain_values_and_has_a_stride_of_its_own():
    config = ModelConfig(backbone=DinoV2Config(), height=252, width=336)
    assert ModelConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ValueError, match="height is 256; a positive multiple of 14"):
        ModelConfig(backbone=DinoV2Config(), height=256, width=336)


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"encoder": "dinov2_giant"}, "encoder is 'dinov2_giant'; known are"),
        ({"encoder": "lite0"}, "encoder is 'lite0'; known are"),
        ({"neck": "dtp"}, "neck is 'dtp'; known are"),
        ({"neck": "dpt"}, "encoder dinov2_small is Depth Anything's; take dinov2"),
        (
            {"encoder": "dinov2", **TINY, "neck": "dpt", "fusion_hidden_size": 64},
            "fusion_hidden_size is 64; neck dpt has 256",
        ),
    ],
)
def test_a_bad_config_names_the_value(fields, words):
    with pytest.raises(ValueError, match=words):
        DinoV2Config(**fields)


def test_the_giants_gated_perceptrons_are_built():
    config = DinoV2Config("dinov2", **TINY, neck="dpt", use_swiglu_ffn=True)
    layer = DinoV2Backbone(config).network.backbone.encoder.layer[0]
    assert type(layer.mlp).__name__ == "Dinov2SwiGLUFFN"
    model = ModelConfig(backbone=config, height=56, width=84)
    assert ModelConfig.from_dict(model.to_dict()) == model


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match="pip install transformers"):
        DinoV2Backbone(DinoV2Config())
