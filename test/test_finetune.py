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
import json
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from bundle_copies import copy_bundle
from dataset_folders import write_plain_folder
from safetensors.torch import load_file, save

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.selection import open_engine
from depthrefl_ros.tools import dataset
from depthrefl_ros.tools import train as tool
from depthrefl_ros.tools.train_finetune import is_tuned, shipped_or_path

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
    assert str(tuned.run.parents[1]) not in (target / "model.yaml").read_text()
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


def test_a_complete_run_takes_no_other_data_for_its_own(tuned, tmp_path, capsys):
    target = tuned.run / "indoor_tiny_my_folder"
    before = (target / "model.yaml").read_text()
    other = write_plain_folder(tmp_path / "my_folder", count=4)
    command = ["--finetune", "indoor_tiny", "--data", str(other), "--run", str(tuned.run), *OPTIONS]
    assert tool.main([*command, "--steps", "3"]) == 2
    said = capsys.readouterr().err
    assert "finetune is complete at step 3, and was trained on other data" in said
    assert "(my_folder)" in said and "another --run" in said
    assert (target / "model.yaml").read_text() == before


def test_a_complete_run_that_held_images_out_takes_no_other_ones_to_validate_on(
    tuned, tmp_path, capsys
):
    data = tuned.run.parents[1] / "my_folder"
    other = write_plain_folder(tmp_path / "other", count=2)
    command = ["--finetune", "indoor_tiny", "--data", str(data), "--run", str(tuned.run), *OPTIONS]
    assert tool.main([*command, "--steps", "3", "--val-data", str(other)]) == 2
    said = capsys.readouterr().err
    assert "held out 1 images of my_folder" in said and "leave --val-data out" in said
    assert f"depthrefl train finish --run {tuned.run} --val-data DATA" in said
    assert "trained on other data" not in said
    held_out = json.loads((tuned.run / "finetune" / "held_out.json").read_text())
    assert len(held_out["my_folder"]) == 1


def test_a_bundle_that_was_replaced_since_is_not_taken_for_the_start(tmp_path, capsys):
    shipped = Bundle.load("indoor_tiny")
    weights = load_file(shipped.path("model.safetensors"))
    data, base = write_plain_folder(tmp_path / "rooms", count=3), tmp_path / "base"
    command = ["--finetune", str(base), "--data", str(data), "--run", str(tmp_path / "run"),
               "--steps", "1", *OPTIONS]  # fmt: skip
    copy_bundle(base, {})
    assert tool.main([*command, "--minutes", "0"]) == 3
    shutil.rmtree(base)
    copy_bundle(base, {"model.safetensors": save({name: 2 * w for name, w in weights.items()})})
    assert tool.main(command) == 2
    said = capsys.readouterr().err
    assert "other weights now" in said and "another --run" in said


def test_the_held_out_images_stay_held_out(tmp_path):
    data, run = write_plain_folder(tmp_path / "rooms", count=20), tmp_path / "run"
    for name in ("rgb/0018.jpg", "depth/0018.png", "rgb/0019.jpg", "depth/0019.png"):
        (data / name).rename(tmp_path / name.replace("/", "_"))
    command = ["--finetune", "indoor_nano", "--data", str(data), "--run", str(run), "--steps", "1",
               "--minutes", "0", *OPTIONS]  # fmt: skip
    assert tool.main(command) == 3
    held_out = run / "finetune" / "held_out.json"
    assert json.loads(held_out.read_text()) == {"rooms": ["0016", "0017"]}
    for name in ("rgb/0018.jpg", "depth/0018.png", "rgb/0019.jpg", "depth/0019.png"):
        (tmp_path / name.replace("/", "_")).rename(data / name)
    assert tool.main(command) == 3
    assert json.loads(held_out.read_text()) == {"rooms": ["0016", "0017"]}
    legs = json.loads((run / "finetune" / "data.json").read_text())
    assert [leg["sets"]["rooms"]["images"] for leg in legs] == [18]


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


def test_a_bundle_of_other_weights_is_kept_and_told_before_training(tuned, tmp_path, capsys):
    keep = tmp_path / "keep"
    copy_bundle(keep, {})
    before = (keep / "model.yaml").read_bytes()
    data = write_plain_folder(tmp_path / "rooms", count=2)
    command = ["--finetune", "indoor_nano", "--data", str(data), "--steps", "1", "--minutes", "0",
               "--bundle", str(keep), "--run", str(tmp_path / "run"), *OPTIONS]  # fmt: skip
    assert tool.main(command) == 2
    said = capsys.readouterr().err
    assert "keep is a bundle that training indoor_nano on rooms did not make" in said
    assert not (tmp_path / "run").exists()
    assert tool.main([*command, "--overwrite"]) == 3  # replaced when it is done
    assert (keep / "model.yaml").read_bytes() == before
    described = Bundle.load(str(tuned.run / "indoor_tiny_my_folder")).description
    training = described["training"]
    taught = {**training, "initial_weights": f"{training['initial_weights']}; taught by large"}
    assert is_tuned({**described, "training": taught}, Bundle.load("indoor_tiny"), ["my_folder"])
    base = Bundle.load("indoor_tiny")
    assert is_tuned(described, base, ["my_folder", "rooms"])
    assert not is_tuned(described, base, ["rooms"])
    assert not is_tuned(described, Bundle.load("indoor_nano"), ["my_folder"])
    assert not is_tuned({"training": "none"}, base, ["my_folder"])
