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

"""``model.yaml``, field by field: what is missing, misspelt or absurd is named with the file."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

FORMAT_VERSION = 2
DESCRIPTION = "model.yaml"
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_NEEDED = object()


class BundleError(Exception):
    """A bundle that is missing, damaged, or of a version that this code does not read."""


class Fields:
    """The fields of ``model.yaml``, or of one mapping in it.

    Args:
        path: of the file.
        values: of the fields by name.
        prefix: of the mapping's own name, with a dot.
    """

    def __init__(self, path: Path, values: dict[str, Any], prefix: str = ""):
        self.path, self.values, self._prefix = path, values, prefix

    def has(self, name: str) -> bool:
        """Return whether the field is there and not empty."""
        return self.values.get(name) is not None

    def part(self, name: str) -> Fields:
        """Return the mapping of this name."""
        value = self._get(name)
        if not isinstance(value, dict):
            raise self.error(name, value, "a mapping is needed")
        return Fields(self.path, value, f"{self._prefix}{name}.")

    def number(self, name: str, low: float, high: float, default: Any = _NEEDED) -> Any:
        """Return a finite number in [low, high]."""
        value = self._get(name, default)
        if value is default:
            return default
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not (is_number and math.isfinite(value) and low <= value <= high):
            raise self.error(name, value, f"a number from {low:g} to {high:g} is needed")
        return float(value)

    def whole(self, name: str, low: int, high: int) -> int:
        """Return a whole number in [low, high]."""
        value = self.number(name, low, high)
        if value != int(value):
            raise self.error(name, value, "a whole number is needed")
        return int(value)

    def text(self, name: str, default: Any = _NEEDED) -> Any:
        """Return a text that is not empty."""
        value = self._get(name, default)
        if value is default:
            return default
        if not isinstance(value, str) or not value.strip():
            raise self.error(name, value, "a text is needed")
        return value

    def choice(self, name: str, known: Sequence[str], default: Any = _NEEDED) -> str:
        """Return one of the known words; YAML's bare ``yes`` and ``no`` are words here."""
        value = self._get(name, default)
        value = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
        if value not in known:
            raise self.error(name, value, f"known are {', '.join(known)}")
        return value

    def choices(self, name: str, known: Sequence[str]) -> tuple[str, ...]:
        """Return several of the known words, each once, in the order in which they are known."""
        value = self._get(name)
        if not isinstance(value, list) or not value or any(one not in known for one in value):
            raise self.error(name, value, f"a list out of {', '.join(known)} is needed")
        if len(set(value)) != len(value):
            raise self.error(name, value, "one of them stands twice")
        return tuple(one for one in known if one in value)

    def digests(self, name: str, default: Any = _NEEDED) -> dict[str, str]:
        """Return SHA-256 by file name, hexadecimal in lower case."""
        values = self._get(name, default)
        if not isinstance(values, dict):
            raise self.error(name, values, "a mapping of file names to SHA-256 is needed")
        for file, digest in values.items():
            if not (isinstance(digest, str) and len(digest) == 64):
                raise self.error(f"{name}.{file}", digest, "a SHA-256 in hexadecimal is needed")
            if not isinstance(file, str) or Path(file).name != file:
                raise self.error(name, file, "names of files in the bundle are needed")
        return {file: digest.lower() for file, digest in values.items()}

    def numbers(self, name: str, low: float, high: float) -> np.ndarray:
        """Return a list of finite numbers in [low, high], (n,) float64."""
        array = self._list(name, 1)
        if not (np.isfinite(array) & (array >= low) & (array <= high)).all():
            needed = f"numbers from {low:g} to {high:g} are needed"
            raise self.error(name, f"{array.size} numbers", needed)
        return array

    def _list(self, name: str, least: int) -> np.ndarray:
        values = self._get(name)
        try:
            array = np.array(values, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise self.error(name, values, "a list of numbers is needed") from error
        if array.ndim != 1 or array.size < least:
            count = "one number" if least == 1 else "two numbers"
            raise self.error(name, values, f"a list of at least {count} is needed")
        return array

    def rising(self, name: str, high: float, least: int = 2) -> np.ndarray:
        """Return a list of at least so many rising numbers in [0, high], (n,) float64."""
        array = self._list(name, least)
        steps = np.diff(array)
        is_right = np.isfinite(array).all() and array[0] >= 0.0 and array[-1] <= high
        if not is_right or (steps < 0.0).any():
            needed = f"rising finite numbers from 0 to {high:g} are needed"
            falls = next((n for n, step in zip(array[1:], steps, strict=True) if step < 0.0), None)
            needed += "" if falls is None else f"; {falls:g} is less than the number before it"
            raise self.error(name, f"{array.size} numbers", needed)
        return array

    def error(self, name: str, value: Any, needed: str) -> BundleError:
        """Return what is wrong with a field, in one line."""
        words = value if isinstance(value, str) and value.endswith("numbers") else repr(value)
        words = words if len(words) <= 120 else f"{words[:120]}..."
        return BundleError(f"{self.path}: {self._prefix}{name} is {words}; {needed}")

    def _get(self, name: str, default: Any = _NEEDED) -> Any:
        value = self.values.get(name)
        if value is None:
            if default is _NEEDED:
                raise BundleError(f"{self.path} has no {self._prefix}{name}")
            return default
        return value


def read_fields(path: Path) -> Fields:
    """Read ``model.yaml``.

    Raises:
        BundleError: it cannot be read, or holds no mapping.
    """
    try:
        content = path.read_bytes()
        refuse_lfs_pointer(path, content)
        values = yaml.safe_load(content.decode("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise BundleError(f"{path} cannot be read: {reason}") from error
    if not isinstance(values, dict):
        raise BundleError(f"{path} holds a {type(values).__name__}; a mapping is needed")
    return Fields(path, values)


def read_accuracy(fields: Fields, name: str, default: float) -> float:
    """Return AbsRel as a field tells it, ``default`` where it does not."""
    if not fields.has(name):
        return default
    return fields.part(name).number("abs_rel", 0.0, 1e6, default)


def read_range(fields: Fields) -> tuple[float, float]:
    """Return the nearest and the farthest depth of ``range_m``, metres."""
    nearest, farthest = fields.number("min", 0.01, 1000.0), fields.number("max", 0.01, 1000.0)
    if nearest >= farthest:
        raise fields.error("min", nearest, f"it must be less than max, {farthest:g}")
    return nearest, farthest


def read_calibration(fields: Fields) -> np.ndarray | None:
    """Return (2, n) float64: probabilities and quantiles; None where there are none."""
    if not fields.has("calibration") and fields.values["format_version"] > 1:
        return None
    part = fields.part("calibration")
    probability, quantile = part.rising("probability", 1.0), part.rising("quantile", 1e6)
    if probability.size != quantile.size:
        needed = f"as many as probability's {probability.size} are needed"
        raise part.error("quantile", f"{quantile.size} numbers", needed)
    return np.array([probability, quantile])


def read_sigma_table(fields: Fields) -> np.ndarray | None:
    """Return (3, n) float64: distances, sigma there and at edges; None where there are none."""
    if not fields.has("sigma_table"):
        return None
    part = fields.part("sigma_table")
    columns = [
        part.rising("distance_m", 1000.0, 1),
        part.numbers("inner", 1e-4, 10.0),
        part.numbers("edge", 1e-4, 10.0),
    ]
    for name, column in zip(("inner", "edge"), columns[1:], strict=True):
        if column.size != columns[0].size:
            needed = f"as many as distance_m's {columns[0].size} are needed"
            raise part.error(name, f"{column.size} numbers", needed)
    if columns[0][0] <= 0.0:
        raise part.error("distance_m", f"{columns[0].size} numbers", "they must be above 0")
    return np.array(columns)


def change_description(folder: Path, changes: Mapping[str, Any]) -> None:
    """Write some fields of a bundle's ``model.yaml`` anew; it is changed as a whole or not at all.

    Args:
        folder: of the bundle.
        changes: new values by field; the other fields and all files stay as they are.

    Raises:
        BundleError: there is no description of the present format.
        OSError: it cannot be written.
    """
    path = folder / DESCRIPTION
    values = read_fields(path).values
    version = values.get("format_version")
    if version != FORMAT_VERSION:
        raise BundleError(
            f"{path} has format_version {version!r}; only {FORMAT_VERSION} can be changed: make "
            "the bundle anew"
        )
    text = yaml.safe_dump({**values, **changes}, sort_keys=False, allow_unicode=True, width=100)
    part = path.with_name(f".{DESCRIPTION}.part")
    try:
        part.write_text(text, encoding="utf-8")
        shutil.copymode(path, part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def refuse_lfs_pointer(path: Path, head: bytes) -> None:
    """Check that a file's first bytes are not those of a Git LFS pointer.

    Raises:
        BundleError: they are; says what fetches the file itself.
    """
    if head.startswith(_LFS_POINTER):
        raise BundleError(
            f"{path} is a Git LFS pointer and not the file itself: run `git lfs pull` in the "
            "checkout it came from"
        )
