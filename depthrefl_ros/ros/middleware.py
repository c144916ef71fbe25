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

"""What must stand in the environment before ``rclpy.init``: the transport and the log folder.

With Fast DDS's default transports a best-effort subscriber in another process never sees a
640x480 image. A profile in the *publisher's* process fixes that for every subscriber.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from depthrefl_ros.engine.private_files import own_folder, write_whole

PACKAGE = "depthrefl_ros"
PROFILE = "config/fastdds_large_clouds.xml"
PROFILE_VARIABLE = "FASTDDS_DEFAULT_PROFILES_FILE"
# The name that Fast DDS 2 reads; later releases warn of it at every start.
OLD_PROFILE_VARIABLE = "FASTRTPS_DEFAULT_PROFILES_FILE"
OLD_DISTRIBUTIONS = ("humble", "iron", "jazzy")
_FIRST_RCLPY_WITH_FAST_DDS_3 = 8
_DEFAULT_RMW = "rmw_fastrtps_cpp"
SHARED_MEMORY = Path("/dev/shm")
# Fast DDS cannot make a segment in less, and a participant without its transport is mute.
LEAST_SHARED_MEMORY = 1 << 20
_ONE_MACHINE_RANGES = ("LOCALHOST", "OFF")
_LOST = "images and clouds may get lost between processes"
_LOOPBACK_ONLY = "<interfaceWhiteList><address>127.0.0.1</address></interfaceWhiteList>"


class Transport(NamedTuple):
    """How large messages travel between the processes of this machine.

    Attributes:
        profile: Fast DDS's profile that was made for this environment; None where the environment
            is left alone.
        problem: why large messages may get lost, in words; empty where nothing is wrong.
    """

    profile: Path | None = None
    problem: str = ""


def prepare_environment() -> list[str]:
    """Set what ROS needs in this process's environment, before ``rclpy.init`` reads it.

    Every executable calls it. A setting of the user's that works stays as it is.

    Returns:
        What had to be done and what cannot be had, one sentence each, for log and diagnostics.

    Raises:
        OSError: ROS can write its log files nowhere; says which variable to set.
    """
    return [*filter(None, (_use_writable_log_folder(), use_large_message_transport().problem))]


def _use_writable_log_folder() -> str:
    """Set ``ROS_LOG_DIR`` where ROS could not make its own log folder: ``rclpy.init`` would fail.

    Returns:
        Where the log files go and why; empty where ROS's own folder will do.
    """
    try:
        usual = _log_folder()
        usual.mkdir(parents=True, exist_ok=True)
        if os.access(usual, os.W_OK | os.X_OK):
            return ""
        reason = f"{usual} cannot be written"
    except KeyError:
        reason = "HOME is not set"
    except OSError as error:
        reason = f"{usual} cannot be made ({error.strerror})"
    try:
        folder = own_folder() / "log"
        folder.mkdir(0o700, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"ROS can write no log files: {reason}, and {error}, or ROS_LOG_DIR, to a folder that "
            "can be written"
        ) from error
    os.environ["ROS_LOG_DIR"] = str(folder)
    return f"{reason}: ROS's log files go to {folder} (ROS_LOG_DIR chooses another folder)"


def _log_folder() -> Path:
    """Return ROS's log folder, by the rule of ``rcl_logging_get_logging_directory``.

    Raises:
        KeyError: it is below ``~``, and ``HOME`` is not set. rcl does not ask the user database.
    """
    folder = os.environ.get("ROS_LOG_DIR", "")
    if not folder:
        folder = os.path.join(os.environ.get("ROS_HOME", "") or "~/.ros", "log")
    if folder.startswith("~"):
        home = os.environ.get("HOME", "")
        if not home:
            raise KeyError("HOME")
        folder = home + folder[1:]
    return Path(folder)


def share_path(relative: str) -> Path:
    """Return a file of the package's share folder: installed by colcon, by pip, or in the sources.

    Raises:
        FileNotFoundError: it is in none of them; lists where was looked.
    """
    parents = Path(__file__).resolve().parents[2:]
    # The source tree; then /usr/local and ~/.local, where pip puts data outside sys.prefix.
    folders = [Path(sys.prefix) / "share" / PACKAGE, parents[0]]
    folders += [folder / "share" / PACKAGE for folder in parents]
    try:
        from ament_index_python.packages import get_package_share_directory

        folders.insert(0, Path(get_package_share_directory(PACKAGE)))
    except (ImportError, LookupError, OSError):
        pass  # no ROS sourced, or the package is not in its index
    for folder in folders:
        if (folder / relative).exists():
            return folder / relative
    raise FileNotFoundError(f"{relative} is in none of {[str(folder) for folder in folders]}")


def use_large_message_transport() -> Transport:
    """Point Fast DDS at our profile, unless the user chose a profile or another middleware.

    To be called before ``rclpy.init``: Fast DDS reads the variables once.
    """
    transport = large_message_transport()
    if transport.profile is not None:
        os.environ[PROFILE_VARIABLE] = str(transport.profile)
        if reads_old_variable():
            os.environ[OLD_PROFILE_VARIABLE] = str(transport.profile)
    return transport


def reads_old_variable() -> bool:
    """Tell whether the installed Fast DDS reads ``OLD_PROFILE_VARIABLE`` alone, as up to Jazzy.

    By ``ROS_DISTRO``, or where that is not set, as with wheels, by the version of rclpy.
    """
    if distribution := os.environ.get("ROS_DISTRO"):
        return distribution in OLD_DISTRIBUTIONS
    for package in ("rclpy", *(f"ros-{one}-rclpy" for one in OLD_DISTRIBUTIONS)):
        try:
            return int(metadata.version(package).split(".")[0]) < _FIRST_RCLPY_WITH_FAST_DDS_3
        except metadata.PackageNotFoundError:
            continue
    return False


def large_message_transport() -> Transport:
    """Choose the profile for this environment; nothing is set."""
    if not (os.environ.get("RMW_IMPLEMENTATION") or _DEFAULT_RMW).startswith("rmw_fastrtps"):
        return Transport()
    if os.environ.get(PROFILE_VARIABLE) or os.environ.get(OLD_PROFILE_VARIABLE):
        return Transport()
    free = free_bytes(SHARED_MEMORY)
    if free < LEAST_SHARED_MEMORY:
        found = f"has {free} bytes free" if free else "has nothing free or cannot be written"
        problem = f"{SHARED_MEMORY} {found}: {_LOST}; give it 512 MB (docker run --shm-size=512m)"
        return Transport(problem=problem)
    try:
        shipped = share_path(PROFILE)
        text = fitting_profile(shipped.read_text(encoding="utf-8"), free, is_one_machine())
        return Transport(_stored(text, shipped))
    except OSError as error:  # a broken installation, or a system that cannot be written to
        return Transport(problem=f"{_LOST}: {error}")


def is_one_machine() -> bool:
    """Tell whether the user restricts ROS to this machine.

    ``ROS_LOCALHOST_ONLY`` counts up to Jazzy, ``ROS_AUTOMATIC_DISCOVERY_RANGE`` from Iron on. Each
    is taken as it is meant, whatever the distribution.
    """
    if os.environ.get("ROS_LOCALHOST_ONLY") == "1":
        return True
    return os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE") in _ONE_MACHINE_RANGES


def fitting_profile(text: str, free_bytes: int, one_machine: bool = False) -> str:
    """Return the profile with a shared-memory segment of at most a quarter of what is free.

    Containers often have 64 MB of shared memory in all; a segment that does not fit leaves the
    node without the transport.

    Args:
        text: the shipped XML.
        free_bytes: free shared memory.
        one_machine: UDP is bound to the loopback interface. Humble's middleware restricts only the
            transports that it adds itself, so that ours would open every interface.
    """
    allowed = free_bytes // 4
    if size_in(text, "segment_size") > allowed:
        text = _with_size(text, "segment_size", allowed)
        # A message cannot be larger than the segment that it lies in.
        text = _with_size(text, "maxMessageSize", min(size_in(text, "maxMessageSize"), allowed))
    if one_machine:
        text = re.sub(r"<type>\s*UDPv4\s*</type>", rf"\g<0>\n      {_LOOPBACK_ONLY}", text)
    return text


def _stored(text: str, shipped: Path) -> Path:
    """Return the file that holds this text: the shipped one, or a copy named by its content.

    Raises:
        OSError: it cannot be written.
    """
    if text == shipped.read_text(encoding="utf-8"):
        return shipped
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    path = own_folder() / f"{shipped.stem}-{digest}.xml"
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_whole(path, text.encode())
    return path


def free_bytes(folder: Path) -> int:
    """Return the free space of a folder's file system; 0 where the folder cannot be written."""
    try:
        return shutil.disk_usage(folder).free if os.access(folder, os.W_OK) else 0
    except OSError:
        return 0


def size_in(text: str, tag: str) -> int:
    """Return the largest number, in bytes, in an XML text's tags of this name; 0 without one."""
    sizes = re.findall(rf"<{tag}>\s*(\d+)\s*</{tag}>", text)
    return max(map(int, sizes), default=0)


def _with_size(text: str, tag: str, size: int) -> str:
    return re.sub(rf"<{tag}>.*?</{tag}>", f"<{tag}>{size}</{tag}>", text)
