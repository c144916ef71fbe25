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

"""The reflector against the heads it descends from, on one trained backbone.

The backbone's features of a few augmented views an image are cached once; every head is trained on
them with the same steps, batches and optimiser and several seeds. Then the reflector and the two
best of the others, or those that were asked for, are trained together with the backbone. Every unit
(head, seed, rate) leaves its figures and weights, so that the same command continues a run that was
stopped.

Nothing here needs torch until it runs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from depthrefl_ros.training.ablation_table import markdown, summarise_sets
from depthrefl_ros.training.ablation_units import (
    Ablation,
    Unit,
    load_backbone,
    open_sets,
    prepare_process,
    run_units,
)
from depthrefl_ros.training.datasets import DatasetError
from depthrefl_ros.training.datasets.image_folder import images_by_root, shared_names

if TYPE_CHECKING:
    from torch import nn

# The whole networks with each head by name, to engine milliseconds by name.
TimeEngines = Callable[[dict[str, "nn.Module"]], dict[str, float]]
JOINT_OTHERS = 2  # ancestors that are trained jointly beside the reflector


def add_ablation_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``train --ablation``."""
    add = parser.add_argument
    add("--run", type=Path, required=True, metavar="FOLDER", help="where features and tables go")
    add("--backbone", type=Path, required=True, metavar="FILE",
        help="safetensors of a network after stage 1")  # fmt: skip
    add("--data", action="append", required=True, metavar="DATA",
        help="training images, PATH[,list=FILE][,weight=W][,kind=K]; may be repeated")  # fmt: skip
    add("--val-data", action="append", required=True, metavar="DATA",
        help="images to measure on; may be repeated, and the first set chooses")  # fmt: skip
    add("--heads", help="only these heads, separated by commas (default all)")
    add("--views", type=int, default=6, help="augmented views per image (default 6)")
    add("--steps", type=int, default=600,
        help="steps per head on the features (default 600); 0: only joint training")  # fmt: skip
    add("--batch", type=int, default=8, help="images per step (default 8)")
    add("--seeds", type=int, default=3, help="runs of every head (default 3)")
    add("--rates", default="0.002", metavar="R[,R]",
        help="peak learning rates; of several, each head takes the one with the smaller AbsRel of "
        "its first seed (default 0.002)")  # fmt: skip
    add("--joint-steps", type=int, default=0,
        help="then train the reflector and the two best others with the backbone (default 0: "
        "not)")  # fmt: skip
    add("--joint-heads", help="train these heads instead of those, separated by commas")
    add("--joint-seeds", type=int, default=1, help="joint runs of each head (default 1)")
    add("--joint-rate", type=float, default=1e-3, help="joint peak learning rate (default 0.001)")
    add("--jobs", type=int, default=2, help="heads trained at once, one thread each (default 2)")


def run_ablation(arguments: argparse.Namespace, time_engines: TimeEngines | None = None) -> int:
    """Train what is missing, and write ``ablation.json`` and ``ablation.md`` into the run folder.

    Args:
        arguments: of ``add_ablation_options``.
        time_engines: measures engine time; None leaves it out.

    Raises:
        ValueError: an option, data set or checkpoint is wrong.
        TrainError: a head's loss is not finite.
    """
    from depthrefl_ros.training.heads import HEADS

    heads = arguments.heads.split(",") if arguments.heads else list(HEADS)
    rates = _checked(arguments, heads, list(HEADS))
    ablation = prepare(arguments)
    report, engine_ms = {}, {}
    if arguments.steps:
        units = [Unit(head, 1, rate, arguments.steps) for head in heads for rate in rates]
        first = run_units(ablation, units, arguments.jobs)
        rate_of = {head: best_rate(first, head) for head in heads}
        units = [
            Unit(head, seed, rate_of[head], arguments.steps)
            for seed in range(1, arguments.seeds + 1)
            for head in heads
        ]
        report["features"] = summarise_sets(run_units(ablation, units, arguments.jobs))
    if arguments.joint_steps:
        chosen = joint_heads(arguments, report.get("features", {}), heads)
        units = [
            Unit(head, seed, arguments.joint_rate, arguments.joint_steps, joint=True)
            for seed in range(1, arguments.joint_seeds + 1)
            for head in chosen
        ]
        report["joint"] = summarise_sets(run_units(ablation, units, arguments.jobs))
    if time_engines:
        trained = [head for kind in report.values() for head in next(iter(kind.values()))]
        engine_ms = time_engines(networks(ablation, list(dict.fromkeys(trained))))
    write_report(ablation, arguments, report, engine_ms)
    print((ablation.run / "ablation.md").read_text())
    return 0


def _checked(arguments: argparse.Namespace, heads: list[str], known: list[str]) -> list[float]:
    """Return the rates; raises ValueError for an option that cannot be."""
    joint = arguments.joint_heads.split(",") if arguments.joint_heads else []
    for option, named in (("--heads", heads), ("--joint-heads", joint)):
        unknown = [head for head in named if head not in known]
        if unknown:
            raise ValueError(f"{option} {','.join(unknown)}: known are {', '.join(known)}")
    if not arguments.steps and not (joint and arguments.joint_steps):
        raise ValueError("--steps 0: only what is joint; give --joint-steps and --joint-heads")
    if arguments.steps < 0:
        raise ValueError(f"--steps {arguments.steps}: at least 0")
    for name in ("views", "batch", "seeds", "joint_seeds", "jobs"):
        if getattr(arguments, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} {getattr(arguments, name)}: at least 1")
    try:
        rates = [float(text) for text in arguments.rates.split(",")]
    except ValueError as error:
        raise ValueError(f"--rates {arguments.rates}: numbers with commas between") from error
    if min(rates) <= 0:
        raise ValueError(f"--rates {arguments.rates}: rates are above 0")
    return rates


def prepare(arguments: argparse.Namespace) -> Ablation:
    """Check the data, cache the features, and return what the units share."""
    from depthrefl_ros.training.features import (
        make_recipe,
        open_features,
        recipe_key,
        state_digest,
    )

    prepare_process()
    model = load_backbone(arguments.backbone)
    parts, held_out = open_sets(arguments.data), open_sets(arguments.val_data)
    trained = images_by_root(dataset for dataset, _ in parts.values())
    for name, (measured, _) in held_out.items():
        if shared := shared_names(measured, trained):
            raise DatasetError(
                f"--val-data {name}: {len(shared)} of its {len(measured)} images are images of "
                "--data; they must be apart"
            )
    digest = state_digest(model.backbone)
    keys = []
    for name, (dataset, weight) in parts.items():
        recipe = make_recipe(model, dataset, arguments.views, digest=digest)
        keys.append(f"{recipe_key(recipe)} {weight:g}")
        if arguments.steps:
            open_features(arguments.run / "features" / name, model, dataset, recipe)
    return Ablation(
        arguments.run, arguments.backbone, tuple(arguments.data), tuple(arguments.val_data),
        arguments.batch, hashlib.sha256("\n".join(keys).encode()).hexdigest(),
        tuple(measured.fingerprint() for measured, _ in held_out.values()),
    )  # fmt: skip


def networks(ablation: Ablation, heads: list[str]) -> dict[str, nn.Module]:
    """Return the whole network with each head; its weights do not matter for its speed."""
    from depthrefl_ros.training.head_training import new_head

    model = load_backbone(ablation.backbone)
    return {head: new_head(head, model) for head in heads}


def best_rate(results: list[dict[str, Any]], head: str) -> float:
    """Return the rate with the smallest mean AbsRel on the first set among a head's results."""
    own = [result for result in results if result["head"] == head]

    def error(result: dict[str, Any]) -> float:
        return sum(next(iter(result["sets"].values()))["values"]["abs_rel"])

    return min(own, key=error)["rate"]


def joint_heads(
    arguments: argparse.Namespace, of_sets: dict[str, dict[str, Any]], heads: list[str]
) -> list[str]:
    """Return the heads that are trained jointly: those asked for, or reflector and two others.

    The two are chosen by what ``summarise_sets`` says of the first set.
    """
    from depthrefl_ros.training.heads import ANCESTORS

    if arguments.joint_heads:
        return arguments.joint_heads.split(",")
    summary = next(iter(of_sets.values()))
    reflector = [head for head in heads if head == "reflector"]
    return reflector + best_heads(summary, [head for head in heads if head in ANCESTORS])


def best_heads(summary: dict[str, dict[str, Any]], candidates: list[str]) -> list[str]:
    """Return the ``JOINT_OTHERS`` candidates with the smallest AbsRel."""
    ranked = sorted(candidates, key=lambda head: summary[head]["figures"]["abs_rel"]["mean"])
    return ranked[:JOINT_OTHERS]


def write_report(
    ablation: Ablation,
    arguments: argparse.Namespace,
    report: dict[str, Any],
    engine_ms: dict[str, float],
) -> None:
    """Write ``ablation.json`` and ``ablation.md``."""
    options = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in vars(arguments).items()
    }
    content = {"options": options, "engine_ms": engine_ms, **report}
    (ablation.run / "ablation.json").write_text(json.dumps(content, indent=1))
    titles = {
        "features": f"On cached features, {arguments.steps} steps, {arguments.seeds} seeds",
        "joint": f"With the backbone, {arguments.joint_steps} steps, {arguments.joint_seeds} seeds",
    }
    parts = [
        f"{titles[kind]}, measured on {name}:\n\n{markdown(summary, engine_ms)}"
        for kind, of_sets in report.items()
        for name, summary in of_sets.items()
    ]
    (ablation.run / "ablation.md").write_text("\n".join(parts))
