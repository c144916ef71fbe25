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

"""depthrefl.launch.py, run by the real launch and launch_ros where they are installed."""

from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from diagnostic_msgs.msg import DiagnosticArray
from launch_bench import (  # noqa: F401
    RunningLaunch,
    entities,
    install,
    installed,
    load_launch_file,
    texts,
)
from rcl_interfaces.srv import GetParameters

from depthrefl_ros.launch_files import LaunchError

LAUNCH_FILE = ROOT / "launch" / "depthrefl.launch.py"
NAV2_DEMO = ROOT / "launch" / "nav2_demo.launch.py"
ARGUMENTS = {
    "image_topic",
    "camera_info_topic",
    "cameras",
    "image_transport",
    "image_is_rectified",
    "camera_height",
    "camera_pitch",
    "scale_correction",
    "optical_frame_id",
    "fixed_frame",
    "model",
    "engine",
    "params_file",
    "use_sim_time",
    "autostart",
    "use_rviz",
    "namespace",
    "log_level",
}


def test_every_argument_is_declared_with_a_description():
    description = load_launch_file(LAUNCH_FILE).generate_launch_description()
    declared = {argument.name: argument for argument in description.get_launch_arguments()}
    assert set(declared) == ARGUMENTS
    assert all(len(argument.description) > 10 for argument in declared.values())


def packages(nodes):
    return [node.node_package for node in nodes]


@pytest.mark.usefixtures("installed")
def test_rviz_only_where_asked_for_and_installed(tmp_path):
    nodes, _ = entities(LAUNCH_FILE)
    assert packages(nodes) == ["depthrefl_ros"]
    with pytest.raises(LaunchError, match="rviz2 .for use_rviz:=true.*apt install .*-rviz2"):
        entities(LAUNCH_FILE, use_rviz="true")
    install(tmp_path, "rviz2", "rviz2", "")
    nodes, _ = entities(LAUNCH_FILE, use_rviz="true", fixed_frame="cam")
    assert packages(nodes) == ["depthrefl_ros", "rviz2"]
    assert ["-f", "cam"] == texts(nodes[1])[2:4]


@pytest.mark.parametrize("text, is_told", [("front", True), ("realsense", False)])
def test_camera_is_a_slip_but_where_camera_launch_gives_it(text, is_told):
    _, said = entities(LAUNCH_FILE, camera=text)
    told = ["WARNING: argument camera is not known; did you mean cameras?"]
    assert said == (told if is_told else [])


def test_a_slip_in_an_arguments_name_is_told():
    _, said = entities(LAUNCH_FILE, imagetopic="/camera/image_raw")
    assert said == ["WARNING: argument imagetopic is not known; did you mean image_topic?"]


def test_a_pushed_namespace_is_no_slip():
    nodes, said = entities(LAUNCH_FILE, ros_namespace="/robot")
    assert said == [] and len(nodes) == 1


def test_rviz_shows_image_preview_and_cloud():
    config = yaml.safe_load((ROOT / "config" / "depthrefl.rviz").read_text())
    displays = config["Visualization Manager"]["Displays"]
    topics = {one["Topic"]["Value"] for one in displays if "Topic" in one}
    assert topics == {"/image", *load_launch_file(LAUNCH_FILE).RESULTS}


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        ({"autostart": "perhaps"}, "autostart is 'perhaps'; it must be true or false"),
        ({"image_transport": "theora"}, "image_transport is 'theora'; it must be one of raw"),
        ({"image_topic": "front cam"}, "image_topic is 'front cam'; a topic's name"),
        ({"params_file": "/none.yaml"}, "params_file is '/none.yaml': there is no such file"),
        ({"log_level": "loud"}, "log_level is 'loud'; it must be one of debug"),
        ({"camera_height": "high"}, "camera_height is 'high'; it must be a number"),
        ({"cameras": "front,2nd"}, "cameras is 'front,2nd'; it must be different names"),
        ({"cameras": "front,front"}, "cameras is 'front,front'; it must be different names"),
        (
            {"cameras": "front,left", "image_topic": "/camera/image_raw"},
            "image_topic is '/camera/image_raw', which cameras front, left would all take; give",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(arguments, complaint):
    with pytest.raises(LaunchError, match=complaint):
        entities(LAUNCH_FILE, **arguments)


@pytest.mark.parametrize(
    "launch_file, arguments, complaint",
    [
        (LAUNCH_FILE, {"use_rviz": "true"}, "not installed: rviz2 (for use_rviz:=true)"),
        (LAUNCH_FILE, {"params_file": "/none.yaml"}, "'/none.yaml': there is no such file"),
        (NAV2_DEMO, {}, "not installed: nav2_costmap_2d (for the costmap), nav2_lifecycle_manager"),
    ],
)
@pytest.mark.usefixtures("installed")
def test_it_ends_with_one_line_and_nothing_left_running(
    tmp_path, launch_file, arguments, complaint
):
    running = RunningLaunch(tmp_path / "log.txt", launch_file, **arguments)
    assert running.wait(20) == 1
    [line] = [one for one in running.output().splitlines() if "ERROR" in one]
    assert complaint in line
    assert "process started" not in running.output()


@pytest.mark.usefixtures("installed")
def test_launch_starts_the_node_as_its_arguments_say(peer, tmp_path):
    params_file = tmp_path / "params.yaml"
    params_file.write_text(
        yaml.safe_dump({"depthrefl": {"ros__parameters": {"max_rate": 7.5, "use_sim_time": True}}})
    )
    arrays = peer.collect(DiagnosticArray, "/diagnostics")
    running = RunningLaunch(
        tmp_path / "log.txt",
        LAUNCH_FILE,
        params_file=str(params_file),
        namespace="robot",
        image_topic="/camera/image_raw/",
        camera_info_topic="/camera/camera_info",
        engine="openvino",
        log_level="warn",
        camera_height="1",
        camera_pitch="-4.5",
        scale_correction="motion",
    )
    try:

        def is_active():
            return any("active" in [item.value for item in one.status[0].values] for one in arrays)

        assert peer.spin_until(is_active, 30), running.output()
        graph, node = peer.node, ("depthrefl", "/robot")
        taken = {"/camera/image_raw", "/camera/camera_info"}
        assert peer.spin_until(
            lambda: taken <= set(dict(graph.get_subscriber_names_and_types_by_node(*node)))
        )
        given = {"/robot/points", "/robot/depth/image"}
        assert peer.spin_until(
            lambda: given <= set(dict(graph.get_publisher_names_and_types_by_node(*node)))
        )
        names = ["max_rate", "engine", "model", "use_sim_time", "camera_height", "camera_pitch"]
        names.append("scale_correction")
        answer = peer.call(
            GetParameters, "/robot/depthrefl/get_parameters", GetParameters.Request(names=names)
        )
        rate, engine, model, sim_time, height, pitch, scale = answer.values
        assert scale.string_value == "motion"
        assert (height.double_value, pitch.double_value) == (1.0, -4.5)
        assert (rate.double_value, engine.string_value) == (7.5, "openvino")
        assert (model.string_value, sim_time.bool_value) == ("indoor_tiny", True)
    finally:
        code = running.interrupt()
    assert code == 0, running.output()
    assert "process has finished cleanly" in running.output()
    assert "Traceback" not in running.output()
    assert "openvino fp32: chosen" not in running.output()  # told at level info


def of_cameras(peer, namespace: str = "") -> dict[str, dict]:
    """Return what parameters the nodes of front and left have."""
    names = ["camera_height", "engine", "max_rate", "autostart"]
    request, values = GetParameters.Request(names=names), {}
    for camera in ("front", "left"):
        service = f"{namespace}/{camera}/depthrefl/get_parameters"
        height, engine, rate, autostart = peer.call(GetParameters, service, request, 30.0).values
        values[camera] = {
            "camera_height": height.double_value,
            "engine": engine.string_value,
            "max_rate": rate.double_value,
            "autostart": autostart.bool_value,
        }
    return values


@pytest.mark.usefixtures("installed")
def test_launch_starts_a_process_with_a_node_for_each_camera(peer, tmp_path):
    """With the shipped parameter file, as the README has it."""
    running = RunningLaunch(
        tmp_path / "log.txt", LAUNCH_FILE, cameras="front,left", image_topic="image_raw"
    )
    try:
        assert set(of_cameras(peer)) == {"front", "left"}
        for camera in ("/front", "/left"):
            assert peer.spin_until(
                lambda camera=camera: (
                    f"{camera}/image_raw"
                    in dict(peer.node.get_subscriber_names_and_types_by_node("depthrefl", camera))
                )
            )
    finally:
        code = running.interrupt()
    assert code == 0, running.output()


@pytest.mark.parametrize("where", ["argument", "file"])
@pytest.mark.usefixtures("installed")
def test_a_section_of_one_camera_counts_more_and_arguments_most(peer, tmp_path, where):
    of_all = {"max_rate": 7.5, "camera_height": 0.9}
    of_all |= {"cameras": ["front", "left"]} if where == "file" else {}
    content = {
        "/robot/left/depthrefl": {"camera_height": 0.4, "engine": "torch", "autostart": True},
        "/**": {"max_rate": 3.0, "camera_height": 0.1, "autostart": True},
        "depthrefl": of_all,
    }
    params_file = tmp_path / "params.yaml"
    params_file.write_text(
        yaml.safe_dump(
            {name: {"ros__parameters": one} for name, one in content.items()}, sort_keys=False
        )
    )
    arguments = {"cameras": "front,left"} if where == "argument" else {}
    running = RunningLaunch(
        tmp_path / "log.txt",
        LAUNCH_FILE,
        params_file=str(params_file),
        namespace="robot",
        image_topic="image_raw",
        engine="openvino",
        autostart="false",
        **arguments,
    )
    try:
        values = of_cameras(peer, "/robot")
    finally:
        code = running.interrupt()
    assert code == 0, running.output()
    assert "no section is for" not in running.output()
    both = {"engine": "openvino", "max_rate": 7.5, "autostart": False}
    assert values == {
        "front": {"camera_height": 0.9, **both},
        "left": {"camera_height": 0.4, **both},
    }


@pytest.mark.usefixtures("installed")
def test_arguments_count_more_than_a_section_by_the_nodes_name(peer, tmp_path):
    params_file = tmp_path / "params.yaml"
    params_file.write_text(
        "/**: {ros__parameters: {engine: openvino, autostart: true, max_range: 5.0}}\n"
        "depthrefl: {ros__parameters: {max_range: 6.0}}\n"
    )
    running = RunningLaunch(
        tmp_path / "log.txt",
        LAUNCH_FILE,
        params_file=str(params_file),
        namespace="robot",
        autostart="false",
        engine="torch",
    )
    try:
        request = GetParameters.Request(names=["engine", "autostart", "max_range"])
        service = "/robot/depthrefl/get_parameters"
        engine, autostart, reach = peer.call(GetParameters, service, request, 30.0).values
    finally:
        running.interrupt()
    values = (engine.string_value, autostart.bool_value, reach.double_value)
    assert values == ("torch", False, 6.0), running.output()


@pytest.mark.parametrize("where", ["argument", "file"])
@pytest.mark.usefixtures("installed")
def test_launch_without_autostart_leaves_the_node_unconfigured(peer, tmp_path, where):
    arrays = peer.collect(DiagnosticArray, "/diagnostics")
    arguments = {"autostart": "false"}
    if where == "file":
        params_file = tmp_path / "params.yaml"
        params_file.write_text("/**: {ros__parameters: {autostart: false}}")
        arguments = {"params_file": str(params_file)}
    running = RunningLaunch(tmp_path / "log.txt", LAUNCH_FILE, **arguments)
    try:
        assert peer.spin_until(lambda: len(arrays) >= 2, 30)
        assert arrays[-1].status[0].message == "unconfigured"
    finally:
        code = running.interrupt()
    assert code == 0, running.output()
    assert "process has finished cleanly" in running.output()
    assert "Traceback" not in running.output()


def test_the_config_lies_where_the_launch_file_looks():
    config = load_launch_file(LAUNCH_FILE).CONFIG
    assert config == Path(ROOT) / "config"
    assert (config / "depthrefl.yaml").is_file() and (config / "depthrefl.rviz").is_file()
