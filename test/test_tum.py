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

"""TUM's sequences: pairs by stamp, and the published cameras."""

from __future__ import annotations

import pytest
import yaml
from dataset_folders import write_tum

from depthrefl_ros.training.datasets import DatasetError, TumRgbd
from depthrefl_ros.training.datasets.tum import associate


def test_tum_pairs_by_stamp_and_uses_the_published_camera(tmp_path):
    dataset = TumRgbd(write_tum(tmp_path / "rgbd_dataset_freiburg3_desk"))
    assert dataset.names == ["10.000000", "10.033000"]
    assert dataset.without_depth == ["10.300000"]
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
