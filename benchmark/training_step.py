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

"""Times training steps: launched kernel by kernel, and on CUDA replayed as one graph.

The batches are ready before: what loaders cost is told by ``data_s`` in a run's ``log.csv``. Both
ways begin with the same weights and see the same batch, so their losses must agree.

    PYTHONPATH=. python benchmark/training_step.py --markdown training.md
    PYTHONPATH=. python benchmark/training_step.py --device cpu --batches 2 --rounds 2
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.network.checkpoints import load_weights
from depthrefl_ros.network.model import ModelConfig, create_model
from depthrefl_ros.tools.command_line import (
    ToolError,
    add_json_argument,
    make_parser,
    positive_int,
    run_tool,
    write_json,
)
from depthrefl_ros.training.distributed import Processes
from depthrefl_ros.training.train_settings import TrainSettings
from depthrefl_ros.training.trainer import Trainer

COLUMNS = "model | batch | step | p99 | images/s | largest difference of a loss"
LARGEST_DIFFERENCE = 0.02  # bfloat16 has eight bits
FEW_STEPS = 3  # the first ones choose kernels and capture


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; see ``--help``."""
    return run_tool(_parser(), argv, _run)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "training_step",
        "Time of a training step of stage 2, launched kernel by kernel and replayed as a graph.",
        """
        python benchmark/training_step.py --batches 64 128 --markdown training.md
        python benchmark/training_step.py --device cpu --models indoor_nano --batches 2 --rounds 2
        """,
    )
    parser.add_argument("--device", default="cuda", help="cuda, or cpu for a dry run")
    parser.add_argument(
        "--models", nargs="*", default=["indoor_tiny", "indoor_nano"], help="default: both of ours"
    )
    parser.add_argument("--batches", nargs="*", type=positive_int, default=[8, 64, 128])
    parser.add_argument("--rounds", type=positive_int, default=30, help="steps timed")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table to FILE")
    add_json_argument(parser, "the figures")
    return parser


def _run(args: argparse.Namespace, _: list[str]) -> None:
    if args.device == "cuda" and not torch.cuda.is_available():
        raise ToolError("--device is cuda; torch finds no CUDA device here")
    device = torch.device(args.device)
    is_cuda = device.type == "cuda"
    rows: list[dict[str, Any]] = []
    for name in args.models:
        bundle = Bundle.load(name)
        for count in args.batches:
            batch = make_batch(bundle, count, is_cuda)
            eager = measure(bundle, device, batch, args.rounds, False)
            rows.append({"model": name, "batch": count, "way": "launched", **eager})
            print(line(rows[-1]), flush=True)
            if is_cuda:
                replayed = measure(bundle, device, batch, args.rounds, True)
                apart = difference(eager["losses"], replayed["losses"])
                row = {"model": name, "batch": count, "way": "replayed", **replayed}
                rows.append(row | {"difference": apart})
                print(line(rows[-1]), flush=True)
            write_json(args.json, {"device": _device_name(device), "rows": rows})
    text = "\n".join(
        [f"| {COLUMNS} |", "|" + "---|" * len(COLUMNS.split(" | ")), *(line(row) for row in rows)]
    )
    if args.markdown:
        args.markdown.write_text(f"{_device_name(device)}, bfloat16\n\n{text}\n", encoding="utf-8")
    wrong = [row for row in rows if row.get("difference", 0.0) > LARGEST_DIFFERENCE]
    if wrong:
        raise ToolError(f"{len(wrong)} replayed steps have other losses than launched ones")


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def make_batch(bundle: Bundle, count: int, is_pinned: bool) -> dict[str, Tensor]:
    """Return a batch of the bundle's golden images, whose truth is their golden depth."""
    golden = bundle.golden()
    images = np.resize(golden.images, (count, *golden.images.shape[1:]))
    depth_m = np.resize(golden.depth, (count, *golden.depth.shape[1:]))
    batch = {
        "image": torch.from_numpy(images.transpose(0, 3, 1, 2).copy()),
        "depth_m": torch.from_numpy(depth_m.astype(np.float32)),
        "focal_px": torch.full((count,), float(bundle.description["focal_px"])),
    }
    return {name: value.pin_memory() for name, value in batch.items()} if is_pinned else batch


def measure(
    bundle: Bundle, device: torch.device, batch: dict[str, Tensor], rounds: int, replays: bool
) -> dict[str, Any]:
    """Return seconds of a step, and the losses of the first ones.

    Raises:
        ToolError: it was to be replayed, and could not be captured.
    """
    model = create_model(ModelConfig.from_dict(bundle.description["architecture"]))
    load_weights(bundle.path("model.safetensors"), model)
    settings = TrainSettings(stage=2, steps=FEW_STEPS + rounds, learning_rate=1e-5)
    trainer = Trainer(model, settings, Processes(device=device), replays=replays)
    start = time.perf_counter()
    losses = [trainer.train_step(batch)["loss"] for _ in range(FEW_STEPS)]
    first_s, seconds = time.perf_counter() - start, []
    for _ in range(rounds):
        start = time.perf_counter()
        trainer.train_step(batch)  # ends when its losses are known
        seconds.append(time.perf_counter() - start)
    if replays and not trainer.is_replayed:
        raise ToolError("the step could not be captured as a CUDA graph")
    return {
        "median_ms": 1e3 * float(np.median(seconds)),
        "p99_ms": 1e3 * float(np.quantile(seconds, 0.99)),
        "images_per_s": len(batch["image"]) / float(np.median(seconds)),
        "first_s": first_s,
        "losses": losses,
    }


def difference(losses: list[float], others: list[float]) -> float:
    """Return the largest relative difference between two runs' losses."""
    return max(abs(a - b) / abs(a) for a, b in zip(losses, others, strict=True))


def line(row: dict[str, Any]) -> str:
    """Return a row of the table."""
    apart = f"{row['difference']:.1e}" if "difference" in row else "\N{EN DASH}"
    cells = [
        f"{row['model']}, {row['way']}",
        str(row["batch"]),
        f"{row['median_ms']:.1f} ms",
        f"{row['p99_ms']:.1f} ms",
        f"{row['images_per_s']:.0f}",
        apart,
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
