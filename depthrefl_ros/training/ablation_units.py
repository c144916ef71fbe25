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

"""The units of an ablation: one head, trained once and measured; its figures and weights are kept.

Nothing here needs torch until it runs.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from depthrefl_ros.training.datasets import DatasetError, ImageFolder, parse_data_options
from depthrefl_ros.training.whole_files import write_file

if TYPE_CHECKING:
    from depthrefl_ros.network.model import DepthModel
    from depthrefl_ros.training.batches import StepBatches
    from depthrefl_ros.training.train_settings import TrainSettings


@dataclass(frozen=True)
class Ablation:
    """What all units of an ablation share; plain values, since it goes to other processes.

    Attributes:
        run: folder of the units and tables.
        backbone: safetensors of a whole model, with its ``state.json`` beside it if it has one.
        data: training images, PATH[,list=FILE][,weight=W][,kind=K] each.
        val_data: images to measure on; rates and heads are chosen by the first set.
        batch: views or images a step.
        key: of backbone, training images and views.
        measured_on: fingerprints of the validation sets, in their order.
    """

    run: Path
    backbone: Path
    data: tuple[str, ...]
    val_data: tuple[str, ...]
    batch: int
    key: str
    measured_on: tuple[str, ...]


@dataclass(frozen=True)
class Unit:
    """One head trained once, on features or ``joint`` with the backbone."""

    head: str
    seed: int
    rate: float
    steps: int
    joint: bool = False

    def path(self, run: Path) -> Path:
        """Return where its result goes."""
        kind = "joint" if self.joint else "features"
        name = f"{kind}-{self.head}-steps{self.steps}-rate{self.rate:g}-seed{self.seed}.json"
        return run / "units" / name


def run_units(ablation: Ablation, units: list[Unit], jobs: int) -> list[dict[str, Any]]:
    """Train what has no result yet, ``jobs`` at a time; return the results in order."""
    missing = [unit for unit in units if read_result(ablation, unit) is None]
    (ablation.run / "units").mkdir(parents=True, exist_ok=True)
    if jobs == 1:
        for unit in missing:
            run_unit(ablation, unit)
    elif missing:
        _run_at_once(ablation, missing, jobs)
    return [read_result(ablation, unit) for unit in units]


def _run_at_once(ablation: Ablation, units: list[Unit], jobs: int) -> None:
    """Train units in processes of their own, which end when this one is stopped or killed."""
    context = multiprocessing.get_context("spawn")
    others = multiprocessing.active_children()
    with ProcessPoolExecutor(min(jobs, len(units)), context, _end_with_parent) as pool:
        # Ctrl-C reaches all processes of a terminal; inherited, this leaves it to this one.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            running = [pool.submit(run_unit, ablation, unit) for unit in units]
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        try:
            for future in as_completed(running):
                future.result()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                for process in multiprocessing.active_children():
                    if process not in others:
                        process.terminate()
            pool.shutdown(cancel_futures=True)
            raise


def _end_with_parent() -> None:
    """End this process once its parent is gone, also where that was killed."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def read_result(ablation: Ablation, unit: Unit) -> dict[str, Any] | None:
    """Return a unit's result if it is there and of the same features, data and batch."""
    path = unit.path(ablation.run)
    if not path.is_file():
        return None
    result = json.loads(path.read_text())
    shared = shared_settings(ablation)
    if "val_data_sha256" not in result["shared"]:  # older versions did not note it
        del shared["val_data_sha256"]
    return result if result["shared"] == shared else None


def shared_settings(ablation: Ablation) -> dict[str, Any]:
    """Return what a unit's result depends on besides the unit."""
    return {
        "key": ablation.key,
        "val_data": list(ablation.val_data),
        "val_data_sha256": list(ablation.measured_on),
        "batch": ablation.batch,
    }


def run_unit(ablation: Ablation, unit: Unit) -> None:
    """Train and measure one head, and write its result whole."""
    from depthrefl_ros.network.checkpoints import save_weights
    from depthrefl_ros.training import head_training
    from depthrefl_ros.training.heads import DepthRegression, LogDepthRegression

    model, held_out = _opened(ablation)
    settings, batches = settings_of(unit), batches_of(ablation, unit)
    train = head_training.train_jointly if unit.joint else head_training.train_on_features
    path = unit.path(ablation.run)
    shared = shared_settings(ablation)
    # Named after what it depends on, so that nothing else is ever gone on from.
    digest = hashlib.sha256(json.dumps(shared).encode()).hexdigest()
    kept = path.with_suffix(f".{digest[:16]}")
    trained = train(unit.head, model, batches, settings, kept)
    save_weights(path.with_suffix(".safetensors"), trained.model)
    sets = {
        name: head_training.measure(trained.model, samples)
        for name, (samples, _) in held_out.items()
    }
    has_sigma = not isinstance(trained.model.head, (LogDepthRegression, DepthRegression))
    result = {
        **asdict(unit),
        "shared": shared,
        "parameters": sum(p.numel() for p in trained.model.head.parameters()),
        "has_sigma": has_sigma,
        "step_s": trained.step_s,
        "sets": sets,
    }
    write_file(path, json.dumps(result).encode())
    kept.unlink(missing_ok=True)
    means = ", ".join(
        f"{name} {sum(measured['values']['abs_rel']) / len(measured['names']):.4f}"
        for name, measured in sets.items()
    )
    print(f"{path.stem}: AbsRel {means}; {1000 * trained.step_s:.0f} ms a step", flush=True)


def batches_of(ablation: Ablation, unit: Unit) -> StepBatches:
    """Return what a unit is trained on: the same batches for every head of its seed."""
    from depthrefl_ros.training.augment import Augmenter
    from depthrefl_ros.training.batches import StepBatches
    from depthrefl_ros.training.features import FeatureBatches, FeatureCache

    model, _ = _opened(ablation)
    parts = _training_sets(ablation)
    order = {"seed": unit.seed, "steps": unit.steps, "batch": ablation.batch}
    if unit.joint:
        augmenter = Augmenter(model.config.height, model.config.width)
        return StepBatches(list(parts.values()), augmenter, **order)
    caches = [FeatureCache(ablation.run / "features" / name) for name in parts]
    return FeatureBatches(list(parts.values()), caches, model.config.focal_px, **order)


def settings_of(unit: Unit) -> TrainSettings:
    """Return how a unit is trained."""
    from depthrefl_ros.training.train_settings import TrainSettings

    return TrainSettings(
        stage=2, steps=unit.steps, learning_rate=unit.rate, seed=unit.seed,
        warmup_steps=max(1, min(100, unit.steps // 10)),
    )  # fmt: skip


def load_backbone(path: Path) -> DepthModel:
    """Return the whole model of a checkpoint; without ``state.json`` beside it, the default one.

    Raises:
        CheckpointError: the weights do not fit.
    """
    from depthrefl_ros.network.checkpoints import load_weights
    from depthrefl_ros.network.model import ModelConfig, create_model

    state = path.with_name("state.json")
    config = ModelConfig()
    if state.is_file():
        config = ModelConfig.from_dict(json.loads(state.read_text())["model"])
    model = create_model(config)
    load_weights(path, model)
    return model.eval()


def open_sets(texts: Sequence[str]) -> dict[str, tuple[ImageFolder, float]]:
    """Return the data sets of ``--data`` or ``--val-data`` options, by name, with their weights.

    Raises:
        DatasetError: a set is missing or malformed, or is to be balanced, which nothing does here.
    """
    options = parse_data_options(list(texts))
    for name, option in options.items():
        if option.is_balanced:
            raise DatasetError(f"{name}: balance=depth is for train stage1 and stage2 alone")
    return {name: (option.open(), option.weight) for name, option in options.items()}


@lru_cache(maxsize=1)
def _opened(ablation: Ablation):
    """Return the model and the validation sets, opened once a process."""
    prepare_process()
    return load_backbone(ablation.backbone), open_sets(ablation.val_data)


@lru_cache(maxsize=1)
def _training_sets(ablation: Ablation):
    """Return the training sets, opened once a process."""
    return open_sets(ablation.data)


def prepare_process() -> None:
    """Set up one thread: two processes of one are faster than one of two, the more so if shared."""
    import cv2
    import torch

    from depthrefl_ros.training.loop import keep_freed_memory

    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    keep_freed_memory()
