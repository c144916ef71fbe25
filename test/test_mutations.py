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

"""The list of faults fits the code, and a planted fault is noticed or survives as it should."""

import mutations
import pytest
from conftest import ROOT

from depthrefl_ros.tools.command_line import ToolError


def test_every_fault_of_the_list_has_its_one_place():
    listed = mutations.load(mutations.LIST)
    assert len(listed) >= 60
    assert all(one["old"] != one["new"] for one in listed)
    for one in listed:
        assert (ROOT / "test" / one["test"].split()[0]).is_file(), one


def test_a_fault_is_planted_noticed_and_taken_out_again(tmp_path):
    mutations.copy_tree(tmp_path)
    path = tmp_path / "depthrefl_ros" / "geometry" / "tables.py"
    text = path.read_text(encoding="utf-8")
    fault = {
        "file": "geometry/tables.py",
        "old": "lru_cache(maxsize=TABLES)",
        "new": "lru_cache(maxsize=None)",
        "test": "test_tables.py",
    }
    assert text.count(fault["old"]) == 1
    assert mutations.plant(tmp_path, fault)
    assert not mutations.plant(tmp_path, {**fault, "new": "lru_cache(maxsize=TABLES, typed=False)"})
    assert path.read_text(encoding="utf-8") == text


def test_an_entry_that_fits_no_longer_is_named(tmp_path):
    stale = tmp_path / "list.yaml"
    stale.write_text('- {file: estimator.py, old: "no such line", new: "", test: "test_x.py"}\n')
    with pytest.raises(ToolError, match="'no such line' stands 0 times in estimator.py"):
        mutations.load(stale)
