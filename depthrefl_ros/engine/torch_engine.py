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

"""Torch: CUDA without TensorRT, development, and a judge for the other engines."""

from __future__ import annotations

import logging
import time
from types import ModuleType
from typing import Any

import numpy as np

from depthrefl_ros.engine.base import Engine, EngineError, EngineMissingError
from depthrefl_ros.engine.bundle import Bundle

PRECISIONS = ("fp32", "fp16")
_WARM_UP_RUNS = 3  # before a graph is captured: kernels are chosen and memory is taken in these

_log = logging.getLogger(__name__)


class TorchEngine(Engine):
    """``model.safetensors`` run by torch.

    Args:
        bundle: the model.
        threads: CPU threads, 0 for torch's own choice.
        device: ``cpu``, ``cuda`` or ``cuda:1``; None takes CUDA where there is one.
        precision: ``fp32``, or on CUDA ``fp16``, in which the bins stay float32.
        compiles: let ``torch.compile`` fuse the layers; takes a minute at the first frame.
        replays: on CUDA, replay each batch size as one CUDA graph.
        max_batch: on CUDA, the attribute of that name.

    Raises:
        EngineMissingError: torch is not installed, there is no such device, or the bundle has no
            weights for torch, as those made of other people's networks.
        EngineError: the weights do not fit, or the device does not compute in this precision.
    """

    name = "torch"

    def __init__(
        self,
        bundle: Bundle,
        threads: int = 0,
        device: str | None = None,
        *,
        precision: str = "fp32",
        compiles: bool = False,
        replays: bool = True,
        max_batch: int = 1,
    ):
        try:
            import torch

            from depthrefl_ros.network.checkpoints import CheckpointError, load_weights
            from depthrefl_ros.network.inference import OUTPUT_NAMES, InferenceModel
            from depthrefl_ros.network.model import ModelConfig, create_model
        except ImportError as error:
            raise EngineMissingError(
                f"torch or safetensors is not installed ({error}): pip install torch safetensors"
            ) from error
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        _check(torch, device, precision)
        if "architecture" not in bundle.description:
            raise EngineMissingError(f"model {bundle.name} has ONNX files only, none for torch")
        if threads and device == "cpu":
            torch.set_num_threads(threads)
        # TF32 keeps ten bits of mantissa: not the float32 that the self-test asks for.
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        try:
            model = create_model(ModelConfig.from_dict(bundle.description["architecture"]))
            load_weights(bundle.path("model.safetensors"), model)
        except (CheckpointError, ValueError) as error:
            raise EngineError(str(error)) from error
        dtype = torch.float16 if precision == "fp16" else torch.float32
        model = InferenceModel(model, dtype).to(device)
        self._torch, self._names = torch, OUTPUT_NAMES
        self._model = torch.compile(model) if compiles else model
        self._is_cuda = device.startswith("cuda")
        self.max_batch = max_batch if self._is_cuda else 1
        self._replays = replays and self._is_cuda
        self._graphs: dict[int, _GraphReplay] = {}  # by batch size
        self.device = torch.cuda.get_device_name(device) if self._is_cuda else "CPU"
        self._device = device
        self.precision = precision
        self.height, self.width, self.channels = bundle.height, bundle.width, bundle.channels

    def _run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        try:
            with self._torch.inference_mode():
                planes = self._replay(images) if self._replays else self._forward(images)
        except RuntimeError as error:
            raise EngineError(f"torch failed to run on {self.device}: {error}") from error
        return dict(zip(self._names, planes, strict=True))

    def _forward(self, images: np.ndarray) -> np.ndarray:
        """Return all planes, (3, N, 1, H, W); stacked, so that they come down in one copy."""
        outputs = self._model(self._torch.from_numpy(images).to(self._device))
        return self._torch.stack(outputs).cpu().numpy()

    def _replay(self, images: np.ndarray) -> np.ndarray:
        count = len(images)
        if count not in self._graphs:
            try:
                graph = _GraphReplay(self._torch, self._model, images.shape, self._device)
            except RuntimeError as error:
                _log.warning("torch runs without CUDA graphs: %s", error)
                self._replays = False
                return self._forward(images)
            self._graphs[count] = graph
        return self._graphs[count](images)

    def profile(self, images: np.ndarray) -> dict[str, float]:
        """Return where the time of one batch goes, by waiting after each part.

        Args:
            images: (N, height, width, channels) uint8, as of ``infer``.

        Returns:
            ``upload_s``, ``compute_s`` and ``download_s``, seconds.
        """
        self.infer(images)
        with self._torch.inference_mode():
            parts = self._graphs.get(len(images)) or _EagerParts(
                self._torch, self._model, self._device
            )
            seconds = {}
            for name, part in (
                ("upload_s", lambda: parts.upload(images)),
                ("compute_s", parts.compute),
                ("download_s", parts.download),
            ):
                start = time.perf_counter()
                part()
                parts.wait()
                seconds[name] = time.perf_counter() - start
        return seconds

    def close(self) -> None:
        """Release the model."""
        self._graphs.clear()
        self._model = None


class _GraphReplay:
    """One batch size: pinned memory on the host, fixed memory on the GPU, a graph between them.

    Raises:
        RuntimeError: something in the network cannot be captured.
    """

    def __init__(self, torch: ModuleType, model: Any, shape: tuple[int, ...], device: str):
        self._torch = torch
        self._sent = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        self._images = torch.zeros(shape, dtype=torch.uint8, device=device)
        self._stream = torch.cuda.Stream(device)
        self._stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(self._stream):
            for _ in range(_WARM_UP_RUNS):
                model(self._images)
        self._stream.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, stream=self._stream):
            self._planes = torch.stack(model(self._images))
        self._received = torch.empty(self._planes.shape, dtype=torch.float32, pin_memory=True)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Compute all planes, (3, N, 1, H, W) float32, of (N, H, W, C) uint8; the caller's own."""
        self.upload(images)
        self.compute()
        self.download()
        self.wait()
        return self._received.numpy().copy()

    def upload(self, images: np.ndarray) -> None:
        self._sent.copy_(self._torch.from_numpy(images))
        with self._torch.cuda.stream(self._stream):
            self._images.copy_(self._sent, non_blocking=True)

    def compute(self) -> None:
        with self._torch.cuda.stream(self._stream):
            self._graph.replay()

    def download(self) -> None:
        with self._torch.cuda.stream(self._stream):
            self._received.copy_(self._planes, non_blocking=True)

    def wait(self) -> None:
        self._stream.synchronize()


class _EagerParts:
    """What ``TorchEngine._forward`` does, in parts."""

    def __init__(self, torch: ModuleType, model: Any, device: str):
        self._torch, self._model, self._device = torch, model, device

    def upload(self, images: np.ndarray) -> None:
        self._images = self._torch.from_numpy(images).to(self._device)

    def compute(self) -> None:
        self._planes = self._torch.stack(self._model(self._images))

    def download(self) -> None:
        self._planes.cpu()

    def wait(self) -> None:
        if self._device.startswith("cuda"):
            self._torch.cuda.synchronize(self._device)


def _check(torch: ModuleType, device: str, precision: str) -> None:
    """Raise EngineError where torch cannot run on this device in this precision."""
    if device.startswith("cuda"):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(device.partition(":")[2] or 0) >= count:
            found = f"{count} of them" if count else "no CUDA device"
            raise EngineMissingError(f"device is {device!r} but torch finds {found}")
    if precision not in PRECISIONS:
        raise EngineError(f"the torch engine does not compute in {precision}, only {PRECISIONS}")
    if precision == "fp16" and device == "cpu":
        raise EngineError("the torch engine computes in fp16 on CUDA only")
