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

"""Recordings written anew, message by message, with room for more topics.

An MCAP file keeps its channels, schemas, attachments and metadata whatever they hold. Everything
else goes through rosbags.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from mcap.records import Attachment, Channel, DataEnd, Header, Message, Metadata, Schema
from mcap.stream_reader import StreamReader
from mcap.writer import Writer as McapWriter
from rosbags.interfaces import Connection
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from depthrefl_ros.tools.bag_files import named_in_metadata, storage_files
from depthrefl_ros.tools.bag_storage import uncompressed, unpacked
from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.recording_writer import METADATA_VERSION

MCAP = ".mcap"
_STORE = get_typestore(Stores.LATEST)
_NO_DIGEST = "RIHS01_" + "0" * 64  # of a type that neither the recording nor rosbags describes


class BagCopy(ABC):
    """A copy of a recording that takes its name when it is complete.

    Args:
        source: the recording.
        target: of the copy; a name that ends in ``.mcap`` makes one file, any other a folder.

    Raises:
        ToolError: the target exists or cannot be written.
    """

    def __init__(self, source: Path, target: Path):
        if target.exists():
            raise ToolError(f"{target}: exists; choose another name, nothing is replaced")
        self._source, self._target = source, target
        self._stack = ExitStack()
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        except OSError as error:
            raise ToolError(f"{target}: cannot be written: {error.strerror}") from error
        self._stack.callback(shutil.rmtree, self._partial, ignore_errors=True)

    def __enter__(self) -> BagCopy:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def messages(self) -> Iterator[tuple[str, int, bytes]]:
        """Copy message after message; yield topic, time of recording (nanoseconds) and CDR.

        Raises:
            ToolError: damaged bytes.
        """
        copied = self._copy_messages()
        while True:
            try:
                item = next(copied)
            except StopIteration:
                return
            except OSError:
                raise
            except Exception as error:  # damaged bytes raise more than the readers' own errors
                raise ToolError(f"{self._source}: damaged recording ({error})") from error
            yield item

    @abstractmethod
    def _copy_messages(self) -> Iterator[tuple[str, int, bytes]]:
        """Yield as ``messages`` does, with whatever errors."""

    @abstractmethod
    def add_topic(self, topic: str, message_type: str) -> None:
        """Add a topic of a type such as ``sensor_msgs/msg/Image``."""

    @abstractmethod
    def write(self, topic: str, time_ns: int, serialised: bytes) -> None:
        """Write a message (CDR) on an added topic, behind what was copied so far."""

    @abstractmethod
    def complete(self) -> None:
        """Write the index and give the copy its name; without it nothing is left behind."""


def copy_of(source: Path, target: Path) -> BagCopy:
    """Return the copy that suits both: MCAP file to MCAP file exactly, else by rosbags."""
    try:
        if source.suffix == MCAP and target.suffix == MCAP:
            return McapCopy(source, target)
        return RosbagCopy(source, target)
    except (ToolError, OSError):
        raise
    except Exception as error:  # of odd files rosbags raises more than its own errors
        raise ToolError(f"{source}: cannot be copied ({error})") from error


class McapCopy(BagCopy):
    """An MCAP file of an MCAP file."""

    def __init__(self, source: Path, target: Path):
        super().__init__(source, target)
        self._file = self._partial / target.name
        self._output = self._stack.enter_context(self._file.open("wb"))
        self._writer = McapWriter(self._output)
        self._added: dict[str, tuple[str, int | None]] = {}

    def _copy_messages(self) -> Iterator[tuple[str, int, bytes]]:
        """Copy record after record, in the order of the file; yield the messages."""
        schemas: dict[int, int] = {0: 0}
        channels: dict[int, tuple[int, str]] = {}
        with self._source.open("rb") as file:
            for record in StreamReader(file, validate_crcs=True).records:
                if isinstance(record, DataEnd):
                    return
                if isinstance(record, Header):
                    self._writer.start(record.profile, record.library)
                elif isinstance(record, Schema) and record.id not in schemas:
                    schemas[record.id] = self._writer.register_schema(
                        record.name, record.encoding, record.data
                    )
                elif isinstance(record, Channel) and record.id not in channels:
                    number = self._writer.register_channel(
                        record.topic,
                        record.message_encoding,
                        schemas[record.schema_id],
                        record.metadata,
                    )
                    channels[record.id] = number, record.topic
                elif isinstance(record, Message):
                    number, topic = channels[record.channel_id]
                    self._writer.add_message(
                        number, record.log_time, record.data, record.publish_time, record.sequence
                    )
                    yield topic, record.log_time, record.data
                elif isinstance(record, Attachment):
                    self._writer.add_attachment(
                        record.create_time,
                        record.log_time,
                        record.name,
                        record.media_type,
                        record.data,
                    )
                elif isinstance(record, Metadata):
                    self._writer.add_metadata(record.name, record.metadata)

    def add_topic(self, topic: str, message_type: str) -> None:
        """Add a topic; it is written with its first message, behind the file's header."""
        self._added[topic] = message_type, None

    def write(self, topic: str, time_ns: int, serialised: bytes) -> None:
        """Write a message on an added topic."""
        kind, channel = self._added[topic]
        if channel is None:
            text, _ = _STORE.generate_msgdef(kind, ros_version=2)
            schema = self._writer.register_schema(kind, "ros2msg", text.encode())
            channel = self._writer.register_channel(topic, "cdr", schema)
            self._added[topic] = kind, channel
        self._writer.add_message(channel, time_ns, serialised, time_ns)

    def complete(self) -> None:
        """Write the index and give the file its name."""
        self._writer.finish()
        self._output.close()
        os.replace(self._file, self._target)


class RosbagCopy(BagCopy):
    """A rosbag2 folder, or an MCAP file, of anything that rosbags reads."""

    def __init__(self, source: Path, target: Path):
        super().__init__(source, target)
        try:
            self._begin(source, target)
        except BaseException:
            self._stack.close()
            raise

    def _begin(self, source: Path, target: Path) -> None:
        self._name = target.stem if target.suffix == MCAP else target.name
        files = storage_files(source)
        is_mcap = target.suffix == MCAP or files[0].suffix == MCAP
        plugin = StoragePlugin.MCAP if is_mcap else StoragePlugin.SQLITE3
        writer = Writer(self._partial / self._name, version=METADATA_VERSION, storage_plugin=plugin)
        if is_mcap:
            writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        paths = [source] if source.is_dir() and named_in_metadata(source) else files
        self._readers = []
        for path in paths:
            if path.is_file():
                path = unpacked(path, self._stack)
            self._readers.append(self._stack.enter_context(Reader(path)))
        self._writer = writer
        writer.open()
        self._stack.callback(self._abort)
        self._is_open = True
        self._connections: dict[tuple[str, str], Connection] = {}
        for reader in self._readers:
            for connection in reader.connections:
                if (connection.topic, connection.msgtype) not in self._connections:
                    self._copy_connection(connection)

    def _copy_messages(self) -> Iterator[tuple[str, int, bytes]]:
        """Copy message after message by time; yield them."""
        for reader in self._readers:
            for connection, time_ns, stored in reader.messages():
                data = uncompressed(bytes(stored))
                target = self._connections[connection.topic, connection.msgtype]
                self._writer.write(target, time_ns, data)
                yield connection.topic, time_ns, data

    def add_topic(self, topic: str, message_type: str) -> None:
        """Add a topic."""
        self._connections[topic, ""] = self._writer.add_connection(
            topic, message_type, typestore=_STORE
        )

    def write(self, topic: str, time_ns: int, serialised: bytes) -> None:
        """Write a message on an added topic."""
        self._writer.write(self._connections[topic, ""], time_ns, serialised)

    def complete(self) -> None:
        """Write index and metadata and give the copy its name."""
        self._is_open = False
        self._writer.close()
        folder = self._partial / self._name
        is_file = self._target.suffix == MCAP
        os.replace(folder / f"{self._name}{MCAP}" if is_file else folder, self._target)

    def _abort(self) -> None:
        if self._is_open:
            self._writer.abort()

    def _copy_connection(self, connection: Connection) -> None:
        kind, text, digest = connection.msgtype, connection.msgdef.data, connection.digest
        if not text and kind in _STORE.types:
            text, _ = _STORE.generate_msgdef(kind, ros_version=2)
        digest = digest or _digest(kind, text)
        self._connections[connection.topic, kind] = self._writer.add_connection(
            connection.topic,
            kind,
            msgdef=text,
            rihs01=digest,
            serialization_format=connection.ext.serialization_format,
            offered_qos_profiles=connection.ext.offered_qos_profiles,
        )


def _digest(kind: str, text: str) -> str:
    """Return the hash of a type (REP-2011) by its definition; zeros where that cannot be read."""
    store = get_typestore(Stores.LATEST)
    try:
        store.register(get_types_from_msg(text, kind))
        return store.hash_rihs01(kind)
    except Exception:  # definitions of others may hold anything
        return _NO_DIGEST
