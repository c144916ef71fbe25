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

"""What the golden pictures give away of weights that belong to the other class."""

import numpy as np
import pytest

from depthrefl_ros.conversion.meaning import ConversionError, Meaning
from depthrefl_ros.conversion.plausibility import Frames, agreement, check_weights
from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.geometry.camera import Camera

METRIC = Meaning(kind="metric", licence="MIT", range_m=(0.3, 20.0), maximum=20.0)
RELATIVE = Meaning(kind="inverse_relative", licence="MIT", range_m=(0.3, 20.0))


@pytest.fixture(scope="module")
def rooms_m():
    """Depth of the golden pictures, (3, 1, H, W) metres."""
    return Bundle.load("indoor_tiny").golden().depth[:3]


def sigmoid(values):
    return 1.0 / (1.0 + np.exp(-values))


@pytest.mark.parametrize("reach", [20.0, 80.0])
@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_rooms_at_any_scale_are_no_weights_of_another_class(rooms_m, reach, scale):
    check_weights(scale * rooms_m, Meaning(**{**vars(METRIC), "maximum": reach}))
    check_weights(1.0 / rooms_m, RELATIVE)


@pytest.mark.parametrize("size", [1.0, 8.0, 80.0])  # of what published networks give nearby
def test_nearness_under_a_sigmoid_is_refused(rooms_m, size):
    nearness = size / rooms_m
    with pytest.raises(ConversionError, match="in 100% of .* those of the relative network"):
        check_weights(20.0 * sigmoid(nearness), METRIC)


def test_metres_before_their_sigmoid_under_a_relu_are_refused(rooms_m):
    for reach in (20.0, 80.0):
        share = rooms_m / reach
        logits = np.log(share / (1.0 - share))
        with pytest.raises(ConversionError, match="in 100% of .* those of the metric network"):
            check_weights(np.maximum(logits, 0.0), RELATIVE)


def test_a_network_that_knows_no_ceiling_is_not_held_to_one(rooms_m):
    check_weights(15.0 + rooms_m, Meaning(**{**vars(METRIC), "maximum": None}))


@pytest.mark.parametrize("transform, other", [("identity", "inverse"), ("inverse", "identity")])
@pytest.mark.parametrize("kind", ["metric", "inverse_relative"])
def test_an_order_that_is_upside_down_advises_another_transform(transform, other, kind):
    rng = np.random.default_rng(0)
    depth_m = rng.uniform(1.0, 5.0, (2, 48, 64)).astype(np.float32)
    frames = Frames(np.zeros((2, 48, 64, 3), np.uint8), depth_m, Camera.pinhole(64, 48, *4 * (32,)))
    plane = (1.0 / depth_m if kind == "metric" else depth_m)[:, None]
    meaning = Meaning(kind=kind, licence="MIT", range_m=(0.3, 20.0), transform=transform)
    with pytest.raises(ConversionError, match="upside down") as refused:
        agreement(plane, frames, meaning)
    assert f"transform {other}" in str(refused.value)
    assert f"transform {transform}" not in str(refused.value)
