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

"""A live page's server with its hub, in an event loop of the test's own."""

import asyncio
import http.client
import json

from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from depthrefl_ros.tools.live_hub import Hub
from depthrefl_ros.tools.live_server import serve


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
