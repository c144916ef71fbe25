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

"""CUDA's memory, streams and graphs, against the stand-in: no GPU is at hand here."""

import inspect
import re

import numpy as np
import pytest

from depthrefl_ros.engine.base import EngineError, EngineMissingError
from depthrefl_ros.engine.tensorrt import cuda


@pytest.mark.parametrize(
    "line, driver",
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 2023",
            "535.129.03; CUDA 12.6",
        ),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0", "540.4.0; CUDA 12.6"),
    ],
)
def test_the_drivers_version_is_read(machine, monkeypatch, tmp_path, line, driver):
    file = tmp_path / "version"
    monkeypatch.setattr(cuda, "_DRIVER_FILE", file)
    assert cuda.find_gpu().driver == "CUDA 12.6"
    file.write_text(line + "\nGCC version: gcc version 12.3.0\n")
    gpu = cuda.find_gpu()
    assert gpu.driver == driver
    assert (gpu.name, gpu.compute_capability, gpu.memory_bytes) == ("Stand-in", "8.7", 1 << 33)


# Memory, graphs and waiting


@pytest.fixture
def stream(machine):
    stream = cuda.CudaStream()
    yield stream
    stream.close()
    assert not machine.live


def test_what_was_uploaded_comes_down_once_somebody_has_waited(stream):
    memory = stream.allocate(4)
    memory.host[:] = [1, 2, 3, 4]
    stream.upload(memory, 4)
    stream.synchronise()
    memory.host[:] = 0
    stream.download(memory, 4)
    assert list(memory.host) == [0, 0, 0, 0]  # nobody has waited yet
    stream.synchronise()
    assert list(memory.host) == [1, 2, 3, 4]


def test_host_memory_is_cudas_own_and_no_view_outlives_it(machine):
    stream = cuda.CudaStream()
    memory = stream.allocate(8)
    assert ("host memory", memory.host.ctypes.data) in machine.live
    assert memory.host.dtype == np.uint8 and memory.host.shape == (8,)
    stream.close()
    assert memory.host.size == 0 and not machine.live


def test_host_memory_that_cannot_be_locked_gives_the_devices_back(machine):
    from cuda.bindings import runtime as real

    machine.cudaMallocHost = lambda size: (real.cudaError_t.cudaErrorMemoryAllocation, None)
    stream = cuda.CudaStream()
    with pytest.raises(EngineError, match="page-lock 8 bytes of host memory: cudaErrorMemory"):
        stream.allocate(8)
    stream.close()
    assert not machine.live


def test_a_graph_that_cannot_be_instantiated_is_given_back(machine, stream):
    machine.can_instantiate = False
    memory = stream.allocate(4)
    with pytest.raises(EngineError, match="instantiate a graph: cudaErrorMemoryAllocation"):
        stream.capture(lambda: stream.upload(memory, 4))
    assert not [kind for kind in machine.live if kind[0] == "graph"]
    stream.upload(memory, 4)  # the stream can be used as before
    stream.synchronise()
    assert machine.copies == [("HostToDevice", 4)]


def test_a_graph_whose_recording_breaks_off_is_given_back(machine, stream):
    def breaks():
        raise EngineError("no such kernel")

    with pytest.raises(EngineError, match="no such kernel"):
        stream.capture(breaks)
    assert machine.live == {"stream"}
    stream.synchronise()


def test_a_gpu_that_does_not_exist_is_named(machine):
    with pytest.raises(EngineMissingError, match="cuda:1 does not exist: cuda:0 is the only one"):
        cuda.find_gpu(1)
    machine.names.append("Second")
    assert cuda.find_gpu(1).name == "Second"
    with pytest.raises(
        EngineMissingError, match="cuda:2 does not exist: there are cuda:0 to cuda:1"
    ):
        cuda.find_gpu(2)


def test_the_stand_in_has_cudas_names_and_arguments(machine):
    from cuda.bindings import runtime as real

    stood_in = [name for name in vars(type(machine)) if name.startswith("cuda")]
    assert len(stood_in) > 15
    for name in stood_in:
        signature = re.match(rf"{name}\((.*)\)", getattr(real, name).__doc__)
        theirs = [part.split()[-1] for part in signature[1].split(", ") if part]
        ours = list(inspect.signature(getattr(machine, name)).parameters)
        assert len(ours) == len(theirs), f"{name}: {theirs}"
