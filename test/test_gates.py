"""Which pixels may be believed."""

import numpy as np

from depthrefl_ros.geometry.gates import apply_range, depth_edges, smooth


def test_a_step_is_an_edge_on_both_sides_and_a_slope_is_none():
    depth = np.full((8, 12), 1.0, np.float32)
    depth[:, 6:] = 2.0
    edges = depth_edges(depth, 1.2)
    assert edges[:, 5:7].all() and not edges[:, :5].any() and not edges[:, 7:].any()
    slope = np.tile(np.geomspace(1, 2, 12, dtype=np.float32), (8, 1))
    assert not depth_edges(slope, 1.2).any()


def test_a_flying_pixel_between_two_surfaces_is_an_edge():
    depth = np.full((8, 12), 1.0, np.float32)
    depth[:, 6:] = 4.0
    depth[:, 6] = 2.2
    assert depth_edges(depth, 1.2)[:, 6].all()


def test_range_follows_rep_117():
    depth = np.array([[0.1, 0.5, 9.0, 11.0, np.nan]], np.float32)
    apply_range(depth, 0.3, 10.0)
    np.testing.assert_array_equal(
        depth, np.array([[-np.inf, 0.5, 9.0, np.inf, np.nan]], np.float32)
    )


def test_smooth_removes_a_speck_and_keeps_a_step():
    depth = np.full((8, 12), 1.0, np.float32)
    depth[:, 6:] = 2.0
    speck = depth.copy()
    speck[3, 2] = 9.0
    np.testing.assert_array_equal(smooth(speck), depth)
