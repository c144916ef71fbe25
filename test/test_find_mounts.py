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

"""Where the camera stood, found in true depth and read by training."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from dataset_folders import write_nyu_folder

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.floor_plane import camera_floor_depth
from depthrefl_ros.geometry.ground import FloorSettings, find_floor
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.rays import image_rays
from depthrefl_ros.tools.find_mounts import find_mount, main
from depthrefl_ros.training.datasets import Sample, open_dataset

CAMERA = Camera.pinhole(160, 120, 130.0, 130.0, 79.5, 59.5)
SETTINGS = FloorSettings(max_tilt_deg=40.0, tolerance=0.02)


def hall(mount: Pose, table_m: float | None = None) -> np.ndarray:
    """Return depth (H, W) of a floor before a wall 4 m away, perhaps with a table on it."""
    floor_m = camera_floor_depth(CAMERA, mount)
    ahead = (image_rays(CAMERA) @ mount.rotation.T)[..., 0]
    wall_m = 4.0 / np.maximum(ahead, 1e-3)
    depth_m = np.where(floor_m > 0, np.minimum(floor_m, wall_m), wall_m)
    if table_m is not None:
        height = mount.translation[2] - table_m
        top_m = camera_floor_depth(CAMERA, Pose(mount.rotation, np.array([0, 0, height])))
        points = mount.apply(top_m[..., None] * image_rays(CAMERA))
        on_top = (top_m > 0) & (points[..., 0] < 1.6) & (np.abs(points[..., 1]) < 0.5)
        depth_m = np.where(on_top, top_m, depth_m)
    return np.clip(depth_m, 0.05, 20.0).astype(np.float32)


def sample(depth_m: np.ndarray) -> Sample:
    image = np.full((*depth_m.shape, 3), 90, np.uint8)
    intrinsics = (CAMERA.fx, CAMERA.fy, CAMERA.cx, CAMERA.cy)
    return Sample("hall", image, depth_m, intrinsics)


@pytest.mark.parametrize("height_m", [0.2, 0.6, 1.4])
@pytest.mark.parametrize("pitch", [0.0, 0.5])
@pytest.mark.parametrize("roll", [0.0, -0.2])
def test_the_mount_is_found(height_m, pitch, roll):
    mount = Pose.from_mount(height_m, pitch, roll)
    found = find_mount(sample(hall(mount)), SETTINGS)
    assert found.translation[2] == pytest.approx(height_m, rel=0.01)
    assert np.linalg.norm(found.up_in_source - mount.up_in_source) < math.radians(0.5)


def test_a_table_is_not_taken_for_the_floor():
    mount = Pose.from_mount(1.3, 0.45)
    depth_m = hall(mount, table_m=0.75)
    largest = find_floor(depth_m, CAMERA, np.array([0.0, -1.0, 0.0]), SETTINGS)
    assert largest.height_m == pytest.approx(0.55, rel=0.01)  # of the plane that fills the view
    assert find_mount(sample(depth_m), SETTINGS) is None


def test_a_bare_wall_shows_no_floor():
    assert find_mount(sample(np.full((120, 160), 1.5, np.float32)), SETTINGS) is None


def write_folder(root, mounts):
    (root / "rgb").mkdir(parents=True)
    (root / "depth").mkdir()
    for number, mount in enumerate(mounts):
        name = f"{number:04d}.png"
        depth_m = np.full((120, 160), 1.5) if mount is None else hall(mount)
        cv2.imwrite(str(root / "depth" / name), np.rint(1000 * depth_m).astype(np.uint16))
        cv2.imwrite(str(root / "rgb" / name), np.full((120, 160, 3), 90, np.uint8))
    camera = {"width": 160, "height": 120, "fx": 130.0, "fy": 130.0, "cx": 79.5, "cy": 59.5}
    (root / "intrinsics.yaml").write_text(yaml.safe_dump({"camera": camera}))
    return root


def test_training_reads_what_was_found(tmp_path, capsys):
    mounts = [Pose.from_mount(0.3, 0.3), None, Pose.from_mount(0.5, 0.1, 0.05)]
    folder, report = write_folder(tmp_path / "hall", mounts), tmp_path / "report.json"
    assert main([str(folder), "--json", str(report)]) == 0
    assert "mounts.yaml: 2 of 3 images show the floor, 0.31 to 0.49 m" in capsys.readouterr().out
    assert json.loads(report.read_text())["mounts"] == 2
    samples = open_dataset(folder)
    assert samples[1].mount is None
    for index in (0, 2):
        found = samples[index].mount
        np.testing.assert_allclose(found.rotation[2], mounts[index].rotation[2], atol=0.01)
        assert found.translation[2] == pytest.approx(mounts[index].translation[2], rel=0.01)
    assert main([str(folder)]) == 2
    assert "mounts.yaml exists; remove it first, or give another --out" in capsys.readouterr().err
    only_low = ["--height", "0.25", "0.4", "--out", str(tmp_path / "low.yaml")]
    assert main([str(folder), *only_low]) == 0
    assert list(yaml.safe_load((tmp_path / "low.yaml").read_text())) == ["0000"]


def test_a_file_that_cannot_be_read_is_told_and_passed_over(tmp_path, capsys):
    folder = write_folder(tmp_path / "hall", [Pose.from_mount(0.3, 0.3)] * 3)
    damaged = folder / "depth" / "0001.png"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    out, report = tmp_path / "made" / "mounts.yaml", tmp_path / "report.json"
    assert main([str(folder), "--out", str(out), "--json", str(report)]) == 0
    assert list(yaml.safe_load(out.read_text())) == ["0000", "0002"]
    assert json.loads(report.read_text())["unreadable"] == ["0001"]
    said = capsys.readouterr().err
    assert "1 images cannot be read, the first" in said and "0001.png: the file is trunc" in said


def test_what_cannot_be_done_is_one_line(tmp_path, capsys):
    recording = Path(__file__).parent / "data" / "corridor.mcap"
    wall = write_folder(tmp_path / "wall", [None])
    nyu = write_nyu_folder(tmp_path / "nyu", count=1)
    for arguments, said in (
        ([str(wall)], "none of 1 images shows enough of a floor"),
        ([str(nyu)], "nyu is no plain folder; --out FILE is needed"),
        ([str(wall), "--height", "2", "1"], "heights are 2.0 to 1.0 m; need 0 < min < max"),
        ([str(recording)], "is a recording; write it into a folder"),
        ([str(wall), "--out", str(nyu / "list.txt" / "m.yaml")], "m.yaml: cannot be written"),
        ([str(tmp_path / "gone")], "gone: no such folder or file"),
    ):
        assert main(arguments) == 2
        assert said in capsys.readouterr().err
    assert not (wall / "mounts.yaml").exists()
