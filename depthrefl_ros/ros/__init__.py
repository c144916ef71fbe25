# SPDX-License-Identifier: Apache-2.0
"""The rim: the only rooms that know ROS. Nothing outside them imports rclpy or messages."""
