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

"""What a rendered folder's recipe notes: everything that its images depend on, and no paths."""

from __future__ import annotations

import shutil

import pytest

from depthrefl_ros.tools.render import parser
from depthrefl_ros.tools.render_recipe import files_digest, listing_digest, recipe_of
from depthrefl_ros.training.synth.folder import FolderError, RenderedFolder


def recipe(*words):
    return recipe_of(parser().parse_args([str(word) for word in words]))


def test_every_option_that_changes_the_images_is_noted():
    plain = recipe("rooms", "out")
    assert plain["views"] == 4 and plain["furniture"] is False
    assert recipe("rooms", "out", "--count", 9, "--threads", 2, "--resume") == plain
    assert recipe("rooms", "out", "--kind", "corridor")["kinds"] == ["corridor"]
    assert recipe("rooms", "out", "--camera", "low")["cameras"] == ["low"]
    assert recipe("rooms", "out", "--in-turn")["in_turn"] is True


@pytest.mark.parametrize("command", [("rooms", "out"), ("closer", "data", "out")])
def test_a_seed_is_not_negative(command, capsys):
    assert recipe_seed(*command, "0") == 0
    with pytest.raises(SystemExit):
        recipe_seed(*command, "-3")
    assert "'-3' must be a whole number, 0 or more" in capsys.readouterr().err


def recipe_seed(*words):
    return parser().parse_args([*words[:-1], "--seed", words[-1]]).seed


def test_a_drive_s_number_of_images_is_noted_and_a_corridor_s_is_not():
    assert recipe("drive", "out", "--count", 7)["count"] == 7
    assert recipe("corridor", "out", "--count", 7) == recipe("corridor", "out")


@pytest.mark.parametrize("option, name", [("furniture", "a.sh3f"), ("photographs", "a.JPG"),
                                          ("panoramas", "a.exr.js")])  # fmt: skip
def test_a_folder_is_noted_by_what_it_holds_and_not_by_its_place(tmp_path, option, name):
    (tmp_path / "one" / "below").mkdir(parents=True)
    (tmp_path / "one" / "below" / name).write_bytes(b"12")
    (tmp_path / "one" / "notes.txt").write_text("not counted")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    first = recipe("rooms", "out", f"--{option}", tmp_path / "one")[option]
    assert first.startswith("1 files, digest ") and str(tmp_path) not in first
    assert recipe("rooms", "out", f"--{option}", tmp_path / "two")[option] == first
    (tmp_path / "two" / "below" / name).write_bytes(b"123")
    assert recipe("rooms", "out", f"--{option}", tmp_path / "two")[option] != first
    (tmp_path / "one" / "below" / name).rename(tmp_path / "one" / name)
    assert listing_digest(tmp_path / "one", (name.lower(),)) != first


@pytest.mark.parametrize("words", [("world", "{}", "out"), ("drive", "out", "--world", "{}")])
def test_a_world_is_noted_by_what_its_files_hold(tmp_path, words):
    args = parser().parse_args([word.format(tmp_path / "a.world") for word in words])
    (tmp_path / "a.world").write_text("one")
    (tmp_path / "b.obj").write_text("mesh")
    files = {tmp_path / "a.world", tmp_path / "b.obj"}
    first = recipe_of(args, files)
    assert first["world"] == "a.world" and first["world_digest"] == files_digest(files)
    (tmp_path / "a.world").write_text("two")
    assert recipe_of(args, files)["world_digest"] != first["world_digest"]


def test_a_drive_is_through_a_kind_of_room_or_a_world(capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["drive", "out", "--kind", "lobby", "--world", "a.world"])
    assert "--world: not allowed with argument --kind" in capsys.readouterr().err


def test_a_folder_that_older_versions_began_goes_on(tmp_path):
    noted = {"command": "drive", "seed": 5}
    RenderedFolder(tmp_path / "drive").claim(noted)
    RenderedFolder(tmp_path / "drive").claim({**noted, "count": 20, "world_digest": "0"})
    with pytest.raises(FolderError, match="lacks kinds"):
        RenderedFolder(tmp_path / "drive").claim({**noted, "kinds": ["bathroom"]})
