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

"""The data sets of a run: how they are opened, described and recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from dataset_folders import write_plain_folder

from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.train_data import (
    check_same_data,
    describe_parts,
    images_of,
    open_parts,
    read_history,
    record_data,
    trained_legs,
    trained_on,
    without_images,
)


def test_a_change_of_data_is_recorded_and_told(tmp_path, rooms, capsys):
    path = tmp_path / "run" / "data.json"

    def record(step):
        record_data(path, step, describe_parts(open_parts([str(rooms)])), {})

    record(0)
    record(500)
    assert capsys.readouterr().out == ""
    (rooms / "rgb" / "0001.jpg").unlink()
    record(900)
    assert "changed since step 0" in capsys.readouterr().out
    history = json.loads(path.read_text())
    assert [entry["from_step"] for entry in history] == [0, 900]
    assert [entry["sets"]["rooms"]["images"] for entry in history] == [3, 2]
    record_data(path, 950, describe_parts(open_parts([f"{rooms},depth_factor=5000"])), {})
    assert "changed since step 900" in capsys.readouterr().out


def test_the_record_stays_whole_where_a_new_one_cannot_be_written(tmp_path, rooms, monkeypatch):
    path = tmp_path / "run" / "data.json"
    record_data(path, 0, {"rooms": {"images": 3}}, {})
    before = path.read_text()

    def cut_short(self, data):
        with self.open("wb") as file:
            file.write(data[:5])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", cut_short)
    with pytest.raises(OSError, match="No space left"):
        record_data(path, 5, {"rooms": {"images": 2}}, {})
    assert path.read_text() == before


def test_a_leg_without_a_step_is_dropped(tmp_path):
    path, mine = tmp_path / "run" / "data.json", {"rooms": {"sha256": "a"}}
    record_data(path, 0, {"rooms": {"sha256": "b"}}, {})
    record_data(path, 0, mine, {})
    assert json.loads(path.read_text()) == [{"from_step": 0, "sets": mine, "augment": {}}]
    legs = [{"from_step": 0}, {"from_step": 3}, {"from_step": 3}, {"from_step": 5}]
    assert trained_legs(legs, 5) == [legs[0], legs[2]]
    assert trained_legs(legs, 6) == [legs[0], legs[2], legs[3]]


def test_a_complete_stage_is_of_the_data_that_it_was_trained_on(tmp_path):
    mine, other = {"rooms": {"sha256": "a"}}, {"rooms": {"sha256": "b"}}
    check_same_data(tmp_path, 1, mine, {})
    record_data(tmp_path / "data.json", 0, mine, {})
    check_same_data(tmp_path, 1, mine, {})
    for sets, augment, names in ((other, {}, "rooms"), (mine, {"max_zoom": 2.0}, "--augment")):
        with pytest.raises(ToolError, match=rf"other data than is given now \({names}\)"):
            check_same_data(tmp_path, 1, sets, augment)


def test_images_of_the_training_are_counted(tmp_path, rooms):
    path, (all_of, two) = tmp_path / "data.json", (open_parts([str(rooms)]) for _ in range(2))
    two["rooms"] = two["rooms"]._replace(dataset=two["rooms"].dataset.subset(["0000", "0001"]))
    record_data(path, 0, describe_parts(two), {}, images=images_of(two))
    legs = read_history(path)
    assert trained_on(legs, two) == {"rooms": "2 of 2 images"}
    assert trained_on(legs, all_of) == {"rooms": "2 of 3 images"}
    assert trained_on(legs, open_parts([str(write_plain_folder(tmp_path / "hall", 1))])) == {}
    assert str(tmp_path) in path.read_text() and str(tmp_path) not in str(without_images(legs))


def test_a_record_of_an_earlier_version_is_read_and_gets_the_names(tmp_path, rooms, capsys):
    path, parts = tmp_path / "data.json", open_parts([str(rooms)])
    record_data(path, 0, describe_parts(parts), {})
    assert trained_on(read_history(path), parts) == {"rooms": "3 of 3 images"}  # by their hash
    part = parts["rooms"]._replace(dataset=parts["rooms"].dataset.subset(["0000"]))
    assert trained_on(read_history(path), {"rooms": part}) == {}
    record_data(path, 5, describe_parts(parts), {}, images=images_of(parts))
    assert capsys.readouterr().out == "" and len(read_history(path)) == 1  # the same data
    assert trained_on(read_history(path), {"rooms": part}) == {"rooms": "1 of 1 images"}


def test_two_sets_of_one_name_are_told_apart(tmp_path):
    paths = [write_plain_folder(tmp_path / place / "rooms") for place in "ab"]
    parts = open_parts([f"{paths[0]},weight=2", str(paths[1])])
    assert {name: part.weight for name, part in parts.items()} == {"rooms": 2.0, "rooms-2": 1.0}


def test_mounts_are_counted_where_they_are_taken(rooms):
    parts = open_parts([str(rooms)])
    parts["rooms"].dataset.mounts = {"0001": Pose.from_mount(0.3), "gone": Pose.from_mount(0.3)}
    assert parts["rooms"].dataset.count_mounts() == 1
    assert describe_parts(parts, with_mounts=True)["rooms"]["mounts"] == 1
    assert "mounts" not in describe_parts(parts)["rooms"]
