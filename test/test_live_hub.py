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

"""The hub: what a viewer is told, and what a slow one costs. No ROS."""

import asyncio

import pytest

pytest.importorskip("tornado")

from live_bench import heard, in_loop, until

from depthrefl_ros.tools import live_hub
from depthrefl_ros.tools.live_hub import Hub

STATUS = {"kind": "status", "node": "/depthrefl"}
VALUES = {"kind": "values", "values": {"max_range": 6.0}}


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
    monkeypatch.setattr(live_hub, "LINGER_S", 0.1)
    first, second = await bench.connect(), await bench.connect()
    assert bench.watched == [True]
    first.close()
    second.stream.close()  # the line is cut
    await until(lambda: bench.watched == [True, False])


@in_loop
async def test_a_page_that_is_reloaded_stops_nothing(bench, monkeypatch):
    monkeypatch.setattr(live_hub, "LINGER_S", 0.2)
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


def test_nobody_sets_anything_where_that_is_not_allowed():
    hub = Hub({}, lambda is_watched: None, None)
    hub.hear(None, {"kind": "set", "name": "max_range", "value": 1.0})  # and nothing fails
