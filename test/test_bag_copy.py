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

"""Copies of recordings hold what was there, whatever it is, and what was added."""

import io

import pytest
from mcap.reader import make_reader
from mcap.writer import Writer
from rclpy.serialization import serialize_message
from recording_files import FIRST_NS, PERIOD_NS, camera_recording, info_message
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as BagWriter
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from depthrefl_ros.tools.bag_copy import copy_of
from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.recordings import Recording

STORE = get_typestore(Stores.LATEST)
INFO = "sensor_msgs/msg/CameraInfo"
OWN = "theirs/msg/Own"
ADDED = serialize_message(info_message(7))


def copied(source, target):
    """Copy everything, with one message on a topic of its own beside every message."""
    with copy_of(source, target) as copy:
        copy.add_topic("/added", INFO)
        seen = []
        for topic, time_ns, data in copy.messages():
            seen.append((topic, time_ns, data))
            copy.write("/added", time_ns, ADDED)
        copy.complete()
    assert [path.name for path in target.parent.glob(f".{target.name}*")] == []
    return seen


def content(path):
    with Recording(path) as recording:
        return list(recording.serialised(*recording.topics))


def check(source, target, seen):
    expected = content(source)
    assert seen == expected
    found = content(target)
    assert [item for item in found if item[0] != "/added"] == expected
    added = [item for item in found if item[0] == "/added"]
    assert added == [("/added", time_ns, ADDED) for _, time_ns, _ in expected]
    with AnyReader([target]) as reader:  # others read it, too, by the definitions in it
        assert sum(1 for _ in reader.messages()) == 2 * len(expected)


def test_an_mcap_file_keeps_what_ros_knows_nothing_of(tmp_path):
    source = tmp_path / "a.mcap"
    with source.open("wb") as file:
        writer = Writer(file)
        writer.start(profile="x-robot", library="theirs")
        text = STORE.generate_msgdef(INFO, ros_version=2)[0].encode()
        infos = writer.register_channel(
            "/camera_info", "cdr", writer.register_schema(INFO, "ros2msg", text), {"qos": "text"}
        )
        schema = writer.register_schema("foxglove.Log", "protobuf", b"\x01\x02")
        logs = writer.register_channel("/log", "protobuf", schema)
        raw = writer.register_channel("/raw", "json", 0)
        for number in range(3):
            time_ns = FIRST_NS + number * PERIOD_NS
            data = serialize_message(info_message(number))
            writer.add_message(infos, time_ns, data, time_ns - 5, sequence=number)
            writer.add_message(logs, time_ns, b"protobuf", time_ns)
            writer.add_message(raw, time_ns, b"{}", time_ns)
        writer.add_attachment(1, 2, "map.pgm", "image/x-portable-graymap", b"P5")
        writer.add_metadata("robot", {"name": "Käthe"})
        writer.finish()
    copied(source, tmp_path / "b.mcap")

    def everything(path):
        with path.open("rb") as file:
            reader = make_reader(io.BytesIO(file.read()))
            messages = [
                (
                    schema and (schema.name, schema.encoding, schema.data),
                    (channel.topic, channel.message_encoding, channel.metadata),
                    (message.log_time, message.publish_time, message.sequence, message.data),
                )
                for schema, channel, message in reader.iter_messages()
                if channel.topic != "/added"
            ]
            return (
                reader.get_header(),
                messages,
                list(reader.iter_attachments()),
                list(reader.iter_metadata()),
            )

    assert everything(tmp_path / "b.mcap") == everything(source)
    with Recording(tmp_path / "b.mcap") as recording:
        assert recording.count("/added") == 9


@pytest.mark.parametrize("name", ["b.mcap", "folder"])
def test_an_mcap_file_becomes_a_file_or_a_folder(tmp_path, name):
    source = camera_recording(tmp_path / "in" / "a.mcap", 3)
    seen = copied(source, tmp_path / name)
    check(source, tmp_path / name, seen)


@pytest.mark.parametrize("name", ["b.mcap", "folder"])
@pytest.mark.parametrize("plugin", [StoragePlugin.SQLITE3, StoragePlugin.MCAP])
@pytest.mark.parametrize("mode", [None, CompressionMode.MESSAGE])
@pytest.mark.parametrize("has_metadata", [True, False])
def test_folders_of_every_kind_are_copied(tmp_path, name, plugin, mode, has_metadata):
    source = tmp_path / "in"
    store = get_typestore(Stores.LATEST)
    store.register(get_types_from_msg("int32 a", OWN))
    bag = BagWriter(source, version=8, storage_plugin=plugin)
    if mode:
        bag.set_compression(mode, CompressionFormat.ZSTD)
    with bag:
        infos = bag.add_connection("/camera_info", INFO, typestore=STORE)
        own = bag.add_connection("/own", OWN, typestore=store)
        for number in range(3):
            time_ns = FIRST_NS + number * PERIOD_NS
            bag.write(infos, time_ns, serialize_message(info_message(number)))
            bag.write(own, time_ns, b"\x00\x01\x00\x00\x05\x00\x00\x00")
    if not has_metadata:
        (source / "metadata.yaml").unlink()
    seen = copied(source, tmp_path / name)
    check(source, tmp_path / name, seen)
    if name == "folder":
        suffix = {StoragePlugin.SQLITE3: "db3", StoragePlugin.MCAP: "mcap"}[plugin]
        assert {path.name for path in (tmp_path / name).iterdir()} == {
            "metadata.yaml",
            f"folder.{suffix}",
        }


def test_nothing_is_replaced_and_nothing_half_is_left(tmp_path):
    source = camera_recording(tmp_path / "in" / "a.mcap", 3)
    (tmp_path / "there.mcap").write_text("of the user")
    with pytest.raises(ToolError, match=r"there\.mcap: exists; choose another name"):
        copy_of(source, tmp_path / "there.mcap")
    assert (tmp_path / "there.mcap").read_text() == "of the user"
    for name in ("left.mcap", "left"):
        with copy_of(source, tmp_path / name) as copy:
            next(copy.messages())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "there.mcap"]


def test_a_damaged_recording_is_named(tmp_path):
    source = camera_recording(tmp_path / "in" / "a.mcap", 3, compressed=False)
    data = bytearray(source.read_bytes())
    chunk = data.index(b"\x28\xb5\x2f\xfd")  # where zstd begins
    data[chunk + 50 : chunk + 70] = bytes(20)
    source.write_bytes(bytes(data))
    with pytest.raises(ToolError, match=r"a\.mcap: damaged recording"):
        copied(source, tmp_path / "b.mcap")
