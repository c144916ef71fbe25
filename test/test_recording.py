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

"""Rendered frames as a recording, and the one that is shipped."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from dataset_folders import rendered_frames, write_rendered_folder
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.tools.render import main as render_tool
from depthrefl_ros.training.synth.recording import (
    DEPTH_TOPIC,
    FRAME_ID,
    IMAGE_TOPIC,
    INFO_TOPIC,
    write_recording,
)

CORRIDOR = Path(__file__).parent / "data" / "corridor.mcap"


def read(path: Path) -> dict[str, list]:
    """Return the messages of a recording by topic."""
    messages: dict[str, list] = {}
    with AnyReader([path], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
        for connection, _, data in reader.messages():
            assert connection.msgdef.data, f"{connection.topic} has no message definition"
            message = reader.deserialize(data, connection.msgtype)
            messages.setdefault(connection.topic, []).append(message)
    return messages


def decoded(message) -> np.ndarray:
    return cv2.imdecode(np.asarray(message.data), cv2.IMREAD_UNCHANGED)


def stamp_s(message) -> float:
    return message.header.stamp.sec + message.header.stamp.nanosec * 1e-9


def test_a_recording_comes_back(tmp_path):
    folder, _, _, camera = write_rendered_folder(tmp_path / "data", 3)
    path = tmp_path / "drive.mcap"
    assert write_recording(path, rendered_frames(folder.root), rate_hz=20.0) == 3
    assert {item.name for item in tmp_path.iterdir()} == {"data", "drive.mcap"}
    messages = read(path)
    assert {topic: len(items) for topic, items in messages.items()} == {
        IMAGE_TOPIC: 3, INFO_TOPIC: 3, DEPTH_TOPIC: 3
    }  # fmt: skip
    stamps = [stamp_s(message) for message in messages[IMAGE_TOPIC]]
    np.testing.assert_allclose(np.diff(stamps), 0.05, atol=1e-6)
    np.testing.assert_array_equal(messages[INFO_TOPIC][2].k.reshape(3, 3), camera.K)
    jpeg, png, _ = next(rendered_frames(folder.root))
    assert messages[IMAGE_TOPIC][0].data.tobytes() == jpeg
    assert messages[DEPTH_TOPIC][0].data.tobytes() == png


def test_a_recording_that_exists_is_kept(tmp_path, capsys):
    write_rendered_folder(tmp_path / "data", 1)
    path = tmp_path / "drive.mcap"
    path.write_bytes(b"mine")
    assert render_tool(["pack", str(tmp_path / "data"), str(path)]) == 2
    assert "drive.mcap exists already" in capsys.readouterr().err
    assert path.read_bytes() == b"mine"
    assert render_tool(["pack", str(tmp_path / "data"), str(tmp_path / "new.mcap")]) == 0


def test_a_recording_needs_frames(tmp_path):
    with pytest.raises(ValueError, match="no frames"):
        write_recording(tmp_path / "empty.mcap", [])
    assert not list(tmp_path.iterdir())


def test_the_shipped_recording_is_a_ten_hertz_drive_with_plausible_truth():
    assert CORRIDOR.stat().st_size <= 15e6
    messages = read(CORRIDOR)
    assert len(messages[IMAGE_TOPIC]) >= 60
    triples = zip(messages[IMAGE_TOPIC], messages[INFO_TOPIC], messages[DEPTH_TOPIC], strict=True)
    stamps, medians = [], []
    for image, info, truth in triples:
        assert image.header == info.header == truth.header
        assert image.header.frame_id == FRAME_ID
        assert truth.format.startswith("16UC1; png compressed")
        depth = decoded(truth)
        assert decoded(image).shape == (480, 640, 3)
        assert depth.shape == (480, 640) and depth.dtype == np.uint16
        assert 200 < depth.min() and depth.max() < 13_000
        stamps.append(stamp_s(image))
        medians.append(np.median(depth))
    np.testing.assert_allclose(np.diff(stamps), 0.1, atol=1e-6)
    assert 1000 < np.median(medians) < 5000 and np.ptp(medians) > 100


def test_the_shipped_recording_has_the_camera_that_rendered_it():
    info = read(CORRIDOR)[INFO_TOPIC][0]
    expected = Camera.from_horizontal_fov(640, 480, np.radians(70))
    assert (info.width, info.height, info.distortion_model) == (640, 480, "plumb_bob")
    np.testing.assert_allclose(info.k.reshape(3, 3), expected.K, atol=1e-9)
    np.testing.assert_allclose(info.p.reshape(3, 4), expected.P, atol=1e-9)
    np.testing.assert_array_equal(info.r.reshape(3, 3), np.eye(3))
    assert info.d.tolist() == [0.0] * 5
