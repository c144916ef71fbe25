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

"""A Foxglove app as its server sees it."""

import asyncio
import json
import struct
import time

from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect


class FoxgloveApp:
    """What a Foxglove app does: the protocol ``foxglove.sdk.v1``."""

    def __init__(self, port, origin="https://app.foxglove.dev"):
        url = f"ws://localhost:{port}/foxglove"
        self._request = HTTPRequest(url, headers={"Origin": origin})
        self.channels, self.parameters = {}, {}

    async def open(self):
        protocols = ["foxglove.sdk.v1"]
        self._socket = await websocket_connect(
            self._request, subprotocols=protocols, max_message_size=1 << 26
        )
        assert self._socket.selected_subprotocol == protocols[0]
        return self

    def close(self):
        self._socket.close()

    async def ask(self, **message):
        await self._socket.write_message(json.dumps(message))

    async def until(self, condition):
        """Take messages until something holds; the data of the last one that had any."""
        end, data = time.monotonic() + 40, None
        while not condition():
            assert time.monotonic() < end, (self.channels, self.parameters)
            data = await self.take() or data
        return data

    async def take(self):
        message = await asyncio.wait_for(self._socket.read_message(), 20)
        assert message is not None, "the server closed the connection"
        if isinstance(message, bytes):  # opcode, subscription, time, data
            kind, number, _ = struct.unpack_from("<BIQ", message)
            return (number, message[13:]) if kind == 1 else None
        told = json.loads(message)
        if told["op"] == "advertise":
            self.channels.update({one["topic"]: one for one in told["channels"]})
        elif told["op"] == "parameterValues":
            self.parameters.update({one["name"]: one.get("value") for one in told["parameters"]})
        return None

    async def subscribe(self, number, topic):
        """Subscribe, and return the first message."""
        channel = self.channels[topic]
        await self.ask(op="subscribe", subscriptions=[{"id": number, "channelId": channel["id"]}])
        while True:
            found = await self.take()
            if found is not None and found[0] == number:
                return found[1]
