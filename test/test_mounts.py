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

"""Where the camera stood by image: what ``mounts.yaml`` may hold, and who gets it."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from dataset_folders import write_nyu_folder, write_plain_folder

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.tools.sample_sources import open_samples
from depthrefl_ros.training.datasets import DatasetError, parse_data_option
from depthrefl_ros.training.datasets.mounts import mount_of, read_mounts
from depthrefl_ros.training.synth.folder import RenderedFolder

MOUNT = {"height_m": 0.4, "pitch_rad": 0.2, "roll_rad": -0.03}


def write_mounts(path, **mounts):
    path.write_text(yaml.safe_dump(mounts))
    return path


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_mount_is_the_pose_of_its_numbers(tmp_path, wrapped):
    path = tmp_path / "mounts.yaml"
    mounts = {"0010": MOUNT, "kitchen/a b": {**MOUNT, "height_m": 1.5}}
    path.write_text(yaml.safe_dump({"images": mounts} if wrapped else mounts))
    found = read_mounts(path)
    assert set(found) == {"0010", "kitchen/a b"}
    assert found["0010"] == Pose.from_mount(0.4, 0.2, -0.03)
    assert found["kitchen/a b"].translation[2] == 1.5


@pytest.mark.parametrize("pitch, roll", [(0.0, 0.0), (0.4, 0.0), (-0.2, 0.1), (1.2, -0.3)])
def test_a_mount_is_found_whichever_way_the_camera_looks(pitch, roll):
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])  # to the left
    ahead = Pose.from_mount(0.7, pitch, roll, 0.2, 0.1)
    for pose in (ahead, Pose(turn, np.zeros(3)) @ ahead):
        mount = mount_of(pose)
        assert mount == pytest.approx({"height_m": 0.7, "pitch_rad": pitch, "roll_rad": roll},
                                      abs=1e-4)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: {height_m: 0.4, pitch_rad: 0.2}", "image 'a' has .*height_m, pitch_rad, roll_rad are"),
        ("a: {height_m: x, pitch_rad: 0, roll_rad: 0}", "image 'a' has .*all numbers"),
        ("a: {height_m: 0, pitch_rad: 0, roll_rad: 0}", "image 'a' .* a height above 0 and angles"),
        ("a: {height_m: nan, pitch_rad: 0, roll_rad: 0}", "image 'a' .* a height above 0"),
        ("a: {height_m: 1, pitch_rad: 12, roll_rad: 0}", "image 'a' .* angles within pi"),
        ("a: {height_m: 1, pitch_rad: 3, roll_rad: 0}", "image 'a' .*pitch_rad is 3.0; radians"),
        ("a: 3", "image 'a' has 3"),
        ("[1, 2]", "entries NAME: {height_m, pitch_rad, roll_rad} are needed"),
        ("a: {", "no YAML"),
    ],
)
def test_what_is_no_mount_is_named(tmp_path, text, complaint):
    path = tmp_path / "mounts.yaml"
    path.write_text(text)
    with pytest.raises(DatasetError, match=f"mounts.yaml: {complaint}"):
        read_mounts(path)


def test_a_plain_folder_has_its_own_mounts_and_its_subsets_too(tmp_path):
    folder = write_plain_folder(tmp_path / "rooms", count=3)
    assert open_samples(parse_data_option(str(folder)))[0].mount is None
    write_mounts(folder / "mounts.yaml", **{"0001": MOUNT})
    samples = open_samples(parse_data_option(str(folder)))
    assert [sample.mount for sample in samples] == [None, Pose.from_mount(0.4, 0.2, -0.03), None]
    assert samples.subset(["0001"])[0].mount is not None


def test_any_data_set_can_be_given_mounts(tmp_path):
    nyu = write_nyu_folder(tmp_path / "nyu", count=2)
    mounts = write_mounts(tmp_path / "of_nyu.yaml", **{"0000": MOUNT, "0077": MOUNT})
    samples = open_samples(parse_data_option(f"{nyu},weight=2,mounts={mounts}"))
    assert samples[0].mount == Pose.from_mount(0.4, 0.2, -0.03) and samples[1].mount is None
    rooms = write_plain_folder(tmp_path / "rooms", count=1)
    write_mounts(rooms / "mounts.yaml", **{"0000": {**MOUNT, "height_m": 9.0}})
    samples = open_samples(parse_data_option(f"{rooms},mounts={mounts}"))
    assert samples[0].mount.translation[2] == 0.4  # what is asked for goes before what lies there


def test_mounts_of_other_images_are_refused(tmp_path):
    rooms = write_plain_folder(tmp_path / "rooms", count=1)
    mounts = write_mounts(tmp_path / "other.yaml", kitchen=MOUNT, hall=MOUNT)
    with pytest.raises(DatasetError, match="other.yaml: none of its 2 names is an image of"):
        open_samples(parse_data_option(f"{rooms},mounts={mounts}"))
    with pytest.raises(DatasetError, match="gone.yaml: cannot be read"):
        open_samples(parse_data_option(f"{rooms},mounts={tmp_path / 'gone.yaml'}"))


def test_what_the_renderer_writes_is_read(tmp_path):
    folder = RenderedFolder(tmp_path / "rooms")
    camera = Camera.pinhole(64, 48, 60.0, 60.0, 31.5, 23.5)
    image, depth_m = np.zeros((48, 64, 3), np.uint8), np.ones((48, 64), np.float32)
    folder.add("0000", image, depth_m, camera, mount=MOUNT)
    samples = open_samples(parse_data_option(str(folder.root)))
    assert samples[0].mount == Pose.from_mount(0.4, 0.2, -0.03)
