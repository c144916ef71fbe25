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

"""Logs that several legs write into one file."""

import csv

import pytest

from depthrefl_ros.training.logs import CsvLog


def rows(path) -> list[dict]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_rows_come_back(tmp_path):
    path = tmp_path / "log.csv"
    log = CsvLog(path, 0)
    log.add({"step": 1, "loss": 0.123456789})
    log.add({"step": 2, "loss": 2.0})
    assert rows(path) == [{"step": "1", "loss": "0.123457"}, {"step": "2", "loss": "2"}]


@pytest.mark.parametrize("cut_off", ["", "3,", "3"])
def test_a_run_that_was_killed_leaves_nothing_behind_the_step(tmp_path, cut_off):
    path = tmp_path / "log.csv"
    path.write_text("step,loss\n1,0.5\n2,0.4\n" + cut_off)
    CsvLog(path, 1).add({"step": 2, "loss": 0.3})
    assert [row["loss"] for row in rows(path)] == ["0.5", "0.3"]
    CsvLog(path, 0)
    assert not path.exists()


def test_new_figures_get_a_column_and_missing_ones_stay_empty(tmp_path):
    path = tmp_path / "log.csv"
    CsvLog(path, 0).add({"step": 1, "loss": 0.5, "old": 7})
    log = CsvLog(path, 1)
    log.add({"step": 2, "slope": 0.9, "loss": 0.4})
    log.add({"step": 3, "slope": 0.8, "loss": 0.3})
    assert rows(path) == [
        {"step": "1", "loss": "0.5", "old": "7", "slope": ""},
        {"step": "2", "loss": "0.4", "old": "", "slope": "0.9"},
        {"step": "3", "loss": "0.3", "old": "", "slope": "0.8"},
    ]
