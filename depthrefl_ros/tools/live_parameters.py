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

"""The node's parameters that may change while it works: as controls of a page, read and set."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any

from rcl_interfaces.msg import Parameter, ParameterEvent, ParameterType, ParameterValue
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.node import Node

from depthrefl_ros.ros.parameters import SECTIONS, Parameters
from depthrefl_ros.settings import Changeable, Setting, SettingError, described, setting_of

_FIELDS = {
    bool: (ParameterType.PARAMETER_BOOL, "bool_value"),
    int: (ParameterType.PARAMETER_INTEGER, "integer_value"),
    float: (ParameterType.PARAMETER_DOUBLE, "double_value"),
    str: (ParameterType.PARAMETER_STRING, "string_value"),
}
_FIELD_OF_TYPE = dict(_FIELDS.values())
ASK_AGAIN_S = 3.0
NOT_THERE = "there is no node to set"


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
        if is_number and not _is_finite(value):
            raise SettingError(f"{self.name} is {value!r}; it must be finite, of type {self.kind}")
        if kind is float and is_number:
            value = float(value)
        elif kind is int and is_number and value == round(value):
            value = int(value)
        if type(value) is not kind:
            raise SettingError(f"{self.name} is {value!r}; it must be of type {self.kind}")
        limits = None if self.low is None else (self.low, self.high)
        Setting(self.name, "", self.unit, limits, self.choices).check(value)
        number, field = _FIELDS[kind]
        return Parameter(name=self.name, value=ParameterValue(type=number, **{field: value}))


def _is_finite(value: int | float) -> bool:
    """Tell whether a number of JSON, which has whole ones of any length, fits a real one."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


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


class ParameterClient:
    """Reads and sets the live parameters of one node; all of it in the thread that spins ours.

    Args:
        node: ours, that asks.
        full_name: of the other node.
        on_news: gets ``values`` and ``answer`` for JSON.
    """

    def __init__(self, node: Node, full_name: str, on_news: Callable[[dict[str, Any]], None]):
        self._node, self._full_name, self._on_news = node, full_name, on_news
        self._controls = live_controls()
        self._get = node.create_client(GetParameters, f"{full_name}/get_parameters")
        self._set = node.create_client(SetParameters, f"{full_name}/set_parameters")
        self._asked_s = -math.inf
        self._is_answered = False

    def close(self) -> None:
        """Forget the node."""
        for client in (self._get, self._set):
            self._node.destroy_client(client)

    def ask(self) -> None:
        """Ask for all values, and again while no answer has come: DDS may lose an early one."""
        now = time.monotonic()
        if self._is_answered or now - self._asked_s < ASK_AGAIN_S:
            return
        if self._get.service_is_ready():
            self._asked_s = now
            request = GetParameters.Request(names=list(self._controls))
            self._get.call_async(request).add_done_callback(self._on_values)

    def set_value(self, name: str, value: Any) -> None:
        """Set a parameter; what comes of it is news of kind ``answer``."""
        control = self._controls.get(name)
        try:
            if control is None:
                raise SettingError(f"{name!r} is not among the parameters that can be set here")
            parameter = control.parameter(value)
        except SettingError as error:
            self._on_news(answer(name, str(error)))
            return
        if not self._set.service_is_ready():
            self._on_news(answer(name, NOT_THERE))
            return

        def answered(future: Any) -> None:
            (result,) = future.result().results
            problem = "" if result.successful else result.reason or "refused"
            self._on_news(answer(name, problem))

        request = SetParameters.Request(parameters=[parameter])
        self._set.call_async(request).add_done_callback(answered)

    def take_event(self, event: ParameterEvent) -> None:
        """Take in what anybody has set."""
        if event.node == self._full_name:
            changes = [*event.new_parameters, *event.changed_parameters]
            self._tell({one.name: plain_value(one.value) for one in changes})

    def _on_values(self, future: Any) -> None:
        self._is_answered = True
        found = zip(self._controls, future.result().values, strict=False)
        self._tell({name: plain_value(value) for name, value in found})

    def _tell(self, values: dict[str, Any]) -> None:
        known = {
            name: value
            for name, value in values.items()
            if name in self._controls and value is not None
        }
        if known:
            self._on_news({"kind": "values", "node": self._full_name, "values": known})


def answer(name: str, problem: str) -> dict[str, Any]:
    """Return the news of what came of setting a parameter; no problem is an empty text."""
    return {"kind": "answer", "name": name, "problem": problem}
