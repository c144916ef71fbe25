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

"""Transitions that whoever manages the node asks for at the wrong time. Over real DDS."""

import signal

import pytest
from exact_bundle import exact_bundle
from exact_node import CAMERA, HEIGHT_M, PITCH_DEG, BoxHarness, launched
from lifecycle_msgs.msg import Transition
from node_harness import Harness
from rclpy.executors import SingleThreadedExecutor

from depthrefl_ros.ros.node import DepthReflNode


@pytest.mark.parametrize("asked", [Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE])
def test_a_manager_of_an_active_node_is_refused_and_told_of_autostart(ros, tmp_path, asked):
    values = {"model": str(exact_bundle(tmp_path / "exact", CAMERA)), "diagnostics_period": 0.1}
    values |= {"camera_height": HEIGHT_M, "camera_pitch": PITCH_DEG}
    node = launched(BoxHarness, tmp_path / "log.txt", **values)
    try:
        node.wait_for("active")
        assert node.transition(asked) is False
        assert node.state() == "active"
        hint = "set autostart: false"
        assert node.spin_until(lambda: hint in node.process.output()), node.process.output()
    finally:
        node.close()
        assert node.process.stop(signal.SIGINT) == 0, node.process.output()


class UpToJazzy(DepthReflNode):
    """With the transitions of rclpy up to Jazzy, which let rcl's error through."""

    def _LifecycleNodeMixin__change_state(self, transition_id):
        self._state_machine.trigger_transition_by_id(transition_id, True)


def test_a_transition_that_the_state_does_not_have_is_answered(ros):
    node = UpToJazzy()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    manager = Harness()
    manager._executor = executor  # both in one
    executor.add_node(manager.node)
    try:
        assert manager.transition(Transition.TRANSITION_ACTIVATE) is False
        assert manager.state() == "unconfigured"
    finally:
        manager.close()
        node.destroy_node()
