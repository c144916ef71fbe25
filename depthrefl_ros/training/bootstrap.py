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

"""Standard errors of means over images that are not independent: the block bootstrap.

Neighbouring images of a data set often show one room, so they err together; resampling whole
blocks of neighbours keeps that (Künsch 1989; Efron and Tibshirani 1993, chapter 8).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 4000
CONFIDENCE = 0.95
# Names at most this far apart are neighbours: lists leave out single images of a scene.
LARGEST_GAP = 9
LONGEST_BLOCK = 8


class Interval(NamedTuple):
    """A mean with its uncertainty; the last three are NaN where there are fewer than two blocks.

    Attributes:
        mean: over all images.
        standard_error: standard deviation of the resampled means.
        low: 2.5th percentile of the resampled means.
        high: 97.5th percentile.
    """

    mean: float
    standard_error: float
    low: float
    high: float


def blocks_of(
    names: Sequence[str], largest_gap: int = LARGEST_GAP, longest: int = LONGEST_BLOCK
) -> list[np.ndarray]:
    """Group images that probably show one scene, by their names.

    A name is split into what comes before its last number, and that number. Images whose names
    begin alike (``drive_02/image_07``) are one block, unless all of them do and so tell nothing.
    Names that differ by numbers only (``0018``, ``frame_0018``) are one block as long as the next
    number is at most ``largest_gap`` farther on; a longer run is cut
    every ``longest`` images, since a bootstrap needs several blocks. At such a cut neighbours fall
    apart, so the intervals of one long recording come out somewhat too narrow.

    The defaults find the 24 blocks of four in the validation list of NYU Depth v2.

    Args:
        names: of all images, in any order.
        largest_gap: between two neighbours' numbers.
        longest: images in a block of a run of numbers.

    Returns:
        The indices into ``names`` of each block; every index is in exactly one.
    """
    keys = [_name_key(name) for name in names]
    if len({prefix for prefix, _ in keys}) == 1:
        keys = [("", number) for _, number in keys]
    order = sorted(range(len(names)), key=lambda index: keys[index])
    blocks: list[list[int]] = []
    for index in order:
        prefix, number = keys[index]
        if blocks:
            last_prefix, last_number = keys[blocks[-1][-1]]
            is_neighbour = prefix == last_prefix and (
                bool(prefix) or (number - last_number <= largest_gap and len(blocks[-1]) < longest)
            )
        if blocks and is_neighbour:
            blocks[-1].append(index)
        else:
            blocks.append([index])
    return [np.array(block) for block in blocks]


def _name_key(name: str) -> tuple[str, int]:
    match = re.fullmatch(r"(.*?)(\d+)\D*", name, re.DOTALL)
    return (match[1], int(match[2])) if match else (name, 0)


def block_bootstrap(values: np.ndarray, blocks: list[np.ndarray]) -> Interval:
    """Return the mean of per-image values with its standard error and 95 % interval.

    Blocks are drawn with replacement, as many as there are; a resample's mean is that of all
    images in its blocks (percentile interval). The same values always give the same interval.

    Args:
        values: (n,) one an image; NaN (nothing to measure) is left out.
        blocks: what ``blocks_of`` returned for the n names.

    Raises:
        ValueError: the blocks do not hold every image exactly once.
    """
    values = np.asarray(values, np.float64)
    _check_blocks(blocks, len(values))
    is_known = ~np.isnan(values)
    sums = np.array([np.nansum(values[block]) for block in blocks])
    counts = np.array([is_known[block].sum() for block in blocks])
    sums, counts = sums[counts > 0], counts[counts > 0]
    mean = float(sums.sum() / counts.sum()) if len(counts) else float("nan")
    if len(counts) < 2:
        return Interval(mean, *[float("nan")] * 3)
    drawn = np.random.default_rng(0).integers(len(counts), size=(RESAMPLES, len(counts)))
    return _interval(mean, sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))


def _check_blocks(blocks: list[np.ndarray], images: int) -> None:
    members = np.sort(np.concatenate(blocks)) if blocks else np.empty(0, int)
    if not np.array_equal(members, np.arange(images)):
        raise ValueError(f"blocks hold {len(members)} images and there are {images} values")


def _interval(mean: float, resampled: np.ndarray) -> Interval:
    low, high = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(mean, float(resampled.std(ddof=1)), float(low), float(high))


def slope_block_bootstrap(x: np.ndarray, y: np.ndarray, blocks: list[np.ndarray]) -> Interval:
    """Return the slope of y over x by least squares, as ``mean``, with its interval.

    Args:
        x: (n,) one an image.
        y: (n,) of the same images.
        blocks: what ``blocks_of`` returned for the n names.

    Raises:
        ValueError: ``x`` and ``y`` differ in length, or the blocks do not fit.
    """
    if len(x) != len(y):
        raise ValueError(f"{len(x)} values against {len(y)}; a slope is over the same images")
    _check_blocks(blocks, len(x))
    terms = np.stack([np.ones(len(x)), x, y, np.square(x), x * np.asarray(y)], axis=1)
    sums = np.array([terms[block].sum(axis=0) for block in blocks])

    def slope(totals: np.ndarray) -> np.ndarray:
        count, sum_x, sum_y, sum_xx, sum_xy = np.moveaxis(totals, -1, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return (count * sum_xy - sum_x * sum_y) / (count * sum_xx - sum_x**2)

    found = float(slope(sums.sum(axis=0)))
    if len(sums) < 2:
        return Interval(found, *[float("nan")] * 3)
    drawn = np.random.default_rng(0).integers(len(sums), size=(RESAMPLES, len(sums)))
    return _interval(found, slope(sums[drawn].sum(axis=1)))


def paired_block_bootstrap(a: np.ndarray, b: np.ndarray, blocks: list[np.ndarray]) -> Interval:
    """Return the mean of a - b over the same images: what both find hard cancels.

    Args:
        a: (n,) one an image; NaN is left out.
        b: (n,) the same images in the same order.
        blocks: what ``blocks_of`` returned for the n names.

    Raises:
        ValueError: ``a`` and ``b`` differ in length, or the blocks do not fit.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} values against {len(b)}; paired values are of the same images")
    return block_bootstrap(np.asarray(a) - np.asarray(b), blocks)
