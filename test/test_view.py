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

"""The live page of a real node over DDS: by a plain WebSocket, and in Chromium where there is one.

One node, one camera and one view serve all tests, in the order in which a user meets them.
"""

import asyncio
import http.client
import json
import re
import signal
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("tornado")
pytest.importorskip("foxglove")

from chromium import Chromium, find_chromium
from conftest import RunningProcess
from foxglove_app import FoxgloveApp
from node_harness import Harness
from rcl_interfaces.srv import GetParameters
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, PointCloud2
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

from depthrefl_ros.tools import view
from depthrefl_ros.tools.live_frame import unpacked
from depthrefl_ros.tools.live_hub import LINGER_S

ROOT = Path(__file__).resolve().parents[1]
RECORDING = ROOT / "test" / "data" / "corridor.mcap"
DEPTH = "/depth/image"


def wait(condition, seconds=40.0):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)
    return found


class Running:
    """A view of a node that comes after it, with a camera that drives down a corridor."""

    def __init__(self, folder):
        module = "depthrefl_ros.tools"
        self.view = RunningProcess(
            folder / "view.txt", f"{module}.view", "--port", "0", "--foxglove"
        )
        self.port = int(wait(lambda: re.search(r"localhost:(\d+)/", self.view.output())).group(1))
        wait(lambda: "no node depthrefl in this ROS domain yet" in self.view.output())
        self.node = RunningProcess(
            folder / "node.txt",
            "depthrefl_ros.ros.node",
            *("--ros-args", "-r", "image:=/camera/image_raw"),
            *("-r", "camera_info:=/camera/camera_info", "-p", "output_size:=network"),
            *("-p", "model:=indoor_nano", "-p", "camera_height:=0.5", "-p", "camera_pitch:=4.0"),
        )
        self.camera = RunningProcess(
            folder / "camera.txt", f"{module}.camera_source", str(RECORDING), "--loop"
        )

    def close(self):
        for process in (self.view, self.node, self.camera):
            process.stop(signal.SIGINT)


@pytest.fixture(scope="module")
def running(tmp_path_factory, ros):
    running = Running(tmp_path_factory.mktemp("view"))
    try:
        wait(lambda: "watching /depthrefl" in running.view.output())
        yield running
    finally:
        running.close()


@pytest.fixture
def harness(ros):
    harness = Harness()
    yield harness
    harness.close()


class Page:
    """What a browser does, without one."""

    async def __aenter__(self):
        return self

    def __init__(self, port, **headers):
        self._request = HTTPRequest(f"ws://localhost:{port}/live", headers=headers)
        self.news = {}

    async def open(self):
        self._socket = await websocket_connect(self._request)
        return self

    def close(self):
        self._socket.close()

    async def ask(self, **message):
        await self._socket.write_message(json.dumps(message))

    async def take(self):
        """Return the next message: a frame's head and parts, or None for news, kept by kind."""
        message = await asyncio.wait_for(self._socket.read_message(), 20)
        assert message is not None, "the view closed the connection"
        if isinstance(message, bytes):
            await self.ask(kind="ready")
            return unpacked(message)
        news = json.loads(message)
        self.news[news["kind"]] = news
        return None

    async def frame(self, condition=lambda head, parts: {"depth", "camera"} <= set(parts)):
        """Return the next frame that is as wanted."""
        end = time.monotonic() + 40
        while time.monotonic() < end:
            taken = await self.take()
            if taken is not None and condition(*taken):
                return taken
        raise AssertionError("no such frame came")

    async def heard(self, condition):
        """Take messages until the news are as wanted."""
        end = time.monotonic() + 40
        while not condition(self.news):
            assert time.monotonic() < end, self.news
            await self.take()


def listeners(harness, topic=DEPTH):
    return harness.node.get_subscriptions_info_by_topic(topic)


@pytest.mark.parametrize(
    "host, address, is_open",
    [("127.0.0.1", "localhost", False), ("127.0.0.2", "127.0.0.2", False),
     ("0.0.0.0", "localhost", True), ("10.0.0.5", "10.0.0.5", True)],
)  # fmt: skip
def test_only_an_address_that_others_reach_is_said_to_be_open(capsys, host, address, is_open):
    view._tell_address(view._parser().parse_args(["--host", host]), 8642)
    told = capsys.readouterr().out
    assert f"{view.SHOWING}{address}:8642/\n" in told
    assert ("everybody who can reach this machine may watch" in told) is is_open


def test_nothing_is_subscribed_to_while_nobody_looks(running, harness):
    assert harness.spin_until(lambda: harness.node.get_publishers_info_by_topic(DEPTH), 40)
    assert harness.spin_until(lambda: harness.values().get("state") == "active", 60)
    assert listeners(harness) == []


def test_the_page_shows_moving_depth_marks_and_figures(running, harness):
    async def look():
        page = await Page(running.port).open()
        head, parts = await page.frame()
        pictures = [cv2.imdecode(np.frombuffer(parts["depth"], np.uint8), cv2.IMREAD_COLOR)]
        for _ in range(3):
            _, later = await page.frame()
            pictures.append(cv2.imdecode(np.frombuffer(later["depth"], np.uint8), cv2.IMREAD_COLOR))
        changes = [
            np.abs(a.astype(int) - b).mean()
            for a, b in zip(pictures[:-1], pictures[1:], strict=True)
        ]
        assert max(changes) > 1.0, changes
        camera = cv2.imdecode(np.frombuffer(parts["camera"], np.uint8), cv2.IMREAD_COLOR)
        assert camera.shape == (480, 640, 3) and camera.std() > 20
        shape = head["depth"]["rows"], head["depth"]["columns"]
        metres = np.frombuffer(parts["distances"], "<u2").reshape(shape) / 1000
        assert 0.3 < np.median(metres[metres > 0]) < 8.0
        # The floor lies farther up the picture the farther it is.
        assert np.median(metres[-2]) < np.median(metres[shape[0] * 3 // 4])
        head, _ = await page.frame(
            lambda head, parts: head["above"] and head["above"]["marks"] and head["above"]["ends"]
        )
        assert np.reshape(head["above"]["marks"], (-1, 2))[:, 0].min() >= 0
        shown = ("latency_ms", "engine_ms", "rate_hz", "believed_percent", "confidence")
        await page.heard(lambda news: all(map(news.get("status", {}).get, shown)))
        status = page.news["status"]
        assert (status["node"], status["model"]) == ("/depthrefl", "indoor_nano")
        assert status["level"] in ("ok", "warning"), status
        assert 0 < status["believed_percent"] <= 100 and 0 < status["confidence"] <= 1
        page.close()

    asyncio.run(look())


def test_two_viewers_cost_the_node_no_more_than_one(running, harness):
    async def look():
        first = await Page(running.port).open()
        await first.frame()
        one_each = {DEPTH: 1, "/points/marking": 1, "/points/clearing": 1}
        counts = lambda: {topic: len(listeners(harness, topic)) for topic in one_each}  # noqa: E731
        assert harness.spin_until(lambda: counts() == one_each), counts()
        second = await Page(running.port).open()
        for _ in range(4):
            await second.frame()
            await first.frame()
            harness.spin_until(lambda: False, 0.2)
            assert counts() == one_each
        first.close(), second.close()

    asyncio.run(look())
    assert harness.spin_until(lambda: listeners(harness) == [], LINGER_S + 10)


def test_a_slider_changes_the_node_and_the_other_viewers_see_it(running, harness):
    async def set_it():
        mine, other = await Page(running.port).open(), await Page(running.port).open()
        for page in (mine, other):
            await page.heard(lambda news: "values" in news)
            assert page.news["values"]["values"].get("max_range", 0.0) == 0.0
        await mine.ask(kind="set", name="max_range", value=1.5)
        await other.heard(lambda news: news["values"]["values"].get("max_range") == 1.5)
        await mine.heard(lambda news: news.get("answer", {}).get("name") == "max_range")
        assert mine.news["answer"]["problem"] == ""
        # And the depth follows: beyond it, nothing is left.
        await mine.frame(
            lambda head, parts: (
                np.frombuffer(parts.get("distances", b""), "<u2").max(initial=0) == 65535
            )
        )
        await mine.ask(kind="set", name="min_confidence", value=7)
        await mine.heard(lambda news: news["answer"]["name"] == "min_confidence")
        assert "between 0 and 0.99" in mine.news["answer"]["problem"]
        await mine.ask(kind="set", name="self_mask", value="/etc/passwd")
        await mine.heard(lambda news: news["answer"]["name"] == "self_mask")
        assert "not among" in mine.news["answer"]["problem"]
        await mine.ask(kind="set", name="min_range", value=3.0)  # above max_range: the node's word
        await mine.heard(lambda news: news["answer"]["name"] == "min_range")
        assert "min_range" in mine.news["answer"]["problem"]
        mine.close(), other.close()

    asyncio.run(set_it())
    request = GetParameters.Request(names=["max_range", "min_range"])
    answer = harness.call(GetParameters, "/depthrefl/get_parameters", request)
    assert [one.double_value for one in answer.values] == [1.5, 0.0]
    assert harness.set("max_range", 0.0) == ""


def test_a_foreign_origin_or_host_is_refused(running):
    async def intrude(**headers):
        with pytest.raises(HTTPClientError) as refused:
            await Page(running.port, **headers).open()
        return refused.value.code

    assert asyncio.run(intrude(Origin="http://evil.example")) == 403
    assert asyncio.run(intrude(Host="evil.example", Origin="http://evil.example")) == 403
    connection = http.client.HTTPConnection("localhost", running.port, timeout=5)
    connection.request("GET", "/", headers={"Host": "evil.example"})
    assert connection.getresponse().status == 403


def test_foxglove_gets_pictures_clouds_and_parameters(running, harness):
    layout = json.loads((ROOT / "config" / "depthrefl_foxglove.json").read_text())
    panels = json.dumps(layout["configById"])
    shown = set(re.findall(r'"(/(?:camera|depth|points|scan|diagnostics)[/\w]*)"', panels))
    assert len(shown) == 7

    async def connect():
        app = await FoxgloveApp(running.port).open()
        await app.until(lambda: "/points/marking" in app.channels)
        # Connected, but showing nothing: the node is left alone, once the last page's time is over.
        assert harness.spin_until(lambda: listeners(harness) == [], LINGER_S + 10)
        marking = deserialize_message(await app.subscribe(1, "/points/marking"), PointCloud2)
        assert [one.name for one in marking.fields][:3] == ["x", "y", "z"]
        wanted = {"/camera/image_raw/compressed", "/depth/preview/compressed", "/tf_static"}
        await app.until(lambda: wanted <= set(app.channels))
        assert shown <= set(app.channels)
        for number, topic in enumerate(("/camera/image_raw", "/depth/preview"), 2):
            data = await app.subscribe(number, f"{topic}/compressed")
            jpeg = np.frombuffer(deserialize_message(data, CompressedImage).data, np.uint8)
            assert cv2.imdecode(jpeg, cv2.IMREAD_COLOR) is not None
        assert len(await app.subscribe(4, "/tf_static")) > 60
        # The full cloud is listened to only now.
        assert listeners(harness, "/points") == []
        points = deserialize_message(await app.subscribe(5, "/points"), PointCloud2)
        assert points.width * points.height > 10_000
        assert harness.spin_until(lambda: len(listeners(harness, "/points")) == 1)
        await app.ask(op="getParameters", parameterNames=[], id="1")
        await app.until(lambda: "max_range" in app.parameters)
        await app.ask(op="subscribeParameterUpdates", parameterNames=["voxel_size"])
        change = {"name": "voxel_size", "value": 0.1, "type": "float64"}
        await app.ask(op="setParameters", parameters=[change])
        await app.until(lambda: app.parameters.get("voxel_size") == 0.1)
        assert harness.set("voxel_size", 0.05) == ""
        app.close()

    harness.spin_until(lambda: harness.node.get_publishers_info_by_topic(DEPTH), 20)
    asyncio.run(connect())
    for topic in (DEPTH, "/points"):
        assert harness.spin_until(lambda: listeners(harness, topic) == [], 10)  # noqa: B023


def test_only_foxglove_may_connect_as_such(running):
    for origin in ("http://evil.example", "https://foxglove.dev.evil.example", "null"):
        with pytest.raises(HTTPClientError) as refused:
            asyncio.run(FoxgloveApp(running.port, origin).open())
        assert refused.value.code == 403, origin


@pytest.mark.skipif(find_chromium() is None, reason="no Chromium is installed")
def test_a_browser_shows_it_and_its_slider_sets_the_node(running, harness, tmp_path):
    hash_of = """(() => { const c = document.getElementById('depth');
        const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        let h = 0; for (let i = 0; i < d.length; i += 97) h = (h * 31 + d[i]) | 0; return h; })()"""

    async def look():
        async with Chromium(tmp_path, 1280, 800) as browser:
            await browser.open(f"http://localhost:{running.port}/")
            await browser.wait_for("lastDepth > 0", 30)
            before = await browser.value(hash_of)
            await browser.wait_for(f"{hash_of} !== {before}")
            await browser.wait_for(
                "/healthy|warning/.test(document.getElementById('health').textContent)"
            )
            await browser.wait_for(
                "/\\d+ marks/.test(document.getElementById('marks').textContent)"
            )
            figures = "document.getElementById('figures').textContent"
            await browser.wait_for(f"/Latency\\d+\\sms.*Believed[.\\d]+\\s%/.test({figures})")
            # Where it is pointed at, it says how far that is.
            await browser.value(
                "(() => { const f = document.getElementById('depth-frame');"
                "const b = f.getBoundingClientRect(); f.dispatchEvent(new PointerEvent("
                "'pointermove', {clientX: b.x + b.width / 2, clientY: b.y + b.height * 0.9})); })()"
            )
            probe = "document.querySelector('#camera-frame .probe').textContent"
            assert re.fullmatch(r"\d\.\d\d m", await browser.wait_for(probe))
            await browser.value(
                "(() => { const s = document.querySelector("
                "'.control:has(#set-max_obstacle_height) input[type=range]');"
                "s.value = 100; s.dispatchEvent(new Event('input')); })()"
            )
            field = "document.getElementById('set-max_obstacle_height').value"
            assert await browser.value(field) == "1"
            # What the node says of it has come back to the page.
            await browser.wait_for("controls.get('max_obstacle_height').known() === 1")
            # Dark, it still fits, and nothing has failed.
            await browser.dark(True)
            assert await browser.value("document.documentElement.scrollWidth <= innerWidth")
            assert browser.errors == []

    def height():
        request = GetParameters.Request(names=["max_obstacle_height"])
        answer = harness.call(GetParameters, "/depthrefl/get_parameters", request)
        return answer.values[0].double_value

    asyncio.run(look())
    assert height() == 1.0
    assert harness.set("max_obstacle_height", 1.8) == ""


def test_a_node_that_goes_is_told_and_the_view_ends_cleanly(running):
    async def look():
        page = await Page(running.port).open()
        await page.heard(lambda news: news.get("status", {}).get("node"))
        running.node.stop(signal.SIGINT)
        await page.heard(lambda news: news["status"]["node"] is None)
        assert "waiting for it" in page.news["status"]["waiting"]
        begun = time.monotonic()
        running.view.process.send_signal(signal.SIGINT)
        with pytest.raises(AssertionError, match="closed the connection"):
            await page.frame()
        return time.monotonic() - begun

    assert asyncio.run(look()) < 5.0
    assert running.view.process.wait(10) == 0
    said = running.view.output().splitlines()
    assert said[-1] == "view: ended" and "Traceback" not in running.view.output()
    # It waited, found the node, and waited again: each said once.
    assert [line.split()[1] for line in said] == [
        *("open", "Foxglove", "no", "watching", "no", "ended"),
    ]
