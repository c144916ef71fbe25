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

"""The loop of a stage: batches in, log, checkpoints and validation out.

A batch is a function of (seed, step) and a checkpoint holds weights, average, optimiser and
random state, so a run that is stopped and continued equals one that never stopped. Several
processes train as one (see ``distributed``).
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from depthrefl_ros.network.model import DepthModel
from depthrefl_ros.training.batches import StepBatches
from depthrefl_ros.training.datasets import DatasetError
from depthrefl_ros.training.logs import RunLog
from depthrefl_ros.training.trainer import Trainer, latest_checkpoint

MAIN_FIGURES = (
    "abs_rel", "delta1", "rmse", "silog", "ause_abs_rel", "scale_ratio", "slope_log_median",
    "edge_f1",
)  # fmt: skip


class TrainError(Exception):
    """Training cannot go on; the message says where, why, and which checkpoint is left."""


def checkpoint_left(folder: Path) -> str:
    """Return in words which checkpoint a stage's folder holds."""
    checkpoint = latest_checkpoint(folder)
    return f"the last good checkpoint is {checkpoint}" if checkpoint else "no checkpoint yet"


def run_stage(
    trainer: Trainer,
    batches: StepBatches,
    folder: Path,
    minutes: float | None = None,
    workers: int = 1,
    checkpoint_steps: int = 500,
    validate_steps: int = 500,
    validate: Callable[[DepthModel], dict[str, float]] | None = None,
    preview: Callable[[DepthModel], dict[str, np.ndarray]] | None = None,
    stop: Callable[[], bool] | None = None,
) -> bool:
    """Train until schedule or time end, or a stop; return whether the schedule is complete.

    Of several processes the first logs, validates and saves.

    Args:
        trainer: continues from its step.
        batches: item ``step`` is that step's batch, or this process's share of it.
        folder: for checkpoints and the files of ``RunLog``.
        minutes: stop after this time; the run can be continued.
        workers: processes that prepare batches; 0 prepares them in this one.
        checkpoint_steps: write a checkpoint this often.
        validate_steps: validate the average this often.
        validate: figures of a model on held-out images.
        preview: pictures of held-out images by name, (H, W, 3) uint8 RGB.
        stop: whether to stop before the next step; the run can be continued.

    Raises:
        TrainError: the loss is not finite, or the disk is full; the last checkpoint is whole.
        DatasetError: an image cannot be read.
    """
    keep_freed_memory()
    total = trainer.settings.steps
    deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
    with (
        failures_told(trainer, folder),
        run_log(trainer, folder) as log,
        progress_bar(trainer) as bar,
    ):
        is_pinned = trainer.device.type == "cuda"
        loader = iter(make_loader(batches, range(trainer.step, total), workers, is_pinned))
        while trainer.step < total and not must_stop(trainer, deadline, stop):
            figures = timed_step(trainer, loader)
            if log is None:
                continue
            log.training(trainer.step, figures)
            advance(bar, figures["loss"])
            is_last = trainer.step == total
            if validate is not None and (is_last or trainer.step % validate_steps == 0):
                scores = validate(trainer.ema)
                bar.write(f"step {trainer.step}: {format_figures(scores)}")
                log.validation(trainer.step, scores, preview(trainer.ema) if preview else {})
            if is_last or trainer.step % checkpoint_steps == 0:
                trainer.save(folder)
        if log is not None and trainer.step < total:
            trainer.save(folder)
    return trainer.step >= total


@contextlib.contextmanager
def failures_told(trainer: Trainer, folder: Path) -> Iterator[None]:
    """Turn what a number or a disk can do into a TrainError that says which checkpoint is left."""
    try:
        yield
    except FloatingPointError as error:
        raise TrainError(f"{error}; {checkpoint_left(folder)}") from error
    except OSError as error:
        raise TrainError(
            f"{folder}: step {trainer.step} cannot be saved: {error.strerror or error}; "
            f"{checkpoint_left(folder)}"
        ) from error


def run_log(trainer: Trainer, folder: Path) -> contextlib.AbstractContextManager[RunLog | None]:
    """Return the log of a stage in the first process, None in the others."""
    if not trainer.processes.is_main:
        return contextlib.nullcontext()
    folder.mkdir(parents=True, exist_ok=True)
    return contextlib.closing(RunLog(folder, trainer.step))


def make_loader(
    batches: StepBatches, steps: range, workers: int, is_pinned: bool = False
) -> DataLoader:
    """Return a loader of the batches of ``steps``, prepared ahead by ``workers`` processes.

    A thread copies them to pinned memory, which a GPU reads by itself, if that ``is_pinned``.
    Its random numbers are its own: torch's, which a resumed teacher goes on with, stay as they are.
    """
    return DataLoader(
        batches, batch_size=None, sampler=steps, num_workers=workers, generator=torch.Generator(),
        worker_init_fn=_one_thread, prefetch_factor=8 if workers else None,
        multiprocessing_context="fork" if workers else None, pin_memory=is_pinned,
    )  # fmt: skip


def timed_step(trainer: Trainer, loader) -> dict[str, float]:
    """Do one step with the next batch; return its figures with ``data_s`` and ``step_s``.

    Raises:
        DatasetError: in one line, wherever the batch was prepared.
    """
    start = time.perf_counter()
    try:
        batch = next(loader)
    except DatasetError as error:
        # From a loader process the message is a whole traceback that ends with ours.
        raise DatasetError(str(error).strip().splitlines()[-1].split("Error: ", 1)[-1]) from error
    received = time.perf_counter()
    figures = trainer.train_step(batch)
    times = {"data_s": received - start, "step_s": time.perf_counter() - received}
    return {**figures, **times}


def must_stop(trainer: Trainer, deadline: float, stop: Callable[[], bool] | None) -> bool:
    """Return whether to stop: the deadline (monotonic seconds) is over, or ``stop`` says so.

    All processes do as the first one does, or they would wait for each other for ever.
    """
    if deadline == math.inf and stop is None:
        return False
    return trainer.processes.decide(time.monotonic() >= deadline or (stop is not None and stop()))


def progress_bar(trainer: Trainer) -> tqdm:
    """Return the bar of a stage, with the time left; every 30 s a line where it is no terminal."""
    return tqdm(
        total=trainer.settings.steps, initial=trainer.step, unit="step",
        disable=not trainer.processes.is_main,
        desc=f"stage {trainer.settings.stage}",
        mininterval=1.0 if sys.stderr.isatty() else 30.0,
    )  # fmt: skip


def advance(bar: tqdm, loss: float) -> None:
    """Move the bar by one step and show the smoothed loss."""
    smoothed = 0.98 * getattr(bar, "smoothed_loss", loss) + 0.02 * loss
    bar.smoothed_loss = smoothed
    bar.set_postfix(loss=f"{smoothed:.3f}", refresh=False)
    bar.update()


def format_figures(figures: dict[str, float]) -> str:
    """Return the main figures of an evaluation on one line, three decimals."""
    return " ".join(f"{name} {figures[name]:.3f}" for name in MAIN_FIGURES if name in figures)


def keep_freed_memory() -> None:
    """Let glibc keep freed memory: returning activations after every step costs a third of it."""
    if not sys.platform.startswith("linux"):
        return
    try:
        library = ctypes.CDLL("libc.so.6")
        trim_threshold, top_pad, mmap_max = -1, -2, -4  # malloc.h: M_TRIM_THRESHOLD ...
        library.mallopt(trim_threshold, 2**31 - 1)
        library.mallopt(top_pad, 2**28)
        library.mallopt(mmap_max, 0)
    except (OSError, AttributeError):
        pass  # another C library: slower, not wrong


def _one_thread(worker: int) -> None:
    cv2.setNumThreads(0)
