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

"""TensorRT and TensorRT-RTX behind one set of calls: whatever differs between them is here.

Both have the classic API (``Builder``, ``OnnxParser``, ``Runtime``). What their versions share,
10.0 to 11 and RTX 1.x, is called directly by ``build`` and ``run``:
``set_memory_pool_limit``, ``build_serialized_network``, ``set_tensor_address``,
``execute_async_v3``. Precision flags of the builder (``BuilderFlag.FP16``, gone in 11) are never
used: every network is strongly typed, its precision is what the ONNX file says. Nor are
version-compatible plans: they carry executable host code, and the key of a plan has the version.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import threading
from collections import deque
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

from depthrefl_ros.engine.base import EngineError, EngineMissingError
from depthrefl_ros.engine.tensorrt.cuda import find_gpu

FLAVOURS = ("tensorrt", "tensorrt_rtx")
_INSTALL = {
    "tensorrt": "it comes with JetPack 6.1 or later, or pip install tensorrt",
    "tensorrt_rtx": "pip install tensorrt-rtx",
}
# Versions that compute wrongly, by the beginning of the version.
_KNOWN_FAULTS = {
    "tensorrt 10.3.": "TensorRT 10.3 (JetPack 6.1 and 6.2) computes DINOv2 wrongly in fp16: depth "
    "drifts from frame to frame (NVIDIA/TensorRT#4723); 10.14 and later are right"
}
_OLDEST = {"tensorrt": (10, 0), "tensorrt_rtx": (1, 2)}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Flavour:
    """What one of the two runtimes can do on this machine.

    Attributes:
        name: ``tensorrt`` or ``tensorrt_rtx``.
        version: of the runtime; empty where it cannot be imported.
        can_build: plans can be built here.
        can_run: a GPU is present and reachable. Whether the runtime accepts this very GPU shows
            only when a plan is opened.
        reason: why it cannot build or run; empty where it can do both.
        known_fault: of this version, with a hint; empty where none is known.
    """

    name: str
    version: str
    can_build: bool
    can_run: bool
    reason: str
    known_fault: str


def flavours() -> list[Flavour]:
    """Return both runtimes in the order in which ``auto`` prefers them, installed or not."""
    return [find_flavour(name) for name in FLAVOURS]


def find_flavour(name: str, gpu: int = 0) -> Flavour:
    """Return what the runtime of this name can do on this machine.

    Args:
        name: of the runtime.
        gpu: index of the CUDA device that it would run on.

    Raises:
        ValueError: the name is none of ``FLAVOURS``.
    """
    try:
        runtime = load_runtime(name)
    except EngineError as error:
        return Flavour(name, "", False, False, str(error), "")
    try:
        find_gpu(gpu)
        reason = ""
    except EngineError as error:
        reason = str(error)
    version = runtime.__version__
    words = f"{name} {version}"
    faults = (text for start, text in _KNOWN_FAULTS.items() if words.startswith(start))
    can_build = not reason or is_rtx(runtime)
    return Flavour(name, version, can_build, not reason, reason, next(faults, ""))


@cache
def load_runtime(name: str) -> ModuleType:
    """Import ``tensorrt`` or ``tensorrt_rtx``.

    Raises:
        ValueError: the name is none of ``FLAVOURS``.
        EngineMissingError: it is not installed.
        EngineError: it is broken or too old.
    """
    if name not in FLAVOURS:
        raise ValueError(f"TensorRT flavour is {name!r}; known are {FLAVOURS}")
    if importlib.util.find_spec(name) is None:
        raise EngineMissingError(f"{name} is not installed: {_INSTALL[name]}")
    try:
        runtime = importlib.import_module(name)
        version = tuple(int(part) for part in runtime.__version__.split(".")[:2])
    except Exception as error:  # a broken installation raises anything, OSError for one
        raise EngineError(f"{name} cannot be imported: {error}") from error
    if version < _OLDEST[name]:
        oldest = ".".join(map(str, _OLDEST[name]))
        raise EngineError(f"{name} is version {runtime.__version__}; {oldest} or later is needed")
    return runtime


class RuntimeLog:
    """What a runtime says while it works: warnings go to ``logging``, errors are kept as well."""

    def __init__(self, runtime: ModuleType):
        self._errors: deque[str] = deque(maxlen=20)
        self._warnings: deque[str] = deque(maxlen=20)
        self._lock = threading.Lock()
        severity, note = runtime.ILogger, self._note

        class Logger(runtime.ILogger):
            def __init__(self) -> None:
                runtime.ILogger.__init__(self)  # pybind11 classes refuse super().__init__()

            def log(self, level: Any, message: str) -> None:
                note(level <= severity.ERROR, level <= severity.WARNING, message)

        self.logger = Logger()

    def _note(self, is_error: bool, is_warning: bool, message: str) -> None:
        # Errors come back in the EngineError; here they would be said twice. A builder warns of
        # the same thing once for every layer.
        with self._lock:
            if is_error:
                self._errors.append(" ".join(message.split()))
            is_news = is_warning and not is_error and message not in self._warnings
            if is_news:
                self._warnings.append(message)
        _log.log(logging.WARNING if is_news else logging.DEBUG, message)

    def take_errors(self) -> str:
        """Return the errors since the last call, joined; the runtime's own words."""
        with self._lock:
            text = "; ".join(dict.fromkeys(self._errors))
            self._errors.clear()
        return text or "it does not say why"


@cache
def runtime_log(name: str) -> RuntimeLog:
    """Return the one log of a runtime: it keeps the first logger that it is given for good."""
    return RuntimeLog(load_runtime(name))


def create(name: str, kind: str) -> Any:
    """Return a ``Builder`` or a ``Runtime``, which speaks to ``runtime_log``.

    Raises:
        EngineError: it cannot start, for one since TensorRT's need a GPU.
    """
    log = runtime_log(name)
    log.take_errors()
    try:
        return getattr(load_runtime(name), kind)(log.logger)
    except TypeError as error:  # pybind11's, where the library gives none
        raise EngineError(f"{name} cannot start its {kind}: {log.take_errors()}") from error


# ---- The differences -----------------------------------------------------------------------------


def is_rtx(runtime: ModuleType) -> bool:
    """Tell whether it is RTX's: that builds without a GPU and compiles kernels at the first run.

    It also captures and replays CUDA graphs by itself; for TensorRT the engine does.
    """
    return runtime.__name__ == "tensorrt_rtx"


def set_targets(runtime: ModuleType, config: Any, targets: tuple[str, ...]) -> None:
    """Choose the compute capabilities to build for, ``sm86``...; only TensorRT-RTX can.

    Without targets TensorRT builds for the GPU that it sees and RTX for all from 8.0 up.

    Raises:
        EngineError: the runtime cannot build for another GPU, or does not know a target.
    """
    if not targets:
        return
    if not is_rtx(runtime):
        raise EngineError(
            f"{runtime.__name__} {runtime.__version__} builds for the GPU that it sees; targets "
            f"{', '.join(targets)} need tensorrt_rtx"
        )
    known = {
        name.lower(): value
        for name, value in runtime.ComputeCapability.__members__.items()
        if name.startswith("SM")
    }
    unknown = [target for target in targets if target not in known]
    if unknown:
        raise EngineError(f"target is {unknown[0]!r}; {runtime.__name__} knows {sorted(known)}")
    config.num_compute_capabilities = len(targets)
    for index, target in enumerate(targets):
        config.set_compute_capability(known[target], index)


def set_timing_cache(runtime: ModuleType, config: Any, content: bytes) -> None:
    """Let the builder use kernel times of earlier builds, and note new ones; RTX has none."""
    if not is_rtx(runtime):
        times = config.create_timing_cache(content) or config.create_timing_cache(b"")
        config.set_timing_cache(times, ignore_mismatch=False)


def read_timing_cache(runtime: ModuleType, config: Any) -> bytes:
    """Return the kernel times after a build; empty for RTX."""
    return b"" if is_rtx(runtime) else bytes(config.get_timing_cache().serialize())


def open_runtime_cache(runtime: ModuleType, engine: Any, content: bytes) -> Any:
    """Open RTX's cache of the kernels that it compiles for this GPU; None for TensorRT.

    Args:
        runtime: the module.
        engine: an ``ICudaEngine``.
        content: of an earlier start; RTX ignores what another GPU or version wrote.
    """
    if not is_rtx(runtime):
        return None
    cache = engine.create_runtime_config().create_runtime_cache()
    if content:
        cache.deserialize(content)
    return cache


def create_context(runtime: ModuleType, engine: Any, runtime_cache: Any) -> Any:
    """Return an execution context, or None; RTX's replays CUDA graphs by itself."""
    if not is_rtx(runtime):
        return engine.create_execution_context()
    config = engine.create_runtime_config()
    config.set_runtime_cache(runtime_cache)
    config.cuda_graph_strategy = runtime.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    # By default better kernels replace the first ones while frames run: the self-test would not
    # have seen them.
    strategies = runtime.DynamicShapesKernelSpecializationStrategy
    config.dynamic_shapes_kernel_specialization_strategy = strategies.EAGER
    return engine.create_execution_context(config)


def device_memory_bytes(engine: Any) -> int:
    """Return a context's scratch memory on the GPU; the first name ended with TensorRT 10."""
    if hasattr(engine, "device_memory_size_v2"):
        return int(engine.device_memory_size_v2)
    return int(engine.device_memory_size)
