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

Many heads, or one reflector for many epochs, are then trained on the same views for the price of
one pass through a backbone that stays as it is.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from depthrefl_ros.network.backbone import BackboneFeatures
from depthrefl_ros.network.model import DepthModel
from depthrefl_ros.training.augment import AugmentConfig, Augmenter
from depthrefl_ros.training.batches import StepBatches
from depthrefl_ros.training.datasets import ImageFolder
from depthrefl_ros.training.losses import canonical_truth
from depthrefl_ros.training.whole_files import write_file

BATCH = 8  # images a pass through the backbone
SAVE_EVERY = 10  # passes; what is done since is done again after a stop
FEATURES_FILE, TRUTH_FILE, RECIPE_FILE = "features.npy", "truth.npy", "recipe.json"
# What a recipe's fields are called in messages.
_WORDS = {
    "backbone": "of another backbone",
    "network": "of a backbone of another kind or input size",
    "canonical": "of another canonical camera or range",
    "data": "of other images",
    "views": "of another number of views",
    "augment": "of other views",
    "bf16": "of another precision",
}


class FeaturesStopped(Exception):
    """The features are not complete; the same command goes on with them."""


class FeatureCache:
    """Features and truth of every view of a data set, as ``open_features`` wrote them.

    Args:
        folder: of the cache.

    Raises:
        ValueError: the folder holds no whole cache.
    """

    def __init__(self, folder: Path):
        try:
            description = json.loads((folder / RECIPE_FILE).read_text())
            self._rows = np.load(folder / FEATURES_FILE, mmap_mode="r")
            self._truth = np.load(folder / TRUTH_FILE, mmap_mode="r")
            self.recipe = description["recipe"]
            self._shapes = [tuple(shape) for shape in description["shapes"]]
            done = description["done"]
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(f"{folder} holds no cache of features: {error!r}") from error
        sizes = [int(np.prod(shape)) for shape in self._shapes]
        self._ends = np.cumsum(sizes).tolist()
        if self._rows.shape != (done, sum(sizes)) or len(self._truth) != done:
            raise ValueError(
                f"{folder}: {self._rows.shape} features and {len(self._truth)} truths for {done} "
                f"views of {sum(sizes)} values; delete the folder"
            )

    def __len__(self) -> int:
        """Return the number of views."""
        return len(self._rows)

    def batch(self, indices: np.ndarray) -> tuple[BackboneFeatures, Tensor]:
        """Return features and truth of some views.

        Args:
            indices: (N,) of the views; view v is of image v // views.

        Returns:
            The features in float32, innermost dimension the channels; and canonical truth
            (N, 1, H, W) float32 metres at the network's input size, 0 where unknown.
        """
        rows = torch.from_numpy(self._rows[indices])
        parts = []
        for shape, end in zip(self._shapes, self._ends, strict=True):
            part = rows[:, end - int(np.prod(shape)) : end].float()
            parts.append(part.reshape(len(indices), *shape).permute(0, 3, 1, 2))
        bottleneck, *blocks, head, relative = parts
        truth = torch.from_numpy(self._truth[indices]).float()[:, None]
        return BackboneFeatures(bottleneck, tuple(blocks), head, relative), truth


class FeatureBatches(StepBatches):
    """Item ``step`` is the batch of that step as ``StepBatches`` has it, with features for images.

    Every image comes once before any comes again, each time as its next view.

    Args:
        parts: pairs (data set, weight).
        caches: of the sets, in this order; all have the same number of views an image.
        focal_px: the network's canonical focal length, which the truth is scaled to.
        order: seed, steps, batch, rank and world, as for ``StepBatches``.
    """

    def __init__(
        self,
        parts: list[tuple[ImageFolder, float]],
        caches: list[FeatureCache],
        focal_px: float,
        **order: int,
    ):
        super().__init__(parts, None, **order)
        self.caches = caches
        self.focal_px = focal_px

    def __getitem__(self, step: int) -> dict[str, Any]:
        """Return ``features``, ``depth_m`` (n, 1, H, W), ``focal_px`` (n,) and ``names``."""
        shares = [self._view(step, index) for index in range(self.rank, self.batch, self.world)]
        rows = [self.caches[part].batch(np.array([view])) for part, view in shares]
        bottleneck, blocks, head, relative = zip(*(features for features, _ in rows), strict=True)
        features = BackboneFeatures(
            torch.cat(bottleneck),
            tuple(torch.cat(level) for level in zip(*blocks, strict=True)),
            torch.cat(head),
            torch.cat(relative),
        )
        return {
            "features": features,
            "depth_m": torch.cat([truth for _, truth in rows]),
            "focal_px": torch.full((len(shares),), self.focal_px),
            "names": self.names(step),
        }

    def _view(self, step: int, index: int) -> tuple[int, int]:
        """Return data set and view of one image of a batch."""
        part, epoch, image = self._walk(step, index)
        views = len(self.caches[part]) // len(self.datasets[part])
        return part, image * views + epoch % views


def make_recipe(
    model: DepthModel,
    dataset: ImageFolder,
    views: int,
    augment: AugmentConfig | None = None,
    bf16: bool = True,
    digest: str | None = None,
) -> dict[str, Any]:
    """Return all that the features and truth of a data set depend on, in plain values.

    Args:
        model: whose backbone gives the features.
        dataset: the images.
        views: random views an image.
        augment: how they are drawn; None as by default.
        bf16: whether convolutions run in bfloat16.
        digest: of the backbone, by ``state_digest``, where several sets share it.
    """
    config = model.config
    plain = config.to_dict()
    factor = [] if dataset.depth_factor is None else [f"depth_factor={dataset.depth_factor:g}"]
    images = "\n".join([dataset.fingerprint(), *dataset.names, *factor])
    return {
        "backbone": digest or state_digest(model.backbone),
        "network": [plain["backbone"], config.height, config.width],
        "canonical": [config.focal_px, config.z_min_m, config.z_max_m],
        "data": hashlib.sha256(images.encode()).hexdigest(),
        "views": views,
        "augment": json.loads(json.dumps((augment or AugmentConfig()).of_pictures())),
        "bf16": bf16,
    }


def state_digest(module: nn.Module) -> str:
    """Return the SHA-256 (hex) of a module's parameters and buffers, wherever they came from."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def recipe_key(recipe: dict[str, Any]) -> str:
    """Return the SHA-256 (hex) of a recipe."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


@torch.inference_mode()
def feature_shapes(model: DepthModel) -> list[tuple[int, int, int]]:
    """Return the (h, w, channels) of each plane of features of an image, coarse to fine."""
    config = model.config
    device = next(model.parameters()).device
    image = torch.zeros(1, 3, config.height, config.width, device=device)
    return [tuple(plane.shape[1:]) for plane in _planes(model.backbone(image))]


def view_bytes(model: DepthModel) -> int:
    """Return how much a view takes on disk: features and truth, all in half precision."""
    values = sum(int(np.prod(shape)) for shape in feature_shapes(model))
    return 2 * (values + model.config.height * model.config.width)


def open_features(
    folder: Path,
    model: DepthModel,
    dataset: ImageFolder,
    recipe: dict[str, Any],
    stop: Callable[[], bool] = lambda: False,
) -> FeatureCache:
    """Return the cache in ``folder``; what is missing in it is computed first.

    Args:
        folder: of the cache.
        model: whose backbone gives the features, in evaluation.
        dataset: the images.
        recipe: what ``make_recipe`` gave for them.
        stop: whether to stop before the next pass.

    Raises:
        ValueError: the folder holds the features of something else, or they exceed half precision.
        FeaturesStopped: ``stop`` said so.
        DatasetError: an image cannot be read.
        OSError: the disk is full.
    """
    done = _claim(folder, recipe)
    total = recipe["views"] * len(dataset)
    if done < total:
        _build(folder, model, dataset, recipe, done, stop)
    return FeatureCache(folder)


def _claim(folder: Path, recipe: dict[str, Any]) -> int:
    """Return how many views of a recipe are in a folder; refuse one of another recipe."""
    path = folder / RECIPE_FILE
    if not path.exists():
        return 0
    try:
        description = json.loads(path.read_text())
        found, done = description["recipe"], int(description["done"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error!r}); delete the folder") from error
    for name, words in _WORDS.items():
        if found.get(name) != recipe[name]:
            raise ValueError(
                f"{folder} holds features {words} than is asked for: delete it, or name another "
                "folder"
            )
    return done


@torch.inference_mode()
def _build(
    folder: Path,
    model: DepthModel,
    dataset: ImageFolder,
    recipe: dict[str, Any],
    done: int,
    stop: Callable[[], bool],
) -> None:
    """Write features and truth (float16) of the views from ``done`` on.

    View v is of image v // views, drawn by a generator of its own. Convolutions run in bfloat16
    where training does: a third of the time.
    """
    config, views = model.config, recipe["views"]
    # A copy, since weights in another order cannot be saved.
    backbone = copy.deepcopy(model.backbone).eval().to(memory_format=torch.channels_last)
    device = next(backbone.parameters()).device
    augment = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in recipe["augment"].items()
    }
    augmenter = Augmenter(config.height, config.width, AugmentConfig(**augment))
    total = views * len(dataset)
    shapes = feature_shapes(model)
    values = sum(int(np.prod(shape)) for shape in shapes)
    folder.mkdir(parents=True, exist_ok=True)
    rows = _array(folder / FEATURES_FILE, (total, values), done)
    truths = _array(folder / TRUTH_FILE, (total, config.height, config.width), done)

    def save(count: int) -> None:
        rows.flush()
        truths.flush()
        description = {"recipe": recipe, "shapes": shapes, "done": count}
        write_file(folder / RECIPE_FILE, json.dumps(description, indent=1).encode())

    starts = range(done, total, BATCH)
    bar = tqdm(starts, desc="features", unit="batch", mininterval=1.0, disable=None)
    for count, start in enumerate(bar):
        if stop():
            save(start)
            raise FeaturesStopped(f"{folder}: {start} of {total} views; the same command goes on")
        if count and count % SAVE_EVERY == 0:
            save(start)
        numbers = range(start, min(start + BATCH, total))
        made = [augmenter(dataset[v // views], np.random.default_rng([0, v])) for v in numbers]
        image = torch.from_numpy(np.stack([view.image for view in made])).to(device)
        image = image.permute(0, 3, 1, 2).float()
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe["bf16"]):
            features = backbone(backbone.normalise(image))
        row = torch.cat([plane.float().flatten(1) for plane in _planes(features)], dim=1).half()
        if not torch.isfinite(row).all():
            raise ValueError(
                f"{dataset.root}: features of {dataset.names[start // views]} or the next images "
                "exceed half precision and cannot be kept; train with --views 0"
            )
        depth_m = torch.from_numpy(np.stack([view.depth_m for view in made])[:, None])
        focal_px = torch.tensor([view.focal_px for view in made], dtype=torch.float32)
        truth, valid = canonical_truth(
            depth_m, focal_px, config.focal_px, config.z_min_m, config.z_max_m
        )
        rows[start : numbers.stop] = row.cpu().numpy()
        truths[start : numbers.stop] = torch.where(valid, truth, 0.0)[:, 0].numpy()
    save(total)


def _planes(features: BackboneFeatures) -> list[Tensor]:
    """Return the planes of features, channels innermost."""
    planes = [features.bottleneck, *features.blocks, features.head, features.relative]
    return [plane.permute(0, 2, 3, 1) for plane in planes]


def _array(path: Path, shape: tuple[int, ...], done: int) -> np.memmap:
    """Return a float16 array on disk: a new one, or the one of which ``done`` rows are there."""
    if done:
        array = np.load(path, mmap_mode="r+")
        if array.shape != shape or array.dtype != np.float16:
            raise ValueError(f"{path} is {array.dtype} {array.shape}; delete the folder")
        return array
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
