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

"""One leg of training: data sets, trainer, loop and the record of what it was trained on."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.network.checkpoints import (
    CheckpointError,
    load_imagenet_encoder,
    load_weights,
)
from depthrefl_ros.network.model import DepthModel, ModelConfig, create_model
from depthrefl_ros.tools.command_line import StopRequest, ToolError
from depthrefl_ros.tools.teacher_labels import add_labels
from depthrefl_ros.tools.train_data import (
    Part,
    check_same_data,
    describe_parts,
    images_of,
    open_parts,
    preload,
    record_data,
    suspicions,
)
from depthrefl_ros.tools.train_features import feature_batches
from depthrefl_ros.tools.train_options import (
    STOPPED_EARLY,
    augment_changes,
    augment_config_of,
    model_config_of,
    settings_of,
    weights_to_train,
)
from depthrefl_ros.tools.weight_terms import terms_of_leg
from depthrefl_ros.training.augment import AugmentConfig, Augmenter
from depthrefl_ros.training.batches import StepBatches
from depthrefl_ros.training.datasets import ImageFolder
from depthrefl_ros.training.distributed import Processes, joined
from depthrefl_ros.training.evaluation import evaluate_model, torch_infer
from depthrefl_ros.training.features import FeaturesStopped
from depthrefl_ros.training.loop import run_stage
from depthrefl_ros.training.previews import preview_images
from depthrefl_ros.training.protocol import Protocol
from depthrefl_ros.training.train_settings import TrainSettings
from depthrefl_ros.training.trainer import Trainer, latest_checkpoint


def train_stage(arguments: argparse.Namespace) -> int:
    """Run one leg of stage 1 or 2; return 0 when the schedule is complete, else STOPPED_EARLY."""
    settings = settings_of(arguments, stage=int(arguments.command[-1]))
    add_labels(arguments, arguments.run)
    parts, held_out = open_parts(arguments.data), open_parts(arguments.val_data)
    with joined(arguments.device) as processes:
        config, folder = model_config_of(arguments), arguments.run / arguments.command
        trainer = make_trainer(
            arguments, settings, config, processes, folder,
            start=lambda model: load_start(arguments, settings, model),
        )  # fmt: skip
        check_complete(arguments, trainer, parts, folder)
        complete = run_leg(arguments, trainer, parts, held_out, folder)
    return 0 if complete else STOPPED_EARLY


def make_trainer(
    arguments: argparse.Namespace,
    settings: TrainSettings,
    config: ModelConfig,
    processes: Processes,
    folder: Path,
    start: Callable[[DepthModel], str],
) -> Trainer:
    """Return a trainer from the checkpoint in ``folder``, or from the weights that it starts with.

    Args:
        arguments: of the command.
        settings: of the stage.
        config: of the network.
        processes: that train together.
        folder: of the stage.
        start: loads weights into a new model and says in words where they come from.

    Raises:
        CheckpointError: weights are missing or do not fit.
    """
    torch.manual_seed(settings.seed)
    model = create_model(config)
    checkpoint = latest_checkpoint(folder)
    origin = "" if checkpoint else start(model)
    if origin and arguments.teacher:
        origin += f"; taught by {', '.join(map(str, arguments.teacher))}"
    if origin and arguments.labelled_by:
        origin += f"; images labelled by {arguments.labelled_by}"
    teacher = load_teacher(arguments.teacher, model.config.focal_px)
    trainer = Trainer(model, settings, processes, teacher, origin)
    if checkpoint:
        restore(trainer, checkpoint)
    say(processes, f"{'continuing' if checkpoint else 'starting'} from {checkpoint or origin}")
    return trainer


def load_start(arguments: argparse.Namespace, settings: TrainSettings, model: DepthModel) -> str:
    """Load the weights that a stage starts with; return in words where they come from."""
    stage1 = latest_checkpoint(arguments.run / "stage1") if settings.stage == 2 else None
    if arguments.backbone is not None:
        if arguments.start_from is not None:
            raise ToolError("--backbone and --start-from exclude each other")
        bundle = Bundle.load(arguments.backbone)
        # What a reflector was told of the mount means nothing to another one.
        left = ("mount", "error_head")
        load_weights(weights_to_train(bundle), model, "reflector", optional="mount", left=left)
        return f"the backbone of {bundle.name} ({bundle.licence})"
    if arguments.start_from is not None:
        load_known(arguments.start_from, model, but=arguments.renew)
        renewed = f", with {arguments.renew} drawn anew" if arguments.renew else ""
        return f"{arguments.start_from}{renewed}"
    if stage1 is not None:
        load_known(stage1 / "ema.safetensors", model)
        state = json.loads((stage1 / "state.json").read_text())
        return f"{stage1}, which began from {state.get('origin', 'unknown weights')}"
    return f"ImageNet weights {load_imagenet_encoder(model)} (Apache-2.0)"


def load_known(path: Path, model: DepthModel, but: str = "") -> None:
    """Load weights that a network begins with; what it does not know of the mount stays new.

    An error head knows the errors of the weights that it was fitted to: where the network has none,
    the file's is left out.

    Args:
        path: of the weights.
        model: takes them.
        but: as for ``load_weights``.

    Raises:
        CheckpointError: they do not fit; says so where the network takes no mount and they do.
    """
    try:
        left = () if model.error_head else ("error_head",)
        load_weights(path, model, but, optional="mount", left=left)
    except CheckpointError as error:
        is_of_mount = "mount." in str(error) and not model.mount
        hint = "; it takes the mount: --mount is needed" if is_of_mount else ""
        raise CheckpointError(f"{error}{hint}") from error


def load_teacher(weights: list[Path], focal_px: float):
    """Return the teacher of ``--teacher`` options, None without any.

    Args:
        weights: safetensors of its networks.
        focal_px: the student's canonical focal length, pixels of its own input.
    """
    if not weights:
        return None
    from depthrefl_ros.training.distillation import Teacher

    return Teacher(weights, focal_px)


def restore(trainer: Trainer, checkpoint: Path) -> None:
    """Continue from a checkpoint.

    Raises:
        ToolError: it is of another network than the options describe, other modules were frozen,
            or its record is damaged.
    """
    try:
        record = json.loads((checkpoint / "state.json").read_text())
        stored, frozen = record["model"], record["settings"].get("freeze", [])
    except (ValueError, KeyError) as error:
        raise ToolError(f"{checkpoint / 'state.json'} is damaged: {error!r}") from error
    wanted = trainer.model.config.to_dict()
    for name in {**wanted, **stored}:
        said, told = stored.get(name), wanted.get(name)
        if said != told:
            if name == "mount":  # only told where it is true
                said, told = bool(said), bool(told)
            raise ToolError(
                f"{checkpoint} has another network: {name} is {said}, and the options say {told}; "
                "use another --run"
            )
    asked = trainer.settings.freeze
    if sorted(frozen) != sorted(asked):
        said, told = (" ".join(names) or "nothing" for names in (frozen, asked))
        raise ToolError(
            f"{checkpoint} was trained with --freeze {said}, and the options say {told}; give the "
            f"same, or another --run with --start-from {checkpoint / 'ema.safetensors'}"
        )
    trainer.restore(checkpoint)


def check_complete(
    arguments: argparse.Namespace, trainer: Trainer, parts: dict[str, Part], folder: Path
) -> None:
    """Check that a stage that has nothing left to train is asked about the data it was trained on.

    Raises:
        ToolError: it is complete, and data or augmentation are others than those of its last steps.
    """
    if trainer.step >= trainer.settings.steps:
        sets = describe_parts(parts, trainer.model.config.mount)
        check_same_data(folder, trainer.step, sets, augment_changes(arguments.augment))


def run_leg(
    arguments: argparse.Namespace,
    trainer: Trainer,
    parts: dict[str, Part],
    held_out: dict[str, Part],
    folder: Path,
) -> bool:
    """Train until the schedule or --minutes end, or SIGINT or SIGTERM comes.

    Args:
        arguments: of the command.
        trainer: ready to go on.
        parts: the training sets by name.
        held_out: the validation sets by name; the first is used.
        folder: of the stage.

    Returns:
        Whether the schedule is complete.
    """
    torch.set_num_threads(arguments.threads)
    processes, settings, config = trainer.processes, trainer.settings, trainer.model.config
    augment = augment_config_of(arguments.augment)
    mixture = [pair for part in parts.values() for pair in part.in_bins()]
    if processes.is_main and trainer.step == 0:
        knows_metres = arguments.command == "finetune" or arguments.start_from is not None
        model = trainer.ema if knows_metres else None
        # What is trained on may lie beyond the cap; what is measured by may not.
        looked_at = [(*item, math.inf) for item in parts.items()]
        looked_at += [(*item, arguments.cap) for item in held_out.items()]
        for name, part, farthest_m in looked_at:
            for line in suspicions(name, part.dataset, farthest_m, model):
                print(f"warning: {line}", file=sys.stderr, flush=True)
    for name, part in parts.items():
        share = part.weight / sum(other.weight for other in parts.values()) * arguments.batch
        dataset = part.dataset
        left_out = {"depth": dataset.without_depth, "a camera": dataset.without_camera}
        say(
            processes,
            f"{name}: {len(dataset)} images, {share:.3g} a step"
            + (f", {dataset.count_mounts()} with a mount" if config.mount else "")
            + "".join(
                f"; {len(names)} without {what} are left out"
                for what, names in left_out.items()
                if names
            ),
        )
    if processes.is_main:
        changes = augment_changes(arguments.augment)
        sets = describe_parts(parts, config.mount)
        terms = terms_of_leg(arguments, parts)
        images = images_of(parts)
        record_data(folder / "data.json", trainer.step, sets, changes, terms, images)
    validation = next((part.dataset for part in held_out.values()), None)
    protocol = Protocol(cap_m=arguments.cap)

    def validate(model: DepthModel) -> dict[str, float]:
        row = evaluate_model(model, validation, protocol).log_row()
        if config.mount and validation.mounts:
            untold = evaluate_model(model, validation, protocol, is_told=False).log_row()
            row |= {f"{name}_untold": untold[name] for name in ("abs_rel", "delta1")}
        return row

    def preview(model: DepthModel) -> dict[str, Any]:
        network = (config.width, config.height)
        return preview_images(
            torch_infer(model), validation, network, config.focal_px, config.channels
        )

    with StopRequest() as request:
        try:
            batches = make_batches(arguments, trainer, mixture, augment, lambda: bool(request))
        except FeaturesStopped as stopped:
            say(processes, str(stopped))
            return False
        complete = run_stage(
            trainer, batches, folder, minutes=arguments.minutes, workers=arguments.workers,
            checkpoint_steps=arguments.save_every, validate_steps=arguments.validate_every,
            validate=validate if validation is not None else None, preview=preview,
            stop=lambda: bool(request),
        )  # fmt: skip
    say(processes, f"step {trainer.step} of {settings.steps}")
    return complete


def make_batches(
    arguments: argparse.Namespace,
    trainer: Trainer,
    mixture: list[tuple[ImageFolder, float]],
    augment: AugmentConfig,
    stop: Callable[[], bool],
) -> StepBatches:
    """Return the batches of a leg: images drawn anew, or kept features of a frozen backbone.

    Raises:
        ToolError: a recording is too large, or as ``feature_batches``.
        FeaturesStopped: ``stop`` said so.
    """
    settings, config = trainer.settings, trainer.model.config
    order = {
        "seed": settings.seed * 10 + settings.stage,  # stage 2 draws other batches than stage 1
        "steps": settings.steps,
        "batch": arguments.batch,
        "rank": trainer.processes.rank,
        "world": trainer.processes.world,
    }
    kept = feature_batches(arguments, trainer, mixture, augment, order, stop)
    if kept is not None:
        return kept
    preload(mixture)
    canonical_px = config.focal_px if config.mount and settings.stage == 2 else None
    augmenter = Augmenter(config.height, config.width, augment, canonical_px)
    return StepBatches(mixture, augmenter, **order)


def say(processes: Processes, text: str) -> None:
    """Print in the first process only."""
    if processes.is_main:
        print(text, flush=True)
