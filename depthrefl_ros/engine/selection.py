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

"""Which engine runs on this machine: the first that opens and passes the self-test."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from depthrefl_ros.engine.base import BuildStoppedError, Engine, EngineError, EngineMissingError
from depthrefl_ros.engine.bundle import Bundle, BundleError
from depthrefl_ros.engine.ladder import TENSORRT, Rung, rungs
from depthrefl_ros.engine.openvino_engine import OpenVinoEngine
from depthrefl_ros.engine.self_test import SelfTestReport, self_test
from depthrefl_ros.engine.tensorrt.source import PlanSource
from depthrefl_ros.engine.torch_engine import TorchEngine
from depthrefl_ros.settings import Changeable, check, setting

if TYPE_CHECKING:
    from depthrefl_ros.engine.tensorrt.run import TensorRTEngine

ENGINES = ("auto", "tensorrt", "tensorrt_rtx", "openvino", "torch")
PRECISIONS = ("auto", "fp32", "fp16", "bf16", "int8")
BUILDS = ("auto", "never", "force")

# Device files of NVIDIA's drivers (desktop, Jetson, WSL): looked at before TensorRT or torch are
# imported, which takes seconds. A container may have been given any GPU of several, but always has
# nvidiactl.
_NVIDIA_DEVICES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/nvhost-gpu", "/dev/nvgpu", "/dev/dxg")


@dataclass(frozen=True)
class EngineChoice:
    """Which engine the user wants.

    Attributes:
        kind: one of ``ENGINES``.
        precision: one of ``PRECISIONS``; ``auto`` is fp16 for TensorRT and fp32 for the others.
            ``int8`` is for OpenVINO and TensorRT, where the bundle has it.
        build: one of ``BUILDS``; what becomes of TensorRT engines that the cache lacks.
        threads: of the CPU, 0 for the runtime's own choice.
        falls_back: where ``kind`` does not work, those that ``auto`` would try after it may run.
        device: on which it runs; empty for the engine's own choice. TensorRT and torch take the
            index of a CUDA GPU, ``1`` or ``cuda:1``; OpenVINO takes ``CPU``, ``GPU``, ``GPU.1``,
            ``NPU`` or ``AUTO``; torch also takes ``CPU``.

    Raises:
        ValueError: a value is unknown, or the engine does not run on such a device.
    """

    kind: str = setting(
        "auto",
        "Runtime of the network; auto takes the first that works and passes its self-test.",
        name="engine",
        choices=ENGINES,
        changeable=Changeable.UNCONFIGURED,
    )
    precision: str = setting(
        "auto",
        "Arithmetic of the network; auto is fp16 for TensorRT and fp32 for the others.",
        choices=PRECISIONS,
        changeable=Changeable.UNCONFIGURED,
    )
    build: str = setting(
        "auto",
        "TensorRT plans: auto builds those not in the cache; never does not build; force rebuilds.",
        choices=BUILDS,
        changeable=Changeable.UNCONFIGURED,
    )
    threads: int = setting(
        0,
        "CPU threads of the engine; 0 leaves the number to the runtime.",
        name="engine_threads",
        limits=(0, 256),
        changeable=Changeable.UNCONFIGURED,
    )
    falls_back: bool = False
    device: str = setting(
        "",
        "Where the engine runs; empty leaves it to the engine. Index of a CUDA GPU (1 or cuda:1) "
        "for TensorRT and torch; CPU, GPU, GPU.1, NPU or AUTO for OpenVINO.",
        changeable=Changeable.UNCONFIGURED,
    )

    def __post_init__(self) -> None:
        check(self)
        next(rungs(self.kind, self.device))


@dataclass(frozen=True)
class OpenedEngine:
    """A working engine, and how it was found.

    Attributes:
        engine: passed the self-test.
        report: of the self-test.
        steps: what was tried in order and how it went, for people.
        problems: those of them that should not have happened: something that is there does not
            work, or something else runs than what was asked for.
        rung: what ``open_engine`` takes in ``skip`` to try everything but this one.
        retire: says that the engine fails or hangs, to those who would share it.
        withdraw: ends the wait of an image for its turn at a shared one, with ``WithdrawnError``.
    """

    engine: Engine
    report: SelfTestReport
    steps: list[str]
    problems: list[str] = field(default_factory=list)
    rung: str = ""
    retire: Callable[[], None] = lambda: None
    withdraw: Callable[[], None] = lambda: None


def open_engine(
    bundle: Bundle,
    choice: EngineChoice | str = "auto",
    plans: PlanSource | None = None,
    on_step: Callable[[str, bool], None] | None = None,
    skip: frozenset[str] = frozenset(),
) -> OpenedEngine:
    """Open the engine asked for, or with ``auto`` the first that works, and self-test it.

    An engine that fails in half precision is tried once more in fp32.

    Args:
        bundle: the model.
        choice: what the user wants; a kind alone stands for a choice of that kind.
        plans: where TensorRT plans come from, and how many images the engine will be given at
            once; None for the user's cache, ``choice.build`` and one image.
        on_step: told each of ``OpenedEngine.steps`` when it happens, and whether it is a problem.
        skip: rungs (``OpenedEngine.rung``) that are not tried again, since they failed while they
            ran.

    Raises:
        ValueError: the kind is unknown.
        EngineError: the one asked for does not work, or none does; the message says for each why.
        BundleError: the golden outputs cannot be read.
        BuildStoppedError: ``plans.stop`` was called.
    """
    choice = EngineChoice(choice) if isinstance(choice, str) else choice
    plans = plans or PlanSource(choice.build)
    walk = _Walk(bundle, choice, plans, on_step or (lambda step, is_problem: None))
    for rung in rungs(choice.kind, choice.device, choice.falls_back):
        opened = walk.try_rung(rung) if rung.name not in skip else walk.skip_rung(rung)
        if opened is not None:
            return opened
    steps = "; ".join(walk.steps)
    if choice.kind == "auto" or choice.falls_back:
        raise EngineError(f"no engine works for model {bundle.name}: {steps}")
    does_not = f"engine {choice.kind} does not work for model {bundle.name}"
    raise EngineError(f"{does_not}: {steps}{_others_words(choice.kind)}")


def _others_words(kind: str) -> str:
    """Return what may be asked for instead of an engine."""
    others = [one for one in ENGINES if one not in ("auto", kind) and importlib.util.find_spec(one)]
    installed = f"; installed here: {', '.join(others)}" if others else ""
    return f"{installed}; engine auto takes the first that works"


class _Walk:
    """One descent of the ladder, with the outcome of each rung."""

    def __init__(
        self,
        bundle: Bundle,
        choice: EngineChoice,
        plans: PlanSource,
        on_step: Callable[[str, bool], None],
    ):
        self._bundle, self._choice, self._plans = bundle, choice, plans
        self._on_step = on_step
        self.steps: list[str] = []
        self._problems: list[str] = []
        self._kernels = b""  # that the last TensorRT engine was opened with

    def skip_rung(self, rung: Rung) -> None:
        """Pass by a rung that has failed while it ran."""
        self._note(f"{rung.name}: not tried again, it failed while it ran", is_problem=True)

    def try_rung(self, rung: Rung) -> OpenedEngine | None:
        """Return the engine of this rung, in the first precision in which it works; else None."""
        for precision in self._precisions(rung):
            label, engine = f"{rung.name} {precision}", None
            try:
                engine = self._open(rung, precision)
                report = self._proven(engine)
            except (BundleError, BuildStoppedError):
                raise
            except EngineMissingError as error:
                self._note(f"{rung.name}: {error}")
                return None
            except Exception as error:  # a broken runtime raises anything, OSError for one
                runtime = _runtime_words(rung.engine, has_run=engine is not None)
                self._note(f"{label}: {error}{runtime}", is_problem=True)
                continue
            if rung.engine in TENSORRT:
                self._keep_kernels(engine, rung, precision)
            runtime = _runtime_words(rung.engine)
            self._note(f"{label}: chosen, on {engine.device}{runtime}; self-test {report}")
            self._compare_with_choice(engine, rung, precision)
            return OpenedEngine(engine, report, self.steps, self._problems, rung.name)
        return None

    def _precisions(self, rung: Rung) -> tuple[str, ...]:
        precision = self._choice.precision
        if precision == "auto":
            # NPUs have no float32.
            precision = "fp16" if rung.engine in TENSORRT or rung.device == "NPU" else "fp32"
        return (precision,) if precision == "fp32" else (precision, "fp32")

    def _open(self, rung: Rung, precision: str) -> Engine:
        try:
            return self._open_rung(rung, precision)
        except BundleError as error:  # a file that the other rungs do not need
            raise EngineError(str(error)) from error

    def _open_rung(self, rung: Rung, precision: str) -> Engine:
        if rung.engine in TENSORRT:
            return self._open_tensorrt(rung, precision)
        threads = self._choice.threads
        if rung.engine == "openvino":
            return OpenVinoEngine(self._bundle, threads, rung.device, precision=precision)
        if rung.gpu is not None:
            _need_nvidia("torch")
        return TorchEngine(
            self._bundle,
            threads,
            rung.device,
            precision=precision,
            max_batch=self._plans.batch,
        )

    def _open_tensorrt(self, rung: Rung, precision: str) -> Engine:
        flavour, gpu = rung.engine, rung.gpu
        # Who asks for it by name gets it built in any case, but not for a GPU that is not there.
        if self._choice.kind != flavour or self._choice.device:
            _need_nvidia(flavour)
            _need_gpu(flavour, gpu)
        from depthrefl_ros.engine.tensorrt.run import TensorRTEngine

        stored = self._plans.get(self._bundle, flavour, precision, gpu)
        origin = "from the cache" if stored.is_cached else "built"
        self._note(f"{rung.name} {precision}: {origin}, {len(stored.data) / 1e6:.1f} MB")
        self._note_cache(rung, precision, stored.notes)
        _need_gpu(flavour, gpu)
        self._kernels = self._plans.kernels(self._bundle, flavour, precision, gpu)
        try:
            return TensorRTEngine(
                stored.data,
                flavour,
                self._bundle.height,
                self._bundle.width,
                self._bundle.outputs,
                self._plans.batch,
                precision=precision,
                channels=self._bundle.channels,
                runtime_cache=self._kernels,
                gpu=gpu,
            )
        except EngineError as error:
            if not stored.is_cached:
                raise
            raise EngineError(f"{error}; it is from the cache: try build:=force") from error

    def _keep_kernels(self, engine: TensorRTEngine, rung: Rung, precision: str) -> None:
        """Store what the runtime compiled for this GPU while the engine proved itself."""
        if self._kernels:
            return
        try:
            kernels = engine.runtime_cache()
            if kernels:
                notes = self._plans.keep_kernels(
                    self._bundle, engine.name, precision, kernels, rung.gpu
                )
                self._note_cache(rung, precision, notes)
        except Exception as error:  # the next start takes longer, and that is all
            self._note(f"{rung.name} {precision}: kernels not kept: {error}", is_problem=True)

    def _proven(self, engine: Engine) -> SelfTestReport:
        try:
            return self_test(engine, self._bundle)
        except Exception:
            engine.close()
            raise

    def _compare_with_choice(self, engine: Engine, rung: Rung, precision: str) -> None:
        kind, wanted, device = self._choice.kind, self._choice.precision, self._choice.device
        if kind not in ("auto", engine.name):
            self._problems.append(f"engine {kind} was asked for; {engine.name} runs")
        elif device and rung not in rungs(kind, device):
            self._problems.append(f"device {device} was asked for; {rung.name} runs")
        if wanted not in ("auto", precision):
            self._problems.append(f"precision {wanted} was asked for; {precision} runs")

    def _note_cache(self, rung: Rung, precision: str, notes: tuple[str, ...]) -> None:
        for note in notes:
            step = f"{rung.name} {precision}: {note}"
            if step not in self.steps:  # plan and kernels meet the same full disk
                self._note(step, is_problem=True)

    def _note(self, step: str, is_problem: bool = False) -> None:
        self.steps.append(step)
        if is_problem:
            self._problems.append(step)
        self._on_step(step, is_problem)


def _need_nvidia(module: str) -> None:
    """Tell whether it is worth importing a module that needs CUDA.

    Raises:
        EngineMissingError: the module is not installed, or no NVIDIA device is there.
    """
    if importlib.util.find_spec(module) is None:
        raise EngineMissingError(f"{module} is not installed")
    if not has_nvidia_device():
        raise EngineMissingError("no NVIDIA device file is present")


def has_nvidia_device() -> bool:
    """Tell whether a device file of one of NVIDIA's drivers is there."""
    return any(Path(device).exists() for device in _NVIDIA_DEVICES)


def _need_gpu(flavour: str, gpu: int) -> None:
    """Raise EngineMissingError where the runtime, CUDA or this GPU is missing."""
    from depthrefl_ros.engine.tensorrt.api import find_flavour

    found = find_flavour(flavour, gpu)
    if not found.can_run:
        raise EngineMissingError(found.reason)


def _runtime_words(engine: str, has_run: bool = False) -> str:
    """Return which TensorRT it was, nothing for the others.

    Args:
        engine: of the rung.
        has_run: an engine computed wrongly: versions that are known for it get a hint.
    """
    if engine not in TENSORRT:
        return ""
    from depthrefl_ros.engine.tensorrt.api import find_flavour

    found = find_flavour(engine)
    hint = f"; {found.known_fault}" if has_run and found.known_fault else ""
    return f" ({engine} {found.version}{hint})"
