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

"""Images for the self-test."""

from dataclasses import replace

import numpy as np

from depthrefl_ros.network.model import ModelConfig
from depthrefl_ros.tools.golden_images import with_planes

CONFIG = ModelConfig(height=64, width=64)


def test_images_get_the_planes_of_plausible_mounts_where_the_network_takes_them():
    config = replace(CONFIG, mount=True)
    images = np.random.default_rng(0).integers(0, 255, (5, 64, 64, 3), np.uint8)
    told = with_planes(images, config)
    np.testing.assert_array_equal(told[..., :3], images)
    assert told[..., 3].any(axis=(1, 2)).tolist() == [True, False, True, False, True]
    assert len({plane.tobytes() for plane in told[::2, ..., 3]}) == 3
    # Farther up the image the floor is farther away.
    column = told[0, :, 32, 3].astype(int)
    assert (np.diff(column[column > 0]) <= 0).all() and 1 < column[-1] < 255
    np.testing.assert_array_equal(with_planes(told, config), told)
    np.testing.assert_array_equal(with_planes(told, CONFIG), images)
