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

"""The bond with Nav2's lifecycle manager; its message is not on PyPI and is stood in for."""

import sys
from types import ModuleType

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from std_msgs.msg import Header

from depthrefl_ros.ros import bond


class Status:
    """The fields of bond/msg/Status."""

    def __init__(self, id="", instance_id=""):
        self.header = Header()
        self.id = id
        self.instance_id = instance_id
        self.active = False
        self.heartbeat_timeout = self.heartbeat_period = 0.0


class Listener:
    """What a publisher of the stand-in message would have sent."""

    def __init__(self):
        self.messages = []
        self.is_destroyed = False

    def publish(self, message):
        assert not self.is_destroyed
        self.messages.append(message)


@pytest.fixture
def installed(monkeypatch):
    package, messages = ModuleType("bond"), ModuleType("bond.msg")
    messages.Status, package.msg = Status, messages
    monkeypatch.setitem(sys.modules, "bond", package)
    monkeypatch.setitem(sys.modules, "bond.msg", messages)


@pytest.fixture
def node(ros, monkeypatch):
    node = rclpy.create_node("depthrefl", namespace="robot")
    listener = node.listener = Listener()

    def create_publisher(kind, topic, qos):
        assert (kind, topic) == (Status, "bond")
        return listener

    def destroy_publisher(publisher):
        publisher.is_destroyed = True

    monkeypatch.setattr(node, "create_publisher", create_publisher)
    monkeypatch.setattr(node, "destroy_publisher", destroy_publisher)
    yield node
    monkeypatch.undo()
    node.destroy_node()


def spin(node, count):
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    for _ in range(count):
        executor.spin_once(timeout_sec=2 * bond.PERIOD_S)
    executor.remove_node(node)


def test_it_tells_at_once_and_goes_on_until_it_is_closed(installed, node):
    bonded = bond.make_bond(node)
    sent = node.listener.messages
    assert len(sent) == 1
    spin(node, 3)
    assert len(sent) >= 3 and all(one.active for one in sent)
    assert {one.id for one in sent} == {"depthrefl"}  # as the manager's node_names has it
    assert len({one.instance_id for one in sent}) == 1
    assert sent[-1].header.stamp.sec > 0
    assert sent[0].heartbeat_period < sent[0].heartbeat_timeout / 2
    bonded.close()
    assert not sent[-1].active and node.listener.is_destroyed
    bonded.close()
    spin(node, 1)
    assert [one.active for one in sent].count(False) == 1


def test_two_activations_are_two_instances(installed, node):
    first = bond.make_bond(node)
    first.close()
    node.listener.is_destroyed = False
    bond.make_bond(node).close()
    assert len({one.instance_id for one in node.listener.messages}) == 2


@pytest.mark.parametrize("module", ["bond", "bond.msg"])
def test_without_its_message_there_is_none_and_it_is_said_what_to_do(monkeypatch, node, module):
    # A package of PyPI is called bond, too.
    if module == "bond.msg":
        monkeypatch.setitem(sys.modules, "bond", ModuleType("bond"))
    monkeypatch.setitem(sys.modules, module, None)
    assert bond.make_bond(node) is None
    assert "bond_timeout to 0.0" in bond.WITHOUT_BOND
