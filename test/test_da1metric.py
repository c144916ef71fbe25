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

"""Depth Anything V1 metric against its authors' own depth, and against the two public classes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from authors_files import (
    DA1_BINS,
    V2,
    ZoeOnDepthAnything,
    drawn_picture,
    drawn_tensor,
    save_da1metric,
    to_authors,
    write_da1metric,
)
from test_adapters import SIZES, mutate_alpha, mutate_attractors
from test_original_files import loaded
from tiny_networks import smooth_image

from depthrefl_ros.conversion.adapters import PlainAdapter, baked_positions
from depthrefl_ros.conversion.da3metric import keep_authors_positions
from depthrefl_ros.conversion.hub_converter import convert_original
from depthrefl_ros.conversion.key_maps import da1metric_pairs
from depthrefl_ros.conversion.meaning import IMAGENET_MEAN, IMAGENET_STD, ConversionError

pytestmark = pytest.mark.usefixtures("one_torch_thread")
# What the authors' code gives, every second pixel of each way; made by test/data/da1metric.py.
DEPTHS = Path(__file__).parent / "data" / "da1metric.npz"
FILE = "depth_anything_metric_depth_{}.pt"


@pytest.fixture(scope="module", params=DA1_BINS)
def written(request, tmp_path_factory):
    """Domain, its file, and the network of public parts with the same weights."""
    domain, folder = request.param, tmp_path_factory.mktemp("written")
    bins, reach = DA1_BINS[domain]
    return domain, *write_da1metric(folder, FILE.format(domain), bins=bins, reach=reach)


def close(found, truth):
    torch.testing.assert_close(found, truth, rtol=1e-4, atol=1e-4)


def drawn_network(domain, folder):
    """Return the adapter around the weights that the kept depths were made with."""
    bins, reach = DA1_BINS[domain]
    model = ZoeOnDepthAnything(bins, reach)
    public = model.public_tensors(folder / "hub")
    names = to_authors(public, da1metric_pairs(12), "core.core.pretrained.")
    own = {name: drawn_tensor(name, value.shape) for name, value in names.items()}
    _, adapter = loaded(save_da1metric(own, folder / FILE.format(domain)), folder / "folder")
    keep_authors_positions(adapter.model)
    return adapter


@pytest.mark.parametrize("domain", DA1_BINS)
def test_depth_is_the_authors_own_at_three_sizes(tmp_path, domain):
    adapter = drawn_network(domain, tmp_path)
    mean, std = (torch.tensor(one).reshape(1, 3, 1, 1) for one in (IMAGENET_MEAN, IMAGENET_STD))
    with np.load(DEPTHS) as kept:
        for height, width in SIZES[14]:
            truth = torch.from_numpy(kept[f"{domain}_{height}x{width}"])
            image = (drawn_picture(height, width) - mean) / std
            with torch.no_grad(), baked_positions(adapter, height, width):
                close(adapter(image)[0, 0, ::2, ::2], truth)
            assert truth.std() > 0.3


def test_parity_with_the_public_parts_at_three_sizes(written, tmp_path):
    domain, path, model = written
    recipe, adapter = loaded(path, tmp_path / "folder")
    assert (recipe.meaning.kind, recipe.meaning.range_m) == ("metric", (0.3, DA1_BINS[domain][1]))
    for size in SIZES[14]:
        image = smooth_image(*size)
        with torch.no_grad():
            truth = model.infer(image)
            with baked_positions(adapter, *size):
                close(adapter(image), truth)
        assert truth.std() > 0.08


def test_the_size_and_normalisation_are_the_authors(written, tmp_path):
    recipe, _ = loaded(written[1], tmp_path / "folder")
    meaning = recipe.meaning
    assert (recipe.size, recipe.multiple, meaning.resize) == ((392, 518), 14, "stretch")
    assert (meaning.mean, meaning.std) == (IMAGENET_MEAN, IMAGENET_STD)
    assert meaning.trained_hfov_deg == {"indoor": 63.0, "outdoor": 80.0}[written[0]]
    assert meaning.commercial == "unknown" and "code is Apache-2.0" in meaning.licence


def without_nearness(adapter):
    adapter.model.head.conv3.weight.data.zero_()
    adapter.model.head.conv3.bias.data.fill_(-1.0)
    return adapter


def with_aspect(adapter):
    adapter._keeps_aspect = True
    return adapter


def with_other_positions(adapter):
    keep_authors_positions(adapter.model)
    return adapter


def with_other_reach(adapter):
    for part in (adapter.model.metric_head, *adapter.model.metric_head.attractors):
        part.max_depth *= 0.125
    return adapter


MUTATIONS = {
    "attractors off": ("indoor", mutate_attractors),
    "alpha x 100": ("indoor", mutate_alpha),
    "wrong max_depth": ("outdoor", with_other_reach),
    "relative depth not given to the head": ("indoor", without_nearness),
    "no mirrored rim": ("indoor", lambda adapter: PlainAdapter(adapter.model)),
    "the image's aspect kept": ("indoor", with_aspect),
    "another way to resize positions": ("indoor", with_other_positions),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_mutation_fails_parity(tmp_path, monkeypatch, mutation):
    domain, mutate = MUTATIONS[mutation]
    bins, reach = DA1_BINS[domain]
    path, model = write_da1metric(tmp_path, FILE.format(domain), bins=bins, reach=reach)
    _, adapter = loaded(path, tmp_path / "folder")
    image = smooth_image(*SIZES[14][2])
    with torch.no_grad():
        truth = model.infer(image)
        close(adapter(image), truth)
        if mutate in (mutate_attractors, mutate_alpha):
            mutate(monkeypatch)
        else:
            adapter = mutate(adapter)
        with pytest.raises(AssertionError, match="not close"):
            close(adapter(image), truth)


def test_the_last_four_layers_feed_the_neck(tmp_path):
    """V2's layers have equal keys: weights that were trained on those give another depth."""
    path, model = write_da1metric(tmp_path, FILE.format("indoor"), taps=V2)
    _, adapter = loaded(path, tmp_path / "folder")
    image = smooth_image(*SIZES[14][0])
    with torch.no_grad(), pytest.raises(AssertionError, match="not close"):
        close(adapter(image), model.infer(image))


@pytest.mark.parametrize(
    "spoil, words",
    [
        ("missing", r"lacks (metric_head\.\S+, ){7}metric_head\.\S+$"),
        ("unexpected", r"has no place for (core\.core\.other\.\d+, ){9}\S+ and 2 more$"),
        ("shape", r"metric_head\.conv2\.bias is \(7,\) where \(16,\) is needed"),
        ("no head", r"lacks attractors\.3\._net\.2\.weight: it is cut off or of another network"),
    ],
)
def test_weights_that_do_not_fit_are_one_line_about_the_file(written, tmp_path, spoil, words):
    domain, path, _ = written
    own = torch.load(path, weights_only=True)["model"]
    if spoil == "missing":
        own = {name: value for name, value in own.items() if not name.startswith("projectors.0")}
        own = {name: value for name, value in own.items() if not name.startswith("projectors.1")}
    elif spoil == "unexpected":
        own |= {f"core.core.other.{number}": torch.zeros(1) for number in range(12)}
    elif spoil == "shape":
        own["conv2.bias"] = torch.zeros(7)
    else:
        own = {name: value for name, value in own.items() if name.startswith("core.")}
    spoilt = tmp_path / FILE.format(domain)
    torch.save({"model": own}, spoilt)
    with pytest.raises(ConversionError, match=words) as refused:
        convert_original(spoilt, tmp_path / "out", (70, 98))
    assert str(refused.value).startswith(f"{spoilt} ") and "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_reflector_cannot_be_trained_on_its_weights(written, tmp_path):
    with pytest.raises(ConversionError, match="--weights: .* this network is a DepthAnythingV1Met"):
        convert_original(written[1], tmp_path / "out", (70, 98), with_weights=True)
    assert not (tmp_path / "out").exists()
