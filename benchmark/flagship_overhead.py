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

"""Measures what the reflector adds to the flagship: OpenVINO, with and without, in one run.

Three parts of one network with random weights run in turn, frame by frame, so that whatever else
the machine does meets all of them alike: the neck (encoder and DPT neck alone), stage 1 (the neck
and its relative head), and the whole with the reflector.

    python benchmark/flagship_overhead.py --json overhead.json
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from depthrefl_ros.engine.base import EngineMissingError
from depthrefl_ros.engine.openvino_engine import openvino_core
from depthrefl_ros.tools.command_line import (
    StopRequest,
    ToolError,
    add_json_argument,
    make_parser,
    positive_int,
    progress,
    run_tool,
    write_json,
)
from depthrefl_ros.tools.machine import processor

SIZES = ("252x336", "518x518")
PRECISIONS = ("f32", "bf16")
# Graph -> which outputs of the exported file it computes.
GRAPHS = {"neck": ["neck"], "stage1": ["relative"], "whole": ["depth", "sigma", "relative"]}
# Precision -> the largest share of the neck's time that the reflector may add, and the aim.
ALLOWED = {"f32": (0.10, 0.05), "bf16": (0.20, 0.10)}
WARM_UP = 3  # rounds
RESAMPLES = 2000  # of the bootstrap


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; see ``--help``."""
    return run_tool(_parser(), argv, _run)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "flagship_overhead",
        "What the reflector adds to ViT-S, DPT neck and relative head, with OpenVINO on the CPU.",
        "python benchmark/flagship_overhead.py --rounds 40 --json overhead.json",
    )
    parser.add_argument("--rounds", type=positive_int, default=30, help="default %(default)s")
    parser.add_argument("--threads", type=positive_int, help="default: OpenVINO's own choice")
    parser.add_argument(
        "--sizes", nargs="+", default=SIZES, metavar="HxW", help="default: %(default)s"
    )
    add_json_argument(parser, "the figures")
    return parser


def _run(args: argparse.Namespace, _ros_args: list[str]) -> None:
    figures = {"machine": processor(), "rounds": args.rounds, "sizes": {}}
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder, StopRequest() as stop:
        for size in args.sizes:
            height, width = _size(size)
            path = Path(folder) / f"{size}.onnx"
            export_flagship(path, height, width)
            for precision in precisions():
                measured = measure(path, precision, height, width, args, stop)
                figures["sizes"].setdefault(size, {})[precision] = measured
    figures["load_average_after"] = os.getloadavg()
    print(table(figures))
    write_json(args.json, figures)


def precisions() -> list[str]:
    """Return those of ``PRECISIONS`` in which this processor computes; OpenVINO refuses none.

    Raises:
        ToolError: OpenVINO is not installed.
    """
    try:
        core = openvino_core()
    except EngineMissingError as error:
        raise ToolError(str(error)) from error
    able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return [name for name in PRECISIONS if name == "f32" or name.upper() in able]


def _size(text: str) -> tuple[int, int]:
    try:
        height, width = map(int, text.split("x"))
    except ValueError as error:
        raise ToolError(f"size is {text!r}; HEIGHTxWIDTH in pixels is needed") from error
    return height, width


def export_flagship(path: Path, height: int, width: int) -> None:
    """Write the network as one ONNX file that takes bytes, as the engine does.

    Beside the network's own outputs it has ``neck``: (1, h, w) float32, a mean over the channels,
    so that copying an output of 64 channels is no part of the neck's time.

    Args:
        path: the file.
        height: pixels.
        width: pixels.

    Raises:
        ToolError: torch, onnx or transformers is missing, or the size is none.
    """
    try:
        import torch

        from depthrefl_ros.engine.export import OPSET
        from depthrefl_ros.network.flagship import random_flagship
        from depthrefl_ros.network.inference import OUTPUT_NAMES, InferenceModel

        inference = InferenceModel(random_flagship(height, width)).eval()
    except (ImportError, ValueError) as error:
        raise ToolError(f"the flagship at {height}x{width} cannot be made: {error}") from error
    backbone = inference.model.backbone
    backbone.prepare_for_export()

    class WithNeck(torch.nn.Module):
        """The network, and its neck once more: who asks for one output computes no other."""

        def __init__(self):
            super().__init__()
            self.inference = inference

        def forward(self, images):
            image = backbone.normalise(images.float().permute(0, 3, 1, 2))
            return *self.inference(images), backbone.neck(image)[2].mean(1)

    program = torch.onnx.export(
        WithNeck().eval(),
        (torch.zeros(1, height, width, 3, dtype=torch.uint8),),
        output_names=[*OUTPUT_NAMES, "neck"],
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    program.save(path)


def measure(
    path: Path,
    precision: str,
    height: int,
    width: int,
    args: argparse.Namespace,
    stop: StopRequest,
) -> dict[str, float]:
    """Return the milliseconds of each graph and the reflector's share, medians over the rounds.

    Args:
        path: of ``export_flagship``.
        precision: ``f32`` or ``bf16``, OpenVINO's inference precision.
        height: pixels.
        width: pixels.
        args: the command's arguments.
        stop: asked between the rounds.
    """
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    if args.threads:
        settings["INFERENCE_NUM_THREADS"] = str(args.threads)
    core = openvino_core()
    requests = []
    for outputs in GRAPHS.values():
        model = core.read_model(path)
        part = openvino.Model([model.output(name) for name in outputs], model.get_parameters())
        requests.append(core.compile_model(part, "CPU", settings).create_infer_request())
    image = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
    times_ms = np.zeros((args.rounds, len(GRAPHS)))
    label = f"{height}x{width} {precision}"
    with progress(args.rounds, label, "rounds") as bar:
        for number in range(-WARM_UP, args.rounds):
            if stop:
                raise ToolError("stopped")
            # Each round begins with another graph: none always follows the same one.
            for index in np.roll(np.arange(len(GRAPHS)), number):
                start = time.perf_counter()
                requests[index].infer([image], share_inputs=True)
                if number >= 0:
                    times_ms[number, index] = (time.perf_counter() - start) * 1e3
            bar.update(number >= 0)
    return summarise(times_ms)


def summarise(times_ms: np.ndarray) -> dict[str, float]:
    """Return the figures of one size and precision.

    Args:
        times_ms: (rounds, 3) float64, columns in the order of ``GRAPHS``.

    Returns:
        ``GRAPH_ms``: median; ``added_ms``: median over the rounds of whole minus stage 1;
        ``over_stage1`` and ``over_neck``: this as a share of stage 1 and of the neck alone;
        ``over_neck_low`` and ``over_neck_high``: 90 % bootstrap interval of the latter.
    """
    figures = {f"{name}_ms": float(np.median(times_ms[:, i])) for i, name in enumerate(GRAPHS)}
    # Within a round, so that what slows a whole round down cancels.
    differences = times_ms[:, 2] - times_ms[:, 1]
    added = float(np.median(differences))
    draws = np.random.default_rng(0).choice(differences, (RESAMPLES, len(differences)))
    low, high = np.quantile(np.median(draws, axis=1), (0.05, 0.95)) / figures["neck_ms"]
    return {
        **figures,
        "added_ms": added,
        "over_stage1": added / figures["stage1_ms"],
        "over_neck": added / figures["neck_ms"],
        "over_neck_low": float(low),
        "over_neck_high": float(high),
    }


def table(figures: dict) -> str:
    """Return the figures as Markdown."""
    about = figures["machine"]
    rows = [
        f"{about['name']}, {about['cores']} cores, {' '.join(about['instructions'])}, "
        f"load {about['load_average'][0]:.1f} to {figures['load_average_after'][0]:.1f}; "
        f"medians of {figures['rounds']} rounds",
        "",
        "| size | precision | neck | + relative head | + reflector | adds | of both | of neck | "
        "verdict |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for size, precisions in figures["sizes"].items():
        for precision, one in precisions.items():
            times = " | ".join(f"{one[f'{name}_ms']:.1f} ms" for name in GRAPHS)
            interval = f"({one['over_neck_low']:.1%} to {one['over_neck_high']:.1%})"
            shares = f"{one['over_stage1']:.1%} | {one['over_neck']:.1%} {interval}"
            row = f"{size} | {precision} | {times} | {one['added_ms']:.1f} ms | {shares}"
            rows.append(f"| {row} | {verdict(one['over_neck'], precision)} |")
    return "\n".join(rows)


def verdict(share: float, precision: str) -> str:
    """Tell whether what the reflector adds to the neck is within its limit and its goal."""
    limit, goal = ALLOWED[precision]
    if share > limit:
        return f"limit {limit:.0%} missed"
    return f"within the goal of {goal:.0%}" if share <= goal else f"within the limit of {limit:.0%}"


if __name__ == "__main__":
    sys.exit(main())
