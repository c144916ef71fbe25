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

"""The node's parameters that may change while it works, as controls of a page."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any

from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue

from depthrefl_ros.ros.parameters import SECTIONS, Parameters
from depthrefl_ros.settings import Changeable, Setting, SettingError, described, setting_of

_FIELDS = {
    bool: (ParameterType.PARAMETER_BOOL, "bool_value"),
    int: (ParameterType.PARAMETER_INTEGER, "integer_value"),
    float: (ParameterType.PARAMETER_DOUBLE, "double_value"),
    str: (ParameterType.PARAMETER_STRING, "string_value"),
}
_FIELD_OF_TYPE = dict(_FIELDS.values())


@dataclass(frozen=True)
class Control:
    """One live parameter.

    Attributes:
        name: of the parameter.
        group: heading above it.
        description: for people.
        unit: of the value, or empty.
        kind: ``bool``, ``int``, ``float`` or ``str``.
        low: smallest value of a number.
        high: largest value of a number.
        choices: all values of a word.
        default: where the user says nothing.
    """

    name: str
    group: str
    description: str
    unit: str
    kind: str
    low: float | None
    high: float | None
    choices: tuple[str, ...] | None
    default: bool | int | float | str

    def as_dict(self) -> dict[str, Any]:
        """Return all of it for JSON."""
        return asdict(self)

    def parameter(self, value: Any) -> Parameter:
        """Return the message that sets the parameter.

        Args:
            value: as JSON has it; a whole number does for a real one.

        Raises:
            SettingError: it is of the wrong type, or no value of this control.
        """
        kind = type(self.default)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if kind is float and is_number and math.isfinite(value):
            value = float(value)
        elif kind is int and is_number and value == round(value):
            value = int(value)
        if type(value) is not kind:
            raise SettingError(f"{self.name} is {value!r}; it must be of type {self.kind}")
        limits = None if self.low is None else (self.low, self.high)
        Setting(self.name, "", self.unit, limits, self.choices).check(value)
        number, field = _FIELDS[kind]
        return Parameter(name=self.name, value=ParameterValue(type=number, **{field: value}))


def live_controls() -> dict[str, Control]:
    """Return the controls by name: all that may change at any time, but free text.

    Free text names files and frames; a slip in it would silence the node.
    """
    controls, group = {}, ""
    defaults = Parameters()
    for item in fields(Parameters):
        # A section's first sentence; what follows explains it in the YAML file.
        group = SECTIONS.get(item.name, group).partition(". ")[0]
        value = getattr(defaults, item.name)
        found = described(value) if is_dataclass(value) else [(setting_of(item), value)]
        for one, default in found:
            is_text = isinstance(default, str) and one.choices is None
            is_open = type(default) in (int, float) and one.limits is None
            if one.changeable is Changeable.ALWAYS and not is_text and not is_open:
                low, high = one.limits or (None, None)
                kind = type(default).__name__
                controls[one.name] = Control(
                    *(one.name, group, one.description, one.unit, kind, low, high),
                    *(one.choices, default),
                )
    return controls


def plain_value(value: ParameterValue) -> bool | int | float | str | None:
    """Return what a parameter message holds; None where it is not set or a list."""
    field = _FIELD_OF_TYPE.get(value.type)
    return None if field is None else getattr(value, field)
