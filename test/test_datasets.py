"""Data folders are read as their formats say, and batches depend on nothing but (seed, step)."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import yaml
from dataset_folders import write_nyu_folder, write_plain_folder

from depthrefl_ros.training.datasets import DatasetError, NyuFolder, PlainFolder


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


def test_plain_folder_leaves_out_images_that_are_not_complete_yet(tmp_path):
    root = write_plain_folder(tmp_path / "plain")
    (root / "depth" / "0001.png").unlink()
    assert PlainFolder(root).names == ["0000", "0002"]


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
            "uint16 is needed",
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


def test_a_folder_without_images_is_refused(tmp_path):
    root = write_plain_folder(tmp_path / "plain", count=1)
    (root / "rgb" / "0000.jpg").unlink()
    with pytest.raises(DatasetError, match="no images"):
        PlainFolder(root)
