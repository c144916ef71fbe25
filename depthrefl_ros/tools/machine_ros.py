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

"""What this machine has of ROS 2: the distribution, whether large clouds pass, cv_bridge."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from depthrefl_ros.ros import middleware
from depthrefl_ros.tools.machine import Finding, guarded

# An organised cloud of 640x480 points, 16 bytes each; and one more while it is being read.
_CLOUD_BYTES = 640 * 480 * 16
_NEEDED_BYTES = 2 * _CLOUD_BYTES
# ROS 2's guide "DDS tuning": for messages of 9 MB, Cyclone DDS needs a receive buffer of 10 MB,
# which the kernel must allow and the configuration ask for.
_CYCLONE_BUFFER_BYTES = 10 << 20
_CYCLONE_ADVICE = "docs.ros.org, DDS tuning"
_RECEIVE_BUFFER_LIMIT = Path("/proc/sys/net/core/rmem_max")
_IMPORT_FOLDER = Path(__file__).resolve().parents[2]
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # of a terminal, in what a middleware says
_PROBE_S = 60  # an import from a slow card takes seconds
_MENDS = {
    "ROS": "install the middleware that RMW_IMPLEMENTATION names, or unset the variable",
    "cv_bridge": "pip uninstall cv-bridge, or install the numpy that it was built for",
}


def findings() -> Iterator[Finding]:
    """Yield everything about ROS."""
    ros = probed("ROS")
    yield ros
    rmw = ros.facts.get("rmw", "")
    yield guarded("large clouds", lambda: large_clouds(rmw))
    yield probed("cv_bridge")


def probed(name: str) -> Finding:
    """Return what ``ros_probes`` finds; where its process ends in any other way, that is an error.

    Args:
        name: ``ROS`` or ``cv_bridge``.
    """
    command = [sys.executable, "-m", "depthrefl_ros.tools.ros_probes", name]
    try:
        done = subprocess.run(
            command,
            cwd=_IMPORT_FOLDER,  # `-m` puts it in front of all modules: not the user's
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PROBE_S,
        )
        if done.returncode == 0:
            return Finding(**json.loads(done.stdout.splitlines()[-1]))
        how, said = _ending(done.returncode), done.stderr.strip().splitlines()[-1:]
    except subprocess.TimeoutExpired:
        how, said = f"does not answer within {_PROBE_S} s", []
    except (OSError, ValueError, TypeError, IndexError) as error:
        how, said = "gives no answer", [str(error)]
    rmw = os.environ.get("RMW_IMPLEMENTATION", "")
    chosen = f" with RMW_IMPLEMENTATION={rmw}" if rmw else ""
    mend = f" ({_MENDS[name]})" if rmw or name != "ROS" else ""
    words = _COLOUR.sub("", ": ".join([how, *said]))
    text = f"the process that imports it{chosen} {words}{mend}"
    return Finding(name, "error", text, {"rmw": rmw})


def _ending(code: int) -> str:
    if code >= 0:
        return f"ends with exit code {code}"
    return f"is killed by {signal.Signals(-code).name}"


def large_clouds(rmw: str) -> Finding:
    """Return whether a 640x480 cloud reaches a best-effort subscriber in another process.

    Args:
        rmw: the middleware, ``rmw_fastrtps_cpp``...; empty without ROS.
    """
    facts: dict[str, Any] = {"rmw": rmw}
    if not rmw:
        return Finding("large clouds", "missing", "no middleware without ROS", facts)
    if rmw.startswith("rmw_cyclonedds"):
        return _cyclone(rmw, facts)
    if not rmw.startswith("rmw_fastrtps"):
        text = f"{rmw}: this package has no settings for it and was not tested with it"
        return Finding("large clouds", "warning", text, facts)
    facts["shared_memory_free_bytes"] = middleware.free_bytes(middleware.SHARED_MEMORY)
    # The old name too: Fast DDS 2 reads it, and the executables leave either alone.
    variables = (middleware.PROFILE_VARIABLE, middleware.OLD_PROFILE_VARIABLE)
    chosen = [name for name in variables if os.environ.get(name)]
    shipped = middleware.share_path(middleware.PROFILE)
    if not chosen:
        transport = middleware.large_message_transport()
        if transport.profile is None:
            facts["passes"] = False
            return Finding("large clouds", "warning", f"{rmw}: {transport.problem}", facts)
        mend = "give it more shared memory (docker run --shm-size=512m)"
        return _fast_dds(f"{rmw} with {shipped.name}", transport.profile, facts, mend)
    profile = Path(os.environ[chosen[0]])
    text = f"{rmw} with your own {chosen[0]}={profile}"
    if middleware.reads_old_variable() and middleware.OLD_PROFILE_VARIABLE not in chosen:
        text += f", which this release does not read: set {middleware.OLD_PROFILE_VARIABLE}, too"
        return Finding("large clouds", "warning", text, facts)
    if not profile.is_file():
        return Finding("large clouds", "warning", f"{text}, which is no file", facts)
    return _fast_dds(text, profile, facts, f"compare it with {shipped}")


def _fast_dds(text: str, profile: Path, facts: dict[str, Any], mend: str) -> Finding:
    content = profile.read_text(encoding="utf-8")
    segment = middleware.size_in(content, "segment_size")
    message = middleware.size_in(content, "maxMessageSize")
    free = facts["shared_memory_free_bytes"]
    passes = _NEEDED_BYTES <= segment <= free and message >= _CLOUD_BYTES
    facts |= {
        "profile": str(profile),
        "segment_size": segment,
        "maxMessageSize": message,
        "passes": passes,
    }
    text += f": {segment / 2**20:.0f} MiB of shared memory, {free / 2**20:.0f} MiB are free"
    if passes:
        return Finding("large clouds", "ok", f"{text}; a 640x480 cloud passes", facts)
    lost = f"a 640x480 cloud ({_CLOUD_BYTES / 1e6:.1f} MB) may get lost: {mend}"
    return Finding("large clouds", "warning", f"{text}; {lost}", facts)


def _cyclone(rmw: str, facts: dict[str, Any]) -> Finding:
    try:
        allowed = int(_RECEIVE_BUFFER_LIMIT.read_text())
    except OSError:  # containers with a network of their own may not show it
        allowed = 0
    facts |= {"rmem_max": allowed, "profile": os.environ.get("CYCLONEDDS_URI", "")}
    mends = []
    if allowed < _CYCLONE_BUFFER_BYTES:
        mends.append("sudo sysctl -w net.core.rmem_max=2147483647")
    if not facts["profile"]:
        mends.append('CYCLONEDDS_URI with <SocketReceiveBufferSize min="10MB"/>')
    text = f"{rmw}: not measured with this package; net.core.rmem_max is {allowed or 'not shown'}"
    if not mends:
        return Finding("large clouds", "ok", f"{text}, as ROS 2 advises", facts)
    text += f"; a 640x480 cloud may get lost: {' and '.join(mends)} ({_CYCLONE_ADVICE})"
    return Finding("large clouds", "warning", text, facts)
