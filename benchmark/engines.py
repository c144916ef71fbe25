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

"""Compares every engine of this machine: each shipped model and the flagship's shape, same frames.

Each engine runs in a process of its own. An engine that this machine does not have gets a row that
says why. Absolute figures hold for an otherwise idle machine: the load is written beside them.

    python benchmark/engines.py --json engines.json --markdown engines.md
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from depthrefl_ros.engine.bundle import shipped_models
from depthrefl_ros.tools.command_line import (
    StopRequest,
    ToolError,
    add_json_argument,
    make_parser,
    positive_float,
    positive_int,
    progress,
    run_tool,
    write_json,
)
from depthrefl_ros.tools.machine import processor

ROOT = Path(__file__).resolve().parents[1]
RECORDING = ROOT / "test" / "data" / "corridor.mcap"
IMAGES = "/camera/image_raw/compressed"
PROCESS = Path(__file__).with_name("engine_process.py")
# The judge of the others comes first.
REFERENCE = ("torch cpu", "fp32")
CANDIDATES = (
    REFERENCE,
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino GPU", "fp32"),
    ("openvino GPU", "fp16"),
    ("tensorrt", "fp16"),
    ("tensorrt", "fp32"),
    ("tensorrt_rtx", "fp16"),
    ("tensorrt_rtx", "fp32"),
    ("torch cuda", "fp16"),
    ("torch cuda compiled", "fp16"),
    ("torch cuda", "fp32"),
)
WITHIN_S = 1800.0  # one process: TensorRT may build for long on a Jetson
NO_FIGURE = "\N{EN DASH}"
LONGEST_REASON = 160  # characters, in the table; the JSON has all of it


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; see ``--help``."""
    return run_tool(_parser(), argv, _run)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "engines",
        "Speed, memory, start, and error against torch float32, of every engine of this machine.",
        """
        python benchmark/engines.py --json engines.json --markdown engines.md
        python benchmark/engines.py --models indoor_tiny --flagship --rounds 500
        """,
    )
    parser.add_argument(
        "--models",
        nargs="*",
        default=shipped_models(),
        metavar="MODEL",
        help="default: all that are shipped",
    )
    parser.add_argument(
        "--flagship",
        nargs="*",
        default=["252x336"],
        metavar="HxW",
        help="input sizes of the flagship model; no value leaves it out (default: 252x336)",
    )
    parser.add_argument("--frames", type=positive_int, default=8, help="default %(default)s")
    parser.add_argument(
        "--rounds", type=positive_int, default=300, help="frames timed (default %(default)s)"
    )
    parser.add_argument(
        "--seconds", type=positive_float, default=20.0, help="time limit (default %(default)g)"
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table to FILE")
    add_json_argument(parser, "the figures")
    return parser


def _run(args: argparse.Namespace, _ros_args: list[str]) -> None:
    figures = {"machine": processor(), "rows": []}
    with tempfile.TemporaryDirectory(prefix="engines-") as name, StopRequest() as stop:
        for row in _rows(args, Path(name)):
            if stop:  # and this row's process with it, whatever it reports
                break
            figures["rows"].append(row)
            write_json(args.json, figures)  # what follows may take long
    figures["load_average_after"] = os.getloadavg()
    text = table(figures)
    print(text)
    if args.markdown:
        args.markdown.write_text(text + "\n", encoding="utf-8")
    write_json(args.json, figures)
    if stop:
        raise ToolError(f"stopped after {len(figures['rows'])} rows")


def _rows(args: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    """Return the report of one engine on one model after the other."""
    frames = folder / "frames.npy"
    np.save(frames, recorded_frames(RECORDING, args.frames))
    # A model is called what the command line calls it: two folders may have one name.
    bundles = [(model, model) for model in args.models]
    for size in args.flagship:
        name = f"flagship_{size}"
        try:
            bundles.append((name, _flagship(folder / name, size, np.load(frames))))
        except ToolError as error:  # a robot has no torch; its other engines are measured
            yield {"model": name, "engine": "any", "precision": "of it", "refused": str(error)}
    with progress(len(bundles) * len(CANDIDATES), "measuring", "engine") as bar:
        for number, (name, bundle) in enumerate(bundles):
            for engine, precision in CANDIDATES:
                request = {
                    "bundle": bundle,
                    "engine": engine,
                    "precision": precision,
                    "frames": str(frames),
                    "reference": str(folder / f"reference_{number}.npz"),
                    "is_reference": (engine, precision) == REFERENCE,
                    "cache": str(folder / "cache"),
                    "seconds": args.seconds,
                    "report": str(folder / "report.json"),
                }
                row = {"model": name, "engine": engine, "precision": precision}
                yield row | _measure(request, args.rounds)
                bar.update()


def recorded_frames(recording: Path, count: int) -> np.ndarray:
    """Return (count, H, W, 3) uint8 RGB, evenly spread over the recording. Needs no ROS.

    Raises:
        ToolError: the recording cannot be read, or has fewer frames.
    """
    from rosbags.highlevel import AnyReader
    from rosbags.typesys import Stores, get_typestore

    try:
        store = get_typestore(Stores.ROS2_HUMBLE)
        with AnyReader([recording], default_typestore=store) as reader:
            wanted = [item for item in reader.connections if item.topic == IMAGES]
            files = [
                reader.deserialize(data, item.msgtype).data
                for item, _, data in reader.messages(connections=wanted)
            ]
    except Exception as error:  # of damaged bytes rosbags makes more than its own errors
        raise ToolError(f"{recording} cannot be read: {error}") from error
    if len(files) < count:
        raise ToolError(f"{recording} has {len(files)} frames; --frames is {count}")
    chosen = np.linspace(0, len(files) - 1, count).astype(int)
    images = [cv2.imdecode(files[index], cv2.IMREAD_COLOR) for index in chosen]
    return np.stack([cv2.cvtColor(image, cv2.COLOR_BGR2RGB) for image in images])


def _flagship(bundle: Path, size: str, frames: np.ndarray) -> str:
    """Export the flagship with random weights as a bundle; returns its folder.

    Raises:
        ToolError: torch, onnx or transformers is missing, the size is none, or frames are too few.
    """
    try:
        from depthrefl_ros.engine.export import export_bundle
        from depthrefl_ros.network.flagship import random_flagship

        height, width = map(int, size.split("x"))
        model = random_flagship(height, width)
    except (ImportError, ValueError) as error:
        raise ToolError(f"the flagship at {size!r} cannot be made: {error}") from error
    if len(frames) < 3:
        raise ToolError(f"--frames is {len(frames)}; the flagship's self-test needs 3")
    golden = [cv2.resize(one, (width, height), interpolation=cv2.INTER_AREA) for one in frames[:3]]
    description = {
        "range_m": {"min": 0.4, "max": 10.0},
        "calibration": {"probability": [0.0, 1.0], "quantile": [0.0, 3.0]},
        "licence": "random weights",
    }
    export_bundle(model, bundle, description, np.stack(golden))
    return str(bundle)


def _measure(request: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Return the report of one engine; where plans are cached, of a start without and one with."""
    load = os.getloadavg()[0]
    if not request["engine"].startswith("tensorrt"):
        return {**_process(request, rounds), "load_before": load}
    first = _process(request, 0)
    if "refused" in first:
        return {**first, "load_before": load}
    again = _process(request, rounds)
    return {
        **again,
        "build_s": first["build_s"],
        "first_depth_s": first["first_depth_s"],
        "first_depth_cached_s": again["first_depth_s"],
        "load_before": load,
    }


def _process(request: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Run ``engine_process.py`` once."""
    report, asked = Path(request["report"]), Path(request["report"]).with_suffix(".request")
    report.unlink(missing_ok=True)
    asked.write_text(json.dumps({**request, "rounds": rounds, "started_s": time.monotonic()}))
    kernels = report.with_name("inductor")  # torch.compile's: each run of the benchmark is cold
    path = os.pathsep.join([str(ROOT), *sys.path])
    try:
        done = subprocess.run(
            [sys.executable, str(PROCESS), str(asked)],
            env={**os.environ, "PYTHONPATH": path, "TORCHINDUCTOR_CACHE_DIR": str(kernels)},
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
        )
    except subprocess.TimeoutExpired:
        return {"refused": f"not done within {WITHIN_S:g} s"}
    if not report.is_file():
        last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        return {"refused": f"its process ended with code {done.returncode}: {last}"}
    return json.loads(report.read_text())


COLUMNS = (
    "model | engine | frames | median | p99 | up / compute / down | memory | "
    "GPU memory, without CUDA's own | build | start | start, cached | depth error, p99 | "
    "sigma error, p99 | self-test"
)


def table(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    about = figures["machine"]
    lines = [
        f"{about['name']}, {about['cores']} cores, {' '.join(about['instructions'])}; load "
        f"{about['load_average'][0]:.1f} to {figures['load_average_after'][0]:.1f}",
        "",
        f"| {COLUMNS} |",
        "|" + "---|" * len(COLUMNS.split(" | ")),
    ]
    missing = []
    for row in figures["rows"]:
        engine = f"{row['engine']} {row['precision']}"
        if "refused" in row:
            built = f" (builds here in {row['build_s']:.1f} s)" if "build_s" in row else ""
            why = textwrap.shorten(row["refused"], LONGEST_REASON)
            missing.append(f"- {row['model']}, {engine}{built}: {why}")
            continue
        lines.append(f"| {row['model']} | {engine} | {' | '.join(_cells(row))} |")
    return "\n".join([*lines, "", "Not measured:", "", *missing] if missing else lines)


def _share(value: float | None) -> str:
    """Return a relative error in words; JSON has None for one that is no number, as bf16 makes."""
    return "not finite" if value is None else f"{value:.1e}"


def _cells(row: dict[str, Any]) -> list[str]:
    def number(name: str, form: str) -> str:
        value = row.get(name)
        return NO_FIGURE if value is None else form.format(value)

    split, error = row.get("split_ms"), row.get("error")
    parts = (split[name] for name in ("upload", "compute", "download")) if split else ()
    errors = [
        ", ".join(_share(error[f"{name}_{part}"]) for part in ("median", "p99"))
        if error
        else NO_FIGURE
        for name in ("depth", "sigma")
    ]
    return [
        number("timed_frames", "{}"),  # of fewer than 100 the 99th percentile is the slowest
        number("median_ms", "{:.1f} ms"),
        number("p99_ms", "{:.1f} ms"),
        " / ".join(f"{part:.2f}" for part in parts) or NO_FIGURE,
        number("memory_mb", "{:.0f} MB"),
        number("gpu_memory_mb", "{:.0f} MB"),
        number("build_s", "{:.1f} s"),
        number("first_depth_s", "{:.1f} s"),
        number("first_depth_cached_s", "{:.1f} s"),
        *errors,
        "fails" if "self_test_failure" in row else "passes",
    ]


if __name__ == "__main__":
    sys.exit(main())
