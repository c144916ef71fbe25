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

"""The running node when something fails: engines, cameras, clocks, signals. Over real DDS.

The network reads exact depth out of the images, so that what a costmap gets can be reckoned. Where
an engine has to fail, ``sitecustomize`` in the node's process lets files decide when it does.
"""

import math
import os
import re
import signal
import time
from array import array

import numpy as np
import pytest
from box_scene import true_depth
from conftest import RunningProcess
from diagnostic_msgs.msg import DiagnosticStatus
from exact_bundle import encoded, exact_bundle
from lifecycle_msgs.msg import Transition
from node_harness import FRAME, MODULE, Harness, depth_of
from rclpy.qos import ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import Image, Imu, LaserScan, PointCloud2, Range

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.ros.convert.camera_info import camera_to_info
from depthrefl_ros.ros.convert.clouds import cloud_to_points

CAMERA = Camera.from_horizontal_fov(160, 128, 1.2)
HEIGHT_M, PITCH_DEG = 0.5, 15.0
MOUNT = Pose.from_mount(HEIGHT_M, math.radians(PITCH_DEG))
BOX = ((1.8, -0.3, 0.0), (2.2, 0.3, 0.4))
KINDS = {"points/marking": PointCloud2, "points/clearing": PointCloud2, "scan": LaserScan}

# In the node's process: the engine hangs, or fails, while a file is there.
_SABOTAGE = """
import os, sys, time

def _sabotage():
    from depthrefl_ros.engine.openvino_engine import OpenVinoEngine as Engine
    run = Engine._run

    def sabotaged(self, images):
        folder = os.environ["SABOTAGE"]
        while os.path.exists(folder + "/hang"):
            time.sleep(0.05)
        if os.path.exists(folder + "/fail"):
            raise RuntimeError("CUDA error: sticky")
        return run(self, images)

    Engine._run = sabotaged

if any("depthrefl_ros" in argument for argument in sys.orig_argv):
    _sabotage()
"""


class SafetyHarness(Harness):
    """Sends exact depth of a scene with a box."""

    def __init__(self, process, sabotage, **names):
        super().__init__(**names)
        self.process, self.sabotage = process, sabotage
        self.depth_m = true_depth(CAMERA, MOUNT, [BOX])
        self.nanosec = 0

    def image(self) -> Image:
        picture = encoded(self.depth_m)
        message = Image(height=CAMERA.height, width=CAMERA.width, encoding="rgb8")
        message.step, message.header = CAMERA.width * 3, self.header()
        message.data = array("B", picture.tobytes())
        return message

    def header(self):
        header = super().header()
        header.stamp.nanosec = self.nanosec
        return header

    def info(self, header):
        return camera_to_info(CAMERA, header)

    def collect_all(self) -> dict:
        return {
            topic: self.collect(kind, topic, qos_profile_sensor_data)
            for topic, kind in KINDS.items()
        }

    def see_the_box(self, received) -> None:
        """Send frames until a costmap has all three topics."""
        assert self.spin_until(lambda: all(received.values()), 20, do=self.send, period=0.1), (
            self.values(),
            self.process.output(),
        )
        self.spin_until(lambda: False, 0.5)


def is_heard_reliably(node) -> bool:
    """Tell whether the node has found out that the harness publishes reliably."""
    ends = node.node.get_subscriptions_info_by_topic("/image")
    return [end.qos_profile.reliability for end in ends] == [ReliabilityPolicy.RELIABLE]


def is_silence(message) -> bool:
    if isinstance(message, LaserScan):
        return bool(np.isnan(message.ranges).all())
    return message.width == 0


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return exact_bundle(tmp_path_factory.mktemp("bundle") / "exact", CAMERA)


@pytest.fixture
def start(ros, tmp_path, bundle):
    """Start a node with parameters; gives its harness once it is in a state."""
    started = []

    def make(state="active", sabotage=False, **parameters):
        values = {"model": str(bundle), "camera_height": HEIGHT_M, "camera_pitch": PITCH_DEG}
        values |= {"diagnostics_period": 0.1, "temporal_smoothing": 0.0, **parameters}
        arguments = ["--ros-args"]
        for name, value in values.items():
            arguments += ["-p", f"{name}:={value}"]
        environment = {}
        if sabotage:
            (tmp_path / "sitecustomize.py").write_text(_SABOTAGE)
            environment = {"SABOTAGE": str(tmp_path), "PYTHONPATH": str(tmp_path)}
        log = tmp_path / f"log{len(started)}.txt"
        process = RunningProcess(log, MODULE, *arguments, environment=environment)
        harness = SafetyHarness(process, tmp_path)
        started.append(harness)
        if state:
            reached = harness.spin_until(lambda: harness.values().get("state") == state, 30)
            assert reached, process.output()
        return harness

    yield make
    for name in ("hang", "fail"):
        (tmp_path / name).unlink(missing_ok=True)
    for harness in started:
        harness.close()
        if harness.process.process.poll() is None:
            harness.process.stop(signal.SIGTERM)


def ends_in(process, *signals, seconds=2.0) -> None:
    """Check that a process ends with code 0 soon after the signals."""
    start_s = time.monotonic()
    assert process.stop(*signals, timeout=10.0) == 0, process.output()
    assert time.monotonic() - start_s < seconds, process.output()


def test_exact_depth_marks_the_box_and_clears_the_floor(start):
    node = start()
    received = node.collect_all()
    node.see_the_box(received)
    marked = MOUNT.apply(cloud_to_points(received["points/marking"][-1], "m"))
    front = marked[(np.abs(marked[:, 1]) < 0.25) & (marked[:, 0] < 3.0)]
    assert len(front) > 20 and np.abs(front[:, 0] - 1.8).max() < 0.26
    cleared = MOUNT.apply(cloud_to_points(received["points/clearing"][-1], "c"))
    assert len(cleared) > 20
    behind = (np.abs(cleared[:, 1]) < 0.25) & (cleared[:, 0] > 1.75)
    assert not behind.any()
    ahead = np.array(received["scan"][-1].ranges)[355:366]
    assert np.nanmin(ahead) == pytest.approx(1.8, abs=0.03)
    # A busy machine may not have found the publisher by the second at which the node counts.
    words = re.compile(r"listening to /image \((1 publisher|0 publishers.*)\) and /camera_info \(")
    assert node.spin_until(lambda: words.search(node.process.output()), 10), node.process.output()
    assert node.process.output().count("first depth is out") == 1


def test_a_hanging_engine_is_an_error_and_silence_and_holds_nothing_up(start):
    node = start(sabotage=True)
    received = node.collect_all()
    node.see_the_box(received)
    (node.sabotage / "hang").touch()
    for messages in received.values():
        messages.clear()
    begin_s = time.monotonic()
    node.send()
    assert node.spin_until(lambda: node.values().get("level") == DiagnosticStatus.ERROR, 5)
    assert time.monotonic() - begin_s < 2.2  # within 2 s of what the engine was given
    assert "hangs" in node.values()["message"]
    assert node.spin_until(lambda: all(received.values()), 1)
    assert all(len(messages) == 1 and is_silence(messages[0]) for messages in received.values())
    begin_s = time.monotonic()
    assert node.transition(Transition.TRANSITION_DEACTIVATE)
    assert time.monotonic() - begin_s < 3.0
    assert node.state() == "inactive"
    (node.sabotage / "hang").unlink()
    assert node.transition(Transition.TRANSITION_ACTIVATE)  # with an engine of its own
    for messages in received.values():
        messages.clear()
    node.see_the_box(received)
    node.spin_until(lambda: False, 0.3)
    values = node.fresh_values()
    assert int(values["received"]) == int(values["processed"]) + int(values["dropped"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_node_whose_engine_hangs(start, number):
    node = start(sabotage=True)
    received = node.collect_all()
    node.see_the_box(received)
    (node.sabotage / "hang").touch()
    node.send()
    node.spin_until(lambda: False, 0.5)
    for messages in received.values():
        messages.clear()
    ends_in(node.process, number, number)
    assert node.spin_until(lambda: all(received.values()), 2)
    assert all(is_silence(messages[-1]) for messages in received.values())


@pytest.mark.parametrize("engine", ["torch", "tensorrt_rtx"])
@pytest.mark.parametrize("delay_s", [0.6, 1.2, 1.8])
def test_a_signal_ends_a_node_while_its_engine_opens_or_builds(start, engine, delay_s):
    node = start(state="", engine=engine, model="indoor_tiny", build="force")
    time.sleep(delay_s)
    ends_in(node.process, signal.SIGINT)


def test_a_failing_engine_is_opened_anew_then_the_lifecycle_ends_in_error(start):
    node = start(sabotage=True, engine="openvino")
    received = node.collect_all()
    node.see_the_box(received)
    fail = node.sabotage / "fail"
    fail.touch()
    assert node.spin_until(
        lambda: "it is opened anew" in node.process.output(), 20, do=node.send, period=0.05
    )
    fail.unlink()  # the self-test of the new engine passes
    for messages in received.values():
        messages.clear()
    assert node.spin_until(lambda: node.values().get("state") == "active", 5)
    node.see_the_box(received)
    fail.touch()
    assert node.spin_until(
        lambda: node.values().get("state") == "unconfigured", 60, do=node.send, period=0.05
    ), node.process.output()
    log = node.process.output()
    assert "again: the next kind of engine is looked for" in log
    assert node.values()["level"] == DiagnosticStatus.ERROR
    fail.unlink()
    assert node.transition(Transition.TRANSITION_CONFIGURE)
    assert node.transition(Transition.TRANSITION_ACTIVATE)
    for messages in received.values():
        messages.clear()
    node.see_the_box(received)


def test_one_message_without_evidence_on_silence_deactivation_and_shutdown(start):
    node = start()
    received = node.collect_all()
    node.see_the_box(received)

    def hushed() -> None:
        assert node.spin_until(
            lambda: all(messages and is_silence(messages[-1]) for messages in received.values()), 4
        ), node.values()
        node.spin_until(lambda: False, 0.5)
        for topic, messages in received.items():
            assert sum(map(is_silence, messages)) == 1, topic
            messages.clear()

    hushed()  # the camera has stopped
    node.see_the_box(received)
    assert node.transition(Transition.TRANSITION_DEACTIVATE)
    hushed()
    assert node.transition(Transition.TRANSITION_ACTIVATE)
    node.see_the_box(received)
    node.process.process.send_signal(signal.SIGTERM)
    hushed()
    assert node.process.process.wait(3) == 0


def test_a_frame_out_of_order_is_dropped_and_a_clock_set_back_begins_anew(start):
    node = start()
    depths = node.collect(Image, "depth/image", qos_profile_sensor_data)
    node.nanosec = 500_000_000
    node.next_of(depths)
    node.stamp -= 1
    node.nanosec = 499_000_000  # 1 ms before the last one

    def send_early():
        node.stamp -= 1
        node.send()

    node.stamp += 1
    seen = len(depths)
    assert node.spin_until(
        lambda: node.number("dropped_out_of_order") > 0, 5, do=send_early, period=0.2
    )
    assert len(depths) == seen
    assert "before the last frame's" in node.fresh_values()["message"]
    node.stamp -= 100
    seen = len(depths)
    assert node.spin_until(lambda: len(depths) > seen, 5, do=node.send, period=0.2)


def test_what_is_too_near_stays_marked_at_the_nearest_range(start):
    node = start(min_range=0.6)
    received = node.collect_all()
    node.depth_m = true_depth(CAMERA, MOUNT, [((0.45, -0.3, 0.0), (0.8, 0.3, 0.6))])
    node.see_the_box(received)
    marked = MOUNT.apply(cloud_to_points(received["points/marking"][-1], "m"))
    ahead = marked[np.abs(marked[:, 1]) < 0.25]
    assert len(ahead) > 20
    assert 0.4 < ahead[:, 0].min() < 0.65
    ranges = np.array(received["scan"][-1].ranges)
    assert 0.4 < np.nanmin(ranges[350:370]) < 0.65


def test_a_base_frame_above_the_floor_stops_marking_and_says_by_how_much(start):
    node = start(camera_height=HEIGHT_M - 0.13)  # as base_link 0.13 m up has it
    received = node.collect_all()
    assert node.spin_until(
        lambda: "floor" in node.values().get("message", ""), 10, do=node.send, period=0.1
    ), node.values()
    for messages in received.values():
        messages.clear()
    for _ in range(5):
        node.send()
        node.spin_until(lambda: False, 0.15)
    assert all(is_silence(one) for messages in received.values() for one in messages)
    assert "0.13 m" in node.fresh_values()["message"]
    assert node.set("camera_height", HEIGHT_M) == ""
    for messages in received.values():
        messages.clear()
    node.see_the_box(received)


def all_values(node) -> list:
    from rcl_interfaces.srv import GetParameters, ListParameters

    names = node.call(
        ListParameters, f"{node.node_name}/list_parameters", ListParameters.Request()
    ).result.names
    request = GetParameters.Request(names=names)
    values = node.call(GetParameters, f"{node.node_name}/get_parameters", request).values
    return list(zip(names, values, strict=True))


def test_a_dump_of_the_active_node_can_be_loaded_again(start):
    from rcl_interfaces.msg import Parameter
    from rcl_interfaces.srv import SetParameters

    node = start()
    dumped = all_values(node)
    assert len(dumped) > 50  # QoS overrides among them
    request = SetParameters.Request(
        parameters=[Parameter(name=name, value=value) for name, value in dumped]
    )
    results = node.call(SetParameters, f"{node.node_name}/set_parameters", request).results
    refused = {
        name: result.reason
        for (name, _), result in zip(dumped, results, strict=True)
        if not result.successful
    }
    assert refused == {}
    assert node.set("scale_correction", False) == ""  # what YAML makes of `off`
    assert node.set("max_range", 6) == ""
    assert node.state() == "active"


def test_every_value_of_every_enumeration_can_be_activated(start):
    from depthrefl_ros.ros.parameters import Parameters
    from depthrefl_ros.settings import Changeable, described

    node = start()
    sensors = {"imu": Imu, "range": Range, "reference_points": PointCloud2}
    sensors["reference_depth"] = Image
    publishers = [node.node.create_publisher(kind, topic, 5) for topic, kind in sensors.items()]
    depths = node.collect(Image, "depth/image", qos_profile_sensor_data)
    choosable = [
        (one, default)
        for one, default in described(Parameters())
        if one.choices is not None and one.changeable is not Changeable.UNCONFIGURED
    ]
    assert len(choosable) >= 5
    for one, default in choosable:
        for choice in one.choices:
            assert node.transition(Transition.TRANSITION_DEACTIVATE)
            assert node.set(one.name, choice) == ""
            assert node.transition(Transition.TRANSITION_ACTIVATE), (one.name, choice)
            if one.changeable is Changeable.ALWAYS:
                assert node.set(one.name, default) == ""
                assert node.set(one.name, choice) == ""  # live, too
            for publisher in publishers:
                message = publisher.msg_type()
                message.header.frame_id = FRAME
                publisher.publish(message)
            if choice != "compressed":
                node.next_of(depths)
        assert node.transition(Transition.TRANSITION_DEACTIVATE)
        assert node.set(one.name, default) == ""
        assert node.transition(Transition.TRANSITION_ACTIVATE)
    assert "Traceback" not in node.process.output()


def test_what_raises_in_a_callback_is_told_and_the_node_goes_on(start, tmp_path):
    node = start()
    depths = node.collect(Image, "depth/image", qos_profile_sensor_data)
    node.next_of(depths)
    header = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + (60000).to_bytes(4, "big") * 2
    path = tmp_path / "huge.png"
    path.write_bytes(header + b"\x08\x00\x00\x00\x00" + bytes(64))
    assert "huge.png" in node.set("self_mask", str(path))
    bad = tmp_path / "camera.yaml"
    bad.write_text("image_width: .inf\nimage_height: 48\ncamera_matrix: {data: [1, 0, 0]}\n")
    assert "camera.yaml" in node.set("camera_info_url", str(bad))
    node.next_of(depths)


def test_every_frame_is_accounted_for(start):
    """Sent as fast as it goes: processed, or dropped for a reason, or replaced on the way."""
    node = start()
    depths = node.collect(Image, "depth/image", qos_profile_sensor_data)
    node.next_of(depths)
    # Then it subscribes anew, and counts from there.
    assert node.spin_until(lambda: is_heard_reliably(node))
    node.next_of(depths)
    node.spin_until(lambda: False, 0.5)
    before, first = node.fresh_values(), node.stamp
    for _ in range(60):
        node.send()
    node.spin_until(lambda: False, 1.0)
    node.next_of(depths)  # which sends more than one frame where the machine is slow
    node.spin_until(lambda: False, 0.5)
    after = node.fresh_values()
    assert int(after["received"]) - int(before["received"]) == node.stamp - first
    assert int(after["received"]) == int(after["processed"]) + int(after["dropped"])


def test_depth_is_exact_where_nothing_is_gated(start):
    node = start(edge_ratio=0.0, max_grazing_angle=0.0, median_filter=False)
    depth = depth_of(node.next_of(node.collect(Image, "depth/image", qos_profile_sensor_data)))
    known = np.isfinite(depth)
    assert known.mean() > 0.6
    np.testing.assert_allclose(depth[known], node.depth_m[known], atol=6e-4)


def test_an_unknown_argument_remap_section_and_parameter_is_told_with_the_name_meant(
    ros, tmp_path, bundle
):
    sections = tmp_path / "wrong.yaml"
    sections.write_text("depthrefll:\n  ros__parameters:\n    max_range: 5.0\n")
    process = RunningProcess(
        tmp_path / "log.txt",
        MODULE,
        *("--fast", "--ros-args", "-p", "modle:=x", "-p", f"model:={bundle}"),
        *("-r", "imge:=/cam/image", "--params-file", str(sections)),
    )
    harness = Harness()
    try:
        assert harness.spin_until(lambda: harness.values().get("state") == "active", 30)
        log = process.output()
        for told in (
            "'modle'; did you mean 'model'?",
            "'imge'; did you mean 'image'?",
            "argument '--fast' is not known",
            "no section is for this node, /depthrefl: depthrefll; did you mean 'depthrefll'?",
        ):
            assert told in log, (told, log)
    finally:
        harness.close()
        assert process.stop(signal.SIGINT) == 0, process.output()
    assert os.path.exists(sections)
