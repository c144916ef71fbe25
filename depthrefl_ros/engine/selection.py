"""Which engine runs on this machine: the first that opens and passes the self-test."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from depthrefl_ros.engine.base import Engine, EngineError, SelfTestReport, self_test
from depthrefl_ros.engine.bundle import Bundle, BundleError
from depthrefl_ros.engine.openvino_engine import OpenVinoEngine
from depthrefl_ros.engine.torch_engine import TorchEngine

ENGINES = ("auto", "openvino", "torch")

# Device files of NVIDIA's drivers, desktop and Jetson: looked at before torch is imported, which
# takes seconds.
_NVIDIA_DEVICES = ("/dev/nvidia0", "/dev/nvhost-gpu", "/dev/nvgpu")


@dataclass(frozen=True)
class OpenedEngine:
    """A working engine, and how it was found.

    Attributes:
        engine: passed the self-test.
        report: of the self-test.
        steps: what was tried in order and how it went, for people.
    """

    engine: Engine
    report: SelfTestReport
    steps: list[str]


def _torch_on_cuda(bundle: Bundle, threads: int) -> Engine:
    if importlib.util.find_spec("torch") is None:
        raise EngineError("torch is not installed")
    if not any(Path(device).exists() for device in _NVIDIA_DEVICES):
        raise EngineError("no NVIDIA device file is present")
    return TorchEngine(bundle, threads, "cuda")


def _torch_on_cpu(bundle: Bundle, threads: int) -> Engine:
    return TorchEngine(bundle, threads, "cpu")


Candidate = tuple[str, Callable[[Bundle, int], Engine]]


def _candidates(kind: str) -> tuple[Candidate, ...]:
    if kind == "auto":
        return (
            ("torch on CUDA", _torch_on_cuda),
            ("openvino", OpenVinoEngine),
            ("torch on CPU", _torch_on_cpu),
        )
    return ((kind, {"openvino": OpenVinoEngine, "torch": TorchEngine}[kind]),)


def open_engine(bundle: Bundle, kind: str = "auto", threads: int = 0) -> OpenedEngine:
    """Opens the engine asked for, or with ``auto`` the first that works, and self-tests it.

    Args:
        bundle: the model.
        kind: one of ``ENGINES``.
        threads: CPU threads, 0 for the runtime's own choice.

    Raises:
        ValueError: ``kind`` is unknown.
        EngineError: none works; the message says for each why.
        BundleError: the golden outputs cannot be read.
    """
    if kind not in ENGINES:
        raise ValueError(f"engine is {kind!r}; known are {ENGINES}")
    steps = []
    for label, opener in _candidates(kind):
        try:
            engine = opener(bundle, threads)
            report = self_test(engine, bundle)
        except BundleError:
            raise
        except Exception as error:  # a broken runtime raises anything, OSError for one
            steps.append(f"{label}: {error}")
            continue
        steps.append(f"{label}: chosen, on {engine.device}; self-test {report}")
        return OpenedEngine(engine, report, steps)
    raise EngineError(f"no engine works for model {bundle.name}: " + "; ".join(steps))
