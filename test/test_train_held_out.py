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

"""What a fine-tuning run holds out stays held out."""

from __future__ import annotations

import json

import pytest
from dataset_folders import write_plain_folder

from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.train_data import Part, describe_parts, open_parts, record_data
from depthrefl_ros.tools.train_held_out import (
    check_not_held_out,
    recall_held_out,
    remember_held_out,
    split_off,
)
from depthrefl_ros.training.datasets import PlainFolder


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
    grown = split_off(parts, {"large": ["0003", "gone"], "small": ["gone"]})
    assert grown[1]["large"].dataset.names == ["0003"] and len(grown[0]["large"].dataset) == 19
    assert grown[1]["small"].dataset.names == ["0001"]
    with pytest.raises(ToolError, match="small: the run holds out all of the 2 images"):
        split_off(parts, {"small": ["0000", "0001"]})


def test_names_are_remembered_from_leg_to_leg(tmp_path):
    run = tmp_path / "run"
    parts = open_parts([str(write_plain_folder(tmp_path / "rooms", count=4))])
    assert recall_held_out(run, parts) == {}
    remember_held_out(run, {}, split_off(parts)[1])
    assert recall_held_out(run, parts) == {"rooms": ["0003"]}
    remember_held_out(run, {"rooms": ["0001"], "hall": ["7"]}, split_off(parts)[1])
    assert recall_held_out(run, parts) == {"rooms": ["0001", "0003"], "hall": ["7"]}
    (run / "held_out.json").write_text("[1")
    with pytest.raises(ToolError, match=r"held_out\.json is damaged"):
        recall_held_out(run, parts)


def test_what_was_trained_on_whole_cannot_be_held_out_later(tmp_path):
    run = tmp_path / "run"
    parts = open_parts([str(write_plain_folder(tmp_path / "rooms", count=4))])
    record_data(run / "data.json", 0, describe_parts(parts), {})
    remember_held_out(run, {"rooms": ["0003"]}, {})  # a leg with --val-data
    assert json.loads((run / "held_out.json").read_text()) == {}
    with pytest.raises(ToolError, match="trained on all images of rooms.*--val-data as before"):
        recall_held_out(run, parts)


def test_what_was_held_out_cannot_be_trained_on_by_a_complete_run(tmp_path):
    stage = tmp_path / "run" / "finetune"
    parts = open_parts([str(write_plain_folder(tmp_path / "rooms", count=4))])
    check_not_held_out(stage, parts)
    remember_held_out(stage, {}, split_off(parts)[1])
    with pytest.raises(ToolError, match=r"held out 1 images of rooms.* finish --run .*/run --val-"):
        check_not_held_out(stage, parts)
    remember_held_out(stage, {"rooms": ["0003"]}, {})  # a leg with --val-data
    check_not_held_out(stage, parts)
