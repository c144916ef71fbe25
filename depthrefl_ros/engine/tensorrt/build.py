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

"""Builds TensorRT plans from a bundle's ONNX files."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from depthrefl_ros.engine.base import EngineError
from depthrefl_ros.engine.real_graphs import real_graphs
from depthrefl_ros.engine.tensorrt.api import (
    RuntimeLog,
    create,
    is_rtx,
    load_runtime,
    read_timing_cache,
    runtime_log,
    set_targets,
    set_timing_cache,
)
from depthrefl_ros.engine.tensorrt.cuda import use_gpu
from depthrefl_ros.engine.tensorrt.plan import ONNX_FILES

WORKSPACE_MIB = 1024  # limit of the kernels' scratch memory

Progress = Callable[[str, float], None]  # (what is being done, share done in [0, 1])


@dataclass(frozen=True)
class BuiltPlan:
    """A plan, and how it came about.

    Attributes:
        plan: what ``TensorRTEngine`` opens.
        seconds: that the build took.
        layers: precision -> number of the network's layers that compute in it.
        memory_bytes: estimate of what it takes on the GPU: weights, the largest set of activations
            that live at once (before the builder fuses any), inputs and outputs.
        timing_cache: of TensorRT, for the next build on this GPU; empty for RTX, which times none.
    """

    plan: bytes
    seconds: float
    layers: dict[str, int]
    memory_bytes: int
    timing_cache: bytes


def build_plan(
    flavour: str,
    onnx_path: Path,
    *,
    batch: int = 1,
    precision: str,
    targets: tuple[str, ...] = (),
    timing_cache: bytes = b"",
    progress: Progress | None = None,
    gpu: int = 0,
) -> BuiltPlan:
    """Build a plan for batches of 1 to ``batch``, fastest at ``batch``.

    Args:
        flavour: ``tensorrt`` or ``tensorrt_rtx``.
        onnx_path: the network, in the file that has ``precision`` (see ``ONNX_FILES``); for int8
            the one in fp16 lies beside it.
        batch: largest number of images at once.
        precision: ``fp32``, ``fp16`` or ``int8``.
        targets: compute capabilities, ``sm86``...; none for the runtime's own choice.
        timing_cache: of an earlier build on this GPU; may be empty.
        progress: told what is being done and the share done, from the thread that builds; what it
            raises stops the build and comes back out of it.
        gpu: index of the CUDA device whose kernels are timed; RTX times none.

    Raises:
        EngineError: the runtime is missing, or onnx for int8, a layer is not supported, or the
            build fails; names the node, its operator and the runtime's own words.
        OSError: the ONNX file cannot be read.
        ValueError: the precision is unknown.
    """
    if precision not in ONNX_FILES:
        raise ValueError(f"precision is {precision!r}; known are {tuple(ONNX_FILES)}")
    runtime, log = load_runtime(flavour), runtime_log(flavour)
    start = time.monotonic()
    if not is_rtx(runtime):
        use_gpu(gpu)
    builder = create(flavour, "Builder")
    # TensorRT 11 ignores the flag: there every network is strongly typed.
    strongly_typed = 1 << int(runtime.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(strongly_typed)
    parser = _parse(runtime, network, log, onnx_path, _content(onnx_path, precision))
    config = builder.create_builder_config()
    config.set_memory_pool_limit(runtime.MemoryPoolType.WORKSPACE, WORKSPACE_MIB << 20)
    if precision == "fp32":
        # TF32 keeps ten bits of mantissa: not the float32 that the self-test asks for.
        config.clear_flag(runtime.BuilderFlag.TF32)
    set_targets(runtime, config, targets)
    set_timing_cache(runtime, config, timing_cache)
    _set_batches(builder, config, network, onnx_path, batch)
    config.progress_monitor = monitor = _monitor(runtime, progress or (lambda phase, share: None))
    serialised = builder.build_serialized_network(network, config)
    if monitor.error is not None:
        raise monitor.error
    if serialised is None:
        raise EngineError(f"{flavour} cannot build {onnx_path}: {log.take_errors()}")
    del parser  # it owns the weights until the build is done
    plan = bytes(serialised)
    layers = _working_layers(network)
    return BuiltPlan(
        plan=plan,
        seconds=time.monotonic() - start,
        layers=_count_layers(layers),
        memory_bytes=len(plan) + _peak_activations(layers, batch),
        timing_cache=read_timing_cache(runtime, config),
    )


def _content(onnx_path: Path, precision: str) -> bytes:
    """Return the network as the parser takes it."""
    if precision != "int8":
        return onnx_path.read_bytes()
    try:
        from depthrefl_ros.engine.tensorrt.int8 import int8_network
    except ImportError as error:
        raise EngineError(
            f"int8 for TensorRT needs onnx while it builds ({error}): pip install onnx"
        ) from error
    # onnx reads no weights behind a link.
    with real_graphs(onnx_path.with_name(ONNX_FILES["fp16"]), onnx_path) as (half, quantised):
        return int8_network(half, quantised)


def _parse(
    runtime: ModuleType, network: Any, log: RuntimeLog, onnx_path: Path, content: bytes
) -> Any:
    parser = runtime.OnnxParser(network, log.logger)
    # The path tells where weights lie that are not in the file itself.
    if parser.parse(content, str(onnx_path)):
        return parser
    errors = (parser.get_error(index) for index in range(parser.num_errors))
    reasons = "; ".join(
        f"node {error.node_name()!r} ({error.node_operator()}) is {error.code().name}: "
        f"{' '.join(error.desc().split())}"
        for error in errors
    )
    raise EngineError(f"{runtime.__name__} {runtime.__version__} refuses {onnx_path}: {reasons}")


def _set_batches(builder: Any, config: Any, network: Any, onnx_path: Path, batch: int) -> None:
    """Fix the batch at 1, or add a profile for 1 to ``batch``; H and W are fixed in the file."""
    images = network.get_input(0)
    first, *size = images.shape
    if first not in (-1, batch):
        raise EngineError(
            f"{onnx_path} is for batches of {first} only, not of 1 to {batch}; export it again"
        )
    if batch == 1:
        images.shape = (1, *size)  # kernels for one shape are faster
        return
    profile = builder.create_optimization_profile()
    profile.set_shape(images.name, (1, *size), (batch, *size), (batch, *size))
    config.add_optimization_profile(profile)


def _working_layers(network: Any) -> list[Any]:
    """Return the layers that compute something per frame, in the network's order.

    Not weights, and nothing that is made of weights alone (the Casts of weights stored as half).
    """
    constants: set[str] = set()
    working = []
    for layer in (network.get_layer(index) for index in range(network.num_layers)):
        if all(tensor.name in constants for tensor in _inputs(layer)):  # of none, too
            constants.update(tensor.name for tensor in _outputs(layer))
        else:
            working.append(layer)
    return working


def _inputs(layer: Any) -> list[Any]:
    tensors = (layer.get_input(index) for index in range(layer.num_inputs))
    return [tensor for tensor in tensors if tensor is not None]


def _outputs(layer: Any) -> list[Any]:
    return [layer.get_output(index) for index in range(layer.num_outputs)]


def _count_layers(layers: list[Any]) -> dict[str, int]:
    """Count layers by the precision of what they make; exact: networks are strongly typed.

    What reads dequantised numbers computes in int8: the builder makes one kernel of the three.
    """
    names = {"FLOAT": "fp32", "HALF": "fp16"}
    dequantised: set[str] = set()
    found = Counter()
    for layer in layers:
        if layer.type.name in ("QUANTIZE", "DEQUANTIZE"):
            dequantised.update(tensor.name for tensor in _outputs(layer))
        elif any(tensor.name in dequantised for tensor in _inputs(layer)):
            found["int8"] += 1
        else:
            name = layer.get_output(0).dtype.name
            found[names.get(name, name.lower())] += 1
    return dict(found.most_common())


def _peak_activations(layers: list[Any], batch: int) -> int:
    """Return the bytes of the largest set of tensors that live at once, in the network's order."""

    def size(tensor: Any) -> int:
        return math.prod(batch if n < 0 else n for n in tensor.shape) * tensor.dtype.itemsize

    last_use = {tensor.name: i for i, layer in enumerate(layers) for tensor in _inputs(layer)}
    live, peak = 0, 0
    ends = Counter()  # index of a layer -> bytes that nobody needs after it
    for index, layer in enumerate(layers):
        for tensor in _outputs(layer):
            live += size(tensor)
            ends[last_use.get(tensor.name, len(layers))] += size(tensor)
        peak = max(peak, live)
        live -= ends[index]
    return peak


def _monitor(runtime: ModuleType, progress: Progress) -> Any:
    """Return TensorRT's nested phases as one share that only grows.

    What ``progress`` raises stops the build and is kept in ``error``: it must not pass through C++.
    """

    class Monitor(runtime.IProgressMonitor):
        def __init__(self) -> None:
            runtime.IProgressMonitor.__init__(self)  # pybind11 classes refuse super().__init__()
            self.error: BaseException | None = None
            self.phases: list[list[Any]] = []  # [name, steps, steps done], the innermost last
            self.share = 0.0
            self.lock = threading.Lock()

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            with self.lock:
                self.phases.append([name, max(steps, 1), 0])

        def step_complete(self, name: str, step: int) -> bool:
            with self.lock:
                share = 0.0
                for phase in reversed(self.phases):
                    if phase[0] == name:
                        phase[2] = step + 1
                    share = min(1.0, (phase[2] + share) / phase[1])
                self.share = max(self.share, share)
                try:
                    progress(name, self.share)
                except BaseException as error:
                    self.error = self.error or error
                return self.error is None

        def phase_finish(self, name: str) -> None:
            with self.lock:
                self.phases = [phase for phase in self.phases if phase[0] != name]

    return Monitor()
