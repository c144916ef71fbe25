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

"""Images without depth become data to train on: a larger network, the teacher, says the depth.

The teacher may be any bundle that knows metres; an engine runs it. What its gates do not believe
(edges, range) is left unknown, so that the student does not learn it.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from filelock import FileLock

from depthrefl_ros.engine.bundle import (
    MODEL_WEIGHTS,
    SHIPPED,
    Bundle,
    file_digest,
    is_bundle,
)
from depthrefl_ros.image_files import home_expanded
from depthrefl_ros.tools.camera_info_file import Intrinsics
from depthrefl_ros.tools.command_line import StopRequest, ToolError, positive_float, progress
from depthrefl_ros.tools.frame_sources import open_source
from depthrefl_ros.tools.predict import estimate, open_estimator
from depthrefl_ros.tools.weight_terms import note_terms
from depthrefl_ros.training.datasets import parse_data_options
from depthrefl_ros.training.datasets.mounts import MOUNTS_FILE, mount_numbers, read_mounts
from depthrefl_ros.training.datasets.opening import numbered
from depthrefl_ros.training.synth.folder import FolderError, RenderedFolder

LABELLED = "labelled"  # folder in the run
_FEWEST_KNOWN = 0.02  # share of an image; with less it teaches nothing
_JPEG_QUALITY, _PNG_LEVEL, _FLUSH_EVERY = 95, 3, 50


class LabellingStopped(Exception):
    """SIGINT or SIGTERM came while a teacher labelled; what it has labelled is kept."""


def add_labels(arguments: argparse.Namespace, run: Path) -> None:
    """Let the teacher label ``--unlabelled``; add what comes of it to ``--data``.

    Args:
        arguments: of ``train``; ``data`` gets the labelled folders, and of ``teacher`` the bundles
            are replaced by the weights in them, or taken out where they have labelled;
            ``labelled_by`` names the one that has, and is empty without.
        run: the run's folder, in which the labelled folders are made, once.

    Raises:
        ToolError: there is no data at all, not exactly one teacher is a bundle, the teacher knows
            no metres, a source cannot be read, or has lost images that were labelled.
        LabellingStopped: a signal said so.
    """
    bundles = [path for path in arguments.teacher if _is_model(path)]
    others = [path for path in arguments.teacher if path not in bundles]
    arguments.labelled_by = ""
    if not arguments.unlabelled:
        if not arguments.data:
            raise ToolError("train needs --data, or --unlabelled with --teacher BUNDLE")
        arguments.teacher = [*others, *map(_weights_of, bundles)]
        return
    if len(bundles) != 1:
        raise ToolError(
            f"--unlabelled needs one --teacher that is a bundle; {len(bundles)} of "
            f"{len(arguments.teacher)} are"
        )
    arguments.teacher = others
    teacher = Bundle.load(str(bundles[0]))
    arguments.labelled_by = f"{teacher.name} ({teacher.licence})"
    run.mkdir(parents=True, exist_ok=True)
    with FileLock(run / f".{LABELLED}.lock"):  # of several processes that train together
        options = [_parse_option(text) for text in arguments.unlabelled]
        for option, name in zip(options, _names(options), strict=True):
            folder = _labelled(option, str(bundles[0]), run / LABELLED / name)
            arguments.data.append(f"{folder},weight={option.weight:g}")


def first_set(arguments: argparse.Namespace) -> str | None:
    """Return the name of the first set that ``add_labels`` leaves in ``--data``; None for none."""
    if arguments.data:
        return next(iter(parse_data_options(arguments.data)))
    if not arguments.unlabelled:
        return None
    # As ``parse_data_options`` calls the labelled folder.
    return Path(_names([_parse_option(arguments.unlabelled[0])])[0]).stem


class _Option(NamedTuple):
    """What an ``--unlabelled`` says.

    Attributes:
        path: of the source.
        hfov_deg: horizontal field of view; None where the source knows its camera.
        weight: of the labelled set.
        mounts: of the cameras, by image; None for a folder's own ``mounts.yaml``.
    """

    path: str
    hfov_deg: float | None = None
    weight: float = 1.0
    mounts: Path | None = None

    def mounts_file(self) -> Path | None:
        """Return where the mounts are, None where there are none."""
        own = home_expanded(self.path) / MOUNTS_FILE
        return self.mounts or (own if own.is_file() else None)


def _is_model(path: Path) -> bool:
    return is_bundle(path) or (path.name == str(path) and is_bundle(SHIPPED / path.name))


def _weights_of(model: Path) -> Path:
    """Return the torch weights of a bundle that teaches while the student trains."""
    bundle = Bundle.load(str(model))
    if MODEL_WEIGHTS not in bundle.files:
        raise ToolError(
            f"--teacher {model}: the bundle has no {MODEL_WEIGHTS}, so it can only label images: "
            "give them by --unlabelled"
        )
    return bundle.path(MODEL_WEIGHTS)


def _labelled(option: _Option, model: str, folder: Path) -> Path:
    """Label one source into a plain folder; what is there already is not done again.

    The mounts of its images come along, for a student with --mount; a teacher that takes the mount
    is told it.
    """
    source = open_source(option.path, Intrinsics(None, option.hfov_deg))
    mounts_file = option.mounts_file()
    mounts = {} if mounts_file is None else read_mounts(mounts_file)
    hfov = "" if option.hfov_deg is None else f",hfov={option.hfov_deg:g}"
    recipe = {"source": f"{option.path}{hfov}"}
    if mounts_file is not None:
        recipe["mounts"] = file_digest(mounts_file)
    teacher = Bundle.load(model)
    if teacher.kind == "inverse_relative":
        raise ToolError(
            f"--teacher {model} gives relative depth, no metres; a metric teacher is needed"
        )
    target = RenderedFolder(folder, _JPEG_QUALITY, _PNG_LEVEL, _FLUSH_EVERY)
    digest = teacher.network_digest("model.onnx")
    try:
        target.claim({"labelled_by": teacher.name, "network": digest, **recipe})
    except FolderError as error:
        raise ToolError(str(error)) from error
    note_terms(target.root, teacher)
    kept = left = 0
    seen = set()
    estimator = open_estimator(model, "auto")
    with StopRequest() as stop, progress(source.count, "labelling", "images") as bar:
        for frame in source.frames():
            bar.update()
            if stop:
                target.flush()
                raise LabellingStopped(f"stopped; run the same command to go on in {target.root}")
            seen.add(frame.name)
            if frame.name in target:
                kept += 1
                continue
            mount = mounts.get(frame.name)
            result = estimate(
                estimator, frame, frame.camera, frame.name, with_colour=True, base_from_camera=mount
            )
            depth_m = np.where(np.isfinite(result.depth), result.depth, 0.0).astype(np.float32)
            if (depth_m > 0.0).mean() < _FEWEST_KNOWN:
                left += 1
                continue
            image = cv2.cvtColor(result.colour_bgra, cv2.COLOR_BGRA2RGB)
            target.add(frame.name, image, depth_m, result.camera, mount_numbers(mount))
            kept += 1
    target.flush()
    gone = [name for name in target.names() if name not in seen]
    if gone:
        raise ToolError(
            f"{target.root} holds {len(gone)} images that {option.path} no longer has, for example "
            f"{gone[0]}; remove that folder to label again"
        )
    if not kept:
        raise ToolError(f"{option.path}: {model} finds no valid depth in any of {left} images")
    print(
        f"{target.root}: {kept} images labelled by {teacher.name} ({teacher.licence}); "
        f"{left} without depth are left out",
        file=sys.stderr,
    )
    return target.root


def _names(options: list[_Option]) -> list[str]:
    """Return the names of the labelled folders: the sources', a second of a name with ``-2``."""
    names: list[str] = []
    for option in options:
        # Links keep their own names; "." and ".." get that of the folder.
        source = Path(os.path.abspath(home_expanded(option.path)))
        names.append(numbered(source.name if source.is_dir() else source.stem, names))
    return names


def _parse_option(text: str) -> _Option:
    """Read an ``--unlabelled``; raises ToolError, which names what is wrong."""
    path, *options = re.split(r",(?=(?:hfov|weight|mounts)=)", text)
    names = {"hfov": "hfov_deg", "weight": "weight", "mounts": "mounts"}
    values: dict[str, Any] = {}
    for option in options:
        name, _, value = option.partition("=")
        try:
            values[names[name]] = Path(value) if name == "mounts" else positive_float(value)
        except (argparse.ArgumentTypeError, ValueError) as error:
            raise ToolError(f"--unlabelled {text}: {name}: {error}") from error
    return _Option(path, **values)
