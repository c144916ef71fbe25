# Copyright 2026 depthrefl_ros contributors
# SPDX-License-Identifier: Apache-2.0
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""The node's end of the bond by which Nav2's lifecycle manager sees that it is alive.

A manager whose ``bond_timeout`` is not 0 (its default is 4 s) waits, after it has activated a node,
for status messages with the node's name on the topic ``bond``. It takes all its nodes down where
they do not come or stop coming. The message is part of the package ``bond``, which comes with Nav2.

Source of the protocol: ros/bond_core (bond/msg/Status, bondcpp). The node's end only tells; it does
not watch the manager, as Nav2's own nodes do not.
"""

from __future__ import annotations

import uuid

from rclpy.clock import Clock, ClockType
from rclpy.node import Node

TOPIC = "bond"
PERIOD_S = 0.25  # the manager's own; it gives a node half of bond_timeout for the first message
TIMEOUT_S = 4.0
WITHOUT_BOND = (
    "no bond with a lifecycle manager: the package 'bond' is not installed; under Nav2's manager "
    "install it (ros-$ROS_DISTRO-bond), or set the manager's bond_timeout to 0.0"
)


class Bond:
    """Says that the node is alive until it is closed.

    The timer belongs to the node's executor: where that stops, the bond breaks.

    Args:
        node: an active node; its name is the bond's.
        status: the class ``bond.msg.Status``.
    """

    def __init__(self, node: Node, status: type):
        self._node = node
        self._status = status
        self._instance = str(uuid.uuid4())
        self._publisher = node.create_publisher(status, TOPIC, 5)
        # Steady: simulated time may stand still while the node lives.
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(PERIOD_S, self._tell, clock=clock)
        self._tell()

    def close(self) -> None:
        """Say that the bond ends, as at deactivation; may be called again."""
        if self._timer is None:
            return
        self._node.destroy_timer(self._timer)
        self._timer = None
        self._tell(is_active=False)
        self._node.destroy_publisher(self._publisher)

    def _tell(self, is_active: bool = True) -> None:
        message = self._status(id=self._node.get_name(), instance_id=self._instance)
        message.header.stamp = self._node.get_clock().now().to_msg()
        message.active = is_active
        message.heartbeat_timeout = TIMEOUT_S
        message.heartbeat_period = PERIOD_S
        self._publisher.publish(message)


def make_bond(node: Node) -> Bond | None:
    """Begin the bond of an activated node; close it when the node is deactivated.

    Returns:
        The bond, or None where its message is not installed: ``WITHOUT_BOND`` says what then.
    """
    try:
        from bond.msg import Status
    except ImportError:  # a package of PyPI has the same name, without messages
        return None
    return Bond(node, Status)
