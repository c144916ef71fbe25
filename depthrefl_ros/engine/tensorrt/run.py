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

"""TensorRT and TensorRT-RTX: NVIDIA GPUs, from Jetsons to desktops."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from depthrefl_ros.engine.base import Engine, EngineError
from depthrefl_ros.engine.tensorrt.api import (
    create,
    create_context,
    device_memory_bytes,
    is_rtx,
    load_runtime,
    open_runtime_cache,
    runtime_log,
)
from depthrefl_ros.engine.tensorrt.cuda import CudaStream, find_gpu, use_gpu
from depthrefl_ros.engine.tensorrt.plan import INPUT

_Work = Callable[[], None]
_log = logging.getLogger(__name__)


class TensorRTEngine(Engine):
    """A plan on the GPU: one upload, one graph replay and one download per batch.

    A plan is code: open only what ``build_plan`` or the engine cache handed out.

    Args:
        plan: of ``tensorrt_plan.build_plan``.
        flavour: ``tensorrt`` or ``tensorrt_rtx``, the one that built it.
        height: of the input, pixels.
        width: of the input, pixels.
        outputs: of the network, by name (``Bundle.outputs``).
        max_batch: for which the plan was built; larger batches run in parts.
        precision: ``fp32``, ``fp16`` or ``int8``.
        channels: of the input (``Bundle.channels``).
        runtime_cache: what ``runtime_cache`` returned at an earlier start on this machine.
        gpu: index of the CUDA device.

    Raises:
        EngineError: the runtime, the driver or a GPU is missing, or the runtime refuses the plan.

    Attributes:
        memory_bytes: taken on the GPU, weights and scratch; each batch size that is seen takes the
            scratch memory once more.
    """

    def __init__(
        self,
        plan: bytes,
        flavour: str,
        height: int,
        width: int,
        outputs: tuple[str, ...],
        max_batch: int = 1,
        *,
        precision: str,
        channels: int = 3,
        runtime_cache: bytes = b"",
        gpu: int = 0,
    ):
        module, log = load_runtime(flavour), runtime_log(flavour)
        self.name, self.precision = flavour, precision
        self.height, self.width, self.channels = height, width, channels
        self.max_batch = max_batch
        self._log, self._outputs = log, outputs
        with suppress(EngineError):  # the refusal below says why
            use_gpu(gpu)
        self._runtime = create(flavour, "Runtime")
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            words = log.take_errors()
            raise EngineError(
                f"{flavour} {module.__version__} refuses the plan ({_gpu_words(gpu)}): {words}"
            )
        self.device = find_gpu(gpu).name
        self._check_shapes()
        self._module = module
        self._cache = open_runtime_cache(module, self._engine, runtime_cache)
        self._stream = CudaStream(gpu)
        try:
            self._input = self._stream.allocate(max_batch * height * width * channels)
            self._output = self._stream.allocate(
                len(self._outputs) * max_batch * height * width * 4
            )
        except EngineError:
            self._stream.close()
            raise
        self.memory_bytes = len(plan) + device_memory_bytes(self._engine)
        self._batches: dict[int, _Batch] = {}  # by the number of images

    def _check_shapes(self) -> None:
        names = {self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)}
        if names != {INPUT, *self._outputs}:
            raise EngineError(f"the plan's tensors are {sorted(names)}; another network's?")
        found = tuple(self._engine.get_tensor_shape(INPUT))
        if found[0] < 0:  # batches vary: the profile says up to which
            found = tuple(self._engine.get_tensor_profile_shape(INPUT, 0)[2])
        expected = (self.max_batch, self.height, self.width, self.channels)
        if found != expected:
            raise EngineError(f"the plan takes {found} at most; {expected} is needed")

    def _run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        parts = [
            self._run_part(images[start : start + self.max_batch])
            for start in range(0, len(images), self.max_batch)
        ]
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in self._outputs}

    def _run_part(self, images: np.ndarray) -> dict[str, np.ndarray]:
        count = len(images)
        use_gpu(self._stream.gpu)  # CUDA keeps it by thread, and not this one need have opened us
        self._input.host[: images.size] = images.reshape(-1)
        if count not in self._batches:
            self._batches[count] = self._open_batch(images.shape)
        self._batches[count].launch()
        self._stream.synchronise()
        # Copied: the caller owns them, and the next frame writes over the pinned memory.
        shape = (len(self._outputs), count, 1, self.height, self.width)
        planes = self._output.host.view(np.float32)[: math.prod(shape)].reshape(shape).copy()
        return dict(zip(self._outputs, planes, strict=True))

    def _open_batch(self, shape: tuple[int, ...]) -> _Batch:
        context = create_context(self._module, self._engine, self._cache)
        plane = math.prod(shape[:3]) * 4
        addresses = {name: self._output.address + i * plane for i, name in enumerate(self._outputs)}
        addresses[INPUT] = self._input.address
        is_set = context is not None and context.set_input_shape(INPUT, shape)
        for name, address in addresses.items():
            is_set = is_set and context.set_tensor_address(name, address)
        if not is_set:
            words = self._log.take_errors()
            raise EngineError(f"{self.name} refuses images of shape {shape}: {words}")
        batch = _Batch(
            upload=lambda: self._stream.upload(self._input, math.prod(shape)),
            compute=lambda: self._compute(context),
            download=lambda: self._stream.download(self._output, len(self._outputs) * plane),
        )
        if not is_rtx(self._module):  # which does so by itself
            self._record(batch)
        return batch

    def _compute(self, context: Any) -> None:
        if not context.execute_async_v3(self._stream.handle):
            raise EngineError(f"{self.name} failed to run: {self._log.take_errors()}")

    def _record(self, batch: _Batch) -> None:
        """Make one CUDA graph of the batch's three parts, if possible."""
        batch.launch()  # TensorRT allocates at its first execution, which no graph may do
        self._stream.synchronise()
        try:
            batch.launch = self._stream.capture(batch.launch)
        except EngineError as error:
            _log.warning("%s runs without CUDA graphs: %s", self.name, error)

    def profile(self, images: np.ndarray) -> dict[str, float]:
        """Return where the time of one batch goes, by waiting after each part; without a graph.

        Args:
            images: (N, height, width, channels) uint8, as of ``infer``; N at most ``max_batch``.

        Returns:
            ``upload_s``, ``compute_s`` and ``download_s``, seconds.
        """
        self.infer(images)
        batch = self._batches[len(images)]
        seconds = {}
        for name in ("upload", "compute", "download"):
            start = time.perf_counter()
            getattr(batch, name)()
            self._stream.synchronise()
            seconds[f"{name}_s"] = time.perf_counter() - start
        return seconds

    def runtime_cache(self) -> bytes:
        """Return the kernels that RTX compiled for this GPU, for the next start; else empty."""
        return b"" if self._cache is None else bytes(self._cache.serialize())

    def close(self) -> None:
        """Release the plan and all memory."""
        if self._engine is None:
            return
        with suppress(EngineError):  # a broken GPU must not keep us from giving the rest back
            use_gpu(self._stream.gpu)
        self._stream.close()
        # In this order: each lives in the next.
        self._batches.clear()
        self._cache = self._engine = self._runtime = None


class _Batch:
    """Batches of one size, with an execution context that no other size shares.

    A captured graph is good as long as its context's state is.

    Attributes:
        upload: puts the copy of the images on the stream.
        compute: puts the network on the stream.
        download: puts the copy of the outputs on the stream.
        launch: all three; once it is recorded, as one graph.
    """

    def __init__(self, upload: _Work, compute: _Work, download: _Work):
        self.upload, self.compute, self.download = upload, compute, download
        self.launch: _Work = self._one_by_one

    def _one_by_one(self) -> None:
        self.upload()
        self.compute()
        self.download()


def _gpu_words(index: int) -> str:
    """Return the GPU as errors tell of it, or why there is none."""
    try:
        gpu = find_gpu(index)
    except EngineError as error:
        return str(error)
    return f"{gpu.name} (compute capability {gpu.compute_capability}, driver {gpu.driver})"
