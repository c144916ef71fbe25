"""Every parameter of the node, once: name, type, default, range, description, when it may change.

``config/depthrefl.yaml`` lists the same for users; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from enum import Enum
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, ParameterType
from rclpy.node import Node

from depthrefl_ros.engine.selection import BUILDS, ENGINES, PRECISIONS, EngineChoice
from depthrefl_ros.estimator import OUTPUT_SIZES, EstimatorSettings
from depthrefl_ros.geometry.camera import ASPECT_FITS


class ParameterError(ValueError):
    """A value or a change that cannot be taken; names the parameter, the value and what can."""


class Changeable(Enum):
    """When a parameter may change; the value tells the user what to do first."""

    ALWAYS = "at any time, from the next frame on"
    INACTIVE = "only while the node is not active: deactivate it first"
    UNCONFIGURED = "only while the node is unconfigured: deactivate and clean it up first"
    AT_START = "only at start"


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


def _parameter(
    default: bool | int | float | str,
    description: str,
    changeable: Changeable = Changeable.ALWAYS,
    limits: tuple[float, float] | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    details = {
        "description": description,
        "changeable": changeable,
        "limits": limits,
        "choices": choices,
    }
    return field(default=default, metadata=details)


@dataclass(frozen=True)
class Parameters:
    """The values of all parameters at one moment."""

    model: str = _parameter(
        "indoor_tiny",
        "Model: the name of a shipped one, or the path of a bundle folder.",
        Changeable.UNCONFIGURED,
    )
    engine: str = _parameter(
        "auto",
        "Runtime of the network; auto takes the first that works and passes its self-test.",
        Changeable.UNCONFIGURED,
        choices=ENGINES,
    )
    precision: str = _parameter(
        "auto",
        "Of the network's arithmetic; auto is fp16 for TensorRT and fp32 for the others.",
        Changeable.UNCONFIGURED,
        choices=PRECISIONS,
    )
    build: str = _parameter(
        "auto",
        "TensorRT engines: auto builds what the cache lacks, never nothing, force all anew.",
        Changeable.UNCONFIGURED,
        choices=BUILDS,
    )
    engine_threads: int = _parameter(
        0,
        "CPU threads of the engine; 0 leaves the number to the runtime.",
        Changeable.UNCONFIGURED,
        limits=(0, 256),
    )
    autostart: bool = _parameter(
        True,
        "Configure and activate at start; off where a lifecycle manager does it.",
        Changeable.AT_START,
    )
    image_transport: str = _parameter(
        "raw",
        "raw subscribes to Image on 'image', compressed to CompressedImage on 'image/compressed'.",
        Changeable.INACTIVE,
        choices=("raw", "compressed"),
    )
    image_reliability: str = _parameter(
        "auto",
        "Reliability of the image subscription; auto is reliable where every publisher offers it.",
        Changeable.INACTIVE,
        choices=("auto", "reliable", "best_effort"),
    )
    image_is_rectified: bool = _parameter(
        False,
        "The images are rectified already: P of the CameraInfo holds and D is ignored.",
    )
    camera_info_url: str = _parameter(
        "",
        "Calibration file (camera_calibration's YAML; file:// or a path) instead of CameraInfo.",
    )
    assumed_horizontal_fov: float = _parameter(
        0.0,
        "Degrees; used where no usable CameraInfo comes. The scale is then a guess. 0 is off.",
        limits=(0.0, 170.0),
    )
    aspect_fit: str = _parameter(
        "pad",
        "pad sees the whole image; crop fills the network's input and leaves the rest NaN.",
        choices=ASPECT_FITS,
    )
    output_size: str = _parameter(
        "input",
        "input aligns the depth with the rectified image; network keeps the network's pixels.",
        choices=OUTPUT_SIZES,
    )
    min_confidence: float = _parameter(
        EstimatorSettings.min_confidence,
        "Depth whose calibrated confidence is below this becomes NaN; 0 keeps all.",
        limits=(0.0, 0.99),
    )
    edge_ratio: float = _parameter(
        EstimatorSettings.edge_ratio,
        "Pixels whose neighbours' depths differ by more than this factor become NaN; 0 keeps all.",
        limits=(0.0, 10.0),
    )
    min_range: float = _parameter(
        0.0,
        "Metres; nearer depth becomes -Inf. 0 takes the model's own.",
        limits=(0.0, 1000.0),
    )
    max_range: float = _parameter(
        0.0,
        "Metres; farther depth becomes +Inf. 0 takes the model's own.",
        limits=(0.0, 1000.0),
    )
    max_rate: float = _parameter(
        0.0,
        "Hz; frames that come faster are dropped. 0 is off.",
        limits=(0.0, 1000.0),
    )
    max_age: float = _parameter(
        1.0,
        "Seconds since receipt after which a waiting frame is dropped. 0 is off.",
        limits=(0.0, 60.0),
    )
    max_stamp_age: float = _parameter(
        0.0,
        "Seconds since its stamp after which a frame is dropped. 0 is off: bags have old stamps.",
        limits=(0.0, 3600.0),
    )
    optical_frame_id: str = _parameter(
        "",
        "frame_id of everything published, for cameras that state a wrong one; empty keeps it.",
    )
    self_mask: str = _parameter(
        "",
        "Image file of the camera's size; depth under its non-zero pixels becomes NaN.",
    )
    diagnostics_period: float = _parameter(
        1.0,
        "Seconds between two messages on /diagnostics.",
        limits=(0.1, 60.0),
    )

    def __post_init__(self) -> None:
        """Checks what ranges cannot say.

        Raises:
            ParameterError: a value is not one of its choices, or two values contradict.
        """
        for item in fields(self):
            choices, value = item.metadata["choices"], getattr(self, item.name)
            if choices is not None and value not in choices:
                raise ParameterError(f"{item.name} is {value!r}; it must be one of {choices}")
        if 0.0 < self.edge_ratio <= 1.0:
            raise ParameterError(
                f"edge_ratio is {self.edge_ratio}; a ratio of depths is above 1, and 0 is off"
            )
        if self.max_range > 0.0 and self.min_range >= self.max_range:
            raise ParameterError(
                f"min_range is {self.min_range} m and max_range {self.max_range} m; min_range "
                "must be the smaller"
            )

    def engine_choice(self) -> EngineChoice:
        """Which engine the user wants; on a robot any that works is better than none."""
        return EngineChoice(
            self.engine, self.precision, self.build, self.engine_threads, falls_back=True
        )

    def changed(self, changes: Mapping[str, Any]) -> Parameters:
        """These values with some changed; names that are not ours are ignored.

        Raises:
            ParameterError: the changed values cannot be taken.
        """
        ours = {item.name for item in fields(self)}
        return replace(self, **{name: value for name, value in changes.items() if name in ours})


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
