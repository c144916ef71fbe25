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

"""What recipe.yaml notes of a rendered folder, so that ``--resume`` mixes nothing.

What a folder or a world holds is noted as a digest: paths differ between machines.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterable
from pathlib import Path

from depthrefl_ros.training.datasets.image_folder import sha256_of
from depthrefl_ros.training.synth.looks import PANORAMAS, PHOTOGRAPHS

ALWAYS = ("command", "seed", "width", "height", "samples")
FOLDERS = {"furniture": (".sh3f",), "panoramas": PANORAMAS, "photographs": PHOTOGRAPHS}
_DIGITS = 12  # of a digest


def recipe_of(args: argparse.Namespace, world_files: Iterable[Path] = ()) -> dict:
    """Return everything that images of `render` depend on, by the options' names.

    Args:
        args: of the command.
        world_files: what a world was read from.
    """
    recipe = {key: getattr(args, key) for key in ALWAYS}
    if args.command == "rooms":
        recipe |= {"views": args.views, "furniture": False, "in_turn": args.in_turn}
        if args.kind:
            recipe["kinds"] = args.kind
        if args.camera:
            recipe["cameras"] = args.camera
    elif args.command == "drive":
        recipe["count"] = args.count  # a short lane is divided by it
        if args.kind:
            recipe["kinds"] = [args.kind]
    elif args.command == "world":
        recipe["views"] = args.views
    if getattr(args, "world", None) is not None:
        recipe |= {"world": args.world.name, "world_digest": files_digest(world_files)}
    for name, suffixes in FOLDERS.items():
        if (folder := getattr(args, name, None)) is not None:
            recipe[name] = listing_digest(folder, suffixes)
    return recipe


def files_digest(files: Iterable[Path]) -> str:
    """Return a digest of what files hold and of their names, whatever folders they are in."""
    return _digest(f"{path.name} {sha256_of(path)}" for path in files)


def listing_digest(folder: Path, suffixes: tuple[str, ...]) -> str:
    """Return how many files of some suffixes lie in a folder or below, and a digest of their list.

    The list has names and sizes: thousands of photographs are not read for it.
    """
    found = [path for path in folder.rglob("*") if path.name.lower().endswith(suffixes)]
    lines = (f"{path.relative_to(folder).as_posix()} {path.stat().st_size}" for path in found)
    return f"{len(found)} files, digest {_digest(lines)}"


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:_DIGITS]
