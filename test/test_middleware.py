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

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from importlib import metadata
from pathlib import Path

import pytest

from depthrefl_ros.ros import middleware
from depthrefl_ros.ros.middleware import (
    fitting_profile,
    prepare_environment,
    share_path,
    use_large_message_transport,
)

ROOT = Path(__file__).resolve().parents[1]
PROFILE = ROOT / "config" / "fastdds_large_clouds.xml"
MIB = 1 << 20
NEW, OLD = middleware.PROFILE_VARIABLE, middleware.OLD_PROFILE_VARIABLE


VARIABLES = (NEW, OLD, "RMW_IMPLEMENTATION", "ROS_DISTRO", "ROS_LOG_DIR", "ROS_HOME")
VARIABLES += ("ROS_LOCALHOST_ONLY", "ROS_AUTOMATIC_DISCOVERY_RANGE", "XDG_RUNTIME_DIR")


@pytest.fixture
def bare_environment(monkeypatch, tmp_path):
    """Nothing chosen by the user; temporary files go to ``tmp_path``."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # so that it is put back even where it was not set before
        monkeypatch.delenv(name)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return monkeypatch


def sizes_in(text):
    found = {}
    for element in ElementTree.fromstring(text.encode()).iter():
        found[element.tag.rsplit("}", 1)[-1]] = (element.text or "").strip()
    return int(found["segment_size"]), int(found["maxMessageSize"])


def open_udp_transports(text):
    """UDP transports of a profile that are bound to anything but the loopback interface."""
    space = "{http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles}"
    found = []
    for one in ElementTree.fromstring(text.encode()).iter(f"{space}transport_descriptor"):
        if one.findtext(f"{space}type") == "UDPv4":
            addresses = [e.text for e in one.iterfind(f"{space}interfaceWhiteList/{space}address")]
            found += [] if addresses == ["127.0.0.1"] else [one]
    return found


def test_share_path_finds_the_config_and_says_where_it_looked():
    assert share_path("config/fastdds_large_clouds.xml").is_file()
    with pytest.raises(FileNotFoundError, match="config/none.xml is in none of .*share"):
        share_path("config/none.xml")


def test_share_path_prefers_the_ament_index(tmp_path, monkeypatch):
    (tmp_path / "share/ament_index/resource_index/packages").mkdir(parents=True)
    (tmp_path / "share/ament_index/resource_index/packages/depthrefl_ros").touch()
    installed = tmp_path / "share/depthrefl_ros/config/depthrefl.yaml"
    installed.parent.mkdir(parents=True)
    installed.touch()
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    assert share_path("config/depthrefl.yaml") == installed


def test_the_shipped_profile_is_for_large_clouds():
    text = PROFILE.read_text()
    assert sizes_in(text) == (64 * MIB, 16 * MIB)
    assert fitting_profile(text, 256 * MIB) == text


@pytest.mark.parametrize(
    "free, segment, message",
    [
        (255 * MIB, 255 * MIB // 4, 16 * MIB),
        (64 * MIB, 16 * MIB, 16 * MIB),
        (8 * MIB, 2 * MIB, 2 * MIB),  # a message never exceeds its segment
    ],
)
def test_a_small_shared_memory_gets_a_profile_that_fits(free, segment, message):
    assert sizes_in(fitting_profile(PROFILE.read_text(), free)) == (segment, message)


def test_the_profile_is_set_unless_somebody_chose(bare_environment):
    transport = use_large_message_transport()
    assert transport == (PROFILE, "")
    assert os.environ[NEW] == str(PROFILE)
    assert OLD not in os.environ  # which current releases would warn of


def test_an_adapted_profile_is_private_and_written_once(bare_environment, tmp_path):
    bare_environment.setattr(middleware, "free_bytes", lambda folder: 64 * MIB)
    profile = use_large_message_transport().profile
    assert profile.parent.parent == tmp_path and profile.parent.stat().st_mode & 0o077 == 0
    assert sizes_in(profile.read_text()) == (16 * MIB, 16 * MIB)
    written = profile.stat().st_mtime_ns
    for name in (NEW, OLD):
        bare_environment.delenv(name, raising=False)
    assert use_large_message_transport().profile == profile
    assert profile.stat().st_mtime_ns == written and len(list(profile.parent.iterdir())) == 1


@pytest.mark.parametrize("free", [0, MIB - 1])
def test_without_shared_memory_the_environment_is_left_alone_and_it_is_said(bare_environment, free):
    bare_environment.setattr(middleware, "free_bytes", lambda folder: free)
    profile, problem = use_large_message_transport()
    assert profile is None and NEW not in os.environ and OLD not in os.environ
    assert "/dev/shm has" in problem and "may get lost" in problem and "--shm-size" in problem


def test_a_folder_that_cannot_be_written_has_nothing_free(tmp_path):
    assert middleware.free_bytes(tmp_path) > 0
    assert middleware.free_bytes(tmp_path / "none") == 0
    assert middleware.free_bytes(Path("/proc/self")) == 0


def test_older_releases_get_both_names(bare_environment):
    bare_environment.setenv("ROS_DISTRO", "humble")
    profile = use_large_message_transport().profile
    assert os.environ[NEW] == os.environ[OLD] == str(profile)


@pytest.mark.parametrize(
    "installed, both",
    [
        ({"ros-jazzy-rclpy": "7.1.6"}, True),
        ({"rclpy": "3.3.15"}, True),  # of apt, in a shell that was not set up
        ({"ros-kilted-rclpy": "9.1.2"}, False),
        ({"rclpy": "10.0.1"}, False),
        ({}, False),
    ],
)
def test_without_a_distribution_the_version_of_rclpy_decides(bare_environment, installed, both):
    def version(package):
        if package not in installed:
            raise metadata.PackageNotFoundError(package)
        return installed[package]

    bare_environment.setattr(metadata, "version", version)
    use_large_message_transport()
    assert (OLD in os.environ) == both


@pytest.mark.parametrize(
    "variables, is_open",
    [
        ({}, True),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET", "ROS_LOCALHOST_ONLY": "0"}, True),
        ({"ROS_LOCALHOST_ONLY": "1", "ROS_DISTRO": "humble"}, False),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}, False),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "OFF"}, False),
    ],
)
def test_where_ros_is_kept_on_the_machine_udp_is_too(bare_environment, variables, is_open):
    for name, value in variables.items():
        bare_environment.setenv(name, value)
    text = use_large_message_transport().profile.read_text()
    assert bool(open_udp_transports(text)) == is_open
    assert sizes_in(text) == (64 * MIB, 16 * MIB)


@pytest.mark.parametrize("name", [NEW, OLD])
def test_the_users_profile_stays(bare_environment, name):
    bare_environment.setenv(name, "/etc/mine.xml")
    assert use_large_message_transport() == (None, "")
    assert [os.environ.get(one) for one in (NEW, OLD)].count("/etc/mine.xml") == 1


@pytest.mark.parametrize(
    "implementation, is_set",
    [("", True), ("rmw_fastrtps_dynamic_cpp", True), ("rmw_cyclonedds_cpp", False)],
)
def test_only_fast_dds_is_touched(bare_environment, implementation, is_set):
    bare_environment.setenv("RMW_IMPLEMENTATION", implementation)
    use_large_message_transport()
    assert (NEW in os.environ) == is_set


LISTENER = """
import time, rclpy
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import PointCloud2
rclpy.init()
node = rclpy.create_node("listener")
sizes = []
node.create_subscription(PointCloud2, "big", lambda m: sizes.append(len(m.data)),
                         qos_profile_sensor_data)
end = time.monotonic() + 20
while len(sizes) < 5 and time.monotonic() < end:
    rclpy.spin_once(node, timeout_sec=0.1)
print(sizes)
"""


def test_a_full_cloud_reaches_a_best_effort_listener_with_default_settings(peer):
    from depthrefl_ros.ros.convert.clouds import CloudBuffer
    from depthrefl_ros.ros.publishers import publisher_profile

    cloud = CloudBuffer(480, 640).message
    publisher = peer.node.create_publisher(type(cloud), "big", publisher_profile())
    environment = {name: value for name, value in os.environ.items() if name not in (NEW, OLD)}
    listener = subprocess.Popen(
        [sys.executable, "-c", LISTENER], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert peer.spin_until(
        lambda: listener.poll() is not None, timeout=25, do=lambda: publisher.publish(cloud)
    )
    assert listener.communicate()[0].strip() == str([480 * 640 * 16] * 5)


TALKER = """
import time, rclpy
from rclpy.qos import QoSProfile
from depthrefl_ros.ros.convert.clouds import CloudBuffer
from depthrefl_ros.ros.middleware import use_large_message_transport
assert "127.0.0.1" in use_large_message_transport().profile.read_text()
rclpy.init()
node = rclpy.create_node("talker")
cloud = CloudBuffer(480, 640).message
publisher = node.create_publisher(type(cloud), "big", QoSProfile(depth=1))
while True:
    publisher.publish(cloud)
    time.sleep(0.05)
"""


def test_a_full_cloud_passes_where_ros_is_kept_on_the_machine():
    environment = {name: value for name, value in os.environ.items() if name not in (NEW, OLD)}
    environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    talker = subprocess.Popen([sys.executable, "-c", TALKER], env=environment)
    try:
        heard = subprocess.run(
            [sys.executable, "-c", LISTENER], env=environment, stdout=subprocess.PIPE, text=True
        )
    finally:
        talker.kill()
        talker.wait()
    assert heard.stdout.strip() == str([480 * 640 * 16] * 5)


def test_a_missing_profile_is_told_and_the_node_goes_on(bare_environment):
    bare_environment.setattr(middleware, "PROFILE", "config/none.xml")
    assert "config/none.xml is in none of" in use_large_message_transport().problem
    assert NEW not in os.environ


def test_a_system_that_cannot_be_written_leaves_the_transport_alone(bare_environment, tmp_path):
    bare_environment.setattr(middleware, "free_bytes", lambda folder: 64 * MIB)
    bare_environment.setattr(middleware, "own_folder", cannot_write)
    assert "no temporary folder" in use_large_message_transport().problem
    assert NEW not in os.environ


def cannot_write():
    raise OSError("no temporary folder can be written")


def test_a_log_folder_that_can_be_made_is_left_to_ros(bare_environment, tmp_path):
    bare_environment.setenv("HOME", str(tmp_path / "home"))
    assert prepare_environment() == [] and "ROS_LOG_DIR" not in os.environ
    assert (tmp_path / "home/.ros/log").is_dir()
    bare_environment.setenv("ROS_LOG_DIR", "~/logs")
    assert prepare_environment() == [] and os.environ["ROS_LOG_DIR"] == "~/logs"


@pytest.mark.parametrize(
    "variables, reason",
    [
        ({"HOME": None}, "HOME is not set"),
        ({"HOME": "/proc/nobody"}, "/proc/nobody/.ros/log cannot be made"),
        ({"ROS_LOG_DIR": "/proc/self"}, "/proc/self cannot be written"),
        ({"ROS_HOME": "/proc/nobody"}, "/proc/nobody/log cannot be made"),
        ({"ROS_LOG_DIR": "~/log", "HOME": ""}, "HOME is not set"),
    ],
)
def test_ros_gets_a_log_folder_that_can_be_written(bare_environment, tmp_path, variables, reason):
    for name, value in variables.items():
        if value is None:
            bare_environment.delenv(name, raising=False)
        else:
            bare_environment.setenv(name, value)
    [said] = prepare_environment()
    assert said.startswith(reason) and os.environ["ROS_LOG_DIR"] in said
    folder = Path(os.environ["ROS_LOG_DIR"])
    assert folder.parent.parent == tmp_path and folder.stat().st_mode & 0o777 == 0o700
    done = subprocess.run(
        [sys.executable, "-c", "import rclpy; rclpy.init()"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_where_nothing_can_be_written_it_says_what_to_set(bare_environment):
    bare_environment.delenv("HOME", raising=False)
    bare_environment.setattr(middleware, "own_folder", cannot_write)
    with pytest.raises(OSError, match="HOME is not set.*no temporary folder.*or ROS_LOG_DIR"):
        prepare_environment()
