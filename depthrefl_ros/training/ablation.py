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
best of the others are trained together with the backbone. Every unit (head, seed, rate) leaves a
file, so that the same command continues a run that was stopped.

Nothing here needs torch until it runs.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from depthrefl_ros.training.ablation_table import markdown, summarise
from depthrefl_ros.training.datasets import DatasetError, parse_data_option

if TYPE_CHECKING:
    from torch import nn

    from depthrefl_ros.network.model import DepthModel
    from depthrefl_ros.training.train_settings import TrainSettings

# The whole networks with each head by name, to engine milliseconds by name.
TimeEngines = Callable[[dict[str, "nn.Module"]], dict[str, float]]
JOINT_OTHERS = 2  # ancestors that are trained jointly beside the reflector


@dataclass(frozen=True)
class Ablation:
    """What all units of an ablation share; plain values, since it goes to other processes.

    Attributes:
        run: folder of the units and tables.
        backbone: safetensors of a whole model, with its ``state.json`` beside it if it has one.
        data: training images, PATH[,list=FILE][,kind=K].
        val_data: images to measure on.
        batch: views or images a step.
        key: of the cached features.
    """

    run: Path
    backbone: Path
    data: str
    val_data: str
    batch: int
    key: str


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


def add_ablation_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``train --ablation``."""
    add = parser.add_argument
    add("--run", type=Path, required=True, metavar="FOLDER", help="where features and tables go")
    add("--backbone", type=Path, required=True, metavar="FILE",
        help="safetensors of a network after stage 1")  # fmt: skip
    add("--data", required=True, metavar="DATA", help="training images, PATH[,list=FILE][,kind=K]")
    add("--val-data", required=True, metavar="DATA", help="images to measure the heads on")
    add("--heads", help="only these, with commas between (default all)")
    add("--views", type=int, default=6, help="augmented views an image (default 6)")
    add("--steps", type=int, default=600, help="of every head on the features (default 600)")
    add("--batch", type=int, default=8, help="images a step (default 8)")
    add("--seeds", type=int, default=3, help="runs of every head (default 3)")
    add("--rates", default="0.002", metavar="R[,R]",
        help="peak learning rates; of several, each head takes the one with the smaller AbsRel of "
        "its first seed (default 0.002)")  # fmt: skip
    add("--joint-steps", type=int, default=0,
        help="then train the reflector and the two best others with the backbone (default 0: "
        "not)")  # fmt: skip
    add("--joint-heads", help="these instead, with commas between")
    add("--joint-seeds", type=int, default=1, help="runs of each of them (default 1)")
    add("--joint-rate", type=float, default=1e-3, help="its peak learning rate (default 0.001)")
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
    units = [Unit(head, 1, rate, arguments.steps) for head in heads for rate in rates]
    first = run_units(ablation, units, arguments.jobs)
    rate_of = {head: best_rate(first, head) for head in heads}
    units = [
        Unit(head, seed, rate_of[head], arguments.steps)
        for seed in range(1, arguments.seeds + 1)
        for head in heads
    ]
    report = {"features": summarise(run_units(ablation, units, arguments.jobs))}
    engine_ms = time_engines(networks(ablation, heads)) if time_engines else {}
    write_report(ablation, arguments, report, engine_ms)
    if arguments.joint_steps:
        chosen = joint_heads(arguments, report["features"], heads)
        units = [
            Unit(head, seed, arguments.joint_rate, arguments.joint_steps, joint=True)
            for seed in range(1, arguments.joint_seeds + 1)
            for head in chosen
        ]
        report["joint"] = summarise(run_units(ablation, units, arguments.jobs))
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
    for name in ("views", "steps", "batch", "seeds", "joint_seeds", "jobs"):
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
    from depthrefl_ros.training.features import make_recipe, open_features, recipe_key

    _prepare_process()
    model = load_backbone(arguments.backbone)
    dataset = parse_data_option(arguments.data).open()
    held_out = parse_data_option(arguments.val_data).open()
    if dataset.root == held_out.root and set(dataset.names) & set(held_out.names):
        raise DatasetError(f"{arguments.val_data}: holds images of --data; they must be apart")
    recipe = make_recipe(model, dataset, arguments.views)
    open_features(arguments.run / "features", model, dataset, recipe)
    return Ablation(
        arguments.run, arguments.backbone, arguments.data, arguments.val_data, arguments.batch,
        recipe_key(recipe),
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


def networks(ablation: Ablation, heads: list[str]) -> dict[str, nn.Module]:
    """Return the whole network with each head; its weights do not matter for its speed."""
    from depthrefl_ros.training.head_training import new_head

    model = load_backbone(ablation.backbone)
    return {head: new_head(head, model) for head in heads}


def run_units(ablation: Ablation, units: list[Unit], jobs: int) -> list[dict[str, Any]]:
    """Train what has no result yet, ``jobs`` at a time; return the results in order."""
    missing = [unit for unit in units if read_result(ablation, unit) is None]
    (ablation.run / "units").mkdir(parents=True, exist_ok=True)
    if jobs == 1:
        for unit in missing:
            run_unit(ablation, unit)
    elif missing:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(jobs, len(missing)), context) as pool:
            running = [pool.submit(run_unit, ablation, unit) for unit in missing]
            try:
                for future in as_completed(running):
                    future.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    return [read_result(ablation, unit) for unit in units]


def read_result(ablation: Ablation, unit: Unit) -> dict[str, Any] | None:
    """Return a unit's result if it is there and of the same features, data and batch."""
    path = unit.path(ablation.run)
    if not path.is_file():
        return None
    result = json.loads(path.read_text())
    return result if result["shared"] == shared_settings(ablation) else None


def shared_settings(ablation: Ablation) -> dict[str, Any]:
    """Return what a unit's result depends on besides the unit."""
    return {"key": ablation.key, "val_data": ablation.val_data, "batch": ablation.batch}


def run_unit(ablation: Ablation, unit: Unit) -> None:
    """Train and measure one head, and write its result whole."""
    from depthrefl_ros.training import head_training
    from depthrefl_ros.training.heads import DepthRegression, LogDepthRegression

    model, dataset, held_out, cache = _opened(ablation)
    settings = settings_of(unit)
    if unit.joint:
        trained = head_training.train_jointly(unit.head, model, dataset, settings, ablation.batch)
    else:
        trained = head_training.train_on_features(unit.head, model, cache, settings, ablation.batch)
    measured = head_training.measure(trained.model, held_out)
    has_sigma = not isinstance(trained.model.head, (LogDepthRegression, DepthRegression))
    result = {
        **asdict(unit),
        "shared": shared_settings(ablation),
        "parameters": sum(p.numel() for p in trained.model.head.parameters()),
        "has_sigma": has_sigma,
        "step_s": trained.step_s,
        **measured,
    }
    path = unit.path(ablation.run)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(result))
    part.replace(path)
    mean = sum(measured["values"]["abs_rel"]) / len(measured["names"])
    print(f"{path.stem}: AbsRel {mean:.4f}, {1000 * trained.step_s:.0f} ms a step", flush=True)


def settings_of(unit: Unit) -> TrainSettings:
    """Return how a unit is trained."""
    from depthrefl_ros.training.train_settings import TrainSettings

    return TrainSettings(
        stage=2, steps=unit.steps, learning_rate=unit.rate, seed=unit.seed,
        warmup_steps=max(1, min(100, unit.steps // 10)),
    )  # fmt: skip


@lru_cache(maxsize=1)
def _opened(ablation: Ablation):
    """Return model, training images, validation images and features, opened once a process."""
    from depthrefl_ros.training.features import FeatureCache

    _prepare_process()
    return (
        load_backbone(ablation.backbone),
        parse_data_option(ablation.data).open(),
        parse_data_option(ablation.val_data).open(),
        FeatureCache(ablation.run / "features"),
    )


def _prepare_process() -> None:
    """Set up one thread: two processes of one are faster than one of two, the more so if shared."""
    import cv2
    import torch

    from depthrefl_ros.training.loop import keep_freed_memory

    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    keep_freed_memory()


def best_rate(results: list[dict[str, Any]], head: str) -> float:
    """Return the rate with the smallest mean AbsRel among a head's results."""
    own = [result for result in results if result["head"] == head]
    return min(own, key=lambda result: sum(result["values"]["abs_rel"]))["rate"]


def joint_heads(
    arguments: argparse.Namespace, summary: dict[str, dict[str, Any]], heads: list[str]
) -> list[str]:
    """Return the heads that are trained jointly: those asked for, or reflector and two others."""
    from depthrefl_ros.training.heads import ANCESTORS

    if arguments.joint_heads:
        return arguments.joint_heads.split(",")
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
        f"{titles[kind]}:\n\n{markdown(summary, engine_ms)}" for kind, summary in report.items()
    ]
    (ablation.run / "ablation.md").write_text("\n".join(parts))
