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

"""True depth beside the images of a folder."""

import cv2
import numpy as np

from depthrefl_ros.tools.truth import find_truth


def test_the_truth_of_images_in_subfolders_is_found_by_their_names(tmp_path):
    (tmp_path / "depth" / "kitchen").mkdir(parents=True)
    millimetres = np.full((4, 6), 1500, np.uint16)
    cv2.imwrite(str(tmp_path / "depth" / "kitchen" / "0001.png"), millimetres)
    truth = find_truth(str(tmp_path))
    np.testing.assert_array_equal(truth.depth_m({"name": "kitchen/0001"}), np.float32(1.5))
    assert truth.depth_m({"name": "0001"}) is None
