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

"""A folder as ``save_pretrained`` writes it: read, checked, and loaded into its public class.

Every fault of such files that a user meets is one line: what is missing, cut off, a pointer, code,
or does not belong to the class.
"""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from depthrefl_ros.conversion.licences import card_licence
from depthrefl_ros.conversion.meaning import ConversionError
from depthrefl_ros.conversion.recipe import Recipe
from depthrefl_ros.engine.description import BundleError, refuse_lfs_pointer

CONFIG, PROCESSOR, CARD = "config.json", "preprocessor_config.json", "README.md"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
INDEX = ".index.json"  # beside the weights' name, where they are split
EXPORT = (
    "export it to ONNX where it was made: torch.onnx.export(model.eval(), torch.zeros(1, 3, "
    "HEIGHT, WIDTH), 'network.onnx', opset_version=18), then depthrefl convert --onnx"
)
_TOLD = 10  # names of tensors in a message


@dataclass(frozen=True)
class CheckpointFolder:
    """A checked folder.

    Attributes:
        folder: where it lies.
        config: of ``config.json``.
        processor: of ``preprocessor_config.json``; None where there is none.
        licence: of the model card; empty where there is none.
        weights: the files with tensors.
    """

    folder: Path
    config: dict[str, Any]
    processor: dict[str, Any] | None
    licence: str
    weights: tuple[Path, ...]


def read_folder(folder: Path) -> CheckpointFolder:
    """Read a folder's JSON files and look at its weights.

    Raises:
        ConversionError: files are missing or damaged; says which, and what should be there.
    """
    if not folder.is_dir():
        raise ConversionError(
            f"{folder} is no folder; one with {CONFIG} and {WEIGHTS[0]} is needed"
        )
    if not (folder / CONFIG).is_file():
        raise ConversionError(f"{folder} has no {CONFIG}; it belongs beside {WEIGHTS[0]}")
    return CheckpointFolder(
        folder,
        read_json(folder / CONFIG),
        read_json(folder / PROCESSOR) if (folder / PROCESSOR).is_file() else None,
        stated_licence(folder),
        _weights(folder),
    )


def stated_licence(folder: Path) -> str:
    """Return the licence that a folder's model card states; empty where it does not."""
    card = folder / CARD
    return card_licence(card.read_text("utf-8", "replace")) if card.is_file() else ""


def load_model(
    checkpoint: CheckpointFolder, recipe: Recipe, but: Collection[str] = ()
) -> nn.Module:
    """Return the recipe's class with the folder's weights, in float32 and evaluation.

    Args:
        checkpoint: the folder.
        recipe: for one of its heads.
        but: names of tensors that are not for the class.

    Raises:
        ConversionError: the weights are not those of this class; names the first ten.
        ImportError: ``transformers`` is not installed, or does not have the class.
    """
    try:
        import transformers
    except ImportError as error:
        raise ImportError(
            f"--hub needs the package transformers ({error}): in the checkout, pip install "
            "'.[convert]'"
        ) from error
    if recipe.class_name == "DepthAnythingV1Metric":
        from depthrefl_ros.conversion.da1metric import DepthAnythingV1Metric as owner
    else:
        owner = getattr(transformers, recipe.class_name, None)
    if owner is None:
        raise ConversionError(
            f"transformers {transformers.__version__} has no {recipe.class_name}; pip install "
            "--upgrade transformers"
        )
    transformers.logging.set_verbosity_error()
    had_bars = transformers.logging.is_progress_bar_enabled()
    transformers.logging.disable_progress_bar()  # also those of downloads, which are wanted
    try:
        # By its values: the description of an authors' file may have a model_type of ours.
        values = {name: value for name, value in checkpoint.config.items() if name != "model_type"}
        config = owner.config_class.from_dict(values)
        for name, value in recipe.config:
            setattr(config, name, value)
        model, report = owner.from_pretrained(
            checkpoint.folder,
            config=config,
            local_files_only=True,
            dtype=torch.float32,
            attn_implementation="eager",  # torch's fused attention exports with guards on NaN
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are told below, all at once
        )
    except pickle.UnpicklingError as error:
        names = " and ".join(path.name for path in checkpoint.weights)
        raise ConversionError(words_of_pickle(checkpoint.folder / names, error)) from error
    except Exception as error:  # the package raises whatever its parts do
        reason = " ".join(str(error).split())[:300]
        raise ConversionError(
            f"{checkpoint.folder} cannot be loaded as {recipe.class_name}: {reason}"
        ) from error
    finally:
        if had_bars:
            transformers.logging.enable_progress_bar()
    report["unexpected_keys"] = [name for name in report["unexpected_keys"] if name not in but]
    _check_report(checkpoint.folder, recipe.class_name, report)
    return model.eval()


def check_file(path: Path) -> None:
    """Check that a file of weights is whole and holds tensors only.

    Raises:
        ConversionError: it is a Git LFS pointer, cut off, empty, or no file of tensors.
    """
    try:
        with path.open("rb") as file:
            start = file.read(64)
        refuse_lfs_pointer(path, start)
    except (OSError, BundleError) as error:
        raise ConversionError(str(error)) from error
    if start.lstrip()[:1] == b"<":
        raise ConversionError(f"{path} is a web page and no file of weights; download it again")
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, "pt") as tensors:
                tensors.keys()
        except (SafetensorError, OSError) as error:
            reason = " ".join(str(error).split())
            raise ConversionError(
                f"{path} ({path.stat().st_size} bytes) is cut off or no safetensors file "
                f"({reason}); download it again"
            ) from error
    elif start[:2] == b"PK" and not zipfile.is_zipfile(path):
        raise ConversionError(f"{path} ({path.stat().st_size} bytes) is cut off; download it again")


def words_of_pickle(path: Path, error: Exception) -> str:
    """Return in words why torch reads no tensors; its own words advise to run the file.

    Args:
        path: of the file.
        error: that ``torch.load`` raised with ``weights_only``.
    """
    code = re.search(r"GLOBAL (\S+)", str(error))
    if code:
        return f"{path} needs code to be read ({code[1]}), which is refused; {EXPORT}"
    return f"{path} needs code to be read, which is refused, or is damaged; {EXPORT}"


def words_of_keys(missing: list[str], unexpected: list[str]) -> str:
    """Return in words the first ten missing and unexpected tensors; empty where there are none."""
    parts = []
    for what, names in (("lacks", missing), ("has no place for", unexpected)):
        if names:
            more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
            parts.append(f"it {what} {', '.join(sorted(names)[:_TOLD])}{more}")
    return "; ".join(parts)


def _check_report(folder: Path, class_name: str, report: dict[str, Any]) -> None:
    told = words_of_keys(list(report["missing_keys"]), list(report["unexpected_keys"]))
    shapes = [
        f"{name} is {tuple(found)} where {tuple(wanted)} is needed"
        for name, found, wanted in sorted(report["mismatched_keys"])[:_TOLD]
    ]
    told = "; ".join(part for part in (told, *shapes) if part)
    if told:
        raise ConversionError(f"{folder} holds weights that do not fit {class_name}: {told}")


def _weights(folder: Path) -> tuple[Path, ...]:
    for name in WEIGHTS:
        if (folder / name).is_file():
            found: tuple[Path, ...] = (folder / name,)
            break
        index = folder / (name + INDEX)
        if index.is_file():
            parts = set(read_json(index).get("weight_map", {}).values())
            found = tuple(folder / part for part in sorted(parts))
            break
    else:
        raise ConversionError(f"{folder} has no {' or '.join(WEIGHTS)}")
    for path in found:
        if not path.is_file():
            raise ConversionError(f"{path} is missing; {folder} lists it among its weights")
        check_file(path)
    return found


def read_json(path: Path) -> dict[str, Any]:
    """Read one of a folder's JSON files.

    Raises:
        ConversionError: it cannot be read, or holds no object.
    """
    try:
        with path.open("rb") as file:
            refuse_lfs_pointer(path, file.read(64))
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, BundleError) as error:
        raise ConversionError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ConversionError(f"{path} holds a {type(content).__name__}; an object is needed")
    return content
