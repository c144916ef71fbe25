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

"""What a frozen backbone makes of the training images, kept so that only the reflector runs."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.train_options import USUAL_VIEWS
from depthrefl_ros.training.augment import AugmentConfig
from depthrefl_ros.training.datasets import ImageFolder
from depthrefl_ros.training.features import (
    FeatureBatches,
    FeatureCache,
    make_recipe,
    open_features,
    state_digest,
    view_bytes,
)
from depthrefl_ros.training.trainer import Trainer

BACKBONE = "backbone"  # what --freeze names for the features to stay the same
_FOLDER = "features"  # in the run
_GIB = 2**30


def feature_batches(
    arguments: argparse.Namespace,
    trainer: Trainer,
    mixture: list[tuple[ImageFolder, float]],
    augment: AugmentConfig,
    order: dict[str, int],
    stop: Callable[[], bool],
) -> FeatureBatches | None:
    """Return the batches of a run whose backbone is frozen; its features are computed first.

    Args:
        arguments: of ``train``.
        trainer: with the backbone.
        mixture: pairs (data set, weight).
        augment: of the views.
        order: of ``StepBatches``: seed, steps, batch, rank and world.
        stop: whether to stop before the next pass through the backbone.

    Returns:
        None where the backbone runs at every step: it is trained or told the mount, a teacher needs
        the images, ``--views 0`` was given, or not even one view of the images fits.

    Raises:
        ToolError: ``--views`` was given where it cannot be had.
        ValueError: a folder holds other features.
        FeaturesStopped: ``stop`` said so.
    """
    settings = trainer.settings
    wanted = arguments.views
    reason = None
    if BACKBONE not in settings.freeze:
        reason = "the backbone is trained: give --freeze"
    elif trainer.model.mount is not None:
        reason = "--mount reaches into the decoder, so its features change in training"
    elif trainer.teacher is not None:
        reason = "--teacher needs the images at every step: let it label --unlabelled"
    if reason is not None:
        if wanted:
            raise ToolError(f"--views {wanted}: {reason}")
        return None
    views = _views(arguments, trainer, mixture)
    if not views:
        return None
    folder = arguments.features or arguments.run / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    caches: list[FeatureCache] = []
    digest = state_digest(trainer.ema.backbone)
    with FileLock(folder / ".lock"):  # of several processes that train together
        for (dataset, _), name in zip(mixture, _names(mixture), strict=True):
            recipe = make_recipe(trainer.ema, dataset, views, augment, settings.bf16, digest)
            caches.append(open_features(folder / name, trainer.ema, dataset, recipe, stop))
    return FeatureBatches(mixture, caches, trainer.model.config.focal_px, **order)


def _views(
    arguments: argparse.Namespace, trainer: Trainer, mixture: list[tuple[ImageFolder, float]]
) -> int:
    """Return how many views an image are kept, and say what they take; 0 for none."""
    if arguments.views == 0:
        return 0
    images = sum(len(dataset) for dataset, _ in mixture)
    one = images * view_bytes(trainer.ema)
    limit = arguments.feature_limit * _GIB
    views = arguments.views or min(USUAL_VIEWS, int(limit // one))
    if views * one > limit:
        fitting = int(limit // one)
        words = f"{fitting} fit" if fitting else "not even one fits, --views 0 keeps none"
        raise ToolError(
            f"--views {views}: the features of {images} images take {views * one / _GIB:.1f} GiB, "
            f"and --feature-limit is {arguments.feature_limit:g}: {words}"
        )
    if not views:
        print(
            f"warning: no features are kept, since one view of {images} images takes "
            f"{one / _GIB:.1f} GiB and --feature-limit is {arguments.feature_limit:g}: the "
            "backbone runs at every step",
            file=sys.stderr,
        )
        return 0
    folder: Path = arguments.features or arguments.run / _FOLDER
    _check_room(folder, views * one)
    if trainer.processes.is_main:
        print(
            f"features: {views} views of {images} images in {folder}, {views * one / 1e9:.2f} GB",
            flush=True,
        )
    return views


def _check_room(folder: Path, needed: int) -> None:
    """Refuse to begin what the disk has no room for; what lies in the folder already counts."""
    there = sum(path.stat().st_blocks * 512 for path in folder.rglob("*.npy"))
    parent = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(parent).free
    if needed - there > free:
        raise ToolError(
            f"{folder}: the features take {needed / _GIB:.1f} GiB and {free / _GIB:.1f} are free; "
            "give fewer --views, or another disk by --features"
        )


def _names(mixture: list[tuple[ImageFolder, float]]) -> list[str]:
    """Return a folder's name for each set: that of the set, numbered where it comes again."""
    names: list[str] = []
    for dataset, _ in mixture:
        stem = dataset.root.absolute().name
        count = sum(name.rpartition("-")[0] == stem or name == stem for name in names)
        names.append(f"{stem}-{count + 1}" if count else stem)
    return names
