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

"""Copies of the shipped bundle with other files in it, true to their own description."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import onnx
from onnx import numpy_helper

from depthrefl_ros.engine.bundle import MODEL_WEIGHTS, WEIGHTS, Bundle


def copy_bundle(folder: Path, files: dict[str, bytes]) -> Bundle:
    """Return a copy in ``folder`` with these files' contents replaced, their hashes with them."""
    shipped = Bundle.load("indoor_tiny")
    shutil.copytree(shipped.folder, folder)
    text = (shipped.folder / "model.yaml").read_text()
    for name, content in files.items():
        (folder / name).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        text = text.replace(shipped.files[name], digest)
    (folder / "model.yaml").write_text(text)
    return Bundle.load(str(folder))


def copy_weights(bundle: Bundle, folder: Path) -> None:
    """Copy what the graphs of a bundle read beside them."""
    for name in (WEIGHTS, MODEL_WEIGHTS):
        shutil.copyfile(bundle.path(name), folder / name)


def whole_onnx(path: Path) -> bytes:
    """Return the network of an ONNX file with its weights in it."""
    return onnx.load(path).SerializeToString()


def onnx_with_wrong_weights(path: Path) -> bytes:
    """Return the network with one early tensor, its first depthwise convolution's, times 1.5."""
    model = onnx.load(path)
    kernels = [tensor for tensor in model.graph.initializer if len(tensor.dims) == 4]
    kernel = next(tensor for tensor in kernels if tensor.dims[1] == 1)
    wrong = (1.5 * numpy_helper.to_array(kernel)).astype(numpy_helper.to_array(kernel).dtype)
    kernel.CopyFrom(numpy_helper.from_array(wrong, kernel.name))
    return model.SerializeToString()
