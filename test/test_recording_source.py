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

"""Which camera of a recording is taken, with whose CameraInfo, and at which times."""

from array import array

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from rclpy.serialization import serialize_message
from recording_files import (
    FIRST_NS,
    HEIGHT,
    PERIOD_NS,
    WIDTH,
    image_message,
    info_message,
    jpeg_message,
    truth_message,
    write_recording,
)

from depthrefl_ros.tools.camera_info_file import Intrinsics
from depthrefl_ros.tools.camera_source import Schedule
from depthrefl_ros.tools.command_line import StopRequest, ToolError
from depthrefl_ros.tools.frame_sources import open_source
from depthrefl_ros.tools.recording_writer import RecordingWriter
from depthrefl_ros.tools.recordings import Recording

UNKNOWN = Intrinsics()


def info(frame_id="camera_optical_frame", width=WIDTH, height=HEIGHT):
    message = info_message(0)
    message.header.frame_id, message.width, message.height = frame_id, width, height
    return message


def infos_of(path, topics):
    with Recording(write_recording(path, topics)) as recording:
        return recording.camera_info_topic(recording.image_topic())


@pytest.mark.parametrize(
    ("infos", "taken"),
    [
        ({"/usb/camera_info": info("other", 9, 9)}, "/usb/camera_info"),  # beside it: its own
        ({"/d435/depth/camera_info": info("d435")}, None),  # another camera's
        ({"/d435/depth/camera_info": info(width=640)}, None),  # another size
        ({"/republished/camera_info": info()}, "/republished/camera_info"),  # frame and size
        ({"/usb/calibration": info("")}, "/usb/calibration"),  # namespace and size
        ({"/d435/calibration": info("")}, None),
        ({"/usb/calibration": info("another")}, None),  # another frame in the same namespace
        ({"/a/info": info(), "/b/info": info()}, None),  # which of the two?
        ({"/a/info": info(), "/b/info": info("b")}, "/a/info"),
    ],
)
@pytest.mark.parametrize("picture", [image_message, jpeg_message])
def test_camera_info_is_of_the_same_camera(tmp_path, infos, taken, picture):
    suffix = "/compressed" if picture is jpeg_message else ""
    topics = {f"/usb/image_raw{suffix}": [picture(0)]}
    topics |= {topic: [message] for topic, message in infos.items()}
    assert infos_of(tmp_path / "a.mcap", topics) == taken


def test_without_a_camera_info_of_its_own_the_user_is_asked(tmp_path):
    topics = {"/usb/image_raw": [image_message(0)], "/d435/depth/camera_info": [info("d435")]}
    path = write_recording(tmp_path / "a.mcap", topics)
    with pytest.raises(ToolError, match="no camera info, and metric depth needs it"):
        next(open_source(str(path), UNKNOWN).frames())
    given = Intrinsics(horizontal_fov_deg=90.0)
    camera = next(open_source(str(path), given).frames()).camera_info
    assert camera.k[0] == pytest.approx(WIDTH / 2)


def test_camera_info_from_elsewhere_and_other_cameras_are_told(tmp_path):
    topics = {"/usb/image_raw": [image_message(0)], "/there/camera_info": [info()]}
    topics["/usb2/image_raw"] = [image_message(0)]
    source = open_source(str(write_recording(tmp_path / "a.mcap", topics)), UNKNOWN)
    assert source.notes == [
        "images of /usb/image_raw; also there: /usb2/image_raw (--image-topic)",
        "no /usb/camera_info: camera info of /there/camera_info, of the same frame and size",
    ]


def encoded_as(encoding, number=0):
    message = image_message(number)
    message.encoding = encoding
    return message


@pytest.mark.parametrize(
    ("better", "others"),
    [
        (
            "/z/color/image_raw",
            ["/a/thermal/image_raw", "/a/infra1/image_rect_raw", "/a/lwir/image"],
        ),
        ("/z/image_raw", ["/a/flir_boson/image_raw", "/a/ir/image_raw", "/a/thermal_camera/image"]),
        ("/z/rgb/image_raw", ["/a/image_raw"]),
        ("/a/thermal/image_raw", []),  # better than none
        ("/firefly/image_raw", ["/g/ir/image_raw"]),  # "ir" within a word is none
    ],
)
def test_colour_comes_before_thermal(tmp_path, better, others):
    topics = {topic: [image_message(0)] for topic in [*others, better]}
    for topic in list(topics):
        topics[topic.rsplit("/", 1)[0] + "/camera_info"] = [info_message(0)]
    path = write_recording(tmp_path / "a.mcap", topics)
    with Recording(path) as recording:
        assert recording.image_topic() == better


@pytest.mark.parametrize("chosen", ["/cam/image", "cam/image", "/cam/image/compressed"])
def test_a_chosen_topic_may_lack_its_slash_or_its_transport(tmp_path, chosen):
    path = write_recording(tmp_path / "a.mcap", {"/cam/image/compressed": [jpeg_message(0)]})
    with Recording(path) as recording:
        assert recording.image_topic(chosen) == "/cam/image/compressed"


def test_depth_and_16_bit_pictures_are_known_by_their_encoding(tmp_path):
    topics = {
        "/a/aligned/image": [encoded_as("16UC1")],
        "/b/lidar_range/image": [encoded_as("32FC1")],
        "/c/lepton_raw": [encoded_as("mono16")],
        "/d/image/compressed": [truth_message(0, 1.0)],
        "/e/image": [image_message(0)],
    }
    with Recording(write_recording(tmp_path / "a.mcap", topics)) as recording:
        assert recording.image_topics() == ["/e/image", "/c/lepton_raw"]


def test_rectified_images_are_not_rectified_again(tmp_path):
    of_lens = info_message(0)
    of_lens.d = [-0.3, 0.1, 0.0, 0.0, 0.0]
    of_lens.p[0] = 55.0
    for topic, focal, is_distorted in (("image_rect", 55.0, False), ("image_unrect", 60.0, True)):
        topics = {f"/cam/{topic}": [image_message(0)], "/cam/camera_info": [of_lens]}
        path = write_recording(tmp_path / topic / "a.mcap", topics)
        frame = next(open_source(str(path), UNKNOWN).frames())
        assert frame.camera_info.k[0] == focal
        assert any(frame.camera_info.d) is is_distorted


def times_of(path, recorded_ns, stamps_ns):
    writer = RecordingWriter(path)
    writer.add_topic("/cam/image_raw", "sensor_msgs/msg/Image")
    writer.add_topic("/other/camera_info", "sensor_msgs/msg/CameraInfo")
    for second in range(30):  # something else goes on for half a minute
        writer.write("/other/camera_info", FIRST_NS + second * 10**9, serialize_message(info("x")))
    for time_ns, stamp in zip(recorded_ns, stamps_ns, strict=True):
        message = image_message(0)
        message.header.stamp = Time(sec=stamp // 10**9, nanosec=stamp % 10**9)
        writer.write("/cam/image_raw", time_ns, serialize_message(message))
    writer.close()
    source = open_source(str(path), Intrinsics(horizontal_fov_deg=60.0))
    return source, [frame.time_ns for frame in source.frames()]


def test_frames_keep_their_recorded_times(tmp_path):
    gaps = [33_333_333] * 6 + [500_000_000] + [33_333_333] * 6
    times = [FIRST_NS + 20 * 10**9 + sum(gaps[:n]) for n in range(len(gaps) + 1)]
    source, due = times_of(tmp_path / "a.mcap", times, [FIRST_NS] * len(times))
    assert due == times
    assert source.rate_hz == pytest.approx(30.0, rel=1e-3)


def test_stamps_pace_where_a_converter_gave_all_messages_one_time(tmp_path):
    stamps = [FIRST_NS + n * PERIOD_NS for n in range(5)]
    _, due = times_of(tmp_path / "a.mcap", [FIRST_NS] * 5, stamps)
    assert due == stamps


def test_the_schedule_keeps_gaps_and_goes_on_after_a_loop():
    schedule, stop = Schedule(source_hz=20.0), StopRequest()
    for time_ns in (0, 10_000_000, 110_000_000, 0, 10_000_000):
        assert not schedule.wait(stop, time_ns)
    # 10 and 100 ms as recorded, one period to the first frame again, 10 ms.
    assert 0.169 < schedule.elapsed_s < 0.3


def test_a_picture_that_is_cut_short_is_named_and_left_out(tmp_path, capsys):
    pictures = [jpeg_message(number) for number in range(3)]
    pictures[1].data = bytes(pictures[1].data)[:-200]
    path = write_recording(tmp_path / "a.mcap", {"/cam/image_raw/compressed": pictures})
    source = open_source(str(path), Intrinsics(horizontal_fov_deg=60.0))
    assert [frame.name for frame in source.frames()] == ["0", "2"]
    assert len(source.skipped) == 1
    assert "a.mcap: frame 1: /cam/image_raw/compressed" in capsys.readouterr().err


def test_a_recording_of_which_no_picture_can_be_read_is_an_error_with_the_reason(tmp_path):
    pictures = [jpeg_message(number) for number in range(2)]
    for message in pictures:
        message.data = bytes(message.data)[:-200]
    path = write_recording(tmp_path / "a.mcap", {"/cam/image_raw/compressed": pictures})
    source = open_source(str(path), Intrinsics(horizontal_fov_deg=60.0))
    with pytest.raises(ToolError, match=r"a\.mcap: none of 2 images can be read: frame 0: /cam"):
        list(source.frames())


def test_what_a_tool_leaves_out_counts_as_read(tmp_path):
    topics = {"/cam/image_raw": [image_message(n) for n in range(2)]}
    path = write_recording(tmp_path / "a.mcap", topics)
    source = open_source(str(path), Intrinsics(horizontal_fov_deg=60.0))
    for frame in source.frames():
        source.skip(frame.name)
    assert source.skipped == ["0", "1"]


def test_all_pictures_of_a_recording_have_the_brightness_of_one_camera(tmp_path):
    """A 12-bit camera that looks at a bright wall, then into the dark."""
    messages = []
    for number, value in enumerate((4000, 800)):
        message = encoded_as("mono16", number)
        message.step = 2 * WIDTH
        message.data = array("B", np.full((HEIGHT, WIDTH), value, "<u2").tobytes())
        messages.append(message)
    topics = {"/cam/image_raw": messages, "/cam/camera_info": [info_message(0)]}
    path = write_recording(tmp_path / "a.mcap", topics)
    source = open_source(str(path), UNKNOWN)
    shown = [frame.rgb("/cam/image_raw")[0, 0, 0] for frame in source.frames()]
    assert shown == [4000 >> 4, 800 >> 4]
