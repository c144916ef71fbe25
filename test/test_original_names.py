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

"""Which file of a folder is a network as its authors publish it, and under which terms."""

import json

import pytest
from authors_files import MAKERS, V2, da3metric_file, depth_anything

from depthrefl_ros.conversion.hub_converter import convert_original
from depthrefl_ros.conversion.licences import find_terms
from depthrefl_ros.conversion.meaning import ConversionError
from depthrefl_ros.conversion.original_names import (
    PUBLISHED,
    da3metric_name,
    find_original,
    is_da3metric,
)

NET = {"config": {"net": {"out_layers": [4, 11, 17, 23]}}}


def da3_folder(folder, config=None, file="model.safetensors"):
    folder.mkdir()
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    (folder / file).write_bytes(b"")
    return folder / file


def test_an_authors_file_is_found_by_its_name(tmp_path):
    files = {name.split()[0] for name in MAKERS}  # what follows is a head's name
    assert files - {"da3metric-large.safetensors"} <= set(PUBLISHED)
    for name in PUBLISHED:
        (tmp_path / name).write_bytes(b"")
        assert find_original(tmp_path, "mine") == tmp_path / name
        (tmp_path / name).unlink()
    assert find_original(tmp_path, "mine") is None
    for name in PUBLISHED[:2]:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ConversionError, match=r"holds 2 networks: .*vits\.pth, .*vitb\.pth; "):
        find_original(tmp_path, "mine")
    (tmp_path / "config.json").write_text('{"model_type": "depth_anything"}')
    assert find_original(tmp_path, "mine") is None  # one of transformers


@pytest.mark.parametrize(
    "config, folder",
    [(NET | {"model_name": "da3metric-large"}, "mine"), (NET, "DA3METRIC-LARGE")],
)
def test_da3metric_is_known_by_its_config(tmp_path, config, folder):
    path = da3_folder(tmp_path / folder, config)
    assert find_original(path.parent, folder) == path
    assert find_terms(da3metric_name(path)).licence == "Apache-2.0"


@pytest.mark.parametrize(
    "config, name", [(NET | {"model_name": "da3-large"}, "x"), (NET, "a/mono")]
)
def test_another_depth_anything_3_is_refused(config, name):
    called = config.get("model_name", "mono")
    with pytest.raises(ConversionError, match=f"{name} is {called} by its config.json: "):
        is_da3metric(config, name)


def test_da3metric_and_da3mono_have_the_same_tensors(tmp_path):
    """A file called like either says so in its name or in the config.json beside it."""
    path, _ = da3metric_file(depth_anything(V2), tmp_path, -0.3)
    bare = path.rename(tmp_path / "model.safetensors")
    with pytest.raises(ConversionError, match="is DA3METRIC-LARGE or DA3MONO-LARGE, .*beside it"):
        convert_original(bare, tmp_path / "out", (70, 98))
    (tmp_path / "config.json").write_text(json.dumps(NET | {"model_name": "da3mono-large"}))
    with pytest.raises(ConversionError, match="is da3mono-large by its config.json"):
        convert_original(bare, tmp_path / "out", (70, 98))
    (tmp_path / "config.json").write_text(json.dumps(NET | {"model_name": "da3metric-large"}))
    (done,) = convert_original(bare, tmp_path / "out", (70, 98))
    bundle = done.bundle
    assert (bundle.kind, bundle.source) == ("canonical", "da3metric-large")
    assert (bundle.licence, bundle.commercial) == ("Apache-2.0", "yes")


def test_a_kind_that_contradicts_an_authors_file_is_refused(tmp_path):
    path, _ = da3metric_file(depth_anything(V2), tmp_path, -0.3)
    with pytest.raises(ConversionError, match="--kind inverse_relative contradicts it"):
        convert_original(path, tmp_path / "out", (70, 98), kind="inverse_relative")


@pytest.mark.parametrize(
    "name, commercial",
    [
        ("depth-anything-v2-vits", "yes"),
        ("depth-anything-v2-vitl", "no"),
        ("depth-anything-v2-metric-vkitti-vitb", "no"),
        ("depth-anything-v2-metric-vkitti-vits", "unknown"),
        ("depth-anything-vitl14", "yes"),
        ("depth-anything-metric-depth-indoor", "unknown"),
        ("ZoeD-M12-K", "yes"),
        ("ZoeD-M12-NK", "yes"),
        ("my-depth-anything-v2-vits", "unknown"),
        ("depth-anything-v2-vits-finetuned", "unknown"),
    ],
)
def test_the_terms_of_an_authors_file_go_by_its_name(name, commercial):
    assert find_terms(name).commercial == commercial
