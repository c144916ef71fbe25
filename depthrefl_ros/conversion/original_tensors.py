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

"""The tensors of an authors' file: read without running what it may contain, asked by name."""

from __future__ import annotations

import pickle
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from depthrefl_ros.conversion.checkpoint_folder import EXPORT, check_file, words_of_pickle
from depthrefl_ros.conversion.meaning import ConversionError


@dataclass(frozen=True)
class OriginalTensors:
    """Tensors as their authors name them.

    Attributes:
        path: of the file; its name tells versions and ranges that the tensors do not.
        tensors: by name.
    """

    path: Path
    tensors: dict[str, Tensor]

    def has(self, prefix: str) -> bool:
        """Return whether any name begins so."""
        return any(name.startswith(prefix) for name in self.tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape.

        Raises:
            ConversionError: there is none of this name.
        """
        if name not in self.tensors:
            raise ConversionError(f"{self.path} lacks {name}: it is cut off or of another network")
        return tuple(self.tensors[name].shape)

    def outputs(self, layer: str) -> int:
        """Return how many outputs a layer has; raises as ``shape``."""
        return self.shape(f"{layer}.weight")[0]

    def layers(self, encoder: str) -> int:
        """Return how many blocks a transformer has whose names begin with ``encoder``."""
        found = (re.match(rf"{re.escape(encoder)}blocks\.(\d+)\.", name) for name in self.tensors)
        return max((int(match[1]) + 1 for match in found if match), default=0)


def read_tensors(path: Path) -> OriginalTensors:
    """Read a checkpoint's tensors.

    Raises:
        ConversionError: it is missing, cut off, a pointer, or needs code to be read.
    """
    if not path.is_file():
        raise ConversionError(f"{path} is no file")
    check_file(path)
    if path.suffix == ".safetensors":
        return OriginalTensors(path, load_file(path))
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise ConversionError(words_of_pickle(path, error)) from error
    for name in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    if (
        not isinstance(content, dict)
        or not content
        or not all(isinstance(value, Tensor) for value in content.values())
    ):
        raise ConversionError(f"{path} holds no dictionary of tensors; {EXPORT}")
    tensors = {name.removeprefix("module."): value for name, value in content.items()}
    return OriginalTensors(path, tensors)
