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

"""Pictures of what a network makes of held-out images, for the log."""

from __future__ import annotations

import numpy as np

from depthrefl_ros.geometry.preview import colour_depth
from depthrefl_ros.training.datasets import ImageFolder
from depthrefl_ros.training.evaluation import Infer, predictions

PREVIEWS = 4


def preview_images(
    infer: Infer,
    held_out: ImageFolder,
    network: tuple[int, int],
    focal_px: float,
    channels: int = 3,
) -> dict[str, np.ndarray]:
    """Return colour, predicted depth and truth side by side, (H, 3 W, 3) uint8 RGB, by name.

    The images are spread evenly over the held-out ones. Truth and prediction of an image share
    one scale, from the nearest to the farthest truth; unknown truth is grey. Arguments as for
    ``evaluate.predictions``.
    """
    count = min(PREVIEWS, len(held_out))
    indices = np.linspace(0, len(held_out) - 1, count).astype(int)
    samples = [held_out[int(index)] for index in indices]
    pictures = {}
    for sample, prediction in predictions(infer, samples, network, focal_px, channels=channels):
        known = sample.depth_m > 0
        if not known.any():
            continue
        near_m, far_m = float(sample.depth_m[known].min()), float(sample.depth_m[known].max())
        far_m = max(far_m, 1.01 * near_m)
        truth_m = np.where(known, sample.depth_m, np.nan)
        planes = [
            colour_depth(plane, near_m, far_m)[..., ::-1] for plane in (prediction.depth_m, truth_m)
        ]
        pictures[sample.name] = np.concatenate([sample.image, *planes], axis=1)
    return pictures
