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

"""Is a data set's truth what it seems? Looked at before an hour of training, not after it.

Depth in another unit than it is read in is the commonest fault of users' data, and nothing fails
by it: the network learns every distance wrong by one factor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from depthrefl_ros.training.datasets import DatasetError, ImageFolder, Sample

LOOKED_AT = 32  # images of a set, spread over it
# Units a metre that depth files are written in: metres, centimetres, KITTI, millimetres, Bonn and
# TUM, Replica, SUN3D's and simulators' tenths of a millimetre.
USUAL_FACTORS = (1.0, 100.0, 256.0, 512.0, 1000.0, 5000.0, 6553.5, 10000.0)
# Beyond it a common ratio of predicted to true depth is hardly the network's own error.
SUSPICIOUS_RATIO = 2.5
LARGEST_SPREAD = 1.8  # of the middle half of the images' ratios: a unit is one factor for all
PLAUSIBLE_MEDIAN_M = (0.15, 60.0)  # of what robots and cars look at


class Truth(NamedTuple):
    """What the images that were looked at hold; one value an image that has depth.

    Attributes:
        images: how many were looked at.
        medians_m: (n,) median depth.
        nearest_m: (n,)
        farthest_m: (n,)
    """

    images: int
    medians_m: np.ndarray
    nearest_m: np.ndarray
    farthest_m: np.ndarray


def spread_over(dataset: Sequence[Sample], count: int = LOOKED_AT) -> list[Sample]:
    """Return at most ``count`` samples, evenly spread over the set."""
    places = np.unique(np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round())
    return [dataset[int(place)] for place in places]


def look_at(samples: Sequence[Sample]) -> Truth:
    """Return what is known of the samples' depth."""
    known = [depth[depth > 0] for depth in (sample.depth_m for sample in samples)]
    known = [depth for depth in known if depth.size]
    columns = (np.median, np.min, np.max)
    values = (np.array([float(of(depth)) for depth in known]) for of in columns)
    return Truth(len(samples), *values)


def check_truth(name: str, dataset: ImageFolder, farthest_m: float) -> list[str]:
    """Return what is suspicious about the truth of a set, a line each.

    Args:
        name: of the set, for messages.
        dataset: some of its images are decoded.
        farthest_m: depth from here on does not count.

    Raises:
        DatasetError: not one of the images that were looked at has depth that counts.
    """
    truth = look_at(spread_over(dataset))
    if not truth.medians_m.size:
        raise DatasetError(
            f"{name}: none of the {truth.images} images looked at has depth above 0; "
            f"{dataset.root} has nothing to learn from or to measure by"
        )
    typical_m = float(np.median(truth.medians_m))
    if truth.nearest_m.min() >= farthest_m:
        raise DatasetError(
            f"{name}: all depth is beyond {farthest_m:g} m (median {typical_m:.3g} m), so none "
            "counts; give its unit by depth_factor=N, units a metre, or raise --cap"
        )
    lines = []
    missing = truth.images - truth.medians_m.size
    if missing:
        lines.append(f"{name}: {missing} of {truth.images} images looked at have no depth at all")
    near, far = PLAUSIBLE_MEDIAN_M
    if not near < typical_m < far:
        lines.append(
            f"{name}: the median depth is {typical_m:.3g} m; check the unit of the depth files "
            "(depth_factor=N, units a metre)"
        )
    is_same = len(set(truth.nearest_m)) == len(set(truth.farthest_m)) == 1
    if truth.medians_m.size > 3 and is_same and len(set(truth.medians_m)) > 1:
        lines.append(
            f"{name}: every image's depth runs from {truth.nearest_m[0]:.3g} to "
            f"{truth.farthest_m[0]:.3g} m exactly; that is relative depth, stretched image by "
            "image, and no metres"
        )
    return lines


def is_suspicious(ratio: float) -> bool:
    """Return whether predicted over true depth is farther from 1 than a network's own error is."""
    return ratio > 0 and bool(abs(np.log(ratio)) >= np.log(SUSPICIOUS_RATIO))


def unit_hint(name: str, ratios: np.ndarray, dataset: object) -> str | None:
    """Return the warning that truth and prediction differ by one factor, and the unit it suggests.

    Args:
        name: of the set.
        ratios: (images,) predicted over true depth, medians, of all truth whatever its distance.
        dataset: a plain folder tells by ``units_per_metre`` how its depth was read; None without
            one unit for all of its files.

    Returns:
        None where the ratios are near 1, or differ from image to image.
    """
    ratios = np.asarray(ratios, np.float64)
    ratios = ratios[np.isfinite(ratios) & (ratios > 0)]
    if not ratios.size:
        return None
    low, ratio, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    if not is_suspicious(ratio) or high / low > LARGEST_SPREAD:
        return None
    text = (
        f"{name}: the network's depth is {ratio:.3g} times the truth in every image, "
        "a constant factor as of a wrong unit"
    )
    used = getattr(dataset, "units_per_metre", lambda: None)()
    if used is None:
        return text
    wanted = used / ratio
    nearest = min(USUAL_FACTORS, key=lambda factor: abs(np.log(factor / wanted)))
    if abs(np.log(nearest / wanted)) > np.log(1.6) or nearest == used:
        nearest = float(f"{wanted:.2g}")
    return (
        f"{text}: depth was read as {used:g} units a metre, {nearest:g} would fit "
        f"(depth_factor={nearest:g})"
    )
