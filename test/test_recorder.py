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

"""Which topics ``record`` listens to, and what it says of those that bring nothing."""

import signal
import time

import pytest

pytest.importorskip("rclpy")

from conftest import RunningProcess
from results_publisher import ResultsPublisher
from sensor_msgs.msg import CompressedImage, Image

from depthrefl_ros.tools.recordings import Recording

RECORD = "depthrefl_ros.tools.record"


def record(peer, tmp_path, topic):
    """Return the process that records six frames of the node, and what it says."""
    results = ResultsPublisher(peer.node)
    tool = RunningProcess(
        tmp_path / "log.txt",
        RECORD,
        *("--output", str(tmp_path / "out"), "--namespace", "/results", "--image-topic", topic),
    )
    try:
        listened = [name for name in results.publishers if name.startswith("/results/")]
        heard = [results.publishers[name] for name in {*listened, topic} & {*results.publishers}]
        deadline = time.monotonic() + 20
        while tool.process.poll() is None and time.monotonic() < deadline:
            if peer.spin_until(lambda: all(one.get_subscription_count() for one in heard), 0.2):
                break
        for number in range(6):
            results.publish(number)
            time.sleep(0.02)
        time.sleep(0.3)
        code = tool.process.poll()
        if code is None:
            code = tool.stop(signal.SIGINT)
    finally:
        tool.stop()
    return code, tool.output()


def test_pictures_that_never_came_are_told_with_the_topics_that_exist(peer, tmp_path):
    peer.node.create_publisher(CompressedImage, "/front/image_raw/compressed", 1)
    code, said = record(peer, tmp_path, "/nobody/image_raw")
    assert code == 0, said
    assert (
        "record: warning: 0 images of /nobody/image_raw: nobody publishes there; image topics that "
        "exist: /front/image_raw/compressed, /results_camera/image_raw\n"
    ) in said
    with Recording(tmp_path / "out" / "recording.mcap") as recording:
        assert recording.count("/results/depth/image") == 6


def test_a_camera_that_sends_nothing_is_told(peer, tmp_path):
    peer.node.create_publisher(Image, "/silent/image_raw", 1)
    code, said = record(peer, tmp_path, "/silent/image_raw")
    assert code == 0 and "0 images of /silent/image_raw: its publisher sent none\n" in said


def test_pictures_that_came_bring_no_warning(peer, tmp_path):
    code, said = record(peer, tmp_path, "/results_camera/image_raw")
    assert code == 0 and "warning" not in said


@pytest.mark.parametrize("topic", ["/results_camera/camera_info", "/results/points/marking"])
def test_a_topic_of_another_type_is_refused_in_one_line(peer, tmp_path, topic):
    code, said = record(peer, tmp_path, topic)
    assert code == 2 and "Traceback" not in said, said
    assert f"--image-topic {topic} " in said
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True
    if topic.endswith("camera_info"):
        assert (
            "has type sensor_msgs/msg/CameraInfo, not sensor_msgs/msg/Image; image topics" in said
        )
