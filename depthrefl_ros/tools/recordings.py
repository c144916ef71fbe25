"""Recordings (MCAP and rosbag2) as ROS messages, and which of their topics are a camera's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
from rclpy.serialization import deserialize_message
from rosbags.rosbag2 import Reader
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from depthrefl_ros.tools.command_line import ToolError

MESSAGE_TYPES = {
    "sensor_msgs/msg/Image": Image,
    "sensor_msgs/msg/CompressedImage": CompressedImage,
    "sensor_msgs/msg/CameraInfo": CameraInfo,
}
IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
_COMPRESSED = "/compressed"
_DEPTH_WORDS = ("depth", "disparity", "mask", "confidence")


def is_recording(path: Path) -> bool:
    """Whether a path looks like a recording: .mcap, .db3 or a rosbag2 folder."""
    return path.suffix in (".mcap", ".db3") or (path / "metadata.yaml").is_file()


def stamp_ns(message: Image | CompressedImage | CameraInfo) -> int:
    """The time stamp of a message's header in nanoseconds."""
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


def base_topic(topic: str) -> str:
    """The raw image topic to which a compressed one belongs (image_transport's naming)."""
    return topic[: -len(_COMPRESSED)] if topic.endswith(_COMPRESSED) else topic


class Recording:
    """A recording that is open for reading; used as a context manager.

    Args:
        path: an .mcap or .db3 file, or a rosbag2 folder.

    Raises:
        ToolError: the recording is missing, cut short or of another format.
    """

    def __init__(self, path: Path):
        self.path = path
        self._stack = ExitStack()
        try:
            self._reader = self._stack.enter_context(Reader(path))
        except FileNotFoundError as error:
            raise ToolError(f"{path}: no such recording") from error
        except Exception as error:  # of damaged bytes rosbags makes more than ReaderError
            raise ToolError(
                f"{path}: not a readable recording ({error}); an MCAP file whose recorder was "
                "killed can be repaired with 'mcap recover'"
            ) from error
        self.topics = {item.topic: item.msgtype for item in self._reader.connections}

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def count(self, topic: str) -> int:
        """How many messages a topic has."""
        return sum(item.msgcount for item in self._reader.connections if item.topic == topic)

    def average_rate_hz(self, topic: str) -> float:
        """Messages a second over the length of the recording; NaN for fewer than two."""
        duration_s = self._reader.duration / 1e9
        count = self.count(topic)
        return (count - 1) / duration_s if count > 1 and duration_s > 0 else float("nan")

    def messages(self, *topics: str) -> Iterator[tuple[str, Image | CompressedImage | CameraInfo]]:
        """Topic and message of what these topics hold, in the order of recording."""
        wanted = [item for item in self._reader.connections if item.topic in topics]
        if not wanted:
            return
        stored = self._reader.messages(connections=wanted)
        while True:
            try:
                connection, _, data = next(stored)
                message = deserialize_message(data, MESSAGE_TYPES[connection.msgtype])
            except StopIteration:
                return
            except Exception as error:  # as above
                raise ToolError(f"{self.path}: damaged recording ({error})") from error
            yield connection.topic, message

    def image_topic(self, chosen: str | None = None) -> str:
        """The topic of the colour camera.

        Args:
            chosen: the user's choice; without it, image topics that are no depth, those with
                messages and a camera_info first, raw before compressed, then by name.

        Raises:
            ToolError: there is none; names the topics found.
        """
        images = [topic for topic, kind in self.topics.items() if kind in IMAGE_TYPES]
        found = ", ".join(f"{name} ({kind})" for name, kind in sorted(self.topics.items()))
        if chosen is not None:
            if chosen not in images:
                raise ToolError(f"{self.path}: no image topic {chosen}; topics: {found or 'none'}")
            return chosen
        colour = [
            topic
            for topic in images
            if self.count(topic) and not any(word in topic.lower() for word in _DEPTH_WORDS)
        ]
        if not colour:
            raise ToolError(
                f"{self.path}: no images; a topic of type {' or '.join(IMAGE_TYPES)} is needed; "
                f"topics: {found or 'none'}"
            )
        return min(
            colour,
            key=lambda topic: (
                self.camera_info_topic(topic) is None,
                topic.endswith(_COMPRESSED),
                topic,
            ),
        )

    def camera_info_topic(self, image_topic: str) -> str | None:
        """The CameraInfo beside an image topic, else the recording's only one, else None."""
        infos = [
            topic for topic, kind in self.topics.items() if kind == "sensor_msgs/msg/CameraInfo"
        ]
        sibling = base_topic(image_topic).rsplit("/", 1)[0] + "/camera_info"
        if sibling in infos:
            return sibling
        return infos[0] if len(infos) == 1 else None

    def truth_topic(self) -> str | None:
        """The topic of true depth images, by its name ``depth_truth``; None without one."""
        for topic, kind in sorted(self.topics.items()):
            if kind in IMAGE_TYPES and base_topic(topic).endswith("depth_truth"):
                return topic
        return None


def depth_from_message(message: Image | CompressedImage, topic: str) -> np.ndarray:
    """Metres from a depth image message.

    Args:
        message: Image of encoding 32FC1 (metres) or 16UC1 (millimetres, 0 unknown), or
            CompressedImage of a 16 bit PNG (millimetres) as image_transport writes it.
        topic: named in errors.

    Returns:
        (H, W) float32 metres, NaN where a 16 bit image has 0.

    Raises:
        ToolError: another encoding, or data that do not decode.
    """
    if isinstance(message, CompressedImage):
        millimetres = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_UNCHANGED)
        if millimetres is None or millimetres.dtype != np.uint16 or millimetres.ndim != 2:
            raise ToolError(f"{topic}: format {message.format!r} is no 16 bit PNG of one channel")
        return _metres(millimetres)
    if message.encoding not in ("32FC1", "16UC1"):
        raise ToolError(f"{topic}: encoding {message.encoding!r}; 32FC1 or 16UC1 is needed")
    order = ">" if message.is_bigendian else "<"
    dtype = np.dtype(order + ("f4" if message.encoding == "32FC1" else "u2"))
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    values = np.ascontiguousarray(rows[:, : message.width * dtype.itemsize]).view(dtype)
    return values.astype(np.float32) if message.encoding == "32FC1" else _metres(values)


def _metres(millimetres: np.ndarray) -> np.ndarray:
    metres = millimetres.astype(np.float32) / np.float32(1000.0)
    metres[millimetres == 0] = np.nan
    return metres
