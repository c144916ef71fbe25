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

"""Every format is read as its authors say, and what is wrong with a folder is named."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import yaml
from dataset_folders import (
    KITTI_DRIVES,
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
    image_folder,
    open_dataset,
    parse_data_option,
    parse_data_options,
)
from depthrefl_ros.training.datasets.tum import associate


def test_nyu_is_cropped_to_its_valid_pixels(tmp_path):
    root = write_nyu_folder(tmp_path / "nyu")
    sample = NyuFolder(root, root / "list.txt")[0]
    assert sample.image.shape == (426, 560, 3)
    assert sample.depth_m.shape == (426, 560) and sample.depth_m.dtype == np.float32
    red, green, blue = sample.image[200, 300]
    assert red > 180 and green < 30 and blue < 30
    assert sample.image[..., 1].max() < 60  # no white border left


def test_nyu_depth_is_metric_and_unknown_at_the_cap(tmp_path):
    root = write_nyu_folder(tmp_path / "nyu")
    sample = NyuFolder(root, root / "list.txt")[1]
    column = 100
    step = (column + 41) // 4
    assert sample.depth_m[300, column] == pytest.approx((step + 0.5) * 9.99547 / 255)
    assert sample.depth_m[0, 0] == 0.0


def test_nyu_principal_point_moves_with_the_crop(tmp_path):
    root = write_nyu_folder(tmp_path / "nyu")
    fx, fy, cx, cy = NyuFolder(root, root / "list.txt")[0].intrinsics
    assert (fx, fy) == (518.86, 519.47)
    assert (cx, cy) == pytest.approx((325.58 - 41, 253.74 - 45))


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
    assert PlainFolder(root).names == ["0000", "0002"]


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


def test_sets_that_define_their_unit_take_no_factor(tmp_path):
    root = write_nyu_folder(tmp_path / "nyu")
    with pytest.raises(DatasetError, match="depth_factor is 5000, but nyu defines its own"):
        parse_data_option(f"{root},depth_factor=5000").open()


def test_a_path_may_have_commas(tmp_path):
    root = write_plain_folder(tmp_path / "rooms, first floor")
    assert len(parse_data_option(str(root)).open()) == 3


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


def test_missing_and_empty_lists_are_named(tmp_path):
    root = write_nyu_folder(tmp_path / "nyu")
    with pytest.raises(DatasetError, match="absent.txt: list file missing"):
        NyuFolder(root, tmp_path / "absent.txt")
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(DatasetError, match="list file is empty"):
        NyuFolder(root, tmp_path / "empty.txt")


def test_a_nyu_folder_without_a_list_gives_all(tmp_path):
    assert NyuFolder(write_nyu_folder(tmp_path / "nyu")).names == ["0000", "0001"]


def test_nyu_mat_is_turned_upright_and_cropped(tmp_path):
    sample = NyuMat(write_nyu_mat(tmp_path / "nyu.mat"))[2]
    assert sample.name == "0002"
    assert sample.image.shape == (426, 560, 3) and sample.image.dtype == np.uint8
    assert (sample.image == (2, 20, 40)).all()  # no white border left
    assert sample.depth_m.shape == (426, 560) and sample.depth_m.dtype == np.float32
    expected = np.linspace(1.0, 8.0, 640)[41:601]
    np.testing.assert_allclose(sample.depth_m[[0, -1]], [expected, expected], rtol=1e-6)
    assert sample.intrinsics == (518.86, 519.47, 325.58 - 41, 253.74 - 45)


def test_nyu_mat_takes_zero_based_indices(tmp_path):
    path = write_nyu_mat(tmp_path / "nyu.mat")
    (tmp_path / "list.txt").write_text("0002\n0\n")
    dataset = NyuMat(path, tmp_path / "list.txt")
    assert [sample.image[0, 0, 0] for sample in dataset] == [2, 0]
    assert dataset.fingerprint() != NyuMat(path).fingerprint()
    (tmp_path / "list.txt").write_text("3\n")
    with pytest.raises(DatasetError, match="'3' is no index from 0 to 2"):
        NyuMat(path, tmp_path / "list.txt")


def test_nyu_mat_can_be_read_by_forked_processes(tmp_path):
    dataset = NyuMat(write_nyu_mat(tmp_path / "nyu.mat"))
    dataset[0]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(_red, [dataset] * 6) == [1] * 6


def _red(dataset):
    return int(dataset[1].image[0, 0, 0])


def test_a_mat_file_of_another_content_is_named(tmp_path):
    with h5py.File(tmp_path / "other.mat", "w") as file:
        file["images"] = np.zeros((2, 3, 64, 48), np.uint8)
    with pytest.raises(DatasetError, match=r"'images' has shape \(2, 3, 64, 48\)"):
        NyuMat(tmp_path / "other.mat")
    (tmp_path / "old.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    with pytest.raises(DatasetError, match="cannot be read as MATLAB 7.3"):
        NyuMat(tmp_path / "old.mat")


def test_kitti_takes_all_images_with_depth(tmp_path):
    dataset = KittiDepth(write_kitti(tmp_path))
    assert dataset.names == [
        f"{drive}/image_02/{frame:010d}" for drive in KITTI_DRIVES.values() for frame in (5, 6)
    ]
    sample = dataset[1]
    assert (sample.image == 6).all() and sample.image.shape == (40, 60, 3)
    assert (sample.depth_m[:20] == 0).all() and (sample.depth_m[20:] == 10.0).all()
    assert sample.intrinsics == (721.5, 722.5, 609.5, 172.8)
    assert len(dataset.files()) == 10 and len(dataset.fingerprint()) == 64


def test_kitti_reads_eigen_lists_and_lists_of_depth(tmp_path):
    root = write_kitti(tmp_path)
    drive = KITTI_DRIVES["val"]
    colour = f"2011_09_28/{drive}/image_02/data"
    depth = f"{drive}/proj_depth/groundtruth/image_02"
    eigen = tmp_path / "eigen.txt"
    eigen.write_text(
        f"{colour}/0000000006.jpg {depth}/0000000006.png 721.5\n{colour}/0000000009.jpg None 721\n"
    )
    assert KittiDepth(root, eigen).names == [f"{drive}/image_02/0000000006"]
    official = tmp_path / "official.txt"
    official.write_text(f"val/{depth}/0000000005.png\n")
    assert (KittiDepth(root, official)[0].image == 5).all()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("some/file.png", "neither 'COLOUR DEPTH FOCAL' nor"),
        (f"{KITTI_DRIVES['val']}/x/image_02/data/0000000006.png None 721", "none of its images"),
        (f"{KITTI_DRIVES['val']}/x/image_02/data/0000000007.png", "none of .*0000000007.png"),
    ],
)
def test_a_bad_kitti_list_is_named(tmp_path, line, message):
    root = write_kitti(tmp_path / "kitti")
    (tmp_path / "list.txt").write_text(line + "\n")
    with pytest.raises(DatasetError, match=message):
        KittiDepth(root, tmp_path / "list.txt")[0]


def test_a_kitti_calibration_without_the_camera_is_named(tmp_path):
    root = write_kitti(tmp_path)
    for path in root.glob("raw/*/calib_cam_to_cam.txt"):
        path.write_text("P_rect_02: 1 2 3\n")
    with pytest.raises(DatasetError, match="no line 'P_rect_02:' with twelve numbers"):
        KittiDepth(root)[0]


def test_tum_pairs_by_stamp_and_uses_the_published_camera(tmp_path):
    dataset = TumRgbd(write_tum(tmp_path / "rgbd_dataset_freiburg3_desk"))
    assert dataset.names == ["10.000000", "10.033000"]
    sample = dataset[1]
    assert sample.image.shape == (480, 640, 3)
    assert sample.depth_m[1, 1] == 1.5 and sample.depth_m[0, 0] == 0.0
    assert sample.intrinsics == (535.4, 539.2, 320.1, 247.6)


def test_tum_pairs_the_closest_first_and_each_once():
    assert associate(["0.00", "0.02"], ["0.015", "0.5"]) == [("0.02", "0.015")]
    assert associate(["0.00", "0.03"], ["0.01", "0.04"]) == [("0.00", "0.01"), ("0.03", "0.04")]
    assert associate(["0.00"], ["0.03"]) == []


def test_tum_takes_intrinsics_of_its_own(tmp_path):
    root = write_tum(tmp_path / "my_robot")
    with pytest.raises(DatasetError, match="no freiburg1, 2 or 3"):
        TumRgbd(root)
    camera = {"width": 640, "height": 480, "fx": 500, "fy": 501, "cx": 320, "cy": 240}
    (root / "intrinsics.yaml").write_text(yaml.safe_dump({"camera": camera}))
    assert TumRgbd(root)[0].intrinsics == (500.0, 501.0, 320.0, 240.0)


def test_tum_lists_are_checked(tmp_path):
    root = write_tum(tmp_path / "freiburg1")
    (tmp_path / "list.txt").write_text("10.300000\n")
    with pytest.raises(DatasetError, match="'10.300000' is no stamp"):
        TumRgbd(root, tmp_path / "list.txt")
    (root / "rgb.txt").write_text("ten rgb/10.png\n")
    with pytest.raises(DatasetError, match="'ten rgb/10.png' is not 'stamp path'"):
        TumRgbd(root)


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
