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

"""The picture of the best, the median and the worst image."""

import numpy as np

from depthrefl_ros.geometry.preview import BEYOND_BGR
from depthrefl_ros.tools.overview import TILE_WIDTH
from depthrefl_ros.tools.sheet import best_median_worst, draw_sheet
from depthrefl_ros.training.datasets import Sample
from depthrefl_ros.training.protocol import Protocol

SIZE = (64, 48)


def test_best_median_and_worst_are_by_value():
    assert best_median_worst(np.array([0.3, 0.1, 0.5, 0.2, 0.4])) == {
        "best": 1, "median": 0, "worst": 2,
    }  # fmt: skip
    assert best_median_worst(np.array([0.2, 0.1])) == {"best": 1, "median": 1, "worst": 0}
    assert best_median_worst(np.array([0.2])) == {"best": 0, "median": 0, "worst": 0}


def infer(images: np.ndarray) -> dict[str, np.ndarray]:
    plane = np.full((1, 1, 48, 64), 3.0, np.float32)
    return {"depth": plane, "sigma": plane * 0.1, "relative": plane}


def infer_sky(images: np.ndarray) -> dict[str, np.ndarray]:
    return infer(images) | {"sky": np.ones((1, 1, 48, 64), np.float32)}


def sheet_of(truth_m: float, protocol: Protocol, rows: int = 1, infer=infer) -> np.ndarray:
    truth = np.full((48, 64), truth_m, np.float32)
    sample = Sample(
        "made", np.full((48, 64, 3), (200, 0, 0), np.uint8), truth, (60, 60, 31.5, 23.5)
    )
    captions = [f"row {row}" for row in range(rows)]
    return draw_sheet(infer, [sample] * rows, captions, SIZE, 60.0, protocol, "title")


def error_colour(sheet: np.ndarray) -> list[int]:
    """BGR in the error's tile, the last on the right, near its right upper corner."""
    return sheet[110, -40].tolist()


def test_the_sheet_has_a_row_for_each_sample_and_four_columns():
    one, three = sheet_of(3.0, Protocol()), sheet_of(3.0, Protocol(), rows=3)
    assert one.dtype == np.uint8 and one.shape[1] == three.shape[1] > 4 * TILE_WIDTH
    assert three.shape[0] - one.shape[0] >= 2 * TILE_WIDTH * 48 // 64
    assert one[110, 40].tolist() == [0, 0, 200]  # the image itself, red in BGR


def test_the_error_is_drawn_as_it_was_compared():
    assert error_colour(sheet_of(3.0, Protocol())) == [250, 250, 250]  # no error is white
    blue, _, red = error_colour(sheet_of(2.0, Protocol()))  # too far
    assert blue > red
    assert error_colour(sheet_of(2.0, Protocol(align="median"))) == [250, 250, 250]
    assert error_colour(sheet_of(2.0, Protocol(cap_m=1.5))) == [90, 90, 90]  # truth does not count


def test_sky_is_drawn_as_beyond_and_compared_with_nothing():
    sheet = sheet_of(2.0, Protocol(), infer=infer_sky)
    assert error_colour(sheet) == [90, 90, 90]
    assert sheet[110, TILE_WIDTH + 40].tolist() == list(BEYOND_BGR)
