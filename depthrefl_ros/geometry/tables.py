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

"""Values as keys: what is computed once for a camera, a pose and settings is looked up by content.

Rays, maps and bearings cost more to make than to use. They hang on values: an equal camera or pose
that is another object finds the same table, and nobody has to hand the same object on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import lru_cache
from typing import TypeVar

import numpy as np

# One for each of four cameras in a process. A moving camera has a new pose in every frame, so the
# tables of its past poses must not pile up.
TABLES = 4

Function = TypeVar("Function", bound=Callable)


def table(function: Function) -> Function:
    """Keep the last ``TABLES`` results of a function of hashable values; for use as a decorator.

    Arrays in a result are shared by all who ask for it, so the function makes them read-only
    (``frozen``).
    """
    return lru_cache(maxsize=TABLES)(function)


def frozen(array: object, dtype: type | np.dtype | None = None) -> np.ndarray:
    """Return a read-only, contiguous copy of an array."""
    copy = np.array(array, dtype=dtype, order="C")
    copy.setflags(write=False)
    return copy


class Value:
    """A frozen dataclass that may hold arrays and compares and hashes by content.

    Declare it with ``@dataclass(frozen=True, eq=False)`` and make its arrays ``frozen``.
    """

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return type(self) is type(other) and self._content == other._content

    def __hash__(self) -> int:
        return hash(self._content)

    @property
    def _content(self) -> tuple:
        """The fields as hashable parts, made once."""
        content = self.__dict__.get("_parts")
        if content is None:
            content = tuple(_part(getattr(self, field.name)) for field in fields(self))
            object.__setattr__(self, "_parts", content)
        return content


def _part(value: object) -> object:
    if isinstance(value, np.ndarray):
        # Adding 0 makes -0.0 and 0.0, which are equal, the same bytes.
        return (value + np.zeros((), value.dtype)).tobytes(), value.shape, value.dtype.str
    return value
