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
import time

import pytest
from conftest import Peer, RunningProcess
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from exact_bundle import exact_bundle
from exact_node import CAMERA, HEIGHT_M, PITCH_DEG, BoxHarness, is_silence
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from node_harness import MODULE, Harness
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image, PointCloud2

NAMES = ("front", "left")
# In the node's process: while a file is there, the first engine never comes back, or all take long
# to open or to run.
_SABOTAGE = """
import os, sys, time

def _sabotage():
    from depthrefl_ros.engine.openvino_engine import OpenVinoEngine as Engine
    run, seen, make = Engine._run, [], Engine.__init__

    def slow_to_open(self, *arguments, **more):
        if os.path.exists(os.environ["SABOTAGE"] + "/open_slowly"):
            time.sleep(2.0)
        make(self, *arguments, **more)

    def sabotaged(self, images):
        if self not in seen:
            seen.append(self)
        while self is seen[0] and os.path.exists(os.environ["SABOTAGE"] + "/hang"):
            time.sleep(0.05)
        if os.path.exists(os.environ["SABOTAGE"] + "/slow"):
            time.sleep(0.9)
        return run(self, images)

    Engine._run, Engine.__init__ = sabotaged, slow_to_open

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
    for name in ("hang", "slow", "open_slowly"):
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
        told = r"takes (1\.[89]|[23]\.\d) s for an image of each of 2 cameras: marking"
        return len(texts) == 2 and all(re.search(told, text) for text in texts)

    assert cameras.spin_until(all_say_so, 60), cameras.statuses()
    assert cameras.give_depth(20), cameras.process.output()
    assert not any("hangs" in one.message for one in cameras.statuses().values())


def test_what_one_camera_waits_for_holds_up_no_other(cameras, tmp_path):
    assert cameras.give_depth(60), cameras.process.output()
    left = cameras.cameras["left"]
    left.node_name = "/robot/left/depthrefl"
    assert left.transition(Transition.TRANSITION_DEACTIVATE)
    assert left.transition(Transition.TRANSITION_CLEANUP)
    assert left.set("engine_threads", 1) == ""  # an engine of its own
    (tmp_path / "open_slowly").touch()
    client = cameras.node.create_client(ChangeState, "/robot/left/depthrefl/change_state")
    assert client.wait_for_service(10)
    configured = client.call_async(
        ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))
    )
    cameras.depths["front"].clear()
    begin_s = time.monotonic()
    assert cameras.spin_until(configured.done, 10, do=cameras.cameras["front"].send)
    assert configured.result().success and time.monotonic() - begin_s > 1.5
    assert len(cameras.depths["front"]) > 3
    assert "no image" not in cameras.statuses()["robot/front/depthrefl"].message


def test_every_camera_tells_the_costmap_when_the_process_ends(ros, tmp_path):
    names = [f"camera{i}" for i in range(4)]
    bundle = exact_bundle(tmp_path / "exact", CAMERA)
    values = {"model": bundle, "camera_height": HEIGHT_M, "camera_pitch": PITCH_DEG}
    values["cameras"] = " ".join(names)
    process = RunningProcess(
        tmp_path / "log.txt",
        MODULE,
        "--ros-args",
        *(one for name, value in values.items() for one in ("-p", f"{name}:={value}")),
        *("-r", "camera_info:=/camera_info"),
    )
    cameras = [BoxHarness(process, tmp_path, image_topic=f"{name}/image") for name in names]
    received = [
        camera.collect(PointCloud2, f"{name}/points/marking", qos_profile_sensor_data)
        for camera, name in zip(cameras, names, strict=True)
    ]
    try:
        for camera, clouds in zip(cameras, received, strict=True):
            assert camera.spin_until(
                lambda clouds=clouds: clouds and not is_silence(clouds[-1]), 60, do=camera.send
            ), process.output()
        assert process.stop(signal.SIGINT) == 0, process.output()
        for camera, clouds in zip(cameras, received, strict=True):
            assert camera.spin_until(lambda clouds=clouds: is_silence(clouds[-1]), 2)
    finally:
        for camera in cameras:
            camera.close()
