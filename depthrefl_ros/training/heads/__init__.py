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

"""The heads that the reflector descends from, on its backbone and through its interface.

A head is an ``nn.Module`` from ``BackboneFeatures`` to a named tuple with at least

- ``depth``: (N, 1, h, w) float32 in units of z_max, inside [near, 1];
- ``sigma``: (N, 1, h, w), the standard deviation of log depth, or None.

What each is trained by is in ``training/head_losses.py``. None of them is shipped; they are here to
be measured against.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from depthrefl_ros.training.heads.adaptive import AdaBins, LocalBins
from depthrefl_ros.training.heads.classification import LogBinClassification, OrdinalRegression
from depthrefl_ros.training.heads.regression import (
    DepthRegression,
    LogDepthControl,
    LogDepthRegression,
)
from depthrefl_ros.training.heads.trunk import HeadModel, HeadSizes
from depthrefl_ros.training.heads.variants import ReflectorHead

ANCESTORS: dict[str, Callable[[HeadSizes], nn.Module]] = {
    "log_regression": LogDepthRegression,
    "berhu_regression": DepthRegression,
    "classification": LogBinClassification,
    "ordinal": OrdinalRegression,
    "adabins": AdaBins,
    "localbins": LocalBins,
}
REFLECTORS: dict[str, Callable[[HeadSizes], nn.Module]] = {
    "reflector": ReflectorHead,
    "reflector_softmax": partial(ReflectorHead, distribution="softmax"),
    "reflector_no_attractors": partial(ReflectorHead, levels=()),
    "reflector_one_level": partial(ReflectorHead, levels=(0,)),
    "reflector_no_relative": partial(ReflectorHead, sees_relative=False),
}
CONTROLS: dict[str, Callable[[HeadSizes], nn.Module]] = {
    "log_regression_control": LogDepthControl,
}
HEADS = {**ANCESTORS, **REFLECTORS, **CONTROLS}


def create_head(name: str, sizes: HeadSizes) -> nn.Module:
    """Return a head with random weights.

    Raises:
        ValueError: the name is no key of ``HEADS``.
    """
    if name not in HEADS:
        raise ValueError(f"head is {name!r}; known are {', '.join(HEADS)}")
    return HEADS[name](sizes)


__all__ = [
    "ANCESTORS",
    "CONTROLS",
    "HEADS",
    "REFLECTORS",
    "AdaBins",
    "DepthRegression",
    "HeadModel",
    "HeadSizes",
    "LocalBins",
    "LogBinClassification",
    "LogDepthControl",
    "LogDepthRegression",
    "OrdinalRegression",
    "ReflectorHead",
    "create_head",
]
