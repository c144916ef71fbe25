"""The rim: the only rooms that know ROS. Nothing outside them imports rclpy or messages."""
