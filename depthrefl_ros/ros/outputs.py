"""What eyes and mappers get: only what someone listens to is made, in messages used again."""

from __future__ import annotations

import numpy as np
from sensor_msgs.msg import Image

from depthrefl_ros.estimator import DepthFrame, StepTimer
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.preview import depth_preview
from depthrefl_ros.ros.cloud_output import CloudOutput
from depthrefl_ros.ros.convert.camera_info import camera_to_info
from depthrefl_ros.ros.convert.images import ImageBuffer, write_millimetres
from depthrefl_ros.ros.moment import Moment
from depthrefl_ros.ros.publishers import (
    DEPTH_CAMERA_INFO,
    DEPTH_CONFIDENCE,
    DEPTH_IMAGE,
    DEPTH_IMAGE_RAW,
    DEPTH_PREVIEW,
    DEPTH_RELATIVE,
    POINTS,
    Publishers,
)


class Outputs:
    """Publishes depth, its pictures and the full cloud. Used by one thread at a time.

    Args:
        publishers: that publish.
    """

    def __init__(self, publishers: Publishers):
        self._publishers = publishers
        self._camera: Camera | None = None
        self._images: dict[str, ImageBuffer] = {}
        self._cloud = CloudOutput()

    def publish(
        self,
        wanted: frozenset[str],
        frame: DepthFrame,
        moment: Moment,
        timer: StepTimer,
    ) -> None:
        """Makes and publishes the wanted messages.

        Args:
            wanted: topics.
            frame: with colours where the full cloud is to have them.
            moment: of the image.
            timer: gets the steps ``fill``, ``cloud``, ``preview`` and ``publish``.
        """
        if frame.camera is not self._camera:
            self._camera = frame.camera
            self._images = {}
        makers = {
            DEPTH_CAMERA_INFO: lambda: camera_to_info(frame.camera, moment.header),
            DEPTH_IMAGE: lambda: self._plane(DEPTH_IMAGE, frame.depth_m),
            DEPTH_IMAGE_RAW: lambda: self._millimetres(frame.depth_m),
            DEPTH_CONFIDENCE: lambda: self._plane(
                DEPTH_CONFIDENCE, frame.enlarged(frame.confidence)
            ),
            DEPTH_RELATIVE: lambda: self._plane(DEPTH_RELATIVE, frame.enlarged(frame.relative)),
            POINTS: lambda: self._cloud.make(frame, moment.parameters),
            DEPTH_PREVIEW: lambda: self._depth_preview(frame.depth_m, moment),
        }
        steps = {POINTS: "cloud", DEPTH_PREVIEW: "preview"}
        for topic, make in makers.items():
            if topic in wanted:
                with timer.step(steps.get(topic, "fill")):
                    message = make()
                self._publishers.publish(topic, message, moment.header, timer)

    def _plane(self, topic: str, plane: np.ndarray) -> Image:
        """(H, W) float32 as 32FC1."""
        buffer = self._images.get(topic)
        if buffer is None:
            buffer = self._images[topic] = ImageBuffer(*plane.shape, "32FC1", np.float32)
        np.copyto(buffer.pixels, plane)
        return buffer.message

    def _millimetres(self, depth_m: np.ndarray) -> Image:
        buffer = self._images.get(DEPTH_IMAGE_RAW)
        if buffer is None:
            buffer = ImageBuffer(*depth_m.shape, "16UC1", np.uint16)
            self._images[DEPTH_IMAGE_RAW] = buffer
        write_millimetres(depth_m, buffer.pixels)
        return buffer.message

    def _depth_preview(self, depth_m: np.ndarray, moment: Moment) -> Image:
        gates = moment.live.estimator
        picture = depth_preview(depth_m, gates.min_range_m, gates.max_range_m)
        buffer = self._images.get(DEPTH_PREVIEW)
        if buffer is None:
            height, width = picture.shape[:2]
            buffer = ImageBuffer(height, width, "bgr8", np.uint8, 3)
            self._images[DEPTH_PREVIEW] = buffer
        np.copyto(buffer.pixels, picture)
        return buffer.message
