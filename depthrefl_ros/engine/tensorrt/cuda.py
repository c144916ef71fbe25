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

"""CUDA for one engine: its stream, page-locked and device memory, graphs; by ``cuda-python``.

Nothing else of CUDA is needed: one block of bytes goes up and one comes down per frame.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from depthrefl_ros.engine.base import EngineError, EngineMissingError

# CUDA's errors where there is no GPU to be used, and what they mean.
_NO_GPU = {
    35: ": no NVIDIA driver, or one too old for this cuda-python (13 needs driver 580; older "
    "drivers take pip install 'cuda-python<13')",
    100: "",
}
_DRIVER_FILE = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Gpu:
    """A GPU that engines run on.

    Attributes:
        name: ``NVIDIA GeForce RTX 4070``...
        compute_capability: ``8.9``...
        memory_bytes: in all.
        driver: version of the driver, with CUDA's newest version that it knows.
    """

    name: str
    compute_capability: str
    memory_bytes: int
    driver: str


def load_cuda() -> ModuleType:
    """Load CUDA's runtime API as ``cuda-python`` has it.

    Before 12.9.1 its calls kept all other Python threads waiting.

    Raises:
        EngineMissingError: it is not installed, or too old.
    """
    try:
        from cuda.bindings import (
            runtime,
            utils,  # noqa: F401, it came with 12.9.1
        )
    except ImportError as error:
        raise EngineMissingError(
            f"cuda-python 12.9.1 or later is not installed ({error}): pip install cuda-python"
        ) from error
    return runtime


def check(result: tuple, doing: str) -> Any:
    """Return the value of a CUDA call, or several as a list.

    Raises:
        EngineError: the call failed; names CUDA's error and its number.
    """
    error, *values = result
    if int(error) != 0:
        raise EngineError(f"CUDA cannot {doing}: {error.name} (error {int(error)})")
    return values[0] if len(values) == 1 else values


def find_gpu(index: int = 0) -> Gpu:
    """Return the GPU of this index among those that CUDA shows.

    Raises:
        EngineMissingError: ``cuda-python``, the driver or this GPU is missing.
        EngineError: the GPU does not answer.
    """
    cuda = load_cuda()
    error, count = cuda.cudaGetDeviceCount()
    if int(error) in _NO_GPU or count == 0:
        why = _NO_GPU.get(int(error), "")
        raise EngineMissingError(f"CUDA finds no GPU{why} (error {int(error)})")
    check((error,), "find a GPU")
    if index >= count:
        others = "cuda:0 is the only one" if count == 1 else f"there are cuda:0 to cuda:{count - 1}"
        raise EngineMissingError(f"device cuda:{index} does not exist: {others}")
    properties = check(cuda.cudaGetDeviceProperties(index), "read the GPU's properties")
    newest = check(cuda.cudaDriverGetVersion(), "read the driver's version")
    driver = f"CUDA {newest // 1000}.{newest % 1000 // 10}"
    version = driver_version()
    driver = f"{version}; {driver}" if version else driver
    name = properties.name
    return Gpu(
        name=(name.decode() if isinstance(name, bytes) else str(name)).rstrip("\0"),
        compute_capability=f"{properties.major}.{properties.minor}",
        memory_bytes=int(properties.totalGlobalMem),
        driver=driver,
    )


def use_gpu(index: int) -> None:
    """Make a GPU the current one of this thread: CUDA's memory and TensorRT's work go there.

    Raises:
        EngineMissingError: ``cuda-python`` is missing.
        EngineError: there is no such GPU.
    """
    check(load_cuda().cudaSetDevice(index), f"use device cuda:{index}")


def driver_version() -> str:
    """Return version of NVIDIA's driver, found without CUDA; empty where it is not told."""
    if not _DRIVER_FILE.is_file():  # desktops and servers have it; Jetsons may not
        return ""
    version = re.search(r"\d+\.\d+[.\d]*", _DRIVER_FILE.read_text())
    return version.group() if version else ""


class MirroredMemory:
    """Page-locked host memory and as much on the device.

    CUDA allocates both: ``cudaHostRegister`` would lock pages of a heap that other objects share.

    Attributes:
        host: (bytes,) uint8, page-locked: copies to and from it do not wait for the CPU. Gone
            after ``close``, as is every view of it.
        address: of the device's memory.
    """

    def __init__(self, cuda: ModuleType, size: int):
        self._cuda = cuda
        self.address = int(check(cuda.cudaMalloc(size), f"allocate {size} bytes on the GPU"))
        try:
            locked = check(cuda.cudaMallocHost(size), f"page-lock {size} bytes of host memory")
        except EngineError:
            cuda.cudaFree(self.address)
            raise
        self._locked = int(locked)
        self.host = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(self._locked))

    def close(self) -> None:
        """Give both memories back."""
        self.host = np.zeros(0, np.uint8)
        self._cuda.cudaFree(self.address)
        self._cuda.cudaFreeHost(self._locked)


class CudaStream:
    """One stream of work on a GPU; calls return at once, ``synchronise`` waits.

    Args:
        gpu: index of the CUDA device; it becomes the current one of this thread.

    Attributes:
        gpu: index of the CUDA device.
        handle: for TensorRT.
    """

    def __init__(self, gpu: int = 0) -> None:
        self._cuda, self.gpu = load_cuda(), gpu
        use_gpu(gpu)
        from cuda.bindings.utils import get_cuda_native_handle

        self._stream = check(
            self._cuda.cudaStreamCreateWithFlags(self._cuda.cudaStreamNonBlocking),
            "create a stream",
        )
        self.handle = get_cuda_native_handle(self._stream)
        self._memories: list[MirroredMemory] = []
        self._graphs: list[Any] = []

    def allocate(self, size: int) -> MirroredMemory:
        """Return memory of this many bytes, freed with the stream."""
        self._memories.append(MirroredMemory(self._cuda, size))
        return self._memories[-1]

    def upload(self, memory: MirroredMemory, size: int) -> None:
        """Copy the first ``size`` bytes to the device."""
        to_device = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._copy(memory.address, memory.host.ctypes.data, size, to_device)

    def download(self, memory: MirroredMemory, size: int) -> None:
        """Copy the first ``size`` bytes to the host."""
        to_host = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._copy(memory.host.ctypes.data, memory.address, size, to_host)

    def _copy(self, target: int, source: int, size: int, kind: Any) -> None:
        check(self._cuda.cudaMemcpyAsync(target, source, size, kind, self._stream), "copy")

    def synchronise(self) -> None:
        """Wait until all work is done."""
        check(self._cuda.cudaStreamSynchronize(self._stream), "finish its work")

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record what ``work`` puts on the stream as a CUDA graph; returns its replay.

        Raises:
            EngineError: something in it cannot be captured; the stream can be used as before.
        """
        cuda = self._cuda
        mode = cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        check(cuda.cudaStreamBeginCapture(self._stream, mode), "begin to capture a graph")
        try:
            work()
        except BaseException:
            _, graph = cuda.cudaStreamEndCapture(self._stream)  # or the stream stays unusable
            if graph is not None:
                cuda.cudaGraphDestroy(graph)
            raise
        graph = check(cuda.cudaStreamEndCapture(self._stream), "capture a graph")
        try:
            executable = check(cuda.cudaGraphInstantiate(graph, 0), "instantiate a graph")
        finally:
            cuda.cudaGraphDestroy(graph)
        self._graphs.append(executable)
        return lambda: check(cuda.cudaGraphLaunch(executable, self._stream), "replay a graph")

    def close(self) -> None:
        """Wait, and give everything back that came from this stream; errors change nothing."""
        self._cuda.cudaStreamSynchronize(self._stream)
        for graph in self._graphs:
            self._cuda.cudaGraphExecDestroy(graph)
        for memory in self._memories:
            memory.close()
        self._cuda.cudaStreamDestroy(self._stream)
        self._graphs, self._memories = [], []
