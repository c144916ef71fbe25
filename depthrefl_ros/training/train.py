"""Training in two stages: first relative depth, then metric depth on top of it.

Stage 1 trains the backbone by a scale-and-shift-invariant loss. Stage 2 trains everything: the
scale-invariant log error, the likelihood of the bins, a log gradient loss and the relative loss
of stage 1. Both use AdamW (the encoder slower than the rest), a warm-up and a cosine by steps,
and an exponential average of the weights, which is what is evaluated and shipped.

A batch is a function of (seed, step) and a checkpoint holds weights, average, optimiser and
random state, so a run that is stopped and continued equals one that never stopped.
"""

from __future__ import annotations

import copy
import csv
import ctypes
import json
import math
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from depthrefl_ros.network.checkpoints import load_weights, save_weights
from depthrefl_ros.network.model import DepthModel, ModelConfig
from depthrefl_ros.training import losses
from depthrefl_ros.training.batches import StepBatches
from depthrefl_ros.training.depthwise import speed_up_depthwise


@dataclass(frozen=True)
class TrainSettings:
    """What a stage is trained with.

    Attributes:
        stage: 1 (relative depth, backbone only) or 2 (metric depth, everything).
        steps: length of the schedule.
        learning_rate: peak, for all but the encoder.
        encoder_factor: the encoder's learning rate as a fraction of it.
        weight_decay: of AdamW, on convolution weights only.
        warmup_steps: of linear warm-up before the cosine.
        ema_decay: of the weights' exponential average, shorter at the start.
        clip_norm: largest gradient norm.
        likelihood_weight: of the bins' negative log-likelihood (stage 2).
        gradient_weight: of the log gradient loss (stage 2).
        relative_weight: of the relative loss (stage 2).
        bf16: autocast convolutions to bfloat16.
        seed: of batches and weights.
    """

    stage: int
    steps: int
    learning_rate: float = 1e-3
    encoder_factor: float = 0.1
    weight_decay: float = 0.05
    warmup_steps: int = 100
    ema_decay: float = 0.999
    clip_norm: float = 10.0
    likelihood_weight: float = 0.2
    gradient_weight: float = 0.5
    relative_weight: float = 0.5
    bf16: bool = True
    seed: int = 1

    def __post_init__(self) -> None:
        if self.stage not in (1, 2):
            raise ValueError(f"stage is {self.stage}; 1 or 2 is needed")
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps}; at least 1 is needed")


def rate_at(step: int, settings: TrainSettings) -> float:
    """Return the factor on the learning rates: linear warm-up, then a cosine down to 0.01."""
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    progress = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def stage_losses(
    model: DepthModel, batch: dict[str, Tensor], settings: TrainSettings
) -> dict[str, Tensor]:
    """Return the weighted losses of a batch by name; their sum is what is minimised."""
    config: ModelConfig = model.config
    image = batch["image"].float().contiguous(memory_format=torch.channels_last)
    truth, valid = losses.canonical_truth(
        batch["depth_m"], batch["focal_px"], config.focal_px, config.z_min_m, config.z_max_m
    )
    device = image.device.type
    with torch.autocast(device, torch.bfloat16, enabled=settings.bf16):
        output = model.relative_only(image) if settings.stage == 1 else model(image)
    if settings.stage == 1:
        return {"relative": losses.relative_loss(output, truth, valid)}
    coarse, known = losses.at_stride(truth, valid, output.log_q.shape[-2:])
    likelihood = losses.bin_likelihood_loss(output.centres, output.log_q, coarse, known)
    gradient = losses.log_gradient_loss(output.depth, truth, valid)
    relative = losses.relative_loss(output.relative, truth, valid)
    return {
        "silog": losses.silog_loss(output.depth, truth, valid),
        "likelihood": settings.likelihood_weight * likelihood,
        "gradient": settings.gradient_weight * gradient,
        "relative": settings.relative_weight * relative,
    }


class Trainer:
    """Model, average, optimiser and step: all that changes while training."""

    def __init__(self, model: DepthModel, settings: TrainSettings):
        self.settings = settings
        self.ema = copy.deepcopy(model).eval().requires_grad_(False)
        # oneDNN's convolutions are fastest with channels innermost.
        self.model = model.to(memory_format=torch.channels_last)
        speed_up_depthwise(self.model)
        self.optimizer = torch.optim.AdamW(parameter_groups(model, settings))
        self.step = 0

    def train_step(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """Do one step; return the losses, their ``loss`` sum, ``gradient_norm`` and ``rate``.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        factor = rate_at(self.step, self.settings)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
        self.model.train()
        parts = stage_losses(self.model, batch, self.settings)
        loss = torch.stack(list(parts.values())).sum()
        if not torch.isfinite(loss):
            raise FloatingPointError(f"step {self.step}: loss is {loss.item()} from {parts}")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
        self.optimizer.step()
        update_average(self.ema, self.model, self.settings.ema_decay, self.step)
        self.step += 1
        figures = {name: part.item() for name, part in parts.items()}
        rate = self.settings.learning_rate * factor
        return {"loss": loss.item(), **figures, "gradient_norm": norm.item(), "rate": rate}

    def save(self, folder: Path) -> Path:
        """Write ``folder/checkpoint-STEP`` whole, then remove older ones; return its path."""
        path = folder / f"checkpoint-{self.step:08d}"
        temporary = folder / "writing"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        plain = copy.deepcopy(self.model).to(memory_format=torch.contiguous_format)
        save_weights(temporary / "model.safetensors", plain)
        save_weights(temporary / "ema.safetensors", self.ema)
        state = {"optimizer": self.optimizer.state_dict(), "random": torch.get_rng_state()}
        torch.save(state, temporary / "optimizer.pt")
        record = {
            "step": self.step,
            "settings": asdict(self.settings),
            "model": self.model.config.to_dict(),
        }
        (temporary / "state.json").write_text(json.dumps(record, indent=1))
        shutil.rmtree(path, ignore_errors=True)
        temporary.rename(path)
        for old in folder.glob("checkpoint-*"):
            if old != path:
                shutil.rmtree(old)
        return path

    def restore(self, path: Path) -> None:
        """Continue from a checkpoint folder that ``save`` wrote."""
        load_weights(path / "model.safetensors", self.model)
        load_weights(path / "ema.safetensors", self.ema)
        # weights_only: tensors and plain containers, nothing that could run.
        state = torch.load(path / "optimizer.pt", weights_only=True)
        base = [group["base_lr"] for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, rate in zip(self.optimizer.param_groups, base, strict=True):
            group["base_lr"] = rate  # a changed learning rate counts from here on
        torch.set_rng_state(state["random"])
        self.step = json.loads((path / "state.json").read_text())["step"]


def parameter_groups(model: DepthModel, settings: TrainSettings) -> list[dict]:
    """Return AdamW's groups: the encoder slower, and no decay on biases and normalisations."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if settings.stage == 1 and name.startswith("reflector."):
            continue
        key = (name.startswith("backbone.encoder."), parameter.ndim > 1)
        groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "base_lr": settings.learning_rate * (settings.encoder_factor if encoder else 1.0),
            "weight_decay": settings.weight_decay if decays else 0.0,
        }
        for (encoder, decays), parameters in groups.items()
    ]


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Move the average's weights and statistics toward the model's by 1 - decay."""
    decay = min(decay, (1 + step) / (10 + step))
    current = model.state_dict()
    for name, value in average.state_dict().items():
        if value.dtype.is_floating_point:
            value.lerp_(current[name], 1 - decay)
        else:
            value.copy_(current[name])


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint in a stage's folder, or None."""
    found = sorted(folder.glob("checkpoint-*"))
    return found[-1] if found else None


def run_stage(
    trainer: Trainer,
    batches: StepBatches,
    folder: Path,
    minutes: float | None = None,
    workers: int = 1,
    checkpoint_steps: int = 500,
    validate_steps: int = 500,
    validate: Callable[[DepthModel], dict[str, float]] | None = None,
) -> bool:
    """Train until the schedule or the time ends; return whether the schedule is complete.

    Args:
        trainer: continues from its step.
        batches: item ``step`` is that step's batch.
        folder: for checkpoints, ``log.csv`` and ``validation.csv``.
        minutes: stop after this time; the run can be continued.
        workers: processes that prepare batches; 0 prepares them in this one.
        checkpoint_steps: write a checkpoint this often.
        validate_steps: validate the average this often.
        validate: figures of a model on held-out images.
    """
    folder.mkdir(parents=True, exist_ok=True)
    keep_freed_memory()
    log = CsvLog(folder / "log.csv", trainer.step)
    validation_log = CsvLog(folder / "validation.csv", trainer.step)
    total = trainer.settings.steps
    loader = iter(
        DataLoader(
            batches, batch_size=None, sampler=range(trainer.step, total), num_workers=workers,
            worker_init_fn=_one_thread, prefetch_factor=8 if workers else None,
            multiprocessing_context="fork" if workers else None,
        )
    )  # fmt: skip
    deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
    smoothed = None
    with tqdm(
        total=total, initial=trainer.step, desc=f"stage {trainer.settings.stage}", unit="step",
        mininterval=1.0 if sys.stderr.isatty() else 30.0,
    ) as bar:  # fmt: skip
        while trainer.step < total and time.monotonic() < deadline:
            start = time.perf_counter()
            batch = next(loader)
            received = time.perf_counter()
            figures = trainer.train_step(batch)
            figures["data_s"] = received - start
            figures["step_s"] = time.perf_counter() - received
            log.add({"step": trainer.step, **figures})
            loss = figures["loss"]
            smoothed = loss if smoothed is None else 0.98 * smoothed + 0.02 * loss
            bar.set_postfix(loss=f"{smoothed:.3f}", refresh=False)
            bar.update()
            done = trainer.step == total
            if validate and (trainer.step % validate_steps == 0 or done):
                figures = validate(trainer.ema)
                validation_log.add({"step": trainer.step, **figures})
                bar.write(f"step {trainer.step}: " + format_figures(figures), file=sys.stderr)
            if trainer.step % checkpoint_steps == 0:
                trainer.save(folder)
    trainer.save(folder)
    return trainer.step >= total


def format_figures(figures: dict[str, float]) -> str:
    """Return figures on one line, three decimals."""
    return " ".join(f"{name} {value:.3f}" for name, value in figures.items())


class CsvLog:
    """A CSV file that is appended to row by row; rows after the step to continue from go."""

    def __init__(self, path: Path, step: int):
        self._path = path
        if path.exists():
            with path.open(newline="") as stream:
                rows = [row for row in csv.DictReader(stream) if int(row["step"]) <= step]
            path.unlink()
            for row in rows:
                self.add(row)

    def add(self, row: dict) -> None:
        """Append one row; the first row names the columns."""
        is_new = not self._path.exists()
        with self._path.open("a", newline="") as stream:
            writer = csv.DictWriter(stream, fieldnames=list(row))
            if is_new:
                writer.writeheader()
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})


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
