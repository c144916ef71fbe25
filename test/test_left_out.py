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

"""Images that have no part in the figures are named, with the reason."""

from __future__ import annotations

import yaml
from dataset_folders import write_plain_folder

from depthrefl_ros.tools.left_out import incomplete, left_out_lines
from depthrefl_ros.training.datasets import PlainFolder


def test_a_set_tells_what_its_images_lack(tmp_path):
    root = write_plain_folder(tmp_path / "rooms", count=4)
    (root / "depth" / "0001.png").unlink()
    cameras = yaml.safe_load((root / "intrinsics.yaml").read_text())["images"]
    del cameras["0002"]
    (root / "intrinsics.yaml").write_text(yaml.safe_dump({"images": cameras}))
    assert left_out_lines(incomplete(PlainFolder(root))) == [
        "1 images have no depth file and are left out: 0001",
        "1 images have no camera in intrinsics.yaml and are left out: 0002",
    ]


def test_reasons_of_no_image_are_not_told_and_many_names_are_cut():
    assert left_out_lines({"are dark": [], "are blurred": list("abcdefg")}) == [
        "7 images are blurred and are left out: a, b, c, d, e ..."
    ]
