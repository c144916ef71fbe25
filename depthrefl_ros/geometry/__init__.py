# SPDX-License-Identifier: Apache-2.0
"""Camera geometry on numpy arrays: cameras, gates, clouds, pictures. Knows no ROS."""
