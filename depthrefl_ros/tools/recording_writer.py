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

"""Writes one MCAP file from serialised messages, in a thread of its own."""

from __future__ import annotations

import os
import queue
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from depthrefl_ros.tools.command_line import ToolError

# The newest that readers from Humble on understand; 9 writes QoS as a mapping.
METADATA_VERSION = 8
WAITING_MESSAGES = 64

_EVER = QosTime(9223372036, 854775807)  # rmw's infinite duration
_LATCHED = Qos(
    QosHistory.KEEP_LAST,
    1,
    QosReliability.RELIABLE,
    QosDurability.TRANSIENT_LOCAL,
    _EVER,
    _EVER,
    QosLiveliness.AUTOMATIC,
    _EVER,
    False,
)

Encoder = Callable[[bytes], bytes]


class RecordingWriter:
    """An MCAP file with zstd chunks, message definitions, index and rosbag2's metadata.

    The file takes its name when it is complete: until ``close`` it grows in a hidden folder
    beside it. ``metadata.yaml`` beside the file makes its folder a rosbag2 recording.

    Args:
        path: of the .mcap file; one that exists is replaced on ``close``.

    Attributes:
        not_encoded: messages that were left out, since they could not be encoded.
        encode_error: why the last of them could not.

    Raises:
        ToolError: the folder cannot be written to.
    """

    def __init__(self, path: Path):
        self.path = path
        self._store = get_typestore(Stores.LATEST)
        self._connections: dict[str, Connection] = {}
        self._lock = threading.Lock()  # topics are added while the thread writes
        self._jobs: queue.Queue = queue.Queue(WAITING_MESSAGES)
        self._error: Exception | None = None
        self.not_encoded = 0
        self.encode_error: Exception | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._partial = Path(tempfile.mkdtemp(prefix=f".{path.stem}.", dir=path.parent))
            self._writer = Writer(
                self._partial / path.stem,
                version=METADATA_VERSION,
                storage_plugin=StoragePlugin.MCAP,
            )
            self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
            self._writer.open()
        except OSError as error:
            raise ToolError(f"{path}: cannot be written: {error.strerror}") from error
        self._thread = threading.Thread(target=self._write_all, name="mcap-writer", daemon=True)
        self._thread.start()

    @property
    def size_bytes(self) -> int:
        """What the file takes on the disk so far."""
        try:
            return (self._partial / self.path.stem / f"{self.path.stem}.mcap").stat().st_size
        except OSError:
            return 0

    def add_topic(self, topic: str, message_type: str, is_latched: bool = False) -> None:
        """Add a topic.

        Args:
            topic: its name.
            message_type: such as ``sensor_msgs/msg/Image``.
            is_latched: players offer it transient local, for those who come later.
        """
        with self._lock:
            self._connections[topic] = self._writer.add_connection(
                topic,
                message_type,
                typestore=self._store,
                offered_qos_profiles=[_LATCHED] if is_latched else (),
            )

    def write(
        self, topic: str, time_ns: int, serialised: bytes, encode: Encoder | None = None
    ) -> None:
        """Queue a message; waits only where the disk falls far behind.

        Args:
            topic: one that was added.
            time_ns: when it was received.
            serialised: CDR, as it came.
            encode: makes the CDR that is stored out of it, in the writer's thread.
        """
        self._jobs.put((topic, time_ns, serialised, encode))

    def check(self) -> None:
        """Raise ToolError as soon as nothing can be written any more, a full disk for one."""
        if self._error is not None:
            raise ToolError(f"{self.path}: could not be written: {self._error}") from self._error

    def discard(self) -> None:
        """Leave nothing behind; does nothing after ``close``."""
        if self._thread.is_alive():
            self._jobs.put(None)
            self._thread.join()
            self._writer.abort()
        shutil.rmtree(self._partial, ignore_errors=True)

    def close(self) -> None:
        """Write what waits, the index and the metadata, and give the file its name.

        Raises:
            ToolError: a message could not be written.
        """
        self._jobs.put(None)
        self._thread.join()
        if self._error is not None:
            self._writer.abort()
        self.check()
        self._writer.close()
        folder = self._partial / self.path.stem
        os.replace(folder / f"{self.path.stem}.mcap", self.path)
        os.replace(folder / "metadata.yaml", self.path.parent / "metadata.yaml")
        shutil.rmtree(self._partial)

    def _write_all(self) -> None:
        while (job := self._jobs.get()) is not None:
            if self._error is not None:
                continue  # keep the queue moving; close() tells
            topic, time_ns, serialised, encode = job
            try:
                data = encode(serialised) if encode else serialised
            except Exception as error:  # an encoding that JPEG does not know: one picture less
                self.not_encoded, self.encode_error = self.not_encoded + 1, error
                continue
            try:
                with self._lock:
                    self._writer.write(self._connections[topic], time_ns, data)
            except Exception as error:  # a full disk
                self._error = error
