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

"""Several cameras in one process: a node for each, and one engine for all."""

import re
import signal

import pytest
from conftest import Peer, RunningProcess
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from node_harness import MODULE, Harness
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

NAMES = ("front", "left")
# In the node's process: while a file is there, the first engine never comes back, or all take long.
_SABOTAGE = """
import os, sys, time

def _sabotage():
    from depthrefl_ros.engine.openvino_engine import OpenVinoEngine as Engine
    run, seen = Engine._run, []

    def sabotaged(self, images):
        if self not in seen:
            seen.append(self)
        while self is seen[0] and os.path.exists(os.environ["SABOTAGE"] + "/hang"):
            time.sleep(0.05)
        if os.path.exists(os.environ["SABOTAGE"] + "/slow"):
            time.sleep(0.9)
        return run(self, images)

    Engine._run = sabotaged

if any("depthrefl_ros" in argument for argument in sys.orig_argv):
    _sabotage()
"""


class Cameras(Peer):
    """A process with the cameras ``/robot/front`` and ``/robot/left``, seen from outside."""

    def __init__(self, process: RunningProcess):
        super().__init__()
        self.process = process
        self.cameras = {name: Harness("", f"/robot/{name}/image_raw") for name in NAMES}
        self.depths = {
            name: self.collect(Image, f"/robot/{name}/depth/image", qos_profile_sensor_data)
            for name in NAMES
        }
        self.arrays = self.collect(DiagnosticArray, "/diagnostics")

    def send(self) -> None:
        for camera in self.cameras.values():
            camera.send()

    def give_depth(self, within_s: float) -> bool:
        """Send images until each camera has given depth."""
        for depth in self.depths.values():
            depth.clear()
        return self.spin_until(lambda: all(self.depths.values()), within_s, do=self.send)

    def statuses(self) -> dict[str, DiagnosticStatus]:
        """Return the newest status of each node, by its name."""
        return {one.status[0].name: one.status[0] for one in self.arrays}

    def close(self) -> None:
        for camera in self.cameras.values():
            camera.close()
        super().close()


@pytest.fixture
def cameras(ros, tmp_path, without_torch, request):
    for name in getattr(request, "param", ()):
        (tmp_path / name).touch()
    (tmp_path / "sitecustomize.py").write_text(_SABOTAGE)
    search = f"{tmp_path}:{without_torch['PYTHONPATH']}"
    process = RunningProcess(
        tmp_path / "log.txt",
        MODULE,
        *("--ros-args", "-r", "__ns:=/robot", "-p", "cameras:=[front, left]"),
        *("-p", "engine:=openvino", "-p", "diagnostics_period:=0.1"),
        *("-r", "image:=image_raw", "-r", "camera_info:=/camera_info"),
        environment={**without_torch, "PYTHONPATH": search, "SABOTAGE": str(tmp_path)},
    )
    cameras = Cameras(process)
    yield cameras
    for name in ("hang", "slow"):
        (tmp_path / name).unlink(missing_ok=True)
    cameras.close()
    if process.process.poll() is None:
        process.stop(signal.SIGKILL)


def test_each_camera_has_a_node_and_all_share_the_engine(cameras):
    assert cameras.give_depth(60), cameras.process.output()
    assert cameras.spin_until(lambda: len(cameras.statuses()) == 2)
    assert set(cameras.statuses()) == {"robot/front/depthrefl", "robot/left/depthrefl"}
    code = cameras.process.stop(signal.SIGINT)
    output = cameras.process.output()
    assert code == 0 and "Traceback" not in output, output
    assert output.count("engine openvino fp32: chosen") == 2
    assert output.count("; opened for another camera") == 1


def test_an_engine_that_hangs_is_replaced_for_all(cameras, tmp_path):
    assert cameras.give_depth(60), cameras.process.output()
    (tmp_path / "hang").touch()
    cameras.send()

    def all_say_so():
        return all("hangs" in status.message for status in cameras.statuses().values())

    assert cameras.spin_until(all_say_so, 5), cameras.process.output()
    assert {status.level for status in cameras.statuses().values()} == {DiagnosticStatus.ERROR}
    assert cameras.give_depth(30), cameras.process.output()
    assert (tmp_path / "hang").exists()  # what works now is another engine
    output = cameras.process.output()
    assert output.count("reopening it") == 2 and output.count("; opened for another camera") == 2
    assert cameras.process.stop(signal.SIGINT) == 0, cameras.process.output()


@pytest.mark.parametrize("cameras", [("slow",)], indirect=True)
def test_an_engine_is_too_slow_by_the_time_that_all_cameras_take_together(cameras):
    def all_say_so():
        texts = [status.message for status in cameras.statuses().values()]
        told = "takes 1.[89] s for an image of each of 2 cameras: marking, clearing and scan need"
        return len(texts) == 2 and all(re.search(told, text) for text in texts)

    assert cameras.spin_until(all_say_so, 60), cameras.statuses()
    assert cameras.give_depth(20), cameras.process.output()
    assert not any("hangs" in one.message for one in cameras.statuses().values())
