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

"""The page's server: who gets in, what a slow viewer costs, how it ends. No ROS."""

import asyncio
import http.client
import json

import pytest

pytest.importorskip("tornado")

from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

from depthrefl_ros.tools import live_server
from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.live_server import Hub, machine_names, may_ask, serve

STATUS = {"kind": "status", "node": "/depthrefl"}
VALUES = {"kind": "values", "values": {"max_range": 6.0}}


class Bench:
    """A server with its hub, and what the hub asked the node for."""

    async def __aenter__(self):
        self.watched, self.set = [], []
        self.hub = Hub({"kind": "hello"}, self.watched.append, lambda *pair: self.set.append(pair))
        self.server, self.port = serve(self.hub, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_):
        self.server.stop()
        self.hub.close()
        await asyncio.sleep(0.05)

    async def connect(self, **headers):
        request = HTTPRequest(f"ws://127.0.0.1:{self.port}/live", headers=headers)
        return await websocket_connect(request)

    async def get(self, path="/", method="GET", **headers):
        def ask():
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()

        return await asyncio.get_running_loop().run_in_executor(None, ask)


async def heard(socket):
    message = await asyncio.wait_for(socket.read_message(), 5)
    return json.loads(message) if isinstance(message, str) else message


async def until(condition):
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never happened")


def in_loop(test):
    """Run a test in an event loop, with a bench."""

    def run(monkeypatch):
        async def go():
            async with Bench() as bench:
                await test(bench, monkeypatch)

        asyncio.run(go())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


LOCAL = frozenset()
OPEN = frozenset({"0.0.0.0", "robot", "robot.local"})


@pytest.mark.parametrize(
    "host, names, is_right",
    [
        ("localhost:8642", LOCAL, True),
        ("localhost:9000", LOCAL, True),  # an ssh tunnel ends where the user likes
        ("127.0.0.1:8642", LOCAL, True),
        ("[::1]:8642", LOCAL, True),
        ("LOCALHOST.", LOCAL, True),
        ("", LOCAL, False),
        ("evil.example", LOCAL, False),
        ("localhost.evil.example", LOCAL, False),
        ("127.0.0.1.evil.example", LOCAL, False),
        ("192.168.1.7:8642", LOCAL, False),
        ("robot", LOCAL, False),
        ("192.168.1.7:8642", OPEN, True),
        ("robot.local:8642", OPEN, True),
        ("evil.example", OPEN, False),
    ],
)
def test_only_names_of_this_machine_may_be_asked_for(host, names, is_right):
    assert may_ask(host, names) is is_right


def test_names_count_only_where_the_page_was_opened_to_others():
    assert machine_names("127.0.0.1") == machine_names("localhost") == frozenset()
    assert "10.0.0.5" in machine_names("10.0.0.5")


@in_loop
async def test_the_page_and_its_script_are_served_with_strict_headers(bench, _):
    for path, kind in (
        ("/", "html"),
        ("/live_page.js", "javascript"),
        ("/live_settings.js", "java"),
    ):
        status, headers, body = await bench.get(path)
        assert (
            status == 200
            and headers["Content-Type"].startswith(f"text/{kind}")
            and len(body) > 1000
        )
        assert "default-src 'self'" in headers["Content-Security-Policy"]
        assert headers["X-Frame-Options"] == "DENY"
        # Nothing comes from elsewhere: a robot may have no network.
        assert b"://" not in body.replace(b"${scheme}://", b"")
    assert (await bench.get("/../setup.py"))[0] == 404
    assert (await bench.get("/live_server.py"))[0] == 404
    assert (await bench.get("/", method="POST"))[0] == 405


@in_loop
async def test_a_foreign_host_is_refused_everywhere(bench, _):
    for path in ("/", "/live_page.js", "/live", "/nothing"):
        status, _, body = await bench.get(path, Host="evil.example")
        assert status == 403 and b"evil" not in body
    with pytest.raises(HTTPClientError) as refused:
        await bench.connect(Host="evil.example", Origin="http://evil.example")
    assert refused.value.code == 403 and bench.watched == []


@in_loop
async def test_another_sites_script_is_refused(bench, _):
    own = f"127.0.0.1:{bench.port}"
    for origin in (
        "http://evil.example",
        "null",
        "http://localhost:1",
        f"http://{own}.evil.example",
    ):
        with pytest.raises(HTTPClientError) as refused:
            await bench.connect(Origin=origin)
        assert refused.value.code == 403, origin
    assert bench.watched == []
    (await bench.connect(Origin=f"http://{own}")).close()
    tunnel = {"Host": "localhost:9000", "Origin": "http://localhost:9000"}
    (await bench.connect(**tunnel)).close()
    assert bench.watched == [True]


@in_loop
async def test_only_the_address_asked_for_is_listened_at(bench, _):
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.2", bench.port)


@in_loop
async def test_a_viewer_hears_what_is_current_first(bench, _):
    bench.hub.take_news(STATUS)
    bench.hub.take_news(VALUES)
    viewer = await bench.connect()
    kinds = [(await heard(viewer))["kind"] for _ in range(3)]
    assert kinds == ["hello", "status", "values"]
    viewer.close()


@in_loop
async def test_each_viewer_gets_the_newest_frame_when_it_is_ready(bench, _):
    quick, slow = await bench.connect(), await bench.connect()
    for viewer in (quick, slow):
        assert (await heard(viewer))["kind"] == "hello"
    bench.hub.take_frame(b"1")
    assert [await heard(quick), await heard(slow)] == [b"1", b"1"]
    for frame in (b"2", b"3", b"4"):
        quick.write_message('{"kind": "ready"}')
        await until(lambda: any(one.is_ready for one in bench.hub._viewers))
        bench.hub.take_frame(frame)
        assert await heard(quick) == frame
    slow.write_message('{"kind": "ready"}')
    assert await heard(slow) == b"4"  # and neither 2 nor 3
    quick.close(), slow.close()


@in_loop
async def test_the_node_is_watched_once_and_left_alone_after_the_last_viewer(bench, monkeypatch):
    monkeypatch.setattr(live_server, "LINGER_S", 0.1)
    first, second = await bench.connect(), await bench.connect()
    assert bench.watched == [True]
    first.close()
    second.stream.close()  # the line is cut
    await until(lambda: bench.watched == [True, False])


@in_loop
async def test_a_page_that_is_reloaded_stops_nothing(bench, monkeypatch):
    monkeypatch.setattr(live_server, "LINGER_S", 0.2)
    (await bench.connect()).close()
    await asyncio.sleep(0.1)
    viewer = await bench.connect()
    await asyncio.sleep(0.3)
    assert bench.watched == [True]
    viewer.close()


@in_loop
async def test_a_viewer_sets_parameters_and_everybody_hears_it(bench, _):
    first, second = await bench.connect(), await bench.connect()
    first.write_message('{"kind": "set", "name": "max_range", "value": 6.0}')
    await until(lambda: bench.set == [("max_range", 6.0)])
    bench.hub.take_news(VALUES)
    assert [await heard(second), await heard(second)] == [{"kind": "hello"}, VALUES]
    first.close(), second.close()


@in_loop
async def test_nonsense_ends_that_connection_only(bench, _):
    viewer = await bench.connect()
    for nonsense in ("[1]", "{", "x" * 5000):
        other = await bench.connect()
        other.write_message(nonsense)
        assert (await heard(other))["kind"] == "hello"
        assert await heard(other) is None
    await heard(viewer)
    bench.hub.take_frame(b"1")
    assert await heard(viewer) == b"1"
    viewer.close()


@in_loop
async def test_no_more_viewers_than_there_is_room_for(bench, monkeypatch):
    monkeypatch.setattr(live_server, "MAX_VIEWERS", 1)
    viewer = await bench.connect()
    with pytest.raises(HTTPClientError) as refused:
        await bench.connect()
    assert refused.value.code == 503
    viewer.close()


def test_nobody_sets_anything_where_that_is_not_allowed():
    hub = Hub({}, lambda is_watched: None, None)
    hub.hear(None, {"kind": "set", "name": "max_range", "value": 1.0})  # and nothing fails


@in_loop
async def test_a_port_that_is_taken_is_named(bench, _):
    with pytest.raises(ToolError, match=rf"127\.0\.0\.1:{bench.port}: .*--port"):
        serve(bench.hub, "127.0.0.1", bench.port)
    with pytest.raises(ToolError, match="no.such.host"):
        serve(bench.hub, "no.such.host.invalid", 0)
