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

"""The parameters in ROS, in YAML and in the settings that a frame uses."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from rcl_interfaces.msg import ParameterType
from rclpy.parameter import Parameter

from depthrefl_ros.ros.loaded_model import FrameSettings, load_mask
from depthrefl_ros.ros.parameters import (
    Parameters,
    check_changeable,
    config_text,
    declare,
    descriptor,
    nearest,
    understood,
    unknown_parameters,
)
from depthrefl_ros.settings import Changeable, SettingError, changed, described, values_of

CONFIG = Path(__file__).resolve().parents[1] / "config" / "depthrefl.yaml"
ALL = {one.name: (one, default) for one, default in described(Parameters())}


@pytest.fixture
def make_node(ros):
    import rclpy

    nodes = []

    def make(**values):
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        nodes.append(rclpy.create_node("bearer", parameter_overrides=overrides))
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()


def test_names_are_unique():
    names = [one.name for one, _ in described(Parameters())]
    assert len(names) == len(set(names)) > 40


def test_the_config_file_is_what_the_settings_say():
    assert CONFIG.read_text() == config_text(), (
        "python -m depthrefl_ros.ros.parameters > config/depthrefl.yaml"
    )
    content = yaml.safe_load(CONFIG.read_text())["/**"]["ros__parameters"]
    assert content == values_of(Parameters())
    # YAML's 1 and 1.0 are equal in Python but not for ROS.
    assert {name: type(value) for name, value in content.items()} == {
        name: type(default) for name, (_, default) in ALL.items()
    }


@pytest.mark.parametrize("name", ALL)
def test_each_parameter_is_described(name):
    one, default = ALL[name]
    message = descriptor(one, default)
    assert len(message.description) > 20
    assert "Can be changed" in message.additional_constraints
    if isinstance(default, float):
        (limits,) = message.floating_point_range
        assert limits.from_value <= default <= limits.to_value
    elif type(default) is int:
        (limits,) = message.integer_range
        assert limits.from_value <= default <= limits.to_value
    if one.choices is not None:
        assert f"One of {', '.join(one.choices)}." in message.additional_constraints


def other_value(name: str, tmp_path: Path):
    """Return a value that the parameter may take and that is not its default."""
    one, default = ALL[name]
    if name == "self_mask":
        path = tmp_path / "mask.png"
        cv2.imwrite(str(path), np.full((4, 5), 255, np.uint8))
        return str(path)
    if name == "camera_info_url":
        path = tmp_path / "camera.yaml"
        matrix = {"rows": 3, "cols": 3, "data": [100.0, 0, 31.5, 0, 100.0, 23.5, 0, 0, 1]}
        content = {"image_width": 64, "image_height": 48, "camera_matrix": matrix}
        content["distortion_model"] = "plumb_bob"
        content["distortion_coefficients"] = {"rows": 1, "cols": 5, "data": [0.0] * 5}
        content["rectification_matrix"] = {**matrix, "data": [1.0, 0, 0, 0, 1, 0, 0, 0, 1]}
        projection = [100.0, 0, 31.5, 0, 0, 100.0, 23.5, 0, 0, 0, 1, 0]
        content["projection_matrix"] = {"rows": 3, "cols": 4, "data": projection}
        path.write_text(yaml.safe_dump(content))
        return str(path)
    if name == "device":
        return "CPU"
    if one.choices is not None:
        return next(choice for choice in reversed(one.choices) if choice != default)
    if isinstance(default, bool):
        return not default
    if isinstance(default, int):
        return default + 1
    if isinstance(default, float):
        low, high = one.limits
        near = {"edge_ratio": 1.5, "max_range": 7.0, "min_range": 0.5, "scan_max_height": 2.0}
        near.update(max_obstacle_height=2.0, min_obstacle_height=0.2, scan_min_height=0.2)
        value = near.get(name, default + 0.01 * (min(high, 10.0) - default))
        assert low <= value <= high and value != default
        return value
    return f"other_{name}"


@pytest.mark.parametrize("name", ALL)
def test_a_changed_value_reaches_the_settings_that_a_frame_uses(make_node, bundle, tmp_path, name):
    """From the override of a user through declaration to the object that the rooms read."""
    value = other_value(name, tmp_path)
    parameters = declare(make_node(**{name: value}))
    before, after = values_of(Parameters()), values_of(parameters)
    assert after == {**before, name: value}
    settings = FrameSettings.of(parameters, bundle)
    plain = FrameSettings.of(Parameters(), bundle)
    assert values_of(settings.parameters)[name] == value
    used = values_of(settings.estimator)
    if name in used:  # filled in from the model where it is 0, and so a copy
        assert used[name] == value != values_of(plain.estimator)[name]
    if name == "self_mask":
        assert (settings.mask.pixels == 255).all() and plain.mask is None
    if name == "camera_info_url":
        assert settings.calibration.fx == 100.0 and plain.calibration is None


def test_declare_takes_whole_numbers_and_yamls_off(make_node):
    parameters = declare(make_node(max_range=6, scale_correction=False))
    assert parameters.estimator.max_range_m == 6.0
    assert isinstance(parameters.estimator.max_range_m, float)
    assert parameters.correction.scale_correction == "none"
    node = make_node()
    declare(node)
    assert node.describe_parameter("max_range").type == ParameterType.PARAMETER_DOUBLE
    assert understood(*ALL["scale_correction"], "off") == "none"
    assert understood(*ALL["median_filter"], False) is False
    assert understood(*ALL["engine_threads"], 3) == 3


def test_a_whole_number_is_a_text_where_one_is_wanted_and_a_switch_is_none(make_node):
    parameters = declare(make_node(device=1, model=123))
    assert (parameters.engine.device, parameters.model) == ("1", "123")
    assert understood(*ALL["device"], True) is True
    with pytest.raises(SettingError, match="device.*BOOL"):
        declare(make_node(device=True))


@pytest.mark.parametrize(
    "values, complaint",
    [
        ({"max_rate": -1.0}, "max_rate.*-1"),
        ({"max_rate": float("nan")}, "max_rate"),
        ({"max_rate": "fast"}, "max_rate"),
        ({"engine_threads": 1000}, "engine_threads.*1000"),
        ({"engine": "fast"}, "engine is 'fast'; it must be one of .*openvino"),
        ({"output_size": "huge"}, "output_size is 'huge'"),
        ({"scale_correction": True}, "scale_correction"),
    ],
)
def test_values_that_cannot_be_taken_at_start_are_named(make_node, values, complaint):
    with pytest.raises(SettingError, match=complaint):
        declare(make_node(**values))


@pytest.mark.parametrize(
    "changes, complaint",
    [
        ({"edge_ratio": 0.5}, "edge_ratio is 0.5; .* above 1"),
        ({"min_range": 3.0, "max_range": 2.0}, "min_range is 3.0 m and max_range 2.0 m"),
        (
            {"min_obstacle_height": 2.0},
            "min_obstacle_height is 2.0 m and max_obstacle_height 1.8 m",
        ),
        ({"base_frame": ""}, "base_frame is ''; it must be a frame of TF .* base_footprint"),
        ({"scan_max_height": 0.1}, "scan_min_height must be the smaller"),
        ({"scale_correction": "lidar"}, "scale_correction is 'lidar'; .*reference_points"),
        ({"image_transport": "theora"}, "image_transport is 'theora'; it must be one of"),
    ],
)
def test_values_that_contradict_are_refused(changes, complaint):
    with pytest.raises(SettingError, match=complaint):
        changed(Parameters(), changes)


def test_the_range_defaults_to_the_models_and_must_fit_it(bundle):
    settings = FrameSettings.of(Parameters(), bundle)
    assert settings.estimator.min_range_m == bundle.min_range_m
    assert settings.estimator.max_range_m == bundle.max_range_m
    with pytest.raises(ValueError, match="min_range is 900.0 m and max_range"):
        FrameSettings.of(changed(Parameters(), {"min_range": 900.0}), bundle)


def test_files_are_read_again_only_when_their_parameter_changes(bundle, tmp_path):
    path = tmp_path / "mask.png"
    cv2.imwrite(str(path), np.full((4, 5), 255, np.uint8))
    with_mask = changed(Parameters(), {"self_mask": str(path)})
    first = FrameSettings.of(with_mask, bundle)
    path.unlink()
    second = FrameSettings.of(changed(with_mask, {"max_rate": 5.0}), bundle, first)
    assert second.mask is first.mask and first.mask.pixels.shape == (4, 5)
    other = tmp_path / "other.png"
    cv2.imwrite(str(other), np.zeros((4, 5), np.uint8))
    third = FrameSettings.of(changed(with_mask, {"self_mask": str(other)}), bundle, first)
    assert not third.mask.pixels.any()
    assert FrameSettings.of(changed(with_mask, {"self_mask": ""}), bundle, first).mask is None
    with pytest.raises(SettingError, match="self_mask is .*mask.png"):
        load_mask(str(path))


def test_another_calibration_is_read_when_its_parameter_changes(bundle, tmp_path):
    found = None
    for fx in (300.0, 500.0):
        path = tmp_path / f"{fx}.yaml"
        path.write_text(
            f"{{image_width: 640, image_height: 480, distortion_model: plumb_bob, camera_matrix: "
            f"{{rows: 3, cols: 3, data: [{fx}, 0, 320, 0, {fx}, 240, 0, 0, 1]}}}}"
        )
        parameters = changed(Parameters(), {"camera_info_url": str(path)})
        found = FrameSettings.of(parameters, bundle, found)
        assert found.calibration.fx == fx
    assert FrameSettings.of(Parameters(), bundle, found).calibration is None


@pytest.mark.parametrize(
    "name, allowed",
    [
        ("max_range", {"unconfigured", "inactive", "active"}),
        ("image_transport", {"unconfigured", "inactive"}),
        ("model", {"unconfigured"}),
        ("autostart", set()),
        ("use_sim_time", {"unconfigured", "inactive", "active"}),
    ],
)
def test_when_a_parameter_may_change(name, allowed):
    for state in ("unconfigured", "inactive", "active"):
        if state in allowed:
            check_changeable([name], state)
        else:
            with pytest.raises(SettingError, match=f"{name} can be changed only .*{state}"):
                check_changeable([name], state)


def test_after_the_shutdown_nothing_may_change():
    told = "max_range cannot be changed any more: the node is finalized"
    with pytest.raises(SettingError, match=f"^{told}$"):
        check_changeable(["max_range"], "finalized")
    check_changeable(["use_sim_time"], "finalized")


def test_every_moment_of_change_is_used():
    assert {one.changeable for one, _ in described(Parameters())} == set(Changeable)


def test_a_parameter_that_does_not_exist_is_told_with_the_nearest_name(make_node):
    node = make_node(modle="x", use_sim_time=False, max_range=3.0)
    declare(node)
    assert unknown_parameters(node) == ["there is no parameter 'modle'; did you mean 'model'?"]
    assert nearest("zzzz", ["model"]) == ""


def test_a_list_of_cameras_is_declared_as_a_text(make_node):
    assert declare(make_node(cameras=["front", "left"])).cameras == "front left"


def test_a_list_is_no_text_of_another_parameter(make_node):
    with pytest.raises(SettingError, match="parameter base_frame"):
        declare(make_node(base_frame=["base_link"]))
