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

"""How a checkpoint of ``transformers`` becomes a bundle: class, meaning, and size of the image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from depthrefl_ros.conversion.meaning import ConversionError, Meaning


@dataclass(frozen=True)
class Recipe:
    """How a checkpoint of ``transformers`` becomes a bundle.

    Attributes:
        class_name: of ``transformers``, or ``DepthAnythingV1Metric`` of ``da1metric``.
        meaning: of what our wrapper around the class takes and gives: normalised NCHW at the
            bundle's size in, one plane of that size out.
        size: (height, width) of the bundle unless the user asks for another, pixels.
        multiple: that both sides of the bundle's input must be divisible by.
        inner: how the bundle's image becomes the network's: ``plain`` as it is; ``stretch`` to
            ``inner_size``; ``reflect`` padded with its mirror image, then scaled to about the
            bundle's size; ``reflect_stretch`` likewise, then stretched to exactly that;
            ``da3metric`` as it is, with a sky beside the depth.
        inner_size: (height, width) of ``stretch``; else None.
        config: values of ``config.json`` that must be others than the file has.
        domain: of a network with several heads, the one that this is; else empty.
        notes: what the user should know, a line each.
    """

    class_name: str
    meaning: Meaning
    size: tuple[int, int]
    multiple: int
    inner: str = "plain"
    inner_size: tuple[int, int] | None = None
    config: tuple[tuple[str, Any], ...] = ()
    domain: str = ""
    notes: tuple[str, ...] = ()


def fit_size(recipe: Recipe, size: tuple[int, int] | None) -> tuple[int, int]:
    """Return the bundle's (height, width).

    Args:
        recipe: of the checkpoint.
        size: that the user asks for; None for the recipe's own.

    Raises:
        ConversionError: a side is no multiple of what the network needs; names the nearest size.
    """
    height, width = size or recipe.size
    step = recipe.multiple
    if height % step or width % step:
        near_height, near_width = (max(1, round(side / step)) * step for side in (height, width))
        raise ConversionError(
            f"size is {width}x{height}; both sides must be multiples of {step}: "
            f"{near_width}x{near_height} is the nearest"
        )
    return height, width


def at_size(recipe: Recipe, height: int, width: int) -> Meaning:
    """Return the recipe's meaning for a bundle of this size (pixels).

    Depth Pro's canonical camera has the focal length of its image's width, whatever that is:
    depth = f / (width * C), so that 1 / C is depth for f = width.
    """
    meaning = replace(recipe.meaning, height=height, width=width)
    if recipe.class_name == "DepthProForDepthEstimation":
        meaning = replace(meaning, focal_px=float(width))
    return meaning
