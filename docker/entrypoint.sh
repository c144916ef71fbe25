#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Source ROS and this package, then run what was asked for.
set -e
# shellcheck source=/dev/null
. "/opt/ros/${ROS_DISTRO}/setup.bash"
# shellcheck source=/dev/null
. /opt/depthrefl/install/setup.bash
# depthrefl and depthrefl_node by their names; "ros2 run" finds them there as well.
export PATH="/opt/depthrefl/install/depthrefl_ros/lib/depthrefl_ros:/opt/depthrefl/venv/bin:${PATH}"
exec "$@"
