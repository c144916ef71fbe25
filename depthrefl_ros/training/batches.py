"""The batches of training: a function of (seed, step), so that a run can be stopped and continued.

A resumed run sees exactly the batches that an uninterrupted one would have seen.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import Dataset

from depthrefl_ros.training.augment import Augmenter
from depthrefl_ros.training.datasets import ImageFolder, Sample


class StepBatches(Dataset):
    """Item ``step`` is the whole augmented batch of that training step.

    Args:
        parts: pairs (data set, images per batch); their sum is the batch size.
        augmenter: makes one (image, depth, focal length) out of a sample.
        seed: with the step it decides everything.
        steps: number of items.

    A data set's images come in random order, each once before any comes again.
    """

    def __init__(
        self, parts: list[tuple[ImageFolder, int]], augmenter: Augmenter, seed: int, steps: int
    ):
        if sum(count for _, count in parts) < 1:
            raise ValueError(f"images per batch must sum to at least 1, got {parts}")
        self.parts = parts
        self.augmenter = augmenter
        self.seed = seed
        self.steps = steps

    def __len__(self) -> int:
        """Return the number of steps."""
        return self.steps

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]:
        """Return image (N, 3, H, W) uint8, depth_m (N, 1, H, W) float32, focal_px (N,) float32.

        Raises DatasetError for an unreadable file.
        """
        generator = np.random.default_rng([self.seed, step])
        views = [
            self.augmenter(sample, generator)
            for part, (dataset, count) in enumerate(self.parts)
            for sample in self._draw(part, dataset, count, step)
        ]
        images = np.stack([view.image for view in views]).transpose(0, 3, 1, 2)
        return {
            "image": torch.from_numpy(np.ascontiguousarray(images)),
            "depth_m": torch.from_numpy(np.stack([view.depth_m for view in views])[:, None]),
            "focal_px": torch.tensor([view.focal_px for view in views], dtype=torch.float32),
        }

    def _draw(self, part: int, dataset: ImageFolder, count: int, step: int) -> list[Sample]:
        """Return the samples of one data set for ``step``: a walk through shuffled epochs."""
        samples = []
        for position in range(step * count, (step + 1) * count):
            epoch, place = divmod(position, len(dataset))
            order = np.random.default_rng([self.seed, part, epoch]).permutation(len(dataset))
            samples.append(dataset[int(order[place])])
        return samples
