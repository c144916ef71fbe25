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

"""Several runs become one: the mean of their weights, to be finished or trained further."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from depthrefl_ros.engine.bundle import MODEL_WEIGHTS, SHIPPED, Bundle, is_bundle
from depthrefl_ros.network.checkpoints import load_weights, save_weights
from depthrefl_ros.network.model import DepthModel, ModelConfig, create_model
from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.train_data import Part, open_parts, preload, trained_legs
from depthrefl_ros.tools.train_options import augment_config_of
from depthrefl_ros.tools.weight_terms import Terms, distinct, terms_of_bundle, terms_of_weights
from depthrefl_ros.training.augment import Augmenter
from depthrefl_ros.training.averaging import average_weights, renew_statistics
from depthrefl_ros.training.batches import StepBatches
from depthrefl_ros.training.trainer import keep_only, latest_checkpoint
from depthrefl_ros.training.whole_files import write_whole

AVERAGE = "average"  # folder in the run, beside stage1 and stage2
DATA = "data.json"  # beside the checkpoints: what was trained on
SIGMA = "sigma"  # folder of weights with an error head (train_sigma)
BATCH = 32  # views that go through the network at once
_STAGES = (AVERAGE, "stage2", "finetune")
OF_SEVERAL = (SIGMA, AVERAGE)  # whose data.json has everything that any of them learnt from


def average(arguments: argparse.Namespace) -> int:
    """Write ``RUN/average/checkpoint-STEPS``; return the exit code.

    Raises:
        ToolError: a member is neither a run with a checkpoint nor a bundle, is the run that the
            mean goes to, or its record is damaged.
        OSError: the mean cannot be written; an earlier one still is there.
        ValueError: two members differ in architecture by more than the mount, or a share is no
            positive number.
    """
    check_apart(arguments.run, arguments.runs)
    members = [read_member(text) for text in arguments.runs]
    shares = [member.share for member in members]
    records = [member.record for member in members]
    model = average_weights([member.model for member in members], shares)
    source = renew_from_data(arguments, model)
    steps = sum(record["step"] for record in records)
    folder = arguments.run / AVERAGE / f"checkpoint-{steps:08d}"
    total = sum(shares)
    is_even = len(set(shares)) == 1
    names = ", ".join(
        member.name if is_even else f"{share / total:.3g} {member.name}"
        for member, share in zip(members, shares, strict=True)
    )
    state = {
        "step": steps,
        "origin": f"the mean of {names}{source}",
        "settings": records[0]["settings"],
        "model": model.config.to_dict(),
        "terms": distinct(terms for member in members for terms in member.terms),
    }
    write_made(folder, model, state, [leg for member in members for leg in member.legs])
    return 0


def write_made(
    folder: Path, model: DepthModel, state: dict[str, Any], legs: list[dict[str, Any]]
) -> None:
    """Write weights that were made of others as a checkpoint, and say so.

    Args:
        folder: of the checkpoint; others beside it are removed.
        model: its weights.
        state: its record.
        legs: everything that they learnt from.

    Raises:
        OSError: they cannot be written; those of before still are there.
    """

    def write(aside: Path) -> None:
        save_weights(aside / "ema.safetensors", model)
        (aside / "state.json").write_text(json.dumps(state, indent=1))
        (aside / DATA).write_text(json.dumps(legs, indent=1))

    write_whole(folder, write)
    os.replace(folder / DATA, folder.parent / DATA)
    keep_only(folder)  # an earlier one, of other weights, would be taken for this one
    print(f"wrote {folder / 'ema.safetensors'}: {state['origin']}")


def renew_from_data(arguments: argparse.Namespace, model: DepthModel) -> str:
    """Take BatchNorm's statistics from views of ``--data``, if there are any; return it in words.

    Raises:
        ToolError: a set cannot be opened, or a recording is too large.
        DatasetError: an image cannot be read.
    """
    parts = open_parts(arguments.data)
    if not parts:
        return ""
    torch.set_num_threads(arguments.threads)
    batches = views_of(parts, arguments, model.config)
    renew_statistics(model, (batches[step]["image"] for step in range(len(batches))))
    return f", statistics of {views_in_words(batches, parts)}"


def views_of(
    parts: dict[str, Part], arguments: argparse.Namespace, config: ModelConfig
) -> StepBatches:
    """Return random views of data sets, as the options of ``add_view_options`` ask for them.

    Raises:
        ToolError: a recording is too large.
    """
    augmenter = Augmenter(
        config.height,
        config.width,
        augment_config_of(arguments.augment),
        config.focal_px if config.mount else None,
    )
    mixture = [pair for part in parts.values() for pair in part.in_bins()]
    preload(mixture)
    count = min(BATCH, arguments.images)
    return StepBatches(mixture, augmenter, arguments.seed, arguments.images // count, count)


def views_in_words(batches: StepBatches, names: Iterable[str]) -> str:
    """Return how many views of which sets there are, and by which seed."""
    return f"{len(batches) * batches.batch} views of {', '.join(names)} (seed {batches.seed})"


class Member(NamedTuple):
    """One of the networks that are averaged.

    Attributes:
        name: where it is.
        share: in the mean, relative to the others'.
        model: its weights.
        record: ``step``, ``settings`` and ``model`` as in a checkpoint's ``state.json``.
        legs: what it was trained on.
        terms: under which it may be used.
    """

    name: str
    share: float
    model: DepthModel
    record: dict[str, Any]
    legs: list[dict[str, Any]]
    terms: list[Terms]


def place_of(text: str) -> str:
    """Return RUN of ``RUN[,weight=W]``."""
    return text.rpartition(",weight=")[0] or text


def check_apart(run: Path, members: list[str]) -> None:
    """Check that no member of a mean is the run that the mean is written into.

    Raises:
        ToolError: one is; the mean would be a member of itself when the command is given again.
    """
    for text in members:
        if Path(place_of(text)).resolve() == run.resolve():
            raise ToolError(f"--run {run} is one of those to average; give a folder of its own")


def read_member(text: str) -> Member:
    """Read ``RUN[,weight=W]``, where RUN is a run's folder, a bundle's, or a shipped model's name.

    Raises:
        ToolError: it is none of these, the weight is no number, or a record is damaged.
    """
    place, written = place_of(text), text.rpartition(",weight=")[2]
    mark = place != text
    try:
        share = float(written) if mark else 1.0
    except ValueError as error:
        raise ToolError(f"{text!r}: weight is {written!r}; a number is needed") from error
    folder = Path(place)
    if not (is_bundle(folder) or is_bundle(SHIPPED / place)):
        checkpoint = newest_of(folder)
        model, record = load_member(checkpoint)
        terms = terms_of_weights(checkpoint / "ema.safetensors")
        return Member(str(checkpoint), share, model, record, legs_of(checkpoint), terms)
    bundle = Bundle.load(place)
    told = bundle.description.get("training", {})
    if "architecture" not in bundle.description or "settings" not in told:
        raise ToolError(f"{place}: was not trained by `depthrefl train`, so it cannot be averaged")
    architecture = bundle.description["architecture"]
    model = create_model(ModelConfig.from_dict(architecture))
    load_weights(bundle.path(MODEL_WEIGHTS), model)
    record = {"step": told["steps"], "settings": told["settings"], "model": architecture}
    return Member(bundle.name, share, model, record, told["history"], [terms_of_bundle(bundle)])


def newest_of(run: Path) -> Path:
    """Return the newest checkpoint of a run.

    Of its average, stage 2 or fine-tuning, in this order; with its sigma, if that was fitted to
    these weights or to another run's.

    Raises:
        ToolError: it has none.
    """
    found = (latest_checkpoint(run / stage) for stage in _STAGES)
    trained, fitted = next(filter(None, found), None), latest_checkpoint(run / SIGMA)
    if fitted is not None and (trained is None or trained.name == fitted.name):
        return fitted
    if trained is not None:
        return trained
    raise ToolError(
        f"{run} holds no checkpoint in {', '.join(_STAGES[:-1])} or {_STAGES[-1]} and is no "
        "bundle; run stage2 first"
    )


def load_member(checkpoint: Path) -> tuple[DepthModel, dict[str, Any]]:
    """Return the averaged weights of a checkpoint as a network, and its record.

    Raises:
        CheckpointError: weights and record do not fit.
        ToolError: the record is damaged.
    """
    try:
        record = json.loads((checkpoint / "state.json").read_text())
        model = create_model(ModelConfig.from_dict(record["model"]))
    except (KeyError, ValueError) as error:
        raise ToolError(f"{checkpoint / 'state.json'} is damaged: {error!r}") from error
    load_weights(checkpoint / "ema.safetensors", model)
    return model, record


def legs_of(checkpoint: Path) -> list[dict[str, Any]]:
    """Return what a checkpoint was trained on, each leg with its weights' hash and origin."""
    record = json.loads((checkpoint / "state.json").read_text())
    history = json.loads((checkpoint.parent / DATA).read_text())
    if checkpoint.parent.name in OF_SEVERAL:
        return history
    digest = hashlib.sha256((checkpoint / "ema.safetensors").read_bytes()).hexdigest()
    told = {
        "run": checkpoint.parent.parent.name,
        "steps": record["step"],
        "seed": record["settings"]["seed"],
        "initial_weights": record.get("origin"),
        "weights_sha256": digest,
    }
    return [{**leg, **told} for leg in trained_legs(history, record["step"])]
