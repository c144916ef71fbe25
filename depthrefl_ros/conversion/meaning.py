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

"""What somebody else's ONNX network takes and gives, stated once and compiled into its bundle."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from depthrefl_ros.engine.bundle import COMMERCIAL, KINDS, RESIZES
from depthrefl_ros.engine.description import BundleError, Fields, read_fields

LAYOUTS = ("NCHW", "NHWC")
TYPES = ("float", "uint8")
COLOURS = ("rgb", "bgr")
TRANSFORMS = ("identity", "exp", "inverse", "sigmoid_times_max")
SIDES = ("above", "below")
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_TOP = (
    *("kind", "focal_px", "trained_hfov_deg", "input", "output", "sky", "range_m"),
    *("licence", "commercial", "source"),
)
_PARTS = {
    "input": ("layout", "type", "colours", "scale", "mean", "std", "width", "height", "resize"),
    "output": ("name", "transform", "maximum"),
    "sky": ("name", "threshold", "is"),
    "range_m": ("min", "max"),
}


class ConversionError(Exception):
    """A network that cannot be converted, or a meaning that it does not have."""


@dataclass(frozen=True)
class Meaning:
    """What a network takes and gives.

    Attributes:
        kind: as ``Bundle.kind``: ``canonical``, ``metric`` or ``inverse_relative``.
        focal_px: pixels at network resolution, of ``canonical``; else None. The focal length of a
            stretched image is the mean of both directions.
        trained_hfov_deg: horizontal field of view that a ``metric`` network was trained for.
        layout: of the input, ``NCHW`` or ``NHWC``.
        type: of the input: ``float`` (16 or 32 bits as the graph says) or ``uint8``, which is
            taken as it is.
        colours: order of the channels, ``rgb`` or ``bgr``.
        scale: the input is (byte * scale - mean) / std; mean and std by the network's channels.
        mean: as above.
        std: as above.
        width: of the input, pixels; None where the graph states it.
        height: likewise.
        resize: as ``Bundle.resize``.
        outputs: names that the output may have; the graph's only output may have any.
        transform: what makes our plane of the output: ``identity``, ``exp``, ``inverse`` (1/x) or
            ``sigmoid_times_max``.
        maximum: metres that a sigmoid goes up to, that of ``sigmoid_times_max`` or one inside the
            network; else None.
        sky: names that the output for the sky may have; empty where there is none.
        sky_threshold: what parts sky from the rest.
        sky_is: on which side of it the sky lies, ``above`` or ``below``.
        range_m: nearest and farthest depth to be believed, metres.
        licence: under which terms the weights may be used.
        commercial: ``yes``, ``no`` or ``unknown``.
        source: where the network comes from.
    """

    kind: str
    licence: str
    range_m: tuple[float, float]
    focal_px: float | None = None
    trained_hfov_deg: float | None = None
    layout: str = "NCHW"
    type: str = "float"
    colours: str = "rgb"
    scale: float = 1.0 / 255.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    width: int | None = None
    height: int | None = None
    resize: str = "pad"
    outputs: tuple[str, ...] = ()
    transform: str = "identity"
    maximum: float | None = None
    sky: tuple[str, ...] = ()
    sky_threshold: float = 0.5
    sky_is: str = "above"
    commercial: str = "unknown"
    source: str = ""

    @property
    def plane(self) -> str:
        """The bundle's output that the network's becomes: ``relative`` or ``depth``."""
        return "relative" if self.kind == "inverse_relative" else "depth"

    @property
    def needs_intrinsics(self) -> bool:
        """Whether the camera's focal length scales the depth."""
        return self.kind == "canonical"


def read_meaning(path: Path) -> Meaning:
    """Read a meaning from a YAML file (see docs/networks.md).

    Raises:
        ConversionError: it cannot be read, or a field is missing, misspelt or absurd.
    """
    try:
        return _meaning(read_fields(path))
    except BundleError as error:
        raise ConversionError(str(error)) from error


def make_meaning(values: dict[str, Any], where: str) -> Meaning:
    """Return the meaning that fields state which come from elsewhere than a file.

    Args:
        values: by name, as YAML would have them.
        where: they come from, for messages.

    Raises:
        ConversionError: a field is missing, misspelt or absurd.
    """
    try:
        return _meaning(Fields(Path(where), values))
    except BundleError as error:
        raise ConversionError(str(error)) from error


def _meaning(fields: Fields) -> Meaning:
    _refuse_unknown(fields, _TOP, "")
    parts = {name: _part(fields, name) for name in _PARTS}
    given, output, sky = parts["input"], parts["output"], parts["sky"]
    kind = fields.choice("kind", KINDS)
    transform = output.choice("transform", TRANSFORMS, "identity")
    nearest, farthest = (parts["range_m"].number(n, 0.01, 1000.0) for n in ("min", "max"))
    if nearest >= farthest:
        raise parts["range_m"].error("min", nearest, f"it must be less than max, {farthest:g}")
    for name, owner in (("focal_px", "canonical"), ("trained_hfov_deg", "metric")):
        if fields.has(name) and kind != owner:
            raise fields.error(name, fields.values[name], f"only kind {owner} has it, not {kind}")
    if output.has("maximum") and transform != "sigmoid_times_max":
        needed = f"only transform sigmoid_times_max has it, not {transform}"
        raise output.error("maximum", output.values["maximum"], needed)
    type_ = given.choice("type", TYPES, "float")
    for name in ("scale", "mean", "std"):
        if type_ == "uint8" and given.has(name):
            raise given.error(name, given.values[name], "an input of type uint8 has none")
    for name in ("threshold", "is"):
        if sky.has(name) and not sky.has("name"):
            raise sky.error("name", None, "the name of the output for the sky is needed")
    return Meaning(
        kind=kind,
        licence=fields.text("licence"),
        range_m=(nearest, farthest),
        focal_px=fields.number("focal_px", 10.0, 20000.0) if kind == "canonical" else None,
        trained_hfov_deg=fields.number("trained_hfov_deg", 5.0, 179.0, None),
        layout=given.choice("layout", LAYOUTS, "NCHW"),
        type=type_,
        colours=given.choice("colours", COLOURS, "rgb"),
        scale=given.number("scale", 1e-6, 1e3, 1.0 / 255.0),
        mean=_three(given, "mean", -1e4, 1e4, 0.0),
        std=_three(given, "std", 1e-6, 1e4, 1.0),
        width=given.whole("width", 16, 4096) if given.has("width") else None,
        height=given.whole("height", 16, 4096) if given.has("height") else None,
        resize=given.choice("resize", RESIZES, "pad"),
        outputs=_names(output),
        transform=transform,
        maximum=output.number("maximum", 0.1, 1e4) if transform == "sigmoid_times_max" else None,
        sky=_names(sky),
        sky_threshold=sky.number("threshold", -1e4, 1e4, 0.5),
        sky_is=sky.choice("is", SIDES, "above"),
        commercial=fields.choice("commercial", COMMERCIAL, "unknown"),
        source=fields.text("source", ""),
    )


def nearest_name(name: str, known: list[str] | tuple[str, ...]) -> str:
    """Return in words which known name a wrong one comes nearest to, or all of them."""
    nearest = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    return f"did you mean {nearest[0]!r}?" if nearest else f"known are {', '.join(known)}"


def _part(fields: Fields, name: str) -> Fields:
    if not fields.has(name):
        return Fields(fields.path, {}, f"{name}.")
    part = fields.part(name)
    _refuse_unknown(part, _PARTS[name], f"{name}.")
    return part


def _refuse_unknown(fields: Fields, known: tuple[str, ...], prefix: str) -> None:
    for name in fields.values:
        if name not in known:
            raise ConversionError(
                f"{fields.path}: there is no field {prefix}{name}; "
                + nearest_name(str(name), known)
            )


def _three(
    fields: Fields, name: str, low: float, high: float, default: float
) -> tuple[float, float, float]:
    """Return one number for each channel; a single one holds for all three."""
    value: Any = fields.values.get(name)
    values = [default] * 3 if value is None else value
    values = values if isinstance(values, list) else [values] * 3
    if len(values) != 3:
        raise fields.error(name, value, "one number or three are needed")
    # Each by itself, so that the error names the one that is wrong.
    numbers = [Fields(fields.path, {name: one}).number(name, low, high) for one in values]
    return (numbers[0], numbers[1], numbers[2])


def _names(fields: Fields) -> tuple[str, ...]:
    value = fields.values.get("name")
    if value is None:
        return ()
    names = value if isinstance(value, list) else [str(value)]
    if not names or any(not isinstance(name, str) or not name for name in names):
        raise fields.error("name", value, "a name or a list of names is needed")
    return tuple(names)
