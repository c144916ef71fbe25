"""The parameters in the form that a frame needs them: checked, and their files read."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.estimator import EstimatorSettings
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.obstacles import ObstacleSettings
from depthrefl_ros.geometry.scan import ScanSettings
from depthrefl_ros.ros.calibration_file import load_calibration
from depthrefl_ros.ros.parameters import ParameterError, Parameters


@dataclass(frozen=True, eq=False)
class LiveSettings:
    """The parameters in the form that a frame needs them.

    Attributes:
        parameters: as the user set them.
        estimator: the estimator's share, with the bundle's range where the user gave none.
        obstacles: what marking and clearing look at.
        scan: what the scan looks at, all round.
        calibration: from ``camera_info_url``, or None.
        mask: from ``self_mask``, (H, W) uint8, or None.
    """

    parameters: Parameters
    estimator: EstimatorSettings
    obstacles: ObstacleSettings
    scan: ScanSettings
    calibration: Camera | None
    mask: np.ndarray | None

    @classmethod
    def of(
        cls, parameters: Parameters, bundle: Bundle, before: LiveSettings | None = None
    ) -> LiveSettings:
        """Reads the files that the parameters name and checks the values against the model.

        Args:
            parameters: the new values.
            bundle: the model.
            before: settings whose files are taken over where their parameters are the same.

        Raises:
            ValueError: a file cannot be used, or a value does not fit the model; names it.
        """
        estimator = EstimatorSettings(
            image_is_rectified=parameters.image_is_rectified,
            aspect_fit=parameters.aspect_fit,
            output_size=parameters.output_size,
            median_filter=parameters.median_filter,
            edge_ratio=parameters.edge_ratio,
            max_grazing_angle_deg=parameters.max_grazing_angle,
            min_confidence=parameters.min_confidence,
            min_range_m=parameters.min_range or bundle.min_range_m,
            max_range_m=parameters.max_range or bundle.max_range_m,
        )
        obstacles = ObstacleSettings(
            min_height_m=parameters.min_obstacle_height,
            max_height_m=parameters.max_obstacle_height,
            voxel_size_m=parameters.voxel_size,
            range_resolution_m=parameters.range_resolution,
        )
        scan = ScanSettings(
            min_height_m=parameters.scan_min_height,
            max_height_m=parameters.scan_max_height,
            angle_increment_deg=parameters.scan_angle_increment,
        )
        url, mask_path = parameters.camera_info_url, parameters.self_mask
        if before is not None and url == before.parameters.camera_info_url:
            calibration = before.calibration
        else:
            calibration = load_calibration(url) if url else None
        if before is not None and mask_path == before.parameters.self_mask:
            mask = before.mask
        else:
            mask = load_mask(mask_path) if mask_path else None
        return cls(parameters, estimator, obstacles, scan, calibration, mask)


def load_mask(path: str) -> np.ndarray:
    """The mask in an image file: (H, W) uint8, non-zero where the camera sees its own robot.

    Raises:
        ParameterError: no picture can be read from the file.
    """
    mask = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise ParameterError(f"self_mask is {path!r}; it must be an image file, such as a PNG")
    return mask
