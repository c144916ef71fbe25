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

"""One declaration serves the code, the YAML and ROS."""

from dataclasses import dataclass

import pytest

from depthrefl_ros.settings import (
    Changeable,
    SettingError,
    changed,
    check,
    check_order,
    described,
    names_in,
    setting,
    values_of,
)


@dataclass(frozen=True)
class Band:
    low_m: float = setting(0.1, "Lower edge.", limits=(-10.0, 10.0))
    high_m: float = setting(1.8, "Upper edge.", name="top", limits=(-10.0, 10.0))
    follows: float = 1.0  # no setting

    def __post_init__(self):
        check(self)
        check_order(self, "low_m", "high_m")


@dataclass(frozen=True)
class Settings:
    band: Band = Band(high_m=2.0)
    mode: str = setting("a", "Mode.", choices=("a", "b"), changeable=Changeable.INACTIVE)

    def __post_init__(self):
        check(self)


def test_nested_settings_are_found_by_name_with_unit_and_value():
    found = {one.name: (one.unit, value) for one, value in described(Settings())}
    assert found == {"low": ("m", 0.1), "top": ("m", 2.0), "mode": ("", "a")}


def test_changed_replaces_only_what_changes():
    before = Settings()
    after = changed(before, {"top": 3.0, "unknown": 7, "mode": "a"})
    assert values_of(after) == {"low": 0.1, "top": 3.0, "mode": "a"}
    assert changed(before, {"mode": "b"}).band is before.band
    assert changed(before, {"mode": "a"}) is before


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"mode": "c"}, r"mode is 'c'; it must be one of \('a', 'b'\)"),
        ({"low": 11.0}, "low is 11.0 m; it must be between -10 and 10 m"),
        ({"low": float("nan")}, "low is nan m"),
        ({"low": 2.5}, "low is 2.5 m and top 2.0 m; low must be the smaller"),
    ],
)
def test_what_cannot_be_taken_is_named(changes, message):
    with pytest.raises(SettingError, match=message):
        changed(Settings(), changes)


@pytest.mark.parametrize(
    "given, names",
    [
        (None, []),
        ("", []),
        ([], []),
        (["front", "left"], ["front", "left"]),
        ("front, left_2", ["front", "left_2"]),
        ("front left", ["front", "left"]),
        ("[front, left]", ["front", "left"]),
    ],
)
def test_names_are_a_list_or_a_text(given, names):
    assert names_in("cameras", given) == names


@pytest.mark.parametrize(
    "given", [["front", "front"], "front/left", ["2nd"], ["front left", "front"], ",", True, [1, 2]]
)
def test_names_that_none_can_have_are_refused(given):
    with pytest.raises(SettingError, match="cameras is .*it must be different names with spaces"):
        names_in("cameras", given)
