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

"""A bundle and a folder of one's own become a bundle that runs."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from dataset_folders import write_plain_folder
from safetensors.torch import load_file

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.selection import open_engine
from depthrefl_ros.tools import dataset
from depthrefl_ros.tools import train as tool
from depthrefl_ros.tools.train_data import Part
from depthrefl_ros.tools.train_finetune import shipped_or_path, split_off
from depthrefl_ros.training.datasets import PlainFolder

OPTIONS = ["--batch", "2", "--workers", "0", "--threads", "1", "--device", "cpu"]


class Tuned(NamedTuple):
    """The shipped model, trained further on the shipped recording, by the documented way."""

    run: Path
    output: str


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuned")
    recording = Path(__file__).parent / "data" / "corridor.mcap"
    assert dataset.main([str(recording), str(folder / "my_folder"), "--min-change", "0.18"]) == 0
    command = ["--finetune", "models/indoor_tiny", "--data", "my_folder", "--steps", "3", *OPTIONS]
    output = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output):
        patch.chdir(folder)
        assert tool.main([*command, "--minutes", "0"]) == 3
        assert tool.main(command) == 0
    return Tuned(folder / "runs" / "indoor_tiny_my_folder", output.getvalue())


def test_a_leg_is_continued(tuned):
    assert "my_folder: 12 images" in tuned.output
    assert "starting from bundle indoor_tiny" in tuned.output
    assert "continuing from runs/indoor_tiny_my_folder/finetune/checkpoint-" in tuned.output


def test_the_new_bundle_runs_and_tells_where_it_comes_from(tuned):
    target, before = tuned.run / "indoor_tiny_my_folder", Bundle.load("indoor_tiny")
    assert f"model:={target}" in tuned.output
    bundle = Bundle.load(str(target))
    assert bundle.name == "indoor_tiny_my_folder"
    assert (bundle.licence, bundle.min_range_m) == (before.licence, before.min_range_m)
    training = bundle.description["training"]
    assert training["steps"] == 3 and training["data"][0]["images"] == 12
    digest = before.description["files"]["model.safetensors"]
    assert training["initial_weights"].endswith(digest)
    accuracy = bundle.description["accuracy"]
    assert accuracy["images"] == 1 and "images of my_folder" in accuracy["protocol"]
    assert bundle.calibration.shape == (2, 101)
    assert open_engine(bundle, "openvino").engine.height == before.height


def test_all_but_the_statistics_of_batch_norm_has_learnt(tuned):
    folders = (Bundle.load("indoor_tiny").folder, tuned.run / "indoor_tiny_my_folder")
    old, new = (load_file(folder / "model.safetensors") for folder in folders)
    moved = {name for name in old if not torch.equal(old[name], new[name])}
    assert any(name.startswith("reflector.") for name in moved)
    assert any(name.startswith("backbone.encoder.") for name in moved)
    assert not any("running_" in name for name in moved)


def test_the_last_tenth_of_every_set_is_held_out(tmp_path):
    parts = {
        name: Part(PlainFolder(write_plain_folder(tmp_path / name, count=count)), 2.0)
        for name, count in (("large", 20), ("small", 2))
    }
    training, held_out = split_off(parts)
    assert training["large"].dataset.names == [f"{index:04d}" for index in range(18)]
    assert held_out["large"].dataset.names == ["0018", "0019"]
    assert training["small"].dataset.names == ["0000"] and training["small"].weight == 2.0
    assert held_out["small"].dataset.names == ["0001"]


def test_what_finetuning_cannot_use_is_named(tmp_path, capsys):
    data = write_plain_folder(tmp_path / "one", count=1)
    assert tool.main(["--finetune", "indoor_tiny", "--data", str(data), *OPTIONS]) == 2
    assert "one has 1 image; at least 2, or --val-data" in capsys.readouterr().err
    assert tool.main(["--finetune", str(tmp_path), "--data", str(data), *OPTIONS]) == 2
    assert "model.yaml" in capsys.readouterr().err


def test_models_name_stands_for_a_shipped_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shipped_or_path("models/indoor_tiny") == "indoor_tiny"
    (tmp_path / "models" / "indoor_tiny").mkdir(parents=True)
    assert shipped_or_path("models/indoor_tiny") == "models/indoor_tiny"
    assert shipped_or_path("elsewhere/indoor_tiny") == "elsewhere/indoor_tiny"


def test_a_folder_of_the_users_own_is_kept_and_told_before_training(tmp_path, capsys):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    data = write_plain_folder(tmp_path / "rooms", count=2)
    command = ["--finetune", "indoor_nano", "--data", str(data), "--steps", "1", "--bundle",
               str(mine), "--run", str(tmp_path / "run"), *OPTIONS]  # fmt: skip
    assert tool.main(command) == 2
    assert "mine holds other things (thesis.txt)" in capsys.readouterr().err
    assert (mine / "thesis.txt").read_text() == "years of work"
    assert not (tmp_path / "run").exists()
