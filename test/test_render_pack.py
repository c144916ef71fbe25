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

"""Data sets packed as recordings: depth in millimetres whatever the files have."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from dataset_folders import write_nyu_folder, write_rendered_folder, write_tum
from test_recording import decoded, read

from depthrefl_ros.tools.render import main as render_tool
from depthrefl_ros.training.datasets import open_dataset


def packed(folder: Path) -> dict[str, list]:
    """Return the messages of a folder's recording by what they are."""
    path = folder.with_suffix(".mcap")
    assert render_tool(["pack", str(folder), str(path)]) == 0
    found = read(path)
    return {
        "image": found["/camera/image_raw/compressed"],
        "info": found["/camera/camera_info"],
        "depth": found["/camera/depth_truth/compressed"],
    }


def change_cameras(root: Path, change) -> None:
    path = root / "intrinsics.yaml"
    content = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(change(content)))


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "data"
    write_rendered_folder(root, 2)
    return root


def test_what_is_in_millimetres_already_is_not_encoded_anew(folder):
    found = packed(folder)
    assert found["image"][1].data.tobytes() == (folder / "rgb" / "0001.jpg").read_bytes()
    assert found["depth"][1].data.tobytes() == (folder / "depth" / "0001.png").read_bytes()


def test_depth_of_another_unit_becomes_millimetres(folder):
    steps = cv2.imread(str(folder / "depth" / "0000.png"), cv2.IMREAD_UNCHANGED)
    change_cameras(folder, lambda content: {"depth_factor": 5000, **content})
    np.testing.assert_allclose(decoded(packed(folder)["depth"][0]), steps / 5.0, atol=0.5001)


def test_pictures_of_another_format_and_one_camera_for_all_are_packed(folder):
    for path in sorted((folder / "rgb").glob("*.jpg")):
        cv2.imwrite(str(path.with_suffix(".png")), cv2.imread(str(path)))
        path.unlink()
    change_cameras(folder, lambda content: {"camera": content["images"]["0000"]})
    found = packed(folder)
    assert len(found["image"]) == 2 and found["image"][0].data[:2].tobytes() == b"\xff\xd8"
    picture = cv2.imread(str(folder / "rgb" / "0000.png"))
    difference = np.abs(decoded(found["image"][0]).astype(int) - picture)
    assert difference.mean() < 1.0
    camera = open_dataset(folder)[0].intrinsics
    np.testing.assert_allclose(found["info"][0].k.reshape(3, 3)[[0, 1, 0, 1], [0, 1, 2, 2]], camera)


def test_a_distorted_image_is_packed_as_it_is_evaluated(folder):
    def distort(content):
        lens = {"distortion_model": "plumb_bob", "distortion": [-0.3, 0.1, 0, 0, 0]}
        return {"images": {name: {**c, **lens} for name, c in content["images"].items()}}

    change_cameras(folder, distort)
    sample, found = open_dataset(folder)[0], packed(folder)
    np.testing.assert_allclose(decoded(found["depth"][0]) / 1000.0, sample.depth_m, atol=6e-4)
    difference = np.abs(decoded(found["image"][0])[..., ::-1].astype(int) - sample.image)
    assert difference.mean() < 2.0
    assert not found["info"][0].d.any()


@pytest.mark.parametrize("write", [write_tum, write_nyu_folder])
def test_other_kinds_of_data_sets_are_packed(tmp_path, write):
    root = tmp_path / "rgbd_dataset_freiburg1_desk"  # by its name TUM tells its camera
    write(root)
    samples, found = open_dataset(root), packed(root)
    assert len(found["depth"]) == len(samples)
    known = samples[0].depth_m < 65.0
    np.testing.assert_allclose(
        decoded(found["depth"][0])[known] / 1000.0, samples[0].depth_m[known], atol=6e-4
    )


def test_images_without_depth_are_told_and_a_folder_without_any_is_refused(folder, capsys):
    (folder / "depth" / "0000.png").unlink()
    assert len(packed(folder)["image"]) == 1
    assert "1 images have no depth file and are left out: 0000" in capsys.readouterr().err
    (folder / "depth" / "0001.png").unlink()
    out = folder.parent / "none.mcap"
    assert render_tool(["pack", str(folder), str(out)]) == 2
    assert "no images that have colour and depth" in capsys.readouterr().err and not out.exists()
    (folder / "depth" / "0001.png").write_bytes(b"damaged")
    assert render_tool(["pack", str(folder), str(out)]) == 2
    assert "0001.png: not an image" in capsys.readouterr().err and not out.exists()


def test_a_file_of_another_ending_is_kept(folder, capsys):
    bag = folder.parent / "precious.bag"
    bag.write_bytes(b"mine")
    assert render_tool(["pack", str(folder), str(bag)]) == 2
    assert "precious.bag: a recording is written to FILE.mcap" in capsys.readouterr().err
    assert bag.read_bytes() == b"mine"
    assert render_tool(["pack", str(folder), str(folder.parent / "new")]) == 2
    assert not (folder.parent / "new").exists()
