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

"""What this machine has to run a model with: processor, GPU, inference runtimes, cache, models.

Each probe answers with one finding whatever is missing or broken, and imports what it looks at
only when it is called.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# Instructions that decide how fast OpenVINO computes, as /proc/cpuinfo names them.
_INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimdhp", "bf16")


@dataclass(frozen=True)
class Finding:
    """What one probe found.

    Attributes:
        name: of what was looked at.
        state: ``ok``; ``missing``: not here, and not everybody needs it; ``warning``: here, with a
            fault; ``error``: needed and not usable.
        text: for people; where something is wrong, also what would mend it.
        facts: the same for programs, plain values.
    """

    name: str
    state: str
    text: str
    facts: dict[str, Any] = field(default_factory=dict)


def guarded(name: str, probe: Callable[[], Finding]) -> Finding:
    """Return the probe's finding, or an error's: broken installations raise anything."""
    try:
        return probe()
    except Exception as error:
        return Finding(name, "error", f"cannot be looked at: {type(error).__name__}: {error}")


def findings() -> Iterator[Finding]:
    """Yield everything about engines, in the order in which ``auto`` thinks of it."""
    yield guarded("processor", _processor)
    yield guarded("libraries", _libraries)
    yield guarded("GPU", _gpu)
    # tensorrt_api.FLAVOURS, which cannot be imported where numpy is broken.
    for flavour in ("tensorrt", "tensorrt_rtx"):
        yield guarded(flavour, lambda flavour=flavour: _tensorrt(flavour))
    yield guarded("torch", _torch)
    yield guarded("openvino", _openvino)
    yield guarded("engine cache", _cache)
    yield guarded("models", _models)


def processor() -> dict[str, Any]:
    """Return name, fast instructions, usable cores, memory in bytes, and the load average."""
    values = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        values.setdefault(key.strip(), value.strip())
    flags = (values.get("flags") or values.get("Features") or "").split()
    return {
        "name": values.get("model name") or platform.machine(),
        "instructions": [name for name in _INSTRUCTIONS if name in flags],
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "load_average": os.getloadavg(),
    }


def package_version(*names: str) -> str:
    """Return the version of the first of these Python packages that is installed; empty without."""
    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return ""


def _processor() -> Finding:
    facts = processor()
    text = (
        f"{facts['name']}, {facts['cores']} cores ({' '.join(facts['instructions'])}), "
        f"{facts['memory_bytes'] / 1e9:.0f} GB, load {facts['load_average'][0]:.1f}; "
        f"Python {platform.python_version()} on {platform.machine()}"
    )
    facts |= {"python": platform.python_version(), "architecture": platform.machine()}
    return Finding("processor", "ok", text, facts)


def _libraries() -> Finding:
    import cv2
    import numpy

    if importlib.util.find_spec("yaml") is None:
        text = "no model and no parameter file can be read without PyYAML: pip install pyyaml"
        return Finding("libraries", "error", text)
    facts = {"numpy": numpy.__version__, "opencv": cv2.__version__}
    text = f"numpy {numpy.__version__}, OpenCV {cv2.__version__}"
    hints = []
    if int(cv2.__version__.split(".")[0]) >= 5:
        hints = ['cv_bridge fails on colour images with it: pip install "opencv-python-headless<5"']
    if importlib.util.find_spec("tqdm") is None:
        hints.append("commands with a progress bar and training need tqdm: pip install tqdm")
    if hints:
        return Finding("libraries", "warning", "; ".join([text, *hints]), facts)
    return Finding("libraries", "ok", text, facts)


def _gpu() -> Finding:
    from depthrefl_ros.engine.base import EngineError, EngineMissingError
    from depthrefl_ros.engine.selection import has_nvidia_device
    from depthrefl_ros.engine.tensorrt.cuda import driver_version, find_gpu

    try:
        gpu = find_gpu()
    except EngineMissingError as error:
        driver = driver_version()
        if not (driver or has_nvidia_device()):
            return Finding("GPU", "missing", str(error))
        text = f"not usable, although NVIDIA's driver {driver} is here: {error}"
        return Finding("GPU", "warning", text, {"driver": driver})
    except EngineError as error:
        return Finding("GPU", "error", str(error))
    facts = {
        "name": gpu.name,
        "compute_capability": gpu.compute_capability,
        "memory_bytes": gpu.memory_bytes,
        "driver": gpu.driver,
    }
    text = (
        f"{gpu.name}, compute capability {gpu.compute_capability}, "
        f"{gpu.memory_bytes / 1e9:.1f} GB, driver {gpu.driver}"
    )
    return Finding("GPU", "ok", text, facts)


def _tensorrt(flavour: str) -> Finding:
    from depthrefl_ros.engine.base import EngineError, EngineMissingError
    from depthrefl_ros.engine.tensorrt.api import find_flavour, load_runtime

    try:
        load_runtime(flavour)
    except EngineMissingError as error:
        return Finding(flavour, "missing", str(error))
    except EngineError as error:
        return Finding(flavour, "error", str(error))
    found = find_flavour(flavour)
    facts = {
        "version": found.version,
        "can_build": found.can_build,
        "can_run": found.can_run,
        "known_fault": found.known_fault,
    }
    abilities = [f"{found.version}, {'builds' if found.can_build else 'cannot build'} here"]
    abilities.append("runs here" if found.can_run else f"cannot run here: {found.reason}")
    if found.known_fault:
        return Finding(flavour, "warning", "; ".join([*abilities, found.known_fault]), facts)
    return Finding(flavour, "ok" if found.can_run else "missing", "; ".join(abilities), facts)


def _torch() -> Finding:
    # Not imported: that takes seconds, and the choice of the engine does it where it matters.
    if importlib.util.find_spec("torch") is None:
        return Finding("torch", "missing", "not installed; needed to train and export only")
    found = package_version("torch")
    if not found:
        return Finding("torch", "missing", "not installed as a package: not usable")
    return Finding("torch", "ok", found, {"version": found})


def _openvino() -> Finding:
    if importlib.util.find_spec("openvino") is None:
        return Finding("openvino", "missing", "not installed: pip install openvino")
    from depthrefl_ros.engine.openvino_engine import load_openvino, openvino_core

    openvino, core = load_openvino(), openvino_core()
    devices = {
        device: {
            "name": str(core.get_property(device, "FULL_DEVICE_NAME")).strip(),
            "precisions": [
                kind.lower()
                for kind in core.get_property(device, "OPTIMIZATION_CAPABILITIES")
                if kind in ("FP32", "FP16", "BF16")
            ],
        }
        for device in core.available_devices
    }
    facts = {"version": openvino.__version__, "devices": devices}
    listed = [f"{key}: {d['name']} ({', '.join(d['precisions'])})" for key, d in devices.items()]
    number = openvino.__version__.split("-")[0]
    if not devices:
        return Finding("openvino", "error", f"{number} finds no device, not even a CPU", facts)
    return Finding("openvino", "ok", f"{number}; {'; '.join(listed)}", facts)


def _cache() -> Finding:
    from depthrefl_ros.engine.tensorrt.store import PlanStore, PlanStoreError

    try:
        cache = PlanStore()
        entries = cache.entries()
    except PlanStoreError as error:
        return Finding("engine cache", "warning", f"not used: {error}")
    size = sum(entry.size for entry in entries)
    problems = [entry.problem for entry in entries if entry.problem]
    facts = {
        "folder": str(cache.folder),
        "bytes": size,
        "engines": [str(entry.key or entry.path.name) for entry in entries],
        "problems": problems,
    }
    if problem := _storing_problem(cache.folder):
        text = f"nothing can be stored in {cache.folder}: {problem}; XDG_CACHE_HOME names another"
        return Finding("engine cache", "warning", text, facts)
    text = f"{len(entries)} engines, {size / 1e6:.1f} MB in {cache.folder}"
    if problems:
        text += f"; {len(problems)} will be built again: {problems[0]}"
    return Finding("engine cache", "warning" if problems else "ok", text, facts)


def _storing_problem(folder: Path) -> str:
    """Return why nothing can be stored in a folder, which may have to be made; empty if it can.

    Permissions do not tell: nobody can write to /proc, and root may write to all of it.
    """
    while not folder.exists():
        folder = folder.parent
    try:
        with tempfile.TemporaryDirectory(prefix=".depthrefl_", dir=folder) as trial:
            (Path(trial) / "trial").write_bytes(b"0")
    except OSError as error:
        return f"{folder}: {error.strerror}"
    return ""


def _models() -> Finding:
    from depthrefl_ros.engine.bundle import SHIPPED, Bundle, BundleError, shipped_models

    good, bad = [], []
    for name in shipped_models():
        try:
            good.append(bundle_facts(Bundle.load(name)))
        except BundleError as error:
            bad.append(str(error))
    facts = {"models": good, "problems": bad}
    listed = [f"{one['name']} {one['width']}x{one['height']}" for one in good]
    if bad or not good:
        none = f"there is none in {SHIPPED}: install the package again"
        return Finding("models", "error", "; ".join([*listed, *bad]) or none, facts)
    return Finding("models", "ok", ", ".join(listed), facts)


def bundle_facts(bundle: Any) -> dict[str, Any]:
    """Return what a user must know of a model: size, range, terms of use and where it is from."""
    from depthrefl_ros.engine.bundle import INT8

    return {
        "name": bundle.name,
        "folder": str(bundle.folder),
        "width": bundle.width,
        "height": bundle.height,
        "range_m": [bundle.min_range_m, bundle.max_range_m],
        "has_int8": INT8 in bundle.files,
        "licence": bundle.licence,
        "commercial": bundle.commercial,
        "source": bundle.source,
        "sources": bundle.sources,
        "origin": bundle.origin,
        "bytes": sum((bundle.folder / name).stat().st_size for name in bundle.files),
    }
