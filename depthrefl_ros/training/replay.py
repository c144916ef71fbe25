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

"""The losses and gradients of a training step as one CUDA graph.

A step of these networks is thousands of small kernels. A GPU has done each of them before the
next one is launched; a graph launches all of them at once.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

_WARM_UP_RUNS = 3  # kernels are chosen and memory is taken in these


class GradientReplay:
    """Forward and backward pass of batches of one shape, captured once and replayed.

    Args:
        losses: from the tensors of a batch to its losses by name, scalars.
        model: whose parameters get gradients; on CUDA, as it is to be trained.
        tensors: the first batch, anywhere.

    Raises:
        RuntimeError: something in the network cannot be captured; statistics and gradients are as
            before.
    """

    def __init__(
        self,
        losses: Callable[[dict[str, Tensor]], dict[str, Tensor]],
        model: nn.Module,
        tensors: dict[str, Tensor],
    ):
        parameters = [p for p in model.parameters() if p.requires_grad]
        device = parameters[0].device
        self._tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
        buffers = list(model.buffers())
        before = [buffer.clone() for buffer in buffers]
        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        try:
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UP_RUNS):
                    self._backward(losses, parameters)
            stream.synchronize()
            self._graph = torch.cuda.CUDAGraph()
            # Beside it a thread may pin the next batch's memory, which is allowed locally only.
            mode = "thread_local"
            with torch.cuda.graph(self._graph, stream=stream, capture_error_mode=mode):
                self._losses = self._backward(losses, parameters)
            self._gradients = [(parameter, parameter.grad) for parameter in parameters]
        finally:
            # The batch must count in the statistics of BatchNorm as often as without a graph.
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)
            for parameter in parameters:
                parameter.grad = None

    def _backward(
        self,
        losses: Callable[[dict[str, Tensor]], dict[str, Tensor]],
        parameters: list[nn.Parameter],
    ) -> dict[str, Tensor]:
        """Fill gradients that are new; return the losses."""
        for parameter in parameters:
            parameter.grad = None
        parts = losses(self._tensors)
        torch.stack(list(parts.values())).sum().backward()
        return {name: part.detach() for name, part in parts.items()}

    def fits(self, tensors: dict[str, Tensor]) -> bool:
        """Return whether a batch has the shapes and types of the one that was captured."""
        kinds = [
            {name: (tensor.shape, tensor.dtype) for name, tensor in batch.items()}
            for batch in (tensors, self._tensors)
        ]
        return kinds[0] == kinds[1]

    def __call__(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Set the gradients of a batch that ``fits``; return its losses, overwritten by the next.

        Args:
            tensors: of the batch, anywhere; from pinned memory they are sent without waiting.
        """
        for name, tensor in tensors.items():
            self._tensors[name].copy_(tensor, non_blocking=True)
        self._graph.replay()
        for parameter, gradient in self._gradients:
            parameter.grad = gradient
        return self._losses
