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

"""The files of a recording, each as serialised messages by topic.

MCAP and SQLite, compressed or not, with or without the metadata of rosbag2.
"""

from __future__ import annotations

import shutil
import tempfile
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from pathlib import Path

import zstandard
from mcap.reader import SeekingReader
from mcap.records import Channel, Message, Schema
from mcap.stream_reader import StreamReader
from rosbags.rosbag2 import Reader

from depthrefl_ros.tools.bag_files import COMPRESSED
from depthrefl_ros.tools.command_line import ToolError

_ZSTD_START = b"\x28\xb5\x2f\xfd"  # a serialised message begins with 0x00
_SQLITE_START = b"SQLite format 3\0"
_MCAP_START = b"\x89MCAP0\r\n"
_ROS1_START = b"#ROSBAG V"


class BagStorage(ABC):
    """One file with serialised ROS 2 messages.

    Attributes:
        topics: message type by topic, of what is stored as CDR.
        foreign: what else there is, one description a topic, such as
            ``/image (protobuf foxglove.CompressedImage)``.
    """

    topics: dict[str, str]
    foreign: list[str]

    @abstractmethod
    def counts(self) -> dict[str, int]:
        """Return the number of messages by topic."""

    @abstractmethod
    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, int, bytes]]:
        """Yield topic, time of recording (nanoseconds) and CDR, in the order of recording."""

    @abstractmethod
    def close(self) -> None:
        """Close the file."""


class McapStorage(BagStorage):
    """An MCAP file, with any profile, with or without summary, chunks and message indexes."""

    def __init__(self, path: Path):
        self._file = path.open("rb")
        self._counts: dict[str, int] | None = None
        try:
            self._reader = SeekingReader(self._file, validate_crcs=True)
            summary = self._reader.get_summary()
            is_indexed = bool(summary and summary.chunk_indexes and summary.channels)
            self._is_indexed = is_indexed
            if is_indexed:
                schemas, channels = summary.schemas, summary.channels
                if summary.statistics:
                    by_id = summary.statistics.channel_message_counts
                    self._counts = dict(
                        sum(
                            (
                                Counter({item.topic: by_id.get(item.id, 0)})
                                for item in channels.values()
                            ),
                            Counter(),
                        )
                    )
            else:
                schemas, channels = self._scan()
        except BaseException:
            self._file.close()
            raise
        self.topics, self.foreign = {}, []
        for channel in channels.values():
            schema = schemas.get(channel.schema_id)
            name = schema.name if schema else ""
            if channel.message_encoding == "cdr" and name:
                self.topics[channel.topic] = _ros2_name(name)
            else:
                self.foreign.append(f"{channel.topic} ({channel.message_encoding} {name})")

    def counts(self) -> dict[str, int]:
        """Return the number of messages by topic; reads the file where no statistics stand."""
        if self._counts is None:
            self._scan()
        return self._counts

    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, int, bytes]]:
        """Yield topic, log time and CDR: by log time where there is an index, else as written."""
        wanted = [topic for topic in topics if topic in self.topics]
        if not wanted:
            return
        if self._is_indexed:
            for _, channel, message in self._reader.iter_messages(topics=wanted):
                yield channel.topic, message.log_time, message.data
            return
        channels: dict[int, Channel] = {}
        for record in self._records():
            if isinstance(record, Channel):
                channels[record.id] = record
            elif isinstance(record, Message):
                channel = channels[record.channel_id]
                if channel.topic in wanted and channel.message_encoding == "cdr":
                    yield channel.topic, record.log_time, record.data

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _records(self) -> Iterator:
        self._file.seek(0)
        return iter(StreamReader(self._file, validate_crcs=True).records)

    def _scan(self) -> tuple[dict[int, Schema], dict[int, Channel]]:
        """Read the whole file for what a summary would say."""
        schemas: dict[int, Schema] = {}
        channels: dict[int, Channel] = {}
        counts: Counter[str] = Counter()
        for record in self._records():
            if isinstance(record, Schema):
                schemas[record.id] = record
            elif isinstance(record, Channel):
                channels[record.id] = record
            elif isinstance(record, Message):
                counts[channels[record.channel_id].topic] += 1
        self._counts = dict(counts)
        return schemas, channels


class SqliteStorage(BagStorage):
    """A .db3 file."""

    def __init__(self, path: Path):
        self._reader = Reader(path)
        self._reader.open()
        self.topics, self.foreign = {}, []
        for item in self._reader.connections:
            if item.ext.serialization_format == "cdr":
                self.topics[item.topic] = item.msgtype
            else:
                self.foreign.append(
                    f"{item.topic} ({item.ext.serialization_format} {item.msgtype})"
                )

    def counts(self) -> dict[str, int]:
        """Return the number of messages by topic."""
        counts: Counter[str] = Counter()
        for item in self._reader.connections:
            counts[item.topic] += item.msgcount
        return dict(counts)

    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, int, bytes]]:
        """Yield topic, time of recording and CDR, by that time."""
        wanted = [item for item in self._reader.connections if item.topic in topics]
        if wanted:
            for connection, time_ns, data in self._reader.messages(connections=wanted):
                yield connection.topic, time_ns, data

    def close(self) -> None:
        """Close the file."""
        self._reader.close()


def open_storage(path: Path, stack: ExitStack) -> BagStorage:
    """Open one file of a recording.

    Args:
        path: .mcap or .db3, or one of them compressed by zstd as a whole; that is unpacked into
            the temporary folder first.
        stack: closes the file and removes what was unpacked.

    Raises:
        ToolError: another format, told with what would be right.
        Exception: whatever the readers make of damaged bytes.
    """
    with path.open("rb") as file:
        start = file.read(16)
    if start.startswith(_ROS1_START) or path.suffix.lower() == ".bag":
        raise ToolError(
            f"{path}: is a ROS 1 bag; convert it with 'rosbags-convert --src {path.name} "
            f"--dst {path.stem}'"
        )
    named = path
    if start.startswith(_ZSTD_START):
        path = unpacked(path, stack)
        with path.open("rb") as file:
            start = file.read(16)
    if start.startswith(_MCAP_START):
        storage: BagStorage = McapStorage(path)
    elif start.startswith(_SQLITE_START):
        if path.suffix.lower() != ".db3":
            raise ToolError(f"{named}: is a SQLite file; its name must end in .db3")
        storage = SqliteStorage(path if path.suffix == ".db3" else _in_lower_case(path, stack))
    else:
        raise ToolError(f"{named}: not a readable recording: it begins neither as MCAP nor SQLite")
    stack.callback(storage.close)
    return storage


def _in_lower_case(path: Path, stack: ExitStack) -> Path:
    """Return a link to a .DB3 file that ends as rosbags wants it."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="depthrefl_")))
    link = folder / f"{path.stem}.db3"
    link.symlink_to(path.resolve())
    return link


def unpacked(path: Path, stack: ExitStack) -> Path:
    """Return a file that zstd compressed as a whole, unpacked; any other file as it is.

    Args:
        path: of the file.
        stack: removes what was unpacked into the temporary folder.

    Raises:
        ToolError: damaged, or there is no room for it.
    """
    with path.open("rb") as file:
        if not file.read(4).startswith(_ZSTD_START):
            return path
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="depthrefl_")))
    target = folder / (path.stem if path.suffix.lower() in COMPRESSED else path.name)
    try:
        with path.open("rb") as packed, target.open("wb") as file:
            shutil.copyfileobj(zstandard.ZstdDecompressor().stream_reader(packed), file)
    except zstandard.ZstdError as error:
        raise ToolError(f"{path}: damaged zstd file ({error})") from error
    except OSError as error:
        raise ToolError(
            f"{path}: cannot be unpacked into {folder}: {error.strerror}; TMPDIR=FOLDER names "
            f"another folder, 'zstd -d {path.name}' unpacks it beside itself"
        ) from error
    return target


def uncompressed(data: bytes) -> bytes:
    """Return a stored message without the zstd that rosbag2 puts around single messages."""
    if data[:4] == _ZSTD_START:
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return data


def _ros2_name(name: str) -> str:
    """Return ``sensor_msgs/msg/Image``, also of writers that leave out ``msg`` or write ``::``."""
    parts = name.replace("::", "/").split("/")
    if len(parts) == 2:
        parts.insert(1, "msg")
    elif len(parts) == 4:  # IDL scopes: sensor_msgs::msg::dds_::Image_
        parts = [parts[0], parts[1], parts[3].rstrip("_")]
    return "/".join(parts)
