from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from rcl_interfaces.msg import ParameterType
from rclpy.parameter import Parameter

from depthrefl_ros.ros.declaration import check_changeable, declare, descriptor
from depthrefl_ros.ros.parameters import Changeable, ParameterError, Parameters

CONFIG = Path(__file__).resolve().parents[1] / "config" / "depthrefl.yaml"


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


def test_config_file_has_every_parameter_with_its_default():
    content = yaml.safe_load(CONFIG.read_text())["/**"]["ros__parameters"]
    defaults = {item.name: item.default for item in fields(Parameters)}
    assert content == defaults
    # YAML's 1 and 1.0 are equal in Python but not for ROS.
    assert {name: type(value) for name, value in content.items()} == {
        name: type(value) for name, value in defaults.items()
    }


def test_each_parameter_is_described():
    for item in fields(Parameters):
        message = descriptor(item)
        assert len(message.description) > 20, item.name
        assert "Can be changed" in message.additional_constraints
        if isinstance(item.default, float):
            assert len(message.floating_point_range) == 1, item.name
            assert message.floating_point_range[0].from_value <= item.default
            assert item.default <= message.floating_point_range[0].to_value
        elif type(item.default) is int:
            assert len(message.integer_range) == 1, item.name


def test_choices_are_named_in_the_descriptor():
    (item,) = [item for item in fields(Parameters) if item.name == "engine"]
    assert (
        "One of auto, tensorrt, tensorrt_rtx, openvino, torch."
        in descriptor(item).additional_constraints
    )


def test_declare_gives_defaults_and_what_the_user_set(make_node):
    node = make_node(max_range=6.5, aspect_fit="crop")
    parameters = declare(node)
    assert parameters == Parameters(max_range=6.5, aspect_fit="crop")
    assert node.describe_parameter("max_range").type == ParameterType.PARAMETER_DOUBLE
    assert node.describe_parameter("autostart").read_only


@pytest.mark.parametrize(
    "values, complaint",
    [
        ({"max_rate": -1.0}, "max_rate.*-1"),
        ({"max_rate": float("nan")}, "max_rate"),
        ({"max_rate": 10}, "max_rate.*10"),
        ({"engine_threads": 1000}, "engine_threads.*1000"),
        ({"engine": "fast"}, "engine is 'fast'; it must be one of .*openvino"),
        ({"output_size": "huge"}, "output_size is 'huge'"),
    ],
)
def test_values_that_cannot_be_taken_at_start_are_named(make_node, values, complaint):
    with pytest.raises(ParameterError, match=complaint):
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
        ({"scan_max_height": 0.1}, "scan_min_height must be the smaller"),
        ({"scale_correction": "lidar"}, "scale_correction is 'lidar'; .*reference_points"),
        ({"image_transport": "theora"}, "image_transport is 'theora'; it must be one of"),
    ],
)
def test_values_that_contradict_are_refused(changes, complaint):
    with pytest.raises(ParameterError, match=complaint):
        Parameters().changed(changes)


def test_changed_ignores_what_is_not_ours():
    assert Parameters().changed({"use_sim_time": True, "max_age": 2.0}) == Parameters(max_age=2.0)


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
            with pytest.raises(ParameterError, match=f"{name} can be changed only .*{state}"):
                check_changeable([name], state)


def test_every_moment_of_change_is_used():
    assert {item.metadata["changeable"] for item in fields(Parameters)} == set(Changeable)
