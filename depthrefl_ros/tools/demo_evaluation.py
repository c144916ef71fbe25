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

"""The recorded run of a demo, held against the truth: depth, marks, and frames worth showing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.rectification import reprojected
from depthrefl_ros.ros.convert.camera_info import camera_from_info
from depthrefl_ros.ros.convert.clouds import cloud_to_points
from depthrefl_ros.ros.convert.images import compressed_image_to_array
from depthrefl_ros.tools.occupancy import all_points
from depthrefl_ros.tools.overview import OverviewRow
from depthrefl_ros.tools.recordings import Recording, depth_from_message, stamp_ns
from depthrefl_ros.tools.top_down import NavigationView
from depthrefl_ros.tools.truth import Truth
from depthrefl_ros.training.metrics import depth_metrics

DEPTH, DEPTH_INFO = "/depth/image", "/depth/camera_info"
MARKING, CLEARING = "/points/marking", "/points/clearing"
IMAGE = "/camera/image_raw/compressed"
INFO = "/camera/camera_info"
OVERVIEW_ROWS = 4


@dataclass(frozen=True)
class Evaluation:
    """The results against the truth.

    Attributes:
        frames: metrics by stamp in nanoseconds, for frames that have truth.
        note: why there is nothing to compare, or empty.
    """

    frames: dict[int, dict[str, float]]
    note: str = ""


def evaluate(
    recording_path: Path, published: list[dict[str, Any]], truth: Truth | None
) -> Evaluation:
    """Compare every recorded depth image with the truth of its frame.

    Args:
        recording_path: what ``record`` wrote.
        published: ``stamps`` of ``camera_source --json``: which frame went out with which stamp.
        truth: of the source.
    """
    if truth is None:
        return Evaluation({}, "the source has no true depth")
    if is_distorted(recording_path):
        return Evaluation({}, "the truth is of the raw image, the depth of the rectified one")
    by_stamp = {frame["stamp_ns"]: frame for frame in published}
    frames = {}
    with Recording(recording_path) as recording:
        for topic, message in recording.messages(DEPTH):
            stamp = stamp_ns(message)
            true_depth = truth.depth_m(by_stamp[stamp]) if stamp in by_stamp else None
            if true_depth is not None:
                depth = depth_from_message(message, topic)
                true_depth = as_seen_in(true_depth, depth.shape, recording)
                frames[stamp] = depth_metrics(depth, true_depth)
    return Evaluation(frames, "" if frames else "no depth image has the stamp of a true one")


def as_seen_in(truth_m: np.ndarray, shape: tuple[int, int], recording: Recording) -> np.ndarray:
    """Return the truth as the camera of the depth images sees it; as it is where they are alike.

    Args:
        truth_m: (H, W) float32 metres, of the camera's image.
        shape: (height, width) of the depth images.
        recording: has the camera info of both.
    """
    if truth_m.shape == shape:
        return truth_m
    camera = camera_from_info(recording.first(INFO), INFO)
    depth_camera = camera_from_info(recording.first(DEPTH_INFO), DEPTH_INFO)
    height, width = truth_m.shape
    return reprojected(truth_m, camera.for_image(width, height), depth_camera)


def is_distorted(recording_path: Path) -> bool:
    """Tell whether the camera's raw image differs from its rectified one."""
    with Recording(recording_path) as recording:
        info = recording.first(INFO)
        return info is not None and camera_from_info(info, INFO).is_distorted


def judge_marks(
    recording_path: Path, published: list[dict[str, Any]], truth: Truth | None, mount: Pose | None
) -> dict[str, Any]:
    """Count the cells that are marked for Nav2, and those that are wrong.

    Args:
        recording_path: what ``record`` wrote.
        published: as of ``evaluate``.
        truth: of the source; None where it has none.
        mount: of the camera; None where nothing was made for Nav2.

    Returns:
        ``marks_per_frame`` and ``marks_wrong``, the share; None where unknown.
    """
    by_stamp = {frame["stamp_ns"]: frame for frame in published}
    frames = marks = judged = wrong = 0
    if mount is not None:
        with Recording(recording_path) as recording:
            for topic, message in recording.messages(MARKING):
                frame = by_stamp.pop(stamp_ns(message), None)  # the first cloud of a stamp
                if frame is None:
                    continue
                truth_m = truth.depth_m(frame) if truth else None
                view = _navigation(recording, {topic: message}, mount, truth_m)
                number, number_wrong = view.counts()
                frames, marks = frames + 1, marks + number
                if truth_m is not None:
                    judged, wrong = judged + number, wrong + number_wrong
    return {
        "marks_per_frame": marks / frames if frames else None,
        "marks_wrong": wrong / judged if judged else None,
    }


def overview_rows(
    recording_path: Path,
    published: list[dict[str, Any]],
    truth: Truth | None,
    evaluation: Evaluation,
    mount: Pose | None,
    count: int = OVERVIEW_ROWS,
) -> list[OverviewRow]:
    """Return ``count`` frames spread over the run, with what the camera saw and what Nav2 got."""
    by_stamp = {frame["stamp_ns"]: frame for frame in published}
    with Recording(recording_path) as recording:
        stamps = [stamp_ns(message) for _, message in recording.messages(DEPTH)]
        pictures = {stamp_ns(message) for _, message in recording.messages(IMAGE)}
        stamps = [stamp for stamp in stamps if stamp in pictures and stamp in by_stamp]
        # Neither the first nor the last, where a drive often stands still.
        places = (np.arange(count) + 0.5) * len(stamps) / count
        chosen = sorted({stamps[int(place)] for place in places}) if stamps else []
        found = _messages_at(recording, set(chosen), (DEPTH, IMAGE, MARKING, CLEARING))
        rows = []
        for stamp in chosen:
            messages, frame = found[stamp], by_stamp[stamp]
            metrics = evaluation.frames.get(stamp)
            depth_m = depth_from_message(messages[DEPTH], DEPTH)
            truth_m = truth.depth_m(frame) if metrics and truth else None
            navigation = None
            if mount is not None and MARKING in messages and CLEARING in messages:
                navigation = _navigation(recording, messages, mount, truth_m)
            caption = f"frame {frame['name']}"
            if metrics:
                caption += f"   {100 * metrics['delta1']:.0f} % within 25 %"
            rows.append(
                OverviewRow(
                    camera_bgr=compressed_image_to_array(messages[IMAGE], IMAGE)[0],
                    depth_m=depth_m,
                    truth_m=truth_m
                    if truth_m is None
                    else as_seen_in(truth_m, depth_m.shape, recording),
                    caption=caption,
                    navigation=navigation,
                )
            )
    return rows


def _messages_at(
    recording: Recording, stamps: set[int], topics: tuple[str, ...]
) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {stamp: {} for stamp in stamps}
    for topic, message in recording.messages(*topics):
        if (stamp := stamp_ns(message)) in found:
            # The empty cloud that tells of a silent camera has the stamp of the last image.
            found[stamp].setdefault(topic, message)
    return found


def _navigation(
    recording: Recording, messages: dict[str, Any], mount: Pose, truth_m: np.ndarray | None
) -> NavigationView:
    marking, clearing = (
        mount.apply(cloud_to_points(messages[topic], topic))
        if topic in messages
        else np.zeros((0, 3))
        for topic in (MARKING, CLEARING)
    )
    truth = None
    if truth_m is not None:
        height, width = truth_m.shape
        camera = camera_from_info(recording.first(INFO), INFO).for_image(width, height)
        truth = all_points(truth_m, camera, mount)
    return NavigationView(marking, clearing, mount.translation[:2], truth)
