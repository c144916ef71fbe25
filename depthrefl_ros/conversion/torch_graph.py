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

"""A torch module becomes a static ONNX graph for ``onnx_wrap``."""

from __future__ import annotations

import contextlib
import logging
import warnings

import onnx
import torch
from torch import nn

from depthrefl_ros.conversion.meaning import ConversionError
from depthrefl_ros.conversion.onnx_wrap import OPSET

_INPUT, _OUTPUTS = "image", ("plane",)


def export_adapter(adapter: nn.Module, height: int, width: int) -> onnx.ModelProto:
    """Return a graph of one size: ``image`` (1, 3, H, W) float32 in, ``plane`` (1, 1, H, W) out.

    An adapter with ``outputs`` names several planes.

    Args:
        adapter: of the network, in evaluation.
        height: of the image, pixels.
        width: likewise.

    Raises:
        ConversionError: torch cannot export it.
    """
    example = torch.zeros(1, 3, height, width)
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                adapter,
                (example,),
                input_names=[_INPUT],
                output_names=list(getattr(adapter, "outputs", _OUTPUTS)),
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # the exporter raises classes of its own
        reason = " ".join(str(error).split())[:300]
        raise ConversionError(f"torch {torch.__version__} cannot export it: {reason}") from error
    graph = program.model_proto
    for node in graph.graph.node:  # where each node came from on this machine
        del node.metadata_props[:]
        node.doc_string = ""
    return graph


@contextlib.contextmanager
def _quiet():
    """Keep the exporter's remarks on packages that are not needed to itself."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
