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

"""The plain folder is read as described, and what is wrong with it is named."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import yaml
from dataset_folders import write_plain_folder

from depthrefl_ros.training.datasets import DatasetError, PlainFolder, parse_data_option


def test_plain_folder_gives_metres_and_each_image_its_camera(tmp_path):
    dataset = PlainFolder(write_plain_folder(tmp_path / "plain"))
    assert dataset.names == ["0000", "0001", "0002"]
    assert dataset[2].intrinsics == (62.0, 62.0, 31.5, 23.5)
    assert dataset[0].depth_m[-1, 5] == pytest.approx(1.0)
    assert dataset[0].depth_m[0, 0] == 0.0


def test_plain_folder_takes_one_camera_for_all(tmp_path):
    root = write_plain_folder(tmp_path / "plain")
    camera = {"width": 64, "height": 48, "fx": 50, "fy": 51, "cx": 32, "cy": 24}
    (root / "intrinsics.yaml").write_text(yaml.safe_dump({"camera": camera}))
    assert PlainFolder(root)[1].intrinsics == (50.0, 51.0, 32.0, 24.0)


def test_names_that_look_like_numbers_need_no_quotes(tmp_path):
    root = write_plain_folder(tmp_path / "plain", count=12)
    lines = [
        f"  {index:04d}: {{width: 64, height: 48, fx: {40 + index}, fy: 50, cx: 32, cy: 24}}"
        for index in range(12)
    ]
    (root / "intrinsics.yaml").write_text("\n".join(["images:", *lines]))
    dataset = PlainFolder(root)
    assert len(dataset) == 12 and dataset[10].intrinsics[0] == 50.0


def test_plain_folder_leaves_out_images_that_are_not_complete_yet(tmp_path):
    root = write_plain_folder(tmp_path / "plain")
    (root / "depth" / "0001.png").unlink()
    text = (root / "intrinsics.yaml").read_text()
    (root / "intrinsics.yaml").write_text(text.replace("'0002':", "'0007':"))
    found = PlainFolder(root)
    assert found.names == ["0000"]
    assert (found.without_depth, found.without_camera) == (["0001"], ["0002"])


@pytest.mark.parametrize(
    ("option", "in_file", "metres"),
    [
        ("", None, 1.0),
        (",depth_factor=500", None, 2.0),
        ("", 250, 4.0),
        (",depth_factor=500", 1, 2.0),
    ],
)
def test_the_unit_of_depth_is_given_by_option_or_file(tmp_path, option, in_file, metres):
    root = write_plain_folder(tmp_path / "plain")
    if in_file is not None:
        text = (root / "intrinsics.yaml").read_text()
        (root / "intrinsics.yaml").write_text(f"depth_factor: {in_file}\n{text}")
    dataset = parse_data_option(f"{root}{option}").open()
    assert dataset[0].depth_m[-1, 5] == pytest.approx(metres)
    assert dataset.describe_depth() == f"3 .png, read as {1000 / metres:g} units a metre"


@pytest.mark.parametrize("factor", ["0", "-1", "nan", "many"])
def test_a_depth_factor_that_is_none_is_refused(tmp_path, factor):
    with pytest.raises(DatasetError, match=f"depth_factor is '{factor}'.*above 0"):
        parse_data_option(f"rooms,depth_factor={factor}")
    root = write_plain_folder(tmp_path / "plain")
    text = (root / "intrinsics.yaml").read_text()
    (root / "intrinsics.yaml").write_text(f"depth_factor: {factor}\n{text}")
    with pytest.raises(DatasetError, match="intrinsics.yaml: depth_factor is"):
        PlainFolder(root)


def test_a_distorted_camera_is_rectified_with_its_depth(tmp_path):
    root = write_plain_folder(tmp_path / "plain", count=1)
    camera = {"width": 64, "height": 48, "fx": 40, "fy": 40, "cx": 31.5, "cy": 23.5}
    straight = PlainFolder(root)[0]
    entry = {**camera, "distortion_model": "plumb_bob", "distortion": [-0.2, 0.0, 0.0, 0.0, 0.0]}
    (root / "intrinsics.yaml").write_text(yaml.safe_dump({"camera": entry}))
    found = PlainFolder(root)[0]
    assert found.intrinsics == (40.0, 40.0, 31.5, 23.5)
    # In the middle nothing moves; a barrel's edge is pulled outward, so it shows what lay inside.
    assert np.array_equal(found.depth_m[23:25, 31:33], straight.depth_m[23:25, 31:33])
    v = np.arange(24, 48)
    y = (v - 23.5) / 40
    inside = np.rint(23.5 + 40 * y * (1 - 0.2 * y * y)).astype(int)
    assert np.allclose(found.depth_m[v, 32], straight.depth_m[inside, 32], atol=0.07)
    assert found.depth_m[47, 32] > straight.depth_m[47, 32] + 0.05
    known = set(np.unique(straight.depth_m)) | {0.0}
    assert set(np.unique(found.depth_m)) <= known  # no depth between two pixels


CALIBRATION = """image_width: 64
image_height: 48
camera_name: cam
camera_matrix: {rows: 3, cols: 3, data: [40.0, 0.0, 31.5, 0.0, 41.0, 23.5, 0.0, 0.0, 1.0]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [-0.2, 0.0, 0.0, 0.0, 0.0]}
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [38, 0, 31, 0, 0, 39, 23, 0, 0, 0, 1, 0]}
"""
KALIBR = """cam0:
  camera_model: pinhole
  distortion_coeffs: [0.0, 0.0, 0.0, 0.0]
  distortion_model: radtan
  intrinsics: [40.0, 41.0, 31.5, 23.5]
  resolution: [64, 48]
"""


def test_a_calibration_file_is_the_camera_of_all_images(tmp_path):
    root = write_plain_folder(tmp_path / "plain")
    straight = PlainFolder(root)[0]
    (root / "intrinsics.yaml").write_text(KALIBR)
    assert [sample.intrinsics for sample in PlainFolder(root)] == [(40.0, 41.0, 31.5, 23.5)] * 3
    (root / "intrinsics.yaml").write_bytes(CALIBRATION.encode("utf-8-sig"))
    found = PlainFolder(root)[0]
    assert found.intrinsics == (38.0, 39.0, 31.0, 23.0)  # of the rectified image
    assert not np.array_equal(found.depth_m, straight.depth_m)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: [", "or a calibration, which it is not"),
        ("image_width: 64", "lacks the field"),
        (CALIBRATION.replace("[40.0, 0.0", "[0.0, 0.0"), "K has focal lengths 0.0 and 41.0"),
        ("camera:\nimages:\n", "'camera' and 'images' are empty"),
    ],
)
def test_intrinsics_that_are_none_are_named(tmp_path, content, said):
    root = write_plain_folder(tmp_path / "plain")
    (root / "intrinsics.yaml").write_text(content)
    with pytest.raises(DatasetError, match=said) as error:
        PlainFolder(root)
    assert "intrinsics.yaml" in str(error.value) and len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: (root / "intrinsics.yaml").unlink(), "intrinsics.yaml: missing"),
        (lambda root: (root / "intrinsics.yaml").write_text("{}"), "needs 'camera"),
        (lambda root: (root / "rgb" / "0000.jpg").write_bytes(b"no image"), "not an image"),
        (
            lambda root: cv2.imwrite(str(root / "depth/0000.png"), np.zeros((48, 64), np.uint8)),
            "holds no metres",
        ),
        (
            lambda root: cv2.imwrite(str(root / "depth/0000.png"), np.zeros((9, 8), np.uint16)),
            "8x9, 64x48 is needed",
        ),
    ],
)
def test_a_damaged_plain_folder_is_named(tmp_path, damage, message):
    root = write_plain_folder(tmp_path / "plain")
    damage(root)
    with pytest.raises(DatasetError, match=message):
        PlainFolder(root)[0]


def test_an_intrinsics_entry_without_a_focal_length_is_named(tmp_path):
    root = write_plain_folder(tmp_path / "plain", count=1)
    camera = {"width": 64, "height": 48, "fy": 50, "cx": 32, "cy": 24}
    (root / "intrinsics.yaml").write_text(yaml.safe_dump({"images": {"0000": camera}}))
    with pytest.raises(DatasetError, match="image '0000' has no 'fx'"):
        PlainFolder(root)[0]


def test_plain_folders_may_hold_png(tmp_path):
    root = write_plain_folder(tmp_path / "plain")
    image = cv2.imread(str(root / "rgb" / "0001.jpg"))
    (root / "rgb" / "0001.jpg").unlink()
    cv2.imwrite(str(root / "rgb" / "0001.png"), image)
    dataset = PlainFolder(root)
    assert dataset.names == ["0000", "0001", "0002"]
    assert np.array_equal(dataset[1].image, image[..., ::-1])
    assert root / "rgb" / "0001.png" in dataset.files()


@pytest.mark.parametrize("place", ["rgb/0001.jpg", "depth/0001.png"])
def test_a_truncated_file_is_not_taken_for_a_grey_image(tmp_path, place):
    path = write_plain_folder(tmp_path / "plain") / place
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DatasetError, match=f"{path.name}: the file is truncated"):
        PlainFolder(tmp_path / "plain")[1]


def test_depth_files_of_several_kinds_are_told_by_their_units(tmp_path):
    root = write_plain_folder(tmp_path / "plain", count=4)
    for name in ("0001", "0003"):
        path = root / "depth" / f"{name}.png"
        np.save(path.with_suffix(".npy"), cv2.imread(str(path), cv2.IMREAD_UNCHANGED) / 1000.0)
        path.unlink()
    mixed = PlainFolder(root)
    assert np.allclose(mixed[0].depth_m, mixed[1].depth_m)
    assert mixed.describe_depth() == (
        "2 .png, read as 1000 units a metre; 2 .npy, read as 1 units a metre"
    )
    assert mixed.units_per_metre() is None
    assert PlainFolder(root, depth_factor=500.0).units_per_metre() == 500.0
    (tmp_path / "list.txt").write_text("0001 0003")
    chosen = PlainFolder(root, tmp_path / "list.txt")
    assert chosen.describe_depth() == "2 .npy, read as 1 units a metre"
    assert chosen.units_per_metre() == 1.0
