# SPDX-License-Identifier: Apache-2.0
"""Commands: one file each, as ``ros2 run depthrefl_ros NAME`` or ``python -m``."""
