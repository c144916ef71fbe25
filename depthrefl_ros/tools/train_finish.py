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

"""The end of a run: averaged weights, their calibration and their accuracy on held-out images."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from depthrefl_ros.network.checkpoints import save_weights
from depthrefl_ros.network.model import DepthModel, ModelConfig
from depthrefl_ros.tools.command_line import ToolError, write_json
from depthrefl_ros.tools.train_average import OF_SEVERAL, load_member, newest_of
from depthrefl_ros.tools.train_data import (
    Part,
    describe,
    open_parts,
    trained_legs,
    trained_on,
    without_images,
)
from depthrefl_ros.tools.weight_terms import terms_of_legs
from depthrefl_ros.training.calibrate import fit_calibration
from depthrefl_ros.training.evaluation import evaluate_model
from depthrefl_ros.training.loop import format_figures
from depthrefl_ros.training.protocol import Protocol
from depthrefl_ros.training.whole_files import write_together

_MEASURED = (
    "validation", "validation_untold", "validation_protocol", "validation_data", "calibration_data"
)  # fmt: skip


def finish(arguments: argparse.Namespace) -> int:
    """Finish the newest checkpoint of the run (see ``newest_of``).

    Raises:
        ToolError: it has none; or what --figures-of names cannot stand for it.
    """
    held_out, run = open_parts(arguments.val_data), arguments.run
    if arguments.figures_of is None:
        report = finish_checkpoint(run, newest_of(run), held_out, Protocol(cap_m=arguments.cap))
    elif held_out:
        raise ToolError("--figures-of takes the place of --val-data; give one of them")
    else:
        report = finish_by(run, newest_of(run), arguments.figures_of)
    write_json(arguments.json, report)
    return 0


def finish_checkpoint(
    run: Path, checkpoint: Path, held_out: dict[str, Part], protocol: Protocol
) -> dict[str, Any]:
    """Write ``final.safetensors``, ``calibration.json`` and ``metrics.json``; return the last.

    The accuracy is measured on the first of the held-out sets; the calibration is fitted to all
    of them by their weights. A network that takes the mount is measured told and not told it, and
    calibrated on both, since a robot may know it or not.

    Args:
        run: the run's folder.
        checkpoint: whose averaged weights are taken.
        held_out: sets that were not trained on, by name.
        protocol: of accuracy and calibration.

    Raises:
        ToolError: there is no held-out set, or the checkpoint's record is damaged.
    """
    if not held_out:
        raise ToolError("--val-data is needed: images that were not trained on")
    model, state = load_member(checkpoint)
    legs = json.loads((checkpoint.parent / "data.json").read_text())
    for name, count in trained_on(legs, held_out).items():
        print(
            f"warning: --val-data {name} was trained on ({count}): accuracy and calibration "
            "will be too good",
            file=sys.stderr,
        )
    names_mounts = any(part.dataset.mounts for part in held_out.values())
    ways = (True, False) if model.config.mount and names_mounts else (True,)
    evaluations = [
        [evaluate_model(model, part.dataset, protocol, way, show_progress=True) for way in ways]
        for part in held_out.values()
    ]
    figures = [found.summary() for found in evaluations[0]]
    for found, words in zip(figures, ("", " without the mount"), strict=False):
        print(format_figures(found) + words)
    calibration = fit_calibration(
        [
            np.concatenate([found.pixels.error_ratio.ravel() for found in both])
            for both in evaluations
        ],
        [part.weight for part in held_out.values()],
    )
    described = {name: describe(part.dataset) for name, part in held_out.items()}
    name = next(iter(described))
    measured = {
        "validation": figures[0],
        **({"validation_untold": figures[1]} if len(ways) > 1 else {}),
        "validation_protocol": str(protocol),
        "validation_data": {"name": name, **described[name]},
        "calibration_data": {
            name: {**described[name], "weight": part.weight} for name, part in held_out.items()
        },
    }
    return write_report(run, checkpoint, model, state, measured, calibration)


def finish_by(run: Path, checkpoint: Path, measured_run: Path) -> dict[str, Any]:
    """Finish a run with the figures of another one, which has not seen the held-out images.

    Weights that were trained on all images can be measured on none of them. The same recipe on
    less data can, and what it reaches is a lower bound to what more data gives.

    Raises:
        ToolError: the other run is not finished, or has another architecture.
    """
    try:
        report = json.loads((measured_run / "metrics.json").read_text())
        calibration = json.loads((measured_run / "calibration.json").read_text())
    except (OSError, ValueError) as error:
        raise ToolError(f"{measured_run} is not finished: {error}") from error
    model, state = load_member(checkpoint)
    if ModelConfig.from_dict(report["model"]) != model.config:
        raise ToolError(f"{measured_run} has another architecture than {run}")
    taken = {name: report[name] for name in _MEASURED if name in report}
    taken["figures_of"] = {
        "weights_sha256": report["weights_sha256"],
        "training_data": report["training_data"],
    }
    return write_report(run, checkpoint, model, state, taken, calibration)


def write_report(
    run: Path,
    checkpoint: Path,
    model: DepthModel,
    state: dict[str, Any],
    measured: dict[str, Any],
    calibration: dict[str, list[float]],
) -> dict[str, Any]:
    """Write ``final.safetensors``, ``calibration.json`` and ``metrics.json``; return the last.

    All three or, on a full disk, none.

    Args:
        run: the run's folder.
        checkpoint: the weights are from.
        model: with these weights.
        state: the checkpoint's record.
        measured: figures and the data that they are from.
        calibration: of sigma.

    Raises:
        OSError: they cannot be written; those of before are as they were.
    """
    history = json.loads((checkpoint.parent / "data.json").read_text())
    if checkpoint.parent.name in OF_SEVERAL:
        legs = history
    else:
        history = trained_legs(history, state["step"])
        legs = history[-1:]
    sets = {name: told for leg in legs for name, told in leg["sets"].items()}
    report = {
        **measured,
        "training_data": sets,
        "training_history": without_images(history),
        "initial_weights": state.get("origin"),
        "steps": state["step"],
        "settings": state["settings"],
        "model": state["model"],
        "terms": terms_of_legs(history, state.get("terms")),
    }

    def write(aside: Path) -> None:
        weights = aside / "final.safetensors"
        save_weights(weights, model)
        report["weights_sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
        (aside / "calibration.json").write_text(json.dumps(calibration, indent=1))
        write_json(aside / "metrics.json", report)

    write_together(run, write)
    print(f"wrote final.safetensors, calibration.json and metrics.json in {run}")
    return report
