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

"""One engine in a process of its own, for ``engines.py``: cold start, memory and speed are its own.

python benchmark/engine_process.py request.json
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from depthrefl_ros.engine.base import Engine, EngineError
from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.self_test import relative_difference, self_test
from depthrefl_ros.tools.command_line import write_json

WARM_UP = 5  # frames
LEAST_FRAMES = 20  # timed, however long they take


def main() -> int:
    """Answer the request of the file that the command line names, in its ``report``."""
    request = json.loads(Path(sys.argv[1]).read_text())
    report: dict[str, Any] = {}
    try:
        _measure(request, report)
    except EngineError as error:
        report["refused"] = str(error)
    write_json(Path(request["report"]), report)
    return 0


def _measure(request: dict[str, Any], report: dict[str, Any]) -> None:
    """Fill the report step by step: what came before a failure stays in it."""
    # The monotonic clock is the same in all processes.
    started_s = request["started_s"]
    report["import_s"] = time.monotonic() - started_s
    bundle = Bundle.load(request["bundle"])
    frames = _frames(Path(request["frames"]), bundle)
    engine = _open(request, bundle, report)
    report["device"] = engine.device
    start = time.monotonic()
    try:
        report["self_test"] = str(self_test(engine, bundle))
    except EngineError as error:
        report["self_test_failure"] = str(error)
    report["self_test_s"] = time.monotonic() - start
    engine.infer(frames[:1])
    report["first_depth_s"] = time.monotonic() - started_s
    if request["rounds"]:
        outputs = [engine.infer(frame[None]) for frame in frames]
        reference = Path(request["reference"])
        if request["is_reference"]:
            planes = {k: np.concatenate([one[k] for one in outputs]) for k in ("depth", "sigma")}
            np.savez(reference, **planes)
        if reference.is_file():
            report["error"] = _errors(outputs, reference)
        report |= _time(engine, frames, request["rounds"], request["seconds"])
        profile = getattr(engine, "profile", None)  # where the engine can part its time
        if profile is not None:
            parts = [profile(frame[None]) for frame in frames]
            report["split_ms"] = {
                name[: -len("_s")]: float(np.median([part[name] for part in parts])) * 1e3
                for name in parts[0]
            }
    report["memory_mb"] = peak_resident_mb()
    report["gpu_memory_mb"] = _gpu_memory_mb(engine)
    engine.close()


def _frames(path: Path, bundle: Bundle) -> np.ndarray:
    """Return (N, H, W, C) uint8 of the network's size: RGB, and no mount where it takes one."""
    size = (bundle.width, bundle.height)
    frames = np.stack(
        [cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in np.load(path)]
    )
    return np.pad(frames, [(0, 0)] * 3 + [(0, bundle.channels - 3)])


def _open(request: dict[str, Any], bundle: Bundle, report: dict[str, Any]) -> Engine:
    name, precision = request["engine"], request["precision"]
    start = time.monotonic()
    if name.startswith("openvino"):
        from depthrefl_ros.engine.openvino_engine import OpenVinoEngine

        _, *device = name.split()
        engine: Engine = OpenVinoEngine(bundle, device=(*device, "CPU")[0], precision=precision)
    elif name.startswith("torch"):
        from depthrefl_ros.engine.torch_engine import TorchEngine

        _, device, *compiled = name.split()
        engine = TorchEngine(
            bundle, device=device, precision=precision, compiles=compiled == ["compiled"]
        )
    else:
        engine = _open_tensorrt(request, bundle, report)
    report["open_s"] = time.monotonic() - start
    return engine


def _open_tensorrt(request: dict[str, Any], bundle: Bundle, report: dict[str, Any]) -> Engine:
    from depthrefl_ros.engine.tensorrt.run import TensorRTEngine
    from depthrefl_ros.engine.tensorrt.source import PlanSource
    from depthrefl_ros.engine.tensorrt.store import PlanStore

    name, precision = request["engine"], request["precision"]
    start = time.monotonic()
    plans = PlanSource(store=PlanStore(Path(request["cache"])))
    stored = plans.get(bundle, name, precision)
    if not stored.is_cached:
        report["build_s"] = time.monotonic() - start
    report["size_mb"] = len(stored.data) / 1e6
    kernels = plans.kernels(bundle, name, precision)
    engine = TensorRTEngine(
        stored.data,
        name,
        *(bundle.height, bundle.width, bundle.outputs),
        precision=precision,
        channels=bundle.channels,
        runtime_cache=kernels,
    )
    if not kernels:
        # As the node does it: compiled by the first frame, kept for the next start.
        shape = (1, bundle.height, bundle.width, bundle.channels)
        engine.infer(np.zeros(shape, np.uint8))
        compiled = engine.runtime_cache()
        if compiled:
            plans.keep_kernels(bundle, name, precision, compiled)
    return engine


def _errors(outputs: list[dict[str, np.ndarray]], reference: Path) -> dict[str, float]:
    """Return median and 99th percentile of the relative difference to torch in float32."""
    errors = {}
    with np.load(reference) as truth:
        for name in ("depth", "sigma"):
            found = np.concatenate([one[name] for one in outputs])
            errors[f"{name}_median"], errors[f"{name}_p99"] = relative_difference(
                found, truth[name]
            )
    return errors


def _time(engine: Engine, frames: np.ndarray, rounds: int, seconds: float) -> dict[str, Any]:
    """Return milliseconds of one frame: median, 99th percentile, and how many were timed."""
    times_ms: list[float] = []
    end = time.monotonic() + seconds
    for number in range(-WARM_UP, max(rounds, LEAST_FRAMES)):
        start = time.perf_counter()
        engine.infer(frames[number % len(frames)][None])
        if number >= 0:
            times_ms.append((time.perf_counter() - start) * 1e3)
        if number >= LEAST_FRAMES and time.monotonic() > end:
            break
    return {
        "median_ms": float(np.median(times_ms)),
        "p99_ms": float(np.quantile(times_ms, 0.99)),
        "timed_frames": len(times_ms),
    }


def peak_resident_mb() -> float:
    """Return the largest resident memory that this process has had, MB (1e6 bytes).

    ``getrusage`` would count what the parent had before this program was loaded.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return float("nan")


def _gpu_memory_mb(engine: Engine) -> float | None:
    """Return what the engine accounts for on the GPU, MB; CUDA's context is not in it.

    Of TensorRT: the plan, which is mostly weights, and its scratch memory. Of torch: the most that
    its allocator has reserved.
    """
    if hasattr(engine, "memory_bytes"):
        return engine.memory_bytes / 1e6
    if engine.name == "torch" and engine.device != "CPU":
        import torch

        return torch.cuda.max_memory_reserved() / 1e6
    return None


if __name__ == "__main__":
    sys.exit(main())
