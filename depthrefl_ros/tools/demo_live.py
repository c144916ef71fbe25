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

"""The demo as something to watch: camera, node and page until Ctrl-C; nothing is recorded."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from depthrefl_ros.tools.command_line import StopRequest
from depthrefl_ros.tools.processes import Child, Children

POLL_S = 0.1
STOP_WITHIN_S = 15.0


def play_live(
    camera: list[str],
    node: list[str],
    view: list[str],
    environment: dict[str, str],
    stop: StopRequest,
    seconds: float | None = None,
) -> None:
    """Run camera, node and page, and hand on what the page says, until a stop.

    Args:
        camera: arguments of ``camera_source``.
        node: arguments of the node.
        view: arguments of ``view``.
        environment: of all three.
        stop: ends it.
        seconds: ends it as well; None for never.

    Raises:
        ToolError: one of the three has failed; with the end of what it said.
        ImportError: the page's web server is not installed.
    """
    import tornado  # noqa: F401  before anything is started

    end_s = None if seconds is None else time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="depthrefl_live_") as folder:
        with Children(Path(folder), environment) as children:
            module = "depthrefl_ros.tools"
            # The page first: that its port is taken shows at once.
            page = children.start("view", "-m", f"{module}.view", *view)
            source = children.start("source", "-m", f"{module}.camera_source", *camera)
            children.start("node", "-m", "depthrefl_ros.ros.node", *node)
            told = 0
            while not stop and (end_s is None or time.monotonic() < end_s):
                children.check()
                told = _hand_on(page, told)
                if not source.is_running:
                    print("the source has ended", flush=True)
                    break
                stop.sleep_until(time.monotonic() + POLL_S)
            page.interrupt()
            page.wait(STOP_WITHIN_S)
            _hand_on(page, told)


def _hand_on(child: Child, told: int) -> int:
    """Print the whole lines that a child has written since; return how many there are."""
    text = child.output()
    lines = text[: text.rfind("\n") + 1].splitlines()
    for line in lines[told:]:
        print(line, flush=True)
    return len(lines)
