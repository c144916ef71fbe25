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

"""Recordings (MCAP and rosbag2) as messages, and which of their topics are a camera's.

Messages are rosbags' own classes, with the fields of ROS's: reading needs no ROS.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.typesys import Stores, get_typestore

from depthrefl_ros.tools.bag_files import METADATA, storage_files
from depthrefl_ros.tools.bag_storage import open_storage, uncompressed
from depthrefl_ros.tools.command_line import ToolError, UnreadableError

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
INFO_TYPE = "sensor_msgs/msg/CameraInfo"
_COMPRESSED = "/compressed"
_TRANSPORTS = (_COMPRESSED, "/compressedDepth")
_DEPTH_WORDS = ("depth", "disparity", "mask", "confidence", "segmentation")
# Cameras of which a colour camera is preferred, as whole words of the topic.
_OTHER_LIGHT = re.compile(
    r"(^|[/_])(thermal|lwir|swir|nir|ir|ir1|ir2|infra|infra1|infra2|infrared|flir|boson|lepton|"
    r"seek|mono|gray|grey|fisheye|tracking)\d*([/_]|$)"
)
_COLOUR_WORDS = re.compile(r"(^|[/_])(color|colour|rgb|bgr)\d*([/_]|$)")
_DEPTH_ENCODINGS = ("16UC1", "32FC1", "64FC1", "16SC1")
_STORE = get_typestore(Stores.LATEST)


def stamp_ns(message: Any) -> int:
    """Return the time stamp of a message's header in nanoseconds."""
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


def header_stamp(cdr: bytes) -> int:
    """Return the stamp of a serialised message whose first field is a header, nanoseconds.

    CDR: four bytes of encapsulation, whose second says the byte order, then seconds (int32) and
    nanoseconds (uint32).
    """
    seconds, nanoseconds = struct.unpack_from("<iI" if cdr[1] & 1 else ">iI", cdr, 4)
    return seconds * 1_000_000_000 + nanoseconds


def base_topic(topic: str) -> str:
    """Return the raw image topic to which a compressed one belongs (image_transport's naming)."""
    for transport in _TRANSPORTS:
        if topic.endswith(transport):
            return topic[: -len(transport)]
    return topic


class Recording:
    """A recording that is open for reading; used as a context manager.

    Args:
        path: an .mcap or .db3 file, one of them compressed by zstd, or a folder of them.

    Attributes:
        topics: message type by topic.

    Raises:
        ToolError: the recording is missing, cut short or of another format.
    """

    def __init__(self, path: Path):
        self.path = path
        self._stack = ExitStack()
        self._counts: dict[str, int] | None = None
        self._first: dict[str, Any] = {}
        if not path.exists():
            raise ToolError(f"{path}: no such recording")
        try:
            self._storages = []
            for file in storage_files(path):
                self._reading = file
                self._storages.append(open_storage(file, self._stack))
        except ToolError:
            self._stack.close()
            raise
        except OSError as error:
            self._stack.close()
            raise ToolError(f"{self._reading}: cannot be read: {error.strerror}") from error
        except Exception as error:  # damaged bytes raise more than the readers' own errors
            self._stack.close()
            raise ToolError(self._damaged(error)) from error
        self.topics = {
            topic: kind for storage in self._storages for topic, kind in storage.topics.items()
        }
        self.foreign = [text for storage in self._storages for text in storage.foreign]

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def count(self, topic: str) -> int:
        """Return how many messages a topic has."""
        if self._counts is None:
            self._counts = {}
            for storage in self._storages:
                for name, number in storage.counts().items():
                    self._counts[name] = self._counts.get(name, 0) + number
        return self._counts.get(topic, 0)

    def serialised(self, *topics: str) -> Iterator[tuple[str, int, bytes]]:
        """Yield topic, time of recording (nanoseconds) and CDR, in the order of recording.

        Raises:
            ToolError: damaged bytes.
        """
        for storage in self._storages:
            stored = storage.messages(topics)
            while True:
                try:
                    topic, time_ns, data = next(stored)
                    data = uncompressed(data)
                except StopIteration:
                    break
                except Exception as error:  # as above
                    raise ToolError(f"{self.path}: damaged recording ({error})") from error
                yield topic, time_ns, data

    def timed_messages(self, *topics: str) -> Iterator[tuple[str, int, Any]]:
        """Yield topic, time of recording (nanoseconds) and message, in the order of recording."""
        for topic, time_ns, data in self.serialised(*topics):
            try:
                message = _STORE.deserialize_cdr(data, self.topics[topic])
            except Exception as error:  # as above
                raise ToolError(f"{self.path}: damaged message on {topic} ({error})") from error
            yield topic, time_ns, message

    def messages(self, *topics: str) -> Iterator[tuple[str, Any]]:
        """Yield topic and message of what these topics hold, in the order of recording."""
        for topic, _, message in self.timed_messages(*topics):
            yield topic, message

    def first(self, topic: str) -> Any | None:
        """Return the first message of a topic."""
        if topic not in self._first:
            self._first[topic] = next((message for _, message in self.messages(topic)), None)
        return self._first[topic]

    def image_topics(self) -> list[str]:
        """Return the topics with pictures, no depth, the most likely camera first.

        Colour before thermal and infrared, those with camera info first, raw before compressed,
        then by name. An image without a word in its name is judged by its encoding.
        """
        images = [
            topic
            for topic, kind in self.topics.items()
            if kind in IMAGE_TYPES
            and self.count(topic)
            and not any(word in topic.lower() for word in _DEPTH_WORDS)
            and not self._is_depth(topic)
        ]
        return sorted(
            images,
            key=lambda topic: (
                is_other_light(self, topic),
                self.camera_info_topic(topic) is None,
                not _COLOUR_WORDS.search(topic.lower()),
                topic.endswith(_COMPRESSED),
                topic,
            ),
        )

    def image_topic(self, chosen: str | None = None) -> str:
        """Return the topic of the colour camera.

        Args:
            chosen: the user's choice, also without its first slash, or the raw topic where only
                the compressed one was recorded; without it, the first of ``image_topics``.

        Raises:
            ToolError: there is none; names the topics found.
        """
        found = ", ".join(f"{name} ({kind})" for name, kind in sorted(self.topics.items()))
        if chosen is not None:
            named = f"/{chosen.strip('/')}"
            for topic in (chosen, named, f"{named}{_COMPRESSED}"):
                if self.topics.get(topic) in IMAGE_TYPES:
                    return topic
            raise ToolError(f"{self.path}: no image topic {chosen}; topics: {found or 'none'}")
        topics = self.image_topics()
        if topics:
            return topics[0]
        if self.foreign and not any(kind in IMAGE_TYPES for kind in self.topics.values()):
            raise ToolError(
                f"{self.path}: holds no ROS 2 images; their messages must be cdr of type "
                f"{' or '.join(IMAGE_TYPES)}; it has {', '.join(sorted(self.foreign))}"
            )
        raise ToolError(
            f"{self.path}: no images; a topic of type {' or '.join(IMAGE_TYPES)} is needed; "
            f"topics: {found or 'none'}"
        )

    def camera_info_topic(self, image_topic: str) -> str | None:
        """Return the CameraInfo of the same camera as an image topic; None without one.

        It is the topic ``camera_info`` beside the images. Any other must have the images' width
        and height, and their frame or, where one of both has no frame, their namespace; it must
        be the only such one.
        """
        infos = [topic for topic, kind in self.topics.items() if kind == INFO_TYPE]
        namespace = base_topic(image_topic).rsplit("/", 1)[0]
        if f"{namespace}/camera_info" in infos:
            return f"{namespace}/camera_info"
        if not infos:
            return None
        image = self.first(image_topic)
        if image is None:
            return None
        matching = [
            topic for topic in infos if self._is_of(self.first(topic), topic, image, namespace)
        ]
        return matching[0] if len(matching) == 1 else None

    def truth_topic(self) -> str | None:
        """Return the topic of true depth images, by its name ``depth_truth``; None without one."""
        for topic, kind in sorted(self.topics.items()):
            if kind in IMAGE_TYPES and base_topic(topic).endswith("depth_truth"):
                return topic
        return None

    def depth_topics(self) -> list[str]:
        """Return the topics with depth images, judged by their encoding, by name."""
        return sorted(
            topic
            for topic, kind in self.topics.items()
            if kind in IMAGE_TYPES and self.count(topic) and self._is_depth(topic)
        )

    def _damaged(self, error: Exception) -> str:
        text = f"{self._reading}: not a readable recording ({error})"
        if ".mcap" in self._reading.suffixes:
            return f"{text}; where its recorder was killed, 'mcap recover' can repair it"
        folder = self._reading.parent
        if not (folder / METADATA).is_file():
            return f"{text}; where its recorder was killed, 'ros2 bag reindex {folder}' can help"
        return text

    def _is_depth(self, topic: str) -> bool:
        first = self.first(topic)
        if first is None:
            return False
        text = getattr(first, "encoding", None) or getattr(first, "format", "")
        return text.startswith(_DEPTH_ENCODINGS) or "compressedDepth" in text

    @staticmethod
    def _is_of(info: Any | None, info_topic: str, image: Any, namespace: str) -> bool:
        if info is None:
            return False
        size = picture_size(image)
        if size is None or (info.width, info.height) != size:
            return False
        if info.header.frame_id and image.header.frame_id:
            return info.header.frame_id == image.header.frame_id
        return bool(namespace) and info_topic.startswith(f"{namespace}/")


def is_other_light(recording: Recording, topic: str) -> bool:
    """Tell whether an image topic is of a thermal, infrared or grey camera, by name or 16 bits."""
    is_mono16 = getattr(recording.first(topic), "encoding", "") == "mono16"
    return is_mono16 or bool(_OTHER_LIGHT.search(topic.lower()))


def picture_size(message: Any) -> tuple[int, int] | None:
    """Return (width, height) of an image message in pixels, raw or compressed; None if unknown."""
    if hasattr(message, "encoding"):
        return message.width, message.height
    if "compressedDepth" in message.format:
        try:
            depth = depth_from_message(message, "image")
        except UnreadableError:
            return None
        return depth.shape[1], depth.shape[0]
    picture = _decoded(message)
    return None if picture is None else (picture.shape[1], picture.shape[0])


def depth_from_message(message: Any, topic: str) -> np.ndarray:
    """Return metres from a depth image message.

    Args:
        message: Image of encoding 32FC1 (metres) or 16UC1 (millimetres, 0 unknown), or
            CompressedImage of a 16 bit PNG (millimetres) or of ``compressedDepth``, as
            image_transport writes them.
        topic: named in errors.

    Returns:
        (H, W) float32 metres, NaN where a 16 bit image or PNG has 0.

    Raises:
        UnreadableError: another encoding, or data that do not decode.
    """
    if not hasattr(message, "encoding"):
        if "compressedDepth" in message.format:
            return _from_compressed_depth(message, topic)
        millimetres = _decoded(message)
        if millimetres is None or millimetres.dtype != np.uint16 or millimetres.ndim != 2:
            raise UnreadableError(
                f"{topic}: format {message.format!r} is no 16 bit PNG of one channel"
            )
        return _metres(millimetres)
    from depthrefl_ros.ros.convert.images import MessageError, depth_image_to_metres

    try:
        return depth_image_to_metres(message, topic)
    except MessageError as error:
        raise UnreadableError(str(error)) from error


def _from_compressed_depth(message: Any, topic: str) -> np.ndarray:
    from depthrefl_ros.ros.convert.images import MessageError, compressed_depth_to_metres

    try:
        return compressed_depth_to_metres(message, topic)
    except MessageError as error:
        raise UnreadableError(str(error)) from error


def _decoded(message: Any) -> np.ndarray | None:
    """Return the pixels of a CompressedImage as they are stored; None where there are none."""
    try:
        return cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:  # also of no bytes at all
        return None


def _metres(millimetres: np.ndarray) -> np.ndarray:
    metres = millimetres.astype(np.float32) / np.float32(1000.0)
    metres[millimetres == 0] = np.nan
    return metres
