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

"""`train average`: runs become one, which is finished or gone on from like any other."""

from __future__ import annotations

import hashlib
import json

import pytest
from dataset_folders import write_plain_folder
from safetensors.numpy import load_file
from test_train import SMALL, leg

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.tools import train as tool
from depthrefl_ros.tools import train_average
from depthrefl_ros.training.trainer import latest_checkpoint


@pytest.fixture
def branches(tmp_path, rooms):
    """Two runs of one step from the same weights, with other seeds."""
    assert tool.main(leg(tmp_path / "start", rooms)) == 0
    start = latest_checkpoint(tmp_path / "start" / "stage2") / "ema.safetensors"
    runs = [tmp_path / "one", tmp_path / "two"]
    for seed, run in enumerate(runs, 2):
        more = ["--start-from", str(start), "--seed", str(seed), "--ema-decay", "0"]
        assert tool.main(leg(run, rooms, *more)) == 0
    return runs


def test_statistics_are_taken_anew_from_views_of_the_data(tmp_path, rooms, branches, capsys):
    names = ("averaged", "renewed", "again")
    for name in names:
        options = ["--run", str(tmp_path / name), *map(str, branches)]
        if name != "averaged":
            data = [f"--data={rooms},weight=2", "--images=40", "--augment=max_zoom=2", "--seed=5"]
            options += data
        assert tool.main(["average", *options]) == 0
    weights = [
        load_file(latest_checkpoint(tmp_path / name / "average") / "ema.safetensors")
        for name in names
    ]
    averaged, renewed, again = weights
    moved = {name for name in averaged if (averaged[name] != renewed[name]).any()}
    assert moved and all(".running_" in name or ".num_batches" in name for name in moved)
    assert all((renewed[name] == again[name]).all() for name in moved)
    # 40 views are one batch of 32, the others do not fill one.
    assert "statistics of 32 views of rooms (seed 5)" in capsys.readouterr().out
    state = latest_checkpoint(tmp_path / "renewed" / "average") / "state.json"
    assert "statistics of 32 views of rooms" in json.loads(state.read_text())["origin"]


def test_data_that_cannot_be_opened_is_named_before_anything_is_written(tmp_path, branches, capsys):
    options = ["--run", str(tmp_path / "mean"), *map(str, branches), "--data", str(tmp_path / "no")]
    assert tool.main(["average", *options]) == 2
    assert str(tmp_path / "no") in capsys.readouterr().err
    assert not (tmp_path / "mean").exists()


def test_the_average_is_finished_and_gone_on_from(tmp_path, rooms, branches):
    mean = tmp_path / "mean"
    assert tool.main(["average", "--run", str(mean), *map(str, branches)]) == 0
    checkpoint = latest_checkpoint(mean / "average")
    assert checkpoint.name == "checkpoint-00000002"
    files = [latest_checkpoint(run / "stage2") / "ema.safetensors" for run in branches]
    one, two = (load_file(path) for path in files)
    averaged = load_file(checkpoint / "ema.safetensors")
    name = "reflector.bins.logits.0.weight"
    assert (one[name] != two[name]).any()
    assert averaged[name] == pytest.approx((one[name] + two[name]) / 2, abs=1e-6)

    assert tool.main(["finish", "--run", str(mean), "--val-data", str(rooms)]) == 0
    report = json.loads((mean / "metrics.json").read_text())
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    assert [member["weights_sha256"] for member in report["training_history"]] == digests
    assert [member["seed"] for member in report["training_history"]] == [2, 3]
    assert report["steps"] == 2 and "the mean of" in report["initial_weights"]
    weights = str(checkpoint / "ema.safetensors")
    hall = write_plain_folder(tmp_path / "hall", count=2)
    assert tool.main(leg(tmp_path / "next", hall, "--start-from", weights)) == 0
    # An average of averages tells of the runs behind it.
    again = tmp_path / "again"
    assert tool.main(["average", "--run", str(again), str(mean), str(tmp_path / "next")]) == 0
    history = json.loads((again / "average" / "data.json").read_text())
    assert [member["run"] for member in history] == ["one", "two", "next"]
    assert tool.main(["finish", "--run", str(again), "--val-data", str(rooms)]) == 0
    report = json.loads((again / "metrics.json").read_text())
    assert sorted(report["training_data"]) == ["hall", "rooms"]
    # The same run again, of fewer: the mean of before is gone.
    assert tool.main(["average", "--run", str(again), str(branches[0])]) == 0
    assert [path.name for path in (again / "average").glob("check*")] == ["checkpoint-00000001"]


def test_a_model_and_what_finetuning_made_of_it_are_mixed(tmp_path, rooms, capsys):
    shipped = Bundle.load("indoor_nano")
    network = [
        "--height", "160", "--width", "192", "--canonical-focal", "180", "--mount",
        "--decoder-channels", "96", "64", "48", "32", "--bins", "32", "--embedding", "32",
        "--batch", "2", "--steps", "1", "--ema-decay", "0", "--threads", "1", "--workers", "0",
    ]  # fmt: skip
    start = ["--start-from", str(shipped.path("model.safetensors"))]
    run = tmp_path / "tuned"
    assert tool.main(["stage2", "--run", str(run), "--data", str(rooms), *network, *start]) == 0
    mean = ["average", "--run", str(tmp_path / "mean"), "indoor_nano"]
    assert tool.main([*mean, f"{run},weight=0.25"]) == 0
    checkpoint = latest_checkpoint(tmp_path / "mean" / "average")
    name = "reflector.bins.logits.0.weight"
    old, new, mixed = (
        load_file(path)[name].astype("float64")
        for path in (
            shipped.path("model.safetensors"),
            latest_checkpoint(run / "stage2") / "ema.safetensors",
            checkpoint / "ema.safetensors",
        )
    )
    assert abs(new - old).max() > 1e-5
    assert mixed == pytest.approx(0.8 * old + 0.2 * new, abs=1e-6)
    state = json.loads((checkpoint / "state.json").read_text())
    assert state["origin"].startswith("the mean of 0.8 indoor_nano, 0.2 ")
    history = json.loads((checkpoint.parent / "data.json").read_text())
    assert history[:-1] == shipped.description["training"]["history"]
    assert history[-1]["run"] == "tuned" and "rooms" in history[-1]["sets"]

    assert tool.main([*mean, f"{run},weight=much"]) == 2
    assert "weight is 'much'; a number is needed" in capsys.readouterr().err
    assert tool.main([*mean, f"{run},weight=0"]) == 2
    assert "shares are [1.0, 0.0]; each must be a number above 0" in capsys.readouterr().err


def test_figures_of_a_run_that_has_not_seen_the_held_out_images(tmp_path, rooms, branches, capsys):
    one, two = branches
    assert tool.main(["finish", "--run", str(one), "--val-data", str(rooms)]) == 0
    assert tool.main(["finish", "--run", str(two), "--figures-of", str(one)]) == 0
    measured = json.loads((one / "metrics.json").read_text())
    report = json.loads((two / "metrics.json").read_text())
    assert report["validation"] == measured["validation"]
    assert report["figures_of"]["weights_sha256"] == measured["weights_sha256"]
    assert report["weights_sha256"] != measured["weights_sha256"]
    assert (one / "calibration.json").read_text() == (two / "calibration.json").read_text()

    both = ["--figures-of", str(one), "--val-data", str(rooms)]
    assert tool.main(["finish", "--run", str(two), *both]) == 2
    assert "--figures-of takes the place of --val-data" in capsys.readouterr().err
    assert tool.main(["finish", "--run", str(two), "--figures-of", str(tmp_path / "none")]) == 2
    assert "none is not finished" in capsys.readouterr().err


def test_runs_that_cannot_be_averaged_are_named(tmp_path, rooms, branches, capsys):
    mean = ["average", "--run", str(tmp_path / "mean"), str(branches[0])]
    assert tool.main([*mean, str(tmp_path / "none")]) == 2
    error = capsys.readouterr().err
    assert "none holds no checkpoint in average, stage2 or finetune and is no bundle" in error
    narrow = [*SMALL[:4], "--bins", "9", *SMALL[6:]]
    other = ["stage2", "--run", str(tmp_path / "other"), "--data", str(rooms), "--steps", "1"]
    assert tool.main([*other, "--batch", "2", *narrow]) == 0
    assert tool.main([*mean, str(tmp_path / "other")]) == 2
    assert "model 1 has another architecture" in capsys.readouterr().err
    state = latest_checkpoint(branches[0] / "stage2") / "state.json"
    state.write_text("{")
    assert tool.main(mean) == 2
    assert f"{state} is damaged" in capsys.readouterr().err


def test_what_finetuning_left_is_a_member_and_can_be_finished(tmp_path, rooms):
    run = tmp_path / "tuned"
    options = ["--batch", "2", "--steps", "1", "--workers", "0", "--threads", "1"]
    command = ["--finetune", "indoor_nano", "--data", str(rooms), "--run", str(run), *options]
    assert tool.main(command) == 0
    mean = tmp_path / "mean"
    assert tool.main(["average", "--run", str(mean), "indoor_nano", f"{run},weight=0.5"]) == 0
    checkpoint = latest_checkpoint(mean / "average")
    origin = json.loads((checkpoint / "state.json").read_text())["origin"]
    assert origin.startswith("the mean of 0.667 indoor_nano, 0.333 ") and "tuned/finetune" in origin
    assert tool.main(["finish", "--run", str(run), "--val-data", str(rooms)]) == 0


def test_a_run_is_no_member_of_its_own_mean(tmp_path, branches, capsys):
    one, two = map(str, branches)
    assert tool.main(["average", "--run", one, two, f"{one}/,weight=2"]) == 2
    assert f"--run {one} is one of those to average" in capsys.readouterr().err
    assert not (branches[0] / "average").exists()


def test_a_full_disk_leaves_the_earlier_mean(tmp_path, branches, monkeypatch, capsys):
    mean = tmp_path / "mean"
    assert tool.main(["average", "--run", str(mean), str(branches[0])]) == 0
    before = {path: path.read_bytes() for path in mean.rglob("*") if path.is_file()}

    def full(path, model):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(train_average, "save_weights", full)
    assert tool.main(["average", "--run", str(mean), *map(str, branches)]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in mean.rglob("*") if path.is_file()} == before
    assert len(list((mean / "average").iterdir())) == 2  # checkpoint and data.json
    first = tmp_path / "first"
    assert tool.main(["average", "--run", str(first), *map(str, branches)]) == 2
    assert not list((first / "average").iterdir())
