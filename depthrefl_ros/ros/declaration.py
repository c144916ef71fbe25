"""The parameters as ROS has them: declared on the node, described, and when they may change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import Field, fields

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, ParameterType
from rclpy.node import Node

from depthrefl_ros.ros.parameters import Changeable, ParameterError, Parameters

# Lifecycle states, by their ROS names, in which a change is taken.
_STATES = {
    Changeable.ALWAYS: ("unconfigured", "inactive", "active"),
    Changeable.INACTIVE: ("unconfigured", "inactive"),
    Changeable.UNCONFIGURED: ("unconfigured",),
    Changeable.AT_START: (),
}
_TYPES = {
    bool: ParameterType.PARAMETER_BOOL,
    int: ParameterType.PARAMETER_INTEGER,
    float: ParameterType.PARAMETER_DOUBLE,
    str: ParameterType.PARAMETER_STRING,
}


def check_changeable(names: Iterable[str], state: str) -> None:
    """Whether parameters may change now.

    Args:
        names: of the parameters; names that are not ours are ignored.
        state: the node's lifecycle state: ``unconfigured``, ``inactive``, ``active``...

    Raises:
        ParameterError: one may not; says when it may.
    """
    known = {item.name: item.metadata["changeable"] for item in fields(Parameters)}
    for name in names:
        changeable = known.get(name, Changeable.ALWAYS)
        if name in known and state not in _STATES[changeable]:
            raise ParameterError(f"{name} can be changed {changeable.value} (it is {state} now)")


def declare(node: Node) -> Parameters:
    """Declares every parameter on the node and reads the values that the user has set.

    Raises:
        ParameterError: a value has the wrong type, is out of range, or cannot be taken.
    """
    values = {}
    for item in fields(Parameters):
        try:
            parameter = node.declare_parameter(item.name, item.default, descriptor(item))
        except Exception as error:  # rclpy's kinds differ from release to release
            raise ParameterError(f"parameter {item.name}: {error}") from error
        values[item.name] = parameter.value
    return Parameters(**values)


def descriptor(item: Field) -> ParameterDescriptor:
    """What ``ros2 param describe`` shows of a field of ``Parameters``."""
    metadata = item.metadata
    message = ParameterDescriptor(name=item.name, type=_TYPES[type(item.default)])
    message.description = metadata["description"]
    message.read_only = metadata["changeable"] is Changeable.AT_START
    constraints = [f"Can be changed {metadata['changeable'].value}."]
    if metadata["choices"] is not None:
        constraints.insert(0, f"One of {', '.join(metadata['choices'])}.")
    message.additional_constraints = " ".join(constraints)
    if metadata["limits"] is not None:
        low, high = metadata["limits"]
        if isinstance(item.default, int):
            message.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
        else:
            message.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    return message
