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

"""Fine-tuning: a bundle's weights, trained further on data of one's own, become a new bundle."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from depthrefl_ros.engine.bundle import MODEL_WEIGHTS, Bundle
from depthrefl_ros.engine.export import export_bundle
from depthrefl_ros.network.model import DepthModel, ModelConfig
from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.export_bundle import load_run
from depthrefl_ros.tools.golden_images import with_planes
from depthrefl_ros.tools.output_folder import check_bundle_folder, set_names, training_of
from depthrefl_ros.tools.teacher_labels import add_labels, first_set
from depthrefl_ros.tools.train_data import open_parts
from depthrefl_ros.tools.train_finish import finish_checkpoint
from depthrefl_ros.tools.train_held_out import (
    check_not_held_out,
    recall_held_out,
    remember_held_out,
    split_off,
)
from depthrefl_ros.tools.train_options import STOPPED_EARLY, settings_of
from depthrefl_ros.tools.train_run import (
    check_complete,
    load_known,
    make_trainer,
    run_leg,
)
from depthrefl_ros.training.distributed import joined
from depthrefl_ros.training.protocol import Protocol
from depthrefl_ros.training.trainer import Trainer, latest_checkpoint

STAGE = "finetune"


def finetune(arguments: argparse.Namespace) -> int:
    """Train, measure, calibrate and write the bundle; return the exit code.

    Raises:
        BundleError: the bundle to start from is missing or damaged.
        ToolError: a set is too small to hold images out, the bundle's folder holds other things or
            another bundle, or the run was started from other weights, or is complete with other
            data or images held out.
    """
    arguments.model = shipped_or_path(arguments.model)
    base = Bundle.load(arguments.model)
    name = f"{base.name}_{first_set(arguments)}"
    arguments.run = arguments.run or Path("runs") / name
    add_labels(arguments, arguments.run)
    parts, held_out = open_parts(arguments.data), open_parts(arguments.val_data)
    target = arguments.bundle or arguments.run / name
    check_bundle_folder(
        target,
        f"training {base.name} on {', '.join(parts)}",
        lambda there: arguments.bundle is None or is_tuned(there, base, parts),
        arguments.overwrite,
    )
    folder = arguments.run / STAGE
    remembered, split = {}, {}
    if not held_out:
        remembered = recall_held_out(folder, parts)
        parts, split = split_off(parts, remembered)
        held_out = split
    with joined(arguments.device) as processes:
        settings = settings_of(arguments, stage=2)
        config = ModelConfig.from_dict(base.description["architecture"])
        config = replace(config, mount=config.mount or arguments.mount)
        trainer = make_trainer(
            arguments, settings, config, processes, folder,
            start=lambda model: load_bundle_weights(base, model),
        )  # fmt: skip
        check_base(base, trainer, folder)
        if arguments.val_data and trainer.step >= settings.steps:
            check_not_held_out(folder, parts)
        check_complete(arguments, trainer, parts, folder)
        if processes.is_main:
            remember_held_out(folder, remembered, split)
        complete = run_leg(arguments, trainer, parts, held_out, folder)
        if not complete:
            return STOPPED_EARLY
        if processes.is_main:
            protocol = Protocol(cap_m=arguments.cap)
            finish_checkpoint(arguments.run, latest_checkpoint(folder), held_out, protocol)
            write_bundle(arguments.run, base, target)
    return 0


def shipped_or_path(model: str) -> str:
    """Return the path, or for ``models/NAME`` without such a folder the shipped model's name."""
    path = Path(model)
    return path.name if not path.exists() and path.parent.name == "models" else model


def check_base(base: Bundle, trainer: Trainer, folder: Path) -> None:
    """Check that a run goes on from the weights that it was started from.

    Raises:
        ToolError: it was started from others, such as of a bundle that was replaced since.
    """
    digest = base.files[MODEL_WEIGHTS]
    if digest not in trainer.origin:
        raise ToolError(
            f"{folder} was started from {trainer.origin}, and {base.name} has other weights now "
            f"(SHA-256 {digest}); give another --run, or remove {folder} to begin anew"
        )


def is_tuned(description: dict[str, Any], base: Bundle, names: Iterable[str]) -> bool:
    """Return whether a bundle is one's weights trained further on sets of these names or fewer.

    Args:
        description: the content of its ``model.yaml``.
        base: from whose weights it may have been started.
        names: of data sets.
    """
    training = training_of(description)
    # A teacher is named after the weights.
    is_from_base = base.files[MODEL_WEIGHTS] in str(training.get("initial_weights"))
    return is_from_base and set_names(training) <= set(names)


def load_bundle_weights(base: Bundle, model: DepthModel) -> str:
    """Load a bundle's weights into its network; return in words where they come from."""
    load_known(base.path(MODEL_WEIGHTS), model)
    digest = base.files[MODEL_WEIGHTS]
    return f"bundle {base.name}, {MODEL_WEIGHTS} with SHA-256 {digest}"


def write_bundle(run: Path, base: Bundle, target: Path) -> None:
    """Write the bundle of a finished run, with range and self-test images of ``base``.

    The terms of the weights are those of the weights that they come from, and of their teachers.
    """
    model, told = load_run(run)
    description = {**told, "range_m": {"min": base.min_range_m, "max": base.max_range_m}}
    images = with_planes(base.golden().images[:3], model.config)
    export_bundle(model, target, description, images)
    print(f"wrote the bundle {target}; run it with model:={target.resolve()}")
