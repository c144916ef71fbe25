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

"""CUDA and TensorRT's runtime on the host, for machines without a GPU.

Memory is the host's, a "plan" is an ONNX file that ONNX Runtime computes. A stream does nothing
until somebody waits for it: a wait that is missing shows in the data. While a graph is being
captured it only takes notes, as CUDA does. Every thread begins with device 0 as its current one.
What TensorRT and CUDA themselves do is not proven by this; what we ask of them, and in which order,
is.
"""

import ctypes
import threading
from types import SimpleNamespace

import numpy as np
import onnxruntime
from cuda.bindings import runtime as real

from depthrefl_ros.engine.tensorrt import api, run
from depthrefl_ros.engine.tensorrt import cuda as cuda_module

OK, BAD_VALUE = real.cudaError_t.cudaSuccess, real.cudaError_t.cudaErrorInvalidValue


def array_at(address, shape, dtype):
    """Return host memory as an array, without a copy."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_uint8 * size).from_address(address), dtype).reshape(shape)


class StandInCuda:
    """What we call of ``cuda.bindings.runtime``; names and numbers of arguments are its own.

    Attributes:
        copies: (kind, bytes) of every copy that was done.
        calls: how often each function was called.
        live: what was taken and not given back.
        can_capture: False lets the capture fail at its end, as forbidden work does.
        can_instantiate: False lets graphs be captured but not made executable.
        fault: an error that waiting returns from now on, as CUDA does after a bad access.
        names: of the GPUs.
    """

    def __init__(self):
        self.copies, self.calls, self.live = [], {}, set()
        self.can_capture = self.can_instantiate = True
        self.fault = OK
        self.names = ["Stand-in"]
        self._memories, self._recording, self._graphs = {}, None, {}
        self._queue, self._current = [], threading.local()

    def __getattribute__(self, name):
        if name.startswith("cuda"):
            if name not in type(self).__dict__:
                return getattr(real, name)  # its constants
            calls = object.__getattribute__(self, "calls")
            calls[name] = calls.get(name, 0) + 1
        return object.__getattribute__(self, name)

    @property
    def device(self):
        """Index of this thread's current device."""
        return getattr(self._current, "device", 0)

    def enqueue(self, work):
        """Put work on the one stream, or into the graph that is being captured."""
        (self._queue if self._recording is None else self._recording).append(work)

    def cudaGetDeviceCount(self):
        return OK, len(self.names)

    def cudaSetDevice(self, device):
        if device >= len(self.names):
            return (real.cudaError_t.cudaErrorInvalidDevice,)
        self._current.device = device
        return (OK,)

    def cudaGetDeviceProperties(self, device):
        name = self.names[device].encode() + b"\0\0"
        return OK, SimpleNamespace(name=name, major=8, minor=7, totalGlobalMem=1 << 33)

    def cudaDriverGetVersion(self):
        return OK, 12060

    def _allocate(self, size, kind):
        memory = np.zeros(size, np.uint8)
        address = memory.ctypes.data
        self._memories[address] = memory
        self.live.add((kind, address))
        return OK, address

    def cudaMalloc(self, size):
        return self._allocate(size, "device memory")

    def cudaMallocHost(self, size):
        return self._allocate(size, "host memory")

    def cudaFreeHost(self, ptr):
        self.live.remove(("host memory", ptr))
        return (OK,)

    def cudaFree(self, devPtr):
        self.live.remove(("device memory", devPtr))
        return (OK,)

    def cudaStreamCreateWithFlags(self, flags):
        self.live.add("stream")
        self.stream_device = self.device
        return OK, real.cudaStream_t(1)

    def cudaStreamDestroy(self, stream):
        self.live.remove("stream")
        return (OK,)

    def cudaStreamSynchronize(self, stream):
        if self._recording is not None:
            return (BAD_VALUE,)
        work, self._queue = self._queue, []
        if self.fault == OK:
            for one in work:
                one()
        return (self.fault,)

    def cudaMemcpyAsync(self, dst, src, count, kind, stream):
        def copy():
            self.copies.append((kind.name.removeprefix("cudaMemcpy"), count))
            ctypes.memmove(dst, src, count)

        self.enqueue(copy)
        return (OK,)

    def cudaStreamBeginCapture(self, stream, mode):
        self._recording = []
        return (OK,)

    def cudaStreamEndCapture(self, stream):
        work, self._recording = self._recording, None
        if not self.can_capture:
            return real.cudaError_t.cudaErrorStreamCaptureInvalidated, None
        return OK, self._keep("graph", work)

    def _keep(self, kind, work):
        handle = (kind, len(self._graphs))
        self._graphs[handle] = work
        self.live.add(handle)
        return handle

    def cudaGraphInstantiate(self, graph, flags):
        if not self.can_instantiate:
            return real.cudaError_t.cudaErrorMemoryAllocation, None
        return OK, self._keep("executable graph", self._graphs[graph])

    def cudaGraphDestroy(self, graph):
        self.live.remove(graph)
        return (OK,)

    def cudaGraphLaunch(self, graphExec, stream):
        for work in self._graphs[graphExec]:
            self.enqueue(work)
        return (OK,)

    def cudaGraphExecDestroy(self, graphExec):
        self.live.remove(graphExec)
        return (OK,)


def stand_in(monkeypatch, flavour: str, max_batch: int) -> StandInCuda:
    """Stand in for a GPU and one TensorRT until the test's end."""
    cuda = StandInCuda()
    runtime = StandInTensorRT(cuda, flavour, max_batch)
    log = api.RuntimeLog(runtime)
    monkeypatch.setattr(cuda_module, "load_cuda", lambda: cuda)
    for module in (api, run):
        monkeypatch.setattr(module, "load_runtime", lambda name: runtime)
        monkeypatch.setattr(module, "runtime_log", lambda name: log)
    cuda.flavour = flavour
    return cuda


class StandInTensorRT:
    """The runtime half of ``tensorrt`` 10.3 or of ``tensorrt_rtx``; a plan is an ONNX file."""

    CudaGraphStrategy = SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole graph")
    DynamicShapesKernelSpecializationStrategy = SimpleNamespace(EAGER="eager")

    def __init__(self, cuda, name, max_batch):
        self.cuda, self.max_batch = cuda, max_batch
        self.__name__ = name
        self.__version__ = {"tensorrt": "10.3.0", "tensorrt_rtx": "1.7.1"}[name]

    class ILogger:
        ERROR, WARNING = 1, 2

        def __init__(self):
            pass

    def _check_device(self):
        """Check that the plan's device is the thread's current one, as TensorRT wants."""
        assert self.cuda.device == self._opened_on

    def Runtime(self, logger):
        return SimpleNamespace(deserialize_cuda_engine=self._open)

    def _open(self, plan):
        self._opened_on = self.cuda.device
        try:
            return _Plan(self, plan)
        except Exception:  # TensorRT answers nothing where it refuses a plan
            return None


class _RuntimeCache:
    def __init__(self):
        self.content = b"kernels of "

    def deserialize(self, content):
        self.content = content
        return True

    def serialize(self):
        return self.content + b"!"


class _RuntimeConfig:
    cuda_graph_strategy = dynamic_shapes_kernel_specialization_strategy = None

    def create_runtime_cache(self):
        return _RuntimeCache()

    def set_runtime_cache(self, cache):
        self._cache = cache
        return True


class _Plan:
    device_memory_size = 1 << 20  # as TensorRT 10.0 has it

    def __init__(self, runtime, plan):
        self.runtime = runtime
        # It would quantise biases by products of scales in half precision, too small for that.
        disabled = ["WeightBiasQuantization"]
        self.session = onnxruntime.InferenceSession(plan, disabled_optimizers=disabled)
        self.names = [v.name for v in (*self.session.get_inputs(), *self.session.get_outputs())]
        self.num_io_tensors = len(self.names)

    def get_tensor_name(self, index):
        return self.names[index]

    def get_tensor_shape(self, name):
        """Return -1 where the batch varies, as in a plan with a profile."""
        size = self.session.get_inputs()[0].shape[1:]
        return (1 if self.runtime.max_batch == 1 else -1, *size)

    def get_tensor_profile_shape(self, name, profile):
        size = self.session.get_inputs()[0].shape[1:]
        most = self.runtime.max_batch
        return [(1, *size), (most, *size), (most, *size)]

    def create_runtime_config(self):
        return _RuntimeConfig()

    def create_execution_context(self, runtime_config=None):
        self.runtime._check_device()
        if self.runtime.__name__ == "tensorrt_rtx":
            assert isinstance(runtime_config._cache, _RuntimeCache)
            assert runtime_config.cuda_graph_strategy == "whole graph"
            assert runtime_config.dynamic_shapes_kernel_specialization_strategy == "eager"
        return _Context(self)


class _Context:
    def __init__(self, plan):
        self.plan, self.shape, self.addresses = plan, None, {}

    def set_input_shape(self, name, shape):
        self.shape = shape
        return name == "images" and 1 <= shape[0] <= self.plan.runtime.max_batch

    def set_tensor_address(self, name, address):
        self.addresses[name] = address
        return name in self.plan.names

    def execute_async_v3(self, stream):
        self.plan.runtime._check_device()
        shape, addresses = self.shape, dict(self.addresses)

        def work():
            images = array_at(addresses["images"], shape, np.uint8)
            names = self.plan.names[1:]
            # One at a time: the shipped files may be for one image only.
            rows = [self.plan.session.run(names, {"images": image[None]}) for image in images]
            for name, parts in zip(names, zip(*rows, strict=True), strict=True):
                plane = np.concatenate(parts)
                array_at(addresses[name], plane.shape, np.float32)[:] = plane

        self.plan.runtime.cuda.enqueue(work)
        return stream == 1
