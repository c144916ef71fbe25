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

"""Folders that commands write to: new, empty, or made by the same command before."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from depthrefl_ros.tools.command_line import ToolError


def check_output_folder(path: Path, is_ours: Callable[[Path], bool]) -> None:
    """Check, before the work starts, that a folder may be written and holds nothing of others.

    Args:
        path: the folder; it need not exist.
        is_ours: whether a folder that is not empty is what the command itself makes.

    Raises:
        ToolError: it is a file, holds something else, or cannot be written.
    """
    if path.exists() and not path.is_dir():
        raise ToolError(f"{path} is a file; a folder is needed")
    if path.is_dir() and not is_ours(path):
        found = next(iter(sorted(path.iterdir())), None)
        if found is not None:
            raise ToolError(
                f"{path} holds other things ({found.name}), which stay as they are: give a folder "
                "that is new or empty"
            )
    parent = path
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise ToolError(f"{path} cannot be made: {parent} is a file")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ToolError(f"{path} cannot be written: {parent} is not writable for this user")


def check_bundle_folder(
    path: Path, made_by: str, is_own: Callable[[dict[str, Any]], bool], overwrite: bool
) -> None:
    """Check, before the work starts, that a bundle may be written and replaces none of others.

    Args:
        path: the folder; it need not exist.
        made_by: what makes the bundles that may be replaced, in words.
        is_own: whether a bundle there is such a one, told by the content of its ``model.yaml``.
        overwrite: any bundle may be replaced; what is none still stays.

    Raises:
        ToolError: it holds something else, another bundle, or cannot be written.
    """
    from depthrefl_ros.engine.bundle import is_bundle
    from depthrefl_ros.engine.description import DESCRIPTION, read_fields

    check_output_folder(path, is_bundle)
    if overwrite or not is_bundle(path) or is_own(read_fields(path / DESCRIPTION).values):
        return
    raise ToolError(
        f"{path} is a bundle that {made_by} did not make, and stays as it is: give another folder, "
        "or --overwrite to replace it"
    )


def is_export_of(description: dict[str, Any], told: dict[str, Any]) -> bool:
    """Return whether a bundle has the weights of which another tells, or others of the same run.

    Runs are the same by their architecture and the names of their training sets. An error head and
    what ``train sigma`` fitted it to do not count: a run is still itself with and without them.

    Args:
        description: the content of its ``model.yaml``.
        told: the same, or what ``load_run`` tells.
    """
    here, there = training_of(description), training_of(told)
    if here.get("weights_sha256") and here["weights_sha256"] == there.get("weights_sha256"):
        return True
    if _fitted_to(there) == {here.get("weights_sha256")}:
        return True
    sets = _learnt_from(here), _learnt_from(there)
    networks = [
        {name: value for name, value in one.get("architecture", {}).items() if name != "error_head"}
        for one in (description, told)
    ]
    return networks[0] == networks[1] and bool(sets[0]) and sets[0] == sets[1]


def _fitted_to(training: dict[str, Any]) -> set[str | None]:
    """Return the SHA-256 of the weights that an error head was fitted to; empty without one."""
    legs = training.get("history", [])
    if not any("fitted" in leg for leg in legs):
        return set()
    return {leg.get("weights_sha256") for leg in legs if "fitted" not in leg} - {None}


def _learnt_from(training: dict[str, Any]) -> set[str]:
    """Return the names of the sets but those that only an error head was fitted to."""
    legs = training.get("history", [])
    fitted, trained = (
        {name for leg in legs if ("fitted" in leg) == is_fitted for name in leg.get("sets", {})}
        for is_fitted in (True, False)
    )
    return set_names(training) - (fitted - trained)


def training_of(description: dict[str, Any]) -> dict[str, Any]:
    """Return what a ``model.yaml`` tells of our training; empty for others' networks."""
    training = description.get("training")
    return training if isinstance(training, dict) else {}


def set_names(training: dict[str, Any]) -> set[str]:
    """Return the names of the sets that ``training_of`` tells of."""
    return {one["name"] for one in training.get("data", [])}


def add_overwrite_argument(parser: argparse.ArgumentParser) -> None:
    """Add --overwrite, for ``check_bundle_folder``."""
    parser.add_argument(
        "--overwrite", action="store_true", help="replace also a bundle that this did not make"
    )
