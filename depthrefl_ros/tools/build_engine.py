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

"""Builds an engine ahead of time, so that the node starts at once; shows and clears the cache."""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path
from typing import Any

from depthrefl_ros.engine.base import EngineError
from depthrefl_ros.engine.bundle import Bundle, BundleError
from depthrefl_ros.engine.ladder import Rung, rungs
from depthrefl_ros.engine.openvino_engine import OpenVinoEngine
from depthrefl_ros.engine.self_test import TOLERANCES, self_test
from depthrefl_ros.engine.tensorrt.api import find_flavour
from depthrefl_ros.engine.tensorrt.build import BuiltPlan, build_plan
from depthrefl_ros.engine.tensorrt.plan import ONNX_FILES, plan_key
from depthrefl_ros.engine.tensorrt.run import TensorRTEngine
from depthrefl_ros.engine.tensorrt.source import find_or_build
from depthrefl_ros.engine.tensorrt.store import PlanStore, PlanStoreError
from depthrefl_ros.tools.command_line import (
    StopRequest,
    ToolError,
    add_json_argument,
    make_parser,
    positive_int,
    progress,
    run_tool,
    write_json,
    write_output,
)
from depthrefl_ros.tools.output_file import check_output_files

EXAMPLES = """
depthrefl build_engine --engine tensorrt --model indoor_tiny
depthrefl build_engine --engine tensorrt_rtx --precision fp16 --batch 3 --target sm86,sm89
depthrefl build_engine --list
"""
ENGINES = ("tensorrt", "tensorrt_rtx", "openvino")


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("depthrefl build_engine", __doc__ or "", EXAMPLES)
    parser.add_argument("--engine", choices=ENGINES, help="runtime to build for")
    parser.add_argument(
        "--model", default="indoor_tiny", help="name of a shipped model, or a bundle folder"
    )
    parser.add_argument(
        "--precision",
        choices=tuple(TOLERANCES),
        help="default fp16 for TensorRT, fp32 for OpenVINO",
    )
    parser.add_argument("--batch", type=positive_int, default=1, help="largest batch size")
    parser.add_argument(
        "--target",
        type=lambda text: tuple(text.lower().split(",")),
        default=(),
        metavar="sm86,...",
        help="tensorrt_rtx: compute capabilities to build for; default all from 8.0 up",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the engine to FILE too")
    parser.add_argument("--force", action="store_true", help="rebuild even a cached engine")
    parser.add_argument(
        "--device",
        default="",
        help="index of the GPU for TensorRT; CPU, GPU, GPU.1, NPU or AUTO for OpenVINO",
    )
    parser.add_argument("--list", action="store_true", help="list the cached engines and exit")
    parser.add_argument("--clear", action="store_true", help="empty the cache and exit")
    add_json_argument(parser, "the figures")
    return parser


def _main(args: argparse.Namespace, _: list[str]) -> int:
    check_output_files(args.output, args.json)  # before the minutes that building takes
    try:
        if args.list:
            figures = _list(PlanStore())
        elif args.clear:
            figures = _clear(PlanStore())
        elif args.engine is None:
            raise ToolError(f"--engine is missing; known are {', '.join(ENGINES)}")
        elif args.engine == "openvino":
            figures = _compile_openvino(Bundle.load(args.model), args)
        else:
            figures = _build_plan(Bundle.load(args.model), args)
    except (BundleError, PlanStoreError, EngineError) as error:
        raise ToolError(str(error)) from error
    write_json(args.json, figures)
    return 0


def _list(cache: PlanStore) -> dict[str, Any]:
    entries = cache.entries()
    print(f"{len(entries)} plans in {cache.folder}")
    for entry in entries:
        print(f"{entry.size / 1e6:8.1f} MB  {entry.built or 'unknown when'}  {entry.key or '?'}")
        if entry.problem:
            print(f"{'':13}will be built again: {entry.problem}")
    engines = [
        {"path": str(e.path), "key": str(e.key or ""), "bytes": e.size, "problem": e.problem}
        for e in entries
    ]
    return {"folder": str(cache.folder), "engines": engines}


def _clear(cache: PlanStore) -> dict[str, Any]:
    removed = cache.clear()
    print(f"{removed} plans removed from {cache.folder}")
    return {"folder": str(cache.folder), "removed": removed}


def _build_plan(bundle: Bundle, args: argparse.Namespace) -> dict[str, Any]:
    """Return a TensorRT plan, built or found in the cache, and tested where there is a GPU."""
    precision, gpu = args.precision or "fp16", _device(args).gpu
    if precision not in ONNX_FILES:
        raise ToolError(f"--precision is {precision}; TensorRT has {', '.join(ONNX_FILES)}")
    key = plan_key(bundle, args.engine, precision, args.batch, args.target, gpu)
    details: dict[str, Any] = {}

    def build(times: bytes) -> BuiltPlan:
        path = bundle.path(ONNX_FILES[precision])
        built = _build_with_bar(str(key), path, precision, times, gpu, args)
        details.update(
            build_s=round(built.seconds, 3), layers=built.layers, memory_bytes=built.memory_bytes
        )
        return built

    cache = PlanStore()
    waiting = "another process is building this plan; waiting for it"
    stored = find_or_build(cache, key, build, args.force, lambda: print(waiting, file=sys.stderr))
    if stored.is_cached:
        print(key)
    for note in stored.notes:
        print(f"build_engine: warning: {note}", file=sys.stderr)
    write_output(args.output, stored.data)
    figures = {
        "engine": str(key),
        "bytes": len(stored.data),
        "is_cached": stored.is_cached,
        **details,
        "self_test": _test_plan(bundle, args, precision, stored.data, gpu),
    }
    _show(figures, str(cache.path(key)))
    return figures


def _device(args: argparse.Namespace) -> Rung:
    """Return the engine and where it shall run.

    Raises:
        ToolError: the engine does not run on such a device.
    """
    try:
        return next(rungs(args.engine, args.device))
    except ValueError as error:
        raise ToolError(f"--{error}") from error


def _build_with_bar(
    words: str, path: Path, precision: str, times: bytes, gpu: int, args: argparse.Namespace
) -> BuiltPlan:
    with StopRequest() as stop, progress(100, "building", "%") as bar:
        print(words, flush=True)  # at once, since it may take minutes

        def show(phase: str, share: float) -> None:
            bar.update(round(100 * share) - bar.n)
            if stop:
                raise ToolError("stopped")

        return build_plan(
            args.engine,
            path,
            batch=args.batch,
            precision=precision,
            targets=args.target,
            timing_cache=times,
            progress=show,
            gpu=gpu,
        )


def _test_plan(
    bundle: Bundle, args: argparse.Namespace, precision: str, plan: bytes, gpu: int
) -> str:
    """Return what the self-test found, or why it could not be made.

    Raises:
        EngineError: the GPU's runtime refuses the plan, or the plan computes wrongly.
    """
    if args.target:
        return "not made: built for other GPUs"
    flavour = find_flavour(args.engine, gpu)
    if not flavour.can_run:
        return f"not made: {flavour.reason}"
    size = (bundle.height, bundle.width, bundle.outputs, args.batch)
    form = {"precision": precision, "channels": bundle.channels}
    engine = TensorRTEngine(plan, args.engine, *size, **form, gpu=gpu)
    try:
        return str(self_test(engine, bundle))
    finally:
        engine.close()


def _compile_openvino(bundle: Bundle, args: argparse.Namespace) -> dict[str, Any]:
    """Return what OpenVINO would do at the start; it compiles in about a second, uncached."""
    if args.batch != 1 or args.target:
        raise ToolError("--batch and --target are for TensorRT; OpenVINO compiles for one image")
    memory, start = _peak_memory(), time.monotonic()
    device = _device(args).device
    engine = OpenVinoEngine(bundle, device=device, precision=args.precision or "fp32")
    seconds = time.monotonic() - start
    words = f"{bundle.name} {bundle.width}x{bundle.height} {engine.precision}, batch 1, openvino, "
    words += engine.device
    print(words)
    try:
        blob = engine.serialise()
        write_output(args.output, blob)
        figures = {
            "engine": words,
            "bytes": len(blob),
            "is_cached": False,
            "build_s": round(seconds, 3),
            "layers": engine.layers(),
            "self_test": str(self_test(engine, bundle)),
            # After the self-test, which makes it allocate what it needs to run.
            "memory_bytes": _peak_memory() - memory,
        }
    finally:
        engine.close()
    _show(figures, "none: it is compiled at every start")
    return figures


def _peak_memory() -> int:
    """Return the largest resident size of this process so far, bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # Linux counts in KiB


def _show(figures: dict[str, Any], cache: str) -> None:
    if "build_s" in figures:
        layers = (f"{count} in {name}" for name, count in figures["layers"].items())
        print(f"  built in   {figures['build_s']:.1f} s")
        print(f"  layers     {', '.join(layers)}")
        print(f"  memory     about {figures['memory_bytes'] / 1e6:.0f} MB")
    else:
        print("  built      before; it is in the cache (--force builds again)")
    print(f"  size       {figures['bytes'] / 1e6:.1f} MB")
    print(f"  self-test  {figures['self_test']}")
    print(f"  cache      {cache}")


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns the exit code."""
    return run_tool(_parser(), argv, _main)


if __name__ == "__main__":
    sys.exit(main())
