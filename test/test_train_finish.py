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

"""`train finish` leaves weights, calibration and figures that belong together."""

from __future__ import annotations

import pytest
from dataset_folders import write_plain_folder
from test_train import leg

from depthrefl_ros.tools import train as tool
from depthrefl_ros.tools import train_finish


@pytest.fixture
def rooms(tmp_path):
    return write_plain_folder(tmp_path / "rooms", count=2)


def files_of(folder):
    return {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("failing", ["save_weights", "write_json"])
def test_a_full_disk_leaves_what_was_finished_before(tmp_path, rooms, monkeypatch, capsys, failing):
    run = tmp_path / "run"
    finish = ["finish", "--run", str(run), "--val-data", str(rooms)]
    assert tool.main(leg(run, rooms)) == 0 and tool.main(finish) == 0
    before = files_of(run)
    assert {path.name for path in before} == {
        "final.safetensors", "calibration.json", "metrics.json"
    }  # fmt: skip

    def full(path, *_):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(train_finish, failing, full)
    assert tool.main([*finish, "--cap", "5"]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert files_of(run) == before and {path.name for path in run.iterdir()} == {
        "stage2", *(path.name for path in before)
    }  # fmt: skip


def test_data_of_the_training_is_not_held_out(tmp_path, rooms, capsys):
    run = tmp_path / "run"
    other = write_plain_folder(tmp_path / "other", count=3)
    assert tool.main(leg(run, rooms)) == 0
    capsys.readouterr()
    finish = ["finish", "--run", str(run), "--val-data", str(other)]
    assert tool.main(finish) == 0
    assert "warning" not in capsys.readouterr().err
    assert tool.main([*finish, "--val-data", str(rooms)]) == 0
    assert "warning: --val-data rooms was trained on (2 of 2 images)" in capsys.readouterr().err


def test_a_part_of_the_training_is_not_held_out_and_metrics_tell_no_path(tmp_path, rooms, capsys):
    run, names = tmp_path / "run", tmp_path / "train.txt"
    names.write_text("0000\n")
    assert tool.main(leg(run, f"{rooms},list={names}")) == 0
    assert tool.main(["finish", "--run", str(run), "--val-data", str(rooms)]) == 0
    assert "warning: --val-data rooms was trained on (1 of 2 images)" in capsys.readouterr().err
    assert str(rooms) in (run / "stage2" / "data.json").read_text()
    assert str(rooms) not in (run / "metrics.json").read_text()


def test_a_run_goes_on_with_the_modules_frozen_that_were(tmp_path, rooms, capsys):
    run = tmp_path / "run"
    assert tool.main(leg(run, rooms)) == 0
    more = ["--freeze", "backbone.encoder", "--steps", "2"]
    assert tool.main(leg(run, rooms, *more)) == 2
    said = capsys.readouterr().err
    assert "was trained with --freeze nothing, and the options say backbone.encoder" in said
