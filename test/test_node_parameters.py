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

"""Parameters of the running node: dumped, set, misspelt. Over real DDS."""

import os
import signal

import pytest
from conftest import RunningProcess
from exact_bundle import exact_bundle
from exact_node import CAMERA, HEIGHT_M, PITCH_DEG, BoxHarness, launched
from lifecycle_msgs.msg import Transition
from node_harness import FRAME, MODULE, Harness
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image, Imu, PointCloud2, Range


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return exact_bundle(tmp_path_factory.mktemp("bundle") / "exact", CAMERA)


@pytest.fixture
def node(ros, tmp_path, bundle):
    values = {"model": str(bundle), "camera_height": HEIGHT_M, "camera_pitch": PITCH_DEG}
    values |= {"diagnostics_period": 0.1, "temporal_smoothing": 0.0}
    harness = launched(BoxHarness, tmp_path / "log.txt", **values)
    harness.wait_for("active")
    yield harness
    harness.close()
    assert harness.process.stop(signal.SIGINT) == 0, harness.process.output()


def all_values(node) -> list:
    from rcl_interfaces.srv import GetParameters, ListParameters

    names = node.call(
        ListParameters, f"{node.node_name}/list_parameters", ListParameters.Request()
    ).result.names
    request = GetParameters.Request(names=names)
    values = node.call(GetParameters, f"{node.node_name}/get_parameters", request).values
    return list(zip(names, values, strict=True))


def test_a_dump_of_the_active_node_can_be_loaded_again(node):
    from rcl_interfaces.msg import Parameter
    from rcl_interfaces.srv import SetParameters

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


def test_every_value_of_every_enumeration_can_be_activated(node):
    from depthrefl_ros.ros.parameters import Parameters
    from depthrefl_ros.settings import Changeable, described

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


def test_what_raises_in_a_callback_is_told_and_the_node_goes_on(node, tmp_path):
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
    harness = Harness(process=process)
    try:
        harness.wait_for("active")
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
