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

"""The shipped weights give one scene one scale, whatever lens it is seen through.

``data/fields_of_view`` holds ten rendered rooms, none of which was trained on, each seen from one
place with a horizontal field of view of 50 and of 90 degrees.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.selection import open_engine
from depthrefl_ros.training.datasets import open_dataset
from depthrefl_ros.training.evaluation import predictions

FOLDER = Path(__file__).parent / "data" / "fields_of_view"


def shared_part(plane: np.ndarray) -> np.ndarray:
    """Return the middle of the 90 degree view, which the 50 degree view shows."""
    share = np.tan(np.radians(25)) / np.tan(np.radians(45))
    height, width = plane.shape
    y, x = round(height * (1 - share) / 2), round(width * (1 - share) / 2)
    return plane[y : height - y, x : width - x]


@pytest.mark.parametrize("model", ["indoor_tiny", "indoor_nano"])
def test_the_scale_does_not_depend_on_the_field_of_view(model):
    bundle = Bundle.load(model)
    engine = open_engine(bundle, "openvino").engine
    scales: dict[str, dict[str, float]] = {}
    size = (bundle.width, bundle.height)
    untold = predictions(
        engine.infer, open_dataset(FOLDER), size, bundle.focal_px, channels=bundle.channels
    )
    for sample, prediction in untold:
        room, degrees = sample.name.split("_")
        planes = (prediction.depth_m, sample.depth_m)
        depth, truth = map(shared_part, planes) if degrees == "90" else planes
        known = (truth > 0) & (truth < 10)
        scales.setdefault(room, {})[degrees] = float(np.median(np.log(depth[known] / truth[known])))
    assert len(scales) == 10
    wide_to_narrow = [scale["90"] - scale["50"] for scale in scales.values()]
    assert abs(np.expm1(np.mean(wide_to_narrow))) < 0.10
