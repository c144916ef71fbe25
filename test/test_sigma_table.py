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

"""How far a network errs by distance and beside edges."""

import numpy as np
import pytest

from depthrefl_ros.geometry.sigma_table import SigmaTable, beside_edges


def errors(count=40_000, seed=1):
    """Errors of 2 % at 1 m and 10 % at 5 m, three times as much beside edges."""
    rng = np.random.default_rng(seed)
    depth_m = rng.uniform(0.5, 6.0, count)
    edge = rng.random(count) < 0.2
    sigma = 0.02 * depth_m * np.where(edge, 3.0, 1.0)
    return rng.normal(0.0, sigma), depth_m, edge


def test_sigma_follows_distance_and_edges():
    table = SigmaTable.fit(*errors())
    assert len(table.distance_m) == 8 and (np.diff(table.distance_m) > 0).all()
    assert table.inner == pytest.approx(0.02 * table.distance_m, rel=0.1)
    assert table.edge == pytest.approx(0.06 * table.distance_m, rel=0.15)
    depth = np.full((40, 60), 1.5, np.float32)
    depth[:, 30:] = 4.0
    sigma = table.sigma(depth)
    assert sigma.dtype == np.float32
    assert sigma[20, 10] == pytest.approx(0.03, rel=0.15)
    assert sigma[20, 50] == pytest.approx(0.08, rel=0.15)
    assert (sigma[:, 28:32] > 2.5 * sigma[20, 10]).all()


def test_beyond_the_measured_distances_the_last_one_counts():
    table = SigmaTable.fit(*errors())
    depth = np.full((4, 4), 100.0, np.float32)
    depth[0], depth[1, 1] = 0.01, np.nan
    assert np.isfinite(table.sigma(depth)).all()
    assert table.at(np.float64(100.0), False) == pytest.approx(table.inner[-1])
    assert table.at(np.float64(0.01), False) == pytest.approx(table.inner[0])


def test_few_pixels_make_few_bands_and_too_few_none():
    error, depth_m, _ = errors(500)
    inside = np.zeros(500, bool)
    assert 1 <= len(SigmaTable.fit(error, depth_m, inside).distance_m) <= 2
    assert len(SigmaTable.fit(error, np.full(500, 2.0), inside).distance_m) == 1
    with pytest.raises(ValueError, match="100 pixels with true depth away from edges; 200"):
        SigmaTable.fit(error[:100], depth_m[:100], inside[:100])


def test_edges_without_measurements_are_no_more_certain():
    error, depth_m, edge = errors()
    few = ~edge | (np.cumsum(edge) < 100)
    table = SigmaTable.fit(error[few], depth_m[few], edge[few])
    assert (table.edge >= table.inner).all()


def test_a_plane_has_no_edges_and_a_step_has():
    depth = np.linspace(1.0, 2.0, 100, dtype=np.float32)[None].repeat(50, axis=0)
    assert not beside_edges(depth).any()
    depth[:, 50:] *= 1.5
    assert beside_edges(depth)[:, 48:52].all() and not beside_edges(depth)[:, :40].any()
    depth[:, 20] = np.nan
    assert not beside_edges(depth)[:, 10:30].any()
