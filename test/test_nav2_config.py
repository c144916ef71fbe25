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

"""The Nav2 files against what Nav2's source asks of them (1.4.2) and against our own defaults."""

from __future__ import annotations

import json
import re

import pytest
import rclpy
import yaml
from conftest import ROOT
from rclpy.parameter import Parameter
from rclpy.qos import QoSCompatibility, qos_check_compatible, qos_profile_sensor_data

from depthrefl_ros.geometry.obstacles import ObstacleSettings
from depthrefl_ros.ros.publishers import publisher_profile

CONFIG = ROOT / "config"
LAYERS = {
    "camera_layer": "nav2_costmap_2d::ObstacleLayer",
    "camera_voxel_layer": "nav2_costmap_2d::VoxelLayer",
}
# As declared by Costmap2DROS, ObstacleLayer, VoxelLayer and InflationLayer; a parameter of another
# type (5 for a double) ends configure with an exception. All that are not named are doubles.
BOOLEANS = {
    *("rolling_window", "track_unknown_space", "always_send_full_costmap", "enabled"),
    *("footprint_clearing_enabled", "publish_voxel_map", "marking", "clearing", "inf_is_valid"),
}
INTEGERS = {"width", "height", "combination_method", "z_voxels", "mark_threshold"}
INTEGERS |= {"unknown_threshold"}
STRINGS = {"global_frame", "robot_base_frame", "plugin", "observation_sources"}
STRINGS |= {"topic", "data_type", "sensor_frame"}


def load(name: str) -> dict:
    return yaml.safe_load((CONFIG / name).read_text())


def costmap(name: str = "nav2_costmap.yaml") -> dict:
    return load(name)["local_costmap"]["local_costmap"]["ros__parameters"]


@pytest.fixture(params=LAYERS)
def layer(request) -> dict:
    return costmap()[request.param]


def sources(layer: dict) -> list[dict]:
    return [layer[name] for name in layer["observation_sources"].split()]


def marking(layer: dict) -> dict:
    [source] = [one for one in sources(layer) if one["marking"]]
    return source


def clearing(layer: dict) -> dict:
    [source] = [one for one in sources(layer) if one["clearing"]]
    return source


def kind_of(name: str) -> Parameter.Type:
    last = name.rsplit(".", 1)[-1]
    if last == "plugins":
        return Parameter.Type.STRING_ARRAY
    if last in BOOLEANS:
        return Parameter.Type.BOOL
    if last in INTEGERS:
        return Parameter.Type.INTEGER
    return Parameter.Type.STRING if last in STRINGS else Parameter.Type.DOUBLE


def test_ros_gives_the_costmap_node_its_parameters_with_the_declared_types():
    context = rclpy.Context()
    rclpy.init(context=context, args=[])
    try:
        node = rclpy.create_node(
            "local_costmap",
            namespace="/local_costmap",
            context=context,
            cli_args=["--ros-args", "--params-file", str(CONFIG / "nav2_costmap.yaml")],
            allow_undeclared_parameters=True,
            automatically_declare_parameters_from_overrides=True,
        )
        given = {name: one.type_ for name, one in node.get_parameters_by_prefix("").items()}
        node.destroy_node()
    finally:
        rclpy.shutdown(context=context)
    for name in ("use_sim_time", "start_type_description_service"):  # rclpy's own
        given.pop(name, None)
    assert "camera_voxel_layer.depthrefl_clearing.raytrace_max_range" in given
    assert given == {name: kind_of(name) for name in given}


@pytest.mark.parametrize("name", LAYERS)
def test_the_camera_has_layers_of_its_own_that_erase_nothing_of_others(name):
    layer = costmap()[name]
    assert layer["plugin"] == LAYERS[name]
    assert layer["combination_method"] == 1
    assert {one["topic"] for one in sources(layer)} == {"/points/marking", "/points/clearing"}


def test_one_of_the_layers_is_listed_before_the_inflation():
    plugins = costmap()["plugins"]
    assert len(set(plugins) & set(LAYERS)) == 1
    assert plugins[-1] == "inflation_layer"
    assert all("plugin" in costmap()[name] for name in plugins)


def test_marking_and_clearing_come_from_the_two_clouds(layer):
    assert marking(layer)["topic"] == "/points/marking"
    assert clearing(layer)["topic"] == "/points/clearing"
    assert {one["data_type"] for one in sources(layer)} == {"PointCloud2"}
    assert not marking(layer)["clearing"] and not clearing(layer)["marking"]


def test_height_limits_keep_the_marking_band_and_every_clearing_ray(layer):
    band = ObstacleSettings()
    for limits in (layer, marking(layer)):
        assert limits["min_obstacle_height"] < band.min_height_m
        assert limits["max_obstacle_height"] > band.max_height_m
    # The layer's limits keep the floor out; the clearing source must not: its ends lie there.
    assert layer["min_obstacle_height"] > 0.0
    assert clearing(layer)["min_obstacle_height"] <= -5.0
    assert clearing(layer)["max_obstacle_height"] >= 5.0


def test_ranges_fit_together_and_the_shipped_model(layer, bundle):
    marked, cleared = marking(layer), clearing(layer)
    assert marked["obstacle_min_range"] >= bundle.min_range_m
    assert marked["obstacle_max_range"] <= bundle.max_range_m
    for source in (marked, cleared):
        assert source["raytrace_max_range"] >= marked["obstacle_max_range"]
        assert source["raytrace_max_range"] <= bundle.max_range_m
        assert source["raytrace_min_range"] == 0.0


def test_the_map_is_wide_enough_for_what_is_marked(layer):
    settings = costmap()
    assert settings["rolling_window"]
    assert min(settings["width"], settings["height"]) / 2 >= marking(layer)["obstacle_max_range"]


def test_silence_makes_the_layer_not_current(layer):
    for source in sources(layer):
        assert 0.0 < source["expected_update_rate"] <= 1.0
        assert source["observation_persistence"] == 0.0


def test_the_voxel_column_holds_the_band_and_the_camera():
    layer, band = costmap()["camera_voxel_layer"], ObstacleSettings()
    assert 1 <= layer["z_voxels"] <= 16
    top = layer["origin_z"] + layer["z_voxels"] * layer["z_resolution"]
    assert layer["origin_z"] <= 0.0
    assert top >= band.max_height_m
    assert layer["max_obstacle_height"] <= top


def test_both_layers_have_the_same_sources():
    two, three = (costmap()[name] for name in LAYERS)
    assert sources(two) == sources(three)


def test_frames_are_those_of_the_node():
    settings = costmap()
    assert (settings["global_frame"], settings["robot_base_frame"]) == ("odom", "base_footprint")
    monitor = load("nav2_collision_monitor.yaml")["collision_monitor"]["ros__parameters"]
    assert (monitor["odom_frame_id"], monitor["base_frame_id"]) == ("odom", "base_footprint")
    for layer in (*map(costmap().get, LAYERS), costmap("nav2_stvl.yaml")["camera_stvl"]):
        assert {one["sensor_frame"] for one in sources(layer)} == {""}  # the cloud's own


@pytest.mark.parametrize("name", ["nav2_stvl.yaml", "nav2_collision_monitor.yaml"])
def test_what_was_never_run_says_so_first(name):
    assert (CONFIG / name).read_text().startswith("# NOT TESTED")


def test_stvl_marks_as_the_costmap_does_and_fades_only_what_is_in_range(bundle):
    layer, band = costmap("nav2_stvl.yaml")["camera_stvl"], ObstacleSettings()
    marked, frustum = marking(layer), clearing(layer)
    reference = marking(costmap()["camera_layer"])
    assert marked["topic"] == "/points/marking"
    assert marked["obstacle_range"] == reference["obstacle_max_range"]
    assert layer["voxel_size"] == band.voxel_size_m == costmap()["resolution"]
    assert marked["expected_update_rate"] == reference["expected_update_rate"]
    assert frustum["topic"] == "/points/clearing"
    assert bundle.min_range_m <= frustum["min_z"] < frustum["max_z"] <= bundle.max_range_m
    # Else the layer is never current, or asks for the stamp of a cloud that it does not keep.
    assert frustum["expected_update_rate"] == frustum["observation_persistence"] == 0.0
    assert costmap("nav2_stvl.yaml")["plugins"][0] == "camera_stvl"


def test_the_collision_monitor_takes_the_marking_cloud_and_stops_in_silence(bundle):
    monitor = load("nav2_collision_monitor.yaml")["collision_monitor"]["ros__parameters"]
    band = ObstacleSettings()
    assert 0.0 < monitor["source_timeout"] <= 1.0
    [name] = monitor["observation_sources"]
    source = monitor[name]
    assert (source["type"], source["topic"]) == ("pointcloud", "/points/marking")
    assert 0.0 < source["min_height"] < band.min_height_m
    assert source["max_height"] > band.max_height_m
    assert source["min_range"] == bundle.min_range_m
    assert all(name in monitor for name in monitor["polygons"])


def test_the_collision_monitor_has_the_same_for_older_releases():
    text = (CONFIG / "nav2_collision_monitor.yaml").read_text()
    new = re.findall(r'^ +points: "(.*)"$', text, re.MULTILINE)
    old = re.findall(r"# Humble, Iron: points: (.*)$", text, re.MULTILINE)
    assert len(new) == 2
    assert [sum(json.loads(one), []) for one in new] == [json.loads(one) for one in old]
    counts = re.findall(r"min_points: (\d+)\n +# Humble: max_points: (\d+)$", text, re.MULTILINE)
    assert len(counts) == text.count("min_points: ") == 3
    assert all(int(new) == int(old) + 1 for new, old in counts)


def test_the_node_offers_what_nav2_asks_for():
    """Every source above is subscribed with SensorDataQoS: best effort, volatile."""
    compatibility, reason = qos_check_compatible(publisher_profile(), qos_profile_sensor_data)
    assert compatibility != QoSCompatibility.ERROR, reason
