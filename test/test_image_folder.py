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

"""What every data set does: memory, fingerprints, subsets."""

from __future__ import annotations

import pytest
from dataset_folders import write_plain_folder

from depthrefl_ros.training.datasets import DatasetError, PlainFolder, image_folder
from depthrefl_ros.training.datasets.image_folder import images_by_root, shared_names


def test_samples_are_decoded_once(tmp_path):
    root = write_plain_folder(tmp_path / "plain")
    dataset = PlainFolder(root)
    dataset.preload()
    (root / "rgb" / "0000.jpg").unlink()
    assert dataset[0].image.shape == (48, 64, 3)


def test_fingerprint_follows_the_contents_not_the_place(tmp_path):
    first = PlainFolder(write_plain_folder(tmp_path / "a")).fingerprint()
    root = write_plain_folder(tmp_path / "b")
    assert PlainFolder(root).fingerprint() == first
    (root / "rgb" / "0000.jpg").write_bytes((root / "rgb" / "0001.jpg").read_bytes())
    assert PlainFolder(root).fingerprint() != first


def test_large_sets_are_not_kept_in_memory(tmp_path, monkeypatch):
    root = write_plain_folder(tmp_path / "plain")
    monkeypatch.setattr(image_folder, "MEMORY_LIMIT", 3 * 48 * 64 * 7 - 1)
    dataset = PlainFolder(root)
    dataset.preload()
    (root / "rgb" / "0000.jpg").unlink()
    with pytest.raises(DatasetError, match="0000.jpg: cannot be read"):
        dataset[0]


def test_large_sets_are_told_by_names_and_sizes(tmp_path, monkeypatch):
    root = write_plain_folder(tmp_path / "plain")
    monkeypatch.setattr(image_folder, "HASH_LIMIT", 6)
    first = PlainFolder(root).fingerprint()
    assert first.startswith("sizes:") and len(first) == 6 + 64
    (root / "intrinsics.yaml").write_text((root / "intrinsics.yaml").read_text() + "# longer")
    assert PlainFolder(root).fingerprint() != first


def test_an_image_that_a_list_names_twice_is_there_once(tmp_path):
    root = write_plain_folder(tmp_path / "plain")
    (tmp_path / "list.txt").write_text("0001\nrgb/0001.jpg\n0000 0001\n")
    assert PlainFolder(root, tmp_path / "list.txt").names == ["0001", "0000"]


def test_images_are_shared_by_name_and_root(tmp_path):
    root = write_plain_folder(tmp_path / "plain")
    dataset = PlainFolder(root)
    images = images_by_root([dataset.subset(["0001"]), dataset.subset(["0001", "0002"])])
    assert images == {str(root.resolve()): ["0001", "0002"]}
    (tmp_path / "link").symlink_to(root)
    assert shared_names(PlainFolder(tmp_path / "link"), images) == {"0001", "0002"}
    assert not shared_names(dataset.subset(["0000"]), images)
    assert not shared_names(PlainFolder(write_plain_folder(tmp_path / "other")), images)


def test_a_subset_has_the_named_images_only(tmp_path):
    dataset = PlainFolder(write_plain_folder(tmp_path / "plain"))
    part = dataset.subset(["0002", "0001"])
    assert [sample.name for sample in part] == ["0002", "0001"]
    assert dataset.names == ["0000", "0001", "0002"] and dataset[0].name == "0000"
    with pytest.raises(DatasetError, match="'0009'"):
        dataset.subset(["0009"])


def test_a_folder_without_images_is_refused(tmp_path):
    root = write_plain_folder(tmp_path / "plain", count=1)
    (root / "rgb" / "0000.jpg").unlink()
    with pytest.raises(DatasetError, match="no images"):
        PlainFolder(root)
