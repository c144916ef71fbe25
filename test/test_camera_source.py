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

"""Sources, their errors, and what arrives over DDS."""

import json
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")

from conftest import RunningProcess
from recording_files import (
    FIRST_NS,
    HEIGHT,
    PERIOD_NS,
    WIDTH,
    camera_recording,
    image_folder,
    image_message,
    info_message,
    jpeg_message,
    picture,
    truth_message,
    write_recording,
)
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from depthrefl_ros.ros.convert.images import MessageError
from depthrefl_ros.tools.camera_info_file import Intrinsics
from depthrefl_ros.tools.camera_source import ReadAhead, Schedule, main
from depthrefl_ros.tools.command_line import StopRequest, ToolError
from depthrefl_ros.tools.frame_sources import SourceFrame, open_source
from depthrefl_ros.tools.recordings import stamp_ns
from depthrefl_ros.tools.ros_node import ros_namespace

UNKNOWN = Intrinsics()
CALIBRATION = f"""image_width: {WIDTH}
image_height: {HEIGHT}
distortion_model: plumb_bob
camera_matrix: {{rows: 3, cols: 3, data: [70, 0, 31, 0, 71, 23, 0, 0, 1]}}
distortion_coefficients: {{rows: 1, cols: 5, data: [-0.1, 0.01, 0, 0, 0]}}
rectification_matrix: {{rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}}
projection_matrix: {{rows: 3, cols: 4, data: [69, 0, 31, 0, 0, 70, 23, 0, 0, 0, 1, 0]}}
"""


def write_video(path, count):
    fourcc = cv2.VideoWriter_fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(path), fourcc, 20.0, (WIDTH, HEIGHT))
    for number in range(count):
        writer.write(picture(number))
    writer.release()
    return path


@pytest.mark.parametrize("compressed", [False, True])
def test_recording_gives_images_stamps_and_its_own_camera(tmp_path, compressed):
    source = open_source(str(camera_recording(tmp_path / "a.mcap", 5, compressed)), UNKNOWN)
    frames = list(source.frames())
    assert source.count == len(frames) == 5
    assert source.rate_hz == pytest.approx(1e9 / PERIOD_NS, rel=1e-3)
    assert [frame.stamp_ns for frame in frames] == [FIRST_NS + n * PERIOD_NS for n in range(5)]
    assert frames[2].encoding == "bgr8"
    assert frames[2].frame_id == "camera_optical_frame"
    assert frames[2].camera_info.k[0] == 60.0
    pixels = frames[2].data.reshape(HEIGHT, WIDTH, 3).astype(int)
    assert np.abs(pixels - picture(2)).max() <= (8 if compressed else 0)


def test_rosbag2_folder_is_a_recording_too(tmp_path):
    camera_recording(tmp_path / "bag" / "bag.mcap", 3)
    assert open_source(str(tmp_path / "bag"), UNKNOWN).count == 3


def test_image_before_the_first_camera_info_has_it_already(tmp_path):
    topics = {"/a/image": [image_message(0), image_message(1)], "/a/camera_info": [info_message(1)]}
    source = open_source(str(write_recording(tmp_path / "a.mcap", topics)), UNKNOWN)
    assert [frame.camera_info.k[0] for frame in source.frames()] == [60.0, 60.0]


def test_depth_is_not_taken_for_the_camera(tmp_path):
    topics = {"/a/depth_truth/compressed": [truth_message(0, 1.0)], "/z/left": [jpeg_message(0)]}
    path = write_recording(tmp_path / "a.mcap", topics)
    frame = next(open_source(str(path), Intrinsics(horizontal_fov_deg=90.0)).frames())
    assert frame.encoding == "bgr8"
    assert frame.camera_info.k[0] == pytest.approx(WIDTH / 2)  # tan(45 degrees) is 1


def test_folder_is_sorted_and_every_image_has_its_own_intrinsics(tmp_path):
    frames = list(open_source(str(image_folder(tmp_path / "f", 12)), UNKNOWN).frames())
    assert [frame.name for frame in frames] == [f"{n:04d}" for n in range(12)]
    assert [frame.camera_info.k[0] for frame in frames] == [50.0 + n for n in range(12)]
    np.testing.assert_array_equal(frames[11].data.reshape(HEIGHT, WIDTH, 3), picture(11))


def test_video_with_a_calibration_file(tmp_path):
    (tmp_path / "camera.yaml").write_text(CALIBRATION)
    video = write_video(tmp_path / "v.avi", 6)
    source = open_source(str(video), Intrinsics(tmp_path / "camera.yaml"))
    frames = list(source.frames())
    assert (source.rate_hz, len(frames)) == (20.0, 6)
    assert frames[0].camera_info.d[0] == -0.1
    assert frames[0].camera_info.p[0] == 69.0
    assert frames[3].stamp_ns == 150_000_000


def test_a_video_keeps_the_times_of_its_frames(tmp_path, monkeypatch):
    """OpenCV writes none of varying rate; what it reads is told to be of one."""
    video = write_video(tmp_path / "v.avi", 6)
    told = iter([40.0, 73.0, 106.0, 306.0, 306.0, 0.0])  # those of the last two are lost

    class Capture:
        def __init__(self, path):
            self._capture = real(path)

        def __getattr__(self, name):
            return getattr(self._capture, name)

        def get(self, field):
            return next(told) if field == cv2.CAP_PROP_POS_MSEC else self._capture.get(field)

    source, real = open_source(str(video), Intrinsics(horizontal_fov_deg=60.0)), cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    stamps = [frame.stamp_ns // 1_000_000 for frame in source.frames()]
    assert stamps == [0, 33, 66, 266, 466, 666]


def test_one_photo_is_a_source(tmp_path):
    cv2.imwrite(str(tmp_path / "größe 1.PNG"), picture(1))
    source = open_source(str(tmp_path / "größe 1.PNG"), Intrinsics(horizontal_fov_deg=60.0))
    assert (source.count, source.is_still) == (1, True)
    assert [frame.name for frame in source.frames()] == ["größe 1"]


def test_a_folder_with_a_number_for_a_name_is_no_webcam(tmp_path, monkeypatch):
    image_folder(tmp_path / "2024", 1)
    monkeypatch.chdir(tmp_path)
    assert open_source("2024", UNKNOWN).count == 1
    for webcam in ("7", "/dev/video7"):
        assert open_source(webcam, UNKNOWN).name == "webcam 7"


def test_an_unreadable_image_of_a_folder_is_named_and_left_out(tmp_path, capsys):
    folder = image_folder(tmp_path / "f", 3)
    content = (folder / "rgb" / "0001.png").read_bytes()
    (folder / "rgb" / "0001.png").write_bytes(content[: len(content) // 2])
    source = open_source(str(folder), UNKNOWN)
    assert [frame.name for frame in source.frames()] == ["0000", "0002"]
    assert "0001.png: the file is truncated" in capsys.readouterr().err
    for number in (0, 2):
        (folder / "rgb" / f"{number:04d}.png").write_bytes(b"")
    with pytest.raises(ToolError, match="none of 3 images can be used: .*0000.png: empty"):
        list(source.frames())


@pytest.mark.parametrize(
    ("name", "right"),
    [("front-cam", "front_cam"), ("/front cam", "/front_cam"), ("/a/1st/", "/a/_1st"), ("ä", "_")],
)
def test_what_is_no_ros_name_is_told_with_one_that_is(tmp_path, capsys, name, right):
    path = str(camera_recording(tmp_path / "a.mcap", 1))
    with pytest.raises(SystemExit) as ended:
        main([path, "--namespace", name])
    assert ended.value.code == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"{name!r} is no ROS name" in message
    assert message.endswith(f"such as {right!r}")


@pytest.mark.parametrize(
    ("name", "taken"),
    [("front/", "front"), ("/front/", "/front"), ("//a/b", "/a/b"), ("/", "/"), ("", "/")],
)
def test_a_slash_at_a_namespaces_end_does_no_harm(name, taken):
    assert ros_namespace(name) == taken


def test_recording_without_images_names_file_and_topics(tmp_path, capsys):
    path = write_recording(tmp_path / "blind.mcap", {"/a/camera_info": [info_message(0)]})
    assert main([str(path)]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    for part in ("blind.mcap", "no images", "/a/camera_info (sensor_msgs/msg/CameraInfo)"):
        assert part in message


def cut_short(tmp_path):
    path = camera_recording(tmp_path / "cut.mcap", 3)
    path.write_bytes(path.read_bytes()[:-200])
    return [str(path)]


def wrong_size(tmp_path):
    (tmp_path / "camera.yaml").write_text(CALIBRATION.replace(str(WIDTH), "128"))
    video = write_video(tmp_path / "v.avi", 2)
    return [str(video), "--camera-info", str(tmp_path / "camera.yaml")]


def no_video(tmp_path):
    (tmp_path / "v.mp4").write_text("no video at all")
    return [str(tmp_path / "v.mp4"), "--hfov", "60"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (lambda folder: [str(folder / "nothing.mcap")], "nothing.mcap: no such file"),
        (cut_short, "cut.mcap: not a readable recording"),
        (no_video, "v.mp4: not a readable video"),
        (lambda folder: [str(write_video(folder / "v.avi", 2))], "no camera info"),
        (wrong_size, "camera.yaml: is of an image of 128x48, but"),
        (lambda folder: [str(folder)], "no images"),
        (
            lambda folder: [str(image_folder(folder / "f", 2, with_intrinsics=False))],
            "no camera info",
        ),
        (
            lambda folder: [
                str(camera_recording(folder / "a.mcap", 2)),
                *("--image-topic", "/no/such"),
            ],
            "no image topic /no/such; topics: /camera/camera_info",
        ),
        (lambda folder: ["97", "--hfov", "60"], "webcam 97: cannot be opened"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(tmp_path, capsys, arguments, expected):
    assert main(arguments(tmp_path)) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("depthrefl camera_source: error: ")
    assert expected in message


def test_read_ahead_hands_on_frames_and_errors():
    def frames():
        yield from range(20)
        raise ToolError("broken")

    seen = []
    with pytest.raises(ToolError, match="broken"):
        for frame in ReadAhead(frames(), depth=2):
            seen.append(frame)
    assert seen == list(range(20))


def test_schedule_does_not_add_up_delays():
    elapsed = []
    for _ in range(3):
        schedule, stop = Schedule(10.0, 50.0), StopRequest()
        for _ in range(21):
            assert not schedule.wait(stop)
            time.sleep(0.01)  # the work on a frame
        elapsed.append(schedule.elapsed_s)
    # 20 periods of 20 ms; with the work on top of every period it would be at least 0.6 s. A busy
    # machine may be late once, hence the best of three.
    assert 0.399 < min(elapsed) < 0.6
    stop.request()
    assert schedule.wait(stop)


def test_published_frames_are_restamped_and_accounted_for(tmp_path, peer):
    path = camera_recording(tmp_path / "a.mcap", 10, compressed=False)
    images = peer.collect(Image, "/front/image_raw", 20)
    compressed = peer.collect(CompressedImage, "/front/image_raw/compressed", 20)
    infos = peer.collect(CameraInfo, "/front/camera_info", 20)
    before = peer.node.get_clock().now().nanoseconds
    source = RunningProcess(
        tmp_path / "log.txt",
        "depthrefl_ros.tools.camera_source",
        *(str(path), "--namespace", "front", "--rate", "50", "--compressed"),
        *("--wait-for-subscriber", "20", "--subscribers", "2"),
        *("--json", str(tmp_path / "report.json")),
    )
    try:
        everything = (images, compressed, infos)
        assert peer.spin_until(lambda: sum(map(len, everything)) == 30, 30.0), source.output()
        assert source.process.wait(10) == 0
    finally:
        source.stop()
    for number, message in enumerate(images):
        assert bytes(message.data) == picture(number).tobytes()
    stamps = [stamp_ns(message) for message in images]
    assert stamps == [stamp_ns(message) for message in infos]
    assert stamps == [stamp_ns(message) for message in compressed]
    assert before < stamps[0] < stamps[-1] < before + 30_000_000_000
    assert infos[0].k[0] == 60.0
    pixels = cv2.imdecode(np.frombuffer(compressed[3].data, np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(pixels.astype(int) - picture(3)).max() <= 8
    report = json.loads((tmp_path / "report.json").read_text())
    assert [frame["stamp_ns"] for frame in report["stamps"]] == stamps
    assert [frame["source_stamp_ns"] for frame in report["stamps"]] == [
        FIRST_NS + n * PERIOD_NS for n in range(10)
    ]
    assert 40.0 < report["rate_hz"] <= 50.5


def test_preloaded_frames_loop_with_the_source_stamps(tmp_path, peer):
    path = camera_recording(tmp_path / "a.mcap", 4)
    images = peer.collect(Image, "/camera/image_raw", 20)
    source = RunningProcess(
        tmp_path / "log.txt",
        "depthrefl_ros.tools.camera_source",
        *(str(path), "--preload", "3", "--loop", "--frames", "7", "--rate", "100"),
        *("--keep-stamps", "--wait-for-subscriber", "20"),
    )
    try:
        assert peer.spin_until(lambda: len(images) == 7, 30.0), source.output()
    finally:
        source.stop()
    numbers = [(stamp_ns(message) - FIRST_NS) // PERIOD_NS for message in images]
    assert numbers == [0, 1, 2, 0, 1, 2, 0]


def test_nobody_listens(tmp_path):
    path = camera_recording(tmp_path / "a.mcap", 2)
    source = RunningProcess(
        tmp_path / "log.txt",
        "depthrefl_ros.tools.camera_source",
        *(str(path), "--namespace", "unheard", "--wait-for-subscriber", "0.2"),
    )
    try:
        assert source.process.wait(20) == 2
    finally:
        source.stop()
    assert "/unheard/image_raw: 0 of 1 subscribers came within 0.2 s" in source.output()


def test_a_frames_pixels_come_without_the_padding_of_their_rows():
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    rows = np.full((2, 12), 255, np.uint8)
    rows[:, :9] = pixels.reshape(2, 9)
    frame = SourceFrame(rows.ravel(), 2, 3, 12, "bgr8", False, CameraInfo(), "camera", 0, "0000")
    np.testing.assert_array_equal(frame.rgb("/image"), pixels[..., ::-1])
    np.testing.assert_array_equal(replace(frame, encoding="rgb8").rgb("/image"), pixels)
    with pytest.raises(MessageError, match="/image: encoding is '32FC1'"):
        replace(frame, encoding="32FC1").rgb("/image")
