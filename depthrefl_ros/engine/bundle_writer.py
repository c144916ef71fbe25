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

"""Writes a bundle's folder: graphs over one file of weights, golden outputs, description, hashes.

Needs onnx, and no torch: networks of others come here as ONNX graphs.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from onnx import numpy_helper
from onnx.external_data_helper import set_external_data

from depthrefl_ros.engine.bundle import (
    MODEL_WEIGHTS,
    WEIGHTS,
    BundleError,
    file_digest,
    is_bundle,
)
from depthrefl_ros.engine.description import DESCRIPTION, FORMAT_VERSION, read_fields

_SMALLEST_SHARED = 512  # bytes; smaller tensors stay in their graph
_ALIGNMENT = 64  # bytes, so that engines may map the weights as they lie
_GOLDEN_BITS = 10  # of 23 in a float32's mantissa that are cleared: 6e-5 of the value


def write_bundle(
    folder: Path,
    graphs: Mapping[str, onnx.ModelProto],
    golden: Mapping[str, np.ndarray],
    content: Mapping[str, Any],
    write_more: Callable[[Path], None] = lambda folder: None,
) -> None:
    """Write a whole bundle; the folder is there with all of it or as it was.

    A folder that is a mount point cannot be replaced: its files are, ``model.yaml`` last.

    Args:
        folder: of the bundle; its name is the model's. New, empty, or a bundle, which is replaced,
            behind a link as well; files in it that its ``model.yaml`` does not list are kept.
        graphs: the networks by file name, ``model.onnx`` and perhaps ``model_fp16.onnx``; their
            weights move to one shared file, but those that ``model.safetensors`` has.
        golden: ``images`` (3, H, W, channels) uint8, and (3, 1, H, W) float32 of each output; the
            first is repeated as the fourth.
        content: of ``model.yaml``, apart from version, name and files.
        write_more: writes further files of the bundle into the folder that it is given, first.

    Raises:
        BundleError: the folder holds something else.
        OSError: it cannot be written.
    """
    name, folder = folder.absolute().name, folder.resolve()
    if folder.exists() and not is_bundle(folder) and (folder.is_file() or any(folder.iterdir())):
        raise BundleError(f"{folder} is no bundle, and what it holds is not replaced")
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder if folder.is_mount() else folder.parent
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=beside))
    try:
        write_more(part)
        if graphs:
            save_graphs(graphs, part)
        save_golden(part / "golden.npz", _compressible(golden))
        description = {
            "format_version": FORMAT_VERSION,
            "name": name,
            **content,
            "files": {path.name: file_digest(path) for path in sorted(part.iterdir())},
        }
        (part / DESCRIPTION).write_text(
            yaml.safe_dump(description, sort_keys=False, allow_unicode=True, width=100),
            encoding="utf-8",
        )
        _replace(folder, part)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def save_golden(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as ``numpy.savez_compressed`` does, by LZMA: half the size, and numpy reads it.

    Args:
        path: of the ``.npz`` file.
        arrays: by name.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def save_graphs(graphs: Mapping[str, onnx.ModelProto], folder: Path) -> None:
    """Save graphs over one file of weights, in which equal tensors stand once.

    Args:
        graphs: by file name; left as they are.
        folder: for the graphs and ``model.weights``; where ``model.safetensors`` lies in it, the
            graphs read what it has from there.
    """
    places = _tensors(folder / MODEL_WEIGHTS) if (folder / MODEL_WEIGHTS).exists() else {}
    copies = {}
    with (folder / WEIGHTS).open("wb") as file:
        for name, graph in graphs.items():
            copies[name] = copy = onnx.ModelProto()
            copy.CopyFrom(graph)
            for tensor in copy.graph.initializer:
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))
                data = tensor.raw_data
                if len(data) < _SMALLEST_SHARED:
                    continue
                digest = hashlib.sha256(data).digest()
                if digest not in places:
                    file.write(bytes(-file.tell() % _ALIGNMENT))
                    places[digest] = (WEIGHTS, file.tell())
                    file.write(data)
                file_name, offset = places[digest]
                set_external_data(tensor, file_name, offset, len(data))
                tensor.ClearField("raw_data")
    for name, copy in copies.items():
        (folder / name).write_bytes(copy.SerializeToString())
        onnx.checker.check_model(str(folder / name))


def _tensors(path: Path) -> dict[bytes, tuple[str, int]]:
    """Return where the tensors of a safetensors file stand, (its name, offset), by their SHA-256.

    The file begins with the length of its header, eight bytes with the lowest first, and the
    header, JSON whose ``data_offsets`` count from its end.
    """
    content = path.read_bytes()
    begin = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:begin])
    header.pop("__metadata__", None)
    places = {}
    for tensor in header.values():
        start, end = (begin + offset for offset in tensor["data_offsets"])
        places[hashlib.sha256(content[start:end]).digest()] = (path.name, start)
    return places


def _compressible(golden: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays of ``golden.npz``; planes lose bits that no engine reproduces."""
    arrays = {}
    for name, array in golden.items():
        array = np.concatenate([array, array[:1]])
        if name != "images":
            half = np.uint32(1 << (_GOLDEN_BITS - 1))
            mask = np.uint32(0xFFFFFFFF ^ ((1 << _GOLDEN_BITS) - 1))
            bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
            array = ((bits + half) & mask).view(np.float32)
        arrays[name] = array
    return arrays


def _replace(folder: Path, part: Path) -> None:
    """Put the new folder in the old one's place; what is no part of the old bundle moves along."""
    part.chmod(0o777 & ~_umask())
    if not folder.is_dir():
        part.rename(folder)
        return
    listed = {DESCRIPTION, *_listed(folder)}
    others = [path for path in folder.iterdir() if path.name not in listed and path != part]
    for path in others:
        if (part / path.name).exists():
            raise BundleError(f"{path} is not of the bundle there, and would be replaced")
    if folder.is_mount():
        _refill(folder, part, listed)
        return
    for path in others:
        shutil.copytree(path, part / path.name) if path.is_dir() else shutil.copy2(path, part)
    # The old one is gone only when the new one stands: nothing is lost where a rename fails.
    old = folder.rename(part.with_name(f"{part.name}.old"))
    try:
        part.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old)


def _refill(folder: Path, part: Path, listed: set[str]) -> None:
    """Move the files of ``part`` into the folder, ``model.yaml`` last; remove ``listed`` others."""
    made = sorted(part.iterdir(), key=lambda path: path.name == DESCRIPTION)
    for path in made:
        path.replace(folder / path.name)
    for name in listed - {path.name for path in made}:
        (folder / name).unlink(missing_ok=True)
    part.rmdir()


def _listed(folder: Path) -> dict[str, str]:
    return read_fields(folder / DESCRIPTION).digests("files") if is_bundle(folder) else {}


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
