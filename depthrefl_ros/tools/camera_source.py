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

"""``camera_source``: a webcam, video, image folder or recording as a ROS 2 camera."""

from __future__ import annotations

import argparse
import itertools
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from rclpy.clock import Clock

from depthrefl_ros.tools.camera_info_file import OF_TURNED, Intrinsics, add_camera_arguments
from depthrefl_ros.tools.camera_publisher import CameraMessages, CameraPublisher
from depthrefl_ros.tools.command_line import (
    StopRequest,
    ToolError,
    add_json_argument,
    make_parser,
    positive_float,
    positive_int,
    progress,
    run_tool,
    write_json,
)
from depthrefl_ros.tools.frame_sources import open_source
from depthrefl_ros.tools.ros_node import ros_namespace, ros_topic, tool_node
from depthrefl_ros.tools.source_frame import FrameSource, SourceFrame

PUBLISHING = "camera_source: publishing"
ANSWERED_WITHIN_S = 30.0
GIVE_UP_AFTER = 3  # frames of which none was answered
LONG_GAP_S = 5.0  # in a recording; the wait is told


@dataclass
class Report:
    """What was published.

    Attributes:
        stamps: one entry a frame: published stamp, stamp in the source (nanoseconds), name.
        late: frames that were published more than a period after their time.
        unanswered: frames that nothing came back for, where answers were waited for.
        skipped: frames of the source that could not be read, each with the reason.
        seconds: from the first frame to the last.
    """

    stamps: list[dict[str, int | str]] = field(default_factory=list)
    late: int = 0
    unanswered: int = 0
    skipped: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def rate_hz(self) -> float:
        """Frames a second; NaN for fewer than two."""
        return (len(self.stamps) - 1) / self.seconds if self.seconds > 0 else float("nan")


def main(argv: list[str] | None = None) -> int:
    """Run the command; see ``depthrefl camera_source --help``."""
    return run_tool(_parser(), argv, _run)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "depthrefl camera_source",
        "Publish a webcam, a video, an image, a folder of images or a recording as a ROS 2 camera: "
        "image_raw and camera_info, reliable. Videos and recordings keep their own times.",
        """depthrefl camera_source 0 --hfov 70
        depthrefl camera_source drive.mp4 --camera-info camera.yaml --loop
        depthrefl camera_source test/data/corridor.mcap --namespace front --rate 5""",
    )
    parser.add_argument("source", help="webcam number, video, image, image folder or recording")
    parser.add_argument(
        "--namespace",
        type=ros_namespace,
        default="/camera",
        help="namespace of the topics (default %(default)s)",
    )
    parser.add_argument(
        "--rate",
        type=positive_float,
        metavar="HZ",
        help="publish at this constant rate; default: the recorded timing",
    )
    parser.add_argument("--loop", action="store_true", help="start again at the end")
    parser.add_argument("--frames", type=positive_int, metavar="N", help="stop after N frames")
    parser.add_argument(
        "--keep-stamps",
        action="store_true",
        help="publish the source's stamps instead of the current time",
    )
    parser.add_argument(
        "--image-topic", help="image topic in a recording; default: its colour camera"
    )
    add_camera_arguments(parser, note=OF_TURNED)
    parser.add_argument(
        "--compressed", action="store_true", help="publish image_raw/compressed as well"
    )
    parser.add_argument(
        "--preload", type=positive_int, metavar="N", help="decode N frames first, then loop them"
    )
    parser.add_argument(
        "--wait-for-subscriber",
        type=positive_float,
        metavar="SECONDS",
        help="wait this long for subscribers before the first frame, then give up",
    )
    parser.add_argument(
        "--answers",
        type=ros_topic,
        metavar="TOPIC",
        help="before each frame, wait for a CameraInfo with the previous frame's stamp on TOPIC, "
        f"such as /depth/camera_info, for at most {ANSWERED_WITHIN_S:g} s",
    )
    parser.add_argument(
        "--subscribers",
        type=positive_int,
        default=1,
        metavar="N",
        help="number of subscribers to wait for (default 1)",
    )
    add_json_argument(parser, "frames, rate and the stamp of every frame")
    return parser


def _run(args: argparse.Namespace, ros_args: list[str]) -> None:
    source = open_source(args.source, Intrinsics.of(args), args.image_topic)
    for note in source.notes:
        print(f"camera_source: {note}", flush=True)
    with ExitStack() as stack:
        # The first frame before anything else: what is wrong with the source shows at once.
        frames = stack.enter_context(_opened(source, args))
        filled = _messages(frames, args)
        try:
            first = next(filled)
        except StopIteration:
            raise ToolError(f"{source.name}: has no frames") from None
        stop = stack.enter_context(StopRequest())
        node = stack.enter_context(tool_node("camera_source", ros_args, namespace=args.namespace))
        publisher = CameraPublisher(node, args.compressed, args.answers)
        if args.wait_for_subscriber:
            publisher.wait_for_subscribers(args.subscribers, args.wait_for_subscriber, stop)
        print(f"{PUBLISHING} {source.name} on {publisher.topic}", flush=True)
        report, failure = Report(), None
        frames = itertools.chain([first], filled)
        try:
            _publish_all(frames, report, source, publisher, args, node.get_clock(), stop)
        except ToolError as error:  # what was published until then is reported all the same
            failure = error
        publisher.wait_until_delivered()
        topic = publisher.topic
        report.skipped = list(source.skipped)
    print(f"camera_source: {len(report.stamps)} frames on {topic} at {report.rate_hz:.2f} Hz")
    figures = {"source": source.name, "topic": topic, "frames": len(report.stamps)}
    figures |= {"rate_hz": report.rate_hz, "late": report.late, "stamps": report.stamps}
    figures |= {"unanswered": report.unanswered, "skipped": report.skipped}
    write_json(args.json, figures)
    if failure is not None:
        raise failure


@contextmanager
def _opened(source: FrameSource, args: argparse.Namespace) -> Iterator[Iterator[SourceFrame]]:
    """Return the frames to publish, looped if asked for; decoded ahead where that makes sense."""
    passes = itertools.repeat(None) if args.loop and not args.preload else [None]
    frames = (frame for _ in passes for frame in source.frames())
    if args.preload:
        frames = itertools.islice(frames, args.preload)
    if source.is_live or args.preload:
        yield frames
        return
    ahead = ReadAhead(frames)
    try:
        yield iter(ahead)
    finally:
        ahead.close()


def _messages(
    frames: Iterator[SourceFrame], args: argparse.Namespace
) -> Iterator[tuple[SourceFrame, CameraMessages]]:
    """Yield each frame with its messages: filled one by one, or all first and then looped."""
    if args.preload:
        prepared = [(frame, CameraMessages(args.compressed).fill(frame)) for frame in frames]
        yield from itertools.cycle(prepared) if args.loop else prepared
        return
    messages = CameraMessages(args.compressed)
    for frame in frames:
        yield frame, messages.fill(frame)


def _publish_all(
    filled: Iterator[tuple[SourceFrame, CameraMessages]],
    report: Report,
    source: FrameSource,
    publisher: CameraPublisher,
    args: argparse.Namespace,
    clock: Clock,
    stop: StopRequest,
) -> None:
    """Publish each frame at its time until the source ends, N frames are out, or a stop.

    Args:
        filled: the frames and their messages.
        report: gets what was published, also where the source fails on the way.
        source: of the frames.
        publisher: of the messages.
        args: the command line.
        clock: for the stamps.
        stop: ends it.
    """
    schedule = Schedule(source.rate_hz, args.rate)
    total = args.frames or (None if args.loop else source.count)
    with progress(total, "publishing", "frames") as bar:
        for frame, messages in filled:
            if source.is_live:
                if args.rate and not schedule.is_due():
                    continue
            elif args.answers and not args.rate and source.is_still:
                schedule.start()
            elif schedule.wait(stop, frame.time_ns):
                break
            if stop:
                break
            keeps = args.keep_stamps or source.is_live  # a live stamp is when it was taken
            stamp_ns = frame.stamp_ns if keeps else clock.now().nanoseconds
            messages.stamp(stamp_ns)
            publisher.publish(messages)
            report.late, report.seconds = schedule.late, schedule.elapsed_s
            report.stamps.append(
                {"stamp_ns": stamp_ns, "source_stamp_ns": frame.stamp_ns, "name": frame.name}
            )
            bar.update()
            if args.answers and not publisher.wait_for_answer(stamp_ns, ANSWERED_WITHIN_S, stop):
                report.unanswered += 1
                if report.unanswered == len(report.stamps) == GIVE_UP_AFTER:
                    raise ToolError(
                        f"{args.answers}: nothing came for the first {GIVE_UP_AFTER} frames"
                    )
            if args.frames and len(report.stamps) >= args.frames:
                break


class Schedule:
    """When each frame is due, counted from the first, so that no delay adds up.

    Args:
        source_hz: the source's own rate: what counts as late, and the pace where its times fail.
        rate_hz: publish evenly at this rate; None for each frame's own time.

    Attributes:
        late: frames whose time had passed by more than a period.
    """

    def __init__(self, source_hz: float, rate_hz: float | None = None):
        self.late = 0
        self._is_even = rate_hz is not None
        self._period_s = 1.0 / (rate_hz or source_hz)
        self._first_s: float | None = None
        self._last_s = 0.0
        self._due_s = 0.0  # when the newest frame was due
        self._time_ns: int | None = None  # of the newest frame

    @property
    def elapsed_s(self) -> float:
        """From the first frame to the newest."""
        return self._last_s - self._first_s if self._first_s is not None else 0.0

    def wait(self, stop: StopRequest, time_ns: int = 0) -> bool:
        """Sleep until the next frame is due; True if a stop was asked for meanwhile.

        Args:
            stop: ends the sleep.
            time_ns: the frame's own time; not looked at where frames go evenly.
        """
        if self._first_s is not None:
            gap_s = self._gap_s(time_ns)
            if gap_s > LONG_GAP_S:
                print(
                    f"the source has no frame for {gap_s:.1f} s; --rate gives a constant rate",
                    flush=True,
                )
            self._due_s += gap_s
            if stop.sleep_until(self._due_s):
                return True
        self._time_ns = time_ns
        self._passed()
        return False

    def start(self) -> None:
        """Take the next frame as due now."""
        self._due_s = time.monotonic()
        self._passed()

    def is_due(self) -> bool:
        """Tell whether a live frame that has just come is to be published at this rate."""
        # A camera's frames never come exactly on time: half a period early still counts.
        if self._first_s is not None:
            if time.monotonic() < self._due_s + self._period_s / 2:
                return False
            self._due_s += self._period_s
        self._passed()
        return True

    def _gap_s(self, time_ns: int) -> float:
        gap_s = (time_ns - self._time_ns) / 1e9
        # Back in time: the source has begun anew.
        return self._period_s if self._is_even or gap_s < 0 else gap_s

    def _passed(self) -> None:
        now = time.monotonic()
        if self._first_s is None:
            self._first_s = self._due_s = now
        if now - self._due_s > self._period_s:
            self.late += 1
            self._due_s = now  # go on from here; a burst to catch up would flood the subscribers
        self._last_s = now


class ReadAhead:
    """Frames decoded by a thread of their own, a few ahead, so that a slow one costs no time.

    Args:
        frames: where they come from; its exceptions come out of the iteration.
        depth: how many wait at most.
    """

    _END = object()

    def __init__(self, frames: Iterator[SourceFrame], depth: int = 8):
        self._frames = frames
        self._queue: queue.Queue = queue.Queue(depth)
        self._is_closed = False
        self._thread = threading.Thread(target=self._fill, name="read-ahead", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[SourceFrame]:
        while True:
            item = self._queue.get()
            if item is self._END:
                return
            if isinstance(item, Exception):
                raise item
            yield item

    def close(self) -> None:
        """Stop reading."""
        self._is_closed = True
        while self._thread.is_alive():
            try:
                self._queue.get(timeout=0.05)
            except queue.Empty:
                continue

    def _fill(self) -> None:
        try:
            for frame in self._frames:
                self._queue.put(frame)
                if self._is_closed:
                    break
            self._queue.put(self._END)
        except Exception as error:  # handed to whoever iterates
            self._queue.put(error)


if __name__ == "__main__":
    raise SystemExit(main())
