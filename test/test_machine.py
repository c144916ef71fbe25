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

"""What ``doctor`` says of the place where engines are kept."""

import pytest

from depthrefl_ros.tools import machine


@pytest.fixture
def finding(monkeypatch):
    """Return what is found where the user's home is given."""

    def found(home) -> machine.Finding:
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setenv("HOME", str(home))
        return machine._cache()

    return found


def test_a_home_where_nothing_can_be_stored_is_warned_about(finding):
    found = finding("/proc")
    assert found.state == "warning"
    assert found.text.startswith("nothing can be stored in /proc/.cache/depthrefl_ros: /proc: ")
    assert "XDG_CACHE_HOME names another" in found.text


def test_a_file_in_its_place_is_warned_about(finding, tmp_path):
    (tmp_path / ".cache").write_text("no folder")
    assert finding(tmp_path).state == "warning"


def test_nothing_is_left_where_it_tried(finding, tmp_path):
    found = finding(tmp_path)
    assert (found.state, list(tmp_path.iterdir())) == ("ok", [])
    assert found.text == f"0 engines, 0.0 MB in {tmp_path}/.cache/depthrefl_ros"
