"""The transport under ROS: shared memory large enough for clouds.

With Fast DDS's default transports a best-effort subscriber in another process never sees a
640x480 image. A profile in the *publisher's* process mends that for every subscriber.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

PACKAGE = "depthrefl_ros"
PROFILE = "config/fastdds_large_clouds.xml"
PROFILE_VARIABLE = "FASTDDS_DEFAULT_PROFILES_FILE"
# The name that Fast DDS 2 reads; later releases warn of it at every start.
OLD_PROFILE_VARIABLE = "FASTRTPS_DEFAULT_PROFILES_FILE"
OLD_DISTRIBUTIONS = ("humble", "iron", "jazzy")
SHARED_MEMORY = Path("/dev/shm")


def share_path(relative: str) -> Path:
    """A file of the package's share folder: installed by colcon, by pip, or in the source tree.

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


def use_large_message_transport() -> Path | None:
    """Points Fast DDS at our profile, unless the user chose a profile or another middleware.

    To be called before ``rclpy.init``: Fast DDS reads the variables once.

    Returns:
        The profile now in use, or None where the environment was left alone.
    """
    if not os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp").startswith("rmw_fastrtps"):
        return None
    if os.environ.get(PROFILE_VARIABLE) or os.environ.get(OLD_PROFILE_VARIABLE):
        return None
    try:
        shipped = share_path(PROFILE)
    except FileNotFoundError as error:  # a broken installation; the node works without
        print(f"large messages may get lost between processes: {error}", file=sys.stderr)
        return None
    profile = fitting_profile(shipped, free_bytes(SHARED_MEMORY))
    os.environ[PROFILE_VARIABLE] = str(profile)
    if os.environ.get("ROS_DISTRO") in OLD_DISTRIBUTIONS:
        os.environ[OLD_PROFILE_VARIABLE] = str(profile)
    return profile


def fitting_profile(profile: Path, free_bytes: int) -> Path:
    """The profile, or a copy whose shared-memory segment is a quarter of what is free.

    Containers often have 64 MB of shared memory in all; a segment that does not fit leaves the
    node without the transport.

    Args:
        profile: the shipped XML.
        free_bytes: free shared memory.

    Returns:
        The shipped file itself where its segment fits, else a copy in a private temporary folder
        that goes when the process ends.
    """
    text = profile.read_text(encoding="utf-8")
    allowed = free_bytes // 4
    if size_in(text, "segment_size") <= allowed:
        return profile
    text = _with_size(text, "segment_size", allowed)
    # A message cannot be larger than the segment that it lies in.
    text = _with_size(text, "maxMessageSize", min(size_in(text, "maxMessageSize"), allowed))
    folder = Path(tempfile.mkdtemp(prefix=f"{PACKAGE}-fastdds-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    adapted = folder / profile.name
    adapted.write_text(text, encoding="utf-8")
    return adapted


def free_bytes(folder: Path) -> int:
    """Free space of the file system that a folder lies on; 0 where there is no such folder."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0


def size_in(text: str, tag: str) -> int:
    """The largest number in an XML text's tags of this name, bytes; 0 where there is none."""
    sizes = re.findall(rf"<{tag}>\s*(\d+)\s*</{tag}>", text)
    return max(map(int, sizes), default=0)


def _with_size(text: str, tag: str, size: int) -> str:
    return re.sub(rf"<{tag}>.*?</{tag}>", f"<{tag}>{size}</{tag}>", text)
