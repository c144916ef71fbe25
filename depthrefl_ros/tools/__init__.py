"""Commands: one file each, as ``ros2 run depthrefl_ros NAME`` or ``python -m``."""
