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

"""What every engine is, and how it fails."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import Any

import numpy as np


class EngineError(Exception):
    """An engine that cannot be opened, cannot run, or computes wrongly."""


class EngineMissingError(EngineError):
    """This machine does not have what the engine needs: no fault, the next one is asked."""


class BuildStoppedError(Exception):
    """A build was stopped by the one who wanted it: no fault of the engine."""


class WithdrawnError(Exception):
    """An image that its owner does not want any more; the engine has not seen it."""


class Engine(ABC):
    """A network compiled for one runtime. Calls of ``infer`` from several threads take turns.

    Attributes:
        name: ``openvino``, ``torch``...
        device: on which it runs, in the runtime's words.
        precision: ``fp32``, ``fp16``, ``bf16`` or ``int8``, a key of ``self_test.TOLERANCES``.
        height: of the input, pixels.
        width: of the input, pixels.
        channels: of the input: 3, or 4 where a plane of the mount lies beside RGB.
        max_batch: number of images up to which one call is faster than a call for each; 1 on CPUs.
    """

    name: str
    device: str
    precision: str
    height: int
    width: int
    channels: int
    max_batch: int = 1

    def __new__(cls, *_: Any, **__: Any) -> Engine:
        """Make the engine with its lock, which no subclass has to think of."""
        engine = super().__new__(cls)
        engine._turn = threading.Lock()
        return engine

    def infer(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Run the network.

        Args:
            images: (N, height, width, channels) uint8 RGB, and as the fourth plane of those that
                take it the floor as ``geometry.floor_plane.encode_floor`` has it; C-contiguous.

        Returns:
            The planes of ``Bundle.outputs``, some of ``depth`` (metres as ``Bundle.kind`` has
            them), ``sigma``, ``relative`` and ``sky``, each (N, 1, H, W) float32, owned by the
            caller.

        Raises:
            ValueError: the images have another shape or type.
            EngineError: the runtime failed.
        """
        expected = (self.height, self.width, self.channels)
        if images.ndim != 4 or images.shape[1:] != expected or images.dtype != np.uint8:
            needed = f"(N, {', '.join(map(str, expected))}) uint8"
            raise ValueError(f"images are {images.shape} {images.dtype}; {needed} is needed")
        # Each runtime has one request or one set of buffers, whose results are copied meanwhile.
        with self._turn:
            return self._run(np.ascontiguousarray(images))

    @abstractmethod
    def _run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Do ``infer`` on checked input."""

    @abstractmethod
    def close(self) -> None:
        """Give the runtime's resources back; the engine cannot be used after."""
