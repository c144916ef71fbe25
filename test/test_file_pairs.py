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

"""Colour and depth find each other by name, whatever users call their files."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest

from depthrefl_ros.training.bootstrap import blocks_of
from depthrefl_ros.training.datasets import DatasetError
from depthrefl_ros.training.datasets.file_pairs import FilePairs


def make(root: Path, colour: list[str], depth: list[str]) -> Path:
    for folder, names in (("rgb", colour), ("depth", depth)):
        (root / folder).mkdir(parents=True)
        for name in names:
            (root / folder / name).write_bytes(b"x")
    return root


def pairs(root: Path) -> FilePairs:
    return FilePairs(root, (".png", ".npy"))


def test_names_come_in_the_order_of_their_numbers(tmp_path):
    names = [f"f{number}" for number in (1, 2, 9, 10, 11, 100)]
    root = make(tmp_path, [f"{n}.jpg" for n in names], [f"{n}.png" for n in reversed(names)])
    assert pairs(root).names() == names


def test_suffixes_hidden_files_and_umlauts(tmp_path):
    apart = unicodedata.normalize("NFD", "Küche")
    root = make(
        tmp_path,
        ["a.JPG", "b.jpeg", "._a.JPG", f"{apart}.png", "my photo 1.jpg", "lonely.jpg"],
        ["a.png", "b.npy", "._a.png", "Küche.PNG", "my photo 1.png", "other.png"],
    )
    found = pairs(root)
    assert found.names() == ["a", "b", "Küche", "my photo 1"]
    assert found.without_depth == ["lonely"]
    assert [path.name for path in found.of("b")] == ["b.jpeg", "b.npy"]


def test_of_several_files_of_a_name_the_first_kind_counts(tmp_path):
    root = make(tmp_path, ["a.png", "a.jpg"], ["a.npy", "a.png"])
    assert [path.name for path in pairs(root).of("a")] == ["a.jpg", "a.png"]


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfa\r\nmy photo 1\r\n",
        "# Küche\na\nmy photo 1\n".encode("latin-1"),
        "a\nmy photo 1\n".encode("utf-16"),
        b"rgb/a.jpg\nrgb\\my photo 1.JPG\n",
        b"./data/rgb/a.jpg\n\nmy photo 1\n# end",
    ],
    ids=["mark", "latin-1", "utf-16", "paths", "comments"],
)
def test_a_list_is_read_as_editors_write_it(tmp_path, content):
    root = make(tmp_path, ["a.jpg", "my photo 1.jpg"], ["a.png", "my photo 1.png"])
    (tmp_path / "list.txt").write_bytes(content)
    assert pairs(root).names(tmp_path / "list.txt") == ["a", "my photo 1"]


def test_several_names_may_stand_on_a_line(tmp_path):
    root = make(tmp_path, ["a.jpg", "b.jpg"], ["a.png", "b.png"])
    (tmp_path / "list.txt").write_text("b a\n")
    assert pairs(root).names(tmp_path / "list.txt") == ["b", "a"]


def test_a_listed_image_that_is_not_there_or_has_no_depth_is_named(tmp_path):
    root = make(tmp_path, ["room1.jpg", "room2.jpg", "room3.jpg"], ["room1.png"])
    file = tmp_path / "list.txt"
    file.write_text("room1\nrom2\n")
    with pytest.raises(DatasetError, match=r"list.txt: 'rom2' is no image of .*; is it 'room2'\?"):
        pairs(root).names(file)
    file.write_text("room1\nroom2\nroom3\n")
    with pytest.raises(DatasetError, match="'room2' has no depth in .*, nor have 1 others"):
        pairs(root).names(file)
    file.write_bytes(b"PK\0\0\0")
    with pytest.raises(DatasetError, match="list.txt: not a text file"):
        pairs(root).names(file)


def test_what_was_found_and_what_is_wanted_is_told(tmp_path):
    root = make(tmp_path, ["a.jpg", "b.gif"], ["a.mat", "b.mat", "c.txt"])
    with pytest.raises(DatasetError) as error:
        pairs(root)
    said = str(error.value)
    assert "rgb/ has 1 of .jpg" in said and "1 .gif" in said
    assert "depth/ has 0 of .png .npy (and 2 .mat, 1 .txt)" in said


def test_a_missing_folder_is_named(tmp_path):
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(DatasetError, match="rgb: missing"):
        pairs(tmp_path)


def hidden_link(folder: Path, root: Path) -> Path:
    """Return the root by way of a hidden folder."""
    (folder / ".cache").mkdir()
    (folder / ".cache" / "data").symlink_to(root)
    return folder / ".cache" / "data"


def test_subfolders_are_part_of_the_name(tmp_path):
    root = make(tmp_path, [], [])
    for scene in ("hall", "kitchen", ".trash"):
        for folder, suffix in (("rgb", "jpg"), ("depth", "png")):
            (root / folder / scene).mkdir()
            for number in (2, 10):
                (root / folder / scene / f"{number}.{suffix}").write_bytes(b"x")
    found = pairs(root)
    assert found.names() == ["hall/2", "hall/10", "kitchen/2", "kitchen/10"]
    assert found.of("hall/2")[1] == root / "depth/hall/2.png"
    assert [len(block) for block in blocks_of(found.names())] == [2, 2]
    for path in (root / ".." / root.name, hidden_link(tmp_path, root)):
        assert pairs(path).names() == found.names()  # only what is hidden in the folder counts
    (tmp_path / "list.txt").write_text("rgb/kitchen/10.jpg\nhall/2\n")
    assert found.names(tmp_path / "list.txt") == ["kitchen/10", "hall/2"]
