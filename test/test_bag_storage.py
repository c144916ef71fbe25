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

"""Files of recordings: every way of writing them is read, or told in one line."""

import functools

import pytest
import zstandard
from mcap.writer import CompressionType, IndexType, Writer
from rclpy.serialization import serialize_message
from recording_files import FIRST_NS, PERIOD_NS, image_message, info_message
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as BagWriter
from rosbags.typesys import Stores, get_typestore

from depthrefl_ros.tools.bag_files import is_recording
from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.recordings import Recording

STORE = get_typestore(Stores.LATEST)
IMAGES, INFOS = "/camera/image_raw", "/camera/camera_info"
KINDS = {IMAGES: "sensor_msgs/msg/Image", INFOS: "sensor_msgs/msg/CameraInfo"}


@functools.cache  # what pads serialised fields differs from call to call
def messages():
    return list(_serialised())


def _serialised():
    for number in range(3):
        time_ns = FIRST_NS + number * PERIOD_NS
        yield INFOS, time_ns, serialize_message(info_message(number))
        yield IMAGES, time_ns, serialize_message(image_message(number))


def write_mcap(path, profile="ros2", encoding="cdr", schema="ros2msg", names=None, **options):
    names = names or KINDS
    with path.open("wb") as file:
        writer = Writer(file, **options)
        writer.start(profile=profile, library="test")
        channels = {}
        for topic, name in names.items():
            text = STORE.generate_msgdef(KINDS[topic], ros_version=2)[0].encode()
            number = writer.register_schema(name, schema, text)
            channels[topic] = writer.register_channel(topic, encoding, number)
        for topic, time_ns, data in messages():
            writer.add_message(channels[topic], time_ns, data, time_ns)
        writer.finish()
    return path


def write_bag(path, plugin=StoragePlugin.SQLITE3, mode=None):
    bag = BagWriter(path, version=8, storage_plugin=plugin)
    if mode:
        bag.set_compression(mode, CompressionFormat.ZSTD)
    with bag:
        topics = {t: bag.add_connection(t, kind, typestore=STORE) for t, kind in KINDS.items()}
        for topic, time_ns, data in messages():
            bag.write(topics[topic], time_ns, data)
    return path


def check(path):
    """Everything that was written is read: types, numbers, order, bytes."""
    with Recording(path) as recording:
        assert recording.topics == KINDS
        assert [recording.count(topic) for topic in (IMAGES, INFOS, "/no")] == [3, 3, 0]
        assert list(recording.serialised(IMAGES, INFOS)) == messages()
        assert [message.header.frame_id for _, message in recording.messages(IMAGES)] == [
            "camera_optical_frame"
        ] * 3


@pytest.mark.parametrize(
    "options",
    [
        {"profile": ""},
        {"profile": "x"},
        {"use_chunking": False},
        {"index_types": IndexType.NONE},
        {"index_types": IndexType.CHUNK},
        {"index_types": IndexType.MESSAGE},
        {"use_statistics": False},
        {"repeat_channels": False},
        {"repeat_channels": False, "repeat_schemas": False, "use_statistics": False},
        {
            "index_types": IndexType.NONE,
            "repeat_channels": False,
            "repeat_schemas": False,
            "use_statistics": False,
            "use_summary_offsets": False,
        },
        {"compression": CompressionType.LZ4},
        {"compression": CompressionType.NONE},
        {"chunk_size": 4000},
        {"schema": "ros2idl"},
        {"schema": ""},
        {"names": {IMAGES: "sensor_msgs/Image", INFOS: "sensor_msgs::msg::dds_::CameraInfo_"}},
    ],
)
def test_every_way_of_writing_an_mcap_file_is_read(tmp_path, options):
    path = write_mcap(tmp_path / "a.mcap", **options)
    check(path)


@pytest.mark.parametrize("plugin", [StoragePlugin.SQLITE3, StoragePlugin.MCAP])
@pytest.mark.parametrize("mode", [None, CompressionMode.FILE, CompressionMode.MESSAGE])
@pytest.mark.parametrize("metadata", ["as written", "gone", "damaged"])
def test_folders_are_read_with_and_without_metadata(tmp_path, plugin, mode, metadata):
    if plugin is StoragePlugin.MCAP and mode is CompressionMode.FILE:
        mode = CompressionMode.STORAGE
    path = write_bag(tmp_path / "bag", plugin, mode)
    if metadata == "gone":
        (path / "metadata.yaml").unlink()
    elif metadata == "damaged":
        (path / "metadata.yaml").write_text("rosbag2_bagfile_information: {version: [")
    assert is_recording(path)
    check(path)


def test_the_endings_of_names_count_in_any_case(tmp_path):
    check(write_mcap(tmp_path / "a.mcap").rename(tmp_path / "A.MCAP"))
    (database,) = write_bag(tmp_path / "bag").glob("*.db3")
    check(database.rename(tmp_path / "B.DB3"))
    (packed,) = write_bag(tmp_path / "packed", mode=CompressionMode.FILE).glob("*.db3.zstd")
    check(packed.rename(tmp_path / "C.DB3.ZSTD"))


def test_compressed_files_are_read_by_themselves(tmp_path):
    packed = zstandard.compress(write_mcap(tmp_path / "a.mcap").read_bytes())
    for name in ("m.mcap.zstd", "m.mcap.zst"):
        (tmp_path / name).write_bytes(packed)
        check(tmp_path / name)
    check(next(write_bag(tmp_path / "bag", mode=CompressionMode.FILE).glob("*.db3.zstd")))
    (tmp_path / "cut.mcap.zstd").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(ToolError, match=r"cut\.mcap\.zstd"):
        check(tmp_path / "cut.mcap.zstd")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"profile": "ros1", "encoding": "ros1", "schema": "ros1msg"},
            r"must be cdr .* it has /camera/camera_info \(ros1 sensor_msgs/msg/CameraInfo\)",
        ),
        (
            {"profile": "", "encoding": "protobuf", "schema": "protobuf"},
            r"it has .*/camera/image_raw \(protobuf sensor_msgs/msg/Image\)",
        ),
    ],
)
def test_messages_that_are_not_of_ros_2_are_named(tmp_path, options, told):
    with Recording(write_mcap(tmp_path / "a.mcap", **options)) as recording:
        with pytest.raises(ToolError, match=told) as error:
            recording.image_topic()
    assert "recover" not in str(error.value)


def test_a_bag_of_ros_1_is_told_with_the_command_that_converts_it(tmp_path):
    for name in ("a.bag", "b.db3"):
        (tmp_path / name).write_bytes(b"#ROSBAG V2.0\n" + bytes(200))
        with pytest.raises(ToolError, match=rf"{name}: is a ROS 1 bag; convert it with 'rosbags"):
            Recording(tmp_path / name)


def test_a_damaged_database_is_told_with_what_can_help(tmp_path):
    file = next(write_bag(tmp_path / "bag").glob("*.db3"))
    file.write_bytes(file.read_bytes()[:5000])
    (tmp_path / "bag" / "metadata.yaml").unlink()
    with pytest.raises(ToolError, match=r"\.db3: .*ros2 bag reindex"):
        check(tmp_path / "bag")
