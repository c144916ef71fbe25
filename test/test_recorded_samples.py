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

"""A recording is evaluated like any other data set."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")

from recording_files import (
    camera_recording,
    image_message,
    info_message,
    jpeg_message,
    picture,
    truth_message,
    write_recording,
)

from depthrefl_ros.ros.convert.camera_info import camera_from_info
from depthrefl_ros.tools import evaluate as tool
from depthrefl_ros.tools import train
from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.recorded_samples import RecordedSamples
from depthrefl_ros.training.datasets import image_folder

CORRIDOR = Path(__file__).parent / "data" / "corridor.mcap"


def recording(path: Path, depth_topics: tuple[str, ...], offset: int = 0) -> Path:
    """Five images, and depth of frame ``offset`` on of as many metres as its number and one."""
    topics = {
        "/camera/image_raw": [image_message(n) for n in range(5)],
        "/camera/camera_info": [info_message(n) for n in range(5)],
    }
    for topic in depth_topics:
        topics[topic] = [truth_message(n, n + 1.0) for n in range(offset, 5)]
    return write_recording(path, topics)


def test_samples_have_image_truth_and_camera_in_any_order(tmp_path):
    samples = RecordedSamples(recording(tmp_path / "a.mcap", ("/camera/depth_truth/compressed",)))
    assert samples.names == ["0", "1", "2", "3", "4"] and len(samples) == 5
    for index in (0, 1, 4, 2, 2, 0):
        sample = samples[index]
        assert sample.name == str(index)
        assert np.array_equal(sample.image, picture(index)[..., ::-1])
        assert sample.intrinsics == (60.0, 61.0, 31.5, 23.5)
        assert (sample.depth_m[0] == 0).all() and (sample.depth_m[1:] == index + 1.0).all()
    with pytest.raises(IndexError):
        samples[5]


@pytest.mark.parametrize("encoding", ["rgb8", "bgra8", "mono8"])
def test_images_of_any_encoding_are_taken(tmp_path, encoding):
    """RealSense writes rgb8."""
    convert = {"rgb8": cv2.COLOR_BGR2RGB, "bgra8": cv2.COLOR_BGR2BGRA, "mono8": cv2.COLOR_BGR2GRAY}
    pixels = cv2.cvtColor(picture(0), convert[encoding])
    message = image_message(0)
    message.encoding, message.data = encoding, pixels.tobytes()
    message.step = pixels[0].size
    topics = {
        "/camera/image_raw": [message],
        "/camera/camera_info": [info_message(0)],
        "/camera/depth_truth/compressed": [truth_message(0, 1.0)],
    }
    found = RecordedSamples(write_recording(tmp_path / "a.mcap", topics))[0].image
    expected = np.repeat(pixels[..., None], 3, 2) if encoding == "mono8" else picture(0)[..., ::-1]
    np.testing.assert_array_equal(found, expected)


def test_a_part_of_a_recording_is_read_by_itself(tmp_path):
    samples = RecordedSamples(recording(tmp_path / "a.mcap", ("/camera/depth_truth/compressed",)))
    assert samples[1].name == "1"
    late, early = samples.subset(["4", "3"]), samples.subset(["0", "2"])
    for part in (late, early, samples):
        part.preload()
        assert part.fits_memory
        found = [(sample.name, sample.depth_m.max()) for sample in part]
        assert found == [(name, int(name) + 1.0) for name in part.names]


def test_a_model_is_tuned_on_a_recording(tmp_path, capsys):
    path = recording(tmp_path / "drive.mcap", ("/camera/depth_truth/compressed",))
    run = tmp_path / "run"
    command = ["--finetune", "indoor_nano", "--data", str(path), "--steps", "1", "--batch", "2",
               "--workers", "0", "--minutes", "0", "--run", str(run)]  # fmt: skip
    assert train.main(command) == 3
    assert "drive: 4 images, 2 a step" in capsys.readouterr().out
    told = json.loads((run / "finetune" / "data.json").read_text())[0]["sets"]["drive"]
    assert told["kind"] == "recording" and len(told["sha256"]) == 64


def test_a_recording_that_does_not_fit_into_memory_is_refused_for_training(
    tmp_path, capsys, monkeypatch
):
    path = recording(tmp_path / "drive.mcap", ("/camera/depth_truth/compressed",))
    monkeypatch.setattr(image_folder, "MEMORY_LIMIT", 1000)
    command = ["--finetune", "indoor_nano", "--data", str(path), "--steps", "1", "--batch", "2",
               "--workers", "0", "--threads", "1", "--run", str(tmp_path / "run")]  # fmt: skip
    assert train.main(command) == 2
    assert "do not fit into memory" in capsys.readouterr().err


def test_images_without_depth_are_left_out_and_named(tmp_path):
    path = recording(tmp_path / "a.mcap", ("/camera/depth_truth/compressed",), offset=2)
    samples = RecordedSamples(path)
    assert samples.names == ["2", "3", "4"] and samples.without_depth == ["0", "1"]
    assert samples[0].depth_m.max() == 3.0


def test_frames_that_cannot_be_read_are_named_and_left_out(tmp_path, capsys):
    numbers = range(5)
    infos, pictures = [info_message(n) for n in numbers], [jpeg_message(n) for n in numbers]
    truths = [truth_message(n, 2.0) for n in numbers]
    infos[0].k, infos[0].p = [0.0] * 9, [0.0] * 12
    pictures[1].data = bytes(pictures[1].data)[:-200]
    truths[3].data = truths[3].data[:40]
    topics = {
        "/camera/camera_info": infos,
        "/camera/image_raw/compressed": pictures,
        "/camera/depth_truth/compressed": truths,
    }
    path, report = write_recording(tmp_path / "a.mcap", topics), tmp_path / "report.json"
    command = ["--data", str(path), "--json", str(report), "--threads", "1"]
    assert tool.main([*command, "--model", "indoor_nano"]) == 0
    assert "3 images cannot be read and are left out: 0, 1, 3" in capsys.readouterr().out
    figures = json.loads(report.read_text())
    assert (figures["images"], figures["images_unreadable"]) == (2, 3)
    for number, reason in (("0", "K of its "), ("1", "data of format"), ("3", "format '16UC1")):
        assert figures["unreadable"][number].startswith(f"{path}: frame {number}: /camera/")
        assert reason in figures["unreadable"][number]


def test_the_only_depth_topic_is_the_truth_and_several_are_asked_about(tmp_path):
    aligned, other = "/camera/aligned_depth/image_raw", "/rear/depth/image"
    one = RecordedSamples(recording(tmp_path / "one.mcap", (aligned,)))
    assert one.truth_topic == aligned and aligned in one.describe_depth()
    two = recording(tmp_path / "two.mcap", (aligned, other))
    with pytest.raises(ToolError, match=f"several: {aligned}, {other}; .*--truth-topic"):
        RecordedSamples(two)
    assert RecordedSamples(two, truth_topic=other).truth_topic == other
    with pytest.raises(ToolError, match="no image topic /nothing for the true depth"):
        RecordedSamples(two, truth_topic="/nothing")
    none = camera_recording(tmp_path / "none.mcap", 3)
    with pytest.raises(ToolError, match="none of /camera/.*--truth-topic"):
        RecordedSamples(none)


@pytest.mark.parametrize("image_name", ["image_raw", "image_rect"])
@pytest.mark.parametrize("truth_name", ["image_raw", "image_rect"])
def test_image_and_truth_are_each_rectified_once(tmp_path, image_name, truth_name):
    info = info_message(0)
    info.d = [-0.3, 0.1, 0.0, 0.0, 0.0]
    lens = camera_from_info(info, "info")
    # Row and column of each pixel, as a rectified picture has them and as the lens takes them.
    rectified = np.stack(np.meshgrid(np.arange(64.0), np.arange(48.0)), -1).astype(np.float32)
    places = cv2.undistortPoints(
        rectified.reshape(-1, 1, 2).astype(np.float64), lens.K, lens.D, P=lens.P
    )
    raw = places.reshape(48, 64, 2).astype(np.float32).clip(0, 63)
    seen = {"image_raw": raw, "image_rect": rectified}
    message = image_message(0)
    columns = 4 * seen[image_name][..., :1]
    message.data = np.repeat(np.rint(columns), 3, 2).astype(np.uint8).tobytes()
    truth = image_message(0)
    truth.encoding, truth.step = "32FC1", 4 * 64
    truth.data = (1.0 + seen[truth_name][..., 0]).astype(np.float32).tobytes()
    topics = {
        f"/camera/{image_name}": [message],
        "/camera/camera_info": [info],
        f"/depth/{truth_name}": [truth],
        "/depth/camera_info": [info],
    }
    sample = RecordedSamples(write_recording(tmp_path / "a.mcap", topics))[0]
    known = sample.depth_m > 0
    error = np.abs(sample.image[..., 0] / 4.0 - (sample.depth_m - 1.0))[known]
    assert known.mean() > 0.9 and np.quantile(error, 0.95) < 0.8


def test_a_camera_info_that_changes_is_followed(tmp_path):
    """A zoom lens with distortion: the truth fits its image at each focal length."""
    infos = [info_message(n) for n in range(4)]
    for number, info in enumerate(infos):
        info.k[0] = info.k[4] = info.p[0] = info.p[5] = 150.0 - 30 * number
        info.d = [-0.1, 0.0, 0.0, 0.0, 0.0]
    truths = [truth_message(n, 2.0) for n in range(4)]
    topics = {
        "/camera/camera_info": infos,
        "/camera/image_raw": [image_message(n) for n in range(4)],
        "/camera/depth_truth/compressed": truths,
    }
    samples = RecordedSamples(write_recording(tmp_path / "a.mcap", topics))
    for number, sample in enumerate(samples):
        assert sample.intrinsics[0] == 150.0 - 30 * number
        assert (sample.depth_m > 0).mean() > 0.95


@pytest.mark.parametrize("fault", ["not calibrated", "of another aspect"])
def test_a_wrong_camera_info_of_the_truth_is_left_out_and_told_once(tmp_path, capsys, fault):
    info = info_message(0)
    if fault == "not calibrated":
        info.k, info.p = [0.0] * 9, [0.0] * 12
    else:
        info.width = 3 * info.width
    topics = {
        "/camera/image_raw": [image_message(n) for n in range(3)],
        "/camera/camera_info": [info_message(0)],
        "/truth/depth_truth/compressed": [truth_message(n, n + 1.0) for n in range(3)],
        "/truth/camera_info": [info],
    }
    samples = RecordedSamples(write_recording(tmp_path / "a.mcap", topics))
    assert [sample.depth_m.max() for sample in samples] == [1.0, 2.0, 3.0]
    assert samples.subset(["2"])[0].depth_m.max() == 3.0
    told = capsys.readouterr().err
    assert told.count("that camera info is left out") == 1 and told.count("\n") == 1


def test_the_fingerprint_follows_the_contents(tmp_path):
    paths = [tmp_path / name / "a.mcap" for name in ("first", "again", "other")]
    for path in paths:
        path.parent.mkdir()
    recording(paths[0], ("/depth_truth",))
    shutil.copy(paths[0], paths[1])
    recording(paths[2], ("/depth_truth",), offset=1)
    first, again, other = (RecordedSamples(path).fingerprint() for path in paths)
    assert first == again != other


def test_the_shipped_recording_is_evaluated(tmp_path, capsys):
    report = tmp_path / "report.json"
    command = ["--data", str(CORRIDOR), "--json", str(report), "--threads", "1"]
    assert tool.main([*command, "--model", "indoor_nano"]) == 0
    figures = json.loads(report.read_text())
    assert figures["images"] == 64 and figures["blocks"] == 8
    assert 0.05 < figures["abs_rel"] < 0.3 and 0.8 < figures["scale_ratio"] < 1.25
    assert figures["bands"]["1-2"]["pixels"] > 1_000_000
    assert "depth_truth" in capsys.readouterr().out
    assert tool.main([*command, "--list", "list.txt"]) == 2
    assert "not for recordings" in capsys.readouterr().err
