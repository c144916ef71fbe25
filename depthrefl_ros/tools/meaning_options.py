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

"""The options of ``depthrefl convert`` that say what an ONNX network takes and gives.

Each is a field of the file of ``--meaning``, by the same name, and is read by the same code.
"""

from __future__ import annotations

import argparse
from typing import Any

from depthrefl_ros.conversion.meaning import (
    COLOURS,
    LAYOUTS,
    SIDES,
    TRANSFORMS,
    TYPES,
    Meaning,
    make_meaning,
)
from depthrefl_ros.engine.bundle import COMMERCIAL, KINDS, RESIZES

# Option -> its field. Width and height are --size's.
FIELDS = {
    "--kind": "kind",
    "--focal-px": "focal_px",
    "--trained-hfov-deg": "trained_hfov_deg",
    "--layout": "input.layout",
    "--type": "input.type",
    "--colours": "input.colours",
    "--scale": "input.scale",
    "--mean": "input.mean",
    "--std": "input.std",
    "--resize": "input.resize",
    "--output": "output.name",
    "--transform": "output.transform",
    "--maximum": "output.maximum",
    "--sky": "sky.name",
    "--sky-threshold": "sky.threshold",
    "--sky-is": "sky.is",
    "--range-m": "range_m",
    "--licence": "licence",
    "--commercial": "commercial",
    "--source": "source",
}
NEEDED = ("--kind", "--range-m", "--licence")  # as in the file


def add_meaning_options(parser: argparse.ArgumentParser) -> None:
    """Add an option for each field of a meaning."""
    group = parser.add_argument_group(
        "description of the --onnx network, instead of --meaning or --preset",
        "Each is a field of the --meaning file; docs/networks.md explains them. "
        f"{', '.join(NEEDED[:-1])} and {NEEDED[-1]} are needed.",
    )

    def add(option: str, text: str, **more: Any) -> None:
        group.add_argument(option, dest=FIELDS[option], help=text, **more)

    add("--kind", "kind of depth; also for a checkpoint that does not state it", choices=KINDS)
    add("--focal-px", "for canonical: focal length in input pixels", type=float, metavar="F")
    add("--trained-hfov-deg", "for metric: field of view in training", type=float, metavar="DEG")
    add("--layout", "order of the input's dimensions", choices=LAYOUTS)
    add("--type", "data type of the input", choices=TYPES)
    add("--colours", "order of the channels", choices=COLOURS)
    add("--scale", "input = (byte * scale - mean) / std", type=float, metavar="S")
    add("--mean", "mean in this formula, one number or three", type=_numbers, metavar="R,G,B")
    add("--std", "std in this formula, one number or three", type=_numbers, metavar="R,G,B")
    add("--resize", "how an image of another shape is fitted to the input", choices=RESIZES)
    add("--output", "name of the depth output; also with --meaning, --preset", metavar="NAME")
    add("--transform", "how the output is converted to depth", choices=TRANSFORMS)
    add("--maximum", "for sigmoid_times_max: maximum, metres", type=float, metavar="M")
    add("--sky", "name of the sky output", metavar="NAME")
    add("--sky-threshold", "value that separates sky from the rest", type=float, metavar="T")
    add("--sky-is", "side of that value on which the sky is", choices=SIDES)
    add("--range-m", "range of depth to trust, metres", type=_range, metavar="MIN,MAX")
    add("--licence", "licence terms of the weights", metavar="TEXT")
    add("--commercial", "whether these terms allow commercial use", choices=COMMERCIAL)
    add("--source", "where the network comes from", metavar="TEXT")


def given_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return what was given, by option."""
    values = {option: getattr(args, field) for option, field in FIELDS.items()}
    return {option: value for option, value in values.items() if value is not None}


def meaning_of_options(args: argparse.Namespace) -> Meaning:
    """Return the meaning that the options state.

    Raises:
        ConversionError: a field is missing or absurd.
    """
    values: dict[str, Any] = {}
    for option, value in given_options(args).items():
        part, _, field = FIELDS[option].rpartition(".")
        owner = values.setdefault(part, {}) if part else values
        owner[field] = value
    return make_meaning(values, "the command line")


def _numbers(text: str) -> float | list[float]:
    """Return ``0.485,0.456,0.406`` as a list, and a single number as itself."""
    try:
        numbers = [float(one) for one in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} must be numbers with commas between") from error
    return numbers if len(numbers) > 1 else numbers[0]


def _range(text: str) -> dict[str, float]:
    """Return ``0.3,20`` as the field has it."""
    numbers = _numbers(text)
    if not isinstance(numbers, list) or len(numbers) != 2:
        raise argparse.ArgumentTypeError(f"{text!r} must be the nearest and the farthest: 0.3,20")
    return {"min": numbers[0], "max": numbers[1]}
