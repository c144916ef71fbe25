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

"""Opens a data set of any known format, and reads the command line's ``--data`` options."""

from __future__ import annotations

import math
import re
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from depthrefl_ros.image_files import home_expanded, list_images
from depthrefl_ros.training.datasets.depth_files import DEPTH_SUFFIXES
from depthrefl_ros.training.datasets.image_folder import DatasetError, ImageFolder, read_depth_png
from depthrefl_ros.training.datasets.kitti import DEPTH_PLACES, DRIVE, KittiDepth
from depthrefl_ros.training.datasets.mounts import read_mounts
from depthrefl_ros.training.datasets.nyu import NyuFolder, NyuMat
from depthrefl_ros.training.datasets.plain import INTRINSICS_FILE, PlainFolder, checked_factor
from depthrefl_ros.training.datasets.tum import TumRgbd

KINDS = {kind.kind: kind for kind in (NyuFolder, NyuMat, KittiDepth, TumRgbd, PlainFolder)}
_OPTIONS = ("list", "weight", "kind", "balance", "depth_factor", "mounts")
MAT_FILE = "nyu_depth_v2_labeled.mat"


@dataclass(frozen=True)
class DataOption:
    """What ``PATH[,list=FILE][,weight=W]...``, with any of ``_OPTIONS``, says.

    Attributes:
        path: of the folder or file.
        list_file: the images to use; None for all.
        weight: the share of the set in a mixture, relative to the other sets' weights.
        kind: a key of ``KINDS``; None to find out.
        is_balanced: whether rare distances come more often (``batches.balanced_by_depth``).
        depth_factor: units of a plain folder's depth files a metre; None for the usual ones.
        mounts_file: where the camera stood, by image; None for a plain folder's own.
    """

    path: Path
    list_file: Path | None = None
    weight: float = 1.0
    kind: str | None = None
    is_balanced: bool = False
    depth_factor: float | None = None
    mounts_file: Path | None = None

    def open(self) -> ImageFolder:
        """Return the data set.

        Raises:
            DatasetError: as ``open_dataset`` and ``read_mounts``, or no mount is of its images.
        """
        dataset = open_dataset(self.path, self.list_file, self.kind, self.depth_factor)
        if self.mounts_file is not None:
            dataset.mounts = read_mounts(self.mounts_file)
            if not dataset.mounts.keys() & set(dataset.names):
                raise DatasetError(
                    f"{self.mounts_file}: none of its {len(dataset.mounts)} names is an image of "
                    f"{self.path}, which has {dataset.names[0]!r}"
                )
        return dataset


def parse_data_option(text: str) -> DataOption:
    """Return what a ``--data`` option says; ``~`` is the home folder.

    Raises:
        DatasetError: an unknown or repeated key, no path, a weight that is not positive, or a
            balance other than ``depth``.
    """
    # A path may have commas of its own.
    whole = home_expanded(text).exists()
    path, *pairs = [text] if whole else re.split(f",(?=(?:{'|'.join(_OPTIONS)})=)", text)
    values: dict[str, str] = {}
    _check_commas(text, path)
    for pair in pairs:
        key, _, value = pair.partition("=")
        if key in values:
            raise _no_option(text, pair)
        _check_commas(text, value)
        values[key] = value
    try:
        weight = float(values.get("weight", 1.0))
    except ValueError as error:
        raise DatasetError(f"{text!r}: weight {values['weight']!r} is no number") from error
    if not path or not (math.isfinite(weight) and weight > 0):
        raise DatasetError(f"{text!r}: a path and a weight above 0 are needed")
    if values.get("balance", "depth") != "depth":
        raise DatasetError(f"{text!r}: balance {values['balance']!r} is unknown; known is depth")
    list_file = home_expanded(values["list"]) if "list" in values else None
    factor = values.get("depth_factor")
    if factor is not None:
        factor = checked_factor(factor, f"{text!r}: depth_factor")
    mounts_file = home_expanded(values["mounts"]) if "mounts" in values else None
    return DataOption(
        home_expanded(path),
        list_file,
        weight,
        values.get("kind"),
        "balance" in values,
        factor,
        mounts_file,
    )


def _check_commas(text: str, value: str) -> None:
    """Raise DatasetError where a comma in a value begins an unknown option, and no name of a file.

    Args:
        text: the whole of what a ``--data`` option says.
        value: its path, or what one of its options says.
    """
    _, comma, rest = value.partition(",")
    if comma and not home_expanded(value).exists():
        raise _no_option(text, rest.partition(",")[0])


def _no_option(text: str, pair: str) -> DatasetError:
    return DatasetError(
        f"{text!r}: {pair!r} is not one of list=FILE, weight=W, kind=K, balance=depth, "
        "depth_factor=N and mounts=FILE, each once; a comma in a path is taken as part of it only "
        "if the path exists"
    )


def parse_data_options(texts: list[str]) -> dict[str, DataOption]:
    """Return what several ``--data`` options say, by name.

    A set is called as its folder or file is; a second one of that name gets ``-2`` and so on.

    Raises:
        DatasetError: as ``parse_data_option``.
    """
    options: dict[str, DataOption] = {}
    for text in texts:
        option = parse_data_option(text)
        options[numbered(option.path.resolve().stem, options)] = option
    return options


def numbered(name: str, taken: Container[str]) -> str:
    """Return a name, with ``-2`` and so on where it is taken."""
    found, count = name, 1
    while found in taken:
        count += 1
        found = f"{name}-{count}"
    return found


def open_dataset(
    path: str | Path,
    list_file: str | Path | None = None,
    kind: str | None = None,
    depth_factor: float | None = None,
) -> ImageFolder:
    """Return a data set.

    Args:
        path: a folder, or NYU's ``.mat`` file.
        list_file: the images to use, in the format of that kind of data set; None for all.
        kind: a key of ``KINDS``; None to find out by looking.
        depth_factor: units of the depth files a metre, of a plain folder only: the others define
            their own.

    Raises:
        DatasetError: nothing is there, or it is not of a known format, or malformed.
    """
    path = Path(path)
    if not path.exists():
        raise DatasetError(f"{path}: no such folder or file")
    kind = kind or find_kind(path)
    if kind not in KINDS:
        raise DatasetError(f"{path}: kind {kind!r} is unknown; known are {', '.join(KINDS)}")
    if kind == NyuMat.kind and path.is_dir():
        path = path / MAT_FILE
    if depth_factor is None:
        return KINDS[kind](path, list_file)
    if kind != PlainFolder.kind:
        raise DatasetError(
            f"{path}: depth_factor is {depth_factor:g}, but {kind} defines its own; it is for "
            f"plain folders, which have an {INTRINSICS_FILE}"
        )
    return PlainFolder(path, list_file, depth_factor)


def find_kind(path: Path) -> str:
    """Return which of ``KINDS`` lies at ``path``; raises DatasetError if none does."""
    if path.is_file():
        if path.suffix == ".mat":
            return NyuMat.kind
        raise DatasetError(f"{path}: a folder or a .mat file is needed")
    if (path / "rgb.txt").is_file() and (path / "depth.txt").is_file():
        return TumRgbd.kind
    if (path / INTRINSICS_FILE).is_file():
        return PlainFolder.kind
    if (path / MAT_FILE).is_file():
        return NyuMat.kind
    folders = [folder for place in DEPTH_PLACES for folder in (path / place).glob("*_sync")]
    if any(DRIVE.fullmatch(folder.name) for folder in folders):
        return KittiDepth.kind
    depth_files = list_images(path / "depth", DEPTH_SUFFIXES) if (path / "depth").is_dir() else []
    if depth_files and (path / "rgb").is_dir():
        if is_eight_bit(depth_files[0]):
            return NyuFolder.kind
        raise DatasetError(f"{path / INTRINSICS_FILE}: missing; a plain folder needs its cameras")
    raise DatasetError(
        f"{path}: no known data set; one of these is needed: {INTRINSICS_FILE} with rgb/ and "
        f"depth/ (plain folder); rgb/ and 8-bit depth/ (NYU); {MAT_FILE}; rgb.txt and depth.txt "
        "(TUM RGB-D); train/*_sync/proj_depth/groundtruth (KITTI)"
    )


def is_eight_bit(depth_file: Path) -> bool:
    """Return whether a depth PNG has 8 bits a pixel; a damaged one counts as not."""
    try:
        read_depth_png(depth_file, np.uint8)
    except DatasetError:
        return False
    return True
