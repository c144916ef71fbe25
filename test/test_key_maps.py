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

"""Key maps against the names in the published files, which are told here a second time.

They were read in the authors' code and in what made the public classes' checkpoints. Nothing of
``key_maps`` takes part in making the files.
"""

import re

import pytest
import torch
from authors_files import (
    SIZE,
    V2,
    ZoeOnDepthAnything,
    depth_anything,
    hub_tensors,
    save_da1metric,
    to_authors,
)
from safetensors.torch import load_file
from test_adapters import SIZES as ADAPTED_SIZES
from test_adapters import authors_depth
from test_original_files import loaded
from tiny_networks import make_network, save_network, smooth_image

from depthrefl_ros.conversion.key_maps import (
    da1metric_pairs,
    depth_anything_pairs,
    to_transformers,
    zoedepth_pairs,
)

pytestmark = pytest.mark.usefixtures("one_torch_thread")
BEIT, DPT = "core.core.pretrained.", "core.core.scratch."
NECK = r"neck\.reassemble_stage\."
PATCHES = r"backbone\.embeddings\.patch_embeddings\.projection\.(.*)"
# Public name -> the authors'; a name is what the first line that fits makes of it.
FUSION = (
    (r"neck\.convs\.0\.(.*)", r"{}layer1_rn.\1"),
    (r"neck\.convs\.1\.(.*)", r"{}layer2_rn.\1"),
    (r"neck\.convs\.2\.(.*)", r"{}layer3_rn.\1"),
    (r"neck\.convs\.3\.(.*)", r"{}layer4_rn.\1"),
    # The public class begins with the coarsest level, which the authors call the fourth.
    (r"neck\.fusion_stage\.layers\.0\.(.*)", r"{}refinenet4.\1"),
    (r"neck\.fusion_stage\.layers\.1\.(.*)", r"{}refinenet3.\1"),
    (r"neck\.fusion_stage\.layers\.2\.(.*)", r"{}refinenet2.\1"),
    (r"neck\.fusion_stage\.layers\.3\.(.*)", r"{}refinenet1.\1"),
)
WITHIN_FUSION = (
    ("projection", "out_conv"),
    ("residual_layer", "resConfUnit"),
    ("convolution", "conv"),
)
METRIC_HEAD = (
    (r"metric_head\.conv2\.(.*)", r"conv2.\1"),
    (r"metric_head\.(conditional_log_binomial\.mlp\.[02]\..*)", r"\1"),
    (r"metric_head\.(.*)\.conv1\.(.*)", r"\1._net.0.\2"),
    (r"metric_head\.(.*)\.conv2\.(.*)", r"\1._net.2.\2"),
)
ZOEDEPTH = (
    (r"backbone\.embeddings\.cls_token", BEIT + "model.cls_token"),
    (PATCHES, BEIT + r"model.patch_embed.proj.\1"),
    (r"backbone\.encoder\.layer\.(\d+)\.(.*)", BEIT + r"model.blocks.\1.\2"),
    (NECK + r"readout_projects\.0\.0\.(.*)", BEIT + r"act_postprocess1.0.project.0.\1"),
    (NECK + r"readout_projects\.1\.0\.(.*)", BEIT + r"act_postprocess2.0.project.0.\1"),
    (NECK + r"readout_projects\.2\.0\.(.*)", BEIT + r"act_postprocess3.0.project.0.\1"),
    (NECK + r"readout_projects\.3\.0\.(.*)", BEIT + r"act_postprocess4.0.project.0.\1"),
    (NECK + r"layers\.0\.projection\.(.*)", BEIT + r"act_postprocess1.3.\1"),
    (NECK + r"layers\.1\.projection\.(.*)", BEIT + r"act_postprocess2.3.\1"),
    (NECK + r"layers\.2\.projection\.(.*)", BEIT + r"act_postprocess3.3.\1"),
    (NECK + r"layers\.3\.projection\.(.*)", BEIT + r"act_postprocess4.3.\1"),
    (NECK + r"layers\.0\.resize\.(.*)", BEIT + r"act_postprocess1.4.\1"),
    (NECK + r"layers\.1\.resize\.(.*)", BEIT + r"act_postprocess2.4.\1"),
    (NECK + r"layers\.3\.resize\.(.*)", BEIT + r"act_postprocess4.4.\1"),
    *((public, own.format(DPT)) for public, own in FUSION),
    (r"relative_head\.conv1\.(.*)", DPT + r"output_conv.0.\1"),
    (r"relative_head\.conv2\.(.*)", DPT + r"output_conv.2.\1"),
    (r"relative_head\.conv3\.(.*)", DPT + r"output_conv.4.\1"),
    *METRIC_HEAD,
)  # fmt: skip
# Two heads by name, which share the projectors, and a router between them.
ZOEDEPTH_NK = (
    (r"metric_head\.(conditional_log_binomial\.(nyu|kitti)\.mlp\.[02]\..*)", r"\1"),
    (r"metric_head\.mlp_classifier\.linear1\.(.*)", r"mlp_classifier.0.\1"),
    (r"metric_head\.mlp_classifier\.linear2\.(.*)", r"mlp_classifier.2.\1"),
    (r"metric_head\.(patch_transformer\.embedding_convPxP\..*)", r"\1"),
    (r"metric_head\.patch_transformer\.transformer_encoder\.(\d)\.(.*)",
     r"patch_transformer.transformer_encoder.layers.\1.\2"),
    *ZOEDEPTH,
)  # fmt: skip
WITHIN_BEIT = (
    ("layernorm_before", "norm1"),
    ("layernorm_after", "norm2"),
    ("intermediate.dense", "mlp.fc1"),
    ("attention.output.dense", "attn.proj"),
    ("output.dense", "mlp.fc2"),
    ("lambda_", "gamma_"),
    ("attention.attention.relative_position_bias.", "attn."),
)
HEAD = "depth_head."
ANYTHING = (
    (r"backbone\.embeddings\.(cls_token|mask_token)", r"pretrained.\1"),
    (r"backbone\.embeddings\.position_embeddings", "pretrained.pos_embed"),
    (PATCHES, r"pretrained.patch_embed.proj.\1"),
    (r"backbone\.layernorm\.(.*)", r"pretrained.norm.\1"),
    (r"backbone\.encoder\.layer\.(\d+)\.(.*)", r"pretrained.blocks.\1.\2"),
    (NECK + r"layers\.(\d)\.projection\.(.*)", HEAD + r"projects.\1.\2"),
    (NECK + r"layers\.(\d)\.resize\.(.*)", HEAD + r"resize_layers.\1.\2"),
    *((public, own.format(HEAD + "scratch.")) for public, own in FUSION),
    (r"head\.conv1\.(.*)", HEAD + r"scratch.output_conv1.\1"),
    (r"head\.conv2\.(.*)", HEAD + r"scratch.output_conv2.0.\1"),
    (r"head\.conv3\.(.*)", HEAD + r"scratch.output_conv2.2.\1"),
)  # fmt: skip
# Depth Anything where ZoeDepth has BEiT and its neck; the metric head lies beside it.
DA1METRIC = (*((public, "core.core." + own) for public, own in ANYTHING), *METRIC_HEAD)
WITHIN_DINOV2 = (
    ("layer_scale1.lambda1", "ls1.gamma"),
    ("layer_scale2.lambda1", "ls2.gamma"),
    ("attention.output.dense", "attn.proj"),
)
ROUTER = re.compile(
    r"metric_head\.(patch_transformer\.transformer_encoder)\.(\d)\.self_attn\.(query|key|value)\."
)
ATTENTION = re.compile(r"backbone\.encoder\.layer\.(\d+)\.attention\.attention\.(query|key|value)")


def authors_name(public, rules, within):
    """Return the name in the authors' file of one tensor, which is none of query, key and value."""
    for pattern, own in rules:
        found = re.fullmatch(pattern, public)
        if found:
            name, parts = found.expand(own), ()
            parts = within if ".blocks." in name else WITHIN_FUSION if "refinenet" in name else ()
            for theirs, ours in parts:
                name = name.replace(theirs, ours)
            return name
    raise AssertionError(f"{public} is not told")


def authors_file(public, rules, within, blocks):
    """Return what a file lists, from the public tensors; attention in one as timm has it."""
    own, attention, router = {}, {}, {}
    for name, tensor in public.items():
        part, chosen = ATTENTION.match(name), ROUTER.match(name)
        if chosen:  # as torch's own transformer has it
            stem = f"{chosen[1]}.layers.{chosen[2]}.self_attn.in_proj_{name[chosen.end() :]}"
            router.setdefault(stem, {})[chosen[3]] = tensor
        elif part and not name.endswith("relative_position_bias_table"):
            attention.setdefault(part[1], {})[part[2] + name[part.end() :]] = tensor
        else:
            own[authors_name(name, rules, within)] = tensor
    for stem, parts in router.items():
        own[stem] = torch.cat([parts[n] for n in ("query", "key", "value")])
    for layer, parts in attention.items():
        stem = f"{blocks}{layer}.attn."
        own[stem + "qkv.weight"] = torch.cat(
            [parts[f"{n}.weight"] for n in ("query", "key", "value")]
        )
        if "key.bias" in parts:
            own[stem + "qkv.bias"] = torch.cat(
                [parts[f"{n}.bias"] for n in ("query", "key", "value")]
            )
        else:  # BEiT's key has none
            own[stem + "q_bias"], own[stem + "v_bias"] = parts["query.bias"], parts["value.bias"]
    return own


def assert_same(found, public):
    assert found.keys() == public.keys()
    assert all(torch.equal(found[name], public[name]) for name in public)


@pytest.mark.parametrize("domain, name", [("N", "zoedepth-nyu"), ("K", "zoedepth-kitti")])
def test_zoedepths_file_as_it_is_published(tmp_path, domain, name):
    model = make_network(name)
    public = load_file(save_network(model, tmp_path / "hub", name) / "model.safetensors")
    own = authors_file(public, ZOEDEPTH, WITHIN_BEIT, BEIT + "model.blocks.")
    # Some that catch a rule that is wrong in both places.
    assert {
        "core.core.pretrained.model.blocks.3.attn.relative_position_bias_table",
        "core.core.pretrained.act_postprocess4.4.bias",
        "core.core.scratch.refinenet1.resConfUnit2.conv1.weight",
        "attractors.3._net.2.weight",
        "seed_bin_regressor._net.0.bias",
        "projectors.0._net.2.bias",
        "conditional_log_binomial.mlp.2.weight",
        "conv2.weight",
    } < own.keys()
    assert_same(to_transformers(own, zoedepth_pairs(4), BEIT + "model."), public)
    assert_same(to_authors(public, zoedepth_pairs(4), BEIT + "model."), own)
    # What the files have besides: timm's head and index, and the distribution's buffers.
    own |= {
        BEIT + "model.blocks.0.attn.relative_position_index": torch.zeros(5, 5),
        BEIT + "model.fc_norm.weight": torch.ones(32),
        BEIT + "model.head.weight": torch.ones(9, 32),
        "conditional_log_binomial.log_binomial_transform.k_idx": torch.zeros(1, 8, 1, 1),
        "conditional_log_binomial.log_binomial_transform.K_minus_1": torch.zeros(1, 1, 1, 1),
    }
    path = tmp_path / f"ZoeD_M12_{domain}.pt"
    torch.save({"model": own}, path)
    recipe, adapter = loaded(path, tmp_path / "folder")
    assert recipe.meaning.range_m[1] == (10.0 if domain == "N" else 80.0)
    # The authors' encoder is timm's; the public class has 1e-12 by default.
    assert adapter.model.config.backbone_config.layer_norm_eps == 1e-6
    if domain == "K":  # 80 m, where the public file's config says 10
        for part in (model.metric_head.seed_bin_regressor, *model.metric_head.attractors):
            part.max_depth = 80.0
        model.metric_head.max_depth = 80.0
    image = smooth_image(64, 96)
    with torch.no_grad():
        truth = model(pixel_values=image).predicted_depth
        found = adapter.model(pixel_values=image).predicted_depth
    torch.testing.assert_close(found, truth, rtol=1e-4, atol=1e-4)


def test_zoedepth_nks_file_as_it_is_published(tmp_path):
    model, name = make_network("zoedepth-nyu-kitti"), "zoedepth-nyu-kitti"
    public = load_file(save_network(model, tmp_path / "hub", name) / "model.safetensors")
    own = authors_file(public, ZOEDEPTH_NK, WITHIN_BEIT, BEIT + "model.blocks.")
    assert {
        "conv2.bias",
        "seed_bin_regressors.nyu._net.0.weight",
        "seed_bin_regressors.kitti._net.2.bias",
        "seed_projector._net.2.weight",
        "projectors.3._net.0.weight",
        "attractors.nyu.0._net.2.weight",
        "attractors.kitti.3._net.0.bias",
        "conditional_log_binomial.kitti.mlp.2.weight",
        "patch_transformer.embedding_convPxP.bias",
        "patch_transformer.transformer_encoder.layers.0.self_attn.in_proj_weight",
        "patch_transformer.transformer_encoder.layers.3.self_attn.in_proj_bias",
        "patch_transformer.transformer_encoder.layers.1.self_attn.out_proj.weight",
        "patch_transformer.transformer_encoder.layers.2.linear1.bias",
        "patch_transformer.transformer_encoder.layers.3.norm2.weight",
        "mlp_classifier.0.weight",
        "mlp_classifier.2.bias",
    } < own.keys()
    pairs = zoedepth_pairs(4, ["nyu", "kitti"])
    assert_same(to_transformers(own, pairs, BEIT + "model."), public)
    assert_same(to_authors(public, pairs, BEIT + "model."), own)
    for domain in ("nyu", "kitti"):
        binomial = f"conditional_log_binomial.{domain}.log_binomial_transform."
        own |= {binomial + "k_idx": torch.zeros(1, 8, 1, 1)}
        own |= {binomial + "K_minus_1": torch.zeros(1, 1, 1, 1)}
    path = tmp_path / "ZoeD_M12_NK.pt"
    torch.save({"model": own}, path)
    depths = {}
    for domain, reach in (("nyu", 10.0), ("kitti", 80.0)):
        recipe, adapter = loaded(path, tmp_path / domain, domain)
        assert (recipe.meaning.range_m[1], recipe.size) == (reach, (384, 512))
        assert adapter.model.config.backbone_config.layer_norm_eps == 1e-6
        for size in ADAPTED_SIZES[recipe.multiple]:
            image = smooth_image(*size)
            with torch.no_grad():
                truth = authors_depth(model, name, domain, image)
                depths[domain] = adapter(image)
            torch.testing.assert_close(depths[domain], truth, rtol=1e-4, atol=1e-4)
            assert truth.std() > 0.08
    assert (depths["nyu"] - depths["kitti"]).abs().mean() > 0.5  # each has the head of its own


def test_depth_anythings_file_as_it_is_published(tmp_path):
    model = depth_anything(V2)
    public = hub_tensors(model, tmp_path / "hub")
    own = authors_file(public, ANYTHING, WITHIN_DINOV2, "pretrained.blocks.")
    assert {
        "pretrained.blocks.11.ls2.gamma",
        "pretrained.pos_embed",
        "depth_head.resize_layers.3.weight",
        "depth_head.scratch.refinenet4.resConfUnit1.conv2.bias",
        "depth_head.scratch.output_conv2.2.bias",
    } < own.keys()
    assert_same(to_transformers(own, depth_anything_pairs(12), "pretrained."), public)
    assert_same(to_authors(public, depth_anything_pairs(12), "pretrained."), own)
    torch.save(own, tmp_path / "depth_anything_v2_vits.pth")
    _, adapter = loaded(tmp_path / "depth_anything_v2_vits.pth", tmp_path / "folder")
    image = smooth_image(*SIZE)
    with torch.no_grad():
        truth = model(pixel_values=image).predicted_depth[:, None]
        torch.testing.assert_close(adapter(image), truth, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("domain, bins", [("indoor", "softplus"), ("outdoor", "normed")])
def test_depth_anything_v1_metrics_file_as_it_is_published(tmp_path, domain, bins):
    model = ZoeOnDepthAnything(bins, {"indoor": 10.0, "outdoor": 80.0}[domain])
    public = model.public_tensors(tmp_path / "hub")
    core = "core.core.pretrained."
    own = authors_file(public, DA1METRIC, WITHIN_DINOV2, f"{core}blocks.")
    assert {
        "core.core.pretrained.blocks.11.attn.qkv.bias",
        "core.core.pretrained.blocks.0.ls1.gamma",
        "core.core.depth_head.projects.3.bias",
        "core.core.depth_head.scratch.refinenet4.resConfUnit2.conv1.weight",
        "core.core.depth_head.scratch.output_conv2.0.weight",
        "conditional_log_binomial.mlp.0.bias",
        "seed_projector._net.2.weight",
        "attractors.0._net.0.weight",
        "conv2.bias",
    } < own.keys()
    assert_same(to_transformers(own, da1metric_pairs(12), core), public)
    assert_same(to_authors(public, da1metric_pairs(12), core), own)
    path = save_da1metric(own, tmp_path / f"depth_anything_metric_depth_{domain}.pt")
    recipe, adapter = loaded(path, tmp_path / "folder")
    assert recipe.meaning.range_m[1] == (10.0 if domain == "indoor" else 80.0)
    image = smooth_image(*SIZE)
    with torch.no_grad():
        truth = model(image)[:, 0]
        found = adapter.model(pixel_values=image).predicted_depth
    torch.testing.assert_close(found, truth, rtol=1e-4, atol=1e-4)
