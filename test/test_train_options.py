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

"""What the options of ``train`` take."""

import math

import pytest

from depthrefl_ros.tools import train

LEG = ("stage2", "--run", "run", "--data", "rooms", "--steps", "1")


@pytest.mark.parametrize(
    ("option", "text", "said"),
    [
        ("--seed", "x", "'x' must be a whole number, 0 or more"),
        ("--workers", "1.5", "'1.5' must be a whole number, 0 or more"),
        ("--views", "-1", "'-1' must be a whole number, 0 or more"),
        ("--minutes", "x", "'x' must be a number, 0 or more"),
        ("--minutes", "nan", "'nan' must be a number, 0 or more"),
        ("--batch", "x", "'x' must be a whole number above 0"),
        ("--cap", "x", "'x' must be a finite number above 0"),
    ],
)
def test_what_is_no_such_number_is_refused_in_plain_words(capsys, option, text, said):
    with pytest.raises(SystemExit, match="2"):
        train.build_parser().parse_args([*LEG, option, text])
    assert f"argument {option}: {said}" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "minutes"), [("0", 0.0), ("1.5", 1.5), ("inf", math.inf)])
def test_minutes_may_be_without_end(text, minutes):
    assert train.build_parser().parse_args([*LEG, "--minutes", text]).minutes == minutes
