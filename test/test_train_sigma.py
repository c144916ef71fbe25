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

"""`train sigma`: a run gets an error head, is calibrated, exported and gone on from."""

from __future__ import annotations

import json

import pytest
from dataset_folders import write_plain_folder
from safetensors.numpy import load_file
from test_train import leg

from depthrefl_ros.tools import train as tool
from depthrefl_ros.training.trainer import latest_checkpoint

VIEWS = ("--images", "4", "--seed", "5", "--threads", "1")


@pytest.fixture
def run(tmp_path, rooms):
    assert tool.main(leg(tmp_path / "run", rooms)) == 0
    return tmp_path / "run"


@pytest.fixture
def unseen(tmp_path):
    return write_plain_folder(tmp_path / "unseen", count=2)


def fit(run, weights, *data) -> int:
    told = [f"--data={one}" for one in data]
    return tool.main(["sigma", "--run", str(run), str(weights), *told, *VIEWS])


def weights_of(run, stage) -> dict:
    return load_file(latest_checkpoint(run / stage) / "ema.safetensors")


def test_a_run_gets_an_error_head_and_keeps_its_depth(tmp_path, run, rooms, unseen, capsys):
    assert fit(run, run, unseen) == 0
    assert "of 4 views: negative log-likelihood" in capsys.readouterr().out
    before, after = weights_of(run, "stage2"), weights_of(run, "sigma")
    assert all((after[name] == value).all() for name, value in before.items())
    added = after.keys() - before.keys()
    assert added and all(name.startswith("error_head.") for name in added)
    assert after["error_head.place.weight"].any()

    assert tool.main(["finish", "--run", str(run), "--val-data", str(unseen)]) == 0
    assert "--val-data unseen was trained on" in capsys.readouterr().err
    report = json.loads((run / "metrics.json").read_text())
    assert report["model"]["error_head"] is True
    assert list(report["training_data"]) == ["rooms", "unseen"]
    trained, fitted = report["training_history"]
    assert trained["initial_weights"].startswith("ImageNet")
    assert (fitted["fitted"], fitted["views"], fitted["seed"]) == ("error_head", 4, 5)
    assert "its sigma fitted to errors on 4 views of unseen (seed 5)" in report["initial_weights"]


def test_a_head_is_fitted_anew_and_not_twice(tmp_path, run, unseen):
    assert fit(run, run, unseen) == 0
    first = weights_of(run, "sigma")
    assert fit(run, run, unseen) == 0
    again = weights_of(run, "sigma")
    assert first.keys() == again.keys()
    assert [leg.get("fitted") for leg in json.loads((run / "sigma" / "data.json").read_text())] == [
        None,
        "error_head",
    ]


def test_weights_that_were_trained_further_leave_the_old_head_behind(tmp_path, run, rooms, unseen):
    assert fit(run, run, unseen) == 0
    more = leg(run, rooms)
    more[more.index("--steps") + 1] = "2"
    assert tool.main(more) == 0
    assert tool.main(["finish", "--run", str(run), "--val-data", str(unseen)]) == 0
    assert "error_head" not in json.loads((run / "metrics.json").read_text())["model"]


def test_a_leg_goes_on_from_it_without_its_head(tmp_path, run, rooms, unseen):
    assert fit(tmp_path / "fitted", run, unseen) == 0
    start = str(latest_checkpoint(tmp_path / "fitted" / "sigma") / "ema.safetensors")
    assert tool.main(leg(tmp_path / "next", rooms, "--start-from", start)) == 0
    assert not any("error_head" in name for name in weights_of(tmp_path / "next", "stage2"))
    mean = ["average", "--run", str(tmp_path / "mean")]
    assert tool.main([*mean, str(tmp_path / "fitted"), str(tmp_path / "next")]) == 0
    assert not any("error_head" in name for name in weights_of(tmp_path / "mean", "average"))


def test_images_that_sigma_was_fitted_to_are_not_held_out(run, unseen, capsys):
    assert fit(run, run, unseen) == 0
    names = run / "some.txt"
    names.write_text("0001\n")
    assert tool.main(["finish", "--run", str(run), "--val-data", f"{unseen},list={names}"]) == 0
    assert "--val-data unseen was trained on (1 of 1 images)" in capsys.readouterr().err


def test_images_of_the_training_are_warned_of(run, rooms, capsys):
    assert fit(run, run, rooms) == 0
    assert "warning: --data rooms was trained on (3 of 3 images)" in capsys.readouterr().err
    names = run / "some.txt"
    names.write_text("0001\n")
    assert fit(run, run, f"{rooms},list={names}") == 0
    assert "warning: --data rooms was trained on (1 of 1 images)" in capsys.readouterr().err


def test_what_is_missing_is_named(tmp_path, run, capsys):
    assert fit(run, run) == 2
    assert "--data is needed: images with depth" in capsys.readouterr().err
    assert fit(run, tmp_path / "nothing", run) == 2
    assert "nothing holds no checkpoint" in capsys.readouterr().err
