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

"""The folder that ``dataset`` fills, where something goes wrong."""

import numpy as np
import pytest
import yaml
from mounted_disk import mounted_disk

from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.dataset_folder import DatasetFolder, is_of_dataset
from depthrefl_ros.training.datasets import Sample, open_dataset

MOUNT = {"height_m": 0.5, "pitch_rad": 0.1, "roll_rad": 0.0}


def sample(metres: float = 2.0) -> Sample:
    depth_m = np.full((48, 64), metres, np.float32)
    return Sample("", np.zeros((48, 64, 3), np.uint8), depth_m, (60.0, 60.0, 31.5, 23.5))


def filled(path, count: int, prefix: str = "") -> DatasetFolder:
    folder = DatasetFolder(path, [prefix])
    for number in range(count):
        folder.add(f"{prefix}{number:06d}", sample(), MOUNT)
    return folder


def test_an_earlier_folder_stays_until_the_first_image_comes(tmp_path):
    filled(tmp_path / "out", 3).close([])
    before = sorted(tmp_path.rglob("*"))
    later = DatasetFolder(tmp_path / "out", [""])
    later.close([])
    assert sorted(tmp_path.rglob("*")) == before and len(open_dataset(tmp_path / "out")) == 3
    later.add("000000", sample(3.0), None)
    later.close([{"recording": "a.mcap"}])
    assert [one.depth_m.max() for one in open_dataset(tmp_path / "out")] == [3.0]
    assert not (tmp_path / "out" / "mounts.yaml").exists()
    log = yaml.safe_load((tmp_path / "out" / "dataset.yaml").read_text())
    assert log["recordings"] == [{"recording": "a.mcap"}] and is_of_dataset(tmp_path / "out")


def test_nothing_is_made_where_nothing_is_kept(tmp_path):
    DatasetFolder(tmp_path / "out", [""]).close([])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("prefix", ["", "drive/"])
def test_what_a_killed_run_had_no_time_to_list_goes_as_well(tmp_path, prefix):
    filled(tmp_path / "out", 3, prefix)  # and no close
    assert not (tmp_path / "out" / "intrinsics.yaml").exists()
    rgb = tmp_path / "out" / "rgb" / prefix
    (rgb / "000003.jpg.part").write_bytes(b"half")
    (rgb / "mine.jpg").write_text("kept")
    other = tmp_path / "out" / "rgb" / "mine"
    other.mkdir()
    (other / "000000.jpg").write_text("kept")
    filled(tmp_path / "out", 1).close([])
    files = {path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*.*")}
    mine = {"rgb/mine/000000.jpg", f"rgb/{prefix}mine.jpg"}
    assert {str(file) for file in files} == mine | {
        *("rgb/000000.jpg", "depth/000000.png"),
        *("intrinsics.yaml", "mounts.yaml", "dataset.yaml"),
    }


@pytest.mark.parametrize("is_closed", [True, False])
def test_numbered_images_of_the_users_stay(tmp_path, is_closed):
    out = tmp_path / "out"
    folder = filled(out, 2)
    if is_closed:
        folder.close([])
        assert not (out / "unlisted.txt").exists()
    mine = [out / "rgb" / "000777.jpg", out / "rgb" / "000778.png", out / "depth" / "000777.png"]
    for file in mine:
        file.write_text("mine")
    filled(out, 1).close([])
    assert [file.read_text() for file in mine] == ["mine"] * 3
    assert not (out / "rgb" / "000001.jpg").exists()
    assert not (out / "depth" / "000001.png").exists()


@pytest.mark.parametrize("name", ["rgb/000001.jpg", "depth/000001.png"])
def test_an_image_of_the_users_is_not_replaced(tmp_path, name):
    out = tmp_path / "out"
    filled(out, 1).close([])
    (out / name).write_text("mine")
    folder = filled(out, 1)
    with pytest.raises(ToolError, match=f"{name}: is not known to be of an earlier run"):
        folder.add("000001", sample(), MOUNT)
    folder.close([])
    assert (out / name).read_text() == "mine"
    assert yaml.safe_load((out / "intrinsics.yaml").read_text())["images"].keys() == {"000000"}


def test_subfolders_outside_of_the_folder_are_not_looked_into(tmp_path):
    filled(tmp_path / "out", 1).close([])
    (tmp_path / "000000.jpg").write_text("kept")
    log = {"made_by": "depthrefl dataset", "subfolders": ["../..", str(tmp_path)]}
    (tmp_path / "out" / "dataset.yaml").write_text(yaml.safe_dump(log))
    (tmp_path / "out" / "unlisted.txt").write_text("../../000000\n")
    filled(tmp_path / "out", 1).close([])
    assert (tmp_path / "000000.jpg").read_text() == "kept"


def test_a_full_disk_is_named_and_what_was_written_can_be_used(tmp_path):
    with mounted_disk(tmp_path / "disk", megabytes=1) as disk:
        path = disk / "out"
        folder = DatasetFolder(path, [""])
        with pytest.raises(ToolError, match=r"disk/out/: cannot be written: No space left on dev"):
            for number in range(1000):
                folder.add(f"{number:06d}", sample(), MOUNT)
        added = len(folder.names)
        folder.close([])
        samples = open_dataset(path)
        assert added > 20 and len(samples) == len(folder.names) >= added - 10
        assert not list(path.rglob("*.part")) and is_of_dataset(path)
        assert all((one.depth_m == 2.0).all() for one in samples)
