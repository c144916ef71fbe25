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

"""What every command shares: --help with an example, --json, one-line errors, clean stops."""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import select
import signal
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm

HELP_WIDTH = 80
EXIT_USER_ERROR = 2  # what argparse exits with as well
EXIT_UNREAD = 1  # whoever read standard output is gone
EXIT_STOPPED = 130  # as a shell has it for Ctrl-C: the results are fewer than were asked for

# What brings a package that only some commands need, by the beginning of its name.
_ROS = "source a ROS 2 distribution, or in the checkout pip install '.[ros]'"
_TRAINING = "in the checkout, pip install '.[train]'"
_BAGS = "in the checkout, pip install '.[bags]'"
_VIEW = "in the checkout, pip install '.[view]'"
_RENDERING = "in an environment with Python 3.11, pip install -r requirements-synth.txt"
_CONVERSION = "in the checkout, pip install '.[convert]'"
_INSTALL = {
    **dict.fromkeys(("rclpy", "rosidl", "rpyutils", "ament_index_python", "cv_bridge"), _ROS),
    **dict.fromkeys(("builtin_interfaces", "unique_identifier_msgs"), _ROS),
    "onnxruntime": _CONVERSION,
    **dict.fromkeys(("torch", "safetensors", "onnx", "h5py", "tensorboard"), _TRAINING),
    "transformers": "in the checkout, pip install '.[flagship]'",
    **dict.fromkeys(("rosbags", "mcap", "zstandard"), _BAGS),
    "tornado": _VIEW,
    "foxglove": "in the checkout, pip install '.[foxglove]'",
    **dict.fromkeys(("bpy", "mathutils", "OpenEXR"), _RENDERING),
}


class ToolError(Exception):
    """What the user can put right, in one line; the command ends with exit code 2."""


class UnreadableError(ToolError):
    """One image of a source cannot be used; others may."""


def make_parser(name: str, description: str, examples: str) -> argparse.ArgumentParser:
    """Return an argument parser whose --help ends with examples.

    Args:
        name: the command as it is typed: ``depthrefl evaluate``.
        description: one or two sentences.
        examples: command lines, one a line.
    """
    indented = "\n".join(f"  {line.strip()}" for line in examples.strip().splitlines())
    return argparse.ArgumentParser(
        prog=name,
        description=textwrap.fill(description, HELP_WIDTH),
        epilog=f"examples:\n{indented}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_json_argument(parser: argparse.ArgumentParser, figures: str) -> None:
    """Add --json FILE; ``figures`` says what is written."""
    parser.add_argument("--json", type=Path, metavar="FILE", help=f"write {figures} to FILE")


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --model and --engine."""
    parser.add_argument(
        "--model",
        default="indoor_tiny",
        help="name of a shipped model, or a bundle folder (default %(default)s)",
    )
    parser.add_argument(
        "--engine", default="auto", help="auto, openvino, torch or another (default %(default)s)"
    )


def what_is_missing(error: ImportError) -> str | None:
    """Return in one line which package a command lacks and what installs it.

    Args:
        error: as raised by an import.

    Returns:
        None for an import of our own modules that fails: that is a fault of the program.
    """
    root = (error.name or "").partition(".")[0]
    reason = " ".join(str(error).split())
    if not root:
        return reason  # raised by our own code, with the advice in it
    if root == "depthrefl_ros":
        return None
    install = _ROS if root.endswith("_msgs") else f"pip install {root}"
    install = next((text for name, text in _INSTALL.items() if root.startswith(name)), install)
    if isinstance(error, ModuleNotFoundError):
        return f"{root} is needed and not installed for this Python: {install}"
    return f"{root} is needed and cannot be imported ({reason}): {install}"


def run_tool(parser: argparse.ArgumentParser, argv: list[str] | None, tool: Callable) -> int:
    """Run ``tool(args, ros_args)``; what the user can put right becomes a line and exit code 2.

    Args:
        parser: of the command's own arguments.
        argv: the arguments; None for the command line's. ``--ros-args ...`` are handed on.
        tool: the command; what it returns is the exit code, None for 0.
    """
    own, ros_args = split_ros_args(sys.argv[1:] if argv is None else argv)
    args = parser.parse_args(own)
    try:
        code = tool(args, ros_args) or 0
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except (ToolError, OSError) as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            return EXIT_UNREAD
        return _refuse(parser, error)
    except ImportError as error:
        missing = what_is_missing(error)
        if missing is None:
            raise
        return _refuse(parser, missing)


def _nobody_reads() -> bool:
    """Return whether standard output is a pipe without reader, as after ``| head``.

    What is still to be written goes nowhere then: Python would complain of it at its end
    (docs.python.org, "Note on SIGPIPE").
    """
    if sys.stdout is None:  # closed before the start, as by >&-
        return False
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):  # no file at all
        return False
    poll = select.poll()
    poll.register(descriptor, 0)
    if not any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    return True


def _refuse(parser: argparse.ArgumentParser, reason: object) -> int:
    print(f"{parser.prog}: error: {reason}", file=sys.stderr)
    return EXIT_USER_ERROR


def split_ros_args(argv: list[str]) -> tuple[list[str], list[str]]:
    """Part the command's own arguments from ``--ros-args ... [--]``."""
    if "--ros-args" not in argv:
        return list(argv), []
    start = argv.index("--ros-args")
    end = argv.index("--", start) + 1 if "--" in argv[start:] else len(argv)
    return argv[:start] + argv[end:], argv[start:end]


def number_of(
    text: str, kind: type[int] | type[float], fits: Callable[[Any], bool], wanted: str
) -> Any:
    """Return a number that an option was given, of a kind.

    Args:
        text: of the option.
        kind: int or float.
        fits: tells whether the number may be taken; not a number fits nothing.
        wanted: what it must be, in words.

    Raises:
        argparse.ArgumentTypeError: it is no number, or does not fit.
    """
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not fits(value):
        raise argparse.ArgumentTypeError(f"{text!r} must be {wanted}")
    return value


def positive_float(text: str) -> float:
    """Return a finite number above 0; for argparse's ``type``."""
    return number_of(text, float, lambda value: 0 < value < math.inf, "a finite number above 0")


def positive_int(text: str) -> int:
    """Return a whole number above 0; for argparse's ``type``."""
    return number_of(text, int, lambda value: value > 0, "a whole number above 0")


def whole_number(text: str) -> int:
    """Return a whole number that is not negative; for argparse's ``type``."""
    return number_of(text, int, lambda value: value >= 0, "a whole number, 0 or more")


def image_size(text: str) -> tuple[int, int]:
    """Return ``640x480`` as (height, width), pixels; for argparse's ``type``."""
    found = re.fullmatch(r"(\d+)x(\d+)", text.lower())
    if not found or not all(16 <= int(one) <= 4096 for one in found.groups()):
        raise argparse.ArgumentTypeError(f"{text!r} must be WIDTHxHEIGHT, 16 to 4096 pixels each")
    return int(found[2]), int(found[1])


def port_number(text: str) -> int:
    """Return a TCP port, 0 for one that is free; for argparse's ``type``."""
    return number_of(text, int, lambda value: 0 <= value <= 65535, "0 to 65535")


def write_json(path: Path | None, figures: dict[str, Any]) -> None:
    """Write figures as JSON, NaN and infinite ones as null; does nothing without a path.

    Raises:
        ToolError: the file cannot be written.
    """
    if path is not None:
        text = json.dumps(_finite(figures), indent=2, allow_nan=False) + "\n"
        write_output(path, text.encode())


def write_output(path: Path | None, content: bytes) -> None:
    """Write a file that the user asked for, and its folder; does nothing without a path.

    Raises:
        ToolError: the file cannot be written.
    """
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise ToolError(f"{path}: cannot be written: {error.strerror}") from error


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def progress(total: float | None, description: str, unit: str) -> tqdm:
    """Return a progress bar on stderr; silent where stderr is no terminal."""
    from tqdm import tqdm  # not above: --help and doctor answer without it

    return tqdm(total=total, desc=description, unit=f" {unit}", disable=not sys.stderr.isatty())


class StopRequest:
    """Turns SIGINT and SIGTERM into a flag, so that loops end in order.

    rclpy must be initialised without signal handlers of its own (``SignalHandlerOptions.NO``),
    or it shuts the context down under the publishers. The flag is a plain attribute: a handler
    that set a ``threading.Event`` would deadlock where it interrupts that event's own wait.
    """

    SLICE_S = 0.1  # how late a sleep may notice the flag

    def __init__(self) -> None:
        self._requested = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._previous[number] = signal.signal(number, lambda *_: self.request())
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def __bool__(self) -> bool:
        return self._requested

    def request(self) -> None:
        """Ask for the stop."""
        self._requested = True

    def sleep_until(self, monotonic_s: float) -> bool:
        """Sleep until ``time.monotonic()`` reaches this; True if a stop was asked for."""
        while not self._requested and (left := monotonic_s - time.monotonic()) > 0:
            time.sleep(min(left, self.SLICE_S))
        return self._requested
