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

"""What a middleware and cv_bridge can do here."""

import os
import subprocess

import numpy as np
import pytest

from depthrefl_ros.ros import middleware
from depthrefl_ros.tools import machine, machine_ros, ros_probes


@pytest.fixture
def fast_dds(monkeypatch):
    """Fast DDS with nothing set."""
    for name in (middleware.PROFILE_VARIABLE, middleware.OLD_PROFILE_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def large_clouds(rmw: str = "rmw_fastrtps_cpp") -> machine.Finding:
    return machine_ros.large_clouds(rmw)


def test_large_clouds_pass_with_our_profile_where_shared_memory_is_ample(fast_dds, tmp_path):
    fast_dds.setattr(middleware, "SHARED_MEMORY", tmp_path)  # a disk: gigabytes are free
    found = large_clouds()
    assert found.state == "ok" and found.facts["passes"]
    assert found.facts["segment_size"] == 64 << 20


def test_scarce_shared_memory_is_warned_about(fast_dds, tmp_path):
    fast_dds.setattr(middleware, "SHARED_MEMORY", tmp_path / "none")
    found = large_clouds()
    assert found.state == "warning" and not found.facts["passes"]
    assert "--shm-size" in found.text


@pytest.mark.parametrize("size, passes", [(64 << 20, True), (512 << 10, False)])
def test_a_users_own_profile_is_judged_by_its_sizes(fast_dds, tmp_path, size, passes):
    fast_dds.setattr(middleware, "SHARED_MEMORY", tmp_path)
    profile = tmp_path / "mine.xml"
    profile.write_text(
        f"<segment_size>{size}</segment_size><maxMessageSize>{size}</maxMessageSize>"
    )
    fast_dds.setenv(middleware.PROFILE_VARIABLE, str(profile))
    found = large_clouds()
    assert found.facts["passes"] is passes and str(profile) in found.text
    assert found.state == ("ok" if passes else "warning")


def test_a_users_profile_under_a_name_that_is_not_read_is_warned_about(fast_dds, tmp_path):
    fast_dds.setenv("ROS_DISTRO", "jazzy")
    fast_dds.setenv(middleware.PROFILE_VARIABLE, str(middleware.share_path(middleware.PROFILE)))
    found = large_clouds()
    assert found.state == "warning" and f"set {middleware.OLD_PROFILE_VARIABLE}" in found.text
    fast_dds.setenv(middleware.OLD_PROFILE_VARIABLE, os.environ[middleware.PROFILE_VARIABLE])
    assert "does not read" not in large_clouds().text


def test_a_users_profile_that_is_not_there_is_warned_about(fast_dds):
    fast_dds.setenv(middleware.PROFILE_VARIABLE, "/none/mine.xml")
    found = large_clouds()
    assert found.state == "warning" and "/none/mine.xml, which is no file" in found.text


def test_a_users_profile_must_fit_into_shared_memory(fast_dds, tmp_path):
    fast_dds.setattr(middleware, "free_bytes", lambda folder: 63 << 20)
    fast_dds.setenv(middleware.PROFILE_VARIABLE, str(middleware.share_path(middleware.PROFILE)))
    found = large_clouds()
    assert found.state == "warning" and not found.facts["passes"]
    assert "64 MiB of shared memory, 63 MiB are free" in found.text


def test_a_profile_without_shared_memory_is_warned_about(fast_dds, tmp_path):
    profile = tmp_path / "mine.xml"
    profile.write_text("<type>UDPv4</type>")
    fast_dds.setenv(middleware.PROFILE_VARIABLE, str(profile))
    found = large_clouds()
    assert found.state == "warning" and found.facts["segment_size"] == 0


@pytest.mark.parametrize(
    "allowed, uri, advice",
    [
        ("212992\n", "", ("net.core.rmem_max=2147483647", "SocketReceiveBufferSize")),
        ("2147483647\n", "", ("SocketReceiveBufferSize",)),
        (None, "file:///etc/cyclone.xml", ("net.core.rmem_max=2147483647", "not shown")),
        ("2147483647\n", "file:///etc/cyclone.xml", ()),
    ],
)
def test_cyclone_needs_a_large_receive_buffer(monkeypatch, tmp_path, allowed, uri, advice):
    limit = tmp_path / "rmem_max"
    if allowed:
        limit.write_text(allowed)
    monkeypatch.setattr(machine_ros, "_RECEIVE_BUFFER_LIMIT", limit)
    monkeypatch.setenv("CYCLONEDDS_URI", uri)
    found = large_clouds("rmw_cyclonedds_cpp")
    assert found.state == ("warning" if advice else "ok")
    assert ("may get lost" in found.text) == bool(advice)
    for words in advice:
        assert words in found.text


def test_another_middleware_is_named_and_not_judged():
    found = large_clouds("rmw_zenoh_cpp")
    assert found.state == "warning" and "rmw_zenoh_cpp" in found.text
    assert "passes" not in found.facts


def test_the_distribution_of_wheels_is_known(monkeypatch):
    pytest.importorskip("rclpy")
    monkeypatch.delenv("ROS_DISTRO", raising=False)
    monkeypatch.delenv("RMW_IMPLEMENTATION", raising=False)
    found = machine_ros.probed("ROS")
    if "from PyPI" not in found.text:
        pytest.skip("ROS is not from PyPI")
    assert found.facts["distribution"].isalpha() and found.facts["distribution"] in found.text
    assert found.facts["rmw"].startswith("rmw_")


def test_cv_bridges_faults_are_found_by_trying():
    pytest.importorskip("cv_bridge")
    pytest.importorskip("sensor_msgs")
    found = machine_ros.probed("cv_bridge")
    # bgr8 in packed rows is read correctly by every cv_bridge beside OpenCV 4.
    assert "bgr8" not in found.facts["faults"]
    if found.facts["version"].startswith("1.13"):
        expected = {"padded rows", "16UC1", "yuv422_yuy2"}
        assert found.state == "warning" and expected <= set(found.facts["faults"])
        # Removed from numpy in 2.3; this cv_bridge calls it.
        assert hasattr(np.ndarray, "tostring") or "writing messages" in found.facts["faults"]


@pytest.mark.parametrize("rmw", ["", "rmw_nobodys_cpp"])
def test_a_probe_that_dies_is_told_without_colours(monkeypatch, rmw):
    monkeypatch.setenv("RMW_IMPLEMENTATION", rmw)
    died = subprocess.CompletedProcess([], -6, "", "\x1b[37;1mbad \x1b[31;1mport\x1b[m\n")
    monkeypatch.setattr(machine_ros.subprocess, "run", lambda *_, **__: died)
    text = machine_ros.probed("ROS").text
    assert "is killed by SIGABRT: bad port" in text and "\x1b" not in text
    assert ("RMW_IMPLEMENTATION" in text) is bool(rmw)


@pytest.mark.parametrize(
    "domain, rmw, is_possible",
    [
        ("", "rmw_fastrtps_cpp", True),
        ("232", "rmw_fastrtps_cpp", True),
        ("233", "rmw_fastrtps_cpp", False),
        ("one", "rmw_cyclonedds_cpp", False),
        ("999", "rmw_zenoh_cpp", True),
    ],
)
def test_a_domain_above_232_has_no_ports(domain, rmw, is_possible):
    problem = ros_probes._domain_problem(domain, rmw)
    assert ("0 to 232 are possible" not in problem) is is_possible
