"""CUDA's memory, streams and graphs, against the stand-in: no GPU is at hand here."""

import pytest

from depthrefl_ros.engine.tensorrt import cuda


@pytest.fixture
def machine(monkeypatch):
    """A machine with a GPU and TensorRT 10.3, both stood in for."""
    pytest.importorskip("cuda.bindings.runtime", reason="cuda-python is not installed")
    from cuda_stand_in import stand_in

    return stand_in(monkeypatch, "tensorrt", max_batch=2)


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
