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

"""Where the lens looks."""

import numpy as np
import pytest

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.lens import undistortion_maps


@pytest.mark.parametrize(
    "model, D",
    [
        ("plumb_bob", [-0.4, 0, 0, 0, 0]),
        ("plumb_bob", [-0.35, 0.1, 0, 0]),
        ("rational_polynomial", [-0.4, 0, 0, 0, 0, 0.0, 0.0, 0.0]),
        ("equidistant", [-0.2, 0, 0, 0]),
    ],
)
def test_where_the_polynomial_turns_back_nothing_is_seen_twice(model, D):
    P = np.array([[90.0, 0, 320, 0], [0, 90, 240, 0], [0, 0, 1, 0]])
    matrix = np.array([[192.0, 0, 322.0], [0, 192.8, 236.0], [0, 0, 1]])
    camera = Camera(640, 480, matrix, np.array(D), P=P, distortion_model=model)
    x, _ = undistortion_maps(camera, camera.P[:, :3], (640, 480))
    seen = x[240] > -1.0
    assert seen[320] and not seen[:5].any()
    assert (np.diff(x[240][seen]) > 0).all(), "from left to right, each place once"
