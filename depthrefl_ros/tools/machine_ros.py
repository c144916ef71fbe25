"""What this machine has of ROS 2: the distribution, whether large clouds pass, cv_bridge."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from depthrefl_ros.ros import middleware
from depthrefl_ros.tools.machine import Finding, guarded, package_version

# An organised cloud of 640x480 points, 16 bytes each; and one more while it is being read.
_CLOUD_BYTES = 640 * 480 * 16
_NEEDED_BYTES = 2 * _CLOUD_BYTES


def findings() -> Iterator[Finding]:
    """Everything about ROS."""
    yield guarded("ROS", _ros)
    yield guarded("large clouds", _large_clouds)
    yield guarded("cv_bridge", _cv_bridge)


def _ros() -> Finding:
    distribution = os.environ.get("ROS_DISTRO", "")
    facts = {"distribution": distribution, "domain": os.environ.get("ROS_DOMAIN_ID", "0")}
    try:
        import rclpy  # noqa: F401  what the node needs is that it can be imported
        import sensor_msgs.msg  # noqa: F401
    except Exception as error:  # a workspace half sourced raises anything
        hint = "source a ROS 2 workspace, or in the checkout pip install '.[ros]'"
        return Finding("ROS", "missing", f"the node cannot run ({error}): {hint}", facts)
    wheel = package_version(*(f"ros-{name}-rclpy" for name in ("kilted", "jazzy", "humble")))
    facts["rclpy"] = wheel or package_version("rclpy")
    origin = distribution or ("from PyPI" if wheel else "not sourced")
    return Finding("ROS", "ok", f"rclpy {facts['rclpy']}, {origin}", facts)


def _rmw() -> str:
    """The middleware that a node would use; empty where ROS is missing."""
    try:
        from rclpy.utilities import get_rmw_implementation_identifier

        return get_rmw_implementation_identifier()
    except Exception:
        return os.environ.get("RMW_IMPLEMENTATION", "")


def _large_clouds() -> Finding:
    rmw = _rmw()
    facts: dict[str, Any] = {"rmw": rmw}
    if not rmw:
        return Finding("large clouds", "missing", "no middleware without ROS", facts)
    if not rmw.startswith("rmw_fastrtps"):
        text = f"{rmw}: nothing is set for it, and it was not measured with this package"
        return Finding("large clouds", "ok", text, facts)
    # The old name too: Fast DDS 2 reads it, and the executables leave either alone.
    variables = (middleware.PROFILE_VARIABLE, middleware.OLD_PROFILE_VARIABLE)
    chosen = [(name, os.environ[name]) for name in variables if os.environ.get(name)]
    if chosen:
        return _users_profile(rmw, *chosen[0], facts)
    try:
        free = shutil.disk_usage(middleware.SHARED_MEMORY).free
    except OSError:
        free = 0
    shipped = middleware.share_path(middleware.PROFILE)
    profile = middleware.fitting_profile(shipped, free)
    facts |= {"profile": str(shipped), **_sizes(profile), "shared_memory_free_bytes": free}
    text = f"{rmw} with {shipped.name}: {facts['segment_size'] / 2**20:.0f} MiB of shared memory"
    return _judge(text, facts, "give it more shared memory (docker run --shm-size=512m)")


def _users_profile(rmw: str, variable: str, path: str, facts: dict[str, Any]) -> Finding:
    text = f"{rmw} with your own {variable}={path}"
    facts["profile"] = path
    if not Path(path).is_file():
        return Finding("large clouds", "warning", f"{text}, which is no file", facts)
    facts |= _sizes(Path(path))
    return _judge(text, facts, f"compare it with {middleware.share_path(middleware.PROFILE)}")


def _sizes(profile: Path) -> dict[str, int]:
    """``segment_size`` and ``maxMessageSize`` of shared memory in a Fast DDS profile, bytes."""
    text = profile.read_text(encoding="utf-8")
    found = {
        tag: [int(size) for size in re.findall(rf"<{tag}>\s*(\d+)\s*</{tag}>", text)]
        for tag in ("segment_size", "maxMessageSize")
    }
    return {tag: max(sizes, default=0) for tag, sizes in found.items()}


def _judge(text: str, facts: dict[str, Any], mend: str) -> Finding:
    passes = facts["segment_size"] >= _NEEDED_BYTES and facts["maxMessageSize"] >= _CLOUD_BYTES
    facts["passes"] = passes
    if passes:
        return Finding("large clouds", "ok", f"{text}; a 640x480 cloud passes", facts)
    lost = f"a 640x480 cloud ({_CLOUD_BYTES / 1e6:.1f} MB) may get lost: {mend}"
    return Finding("large clouds", "warning", f"{text}; {lost}", facts)


def _cv_bridge() -> Finding:
    if importlib.util.find_spec("cv_bridge") is None:
        text = "not installed; plain encodings are read without it, YUV and Bayer by OpenCV"
        return Finding("cv_bridge", "missing", text)
    try:
        import cv2
        import numpy as np
        from cv_bridge import CvBridge
        from sensor_msgs.msg import Image
    except Exception as error:  # one built for numpy 1 raises anything under numpy 2
        text = f"cannot be imported ({type(error).__name__}: {error}); the node does without it"
        return Finding("cv_bridge", "warning", text)
    known = package_version("cv-bridge", "cv_bridge") or "of unknown version"
    faults = _faults(CvBridge(), np, Image)
    facts = {"version": known, "numpy": np.__version__, "opencv": cv2.__version__, "faults": faults}
    text = f"{known} with numpy {np.__version__} and OpenCV {cv2.__version__}"
    if not faults:
        return Finding("cv_bridge", "ok", text, facts)
    listed = "; ".join(f"{name}: {why}" for name, why in faults.items())
    hint = "the node works around these, other nodes in this environment may not"
    return Finding("cv_bridge", "warning", f"{text} fails on {listed} ({hint})", facts)


def _faults(bridge: Any, np: Any, image: type) -> dict[str, str]:
    """What this very cv_bridge does wrong, tried out on small images."""
    grey = np.arange(24, dtype=np.uint8).reshape(4, 6)

    def message(encoding: str, pixels: Any, step: int | None = None, big: int = 0) -> Any:
        made = image(height=4, width=6, encoding=encoding, is_bigendian=big)
        made.step = step or pixels.nbytes // 4
        made.data = pixels.tobytes()
        return made

    def reads(made: Any, expected: Any) -> None:
        found = bridge.imgmsg_to_cv2(made, "passthrough")
        if not np.array_equal(found, expected):
            raise ValueError("comes out wrong")

    colour = np.repeat(grey[..., None], 3, axis=2)
    deep = grey.astype(np.uint16) * 100
    padded = np.pad(grey, ((0, 0), (0, 2)))
    tries: dict[str, Callable[[], Any]] = {
        "bgr8": lambda: reads(message("bgr8", colour), colour),
        "padded rows": lambda: reads(message("mono8", padded, step=8), grey),
        "16UC1": lambda: reads(message("16UC1", deep), deep),
        "big-endian 16UC1": lambda: reads(message("16UC1", deep.byteswap(), big=1), deep),
        "yuv422_yuy2": lambda: bridge.imgmsg_to_cv2(
            message("yuv422_yuy2", np.full((4, 6, 2), 128, np.uint8)), "bgr8"
        ),
        "writing messages": lambda: bridge.cv2_to_imgmsg(colour, "bgr8"),
    }
    faults = {}
    for name, attempt in tries.items():
        try:
            attempt()
        except Exception as error:
            faults[name] = f"{type(error).__name__}: {error}"
    return faults
