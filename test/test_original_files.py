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

import pytest
import torch
from authors_files import SIZE, V1, V2, ZOE, depth_anything, hub_tensors, to_authors
from tiny_networks import smooth_image

from depthrefl_ros.conversion.adapters import make_adapter
from depthrefl_ros.conversion.checkpoint_folder import load_model, read_folder
from depthrefl_ros.conversion.families import read_recipes
from depthrefl_ros.conversion.key_maps import (
    depth_anything_pairs,
    to_transformers,
)
from depthrefl_ros.conversion.meaning import ConversionError
from depthrefl_ros.conversion.original_files import write_folder

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def loaded(path, folder, domain=""):
    """Return the recipe and the adapter of what an authors' file holds, or of one of its heads."""
    folder.mkdir()
    name = write_folder(path, folder)
    found = read_folder(folder)
    recipes = read_recipes(found.config, found.processor, name)
    (recipe,) = [one for one in recipes if one.domain == domain]
    return recipe, make_adapter(load_model(found, recipe), recipe)


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


def core_names(layers):
    """Return those names of Depth Anything's that its sizes are read of."""
    names = [f"depth_head.projects.{stage}.weight" for stage in range(4)]
    names += [f"depth_head.scratch.{part}.weight" for part in ("layer1_rn", "output_conv2.0")]
    names += [f"pretrained.blocks.{layer}.mlp.fc1.weight" for layer in (0, layers - 1)]
    return [*names, "pretrained.cls_token", "pretrained.pos_embed"]


V1_METRIC = [f"core.core.{name}" for name in core_names(12)]
HEAD = [f"attractors.{stage}._net.2.weight" for stage in range(4)]
HEAD += ["conv2.weight", "seed_projector._net.2.weight", "seed_bin_regressor._net.2.weight"]


@pytest.mark.parametrize(
    "name, taps",
    [
        ("depth_anything_vitl14.pth", [21, 22, 23, 24]),
        ("depth_anything_v2_vitl.pth", [5, 12, 18, 24]),
        ("depth_anything_metric_depth_outdoor.pt", [21, 22, 23, 24]),
    ],
)
def test_the_layers_of_the_large_networks_that_feed_the_neck(tmp_path, name, taps):
    names = core_names(24)
    if "metric" in name:
        names = [f"core.core.{one}" for one in names] + HEAD
    torch.save({one: torch.zeros(1, 1, 1, 1) for one in names}, tmp_path / name)
    (tmp_path / "folder").mkdir()
    write_folder(tmp_path / name, tmp_path / "folder")
    config = json.loads((tmp_path / "folder" / "config.json").read_text())["backbone_config"]
    assert config["out_indices"] == taps
    assert config["out_features"] == [f"stage{tap}" for tap in taps]


def zoedepth_names(*names):
    """Return tensors of these names and one by which the file is ZoeDepth's."""
    shape = (52, 1, 1, 1)  # of a table of positions in 4x4 patches; all are as long
    return {name: torch.zeros(shape) for name in (ZOE + "cls_token", *names)}


WHOLE_ENCODER = [f"{ZOE}blocks.0.attn.relative_position_bias_table"]
WHOLE_ENCODER += [f"{ZOE}patch_embed.proj.weight", "conv2.weight", "seed_projector._net.2.weight"]


class RunsCode:
    def __reduce__(self):
        return (print, ("this must not run",))


@pytest.mark.parametrize(
    "name, spoil, words",
    [
        (
            "depth_anything_v2_vits.pth",
            "code",
            r"needs code to be read \((\w+\.)?print\), which is refused; export it to ONNX",
        ),
        ("depth_anything_v2_vits.pth", "old", "needs code to be read, .* or is damaged; export"),
        (
            "ZoeD_M12_N.pt",
            "nk",
            r"is ZoeDepth N by its name and has the two heads of NK .*: call it ZoeD_M12_NK\.pt$",
        ),
        ("ZoeD_M12_K.pt", "nk", "is ZoeDepth K by its name and has the two heads of NK"),
        (
            "ZoeD_M12_NK.pt",
            "n",
            r"is ZoeDepth NK by its name and has the one head of N or K .*: call it ZoeD_M12_N\.pt "
            r"or ZoeD_M12_K\.pt",
        ),
        ("ZoeD_M12_NK.pt", "nk", r"lacks core\.core\.pretrained\.model\.blocks\.0.*: it is cut"),
        ("ZoeD_M12_NK.pt", "half", r"lacks seed_bin_regressors\.kitti\._net\.2\.weight: it is cut"),
        ("zoe.pt", "zoe", "call it ZoeD_M12_N.pt or ZoeD_M12_K.pt"),
        ("depth_anything_v2_vits.pth", "cut", "is cut off"),
        ("depth_anything_v2_vits.pth", "lfs", "Git LFS pointer"),
        ("yolo.pt", "other", "no network whose tensors are known"),
        ("yolo.pt", "list", "holds no dictionary of tensors"),
        ("mine.pth", "", "call it depth_anything_v2_vits.pth"),
        ("depth_anything_v2_metric_vits.pth", "", "hypersim .* or vkitti"),
        ("depth_anything_v2_vits.pth", "lacks", "lacks pretrained.cls_token"),
        ("depth_anything_vitl14.pth", "v1 metric", "indoor .* or outdoor .* is in its name only"),
        (
            "depth_anything_metric_depth_indoor.pt",
            "",
            "is Depth Anything V1 metric by its name, and has no metric head .*_anything_vitl14",
        ),
        ("depth_anything_metric_depth_indoor.pt", "v1 metric", "lacks attractors.3._net.2.weight"),
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
        "n": {"model": zoedepth_names("seed_bin_regressor._net.2.weight")},
        "nk": {"model": zoedepth_names("seed_bin_regressors.nyu._net.2.weight")},
        "half": {"model": zoedepth_names(*WHOLE_ENCODER, "seed_bin_regressors.nyu._net.2.weight")},
        "zoe": {"model": {ZOE + "cls_token": torch.zeros(1)}},
        "v1 metric": {"model": dict.fromkeys(V1_METRIC, torch.zeros(1, 1, 1, 1))},
    }
    path, folder = tmp_path / name, tmp_path / "folder"
    folder.mkdir()
    torch.save(contents.get(spoil, tensors), path)
    if spoil == "cut":
        path.write_bytes(path.read_bytes()[:-200])
    elif spoil == "old":  # torch's format before 1.6 is no zip file: cut off, it is a broken pickle
        torch.save(tensors, path, _use_new_zipfile_serialization=False)
        path.write_bytes(path.read_bytes()[:-300])
    elif spoil == "lfs":
        path.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ConversionError, match=words) as refused:
        write_folder(path, folder)
    assert "\n" not in str(refused.value)
    assert "this must not run" not in capfd.readouterr().out
    assert not list(folder.iterdir()) or json.loads((folder / "config.json").read_text())
