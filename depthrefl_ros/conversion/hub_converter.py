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

"""A checkpoint of ``transformers`` becomes a bundle, or one bundle for each domain of its heads."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from depthrefl_ros.conversion.adapters import PATCH, baked_positions, make_adapter
from depthrefl_ros.conversion.checkpoint_folder import CheckpointFolder, load_model, read_folder
from depthrefl_ros.conversion.converter import Converted, convert_network
from depthrefl_ros.conversion.da3metric import (
    Da3MetricAdapter,
    is_sky,
    keep_authors_positions,
)
from depthrefl_ros.conversion.families import read_recipes
from depthrefl_ros.conversion.meaning import ConversionError, Meaning
from depthrefl_ros.conversion.original_files import write_folder
from depthrefl_ros.conversion.plausibility import Frames
from depthrefl_ros.conversion.recipe import Recipe, at_size, fit_size
from depthrefl_ros.conversion.torch_graph import export_adapter
from depthrefl_ros.conversion.trainable import backbone_config, described, save_backbone
from depthrefl_ros.engine.bundle import file_digest


def convert_folder(
    checkpoint: Path,
    folder: Path,
    name: str = "",
    size: tuple[int, int] | None = None,
    kind: str | None = None,
    frames: Frames | None = None,
    with_weights: bool = False,
    check: Callable[[Path], None] = lambda target: None,
) -> list[Converted]:
    """Convert a folder with ``config.json`` and weights.

    Args:
        checkpoint: the folder.
        folder: of the bundle; a network with several heads makes ``FOLDER_<domain>`` for each.
        name: on the Hub; the folder's own name where it is empty.
        size: (height, width) pixels of the bundle's input; None for the family's usual one.
        kind: ``metric`` or ``inverse_relative``, where the files do not tell it.
        frames: with true depth, against which the order and the scale are held.
        with_weights: whether the bundle gets the weights too, to train on.
        check: is called with each bundle's folder before the work, and raises where it may not be
            written.

    Raises:
        ConversionError: the files are damaged, of an unknown family, or not what they say.
        BundleError: the folder holds something else.
        OSError: it cannot be written.
    """
    found = read_folder(checkpoint)
    recipes = read_recipes(
        found.config, found.processor, name or checkpoint.absolute().name, kind, found.licence
    )
    sources = {path.name: file_digest(path) for path in found.weights}
    return _convert_heads(
        recipes,
        lambda recipe: _load_adapter(found, recipe),
        folder,
        size,
        sources,
        frames,
        with_weights,
        check,
    )


def convert_original(
    path: Path,
    folder: Path,
    size: tuple[int, int] | None = None,
    frames: Frames | None = None,
    with_weights: bool = False,
    name: str = "",
    kind: str | None = None,
    licence: str = "",
    check: Callable[[Path], None] = lambda target: None,
) -> list[Converted]:
    """Convert a checkpoint as its authors publish it; see ``original_files``.

    Args:
        path: of the ``.pth``, ``.pt`` or ``.safetensors`` file.
        folder: as in ``convert_folder``.
        size: as in ``convert_folder``.
        frames: likewise.
        with_weights: likewise.
        name: on the Hub; the file's own name where it is empty.
        kind: as in ``convert_folder``.
        licence: that the model card states; empty where there is none.
        check: as in ``convert_folder``.

    Raises:
        ConversionError, BundleError, OSError: as ``convert_folder``.
    """
    with tempfile.TemporaryDirectory(prefix="depthrefl_convert.") as temporary:
        name = write_folder(path, Path(temporary), name)
        found = read_folder(Path(temporary))
        recipes = read_recipes(found.config, found.processor, name, kind, licence)

        def load(recipe: Recipe) -> nn.Module:
            try:
                adapter = _load_adapter(found, recipe)
            except ConversionError as error:  # of a folder that the user does not know
                raise ConversionError(str(error).replace(temporary, str(path))) from error
            if hasattr(adapter.model.backbone, "embeddings") and recipe.multiple == PATCH:
                keep_authors_positions(adapter.model)
            return adapter

        sources = {path.name: file_digest(path)}
        return _convert_heads(recipes, load, folder, size, sources, frames, with_weights, check)


def _convert_heads(
    recipes: list[Recipe],
    load: Callable[[Recipe], nn.Module],
    folder: Path,
    size: tuple[int, int] | None,
    sources: dict[str, str],
    frames: Frames | None,
    with_weights: bool,
    check: Callable[[Path], None],
) -> list[Converted]:
    """Make ``folder`` of a network with one head, ``FOLDER_<domain>`` of each of several."""
    sizes = [fit_size(recipe, size) for recipe in recipes]
    is_one = len(recipes) == 1
    targets = [folder if is_one else Path(f"{folder}_{one.domain}") for one in recipes]
    for target in targets:
        check(target)
    done = []
    for recipe, target, (height, width) in zip(recipes, targets, sizes, strict=True):
        meaning = at_size(recipe, height, width)
        done.append(
            convert_module(load(recipe), meaning, recipe, target, sources, frames, with_weights)
        )
    return done


def _load_adapter(found: CheckpointFolder, recipe: Recipe) -> nn.Module:
    if recipe.inner != "da3metric":
        return make_adapter(load_model(found, recipe), recipe)
    tensors = load_file(found.weights[0])
    sky = {name: value for name, value in tensors.items() if is_sky(name)}
    return Da3MetricAdapter(load_model(found, recipe, but=sky), sky).eval()


def convert_module(
    adapter: nn.Module,
    meaning: Meaning,
    recipe: Recipe,
    folder: Path,
    sources: dict[str, str],
    frames: Frames | None = None,
    with_weights: bool = False,
) -> Converted:
    """Convert a torch module that maps normalised RGB to one plane of the same size.

    Args:
        adapter: in evaluation.
        meaning: with the size.
        recipe: for its notes.
        folder: of the bundle.
        sources: SHA-256 of the files that the weights came from, by name.
        frames: with true depth.
        with_weights: whether the bundle gets the weights too.

    Raises:
        ConversionError, BundleError, OSError: as ``convert_network``.
    """
    trainable = backbone_config(recipe, adapter.model.config) if with_weights else None
    with baked_positions(adapter, meaning.height, meaning.width):
        graph = export_adapter(adapter, meaning.height, meaning.width)
    return convert_network(
        graph,
        meaning,
        folder,
        sources,
        frames=frames,
        reference=run(adapter),
        notes=recipe.notes,
        more=described(trainable) if trainable else None,
        write_more=lambda part: (
            save_backbone(part, adapter.model, trainable) if trainable else None
        ),
    )


def run(adapter: nn.Module) -> Callable[[np.ndarray], np.ndarray]:
    """Return an adapter as a function of arrays: (1, 3, H, W) to (1, 1, H, W) float32."""

    def infer(image: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            planes = adapter(torch.from_numpy(image))
        return (planes[0] if isinstance(planes, tuple) else planes).numpy()

    return infer
