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

"""The order in which engines are tried, and the device that each of them runs on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from depthrefl_ros.settings import SettingError

TENSORRT = ("tensorrt", "tensorrt_rtx")
_CUDA = re.compile(r"cuda|(?:cuda:)?(\d+)")
_OPENVINO = re.compile(r"CPU|GPU(\.\d+)?|NPU|AUTO")


@dataclass(frozen=True)
class Rung:
    """One engine on one device.

    Attributes:
        engine: ``tensorrt``, ``tensorrt_rtx``, ``openvino`` or ``torch``.
        device: ``cuda:0``... for TensorRT and torch, ``cpu`` for torch, ``CPU``, ``GPU``,
            ``GPU.1``, ``NPU`` or ``AUTO`` for OpenVINO.
    """

    engine: str
    device: str

    @property
    def name(self) -> str:
        """The rung as messages and ``open_engine(skip=...)`` call it."""
        return _NAMES.get(self, f"{self.engine} on {self.device}")

    @property
    def gpu(self) -> int | None:
        """Index of the CUDA device; None where it is none."""
        return int(self.device[len("cuda:") :]) if self.device.startswith("cuda") else None


# What ``auto`` goes down, and what its rungs are called.
_NAMES = {
    Rung("tensorrt", "cuda:0"): "tensorrt",
    Rung("tensorrt_rtx", "cuda:0"): "tensorrt_rtx",
    Rung("torch", "cuda:0"): "torch on CUDA",
    Rung("openvino", "CPU"): "openvino",
    Rung("torch", "cpu"): "torch on CPU",
}
_RUNGS = tuple(_NAMES)


def rungs(kind: str, device: str = "", falls_back: bool = False) -> Iterator[Rung]:
    """Yield what to try, in order and each once.

    Args:
        kind: ``auto`` or an engine.
        device: on which it must run; empty for each engine's own choice.
        falls_back: after these, whatever ``auto`` would try later; on its own device where the
            engine does not know ``device``.

    Raises:
        SettingError: no engine knows this device, or not this kind.
    """
    of_kind = [rung for rung in _RUNGS if kind in ("auto", rung.engine)]
    wanted = of_kind if not device else _on(device, of_kind, kind)
    yield from wanted
    if falls_back:
        start = next(i for i, rung in enumerate(_RUNGS) if rung.engine == wanted[0].engine)
        # Who asked for the CPU or an Intel GPU does not get CUDA instead.
        later = (rung for rung in _RUNGS[start:] if not device or not _climbs(rung, wanted[0]))
        yield from (rung for rung in later if rung not in wanted)


def _climbs(rung: Rung, wanted: Rung) -> bool:
    return rung.gpu is not None and wanted.gpu is None


def _on(device: str, of_kind: list[Rung], kind: str) -> list[Rung]:
    cuda, openvino = _CUDA.fullmatch(device.lower()), _OPENVINO.fullmatch(device.upper())
    if not cuda and not openvino:
        raise SettingError(
            f"device is {device!r}; known are the index of a CUDA GPU (1 or cuda:1), CPU, GPU, "
            "GPU.1, NPU and AUTO"
        )
    on_device = []
    for rung in of_kind:
        if cuda and rung.gpu is not None:
            on_device.append(Rung(rung.engine, f"cuda:{int(cuda[1] or 0)}"))
        elif openvino and rung.engine == "openvino":
            on_device.append(Rung(rung.engine, device.upper()))
        elif rung.device == device.lower():
            on_device.append(rung)
    if not on_device:
        takes = "CPU, GPU, GPU.1, NPU or AUTO" if kind == "openvino" else "the index of a CUDA GPU"
        also = " or CPU" if kind == "torch" else ""
        raise SettingError(f"device is {device!r}; engine {kind} takes {takes}{also}")
    return on_device
