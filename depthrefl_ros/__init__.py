"""Metric depth from one camera for ROS 2."""

__version__ = "0.1.0"
