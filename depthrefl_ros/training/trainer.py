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

"""The trainer: model, average, optimiser and step, one step at a time, and its checkpoints.

Stage 1 trains the backbone by a scale-and-shift-invariant loss. Stage 2 trains everything: the
scale-invariant log error, the likelihood of the bins, a log gradient loss and the relative loss
of stage 1. Both use AdamW (the encoder slower than the rest) and an exponential average of the
weights, which is what is evaluated and shipped.
"""

from __future__ import annotations

import copy
import io
import json
import logging
import math
import shutil
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from depthrefl_ros.network.backbone import BackboneFeatures
from depthrefl_ros.network.checkpoints import load_weights, save_weights
from depthrefl_ros.network.model import DepthModel, DepthOutput, ModelConfig
from depthrefl_ros.training import losses
from depthrefl_ros.training.depthwise import speed_up_depthwise
from depthrefl_ros.training.distillation import Teacher, mix_images
from depthrefl_ros.training.distributed import Processes
from depthrefl_ros.training.replay import GradientReplay
from depthrefl_ros.training.train_settings import TrainSettings, rate_at
from depthrefl_ros.training.whole_files import write_whole

_log = logging.getLogger(__name__)


class StageNetwork(nn.Module):
    """What a stage runs of a model: all of it, its relative depth, or its reflector alone."""

    def __init__(self, model: DepthModel, stage: int):
        super().__init__()
        self.model = model
        self.stage = stage

    def forward(self, seen: Tensor | BackboneFeatures) -> DepthOutput | Tensor:
        """Compute relative depth (stage 1) or everything (stage 2) of (N, channels, H, W), 0..255.

        In stage 2 also what a backbone that stays as it is has made of the images before.
        """
        if isinstance(seen, BackboneFeatures):
            config = self.model.config
            like = torch.empty(1, 1, config.height, config.width, device="meta")
            return self.model.read_out(seen, like)
        return self.model.relative_only(seen) if self.stage == 1 else self.model(seen)


def stage_losses(
    output: DepthOutput | Tensor,
    batch: dict[str, Tensor],
    config: ModelConfig,
    settings: TrainSettings,
) -> dict[str, Tensor]:
    """Return the weighted losses of a batch by name; their sum is what is minimised.

    Args:
        output: of ``StageNetwork``.
        batch: ``depth_m`` and ``focal_px`` as ``StepBatches`` gives them; with a teacher also its
            ``teacher_log_depth`` and ``teacher_sigma``, each (N, 1, H, W).
        config: of the model.
        settings: of the stage.
    """
    truth, valid = losses.canonical_truth(
        batch["depth_m"], batch["focal_px"], config.focal_px, config.z_min_m, config.z_max_m
    )
    if settings.stage == 1:
        return {"relative": losses.relative_loss(output, truth, valid)}
    coarse, known = losses.at_stride(truth, valid, output.log_q.shape[-2:])
    likelihood = losses.bin_likelihood_loss(output.centres, output.log_q, coarse, known)
    gradient = losses.log_gradient_loss(output.depth, truth, valid)
    relative = losses.relative_loss(output.relative, truth, valid)
    parts = {
        "silog": losses.silog_loss(output.depth, truth, valid, settings.balance),
        "likelihood": settings.likelihood_weight * likelihood,
        "gradient": settings.gradient_weight * gradient,
        "relative": settings.relative_weight * relative,
    }
    if "teacher_log_depth" in batch:
        parts["distillation"] = settings.distillation_weight * losses.distillation_loss(
            output.depth, output.sigma, batch["teacher_log_depth"], batch["teacher_sigma"]
        )
    return parts


class Trainer:
    """Model, average, optimiser and step: all that changes while training.

    Args:
        model: to train; it is moved to the device of ``processes``.
        settings: of the stage.
        processes: which train together; by default this one alone, on the CPU.
        teacher: whose predictions stage 2 learns from as well, or None.
        origin: where the weights come from, in words, for the record.
        replays: on CUDA, replay a step's losses and gradients as one graph, where one process
            trains without a teacher and on images.

    Raises:
        ValueError: what is to be frozen is not there, or is everything.
    """

    def __init__(
        self,
        model: DepthModel,
        settings: TrainSettings,
        processes: Processes | None = None,
        teacher: Teacher | None = None,
        origin: str = "random weights",
        replays: bool = True,
    ):
        self.settings = settings
        self.processes = processes or Processes()
        self.teacher = teacher
        self.origin = origin
        self.ema = copy.deepcopy(model).to(self.device).eval().requires_grad_(False)
        model = self.processes.prepare(model)
        # oneDNN's and cuDNN's convolutions are fastest with channels innermost.
        self.model = model.to(self.device, memory_format=torch.channels_last)
        if self.device.type == "cpu":
            speed_up_depthwise(self.model)
        if settings.stage == 1:
            self.model.reflector.requires_grad_(False)
            if self.model.mount is not None:
                self.model.mount.requires_grad_(False)
        if self.model.error_head is not None:  # it is fitted afterwards, on other images
            self.model.error_head.requires_grad_(False)
        self._frozen = frozen_modules(self.model, settings)
        for module in self._frozen:
            module.requires_grad_(False)
        is_cuda = self.device.type == "cuda"
        self.optimizer = torch.optim.AdamW(parameter_groups(self.model, settings), fused=is_cuda)
        self._replays = replays and is_cuda and self.processes.world == 1 and teacher is None
        self._replay: GradientReplay | None = None
        self.network = self.processes.wrap(StageNetwork(self.model, settings.stage))
        self.step = 0

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.processes.device

    @property
    def is_replayed(self) -> bool:
        """Whether steps are replayed as a CUDA graph; before the first one none is."""
        return self._replay is not None

    def train_step(self, batch: dict[str, Tensor | list[str]]) -> dict[str, float]:
        """Do one step; return the losses, their ``loss`` sum, ``gradient_norm`` and ``rate``.

        Args:
            batch: of ``StepBatches`` or ``FeatureBatches``, this process's share.

        Raises:
            FloatingPointError: loss or gradient is not finite; the weights are as before.
        """
        factor = rate_at(self.step, self.settings)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
        parts = self._gradients(batch)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
        names = ("loss", *parts, "gradient_norm")
        values = [sum(parts.values()), *parts.values(), norm]
        # All at once: a GPU is waited for at every number that is asked for.
        figures = dict(zip(names, torch.stack(values).tolist(), strict=True))
        self._require_finite(figures, batch)
        self.optimizer.step()
        update_average(self.ema, self.model, self.settings.ema_decay, self.step)
        self.step += 1
        return {**figures, "rate": self.settings.learning_rate * factor}

    def _gradients(self, batch: dict[str, Tensor | list[str]]) -> dict[str, Tensor]:
        """Set the gradients of the whole batch, of which this process has ``batch``.

        Returns:
            Its losses by name.
        """
        tensors = {name: value for name, value in batch.items() if isinstance(value, Tensor)}
        if self._replays and "image" in tensors:
            if self._replay is None:
                self._capture(tensors)
            if self._replay is not None and self._replay.fits(tensors):
                return self._replay(tensors)
        self.optimizer.zero_grad(set_to_none=True)
        parts = self._losses({**batch, **self._sent(tensors)})
        (torch.stack(list(parts.values())).sum() * self.processes.world).backward()
        return {name: part.detach() for name, part in parts.items()}

    def _capture(self, tensors: dict[str, Tensor]) -> None:
        """Make the graph that is replayed, or see that there is none."""
        try:
            self._replay = GradientReplay(self._losses, self.model, tensors)
        except RuntimeError as error:
            _log.warning("training goes on without a CUDA graph: %s", error)
            self._replays = False

    def _sent(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: value.to(self.device, non_blocking=True) for name, value in tensors.items()}

    def _losses(self, batch: dict[str, Tensor | BackboneFeatures | list[str]]) -> dict[str, Tensor]:
        """Return the losses of the whole batch, of which this process has ``batch``."""
        self.model.train()
        for module in self._frozen:
            module.eval()
        if self.settings.freeze_norm:
            for module in self.model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        tensors = {name: value for name, value in batch.items() if isinstance(value, Tensor)}
        seen = batch["features"] if "features" in batch else tensors.pop("image")
        if self.teacher is not None and self.settings.stage == 2:
            seen, is_mixed = mix_images(seen, self.settings.mix_share)
            tensors["depth_m"] = tensors["depth_m"].masked_fill(is_mixed[:, None, None, None], 0.0)
            # One orientation a step, drawn by lot: half the cost, and the same in the mean.
            is_mirrored = bool(torch.rand(()) < 0.5)
            log_depth, sigma = self.teacher.targets(seen, (is_mirrored,))
            tensors.update(teacher_log_depth=log_depth, teacher_sigma=sigma)
        if isinstance(seen, BackboneFeatures):
            seen = seen.to(self.device)
        else:
            seen = seen.float().contiguous(memory_format=torch.channels_last)
        # Each weight is cast once as it is; what a cache keeps, a graph would not cast again.
        caches = not self._replays
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.settings.bf16, cache_enabled=caches
        ):
            output = self.network(seen)
        gather = self.processes.gather
        output = gather(output) if isinstance(output, Tensor) else DepthOutput(*map(gather, output))
        tensors = {name: gather(tensor) for name, tensor in tensors.items()}
        return stage_losses(output, tensors, self.model.config, self.settings)

    def _require_finite(self, figures: dict[str, float], batch: dict) -> None:
        if not all(math.isfinite(value) for value in figures.values()):
            found = ", ".join(f"{name} {value:g}" for name, value in figures.items())
            raise FloatingPointError(
                f"step {self.step}: not finite: {found}; images of the batch: "
                f"{', '.join(batch.get('names', []))}"
            )

    def save(self, folder: Path) -> Path:
        """Write ``folder/checkpoint-STEP`` whole, then remove older ones; return its path.

        Raises:
            FloatingPointError: a weight is not finite.
            OSError: it cannot be written; older checkpoints are still there.
        """
        for name, tensor in self.model.state_dict().items():
            if not torch.isfinite(tensor).all():
                raise FloatingPointError(f"step {self.step}: not finite: weight {name}")
        path = folder / f"checkpoint-{self.step:08d}"
        write_whole(path, self._write)
        keep_only(path)
        return path

    def _write(self, folder: Path) -> None:
        """Write the files of a checkpoint."""
        save_weights(folder / "model.safetensors", self.model)
        save_weights(folder / "ema.safetensors", self.ema)
        state = {"optimizer": self.optimizer.state_dict(), "random": torch.get_rng_state()}
        buffer = io.BytesIO()  # a full disk is an OSError then; torch.save makes it another
        torch.save(state, buffer)
        (folder / "optimizer.pt").write_bytes(buffer.getvalue())
        record = {
            "step": self.step,
            "origin": self.origin,
            "settings": asdict(self.settings),
            "model": self.model.config.to_dict(),
        }
        (folder / "state.json").write_text(json.dumps(record, indent=1))

    def restore(self, path: Path) -> None:
        """Continue from a checkpoint folder that ``save`` wrote."""
        load_weights(path / "model.safetensors", self.model)
        load_weights(path / "ema.safetensors", self.ema)
        # weights_only: tensors and plain containers, nothing that could run.
        state = torch.load(path / "optimizer.pt", map_location="cpu", weights_only=True)
        # A changed learning rate or weight decay counts from here on.
        kept = ("base_lr", "weight_decay")
        asked = [{name: group[name] for name in kept} for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, values in zip(self.optimizer.param_groups, asked, strict=True):
            group.update(values)
        torch.set_rng_state(state["random"])
        record = json.loads((path / "state.json").read_text())
        self.step, self.origin = record["step"], record.get("origin", self.origin)


def frozen_modules(model: DepthModel, settings: TrainSettings) -> list[nn.Module]:
    """Return the modules that ``settings.freeze`` names.

    Raises:
        ValueError: the network has no such module, or nothing would be left to train.
    """
    modules = dict(model.named_modules())
    unknown = [name for name in settings.freeze if not name or name not in modules]
    if unknown:
        known = [f"{part}.{name}" for part, own in model.named_children()
                 for name, _ in own.named_children()]  # fmt: skip
        raise ValueError(
            f"--freeze {unknown[0]!r}: the network has no such module; it has "
            f"{', '.join(known)} and what is in them"
        )
    frozen = [modules[name] for name in settings.freeze]
    still = {parameter for module in frozen for parameter in module.parameters()}
    if all(p in still or not p.requires_grad for p in model.parameters()):
        raise ValueError(f"--freeze {' '.join(settings.freeze)}: nothing is left to train")
    return frozen


def parameter_groups(model: DepthModel, settings: TrainSettings) -> list[dict]:
    """Return AdamW's groups of what is trained; biases and norms do not decay."""
    factors = {
        "backbone.encoder.": settings.encoder_factor,
        "mount.": settings.mount_factor,
        "": 1.0,
    }
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        part = next(prefix for prefix in factors if name.startswith(prefix))
        groups.setdefault((part, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "base_lr": settings.learning_rate * factors[part],
            "weight_decay": settings.weight_decay if decays else 0.0,
        }
        for (part, decays), parameters in groups.items()
    ]


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Move the average's weights and statistics toward the model's by 1 - decay."""
    decay = min(decay, (1 + step) / (10 + step))
    current = model.state_dict()
    moving, toward = [], []
    for name, value in average.state_dict().items():
        if value.dtype.is_floating_point:
            moving.append(value)
            toward.append(current[name])
        else:
            value.copy_(current[name])
    # All at once: on a GPU a call for each of several hundred tensors takes longer than the work.
    get_ema_multi_avg_fn(decay)(moving, toward, step)


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in a stage's folder, oldest first; a copy by another name is none."""
    found = [path for path in folder.glob("checkpoint-*") if path.name[11:].isdecimal()]
    return sorted(found, key=lambda path: int(path.name[11:]))


def keep_only(path: Path) -> None:
    """Remove the other checkpoints beside this one."""
    for other in checkpoints(path.parent):
        if other != path:
            shutil.rmtree(other)


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint in a stage's folder, or None."""
    return next(reversed(checkpoints(folder)), None)
