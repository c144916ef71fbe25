"""The full cloud ``points``: organised, or thinned to one point a voxel."""

from __future__ import annotations

import numpy as np
from sensor_msgs.msg import PointCloud2

from depthrefl_ros.estimator import DepthFrame
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.cloud import fill_cloud, voxel_thin
from depthrefl_ros.ros.convert.clouds import CloudBuffer, cloud_message
from depthrefl_ros.ros.parameters import Parameters


def fields_of(parameters: Parameters) -> tuple[str, ...]:
    """The names of the cloud's fields, in order."""
    fields = ("x", "y", "z")
    if parameters.cloud_colour:
        fields += ("rgb",)
    if parameters.cloud_confidence:
        fields += ("confidence",)
    return fields


class CloudOutput:
    """Makes the cloud as the parameters want it; buffers are kept while they may be."""

    def __init__(self) -> None:
        self._camera: Camera | None = None
        self._form: tuple[int, tuple[str, ...]] = (0, ())
        self._buffer: CloudBuffer | None = None
        self._coloured: np.ndarray | None = None

    def make(self, frame: DepthFrame, parameters: Parameters) -> PointCloud2:
        """The cloud of one frame, without its header.

        Args:
            frame: with colours where ``cloud_colour`` is on.
            parameters: ``cloud_stride``, ``cloud_colour``, ``cloud_confidence`` and
                ``cloud_voxel_size``.
        """
        fields = fields_of(parameters)
        self._prepare(frame.camera, parameters.cloud_stride, fields)
        every = slice(None, None, parameters.cloud_stride)
        colours = frame.colour_bgra[every, every] if parameters.cloud_colour else None
        confidence = None
        if parameters.cloud_confidence or parameters.cloud_voxel_size:
            confidence = frame.enlarged(frame.confidence)[every, every]
        fill_cloud(frame.depth_m[every, every], colours, self._strided, self._coloured)
        points = self._buffer.points
        if points is not self._coloured:
            kept = 4 if parameters.cloud_colour else 3
            points[..., :kept] = self._coloured[..., :kept]
            if parameters.cloud_confidence:
                points[..., kept] = confidence
        if not parameters.cloud_voxel_size:
            return self._buffer.message
        known = np.isfinite(points[..., 2])
        points = points[known]
        size_m = parameters.cloud_voxel_size
        return cloud_message(points[voxel_thin(points[:, :3], confidence[known], size_m)], fields)

    def _prepare(self, camera: Camera, stride: int, fields: tuple[str, ...]) -> None:
        if camera == self._camera and self._form == (stride, fields):
            return
        self._camera, self._form = camera, (stride, fields)
        self._strided = camera.strided(stride)
        shape = (self._strided.height, self._strided.width)
        self._buffer = CloudBuffer(*shape, fields)
        # fill_cloud writes x, y, z and colour; other forms take from there what they have.
        is_usual = fields == ("x", "y", "z", "rgb")
        self._coloured = self._buffer.points if is_usual else np.empty((*shape, 4), np.float32)
