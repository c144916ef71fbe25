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

"""Which of a folder's or a repository's files is a network as its authors publish it.

Their repositories of the Hub have no ``config.json`` of ``transformers``: they have one file whose
name tells the network, or, of Depth Anything 3, a ``config.json`` of another kind.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from depthrefl_ros.conversion.checkpoint_folder import CONFIG, WEIGHTS, read_json
from depthrefl_ros.conversion.meaning import ConversionError

PUBLISHED = (
    *(f"depth_anything_v2_{one}.pth" for one in ("vits", "vitb", "vitl")),
    *(
        f"depth_anything_v2_metric_{domain}_{one}.pth"
        for domain in ("hypersim", "vkitti")
        for one in ("vits", "vitb", "vitl")
    ),
    *(f"depth_anything_{one}14.pth" for one in ("vits", "vitb", "vitl")),
    *(f"depth_anything_metric_depth_{domain}.pt" for domain in ("indoor", "outdoor")),
    *("ZoeD_M12_N.pt", "ZoeD_M12_K.pt", "ZoeD_M12_NK.pt"),
)


def find_original(folder: Path, name: str) -> Path | None:
    """Return the authors' file in a folder; None where the folder is one of ``transformers``.

    Args:
        folder: that may hold ``config.json``.
        name: of the network on the Hub, or of the folder.

    Raises:
        ConversionError: there are several such files, or one of an unknown Depth Anything 3.
    """
    config = read_json(folder / CONFIG) if (folder / CONFIG).is_file() else None
    files = [one for one in PUBLISHED if (folder / one).is_file()]
    found = choose_original(config, files, name, str(folder))
    return folder / found if found else None


def choose_original(
    config: dict[str, Any] | None, files: Collection[str], name: str, where: str
) -> str | None:
    """Return which of some files is the authors'; None where there is none.

    Args:
        config: content of the ``config.json`` among them; None where there is none.
        files: their names; not asked for where there is a ``config.json``.
        name: of the network on the Hub, or of the folder.
        where: their folder or repository, for the message.

    Raises:
        ConversionError: there are several such files, or one of an unknown Depth Anything 3.
    """
    if config is not None:
        return WEIGHTS[0] if is_da3metric(config, name) else None
    found = [one for one in PUBLISHED if one in files]
    if len(found) > 1:
        raise ConversionError(
            f"{where} holds {len(found)} networks: {', '.join(found)}; download the one you want "
            "and say --hub FILE"
        )
    return found[0] if found else None


def is_da3metric(config: dict[str, Any], name: str) -> bool:
    """Return whether a ``config.json`` is DA3METRIC-LARGE's, which is none of ``transformers``'.

    Args:
        config: the file's content.
        name: of the network on the Hub, or of its folder, where the file has no name.

    Raises:
        ConversionError: it is of another Depth Anything 3.
    """
    parts = config.get("config")
    if "model_type" in config or not (isinstance(parts, dict) and "net" in parts):
        return False
    called = str(config.get("model_name") or name.rstrip("/").split("/")[-1])
    if not called.lower().startswith("da3metric"):
        raise ConversionError(
            f"{name} is {called} by its config.json: of Depth Anything 3 only DA3METRIC-LARGE can "
            "be converted; others can be exported to ONNX and converted with --onnx"
        )
    return True


def da3metric_name(path: Path) -> str:
    """Return what the ``config.json`` beside a file of DA3METRIC-LARGE calls it, else its own name.

    Raises:
        ConversionError: it may as well be DA3MONO-LARGE, whose tensors have the same names.
    """
    config, name = path.with_name(CONFIG), path.stem.replace("_", "-")
    if config.is_file():
        told, where = read_json(config), path.parent.absolute().name
        if is_da3metric(told, where):
            return str(told.get("model_name") or where)
    if "metric" not in name.lower():
        raise ConversionError(
            f"{path} is DA3METRIC-LARGE or DA3MONO-LARGE, whose tensors have the same names and "
            f"only the first of which gives metres: put its {CONFIG} beside it, or call it "
            "da3metric-large.safetensors"
        )
    return name
