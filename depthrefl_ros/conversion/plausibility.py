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

"""What gives a wrong meaning away: no output, no metres, far for near, sky where a room is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from depthrefl_ros.conversion.meaning import ConversionError, Meaning
from depthrefl_ros.geometry.camera import Camera

METRES = (0.05, 500.0)  # what depth in a room can be at most, for the 1st and 99th percentile
WRONG_ORDER = -0.2  # rank correlation; a network that knows nothing has 0
DOUBTFUL_ORDER = 0.2
DOUBTFUL_SCALE = 2.0
_FLAT = 1e-4  # relative spread below which an output is constant
_MOST_SKY = 0.5  # of the golden pictures, which are of rooms
_MOST_FAR = 0.9  # of their pixels, beyond half of what a sigmoid can give
_MOST_ZERO = 0.5  # of their pixels, at which a network of nearness gives 0: infinitely far
_PIXELS = 20_000  # that the order is reckoned from


@dataclass(frozen=True)
class Frames:
    """Pictures with true depth, of one camera.

    Attributes:
        images: (n, H, W, 3) uint8 RGB.
        depth_m: (n, H, W) float32 metres; 0 where unknown.
        camera: pinhole camera of the images.
    """

    images: np.ndarray
    depth_m: np.ndarray
    camera: Camera


@dataclass(frozen=True)
class Agreement:
    """How the output agrees with true depth, as medians over the frames.

    Attributes:
        order: rank correlation with nearness or depth, by what the meaning says; 1 is the same.
        scale: estimated over true metres; None for ``inverse_relative``.
    """

    order: float
    scale: float | None


def check_raw(name: str, values: np.ndarray) -> None:
    """Check what the foreign network gave for different pictures.

    Args:
        name: of the output.
        values: (n, ...) float, one for each picture.

    Raises:
        ConversionError: there are NaN or infinities in it, only zeros, or always the same.
    """
    values = np.asarray(values, np.float64)
    wrong = np.count_nonzero(~np.isfinite(values))
    if wrong:
        raise ConversionError(
            f"output {name} is NaN or infinite in {wrong} of {values.size} pixels of the golden "
            "pictures: check scale, mean and std, or export the network in float32"
        )
    size = np.abs(values).max()
    if size == 0.0:
        raise ConversionError(
            f"output {name} is 0 everywhere on the golden pictures: the export is broken, or "
            "scale, mean and std are wrong"
        )
    if (values.reshape(len(values), -1).std(axis=1) < _FLAT * size).all():
        raise ConversionError(
            f"output {name} is constant ({values.flat[0]:.4g}) on each of the golden pictures: "
            "scale, mean and std may be wrong"
        )
    if np.abs(values - values[:1]).max() < _FLAT * size:
        raise ConversionError(
            f"output {name} is the same for different pictures: it does not depend on the input"
        )


def check_weights(values: np.ndarray, meaning: Meaning) -> None:
    """Check that a relative network's weights are not in a metric class, nor the other way.

    The keys and shapes of both are equal. Before its last step a relative network has positive
    numbers nearly everywhere, and a metric one negative numbers wherever a room is nearer than half
    of its reach: a sigmoid makes the first far, and a ReLU makes the second zero.

    Args:
        values: (n, 1, H, W) float32, the bundle's ``depth`` or ``relative`` of the golden pictures.
        meaning: of the network.

    Raises:
        ConversionError: they seem to be.
    """
    if meaning.plane == "relative":
        zero = np.count_nonzero(values == 0.0) / values.size
        if zero > _MOST_ZERO:
            raise ConversionError(
                f"the output is 0 in {zero:.0%} of the golden pictures, which are of rooms: the "
                "weights may be those of the metric network, whose keys are equal, or scale, mean "
                "and std are wrong"
            )
    elif meaning.maximum is not None:
        far = np.count_nonzero(values > 0.5 * meaning.maximum) / values.size
        if far > _MOST_FAR:
            raise ConversionError(
                f"depth is beyond {0.5 * meaning.maximum:g} of at most {meaning.maximum:g} m in "
                f"{far:.0%} of the golden pictures, which are of rooms: the weights may be those "
                "of the relative network, whose keys are equal; take the metric one's"
            )


def check_metres(depth_m: np.ndarray, sky: np.ndarray | None, meaning: Meaning) -> None:
    """Check that depth on the golden pictures, which are of rooms, can be metres.

    Args:
        depth_m: (n, 1, H, W) float32 metres of the pictures' camera.
        sky: the same shape, above 0.5 where the sky is, or None.
        meaning: of the network.

    Raises:
        ConversionError: it cannot, or most of the rooms is sky.
    """
    is_solid = np.ones(depth_m.shape, bool) if sky is None else sky <= 0.5
    if is_solid.mean() < 1.0 - _MOST_SKY:
        raise ConversionError(
            f"sky covers {1.0 - is_solid.mean():.0%} of the golden pictures, which are of rooms: "
            f"sky.is {meaning.sky_is} (threshold {meaning.sky_threshold:g}) may be the wrong side"
        )
    nearest, farthest = np.percentile(depth_m[is_solid], (1, 99))
    if nearest < METRES[0] or farthest > METRES[1]:
        raise ConversionError(
            f"depth is {nearest:.3g} to {farthest:.3g} m on the golden pictures, which are of "
            f"rooms ({METRES[0]:g} to {METRES[1]:g} m are possible): kind {meaning.kind}, "
            f"transform {meaning.transform}, scale, mean or std is wrong"
        )


def agreement(plane: np.ndarray, frames: Frames, meaning: Meaning) -> Agreement:
    """Hold the output on a recording's frames against their true depth.

    Args:
        plane: (n, 1, H, W) float32, the bundle's ``depth`` or ``relative``.
        frames: that it was made of.
        meaning: of the network.

    Raises:
        ConversionError: the order is upside down; says what may be meant instead.
    """
    height, width = plane.shape[2:]
    rows = (np.arange(height) + 0.5) * frames.depth_m.shape[1] / height
    columns = (np.arange(width) + 0.5) * frames.depth_m.shape[2] / width
    truth = frames.depth_m[:, rows.astype(int)][:, :, columns.astype(int)]
    orders, scales = [], []
    ratio = 1.0
    if meaning.kind == "canonical":
        ratio = frames.camera.scaled(width, height).mean_focal_px / meaning.focal_px
    for values, depth_m in zip(plane[:, 0], truth, strict=True):
        known = np.flatnonzero(depth_m > 0)
        known = known[:: max(1, known.size // _PIXELS)]
        found, true = values.flat[known], depth_m.flat[known]
        orders.append(rank_correlation(found, -true if meaning.plane == "relative" else true))
        scales.append(float(np.median(found * ratio / true)))
    order = float(np.median(orders))
    if order < WRONG_ORDER:
        transform = "identity" if meaning.transform == "inverse" else "inverse"
        if meaning.plane == "relative":
            hint = f"larger is farther here: use transform {transform}, or kind metric or canonical"
        else:
            hint = f"larger is nearer here: use kind inverse_relative, or transform {transform}"
        raise ConversionError(
            f"the order is upside down on the shipped recording (rank correlation {order:.2f} with "
            f"what kind {meaning.kind} means): {hint}"
        )
    return Agreement(order, None if meaning.plane == "relative" else float(np.median(scales)))


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Return Spearman's rank correlation of two arrays of n numbers; 0 where one is constant."""
    ranks = [_ranks(values) for values in (one, other)]
    ranks = [values - values.mean() for values in ranks]
    size = float(np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum()))
    return float((ranks[0] * ranks[1]).sum() / size) if size else 0.0


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return ranks from 0, equal values sharing their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts + 1) / 2.0)[inverse.ravel()]
