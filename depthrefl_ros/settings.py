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

"""Settings that describe themselves: one declaration serves the code, the YAML and ROS.

A settings class is a frozen dataclass. A field made by ``setting`` carries what a user sees of it:
its name, unit, range, description, and when it may change. Classes nest; names are unique.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import Enum
from typing import Any, TypeVar

_KEY = "setting"
# Units by the suffix of a field's name; users see the name without it.
_UNITS = {"_m": "m", "_deg": "degrees", "_s": "s", "_hz": "Hz"}

Settings = TypeVar("Settings")


class SettingError(ValueError):
    """A value that cannot be taken; names the setting, the value and what would be right."""


class Changeable(Enum):
    """When a setting of the running node may change; the value is for people."""

    ALWAYS = "at any time, from the next frame on"
    INACTIVE = "only while the node is not active: deactivate it first"
    UNCONFIGURED = "only while the node is unconfigured: deactivate and clean it up first"
    AT_START = "only at start"


@dataclass(frozen=True)
class Setting:
    """What a user sees of one field.

    Attributes:
        name: of the ROS parameter.
        description: one or two sentences.
        unit: of the value, or empty.
        limits: smallest and largest value, or None.
        choices: all values, or None.
        changeable: when it may change.
    """

    name: str
    description: str
    unit: str = ""
    limits: tuple[float, float] | None = None
    choices: tuple[str, ...] | None = None
    changeable: Changeable = Changeable.ALWAYS

    def check(self, value: Any) -> None:
        """Check a value against the choices and the limits.

        Raises:
            SettingError: the value is none of the choices, or outside the limits.
        """
        if self.choices is not None and value not in self.choices:
            raise SettingError(f"{self.name} is {value!r}; it must be one of {self.choices}")
        if self.limits is not None and not self.limits[0] <= value <= self.limits[1]:
            unit = f" {self.unit}" if self.unit else ""
            low, high = self.limits
            raise SettingError(
                f"{self.name} is {value!r}{unit}; it must be between {low:g} and {high:g}{unit}"
            )


def setting(
    default: bool | int | float | str,
    description: str,
    *,
    name: str = "",
    limits: tuple[float, float] | None = None,
    choices: tuple[str, ...] | None = None,
    changeable: Changeable = Changeable.ALWAYS,
) -> Any:
    """Declare a field of a settings class.

    Args:
        default: the value where the user gives none.
        description: one or two sentences for the user.
        name: of the ROS parameter; empty takes the field's name without its unit (``_m``...).
        limits: smallest and largest value.
        choices: all values.
        changeable: when it may change.
    """
    details = {
        "description": description,
        "name": name,
        "limits": limits,
        "choices": choices,
        "changeable": changeable,
    }
    return field(default=default, metadata={_KEY: details})


def described(settings: Any) -> Iterator[tuple[Setting, Any]]:
    """Yield every setting of a settings object and of those nested in it, with its value."""
    for item in fields(settings):
        value = getattr(settings, item.name)
        if is_dataclass(value):
            yield from described(value)
        elif _KEY in item.metadata:
            yield setting_of(item), value


def values_of(settings: Any) -> dict[str, Any]:
    """Return all values by the settings' names."""
    return {one.name: value for one, value in described(settings)}


def changed(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """Return the settings with some values changed.

    Args:
        settings: left as it is; parts without a change are taken over as the same objects.
        changes: new values by the settings' names; names that are none of its are ignored.

    Raises:
        ValueError: a changed value cannot be taken, alone or beside another.
    """
    updates = {}
    for item in fields(settings):
        value = getattr(settings, item.name)
        if is_dataclass(value):
            part = changed(value, changes)
            if part is not value:
                updates[item.name] = part
        elif _KEY in item.metadata:
            name = setting_of(item).name
            if name in changes and changes[name] != value:
                updates[item.name] = changes[name]
    return replace(settings, **updates) if updates else settings


def check(settings: Any) -> None:
    """Check every field of one settings object against its own limits and choices.

    Raises:
        SettingError: a value cannot be taken.
    """
    for item in fields(settings):
        if _KEY in item.metadata:
            setting_of(item).check(getattr(settings, item.name))


def names_in(setting_name: str, given: Any) -> list[str]:
    """Return the names that a setting lists; none where it is empty or None.

    Args:
        setting_name: for the error.
        given: a list of words, or a text with spaces or commas between them, in brackets or not.

    Raises:
        SettingError: one cannot be the name of a namespace, or there are two of it.
    """
    words = given if isinstance(given, list) else [given or ""]
    text = " ".join(map(str, words)).strip()
    names = text.removeprefix("[").removesuffix("]").replace(",", " ").split()
    wrong = [name for name in names if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name)]
    wrong += [one for one in words if not isinstance(one, str)]
    if wrong or len(set(names)) < len(names) or (text and not names):
        raise SettingError(
            f"{setting_name} is {given!r}; it must be different names with spaces between them, "
            "each of letters, digits and _ and not beginning with a digit"
        )
    return names


def check_order(settings: Any, low: str, high: str) -> None:
    """Check that one field is smaller than another.

    Args:
        settings: a settings object.
        low: name of the field that must be smaller.
        high: name of the field that must be larger.

    Raises:
        SettingError: it is not; names both settings and their values.
    """
    items = {item.name: item for item in fields(settings)}
    first, second = setting_of(items[low]), setting_of(items[high])
    low_value, high_value = getattr(settings, low), getattr(settings, high)
    if not low_value < high_value:
        unit = f" {first.unit}" if first.unit else ""
        raise SettingError(
            f"{first.name} is {low_value}{unit} and {second.name} {high_value}{unit}; "
            f"{first.name} must be the smaller"
        )


def setting_of(item: Any) -> Setting:
    """Return what a user sees of a dataclass field made by ``setting``."""
    details = dict(item.metadata[_KEY])
    suffix = next((suffix for suffix in _UNITS if item.name.endswith(suffix)), "")
    details["name"] = details["name"] or item.name.removesuffix(suffix)
    return Setting(unit=_UNITS.get(suffix, ""), **details)
