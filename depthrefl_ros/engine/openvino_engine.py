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

"""OpenVINO: CPUs and Intel GPUs."""

from __future__ import annotations

import io
import os
import threading
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from depthrefl_ros.engine.base import Engine, EngineError, EngineMissingError
from depthrefl_ros.engine.bundle import DESCRIPTION, INT8, MAKE_INT8, Bundle
from depthrefl_ros.engine.real_graphs import real_graphs


def load_openvino() -> ModuleType:
    """Import OpenVINO, also for a user without a home directory that can be written.

    Its telemetry asks for one while it is imported: without a home, as in ``docker run --user
    12345``, it raises RuntimeError, and it warns of one that is read-only. A home that is no folder
    makes it keep still.

    Raises:
        EngineMissingError: OpenVINO is not installed.
    """
    home = os.environ.get("HOME")
    try:
        is_usable = os.access(Path.home(), os.W_OK)
    except RuntimeError:
        is_usable = False
    if is_usable:
        return _imported()
    os.environ["HOME"] = os.devnull
    try:
        return _imported()
    finally:
        del os.environ["HOME"]
        if home is not None:
            os.environ["HOME"] = home


_CORE: list[Any] = []
_CORE_LOCK = threading.Lock()


def openvino_core() -> Any:
    """Return the ``openvino.Core`` of this process, which lasts as long as the process.

    On CPUs with AMX its CPU plugin gives the thread that first needs it a stack for signals, and
    unmaps that stack when the core goes. A thread in which a second core came and the first one
    went, or whose core went in another thread, is left with a stack that is not there: its next
    signal, SIGCHLD of a data loader or SIGALRM, ends the process (seen with OpenVINO 2026.4).

    Raises:
        EngineMissingError: OpenVINO is not installed.
    """
    openvino = load_openvino()
    with _CORE_LOCK:
        if not _CORE:
            _CORE.append(openvino.Core())
        return _CORE[0]


def _imported() -> ModuleType:
    try:
        import openvino
    except ImportError as error:
        raise EngineMissingError(
            f"openvino is not installed ({error}): pip install openvino"
        ) from error
    return openvino


class OpenVinoEngine(Engine):
    """``model.onnx``, or ``model_int8.onnx``, compiled by OpenVINO, batch 1.

    Args:
        bundle: the model.
        threads: CPU threads, 0 for as many as OpenVINO thinks best.
        device: ``CPU``, ``GPU``, ``GPU.1``, ``NPU``, or ``AUTO``, which lets OpenVINO choose.
        precision: ``fp32``; or ``bf16`` or ``fp16`` where the device computes in it natively, which
            is twice as fast on CPUs with AMX, but ignores the network's fp32 islands; or ``int8``,
            which is about as fast as that on any CPU with VNNI, where the bundle has the file.

    Raises:
        EngineMissingError: OpenVINO is not installed, or finds no such device.
        EngineError: it cannot compile the model, or the device has not this precision.
    """

    name = "openvino"

    def __init__(
        self, bundle: Bundle, threads: int = 0, device: str = "CPU", precision: str = "fp32"
    ):
        core = openvino_core()
        self.height, self.width, self.channels = bundle.height, bundle.width, bundle.channels
        self.precision = precision
        _need_device(core.available_devices, device)
        # Left to itself OpenVINO takes bf16 on AMX machines, which errs 3 % in depth.
        hint = "f32" if precision == "int8" else precision.replace("fp", "f")
        settings = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
        if threads:
            settings["INFERENCE_NUM_THREADS"] = str(threads)
        path = _graph(bundle, precision)
        try:
            capabilities = core.get_property(device, "OPTIMIZATION_CAPABILITIES")
            if precision.upper() not in capabilities:
                raise EngineError(f"{device} does not compute in {precision}, only {capabilities}")
            # OpenVINO refuses weights whose link leads out of the graph's own folder.
            with real_graphs(path) as (graph,):
                model = core.read_model(graph)
                takes = model.input(0).partial_shape[3]
                if takes.is_static and takes.get_length() != self.channels:
                    raise EngineError(
                        f"{path} takes images of {takes.get_length()} channels; {DESCRIPTION} says "
                        f"{self.channels}"
                    )
                model.reshape([1, self.height, self.width, self.channels])
                self._compiled = core.compile_model(model, device, settings)
            self._request = self._compiled.create_infer_request()
            self.device = _device_name(core, self._compiled, device)
        except (RuntimeError, OSError) as error:
            raise EngineError(f"OpenVINO cannot compile {path}: {error}") from error
        # An output may have several names, of nodes that OpenVINO has merged into one.
        found = [output.get_names() for output in self._compiled.outputs]
        self._names = [next((n for n in bundle.outputs if n in names), "") for names in found]
        if sorted(self._names) != sorted(bundle.outputs):
            raise EngineError(f"{path} has outputs {found}; {list(bundle.outputs)} are needed")

    def _run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        rows = []
        for image in images:
            try:
                results = self._request.infer([image[None]], share_inputs=True)
            except RuntimeError as error:
                raise EngineError(f"OpenVINO failed to run: {error}") from error
            # Copied, since the request writes the next frame over them.
            rows.append([np.array(value) for value in results.values()])
        return {
            name: values[0] if len(values) == 1 else np.concatenate(values)
            for name, values in zip(self._names, zip(*rows, strict=True), strict=True)
        }

    def layers(self) -> dict[str, int]:
        """Return precision -> number of layers that compute in it, the most frequent first."""
        kinds = Counter()
        for node in self._compiled.get_runtime_model().get_ops():
            facts = node.get_rt_info()
            if facts["layerType"].astype(str) not in ("Input", "Output", "Const"):
                kinds[facts["runtimePrecision"].astype(str)] += 1
        return {_our_name(name): count for name, count in kinds.most_common()}

    def serialise(self) -> bytes:
        """Return the compiled model as OpenVINO's own blob."""
        stream = io.BytesIO()
        self._compiled.export_model(stream)
        return stream.getvalue()

    def close(self) -> None:
        """Release the compiled model."""
        self._request = self._compiled = None


def _graph(bundle: Bundle, precision: str) -> Path:
    """Return the file to compile; raises EngineError where the bundle has none for it."""
    if precision != "int8":
        return bundle.path("model.onnx")
    if INT8 not in bundle.files:
        raise EngineError(f"{bundle.folder} has no {INT8}: {MAKE_INT8}")
    return bundle.path(INT8)


def _need_device(available: list[str], device: str) -> None:
    """Raise EngineMissingError where OpenVINO does not have the device."""
    known = {name.partition(".")[0] for name in available} | {*available, "AUTO"}
    if device not in known:
        hint = ""
        if device.startswith(("GPU", "NPU")):
            hint = "; Intel GPUs and NPUs need their driver (OpenCL or level-zero)"
        raise EngineMissingError(
            f"device is {device!r}; OpenVINO finds {', '.join(available) or 'none'} here{hint}"
        )


def _device_name(core: Any, compiled: Any, device: str) -> str:
    """Return the device in the runtime's words; of ``AUTO`` what it chose."""
    if device != "AUTO":
        return str(core.get_property(device, "FULL_DEVICE_NAME")).strip()
    chosen = compiled.get_property("EXECUTION_DEVICES")
    names = (name.strip("()") for name in ([chosen] if isinstance(chosen, str) else chosen))
    return "AUTO: " + ", ".join(
        str(core.get_property(n, "FULL_DEVICE_NAME")).strip() for n in names
    )


def _our_name(precision: str) -> str:
    """Return ``fp32`` for OpenVINO's ``f32``; ``bf16`` and ``i8`` are called the same."""
    return f"fp{precision[1:]}" if precision.startswith("f") else precision
