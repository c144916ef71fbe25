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

"""What ``record`` writes, read back by others: rosbags through the file's own schemas, OpenCV."""

import json
import signal
import time

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")

from conftest import RunningProcess
from rclpy.serialization import serialize_message
from recording_files import HEIGHT, WIDTH, camera_recording, picture
from results_publisher import FRAMES, ResultsPublisher
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import Image

from depthrefl_ros.ros.convert.clouds import CloudBuffer
from depthrefl_ros.tools.camera_info_file import Intrinsics
from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.frame_sources import open_source
from depthrefl_ros.tools.record import _channels, _parser, _tell_engine, main
from depthrefl_ros.tools.recorder import Figures, points_of
from depthrefl_ros.tools.recording_writer import RecordingWriter
from depthrefl_ros.tools.recordings import Recording, depth_from_message, header_stamp


@pytest.fixture
def recorded(tmp_path, peer):
    """Return the folder that ``record`` filled from a dozen frames, and its report."""
    results = ResultsPublisher(peer.node)
    tool = RunningProcess(
        tmp_path / "log.txt",
        "depthrefl_ros.tools.record",
        *("--output", str(tmp_path / "out"), "--namespace", "/results"),
        *("--image-topic", "/results_camera/image_raw", "--json", str(tmp_path / "report.json")),
        *("--pictures-every", "5", "--points-every", "4"),
        *("--mount", "0.5", "90", "0", "--base-frame", "base_link"),
    )
    try:
        assert peer.spin_until(results.are_heard, 20.0), tool.output()
        for number in range(FRAMES):
            results.publish(number)
            time.sleep(0.02)
        time.sleep(0.3)
        assert tool.stop(signal.SIGINT) == 0, tool.output()
    finally:
        tool.stop()
    return tmp_path / "out", json.loads((tmp_path / "report.json").read_text()), tool.output()


def test_recording_pictures_cloud_and_figures(recorded):
    folder, report, output = recorded
    assert report["frames"] == FRAMES
    assert set(report["topics"].values()) == {FRAMES}
    assert 0.0 < report["latency_ms_p50"] <= report["latency_ms_p99"] < 5000.0
    assert 10.0 < report["rate_hz"] < 50.0
    assert report["diagnostics"] == {"engine": "none", "model": "fake"}
    for file in report["files"]:
        assert file in output
    check_file(folder / "recording.mcap", report)
    check_pictures(folder)
    header, vertices = (folder / "cloud.ply").read_bytes().split(b"end_header\n")
    assert f"element vertex {(HEIGHT - 1) * WIDTH}".encode() in header
    assert np.frombuffer(vertices[:12], np.float32).tolist() == [0.5, -1.0, -2.0]  # upright
    # The folder is a rosbag2 recording by its metadata.yaml, and a camera for camera_source.
    assert open_source(str(folder), Intrinsics()).count == FRAMES


def check_file(path, report):
    """Read with the message definitions that the file carries, none of ours."""
    with AnyReader([path]) as reader:
        counts = {topic: info.msgcount for topic, info in reader.topics.items()}
        assert counts == {
            "/results/depth/image": FRAMES,
            "/results/depth/camera_info": FRAMES,
            "/results/depth/preview/compressed": FRAMES,
            "/results/points": 3,
            "/results/points/marking": FRAMES,
            "/tf_static": 1,
            "/diagnostics": FRAMES,
            "/results_camera/image_raw/compressed": FRAMES,
            "/results_camera/camera_info": FRAMES,
        }
        stamps = []
        for connection, received_ns, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            if connection.topic == "/tf_static":
                check_mount(message, connection)
                continue
            if connection.topic == "/diagnostics":
                assert message.status[0].values[1].value == "fake"
                continue
            stamp = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
            assert header_stamp(data) == stamp < received_ns
            if connection.topic == "/results/depth/image":
                stamps.append(stamp)
                depth = message.data.view(np.float32).reshape(HEIGHT, WIDTH)
                assert np.isnan(depth[0]).all() and (depth[1:] == 2.0).all()
            if connection.topic == "/results_camera/image_raw/compressed":
                assert cv2.imdecode(message.data, cv2.IMREAD_COLOR).shape == (HEIGHT, WIDTH, 3)
        assert stamps == [one["stamp_ns"] for one in report["stamps"]]


def check_mount(message, connection):
    """Check a camera half a metre up that looks straight down: its z is the base frame's -z."""
    assert connection.ext.offered_qos_profiles[0].durability.name == "TRANSIENT_LOCAL"
    (transform,) = message.transforms
    assert (transform.header.frame_id, transform.child_frame_id) == (
        "base_link",
        "camera_optical_frame",
    )
    assert transform.transform.translation.z == 0.5
    q = transform.transform.rotation
    assert 1 - 2 * (q.x**2 + q.y**2) == pytest.approx(-1.0)


def check_pictures(folder):
    names = sorted(path.name for path in folder.glob("*.png"))
    assert names == [f"preview_{number:06d}.png" for number in (0, 5, 10)]
    np.testing.assert_array_equal(cv2.imread(str(folder / names[1])), picture(5))


@pytest.mark.parametrize(
    ("mount", "told"),
    [
        (("nan", "0", "0"), "HEIGHT: 'nan' must be a finite number above 0"),
        (("0.5", "inf", "0"), "PITCH: 'inf' must be -90 to 90 degrees"),
        (("0.5", "0", "level"), "ROLL: 'level' must be -180 to 180 degrees"),
    ],
)
def test_a_mount_that_no_camera_has_is_refused(tmp_path, capsys, mount, told):
    with pytest.raises(SystemExit) as ended:
        main(["--output", str(tmp_path / "out"), "--mount", *mount])
    assert ended.value.code == 2 and told in capsys.readouterr().err


def test_existing_recording_is_kept(tmp_path):
    camera_recording(tmp_path / "recording.mcap", 1)
    tool = RunningProcess(
        tmp_path / "log.txt", "depthrefl_ros.tools.record", "--output", str(tmp_path)
    )
    assert tool.process.wait(30) == 2
    assert "recording.mcap: exists; choose another --output or give --overwrite" in tool.output()
    tool.stop()


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a/"])
def test_a_name_that_is_none_is_refused(tmp_path, capsys, name):
    assert main(["--output", str(tmp_path / "out"), "--name", name, "--wait", "0.1"]) == 2
    assert f"--name {name!r} is no file name" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "given",
    [
        ["--image-topic", "/depth/image"],
        ["--image-topic", "depth/preview"],
        ["--image-topic", "/depth/preview/compressed"],
        ["--image-topic", "/points"],
        ["--image-topic", "/diagnostics"],
        ["--namespace", "/front", "--image-topic", "/front/depth/image"],
    ],
)
def test_a_topic_of_the_node_is_no_camera(tmp_path, capsys, given):
    assert main(["--output", str(tmp_path / "out"), *given, "--wait", "0.1"]) == 2
    said = capsys.readouterr().err
    assert f"{given[-1]} is a topic of the node" in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("topic", ["/depth/colour", "/camera/camera_info"])
def test_a_topic_is_recorded_once(topic):
    channels = _channels(_parser().parse_args(["--image-topic", topic]))
    topics = [channel.topic for channel in channels]
    assert len(set(topics)) == len(topics) and topic in topics


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
@pytest.mark.parametrize("name", ["cloud.ply", "preview_000010.png", "metadata.yaml"])
def test_nothing_is_replaced_that_record_did_not_make(tmp_path, capsys, name, overwrite):
    (tmp_path / name).write_text("of the user")
    code = main(["--output", str(tmp_path), "--wait", "0.3", *overwrite])
    assert code == 2
    message = capsys.readouterr().err
    if not overwrite:
        assert f"{name}: exists; choose another --output or give --overwrite" in message
    else:
        assert f"{name}: is not of an earlier recording recording.mcap" in message
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "of the user"


def test_a_hidden_folder_of_the_users_is_not_the_writers(tmp_path):
    (tmp_path / ".a.partial").mkdir()
    (tmp_path / ".a.partial" / "precious").touch()
    writer = RecordingWriter(tmp_path / "a.mcap")
    writer.add_topic("/a", "sensor_msgs/msg/Image")
    writer.write("/a", 1, serialize_message(Image(data=bytes(100_000))))
    writer.close()
    assert (tmp_path / ".a.partial" / "precious").exists()
    assert {path.name for path in tmp_path.iterdir()} == {
        ".a.partial",
        "a.mcap",
        "metadata.yaml",
    }


def test_a_recording_ends_in_order_at_its_largest_size(tmp_path, peer):
    results = ResultsPublisher(peer.node)
    tool = RunningProcess(
        tmp_path / "log.txt",
        "depthrefl_ros.tools.record",
        *("--output", str(tmp_path / "out"), "--namespace", "/results", "--points-every", "1"),
        *("--image-topic", "/results_camera/image_raw", "--max-gigabytes", "1e-6"),
    )
    try:
        assert peer.spin_until(results.are_heard, 20.0), tool.output()
        for number in range(200):
            results.publish(number)
            time.sleep(0.05)
            if tool.process.poll() is not None:
                break
        assert tool.process.wait(10) == 0, tool.output()
    finally:
        tool.stop()
    assert "record: 1e-06 GB are written: ending" in tool.output()
    with Recording(tmp_path / "out" / "recording.mcap") as recording:
        assert 0 < recording.count("/results/depth/image") < 200


def figures(engine, received=0, processed=0, dropped=0):
    counts = {"received": received, "processed": processed, "dropped": dropped}
    return Figures(diagnostics={"engine": engine} | {key: str(n) for key, n in counts.items()})


def test_the_engine_is_open_when_the_node_says_on_what_it_runs(capsys):
    assert figures("openvino fp32 on Intel(R) Xeon(R) CPU").engine_is_open
    for doing in ("being opened", "building model_fp16.onnx (43%)", "none yet", "none"):
        assert not figures(doing).engine_is_open
        assert figures(doing).engine_is_coming is (doing != "none")
    told = _tell_engine(figures("being opened"), "")
    told = _tell_engine(figures("building the plan (43%)"), told)
    _tell_engine(figures("building the plan (43%)"), told)
    assert capsys.readouterr().out.splitlines() == [
        "record: the node is opening the engine",
        "record: the node is building the engine, 43 %",
    ]


@pytest.mark.parametrize(
    ("topic", "stored", "kind"),
    [
        ("/cam/image_raw", "/cam/image_raw/compressed", "sensor_msgs/msg/CompressedImage"),
        ("/cam/image/compressed", "/cam/image/compressed", "sensor_msgs/msg/CompressedImage"),
        ("", None, None),
    ],
)
def test_cameras_that_publish_compressed_are_stored_as_they_come(topic, stored, kind):
    channels = _channels(_parser().parse_args(["--image-topic", topic]))
    of_camera = [channel for channel in channels if not channel.is_result]
    assert len(of_camera) == (2 if topic else 0)
    if topic:
        images, infos = of_camera
        assert (images.stored_topic, images.stored_type) == (stored, kind)
        assert images.as_jpeg is (topic == "/cam/image_raw")
        assert infos.topic == "/cam/camera_info"


def test_figures_are_settled_when_every_frame_has_an_end():
    assert figures("none", 5, 3, 2).are_settled
    assert not figures("none", 5, 3, 1).are_settled


def test_no_node_says_so_and_leaves_nothing(tmp_path):
    tool = RunningProcess(
        tmp_path / "log.txt",
        "depthrefl_ros.tools.record",
        *("--output", str(tmp_path / "out"), "--namespace", "/nobody", "--wait", "0.3"),
    )
    assert tool.process.wait(30) == 2
    assert "/nobody/depth/image: no depth image within 0.3 s, 0 publishers" in tool.output()
    tool.stop()
    assert list((tmp_path / "out").iterdir()) == []


def test_a_message_that_cannot_be_encoded_is_left_out_and_counted(tmp_path):
    def broken(_):
        raise ValueError("no picture")

    writer = RecordingWriter(tmp_path / "a.mcap")
    writer.add_topic("/a", "sensor_msgs/msg/Image")
    writer.write("/a", 1, serialize_message(Image()))
    writer.write("/a", 2, serialize_message(Image()), broken)
    writer.write("/a", 3, serialize_message(Image()))
    writer.close()
    assert writer.not_encoded == 1 and str(writer.encode_error) == "no picture"
    with Recording(tmp_path / "a.mcap") as recording:
        assert recording.count("/a") == 2


def test_a_write_error_is_told_at_once_and_leaves_nothing(tmp_path):
    writer = RecordingWriter(tmp_path / "a.mcap")
    writer.add_topic("/a", "sensor_msgs/msg/Image")
    writer._writer.close()  # from here on every write fails, as on a full disk
    writer.write("/a", 1, serialize_message(Image()))
    deadline = time.monotonic() + 10
    with pytest.raises(ToolError, match=r"a\.mcap: could not be written"):
        while time.monotonic() < deadline:
            writer.check()
            time.sleep(0.01)


def test_depth_messages_of_every_kind():
    millimetres = np.array([[0, 1500, 65535]], np.uint16)
    message = Image(height=1, width=3, step=8, encoding="16UC1", is_bigendian=1)
    message.data = millimetres.astype(">u2").tobytes() + b"\xff\xff"  # a padded row
    expected = np.array([[np.nan, 1.5, 65.535]], np.float32)
    np.testing.assert_array_equal(depth_from_message(message, "/t"), expected)
    message = Image(height=1, width=2, step=6, encoding="bgr8", data=bytes(6))
    with pytest.raises(ToolError, match="/t: encoding is 'bgr8'; a depth image of 16UC1"):
        depth_from_message(message, "/t")


def test_foreign_cloud_is_refused():
    cloud = CloudBuffer(2, 3)
    cloud.points[:] = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    np.testing.assert_array_equal(points_of(cloud.message), cloud.points)
    cloud.message.fields = cloud.message.fields[:3]
    np.testing.assert_array_equal(points_of(cloud.message), cloud.points[..., :3])
    cloud.message.fields[2].offset = 20
    with pytest.raises(ToolError, match=r"\('z', 20\)\]; x, y, z"):
        points_of(cloud.message)


def test_recording_knows_its_truth(tmp_path):
    path = camera_recording(tmp_path / "a.mcap", 2, truth_m=3.25)
    with Recording(path) as recording:
        topic = recording.truth_topic()
        depths = [depth_from_message(message, topic) for _, message in recording.messages(topic)]
    assert len(depths) == 2
    assert np.isnan(depths[1][0]).all() and (depths[1][1:] == 3.25).all()
    with Recording(camera_recording(tmp_path / "c.mcap", 1)) as recording:
        assert recording.truth_topic() is None
