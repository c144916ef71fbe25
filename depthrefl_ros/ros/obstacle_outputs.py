"""What a costmap acts on: marking and clearing clouds and the scan, or silence."""

from __future__ import annotations

from array import array
from functools import partial

import numpy as np
from sensor_msgs.msg import LaserScan
from std_msgs.msg import Header

from depthrefl_ros.estimator import DepthFrame, StepTimer
from depthrefl_ros.geometry.obstacles import obstacle_clouds
from depthrefl_ros.geometry.scale import ScaleHealth
from depthrefl_ros.geometry.scan import scan_ranges
from depthrefl_ros.ros.anchors import Anchors
from depthrefl_ros.ros.complaints import Complaints
from depthrefl_ros.ros.convert.clouds import cloud_message
from depthrefl_ros.ros.diagnostics import Diagnostics
from depthrefl_ros.ros.moment import Moment
from depthrefl_ros.ros.mount import Mount
from depthrefl_ros.ros.publishers import CLEARING, MARKING, SCAN, Publishers
from depthrefl_ros.ros.transforms import TransformError

CLOUDS = frozenset({MARKING, CLEARING})
TOPICS = CLOUDS | {SCAN}
FIELDS = ("x", "y", "z", "confidence")
_NO_POINTS = np.zeros((0, len(FIELDS)), np.float32)


class ObstacleOutputs:
    """Publishes what may be marked and cleared, and falls silent when that cannot be known.

    A costmap keeps the last message of a source and applies it again and again. So before a topic
    falls silent it gets one message without evidence, once. Used by one thread at a time.

    Args:
        publishers: that publish.
        mount: says where the camera stands.
        anchors: say what is up, where only the floor tells how the camera stands.
        diagnostics: told how the camera stands.
        complaints: told why there is silence.
    """

    def __init__(
        self,
        publishers: Publishers,
        mount: Mount,
        anchors: Anchors,
        diagnostics: Diagnostics,
        complaints: Complaints,
    ):
        self._publishers, self._mount, self._anchors = publishers, mount, anchors
        self._diagnostics, self._complaints = diagnostics, complaints
        self._silent: set[str] = set()

    def publish(
        self,
        wanted: frozenset[str],
        frame: DepthFrame,
        health: ScaleHealth,
        moment: Moment,
        timer: StepTimer,
    ) -> None:
        """Makes and publishes the wanted messages; a frame that sees nothing gives empty clouds.

        Args:
            wanted: topics.
            frame: the depth.
            health: of its scale.
            moment: of the image.
            timer: gets the steps ``obstacles``, ``scan`` and ``publish``.
        """
        wanted &= TOPICS
        if not health.ok and wanted:
            self._complaints.warn("scale", f"no marking, clearing and scan: {health.reason}")
            self.fall_silent(moment)
            return
        try:
            if wanted & CLOUDS:
                self._publish_clouds(wanted, frame, moment, timer)
        except TransformError as error:
            self._complaints.warn("camera_pose", f"no marking and clearing: {error}")
            self.fall_silent(moment, CLOUDS)
        try:
            if SCAN in wanted:
                self._publish_scan(frame, moment, timer)
        except TransformError as error:
            self._complaints.warn("scan_frame", f"no scan: {error}")
            self.fall_silent(moment, frozenset({SCAN}))

    def fall_silent(self, moment: Moment, topics: frozenset[str] = TOPICS) -> None:
        """One message without evidence on each topic that someone listens to, then nothing more."""
        for topic in sorted((topics & self._publishers.wanted()) - self._silent):
            if topic == SCAN:
                beams = moment.live.scan.beams
                self._send_scan(np.full(beams, np.nan, np.float32), moment, StepTimer())
            else:
                empty = cloud_message(_NO_POINTS, FIELDS)
                self._publishers.publish(topic, empty, moment.header, StepTimer())
        self._silent |= topics

    def _publish_clouds(
        self, wanted: frozenset[str], frame: DepthFrame, moment: Moment, timer: StepTimer
    ) -> None:
        with timer.step("obstacles"):
            up = partial(self._anchors.up, moment)
            pose = self._mount.camera_pose_or_floor(frame, up, moment)
            made = obstacle_clouds(
                frame.network_depth_m,
                frame.ungated_m,
                frame.sigma,
                frame.confidence,
                frame.network_camera,
                pose.base_from_camera,
                moment.live.obstacles,
                moment.live.estimator,
            )
            messages = {
                topic: cloud_message(points, FIELDS)
                for topic, points in ((MARKING, made.marking), (CLEARING, made.clearing))
                if topic in wanted
            }
        height_m = pose.base_from_camera.translation[2]
        self._diagnostics.state_fact("camera_pose", f"{height_m:.2f} m up by {pose.source}")
        for topic, message in messages.items():
            self._publishers.publish(topic, message, moment.header, timer)
        self._silent -= wanted & CLOUDS

    def _publish_scan(self, frame: DepthFrame, moment: Moment, timer: StepTimer) -> None:
        with timer.step("scan"):
            base_from_camera = self._mount.camera_pose(moment).base_from_camera
            scan_from_camera = self._mount.from_camera(_scan_frame(moment), moment)
            ranges = scan_ranges(
                frame.network_depth_m,
                frame.ungated_m,
                frame.sigma,
                frame.network_camera,
                base_from_camera,
                scan_from_camera,
                moment.live.scan,
                moment.live.estimator,
            )
        self._send_scan(ranges, moment, timer)
        self._silent.discard(SCAN)

    def _send_scan(self, ranges: np.ndarray, moment: Moment, timer: StepTimer) -> None:
        settings = moment.live.scan
        message = LaserScan(
            angle_min=settings.angle_min,
            angle_max=settings.angle_max,
            angle_increment=settings.angle_increment,
            range_min=0.0,
            range_max=moment.live.estimator.max_range_m,
            ranges=array("f", ranges.tobytes()),
        )
        header = Header(stamp=moment.header.stamp, frame_id=_scan_frame(moment))
        self._publishers.publish(SCAN, message, header, timer)


def _scan_frame(moment: Moment) -> str:
    return moment.parameters.scan_frame or moment.parameters.base_frame
