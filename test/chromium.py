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

"""A headless Chromium, driven over its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from tornado.websocket import websocket_connect

START_S = 30.0
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def find_chromium() -> str | None:
    """Return the browser that is installed; CHROMIUM names another."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


class Chromium:
    """One tab; an asynchronous context manager.

    Args:
        folder: for its profile and its log.
        width, height: of the window, CSS pixels.
        scale: device pixels of a CSS pixel.
    """

    def __init__(self, folder: Path, width: int = 1440, height: int = 900, scale: float = 1.0):
        self._folder, self._size, self._scale = folder, (width, height), scale
        self._number = 0
        self.errors: list[str] = []

    async def __aenter__(self) -> Chromium:
        profile = self._folder / "profile"
        profile.mkdir(parents=True, exist_ok=True)
        with (self._folder / "chromium.txt").open("w") as log:
            self._process = subprocess.Popen(
                [
                    *(find_chromium(), "--headless=new", "--no-sandbox", "--disable-gpu"),
                    *("--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run"),
                    *("--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        port_file, end = profile / "DevToolsActivePort", time.monotonic() + START_S
        while not port_file.is_file() or not port_file.read_text().strip():
            assert time.monotonic() < end, "Chromium did not start"
            await asyncio.sleep(0.1)
        port, path = port_file.read_text().split()
        browser = await websocket_connect(f"ws://127.0.0.1:{port}{path}")
        self._socket = browser
        target = await self._call("Target.createTarget", url="about:blank")
        browser.close()
        page = f"ws://127.0.0.1:{port}/devtools/page/{target['targetId']}"
        self._socket = await websocket_connect(page, max_message_size=1 << 26)
        width, height = self._size
        for method, parameters in (
            ("Page.enable", {}),
            ("Runtime.enable", {}),
            ("Log.enable", {}),
            (
                "Emulation.setDeviceMetricsOverride",
                {
                    **{"width": width, "height": height, "deviceScaleFactor": self._scale},
                    "mobile": width < 600,
                },
            ),
        ):
            await self._call(method, **parameters)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._socket.close()
        self._process.terminate()
        self._process.wait(10)

    async def open(self, address: str) -> None:
        """Open a page."""
        await self._call("Page.navigate", url=address)
        await self.wait_for("location.protocol === 'http:' && document.readyState === 'complete'")

    async def value(self, expression: str) -> Any:
        """Return the value of a JavaScript expression; promises are awaited."""
        found = await self._call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    async def wait_for(self, expression: str, seconds: float = 15.0) -> Any:
        """Return the first value of an expression that is true."""
        end = time.monotonic() + seconds
        while True:
            found = await self.value(expression)
            if found:
                return found
            assert time.monotonic() < end, f"never true: {expression}"
            await asyncio.sleep(0.05)

    async def dark(self, is_dark: bool) -> None:
        """Prefer the dark or the light colours."""
        feature = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        await self._call("Emulation.setEmulatedMedia", features=[feature])

    async def screenshot(self, path: Path, whole: bool = False) -> None:
        """Write what the tab shows, or the whole page, as PNG or JPEG."""
        kind = {"format": "jpeg", "quality": 80} if path.suffix == ".jpg" else {"format": "png"}
        taken = await self._call("Page.captureScreenshot", captureBeyondViewport=whole, **kind)
        path.write_bytes(base64.b64decode(taken["data"]))

    async def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        number = self._number
        call = {"id": number, "method": method, "params": parameters}
        await self._socket.write_message(json.dumps(call))
        while True:
            text = await asyncio.wait_for(self._socket.read_message(), START_S)
            assert text is not None, "Chromium has ended"
            message = json.loads(text)
            if message.get("id") == number:
                assert "error" not in message, message["error"]
                return message["result"]
            if message.get("method") == "Runtime.exceptionThrown":
                self.errors.append(json.dumps(message["params"]["exceptionDetails"])[:500])
            elif message.get("method") == "Log.entryAdded":
                entry = message["params"]["entry"]
                if entry["level"] == "error":
                    self.errors.append(entry["text"])
