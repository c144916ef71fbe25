import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from depthrefl_ros.ros import middleware
from depthrefl_ros.ros.middleware import fitting_profile, share_path, use_large_message_transport

ROOT = Path(__file__).resolve().parents[1]
PROFILE = ROOT / "config" / "fastdds_large_clouds.xml"
MIB = 1 << 20
NEW, OLD = middleware.PROFILE_VARIABLE, middleware.OLD_PROFILE_VARIABLE


@pytest.fixture
def bare_environment(monkeypatch):
    for name in (NEW, OLD, "RMW_IMPLEMENTATION", "ROS_DISTRO"):
        monkeypatch.setenv(name, "")  # so that it is put back even where it was not set before
        monkeypatch.delenv(name)
    return monkeypatch


def sizes_in(profile):
    found = {}
    for element in ElementTree.parse(profile).iter():
        found[element.tag.rsplit("}", 1)[-1]] = (element.text or "").strip()
    return int(found["segment_size"]), int(found["maxMessageSize"])


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
    assert sizes_in(PROFILE) == (64 * MIB, 16 * MIB)
    assert fitting_profile(PROFILE, 256 * MIB) == PROFILE


@pytest.mark.parametrize(
    "free, segment, message",
    [(255 * MIB, 255 * MIB // 4, 16 * MIB), (64 * MIB, 16 * MIB, 16 * MIB)],
)
def test_a_small_shared_memory_gets_a_copy_that_fits(free, segment, message):
    adapted = fitting_profile(PROFILE, free)
    assert adapted != PROFILE
    assert sizes_in(adapted) == (segment, message)
    assert adapted.parent.stat().st_mode & 0o077 == 0


def test_a_message_never_exceeds_its_segment():
    assert sizes_in(fitting_profile(PROFILE, 8 * MIB)) == (2 * MIB, 2 * MIB)


def test_the_profile_is_set_unless_somebody_chose(bare_environment):
    assert use_large_message_transport() is not None
    assert Path(os.environ[NEW]).is_file()
    assert OLD not in os.environ  # which current releases would warn of


def test_older_releases_get_both_names(bare_environment):
    bare_environment.setenv("ROS_DISTRO", "humble")
    profile = use_large_message_transport()
    assert os.environ[NEW] == os.environ[OLD] == str(profile)


@pytest.mark.parametrize("name", [NEW, OLD])
def test_the_users_profile_stays(bare_environment, name):
    bare_environment.setenv(name, "/etc/mine.xml")
    assert use_large_message_transport() is None
    assert [os.environ.get(one) for one in (NEW, OLD)].count("/etc/mine.xml") == 1


@pytest.mark.parametrize(
    "implementation, is_set", [("rmw_fastrtps_dynamic_cpp", True), ("rmw_cyclonedds_cpp", False)]
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
    from depthrefl_ros.ros.qos import publisher_profile

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


def test_a_missing_profile_is_told_and_the_node_goes_on(bare_environment, capsys):
    bare_environment.setattr(middleware, "PROFILE", "config/none.xml")
    assert use_large_message_transport() is None
    assert "config/none.xml is in none of" in capsys.readouterr().err
    assert NEW not in os.environ
