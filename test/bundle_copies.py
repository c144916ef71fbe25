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

"""Copies of the shipped bundle with other files in them, or with another description."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import onnx
import yaml
from onnx import numpy_helper

from depthrefl_ros.engine.bundle import MODEL_WEIGHTS, WEIGHTS, Bundle, file_digest


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


def description_of(folder: Path) -> dict:
    """Return what ``model.yaml`` says."""
    return yaml.safe_load((folder / "model.yaml").read_text())


def write_description(folder: Path, description: dict) -> None:
    """Let ``model.yaml`` say something else, right or wrong."""
    (folder / "model.yaml").write_text(yaml.safe_dump(description))


def change_description(folder: Path, **fields) -> None:
    """Let some fields of ``model.yaml`` say something else."""
    write_description(folder, {**description_of(folder), **fields})


def change_golden(folder: Path, **arrays) -> None:
    """Replace arrays of ``golden.npz``; its hash is right again."""
    path = folder / "golden.npz"
    np.savez(path, **{**dict(np.load(path)), **arrays})
    files = description_of(folder)["files"]
    change_description(folder, files={**files, "golden.npz": file_digest(path)})


def tell_mount(folder: Path, told=(0, 3)) -> dict:
    """Give a copy four channels, with a plane in some golden images; return its description."""
    images = np.load(folder / "golden.npz")["images"][..., :3]
    plane = np.zeros((*images.shape[:3], 1), np.uint8)
    plane[list(told)] = 100
    change_golden(folder, images=np.concatenate([images, plane], axis=3))
    description = description_of(folder)
    change_description(
        folder,
        input={**description["input"], "channels": 4},
        architecture={**description["architecture"], "mount": True},
    )
    return description_of(folder)


def forget_mount(folder: Path) -> None:
    """Make a copy what it is without a mount: format 1 and others' networks are told none."""
    change_golden(folder, images=np.load(folder / "golden.npz")["images"][..., :3])
    description = description_of(folder)
    description["input"].pop("channels", None)
    description["architecture"].pop("mount", None)
    change_description(folder, **description)


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
