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

"""What the launch files check, without launch."""

import os
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from depthrefl_ros import launch_files
from depthrefl_ros.launch_files import LaunchError

CONFIG = ROOT / "config" / "depthrefl.yaml"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Return an ament prefix in which the packages that are named count as installed."""
    pytest.importorskip("ament_index_python")
    index = tmp_path / "share/ament_index/resource_index/packages"
    index.mkdir(parents=True)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    return lambda *names: [(index / name).touch() for name in names]


def test_all_missing_packages_are_named_with_the_command_that_brings_them(installed):
    installed("tf2_ros")
    needed = {"tf2_ros": "TF", "rviz2": "use_rviz:=true", "nav2_costmap_2d": "the costmap"}
    with pytest.raises(LaunchError) as error:
        launch_files.require_packages(needed)
    said = str(error.value)
    assert "rviz2 (for use_rviz:=true), nav2_costmap_2d (for the costmap)" in said
    assert said.endswith("sudo apt install ros-jazzy-rviz2 ros-jazzy-nav2-costmap-2d")
    assert "\n" not in said and "tf2" not in said
    installed("rviz2", "nav2_costmap_2d")
    launch_files.require_packages(needed)


@pytest.mark.parametrize(
    "value, expected",
    [
        ("/camera/image_raw/", "/camera/image_raw"),
        ("camera/image_raw//", "camera/image_raw"),
        ("image", "image"),
        ("~/image", "~/image"),
    ],
)
def test_a_slash_at_the_end_of_a_topic_is_taken_off(value, expected):
    assert launch_files.topic("image_topic", value) == expected


@pytest.mark.parametrize("value", ["", "/", "front cam", "front-cam/image", "camera//image", "/3d"])
def test_what_is_no_topic_is_refused(value):
    with pytest.raises(LaunchError, match=f"image_topic is {value!r}; a topic's name"):
        launch_files.topic("image_topic", value)


def test_namespaces_are_written_with_and_without_slashes():
    found = [launch_files.namespace("namespace", one) for one in ("", "/", "robot", "/a/b/")]
    assert found == ["", "", "robot", "a/b"]
    with pytest.raises(LaunchError, match="namespace is 'front-cam'"):
        launch_files.namespace("namespace", "front-cam")


def test_values_are_read_or_refused_by_name():
    assert launch_files.truth("autostart", "True") is True
    assert launch_files.truth("autostart", "false") is False
    assert launch_files.number("camera_height", "1") == 1.0
    with pytest.raises(LaunchError, match="autostart is 'perhaps'; it must be true or false"):
        launch_files.truth("autostart", "perhaps")
    with pytest.raises(LaunchError, match="camera_height is 'high'; it must be a number"):
        launch_files.number("camera_height", "high")
    for text in ("nan", "-inf", "1e999"):
        with pytest.raises(LaunchError, match=f"is '{text}'; it must be a finite number"):
            launch_files.number("camera_height", text)
    with pytest.raises(LaunchError, match="layer is 'x'; it must be one of a, b"):
        launch_files.one_of("layer", "x", ("a", "b"))


def test_a_file_that_is_missing_is_refused(tmp_path, monkeypatch):
    with pytest.raises(LaunchError, match="params_file is '/none/my.yaml': there is no such file"):
        launch_files.params_file("params_file", "/none/my.yaml", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "my.yaml").write_text("depthrefl: {ros__parameters: {}}")
    assert launch_files.existing_file("params_file", "~/my.yaml") == str(tmp_path / "my.yaml")


@pytest.mark.parametrize(
    "text, reason",
    [
        ("a: [1", "is no YAML"),
        ("", "is no parameter file: it needs a section depthrefl:"),
        ("max_range: 6.0", "is no parameter file"),
        (b"\xff\xfe\x00", "is no YAML"),
    ],
)
def test_what_is_no_parameter_file_is_refused_by_name(tmp_path, text, reason):
    path = tmp_path / "p.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(LaunchError, match=f"params_file: {path} {reason}") as error:
        launch_files.params_file("params_file", str(path), "")
    assert "\n" not in str(error.value)


TYPES = """
depthrefl:
  ros__parameters:
    max_range: 6
    min_range: 1e-1
    scale_correction: "off"
    model: 'indoor_tiny'
    qos_overrides: {/points: {publisher: {depth: 2}}}
"""


@pytest.mark.parametrize("key", ["depthrefl", "/depthrefl"])
def test_a_file_by_the_nodes_name_counts_in_a_namespace(tmp_path, key):
    path = tmp_path / "p.yaml"
    path.write_text(TYPES.replace("depthrefl:", f"{key}:"))
    assert launch_files.params_file("params_file", str(path), "") == str(path)
    copy = launch_files.params_file("params_file", str(path), "robot/front")
    assert copy != str(path) and path.read_text().startswith(f"\n{key}:")
    written = Path(copy).read_text()
    assert yaml.safe_load(written).keys() == {"/robot/front/depthrefl"}
    # Quotes make the type of a value: ROS takes off for false and "off" for a text.
    for line in ('"off"', "'indoor_tiny'", "max_range: 6\n", "min_range: 1e-1\n"):
        assert line in written
    assert launch_files.params_file("params_file", str(path), "robot/front") == copy


@pytest.mark.parametrize("key", ["/**", "/robot/depthrefl", "robot/depthrefl"])
def test_a_file_that_names_the_node_in_full_is_left_as_it_is(tmp_path, key):
    path = tmp_path / "p.yaml"
    path.write_text(TYPES.replace("depthrefl:", f"{key}:"))
    assert launch_files.params_file("params_file", str(path), "robot") == str(path)


def test_ros_takes_the_copy_for_the_node_in_its_namespace(tmp_path, ros):
    import rclpy

    path = tmp_path / "p.yaml"
    path.write_text(TYPES)
    copy = launch_files.params_file("params_file", str(path), "robot")
    node = rclpy.create_node(
        "depthrefl",
        namespace="robot",
        cli_args=["--ros-args", "--params-file", copy],
        automatically_declare_parameters_from_overrides=True,
    )
    try:
        names = ("max_range", "min_range", "scale_correction")
        values = [node.get_parameter(name).value for name in names]
    finally:
        node.destroy_node()
    assert values == [6, 0.1, "off"]


def test_a_value_of_the_file_is_found_in_the_section_that_counts(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text(
        "/**: {ros__parameters: {use_sim_time: true, max_rate: 1.0}}\n"
        "/robot/depthrefl: {ros__parameters: {max_rate: 2.0}}\n"
        "other: {ros__parameters: {max_rate: 3.0}}\n"
    )
    assert launch_files.value_in(str(path), "use_sim_time", "robot") is True
    assert launch_files.value_in(str(path), "max_rate", "robot") == 2.0
    assert launch_files.value_in(str(path), "max_rate") == 1.0
    assert launch_files.value_in(str(path), "min_range") is None
    assert launch_files.value_in(str(CONFIG), "autostart") is True


def test_a_slip_of_the_pen_is_told_and_other_arguments_are_not():
    known = ("image_topic", "camera_info_topic", "use_rviz")
    given = ("image_topic", "imagetopic", "use_sim", "ros_namespace")
    assert launch_files.misspelt(given, known) == [
        "argument imagetopic is not known; did you mean image_topic?"
    ]


def test_what_launch_ros_itself_sets_is_no_slip_of_the_pen():
    known = ("namespace", "params")
    assert launch_files.misspelt(("ros_namespace", "ros_remaps", "global_params"), known) == []
    assert launch_files.misspelt(["a_namespace"], known)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("camera_link", "camera_link"),
        ("front/camera-link", "front_camera_link"),
        ("3d", "_3d"),
        ("kamera_übersicht", "kamera__bersicht"),
        ("", "_"),
    ],
)
def test_any_text_makes_a_nodes_name(text, expected):
    validate = pytest.importorskip("rclpy.validate_node_name").validate_node_name
    assert launch_files.node_name(text) == expected and validate(expected)


def test_the_pushed_namespace_has_no_slashes_around_it():
    found = [launch_files.pushed_namespace(one) for one in ({}, {"ros_namespace": "/a/b"})]
    assert found == ["", "a/b"]


def test_without_a_place_for_the_copy_it_says_what_to_write(tmp_path, monkeypatch):
    def cannot_write():
        raise OSError("no temporary folder can be written")

    path = tmp_path / "p.yaml"
    path.write_text(TYPES)
    monkeypatch.setattr(launch_files, "own_folder", cannot_write)
    with pytest.raises(LaunchError, match=f"name it /robot/depthrefl in {path}"):
        launch_files.params_file("params_file", str(path), "robot")
    assert os.listdir(tmp_path) == ["p.yaml"]


NESTED = """
robot: {x: 1}
local_costmap:
  local_costmap: {ros__parameters: {width: 10}}
  other: {ros__parameters: {y: 1}}
"""


@pytest.mark.parametrize(
    "text, expected",
    [
        (
            NESTED,
            {
                "robot": {"x": 1},
                "local_costmap": {"other": {"ros__parameters": {"y": 1}}},
                "/costmap/costmap": {"ros__parameters": {"width": 10}},
            },
        ),
        (
            "/local_costmap: {/local_costmap: {ros__parameters: {width: 10}}}",
            {"/costmap/costmap": {"ros__parameters": {"width": 10}}},
        ),
        (
            "/local_costmap/local_costmap: {ros__parameters: {name: '10'}}",
            {"/costmap/costmap": {"ros__parameters": {"name": "10"}}},
        ),
    ],
)
def test_a_section_is_renamed_in_a_copy(tmp_path, text, expected):
    path = tmp_path / "costmap.yaml"
    path.write_text(text)
    names = ("local_costmap/local_costmap", "costmap/costmap")
    copy = launch_files.renamed_section("costmap_file", str(path), *names)
    assert yaml.safe_load(Path(copy).read_text()) == expected
    assert path.read_text() == text


@pytest.mark.parametrize(
    "text",
    [
        "/**: {ros__parameters: {x: 1}}",
        "? [a]\n: {ros__parameters: 1}",
        "a/b: {ros__parameters: {x: 1}}\n/c/d: {ros__parameters: {x: 2}}",
    ],
)
def test_a_file_without_the_section_stays_as_it_is(tmp_path, text):
    path = tmp_path / "costmap.yaml"
    path.write_text(text)
    assert launch_files.renamed_section("f", str(path), "a/b", "c/d") == str(path)


def test_a_section_that_keeps_its_name_needs_no_copy_but_a_parameter_file(tmp_path):
    path = tmp_path / "costmap.yaml"
    path.write_text("a/b: {ros__parameters: {x: 1}}")
    assert launch_files.renamed_section("f", str(path), "a/b", "a/b") == str(path)
    path.write_text("# words")
    with pytest.raises(LaunchError, match=f"f: {path} is no parameter file: it needs .* a/b: or"):
        launch_files.renamed_section("f", str(path), "a/b", "a/b")
