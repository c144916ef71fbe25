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

"""The batches of training: a function of (seed, step), so that a run can be stopped and continued.

A resumed run sees exactly the batches that an uninterrupted one would have seen, and several
processes share exactly the batch that one process would have had.
"""

from __future__ import annotations

import math
from functools import lru_cache, partial

import numpy as np
import torch
from torch.utils.data import Dataset

from depthrefl_ros.training.augment import Augmenter
from depthrefl_ros.training.datasets import DatasetError, ImageFolder, Sample

WEIGHT_STEPS = 1000  # weights count to a thousandth
# Bounds of bins of an image's median depth, metres: half an octave each.
DEPTH_BINS_M = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6)


class Mixture:
    """Says which data set each image of the endless sequence of training images comes from.

    No set is ever a whole image ahead of its share, and after a period (the sum of the weights in
    lowest terms) each has given exactly its share.

    Args:
        weights: of the sets, relative to each other; they need not be whole numbers.

    Raises:
        ValueError: no weights, or one below a thousandth.
    """

    def __init__(self, weights: list[float]):
        whole = [round(weight * WEIGHT_STEPS) for weight in weights]
        if not whole or min(whole) < 1:
            raise ValueError(f"weights are {weights}; each must be at least {1 / WEIGHT_STEPS}")
        divisor = math.gcd(*whole)
        self.shares = [weight // divisor for weight in whole]
        self.period = sum(self.shares)
        # Always the set that is furthest behind its share.
        credits = [0] * len(whole)
        self._order = np.empty(self.period, np.int64)
        for position in range(self.period):
            credits = [credit + share for credit, share in zip(credits, self.shares, strict=True)]
            self._order[position] = chosen = max(range(len(whole)), key=credits.__getitem__)
            credits[chosen] -= self.period
        given = np.arange(len(whole))[:, None] == self._order
        self._given_before = np.cumsum(given, axis=1) - given

    def place(self, position: int) -> tuple[int, int]:
        """Return the set of image ``position`` (from 0), and how many it has given before."""
        periods, place = divmod(position, self.period)
        part = int(self._order[place])
        return part, periods * self.shares[part] + int(self._given_before[part, place])


class StepBatches(Dataset):
    """Item ``step`` is the whole augmented batch of that training step, or one process's share.

    Args:
        parts: pairs (data set, weight); see ``Mixture``.
        augmenter: makes one view out of a sample and a random generator.
        seed: with the step it decides everything.
        steps: number of items.
        batch: images a step, of all processes together.
        rank: this process's number; it takes every ``world``-th image of the batch.
        world: number of processes.

    A data set's images come in random order, each once before any comes again.

    Raises:
        ValueError: no image a step, or a batch that does not divide among the processes.
    """

    def __init__(
        self,
        parts: list[tuple[ImageFolder, float]],
        augmenter: Augmenter,
        seed: int,
        steps: int,
        batch: int,
        rank: int = 0,
        world: int = 1,
    ):
        if batch < 1 or batch % world:
            raise ValueError(
                f"batch is {batch}; a positive multiple of {world}, the number of processes, is "
                "needed"
            )
        self.datasets = [dataset for dataset, _ in parts]
        self.mixture = Mixture([weight for _, weight in parts])
        self.augmenter = augmenter
        self.seed = seed
        self.steps = steps
        self.batch = batch
        self.rank = rank
        self.world = world

    def __len__(self) -> int:
        """Return the number of steps."""
        return self.steps

    def __getitem__(self, step: int) -> dict[str, torch.Tensor | list[str]]:
        """Return the images of ``step``.

        ``image`` (n, 3, H, W) uint8, with the mount's plane (n, 4, H, W), ``depth_m``
        (n, 1, H, W) float32 and ``focal_px`` (n,) float32 of this process's n images, and
        ``names``, those of the whole batch.

        Raises:
            DatasetError: a file cannot be read.
        """
        views = [
            self.augmenter(
                self._sample(step, index),
                np.random.default_rng([self.seed, step, index]),
                partial(self._picture, step),
            )
            for index in range(self.rank, self.batch, self.world)
        ]
        images = np.stack([view.image for view in views]).transpose(0, 3, 1, 2)
        if views[0].plane is not None:
            planes = np.stack([view.plane for view in views])[:, None]
            images = np.concatenate([images, planes], axis=1)
        return {
            "image": torch.from_numpy(np.ascontiguousarray(images)),
            "depth_m": torch.from_numpy(np.stack([view.depth_m for view in views])[:, None]),
            "focal_px": torch.tensor([view.focal_px for view in views], dtype=torch.float32),
            "names": self.names(step),
        }

    def names(self, step: int) -> list[str]:
        """Return FOLDER/NAME of every image of the batch of ``step``."""
        places = [self._place(step, index) for index in range(self.batch)]
        return [f"{dataset.root.name}/{dataset.names[index]}" for dataset, index in places]

    def _sample(self, step: int, index: int) -> Sample:
        dataset, place = self._place(step, index)
        return dataset[place]

    def _picture(self, step: int, generator: np.random.Generator) -> np.ndarray:
        """Return the picture (H, W, 3) uint8 of any image of the batch."""
        return self._sample(step, int(generator.integers(self.batch))).image

    def _place(self, step: int, index: int) -> tuple[ImageFolder, int]:
        """Return data set and index within it of one image."""
        part, _, image = self._walk(step, index)
        return self.datasets[part], image

    def _walk(self, step: int, index: int) -> tuple[int, int, int]:
        """Return set, epoch and image within the set: a walk through shuffled epochs."""
        part, count = self.mixture.place(step * self.batch + index)
        size = len(self.datasets[part])
        epoch, place = divmod(count, size)
        return part, epoch, int(shuffled(self.seed, part, epoch, size)[place])


def balanced_by_depth(dataset: ImageFolder) -> list[tuple[ImageFolder, float]]:
    """Return the data set in parts by the logarithm of an image's median depth, with shares.

    A network that sees mostly one distance learns to answer with it. The bins are ``DEPTH_BINS_M``;
    a part's share, of 1 in all, is as the square root of its images: rare distances come more
    often, but a handful of images does not fill every batch.

    Raises:
        DatasetError: a file cannot be read, or no image has depth.
    """
    names: dict[int, list[str]] = {}
    for index, name in enumerate(dataset.names):
        depth_m = dataset[index].depth_m
        known = depth_m[depth_m > 0]
        if known.size:
            place = int(np.digitize(np.median(known), DEPTH_BINS_M))
            names.setdefault(place, []).append(name)
    if not names:
        raise DatasetError(f"{dataset.root}: none of its {len(dataset)} images has depth")
    counts = {place: math.sqrt(len(found)) for place, found in sorted(names.items())}
    total = sum(counts.values())
    return [(dataset.subset(names[place]), count / total) for place, count in counts.items()]


@lru_cache(maxsize=256)
def shuffled(seed: int, part: int, epoch: int, size: int) -> np.ndarray:
    """Return the order (size,) int64 in which a data set's images come in one epoch."""
    return np.random.default_rng([seed, part, epoch]).permutation(size)
