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

"""The backbone's features of augmented training images, computed once and kept on disk.

Many heads can then be trained on the same views for the price of one pass through the backbone.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from depthrefl_ros.network.backbone import BackboneFeatures
from depthrefl_ros.network.model import DepthModel
from depthrefl_ros.training.augment import Augmenter
from depthrefl_ros.training.datasets import ImageFolder
from depthrefl_ros.training.losses import at_stride, canonical_truth

BATCH = 8  # images a pass through the backbone
FEATURES_FILE, TRUTH_FILE, DESCRIPTION_FILE = "features.npy", "truth.npy", "features.json"


class FeatureCache:
    """Features and truth of every view of a data set, as ``build_features`` wrote them.

    Args:
        folder: of the cache.

    Raises:
        ValueError: the folder holds no whole cache.
    """

    def __init__(self, folder: Path):
        try:
            self.description = json.loads((folder / DESCRIPTION_FILE).read_text())
            self._rows = np.load(folder / FEATURES_FILE, mmap_mode="r")
            self._truth = np.load(folder / TRUTH_FILE, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise ValueError(f"{folder} holds no cache of features: {error}") from error
        self._shapes = [tuple(shape) for shape in self.description["shapes"]]
        sizes = [int(np.prod(shape)) for shape in self._shapes]
        self._ends = np.cumsum(sizes).tolist()
        views = self.description["views"]
        if self._rows.shape != (views, sum(sizes)) or len(self._truth) != views:
            raise ValueError(
                f"{folder}: {self._rows.shape} features and {len(self._truth)} truths for {views} "
                f"views of {sum(sizes)} values; delete the folder"
            )

    def __len__(self) -> int:
        """Return the number of views."""
        return len(self._rows)

    def batch(self, indices: np.ndarray) -> tuple[BackboneFeatures, Tensor, Tensor]:
        """Return features, truth and mask of some views.

        Args:
            indices: (N,) of the views.

        Returns:
            The features in float32, innermost dimension the channels; canonical truth
            (N, 1, h, w) in units of z_max, 1 where unknown; and the bool mask of the same shape.
        """
        rows = torch.from_numpy(self._rows[indices])
        parts = []
        for shape, end in zip(self._shapes, self._ends, strict=True):
            part = rows[:, end - int(np.prod(shape)) : end].float()
            parts.append(part.reshape(len(indices), *shape).permute(0, 3, 1, 2))
        bottleneck, *blocks, head, relative = parts
        truth = torch.from_numpy(self._truth[indices])[:, None]
        valid = truth > 0
        truth = torch.where(valid, truth, torch.ones_like(truth))
        return BackboneFeatures(bottleneck, tuple(blocks), head, relative), truth, valid


def cache_key(weights_sha256: str, model: DepthModel, dataset: ImageFolder, views: int) -> str:
    """Return the SHA-256 (hex) of all that the features of a data set depend on.

    Args:
        weights_sha256: of the backbone's weights.
        model: that they belong to.
        dataset: the images.
        views: random views an image.
    """
    parts = [weights_sha256, model.config.to_dict(), dataset.fingerprint(), views]
    augmenter = Augmenter(model.config.height, model.config.width)
    parts.append(asdict(augmenter.config))
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def open_features(
    folder: Path, model: DepthModel, dataset: ImageFolder, views: int, key: str
) -> FeatureCache:
    """Return the cache in ``folder``, which is built first where it is missing or another.

    Args:
        folder: of the cache.
        model: whose backbone gives the features.
        dataset: the images.
        views: random views an image.
        key: what ``cache_key`` gave for them.

    Raises:
        DatasetError: an image cannot be read.
        OSError: the disk is full.
    """
    try:
        cache = FeatureCache(folder)
        if cache.description["key"] == key:
            return cache
    except ValueError:
        pass
    build_features(folder, model, dataset, views, key)
    return FeatureCache(folder)


@torch.inference_mode()
def build_features(
    folder: Path, model: DepthModel, dataset: ImageFolder, views: int, key: str
) -> None:
    """Write the features (float16) and truth (float32) of ``views`` random views of every image.

    View v is of image v // views, drawn by a generator of its own. The description is written
    last; without it there is no cache. Convolutions run in bfloat16, as in training: a third of the
    time. Arguments and errors as for ``open_features``.
    """
    model.eval().to(memory_format=torch.channels_last)
    config = model.config
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DESCRIPTION_FILE).unlink(missing_ok=True)
    augmenter = Augmenter(config.height, config.width)
    total = views * len(dataset)
    rows = truths = None
    for start in tqdm(range(0, total, BATCH), desc="features", unit="batch", mininterval=1.0):
        numbers = range(start, min(start + BATCH, total))
        made = [augmenter(dataset[v // views], np.random.default_rng([0, v])) for v in numbers]
        image = torch.from_numpy(np.stack([view.image for view in made]))
        image = image.permute(0, 3, 1, 2).float()
        with torch.autocast("cpu", torch.bfloat16):
            features = model.backbone(model.backbone.normalise(image))
        depth_m = torch.from_numpy(np.stack([view.depth_m for view in made])[:, None])
        focal_px = torch.tensor([view.focal_px for view in made], dtype=torch.float32)
        truth, valid = canonical_truth(
            depth_m, focal_px, config.focal_px, config.z_min_m, config.z_max_m
        )
        truth, valid = at_stride(truth, valid, features.blocks[-1].shape[2:])
        truth = torch.where(valid, truth / config.z_max_m, torch.zeros_like(truth))[:, 0]
        planes = [features.bottleneck, *features.blocks, features.head, features.relative]
        planes = [plane.permute(0, 2, 3, 1) for plane in planes]
        row = torch.cat([plane.float().flatten(1) for plane in planes], dim=1).half()
        if rows is None:
            rows = _new_array(folder / FEATURES_FILE, np.float16, (total, row.shape[1]))
            truths = _new_array(folder / TRUTH_FILE, np.float32, (total, *truth.shape[1:]))
        rows[start : numbers.stop] = row.numpy()
        truths[start : numbers.stop] = truth.numpy()
    rows.flush()
    truths.flush()
    shapes = [list(plane.shape[1:]) for plane in planes]
    description = {"key": key, "views": total, "views_per_image": views, "shapes": shapes}
    (folder / DESCRIPTION_FILE).write_text(json.dumps(description, indent=1))


def _new_array(path: Path, dtype: type, shape: tuple[int, ...]) -> np.memmap:
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
