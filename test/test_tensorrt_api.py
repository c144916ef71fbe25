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

"""What TensorRT can do on a machine, and what is said where it is missing or wrong."""

import pytest

from depthrefl_ros.engine.base import EngineMissingError
from depthrefl_ros.engine.tensorrt import api
from depthrefl_ros.engine.tensorrt.api import find_flavour, flavours, load_runtime


def test_both_flavours_are_told_of_wherever_we_are():
    assert [flavour.name for flavour in flavours()] == ["tensorrt", "tensorrt_rtx"]
    for flavour in flavours():
        assert flavour.can_run or flavour.reason
        assert bool(flavour.version) or not flavour.can_build


def test_a_flavour_that_is_not_installed_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(api, "load_runtime", load_runtime.__wrapped__)  # uncached
    monkeypatch.setattr(api.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineMissingError, match="pip install tensorrt-rtx"):
        api.load_runtime("tensorrt_rtx")
    assert find_flavour("tensorrt").reason == (
        "tensorrt is not installed: it comes with JetPack 6.1 or later, or pip install tensorrt"
    )


def test_an_unknown_flavour_is_named():
    with pytest.raises(ValueError, match="'abacus'"):
        find_flavour("abacus")


def test_known_faults_are_said(machine):
    found = find_flavour("tensorrt")
    assert (found.version, found.can_build, found.can_run) == ("10.3.0", True, True)
    assert "10.14" in found.known_fault
