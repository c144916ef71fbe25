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

"""Child processes that share a ROS domain of their own and never outlive their parent's block."""

from __future__ import annotations

import argparse
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from depthrefl_ros.tools.command_line import ToolError

STOP_WITHIN_S = 10.0  # from SIGINT to SIGKILL
# Ports of higher domains lie in the range that systems hand out to outgoing connections.
HIGHEST_DOMAIN = 100
LAST_DOMAIN = 232  # beyond it, ports would end above 65535
TAIL_LINES = 15


def ros_domain(text: str) -> int:
    """Return a ROS domain; for argparse's ``type``."""
    number = int(text)
    if not 0 <= number <= LAST_DOMAIN:
        raise argparse.ArgumentTypeError(f"{text!r} must be 0 to {LAST_DOMAIN}")
    return number


def free_domain() -> int:
    """Return a ROS domain in which no other process on this machine seems to be.

    DDS-RTPS 2.5, section 9.6.2.3: the first participant of domain d takes UDP port
    7410 + 250 d on its machine.
    """
    candidates = random.sample(range(1, HIGHEST_DOMAIN + 1), HIGHEST_DOMAIN)
    for domain in candidates:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", 7410 + 250 * domain))
            except OSError:
                continue
            return domain
    return candidates[0]


def isolated_environment(domain: int | None = None, localhost: bool = True) -> dict[str, str]:
    """Return this process's environment with a ROS domain of its own.

    Args:
        domain: the ROS domain; None for one that seems free.
        localhost: nothing leaves this machine.
    """
    environment = dict(os.environ)
    environment["ROS_DOMAIN_ID"] = str(free_domain() if domain is None else domain)
    if not localhost:
        for name in ("ROS_LOCALHOST_ONLY", "ROS_AUTOMATIC_DISCOVERY_RANGE"):
            environment.pop(name, None)
    elif environment.get("ROS_DISTRO") == "humble":
        environment["ROS_LOCALHOST_ONLY"] = "1"
    else:
        environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    return environment


def cpu_times() -> tuple[float, float] | None:
    """Return idle and all ticks of all cores so far; None where no /proc/stat says so."""
    try:
        ticks = [int(text) for text in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    except (OSError, ValueError):
        return None
    return ticks[3] + ticks[4], sum(ticks)


def share_busy(
    before: tuple[float, float] | None, after: tuple[float, float] | None
) -> float | None:
    """Return the share of all cores' time that was used between two ``cpu_times``."""
    if before is None or after is None or after[1] <= before[1]:
        return None
    return 1.0 - (after[0] - before[0]) / (after[1] - before[1])


class Child:
    """A running child process whose output goes to a file.

    Attributes:
        name: for messages.
        log: file with its stdout and stderr.
        process: the process.
    """

    def __init__(self, name: str, command: list[str], environment: dict[str, str], log: Path):
        self.name = name
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is the parent's, who ends its children in order
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.poll() is None

    def output(self) -> str:
        """Return what it has written so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def last_line(self) -> str:
        """Return the last line that it has written."""
        return (self.output().strip().splitlines() or ["(no output)"])[-1]

    def failure(self, what: str) -> ToolError:
        """Return an error that tells what happened, with the end of the output."""
        tail = "\n".join(f"  | {line}" for line in self.output().splitlines()[-TAIL_LINES:])
        return ToolError(f"{self.name} {what}; the end of {self.log}:\n{tail}")

    def check(self) -> None:
        """Raise ToolError if it has ended with another code than 0."""
        code = self.process.poll()
        if code:
            raise self.failure(f"ended with code {code}")

    def interrupt(self) -> None:
        """Ask it to end, as Ctrl-C does."""
        if self.is_running:
            self.process.send_signal(signal.SIGINT)

    def wait(self, seconds: float) -> int:
        """Wait for its end; returns the exit code.

        Raises:
            ToolError: it did not end in time.
        """
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise self.failure(f"did not end within {seconds:g} s") from None

    def kill(self) -> None:
        """End it at once."""
        if self.is_running:
            self.process.kill()
        self.process.wait()


class Children:
    """Starts Python modules as children in one environment; leaving the block ends them all.

    Args:
        log_folder: gets one ``NAME.txt`` a child.
        environment: of all of them; None for ``isolated_environment()``.
    """

    def __init__(self, log_folder: Path, environment: dict[str, str] | None = None):
        self.environment = isolated_environment() if environment is None else environment
        self._log_folder = log_folder
        self._children: list[Child] = []
        log_folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            child.interrupt()
        end = time.monotonic() + STOP_WITHIN_S
        while any(child.is_running for child in self._children) and time.monotonic() < end:
            time.sleep(0.05)
        for child in self._children:
            child.kill()

    def start(self, name: str, *arguments: str) -> Child:
        """Start ``python ARGUMENTS`` with this interpreter."""
        command = [sys.executable, "-u", *arguments]
        child = Child(name, command, self.environment, self._log_folder / f"{name}.txt")
        self._children.append(child)
        return child

    def check(self) -> None:
        """Raise ToolError if one of them has failed."""
        for child in self._children:
            child.check()
