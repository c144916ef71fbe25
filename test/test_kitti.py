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

"""KITTI's archives and lists."""

from __future__ import annotations

import pytest
from dataset_folders import KITTI_DRIVES, write_kitti

from depthrefl_ros.training.datasets import DatasetError, KittiDepth


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
