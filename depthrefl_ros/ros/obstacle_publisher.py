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

"""What a costmap acts on: marking and clearing clouds and the scan, or silence.

A costmap keeps the last message of a source and applies it again and again. So before a topic falls
silent, for whatever reason, it gets one message without evidence, once.
"""

from __future__ import annotations

import threading
from array import array

import numpy as np
from sensor_msgs.msg import LaserScan
from std_msgs.msg import Header

from depthrefl_ros.estimator import StepTimer
from depthrefl_ros.frames import DepthFrame
from depthrefl_ros.geometry.correction import Corrected
from depthrefl_ros.geometry.obstacles import obstacle_clouds
from depthrefl_ros.geometry.scan import scan_ranges
from depthrefl_ros.geometry.surround import Surround
from depthrefl_ros.ros.convert.clouds import cloud_message
from depthrefl_ros.ros.loaded_model import FrameSettings
from depthrefl_ros.ros.publishers import CLEARING, MARKING, SCAN, Publishers

CLOUDS = frozenset({MARKING, CLEARING})
TOPICS = CLOUDS | {SCAN}
FIELDS = ("x", "y", "z", "confidence")
_NO_POINTS = np.zeros((0, len(FIELDS)), np.float32)
# How long silence waits for a thread that publishes: DDS holds a reliable writer up by 0.1 s, twice
# for two clouds.
_LOCK_S = 0.5


class ObstaclePublisher:
    """Publishes what may be marked and cleared. Its methods may be called from several threads.

    Args:
        publishers: that publish.
    """

    def __init__(self, publishers: Publishers):
        self._publishers = publishers
        self._lock = threading.Lock()
        self._spoken: dict[str, Header] = {}  # topics whose last message had evidence
        self._scan_form: FrameSettings | None = None
        self._is_closed = False

    def publish_clouds(
        self,
        wanted: frozenset[str],
        frame: DepthFrame,
        corrected: Corrected,
        header: Header,
        settings: FrameSettings,
        timer: StepTimer,
    ) -> None:
        """Publish the clouds that are wanted; a frame that sees nothing gives empty ones.

        Args:
            wanted: topics.
            frame: the depth.
            corrected: says where the camera stands.
            header: of the image.
            settings: of the frame.
            timer: gets the steps ``obstacles`` and ``publish``.
        """
        with timer.step("obstacles"):
            made = obstacle_clouds(
                frame.network_depth_m,
                frame.ungated_m,
                frame.sigma,
                frame.network_confidence,
                frame.network_camera,
                corrected.base_from_camera,
                settings.parameters.obstacles,
                settings.estimator,
            )
            messages = {
                topic: cloud_message(points, FIELDS)
                for topic, points in ((MARKING, made.marking), (CLEARING, made.clearing))
                if topic in wanted
            }
        with self._lock:
            for topic, message in messages.items():
                self._speak(topic, message, header, timer)

    def publish_scan(
        self,
        frame: DepthFrame,
        corrected: Corrected,
        surround: Surround,
        header: Header,
        settings: FrameSettings,
        timer: StepTimer,
    ) -> None:
        """Publish the scan of a frame in the scan's own frame; arguments as of the clouds."""
        with timer.step("scan"):
            ranges = scan_ranges(
                frame.network_depth_m,
                frame.ungated_m,
                frame.sigma,
                frame.network_camera,
                corrected.base_from_camera,
                surround.scan_from_camera,
                settings.parameters.scan,
                settings.estimator,
            )
        header = Header(stamp=header.stamp, frame_id=surround.scan_frame)
        with self._lock:
            self._scan_form = settings
            self._speak(SCAN, _scan_message(ranges, settings), header, timer)

    def fall_silent(self, topics: frozenset[str] = TOPICS) -> frozenset[str]:
        """Send one message without evidence on each topic that spoke, then nothing more.

        Its stamp and frame are those of the topic's last message: that time TF knows for sure.

        Returns:
            The topics on which it was sent.
        """
        if not self._lock.acquire(timeout=_LOCK_S):
            return frozenset()
        try:
            return self._hush(topics)
        finally:
            self._lock.release()

    def close(self) -> frozenset[str]:
        """Fall silent for good: what a thread that was left behind still makes is not published."""
        self._is_closed = True  # first, or a thread could speak between the two
        return self.fall_silent()

    def _speak(self, topic: str, message: object, header: Header, timer: StepTimer) -> None:
        if self._is_closed:
            return
        self._publishers.publish(topic, message, header, timer)
        self._spoken[topic] = header

    def _hush(self, topics: frozenset[str]) -> frozenset[str]:
        told = []
        for topic in sorted(topics & self._spoken.keys()):
            header = self._spoken.pop(topic)
            if topic == SCAN:
                beams = self._scan_form.parameters.scan.beams
                nothing = _scan_message(np.full(beams, np.nan, np.float32), self._scan_form)
            else:
                nothing = cloud_message(_NO_POINTS, FIELDS)
            self._publishers.publish(topic, nothing, header, StepTimer())
            told.append(topic)
        return frozenset(told)


def _scan_message(ranges: np.ndarray, settings: FrameSettings) -> LaserScan:
    scan = settings.parameters.scan
    return LaserScan(
        angle_min=scan.angle_min,
        angle_max=scan.angle_max,
        angle_increment=scan.angle_increment,
        range_min=0.0,
        range_max=settings.estimator.max_range_m,
        ranges=array("f", ranges.tobytes()),
    )
