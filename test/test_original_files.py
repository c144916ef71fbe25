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

"""The authors' own checkpoints: key maps both ways, and the same depth as the public class."""

import json

import numpy as np
import onnxruntime
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tiny_networks import draw_weights, make_network, save_network, smooth_image

from depthrefl_ros.conversion.adapters import baked_positions, make_adapter
from depthrefl_ros.conversion.checkpoint_folder import load_model, read_folder
from depthrefl_ros.conversion.da3metric import Da3MetricAdapter, is_sky, keep_authors_positions
from depthrefl_ros.conversion.families import read_recipes
from depthrefl_ros.conversion.hub_converter import convert_original
from depthrefl_ros.conversion.key_maps import (
    depth_anything_pairs,
    to_authors,
    to_transformers,
    zoedepth_pairs,
)
from depthrefl_ros.conversion.meaning import IMAGENET_MEAN, IMAGENET_STD, ConversionError
from depthrefl_ros.conversion.original_files import write_folder

pytestmark = pytest.mark.usefixtures("one_torch_thread")
ZOE = "core.core.pretrained.model."
SIZE = (70, 98)


def depth_anything(taps, **more):
    """Return the public class with twelve layers of one head of 64 channels, as published."""
    backbone = transformers.Dinov2Config(
        hidden_size=64, num_hidden_layers=12, num_attention_heads=1, mlp_ratio=2, image_size=70,
        patch_size=14, out_indices=taps, reshape_hidden_states=False,
    )  # fmt: skip
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=64, neck_hidden_sizes=[8, 12, 16, 24],
        fusion_hidden_size=16, head_hidden_size=8, **more,
    )  # fmt: skip
    return draw_weights(transformers.DepthAnythingForDepthEstimation(config).eval())


def hub_tensors(model, folder):
    model.save_pretrained(folder)
    return load_file(folder / "model.safetensors")


def loaded(path, folder):
    """Return the adapter around what an authors' file holds."""
    folder.mkdir()
    name = write_folder(path, folder)
    found = read_folder(folder)
    (recipe,) = read_recipes(found.config, found.processor, name)
    return recipe, make_adapter(load_model(found, recipe), recipe)


V2, V1 = [3, 6, 9, 12], [9, 10, 11, 12]


@pytest.mark.parametrize(
    "name, taps, more",
    [
        ("depth_anything_v2_vits.pth", V2, {}),
        ("depth_anything_vits14.pth", V1, {}),
        (
            "depth_anything_v2_metric_hypersim_vits.pth", V2,
            {"depth_estimation_type": "metric", "max_depth": 20},
        ),
        (
            "depth_anything_v2_metric_vkitti_vits.pth", V2,
            {"depth_estimation_type": "metric", "max_depth": 80},
        ),
    ],
)  # fmt: skip
def test_depth_anythings_pth_gives_what_the_public_class_gives(tmp_path, name, taps, more):
    model = depth_anything(taps, **more)
    theirs = hub_tensors(model, tmp_path / "hub")
    pairs = depth_anything_pairs(12)
    own = to_authors(theirs, pairs, "pretrained.")
    assert {n for n in own if "pretrained.blocks.0.attn" in n} == {
        f"pretrained.blocks.0.attn.{part}.{end}"
        for part in ("qkv", "proj")
        for end in ("weight", "bias")
    }
    back = to_transformers(own, pairs, "pretrained.")
    assert back.keys() == theirs.keys()
    assert all(torch.equal(back[key], theirs[key]) for key in theirs)
    torch.save(own, tmp_path / name)
    recipe, adapter = loaded(tmp_path / name, tmp_path / "folder")
    assert recipe.meaning.kind == ("metric" if more else "inverse_relative")
    image = smooth_image(*SIZE)
    with torch.no_grad():
        truth = model(pixel_values=image).predicted_depth[:, None]
        torch.testing.assert_close(adapter(image), truth, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("domain, name", [("N", "zoedepth-nyu"), ("K", "zoedepth-kitti")])
def test_zoedepths_pt_gives_what_the_public_class_gives(tmp_path, domain, name):
    model = make_network(name)
    theirs = load_file(save_network(model, tmp_path / "hub", name) / "model.safetensors")
    pairs = zoedepth_pairs(4)
    own = to_authors(theirs, pairs, ZOE)
    assert own[ZOE + "blocks.0.attn.qkv.weight"].shape == (96, 32)
    assert {ZOE + "blocks.0.attn.q_bias", ZOE + "blocks.0.attn.v_bias"} <= own.keys()
    back = to_transformers(own, pairs, ZOE)
    assert back.keys() == theirs.keys()
    assert all(torch.equal(back[key], theirs[key]) for key in theirs)
    own[ZOE + "blocks.0.attn.relative_position_index"] = torch.zeros(5, 5)  # as timm keeps it
    path = tmp_path / f"ZoeD_M12_{domain}.pt"
    torch.save({"model": own}, path)
    recipe, adapter = loaded(path, tmp_path / "folder")
    assert recipe.meaning.range_m[1] == (10.0 if domain == "N" else 80.0)
    if domain == "K":
        for part in (model.metric_head.seed_bin_regressor, *model.metric_head.attractors):
            part.max_depth = 80.0
        model.metric_head.max_depth = 80.0
    image = smooth_image(64, 96)
    with torch.no_grad():
        truth = model(pixel_values=image).predicted_depth
        found = adapter.model(pixel_values=image).predicted_depth
    torch.testing.assert_close(found, truth, rtol=1e-4, atol=1e-4)


def da3metric_file(model, tmp_path, bias=0.1):
    """Return a file as the authors of DA3METRIC-LARGE publish it, and its sky head's weights."""
    theirs = hub_tensors(model, tmp_path / "hub")
    own = to_authors(theirs, depth_anything_pairs(12), "pretrained.")
    own = {
        ("model.backbone." if n.startswith("pretrained") else "model.")
        + n.replace("depth_head", "head"): v
        for n, v in own.items()
        if "refinenet4.resConfUnit1" not in n and "mask_token" not in n
    }
    drawn = torch.Generator().manual_seed(3)
    sky = {
        "0": torch.randn(8, 8, 3, 3, generator=drawn) * 0.2,
        "2": torch.randn(1, 8, 1, 1, generator=drawn),
    }
    for step, weight in sky.items():
        own[f"model.head.scratch.sky_output_conv2.{step}.weight"] = weight
        own[f"model.head.scratch.sky_output_conv2.{step}.bias"] = torch.full(weight.shape[:1], bias)
    path = tmp_path / "da3metric-large.safetensors"
    save_file({name: value.contiguous() for name, value in own.items()}, path)
    return path, sky


def test_da3metric_has_a_head_for_depth_and_sky(tmp_path):
    model = depth_anything(V2)
    path, sky = da3metric_file(model, tmp_path)
    folder = tmp_path / "folder"
    folder.mkdir()
    name = write_folder(path, folder)
    found = read_folder(folder)
    (recipe,) = read_recipes(found.config, found.processor, name)
    assert (recipe.meaning.kind, recipe.meaning.focal_px) == ("canonical", 300.0)
    tensors = load_file(folder / "model.safetensors")
    head = {key: value for key, value in tensors.items() if is_sky(key)}
    adapter = Da3MetricAdapter(load_model(found, recipe, but=head), head).eval()
    image = smooth_image(*SIZE)
    with torch.no_grad():
        seen = []
        hooks = [
            model.head.conv3.register_forward_hook(lambda *args: seen.append(args[2])),
            model.head.conv2.register_forward_hook(lambda *args: seen.append(args[1][0])),
        ]
        model(pixel_values=image)
        for hook in hooks:
            hook.remove()
        shared, logits = seen
        depth, far = adapter(image)
        torch.testing.assert_close(depth, logits.exp(), rtol=1e-4, atol=1e-4)
        hidden = torch.nn.functional.conv2d(shared, sky["0"], torch.full((8,), 0.1), padding=1)
        truth = torch.nn.functional.conv2d(hidden.relu(), sky["2"], torch.full((1,), 0.1)).relu()
        torch.testing.assert_close(far, truth, rtol=1e-4, atol=1e-4)
        assert far.std() > 0.01 and depth.std() > 0.05


def planes_of(bundle):
    """Return what a bundle's graph makes of its golden images, by name."""
    session = onnxruntime.InferenceSession(
        bundle.path("model.onnx"), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    found = [session.run(names, {"images": one[None]}) for one in bundle.golden().images]
    return {name: np.concatenate([one[k] for one in found]) for k, name in enumerate(names)}


def test_a_pth_becomes_a_bundle(tmp_path):
    model = depth_anything(V2, depth_estimation_type="metric", max_depth=20)
    own = to_authors(hub_tensors(model, tmp_path / "hub"), depth_anything_pairs(12), "pretrained.")
    path = tmp_path / "depth_anything_v2_metric_hypersim_vits.pth"
    torch.save(own, path)
    bundle = convert_original(path, tmp_path / "bundle", SIZE).bundle
    assert (bundle.kind, bundle.trained_hfov_deg) == ("metric", 60.0)
    assert list(bundle.sources) == [path.name]
    images = torch.from_numpy(bundle.golden().images).permute(0, 3, 1, 2) / 255.0
    mean, std = (torch.tensor(one).reshape(3, 1, 1) for one in (IMAGENET_MEAN, IMAGENET_STD))
    keep_authors_positions(model)
    with torch.no_grad():
        truth = model(pixel_values=(images - mean) / std).predicted_depth[:, None].numpy()
    np.testing.assert_allclose(planes_of(bundle)["depth"], truth, rtol=1e-3, atol=1e-4)


def test_da3metric_becomes_a_bundle_with_sky(tmp_path):
    path, _ = da3metric_file(depth_anything(V2), tmp_path, -0.3)  # little sky: rooms have none
    bundle = convert_original(path, tmp_path / "bundle", SIZE).bundle
    assert (bundle.kind, bundle.focal_px) == ("canonical", 300.0)
    assert bundle.commercial == "unknown"  # a file by itself tells no terms
    assert "sky" in bundle.outputs
    planes = planes_of(bundle)
    assert planes["depth"].std() > 0.01
    assert 0.0 < (planes["sky"] > 0.5).mean() < 0.6


def test_authors_positions_are_near_the_public_ones_and_are_baked():
    model = depth_anything(V2)
    image = smooth_image(84, 112)
    with torch.no_grad():
        public = model(pixel_values=image).predicted_depth
        keep_authors_positions(model)
        own = model(pixel_values=image).predicted_depth
        difference = (own - public).abs().max() / public.abs().max()
        assert 1e-5 < difference < 0.2
        with baked_positions(model_adapter(model), 84, 112):
            torch.testing.assert_close(model(pixel_values=image).predicted_depth, own)
        torch.testing.assert_close(model(pixel_values=image).predicted_depth, own)


def model_adapter(model):
    class Adapter(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, image):
            return self.model(pixel_values=image).predicted_depth

    return Adapter()


class RunsCode:
    def __reduce__(self):
        return (print, ("this must not run",))


@pytest.mark.parametrize(
    "name, spoil, words",
    [
        ("depth_anything_v2_vits.pth", "code", "needs code to be read, which is refused.*to ONNX"),
        ("depth_anything_v2_vits.pth", "cut", "is cut off"),
        ("depth_anything_v2_vits.pth", "lfs", "Git LFS pointer"),
        ("yolo.pt", "other", "no network whose tensors are known"),
        ("yolo.pt", "list", "holds no dictionary of tensors"),
        ("mine.pth", "", "call it depth_anything_v2_vits.pth"),
        ("depth_anything_v2_metric_vits.pth", "", "hypersim .* or vkitti"),
        ("depth_anything_v2_vits.pth", "lacks", "lacks pretrained.cls_token"),
        (
            "depth_anything_metric_depth_indoor.pt", "v1 metric",
            "is Depth Anything V1 metric .*take Depth Anything V2 metric, or export it to ONNX",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(tmp_path, capfd, name, spoil, words):
    tensors = {"pretrained.blocks.11.norm1.weight": torch.zeros(64)}
    if spoil != "lacks":
        tensors["pretrained.cls_token"] = torch.zeros(1, 1, 64)
    contents = {
        "code": {"model": RunsCode()},
        "other": {"a.b": torch.zeros(1)},
        "list": [1],
        "v1 metric": {"model": {"core.core.depth_head.projects.0.weight": torch.zeros(1)}},
    }
    path, folder = tmp_path / name, tmp_path / "folder"
    folder.mkdir()
    torch.save(contents.get(spoil, tensors), path)
    if spoil == "cut":
        path.write_bytes(path.read_bytes()[:-200])
    elif spoil == "lfs":
        path.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ConversionError, match=words) as refused:
        write_folder(path, folder)
    assert "\n" not in str(refused.value)
    assert "this must not run" not in capfd.readouterr().out
    assert not list(folder.iterdir()) or json.loads((folder / "config.json").read_text())
