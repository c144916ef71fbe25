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

"""Accepts a CUDA machine within nine minutes: every engine's self-test, speed and share of the GPU.

Needs Python with torch (CUDA), onnx, transformers and what they bring; no ROS, no OpenCV, no
network. TensorRT and TensorRT-RTX are measured where they are installed, with cuda-python.

    PYTHONPATH=. python benchmark/gpu_acceptance.py --json gpu.json --markdown gpu.md
    PYTHONPATH=. python benchmark/gpu_acceptance.py --device cpu --batches 1 --rounds 3
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from depthrefl_ros.engine.base import Engine, EngineError
from depthrefl_ros.engine.bundle import INT8, Bundle, shipped_models
from depthrefl_ros.engine.self_test import self_test
from depthrefl_ros.engine.tensorrt.api import FLAVOURS, find_flavour, flavours
from depthrefl_ros.engine.torch_engine import TorchEngine
from depthrefl_ros.tools.command_line import (
    ToolError,
    add_json_argument,
    make_parser,
    positive_float,
    positive_int,
    run_tool,
    write_json,
)

FLAGSHIP = "flagship"
FLAGSHIP_SIZE = (252, 336)
PRECISIONS = ("fp32", "fp16")
COMPILE_S = 100.0  # torch.compile and TensorRT builds are not begun with less time left than this
MATRIX = {"cuda": 8192, "cpu": 1024}  # rows and columns of the product that rates the device
COLUMNS = (
    "model | engine | batch | median | p99 | images/s | up / compute / down | of the matrix rate | "
    "self-test"
)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; see ``--help``."""
    return run_tool(_parser(), argv, _run)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "gpu_acceptance",
        "Self-test, speed and share of the matrix rate of every engine of a CUDA machine.",
        """
        python benchmark/gpu_acceptance.py --json gpu.json --markdown gpu.md
        python benchmark/gpu_acceptance.py --device cpu --models indoor_nano --batches 1 --rounds 3
        """,
    )
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, or cpu for a dry run")
    parser.add_argument(
        "--models",
        nargs="*",
        default=[*shipped_models(), FLAGSHIP],
        help="default: all that are shipped, and the flagship's shape with random weights",
    )
    parser.add_argument("--batches", nargs="*", type=positive_int, default=[1, 4, 8])
    parser.add_argument("--rounds", type=positive_int, default=200, help="batches timed")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 for torch's choice")
    parser.add_argument(
        "--minutes", type=positive_float, default=8.5, help="time limit (default %(default)g)"
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table to FILE")
    add_json_argument(parser, "the figures")
    return parser


def _run(args: argparse.Namespace, _: list[str]) -> None:
    import torch

    if args.device.startswith("cuda") and not torch.cuda.is_available():
        raise ToolError(f"--device is {args.device}; torch finds no CUDA device here")
    ends_s = time.monotonic() + 60.0 * args.minutes
    is_cuda = args.device.startswith("cuda")
    figures: dict[str, Any] = {
        "device": torch.cuda.get_device_name(args.device) if is_cuda else "CPU",
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "matrix_rate": {
            p: matrix_rate(args.device, p) for p in PRECISIONS if is_cuda or p != "fp16"
        },
        "rows": [],
    }
    with tempfile.TemporaryDirectory(prefix="gpu-acceptance-") as name:
        for row in _rows(args, Path(name), figures["matrix_rate"], ends_s):
            figures["rows"].append(row)
            write_json(args.json, figures)  # what follows may take long
            print(_line(row), flush=True)
    figures["seconds"] = 60.0 * args.minutes - (ends_s - time.monotonic())
    text = table(figures)
    print(f"\n{text}")
    if args.markdown:
        args.markdown.write_text(text + "\n", encoding="utf-8")
    write_json(args.json, figures)
    failed = [row for row in figures["rows"] if "self_test_failure" in row]
    if failed:
        raise ToolError(f"{len(failed)} engines fail their self-test")


def matrix_rate(device: str, precision: str) -> float:
    """Return the device's rate of matrix products, floating-point operations per second."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False  # as in the engine
    size = MATRIX["cuda" if device.startswith("cuda") else "cpu"]
    kind = torch.float16 if precision == "fp16" else torch.float32
    left, right = (torch.rand(size, size, device=device, dtype=kind) for _ in range(2))
    seconds = []
    for _ in range(8):
        _wait(device)
        start = time.perf_counter()
        torch.mm(left, right)
        _wait(device)
        seconds.append(time.perf_counter() - start)
    return 2.0 * size**3 / min(seconds)


def _wait(device: str) -> None:
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def _rows(
    args: argparse.Namespace, folder: Path, rates: dict[str, float], ends_s: float
) -> Iterator[dict[str, Any]]:
    """Return what was measured of one engine after the other; what is most wanted comes first."""
    opened = {}
    for name in args.models:
        try:
            opened[name] = _bundle(name, folder)
        except (ImportError, ToolError) as error:
            yield {"model": name, "engine": "any", "refused": str(error)}
    work = {name: operations(bundle) for name, bundle in opened.items()}
    kinds = [("torch", precision) for precision in PRECISIONS]
    kinds += [(flavour, p) for flavour in FLAVOURS for p in ("fp16", "fp32")]
    kinds += [(flavour, "int8") for flavour in FLAVOURS]
    kinds += [("torch compiled", precision) for precision in ("fp16", "fp32")]
    for kind, precision in kinds:
        for name, bundle in opened.items():
            if precision == "int8" and INT8 not in bundle.files:
                continue
            row = {"model": name, "engine": f"{kind} {precision}"}
            if kind in FLAVOURS and not (flavour := find_flavour(kind)).version:
                yield row | {"refused": flavour.reason}
                continue
            needed_s = 0.0 if kind == "torch" else COMPILE_S
            if time.monotonic() + needed_s > ends_s:
                yield row | {"refused": f"no time left of {args.minutes:g} minutes"}
                continue
            try:
                engine = _open(kind, precision, bundle, args, folder, ends_s)
            except Exception as error:  # a broken runtime raises anything; the others go on
                yield row | {"refused": " ".join(str(error).split())}
                continue
            try:
                for batch in args.batches if kind == "torch" else args.batches[:1]:
                    yield (
                        row
                        | measure(engine, bundle, batch, args.rounds, ends_s)
                        | {
                            "batch": batch,
                            "operations": work[name] * batch,
                            "matrix_rate": rates.get(precision),
                        }
                    )
            except EngineError as error:
                yield row | {"refused": " ".join(str(error).split())}
            finally:
                engine.close()


def _bundle(name: str, folder: Path) -> Bundle:
    if name != FLAGSHIP:
        return Bundle.load(name)
    import torch

    from depthrefl_ros.engine.bundle_writer import write_bundle
    from depthrefl_ros.network.checkpoints import save_weights
    from depthrefl_ros.network.flagship import random_flagship
    from depthrefl_ros.network.inference import OUTPUT_NAMES, InferenceModel

    model = random_flagship(*FLAGSHIP_SIZE)
    images = np.random.default_rng(0).integers(0, 255, (3, *FLAGSHIP_SIZE, 3), np.uint8)
    with torch.inference_mode():
        planes = InferenceModel(model)(torch.from_numpy(images))
    graphs = {}
    if any(flavour.version for flavour in flavours()):  # a minute's work for nothing else
        with suppress(ImportError):  # onnxscript; without it there is nothing for TensorRT
            from depthrefl_ros.engine.export import make_graph

            graphs = {
                "model.onnx": make_graph(model),
                "model_fp16.onnx": make_graph(model, torch.float16),
            }
    content = {
        "kind": "canonical",
        "input": {"height": FLAGSHIP_SIZE[0], "width": FLAGSHIP_SIZE[1], "resize": "pad"},
        "outputs": list(OUTPUT_NAMES),
        "focal_px": model.config.focal_px,
        "architecture": model.config.to_dict(),
        "range_m": {"min": 0.4, "max": 10.0},
        "licence": "random weights",
    }
    golden = {"images": images, **{n: p.numpy() for n, p in zip(OUTPUT_NAMES, planes, strict=True)}}
    write_bundle(
        folder / name,
        graphs,
        golden,
        content,
        lambda part: save_weights(part / "model.safetensors", model),
    )
    return Bundle.load(str(folder / name))


def operations(bundle: Bundle) -> int:
    """Return the floating-point operations of one image: matrix products and convolutions."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from depthrefl_ros.network.inference import InferenceModel
    from depthrefl_ros.network.model import ModelConfig, create_model

    model = create_model(ModelConfig.from_dict(bundle.description["architecture"]))
    image = torch.zeros(1, bundle.height, bundle.width, bundle.channels, dtype=torch.uint8)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        InferenceModel(model)(image)
    return counter.get_total_flops()


def _open(
    kind: str,
    precision: str,
    bundle: Bundle,
    args: argparse.Namespace,
    folder: Path,
    ends_s: float,
) -> Engine:
    device = args.device
    if kind not in FLAVOURS:
        compiles = kind == "torch compiled"
        options = {"precision": precision, "compiles": compiles, "replays": not compiles}
        return TorchEngine(bundle, args.threads, device, **options)
    if not device.startswith("cuda"):
        raise EngineError(f"{kind} runs on CUDA only")
    import threading

    from depthrefl_ros.engine.tensorrt.run import TensorRTEngine
    from depthrefl_ros.engine.tensorrt.source import PlanSource
    from depthrefl_ros.engine.tensorrt.store import PlanStore

    gpu = int(device.partition(":")[2] or 0)
    plans = PlanSource(store=PlanStore(folder / "plans"))
    alarm = threading.Timer(max(ends_s - time.monotonic(), 0.0), plans.stop)
    alarm.start()
    try:
        plan = plans.get(bundle, kind, precision, gpu)
    finally:
        alarm.cancel()
    size = (bundle.height, bundle.width, bundle.outputs)
    form = {"precision": precision, "channels": bundle.channels}
    return TensorRTEngine(plan.data, kind, *size, **form, gpu=gpu)


def measure(
    engine: Engine, bundle: Bundle, batch: int, rounds: int, ends_s: float
) -> dict[str, Any]:
    """Return what one engine does with batches of this size; at least one is timed."""
    figures: dict[str, Any] = {}
    try:
        figures["self_test"] = str(self_test(engine, bundle))
    except EngineError as error:
        figures["self_test_failure"] = str(error)
    images = bundle.golden().images
    images = np.resize(images, (batch, *images.shape[1:]))
    for _ in range(3):
        engine.infer(images)
    seconds, parts = [], []
    while not seconds or (len(seconds) < rounds and time.monotonic() < ends_s):
        start = time.perf_counter()
        engine.infer(images)
        seconds.append(time.perf_counter() - start)
    for _ in range(min(rounds, 20)):
        parts.append(engine.profile(images))
    split = {name[:-2]: 1e3 * float(np.median([p[name] for p in parts])) for name in parts[0]}
    return figures | {
        "median_ms": 1e3 * float(np.median(seconds)),
        "p99_ms": 1e3 * float(np.quantile(seconds, 0.99)),
        "timed": len(seconds),
        "images_per_s": batch / float(np.median(seconds)),
        "split_ms": split,
    }


def table(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    rates = ", ".join(f"{name} {rate / 1e12:.1f}" for name, rate in figures["matrix_rate"].items())
    lines = [
        f"{figures['device']}, torch {figures['torch']}, CUDA {figures['cuda']}; matrix rate in "
        f"TFLOP/s: {rates}; {figures['seconds']:.0f} s in all",
        "",
        f"| {COLUMNS} |",
        "|" + "---|" * len(COLUMNS.split(" | ")),
        *(_line(row) for row in figures["rows"] if "refused" not in row),
    ]
    missing = [_line(row) for row in figures["rows"] if "refused" in row]
    return "\n".join([*lines, "", "Not measured:", "", *missing] if missing else lines)


def share(row: dict[str, Any]) -> float | None:
    """Return the part of the device's matrix rate that the network's arithmetic makes use of."""
    if not row.get("matrix_rate"):
        return None
    return row["operations"] / (row["split_ms"]["compute"] * 1e-3) / row["matrix_rate"]


def _line(row: dict[str, Any]) -> str:
    if "refused" in row:
        return f"- {row['model']}, {row['engine']}: {row['refused'][:200]}"
    used, split = share(row), row["split_ms"]
    cells = [
        row["model"],
        row["engine"],
        str(row["batch"]),
        f"{row['median_ms']:.2f} ms",
        f"{row['p99_ms']:.2f} ms",
        f"{row['images_per_s']:.0f}",
        " / ".join(f"{split[name]:.2f}" for name in ("upload", "compute", "download")),
        "\N{EN DASH}" if used is None else f"{used:.1%}",
        "fails" if "self_test_failure" in row else "passes",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
