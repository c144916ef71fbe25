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

"""``depthrefl_node``: the process around the node, from its arguments to its last signal."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rclpy.node import Node

    from depthrefl_ros.ros.node import DepthReflNode

USAGE = """usage: depthrefl_node [--ros-args ...]

The lifecycle node depthrefl: image and camera_info in; depth/image, depth/image_raw,
depth/camera_info, depth/confidence, depth/relative, depth/preview, points, points/marking,
points/clearing and scan out, depth/image/compressedDepth, depth/image_raw/compressedDepth and
depth/preview/compressed for image_transport. Every parameter is explained in config/depthrefl.yaml.

examples:
  depthrefl_node --ros-args -r image:=/camera/image_raw -r camera_info:=/camera/camera_info \\
      -p max_range:=6.0
  depthrefl_node --ros-args -p cameras:="front left" -r image:=image_raw"""
STOP_CHECK_S = 0.1  # how long a signal may wait until it is seen
_OTHER_TOPICS = ("/tf", "/tf_static", "/clock", "/diagnostics", "/rosout", "/parameter_events")
LAST_RESORT_S = 1.5  # after the signal; whatever hangs then, in whatever runtime, is given up


class StopSignals:
    """From now on the first SIGINT or SIGTERM sets ``stopping``, and more change nothing.

    Two SIGINTs in a row are common: Ctrl-C goes to the whole process group, and ``ros2 launch``
    passes its own on. rclpy's handlers would let the second one interrupt the shutdown.

    Python runs its handlers in the main thread only, between two of its own instructions. A thread
    of ours reads the signal from a pipe instead (``signal.set_wakeup_fd``): it comes through while
    the main thread is inside a runtime, and ends the process if nothing else does.

    Attributes:
        stopping: set when the process has been asked to end.
    """

    _NUMBERS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._pipe, written = os.pipe()
        os.set_blocking(written, False)
        signal.set_wakeup_fd(written, warn_on_full_buffer=False)
        for number in self._NUMBERS:
            signal.signal(number, lambda _number, _frame: self.stopping.set())
        threading.Thread(target=self._wait, name="stop signals", daemon=True).start()

    def ignore(self) -> None:
        """Ignore signals; to be called last, since the interpreter's end puts killing back."""
        for number in self._NUMBERS:
            signal.signal(number, signal.SIG_IGN)

    def _wait(self) -> None:
        while not {*os.read(self._pipe, 1)} & {int(number) for number in self._NUMBERS}:
            pass  # another signal that Python has a handler for
        self.stopping.set()
        time.sleep(LAST_RESORT_S)
        end_process()


def end_process() -> None:
    """End the process with code 0, without the interpreter's own clean-up.

    A runtime that another thread is inside of, such as torch while it is imported, aborts the
    process in its destructors; so nothing is destroyed.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass
    os._exit(0)


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; with ``--help`` only say how it is used.

    Returns:
        0 after a signal; 1 where the parameters given at start cannot be taken.
    """
    arguments = sys.argv if args is None else [sys.argv[0], *args]
    if {"-h", "--help"} & set(arguments[1:]):
        print(USAGE)
        return 0
    stop = StopSignals()
    code, left_behind = 1, True
    try:
        code, left_behind = _run(arguments, stop.stopping)
    finally:
        stop.ignore()
        if stop.stopping.is_set() and left_behind:
            end_process()
    return code


def _run(arguments: Sequence[str], stopping: threading.Event) -> tuple[int, bool]:
    """Run the node until ``stopping``.

    Returns:
        The exit code, and whether a thread may still be inside a runtime.
    """
    # Imported here: it takes a second, and signals are handled by now.
    try:
        import rclpy
        from rclpy.exceptions import ParameterException
        from rclpy.signals import SignalHandlerOptions

        from depthrefl_ros.engine.shared_engines import SharedEngines
        from depthrefl_ros.ros.loaded_model import is_anything_left_behind
        from depthrefl_ros.ros.middleware import prepare_environment
        from depthrefl_ros.ros.node import DepthReflNode
        from depthrefl_ros.settings import SettingError
    except ImportError as error:
        print(f"depthrefl_node: {error}; source a ROS 2 installation", file=sys.stderr)
        return 1, False
    nodes: list[DepthReflNode] = []
    name = "depthrefl"
    try:
        doubts = prepare_environment()
        try:
            rclpy.init(args=list(arguments), signal_handler_options=SignalHandlerOptions.NO)
        except RuntimeError as error:  # RCLError: a params file or a remap that it cannot read
            reason = str(error).split(", at /")[0]  # the rest names rcl's own source files
            print(f"depthrefl_node: {reason}", file=sys.stderr)
            return 1, False
        namespaces = camera_namespaces()
        engines = SharedEngines(len(namespaces))
        for namespace in namespaces:
            if len(namespaces) > 1:
                name = f"{namespace}/depthrefl".strip("/").replace("/", ".")
            # Of the node alone: launch's __ns is for all nodes of the process.
            own = ["--ros-args", "-r", f"__ns:={namespace}"]
            nodes.append(DepthReflNode(stopping, engines, cli_args=own))
        for node in nodes:
            for doubt in doubts:
                node.get_logger().warning(doubt)
                node.diagnostics.problem("environment", doubt, lasting=True)
        for doubt in doubtful_arguments(nodes, arguments):
            nodes[0].get_logger().warning(doubt)
        running, nodes = nodes, []  # each is closed where it has run
        _run_all(running, stopping)
    except (ParameterException, SettingError) as error:  # the former of rclpy's own parameters
        rclpy.logging.get_logger(name).fatal(str(error))
        return 1, False
    except OSError as error:  # from the environment
        print(f"depthrefl_node: {error}", file=sys.stderr)
        return 1, False
    finally:
        for node in nodes:
            node.destroy_node()
        rclpy.try_shutdown()
    return 0, is_anything_left_behind()


def camera_namespaces() -> list[str]:
    """Return the namespace of each node that the process shall have, by the parameter ``cameras``.

    Raises:
        SettingError: a camera has no valid name, or two have the same.
    """
    from rclpy.node import Node

    from depthrefl_ros.settings import names_in

    # Which nodes there are has to be known before there is one: this one only asks.
    asking = Node("depthrefl", start_parameter_services=False, enable_rosout=False)
    try:
        given = asking._parameter_overrides.get("cameras")
        namespace = asking.get_namespace()
    finally:
        asking.destroy_node()
    names = names_in("cameras", None if given is None else given.value)
    return [f"{namespace.rstrip('/')}/{name}" for name in names] or [namespace]


def _run_all(nodes: Sequence[DepthReflNode], stopping: threading.Event) -> None:
    """Run each node in a thread of its own until the process is to stop, and close it there.

    What one node waits for, such as its engine at a transition, then holds up no other one.
    """
    others = [
        threading.Thread(
            target=_run_node, args=(node, stopping), name=node.get_namespace(), daemon=True
        )
        for node in nodes[1:]
    ]
    for other in others:
        other.start()
    _run_node(nodes[0], stopping)
    for other in others:
        other.join()


def _run_node(node: DepthReflNode, stopping: threading.Event) -> None:
    """Run the node's callbacks until the process is to stop; whatever they raise, go on."""
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

    executor = SingleThreadedExecutor()
    executor.add_node(node)
    if not stopping.is_set():
        node.autostart()
    while not stopping.is_set():
        try:
            executor.spin_once(timeout_sec=STOP_CHECK_S)
        except ExternalShutdownException:
            break
        except Exception as error:
            node.survive(error)
    node.destroy_node()


def doubtful_arguments(nodes: Sequence[Node], arguments: Sequence[str]) -> list[str]:
    """Return a sentence for each command line argument that has no effect, or a doubtful one.

    Args:
        nodes: of this process.
        arguments: ``sys.argv``, the program's name first.
    """
    # Imported here: signals must find their handlers before anything else is imported.
    from rclpy.utilities import remove_ros_args

    doubts = [
        f"argument {unknown!r} is not known; ROS arguments come after --ros-args"
        for unknown in remove_ros_args(list(arguments))[1:]
    ]
    given = list(_pairs(arguments))
    for flag, value in given:
        if flag in ("-r", "--remap"):
            of_each = [_remap_doubts(node, value) for node in nodes]
            doubts += of_each[0] if all(of_each) else []
    for flag, value in given:
        if flag == "--params-file":
            doubts += _section_doubts(nodes, value)
    return doubts + _image_doubts(nodes)


def _pairs(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the ROS arguments as flag and value."""
    rest = list(arguments)
    while "--ros-args" in rest:
        rest = rest[rest.index("--ros-args") + 1 :]
        end = rest.index("--") if "--" in rest else len(rest)
        yield from zip(rest[:end], rest[1:end], strict=False)


def _remap_doubts(node: Node, rule: str) -> list[str]:
    """Return what is doubtful about one rule such as ``image:=/camera/image_raw``.

    Relative names are in the node's namespace, as rcl takes them.
    """
    name = rule.split(":=")[0].rpartition(":")[2].removeprefix("//")  # of rostopic://image
    if name.startswith("__"):  # the node's own name or namespace
        return []
    from depthrefl_ros.ros.bond import TOPIC as BOND
    from depthrefl_ros.ros.parameters import nearest
    from depthrefl_ros.ros.publishers import TYPES
    from depthrefl_ros.ros.sensors import SENSOR_TYPES

    known = ["image", "image/compressed", "camera_info", *SENSOR_TYPES, *TYPES, BOND]
    others = [f"{node.resolve_topic_name('image')}/compressed", *_OTHER_TOPICS]
    full = node.resolve_topic_name(name, only_expand=True)
    if full in [node.resolve_topic_name(one, only_expand=True) for one in known + others]:
        return []
    if full.startswith(f"{node.get_fully_qualified_name()}/"):  # its services
        return []
    absolute = f"/{name}" in _OTHER_TOPICS
    meant = f"; did you mean '/{name}'?" if absolute else nearest(name.strip("/"), known)
    return [f"remap {rule!r}: there is no topic {name!r}{meant}"]


def _image_doubts(nodes: Sequence[Node]) -> list[str]:
    """Return which cameras take the images of another one."""
    taken: dict[str, list[str]] = {}
    for node in nodes:
        taken.setdefault(node.resolve_topic_name("image"), []).append(node.get_namespace())
    return [
        f"cameras {' and '.join(cameras)} take the same {topic}: remap image to a name without a "
        f"leading slash, which is then below each camera's own, or remap {cameras[0]}/image alone"
        for topic, cameras in taken.items()
        if len(cameras) > 1
    ]


def _section_doubts(nodes: Sequence[Node], path: str) -> list[str]:
    """Return which sections of a parameter file name other nodes than these."""
    import yaml

    from depthrefl_ros.ros.parameters import nearest

    try:
        with open(path, encoding="utf-8") as file:
            content = yaml.safe_load(file)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return []  # rcl has read it already, or has told why not
    names = list(_sections(content if isinstance(content, dict) else {}))
    own, name = [node.get_fully_qualified_name() for node in nodes], nodes[0].get_name()
    is_alone = len(nodes) == 1
    strays = [one for one in names if not any(_is_for(one, node, is_alone) for node in nodes)]
    of_others = [one for one in strays if one.rpartition("/")[2] != name]
    if len(strays) < len(names) and strays == of_others:
        return []
    these = f"this node, {own[0]}" if is_alone else f"these nodes, {', '.join(own)}"
    return [
        f"{path}: no section is for {these}: {', '.join(strays) or 'it has none'}"
        f"{nearest(name, [one.strip('/') for one in strays]) if is_alone else '; /** is for all'}"
    ]


def _sections(content: dict, prefix: str = "") -> Iterator[str]:
    """Yield the node names of a parameter file; namespaces may be nested."""
    for name, inner in content.items():
        full = f"{prefix}/{str(name).strip('/')}" if prefix or "/" in str(name) else str(name)
        if isinstance(inner, dict) and "ros__parameters" in inner:
            yield full
        elif isinstance(inner, dict):
            yield from _sections(inner, full)


def _is_for(section: str, node: Node, is_alone: bool) -> bool:
    """Return whether a section is for a node, ``/**`` and ``/*`` included.

    A section that lacks the namespace is taken for a node that is alone: launch files add it.
    """
    if is_alone:
        return section.strip("/").rpartition("/")[2] in ("**", "*", node.get_name())
    pattern = re.escape(f"/{section.strip('/')}").replace(r"\*\*", ".*").replace(r"\*", "[^/]*")
    return re.fullmatch(pattern, node.get_fully_qualified_name()) is not None


if __name__ == "__main__":
    sys.exit(main())
