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

"""The adapters around public classes against what their authors' own processing gives."""

import json
import shutil

import numpy as np
import pytest
import torch
from tiny_networks import NETWORKS, make_network, save_network, smooth_image
from torch.nn.functional import interpolate

from depthrefl_ros.conversion.adapters import baked_positions, make_adapter, zoedepth_size
from depthrefl_ros.conversion.checkpoint_folder import load_model, read_folder
from depthrefl_ros.conversion.families import read_recipes

pytestmark = pytest.mark.usefixtures("one_torch_thread")
CASES = {name: "" for name in NETWORKS} | {"zoedepth-nyu-kitti": "nyu"}
CASES = [*CASES.items(), ("zoedepth-nyu-kitti", "kitti")]
# (height, width) of a bundle by what its sides must be multiples of.
SIZES = {
    14: [(70, 98), (84, 56), (126, 70)],
    32: [(64, 96), (96, 64), (128, 160)],
    2: [(96, 128), (60, 100), (126, 90)],
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Name -> the public network and its folder in the Hub's formats, each made once."""
    made = {}

    def get(name):
        if name not in made:
            model = make_network(name)
            folder = tmp_path_factory.mktemp("hub") / name
            made[name] = (model, save_network(model, folder, name))
        return made[name]

    return get


def load(saved, name, domain):
    model, folder = saved(name)
    checkpoint = read_folder(folder)
    recipes = read_recipes(checkpoint.config, checkpoint.processor, name)
    recipe = next(one for one in recipes if one.domain == domain)
    return model, recipe, make_adapter(load_model(checkpoint, recipe), recipe)


def authors_depth(model, name, domain, image):
    """Depth at the image's size by the public class and its published processing.

    Args:
        model: of the public class.
        name: of the network.
        domain: of the head that ZoeDepth NK shall take.
        image: (1, 3, H, W) normalised.
    """
    size = image.shape[2:]
    if name.startswith("zoedepth"):
        if name == "zoedepth-kitti":  # published with the indoor network's bins
            model.metric_head.max_depth = 80.0
            for part in (model.metric_head.seed_bin_regressor, *model.metric_head.attractors):
                part.max_depth = 80.0
        if domain:
            last = model.metric_head.mlp_classifier.linear2
            last.bias.data = torch.tensor([1e3, 0.0] if domain == "nyu" else [0.0, 1e3])
        rows, columns = (int(np.sqrt(side / 2) * 3) for side in size)
        pads = ((0, 0), (0, 0), (rows, rows), (columns, columns))
        padded = torch.from_numpy(np.pad(image.numpy(), pads, mode="reflect"))
        inner = interpolate(
            padded, zoedepth_size(padded.shape[2:], size), mode="bilinear", align_corners=True
        )
        found = model(pixel_values=inner).predicted_depth[:, None]
        found = interpolate(found, padded.shape[2:], mode="bicubic", align_corners=False)
        return found[:, :, rows:-rows, columns:-columns]
    if name == "depthpro-hf":
        inner = interpolate(image, (64, 64), mode="bilinear", align_corners=False)
        inverse = model(pixel_values=inner).predicted_depth[:, None]
        return interpolate(inverse, size, mode="bilinear", align_corners=False)
    if name in ("dpt-large", "dpt-swinv2-tiny-256"):
        image = interpolate(image, (64, 64), mode="bilinear", align_corners=False)
    found = model(pixel_values=image).predicted_depth[:, None]
    if tuple(found.shape[2:]) == tuple(size):
        return found
    mode = "bicubic" if name == "dpt-dinov2-small-nyu" else "bilinear"
    return interpolate(found, size, mode=mode, align_corners=False)


@pytest.mark.parametrize("name, domain", CASES)
def test_parity_with_the_public_class_at_three_sizes(saved, name, domain):
    model, recipe, adapter = load(saved, name, domain)
    for height, width in SIZES[recipe.multiple]:
        image = smooth_image(height, width)
        with torch.no_grad():
            truth = authors_depth(model, name, domain, image)
            with baked_positions(adapter, height, width):
                found = adapter(image)
        assert truth.std() > 0.08, (name, truth.std())
        torch.testing.assert_close(found, truth, rtol=1e-4, atol=1e-4)


def mutate_scale(name, factor):
    def change(adapter):
        part = adapter.model.get_submodule(name)
        part.max_depth *= factor

    return change


def mutate_corners(adapter):
    for module in adapter.model.modules():
        if hasattr(module, "align_corners"):
            module.align_corners = False


def mutate_alpha(monkeypatch):
    import transformers.models.zoedepth.modeling_zoedepth as zoedepth

    original = zoedepth.inv_attractor
    monkeypatch.setattr(
        zoedepth, "inv_attractor", lambda dx, alpha=300, gamma=2: original(dx, 100 * alpha, gamma)
    )


def mutate_attractors(monkeypatch):
    import transformers.models.zoedepth.modeling_zoedepth as zoedepth

    monkeypatch.setattr(zoedepth, "inv_attractor", lambda dx, alpha=300, gamma=2: 0.0 * dx)


MUTATIONS = {
    "attractors off": ("zoedepth-nyu", mutate_attractors),
    "alpha x 100": ("zoedepth-nyu", mutate_alpha),
    "other align_corners": ("zoedepth-nyu", mutate_corners),
    "wrong max_depth": (
        "depth-anything-v2-metric-indoor-small", mutate_scale("head", 4.0),
    ),
    "wrong bins": ("zoedepth-kitti", mutate_scale("metric_head.attractors.3", 0.125)),
}  # fmt: skip


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_mutation_fails_parity(saved, monkeypatch, mutation):
    name, mutate = MUTATIONS[mutation]
    model, recipe, adapter = load(saved, name, "")
    image = smooth_image(*SIZES[recipe.multiple][0])
    with torch.no_grad():
        truth = authors_depth(model, name, "", image)
        torch.testing.assert_close(adapter(image), truth, rtol=1e-4, atol=1e-4)
        mutate(monkeypatch if mutation in ("attractors off", "alpha x 100") else adapter)
        with pytest.raises(AssertionError, match="not close"):
            torch.testing.assert_close(adapter(image), truth, rtol=1e-4, atol=1e-4)


def test_wrong_taps_load_silently_and_fail_parity(saved, tmp_path):
    """V1 and V2 share all keys; which layers feed the neck stands in config.json alone."""
    name = "depth-anything-v2-small"
    model, folder = saved(name)
    other = shutil.copytree(folder, tmp_path / name)
    config = json.loads((other / "config.json").read_text())
    config["backbone_config"].update(
        out_indices=[0, 2, 3, 4], out_features=["stem", "stage2", "stage3", "stage4"]
    )
    (other / "config.json").write_text(json.dumps(config))
    checkpoint = read_folder(other)
    (recipe,) = read_recipes(checkpoint.config, checkpoint.processor, name)
    adapter = make_adapter(load_model(checkpoint, recipe), recipe)
    image = smooth_image(70, 98)
    with torch.no_grad():
        truth = authors_depth(model, name, "", image)
        with pytest.raises(AssertionError, match="not close"):
            torch.testing.assert_close(adapter(image), truth, rtol=1e-4, atol=1e-4)


def test_baked_positions_are_constants_for_their_size_and_are_taken_back(saved):
    _, _, adapter = load(saved, "zoedepth-nyu", "")
    image = smooth_image(96, 128)
    with torch.no_grad():
        before = adapter(image)
        with baked_positions(adapter, 96, 128):
            calls = []
            table = adapter.model.backbone
            hooks = [
                module.register_forward_hook(lambda *args: calls.append(args[2]))
                for module in table.modules()
                if type(module).__name__ == "BeitRelativePositionBias"
            ]
            adapter(image)
            first = list(calls)
            adapter(image)
            for hook in hooks:
                hook.remove()
        assert len(calls) == 2 * len(first) > 0
        assert all(one is other for one, other in zip(first, calls[len(first) :], strict=True))
        torch.testing.assert_close(adapter(image), before, rtol=0, atol=0)
        adapter(smooth_image(60, 100))  # another size works again


def test_zoedepth_sees_a_camera_image_at_its_usual_size():
    # 640x480 with its padding, by the published processor.
    assert zoedepth_size((480 + 2 * 46, 640 + 2 * 53), (384, 512)) == (384, 512)
