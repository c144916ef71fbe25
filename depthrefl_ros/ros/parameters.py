"""Every parameter of the node, once: name, type, default, range, description, when it may change.

``config/depthrefl.yaml`` lists the same for users; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from typing import Any

from depthrefl_ros.engine.selection import BUILDS, ENGINES, PRECISIONS, EngineChoice
from depthrefl_ros.estimator import OUTPUT_SIZES, EstimatorSettings
from depthrefl_ros.geometry.camera import ASPECT_FITS
from depthrefl_ros.geometry.obstacles import ObstacleSettings
from depthrefl_ros.geometry.scale import ANCHORS, ScaleSettings

SCALE_CORRECTIONS = ("off", "auto", *ANCHORS)
# The first of each pair must be the smaller.
_ORDERED = (
    ("min_range", "max_range"),
    ("min_obstacle_height", "max_obstacle_height"),
    ("scan_min_height", "scan_max_height"),
)


class ParameterError(ValueError):
    """A value or a change that cannot be taken; names the parameter, the value and what can."""


class Changeable(Enum):
    """When a parameter may change; the value tells the user what to do first."""

    ALWAYS = "at any time, from the next frame on"
    INACTIVE = "only while the node is not active: deactivate it first"
    UNCONFIGURED = "only while the node is unconfigured: deactivate and clean it up first"
    AT_START = "only at start"


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
    median_filter: bool = _parameter(
        EstimatorSettings.median_filter,
        "A 3x3 median of the depth before the gates: single wrong pixels go.",
    )
    min_confidence: float = _parameter(
        EstimatorSettings.min_confidence,
        "Depth whose calibrated confidence is below this becomes NaN; 0 keeps all.",
        limits=(0.0, 0.99),
    )
    edge_ratio: float = _parameter(
        EstimatorSettings.edge_ratio,
        "Pixels that hang between two surfaces, by more than this factor, become NaN; 0 keeps all.",
        limits=(0.0, 10.0),
    )
    max_grazing_angle: float = _parameter(
        EstimatorSettings.max_grazing_angle_deg,
        "Degrees; surfaces that a ray meets at less become NaN. 0 keeps all.",
        limits=(0.0, 45.0),
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
    temporal_smoothing: float = _parameter(
        0.5,
        "Seconds over which depth is averaged while the picture stands still; the jitter of the "
        "scale is taken out over a third of it, 0.17 s at most. 0 is off.",
        limits=(0.0, 60.0),
    )
    scale_correction: str = _parameter(
        "off",
        "What mends the scale: ground (camera height), range, reference_points, or auto for all.",
        choices=SCALE_CORRECTIONS,
    )
    scale_time_constant: float = _parameter(
        ScaleSettings.time_constant_s,
        "Seconds over which the correction of the scale is averaged. 0 is no average.",
        limits=(0.0, 60.0),
    )
    max_scale_error: float = _parameter(
        ScaleSettings.max_error,
        "Relative error of the scale beyond which marking, clearing and scan stop.",
        limits=(0.01, 10.0),
    )
    base_frame: str = _parameter(
        "base_link",
        "The robot's frame: z up, z = 0 on the floor. Heights are measured in it.",
    )
    camera_height: float = _parameter(
        0.0,
        "Metres of the lens above the floor, where TF does not say. 0 is unknown.",
        limits=(0.0, 100.0),
    )
    camera_pitch: float = _parameter(
        0.0,
        "Degrees that the camera looks down, where TF does not say.",
        limits=(-90.0, 90.0),
    )
    camera_roll: float = _parameter(
        0.0,
        "Degrees that the camera is tilted clockwise, seen from behind, where TF does not say.",
        limits=(-180.0, 180.0),
    )
    min_obstacle_height: float = _parameter(
        ObstacleSettings.min_height_m,
        "Metres above the floor from which on something is an obstacle.",
        limits=(-10.0, 100.0),
    )
    max_obstacle_height: float = _parameter(
        ObstacleSettings.max_height_m,
        "Metres above the floor up to which something is an obstacle.",
        limits=(-10.0, 100.0),
    )
    voxel_size: float = _parameter(
        ObstacleSettings.voxel_size_m,
        "Metres; points/marking and points/clearing have one point a voxel of this size.",
        limits=(0.005, 1.0),
    )
    range_resolution: float = _parameter(
        ObstacleSettings.range_resolution_m,
        "Metres; obstacles at a bearing closer behind each other are marked at their two ends.",
        limits=(0.0, 1.0),
    )
    cloud_stride: int = _parameter(
        1,
        "points has every so many-th row and column.",
        limits=(1, 64),
    )
    cloud_colour: bool = _parameter(
        True,
        "points has a field rgb.",
    )
    cloud_confidence: bool = _parameter(
        False,
        "points has a field confidence.",
    )
    cloud_voxel_size: float = _parameter(
        0.0,
        "Metres; points has one point a voxel, the most certain, and no rows. 0 is off.",
        limits=(0.0, 1.0),
    )
    scan_frame: str = _parameter(
        "",
        "Frame of scan, from whose origin its ranges are measured; empty is base_frame.",
    )
    scan_min_height: float = _parameter(
        ObstacleSettings.min_height_m,
        "Metres above the floor from which on something is in the scan.",
        limits=(-10.0, 100.0),
    )
    scan_max_height: float = _parameter(
        ObstacleSettings.max_height_m,
        "Metres above the floor up to which something is in the scan.",
        limits=(-10.0, 100.0),
    )
    scan_angle_increment: float = _parameter(
        0.5,
        "Degrees between two beams of the scan.",
        limits=(0.05, 10.0),
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
        for low, high in _ORDERED:
            low_m, high_m = getattr(self, low), getattr(self, high)
            is_left_to_the_model = high == "max_range" and high_m == 0.0
            if low_m >= high_m and not is_left_to_the_model:
                raise ParameterError(
                    f"{low} is {low_m} m and {high} {high_m} m; {low} must be the smaller"
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
