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

"""Every format is found by looking, and what cannot be opened is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from dataset_folders import (
    write_kitti,
    write_nyu_folder,
    write_nyu_mat,
    write_plain_folder,
    write_tum,
)

from depthrefl_ros.training.datasets import (
    DataOption,
    DatasetError,
    KittiDepth,
    NyuFolder,
    NyuMat,
    PlainFolder,
    TumRgbd,
    open_dataset,
    parse_data_option,
    parse_data_options,
)


def test_sets_that_define_their_unit_take_no_factor(tmp_path):
    root = write_nyu_folder(tmp_path / "nyu")
    with pytest.raises(DatasetError, match="depth_factor is 5000, but nyu defines its own"):
        parse_data_option(f"{root},depth_factor=5000").open()


def test_a_path_may_have_commas(tmp_path):
    root = write_plain_folder(tmp_path / "rooms, first floor")
    assert len(parse_data_option(str(root)).open()) == 3
    option = parse_data_option(f"{root},weight=2,depth_factor=5000")
    assert (option.path, option.weight, option.depth_factor) == (root, 2.0, 5000.0)
    names = tmp_path / "a,b.txt"
    names.write_text("0001\n")
    assert len(parse_data_option(f"{root},list={names},weight=2").open()) == 1


def test_the_kind_is_found_by_looking(tmp_path):
    mat = write_nyu_mat(tmp_path / "official" / "nyu_depth_v2_labeled.mat", count=1)
    assert type(open_dataset(write_nyu_folder(tmp_path / "nyu"))) is NyuFolder
    assert type(open_dataset(mat)) is type(open_dataset(mat.parent)) is NyuMat
    assert type(open_dataset(write_kitti(tmp_path / "kitti"))) is KittiDepth
    assert type(open_dataset(write_tum(tmp_path / "freiburg2_xyz"))) is TumRgbd
    plain = write_plain_folder(tmp_path / "plain")
    assert type(open_dataset(plain)) is type(open_dataset(plain, kind="plain")) is PlainFolder


def test_what_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(DatasetError, match="absent: no such folder or file"):
        open_dataset(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="empty: no known data set"):
        open_dataset(tmp_path / "empty")
    root = write_plain_folder(tmp_path / "plain")
    with pytest.raises(DatasetError, match="kind 'kiti' is unknown; known are nyu, nyu_mat"):
        open_dataset(root, kind="kiti")
    (root / "intrinsics.yaml").unlink()
    with pytest.raises(DatasetError, match="intrinsics.yaml: missing; a plain folder needs"):
        open_dataset(root)


def test_data_options():
    assert parse_data_option("rooms") == DataOption(Path("rooms"))
    assert parse_data_option("a/b,list=c.txt,weight=0.5,kind=nyu") == DataOption(
        Path("a/b"), Path("c.txt"), 0.5, "nyu"
    )
    assert parse_data_option("a,balance=depth") == DataOption(Path("a"), is_balanced=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,lists=b", "'lists=b' is not one of"),
        ("a,list", "'list' is not one of"),
        ("a,list=b.txt,wieght=2", "'wieght=2' is not one of"),
        ("a,b,weight=2", "'b' is not one of .*; a comma in a path .* only if the path exists"),
        ("a,weight=1,weight=2", "each once"),
        ("a,weight=many", "'many' is no number"),
        ("a,weight=0", "weight above 0"),
        (",weight=1", "a path"),
        ("a,balance=colour", "balance 'colour' is unknown; known is depth"),
    ],
)
def test_bad_data_options_are_named(text, message):
    with pytest.raises(DatasetError, match=message):
        parse_data_option(text)


def test_several_data_options_have_names_of_their_own():
    options = parse_data_options(["a/rooms,weight=2", "b/rooms", "nyu/x.mat", "c/rooms"])
    assert list(options) == ["rooms", "rooms-2", "x", "rooms-3"]
    assert options["rooms"].weight == 2 and options["rooms-2"].path == Path("b/rooms")


def test_the_home_folder_is_found_in_every_path_of_an_option(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "with,comma").mkdir()
    option = parse_data_option("~/rooms,list=~/some.txt,mounts=~/mounts.yaml")
    found = (option.path, option.list_file, option.mounts_file)
    assert found == tuple(tmp_path / name for name in ("rooms", "some.txt", "mounts.yaml"))
    assert parse_data_option("~/with,comma").path == tmp_path / "with,comma"


def test_a_folder_may_begin_with_a_tilde(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("~no,user").mkdir()
    assert parse_data_option("~no,user").path == Path("~no,user")
    option = parse_data_option("~x,list=~l,mounts=~m")
    assert (option.path, option.list_file, option.mounts_file) == (
        Path("~x"),
        Path("~l"),
        Path("~m"),
    )
