"""Camera geometry on numpy arrays: cameras, gates, clouds, pictures. Knows no ROS."""
