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

"""What a recipe says of the image's size."""

import pytest
from test_families import one

from depthrefl_ros.conversion.meaning import ConversionError
from depthrefl_ros.conversion.recipe import at_size, fit_size


def test_depth_pros_canonical_focal_length_is_the_width():
    recipe = one({"model_type": "depth_pro"})
    assert recipe.inner_size == (1536, 1536)
    assert at_size(recipe, 480, 640).focal_px == 640.0


def test_a_size_that_does_not_fit_names_the_nearest():
    recipe = one({"model_type": "depth_anything"})
    assert fit_size(recipe, None) == (518, 686)
    assert fit_size(recipe, (252, 336)) == (252, 336)
    with pytest.raises(
        ConversionError, match="640x480; .* multiples of 14: 644x476 is the nearest"
    ):
        fit_size(recipe, (480, 640))
