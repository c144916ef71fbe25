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

"""The page's server: who gets in, how it ends. No ROS."""

import asyncio

import pytest

pytest.importorskip("tornado")

from live_bench import heard, in_loop
from tornado.httpclient import HTTPClientError

from depthrefl_ros.tools import live_hub
from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.live_server import Tunnel, machine_names, may_ask, serve

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
        ("127.0.0.2:8642", LOCAL, True),
        ("", LOCAL, False),
        ("[", LOCAL, False),
        ("[::1", OPEN, False),
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
    for host in ("127.0.0.1", "127.0.0.2", "127.255.0.9", "localhost", "::1"):
        assert machine_names(host) == frozenset(), host
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
    for host in ("[", "[::1", "a]b"):
        assert (await bench.get("/", Host=host))[0] == 403, host
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
        "http://[",
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
async def test_nonsense_ends_that_connection_only(bench, _):
    viewer = await bench.connect()
    for nonsense, code in (("[1]", 1003), ("{", 1003), ("[" * 2000, 1003), ("x" * 5000, 1009)):
        other = await bench.connect()
        other.write_message(nonsense)
        assert (await heard(other))["kind"] == "hello"
        assert await heard(other) is None
        assert other.close_code == code
    await heard(viewer)
    bench.hub.take_frame(b"1")
    assert await heard(viewer) == b"1"
    viewer.close()


@in_loop
async def test_no_more_viewers_than_there_is_room_for(bench, monkeypatch):
    monkeypatch.setattr(live_hub, "MAX_VIEWERS", 1)
    viewer = await bench.connect()
    with pytest.raises(HTTPClientError) as refused:
        await bench.connect()
    assert refused.value.code == 503
    viewer.close()


@in_loop
async def test_a_port_that_is_taken_is_named(bench, _):
    with pytest.raises(ToolError, match=rf"127\.0\.0\.1:{bench.port}: .*--port"):
        serve(bench.hub, "127.0.0.1", bench.port)
    with pytest.raises(ToolError, match="no.such.host"):
        serve(bench.hub, "no.such.host.invalid", 0)


def test_a_malformed_origin_is_not_foxgloves():
    assert not Tunnel.check_origin(None, "http://[")
    assert Tunnel.check_origin(None, "https://app.foxglove.dev")
