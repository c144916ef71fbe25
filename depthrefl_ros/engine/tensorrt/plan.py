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

"""What a TensorRT plan is: a serialised engine, its key, and the network that it was built from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace

from depthrefl_ros.engine.base import EngineError, EngineMissingError
from depthrefl_ros.engine.bundle import INT8, MAKE_INT8, Bundle
from depthrefl_ros.engine.tensorrt.api import find_flavour
from depthrefl_ros.engine.tensorrt.cuda import Gpu, find_gpu

# Which of a bundle's files has which precision (networks are strongly typed).
ONNX_FILES = {"fp32": "model.onnx", "fp16": "model_fp16.onnx", "int8": INT8}
# Counts up whenever ``int8_network`` makes another network of the same two files.
_INT8_RECIPE = "symmetric scales over fp16, recipe 2"
INPUT = "images"


@dataclass(frozen=True)
class PlanKey:
    """What a plan was built from, by what, and for what: another value, another plan.

    Attributes:
        model: name of the bundle; for people, it does not make another plan.
        onnx_sha256: of the ONNX file and its weights (``Bundle.network_digest``), hexadecimal; in
            int8 of two files.
        engine: ``tensorrt`` or ``tensorrt_rtx``.
        engine_version: of that library.
        driver: version of the GPU's driver; empty where it was built without one.
        gpu: name of the GPU; empty where it was built without one.
        compute_capability: such as ``8.7``; several where it was built for several.
        precision: ``fp32``, ``fp16`` or ``int8``.
        height: of the input, pixels.
        width: of the input, pixels.
        batch: the largest.
        options: of the builder, in words; their order counts.
        content: ``plan``, or what else is kept for it: ``kernels`` that RTX compiled for this GPU,
            ``times`` of kernels that TensorRT's builder measured.
    """

    model: str
    onnx_sha256: str
    engine: str
    engine_version: str
    driver: str
    gpu: str
    compute_capability: str
    precision: str
    height: int
    width: int
    batch: int
    options: tuple[str, ...] = ()
    content: str = "plan"

    def of_kernels(self) -> PlanKey:
        """Return the key of the kernels that the runtime compiled when it ran this plan."""
        return replace(self, content="kernels")

    def of_times(self) -> PlanKey:
        """Return the key of the kernel times on this GPU: they serve every model and precision."""
        return replace(
            self,
            **{"model": "any model", "onnx_sha256": "", "precision": "any precision"},
            **{"height": 0, "width": 0, "batch": 0, "options": (), "content": "times"},
        )

    def digest(self) -> str:
        """Return the SHA-256 over everything that makes another plan, hexadecimal."""
        content = asdict(self)
        del content["model"]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def __str__(self) -> str:
        target = self.gpu or "no GPU"
        if self.compute_capability:
            target += f" (compute capability {self.compute_capability})"
        runtime = [f"{self.engine} {self.engine_version}", target]
        runtime += [f"driver {self.driver}"] if self.driver else []
        if self.content == "times":
            return ", ".join(["kernel times for any model", *runtime])
        words = [f"{self.model} {self.width}x{self.height} {self.precision}"]
        words += [f"batch {self.batch}", *runtime, *self.options]
        words += ["kernels compiled for this GPU"] if self.content == "kernels" else []
        return ", ".join([*words, f"ONNX {self.onnx_sha256[:12]}"])


@dataclass(frozen=True)
class StoredPlan:
    """A plan that may be deserialised.

    Attributes:
        data: the plan, whose hash was checked or which was just built.
        is_cached: it came from the store and was not built now.
        notes: what was wrong with the store, for people; empty where all is well.
    """

    data: bytes
    is_cached: bool
    notes: tuple[str, ...] = ()


def plan_key(
    bundle: Bundle,
    flavour: str,
    precision: str,
    batch: int = 1,
    targets: tuple[str, ...] = (),
    gpu: int = 0,
) -> PlanKey:
    """Return the key under which the store has the plan that this machine needs.

    Args:
        bundle: the model.
        flavour: ``tensorrt`` or ``tensorrt_rtx``.
        precision: ``fp32``, ``fp16`` or ``int8``.
        batch: the largest.
        targets: compute capabilities to build for, ``sm86``...; none for the runtime's choice.
        gpu: index of the CUDA device that it shall run on. Its name and compute capability are in
            the key, not its index: GPUs of one kind share a plan.

    Raises:
        EngineMissingError: the runtime is not installed, or needs a GPU and finds none.
        EngineError: the bundle has no file of this precision, or for int8 none of fp16.
    """
    found = find_flavour(flavour, gpu)
    if not found.can_build:
        raise EngineMissingError(found.reason)
    options = (f"targets {', '.join(targets)}",) if targets else ()
    if precision == "int8":
        options = (_INT8_RECIPE, *options)
    device = Gpu("", "", 0, "") if not found.can_run else find_gpu(gpu)
    return PlanKey(
        model=bundle.name,
        onnx_sha256=_network_digest(bundle, flavour, precision),
        engine=flavour,
        engine_version=found.version,
        driver=device.driver,
        gpu=device.name,
        compute_capability=device.compute_capability,
        precision=precision,
        height=bundle.height,
        width=bundle.width,
        batch=batch,
        options=options,
    )


def _network_digest(bundle: Bundle, flavour: str, precision: str) -> str:
    """Return the SHA-256 over all that a plan of this precision is made of, hexadecimal.

    Raises:
        EngineError: the bundle lacks a file.
    """
    if precision == "int8" and INT8 not in bundle.files:
        raise EngineError(f"{bundle.folder} has no {INT8}: {MAKE_INT8}")
    # In int8 are the convolutions of a network in fp16.
    needed = ("fp16", "int8") if precision == "int8" else (precision,)
    for one in needed:
        if ONNX_FILES.get(one) not in bundle.files:
            reason = f", which {flavour} needs for int8" if one != precision else f" for {flavour}"
            raise EngineError(f"model {bundle.name} has no {one} file{reason}")
    digests = [bundle.network_digest(ONNX_FILES[one]) for one in needed]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest()
