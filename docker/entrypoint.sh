#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Source ROS and this package, then run what was asked for.
set -e
. "/opt/ros/${ROS_DISTRO}/setup.bash"
. /opt/depthrefl/install/setup.bash
export PATH="/opt/depthrefl/venv/bin:${PATH}"
exec "$@"
