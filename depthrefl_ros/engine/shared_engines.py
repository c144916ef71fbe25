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

"""One engine for several cameras of a process: opened once, and given what waits together."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from depthrefl_ros.engine.base import BuildStoppedError, Engine, WithdrawnError
from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.selection import EngineChoice, OpenedEngine, open_engine
from depthrefl_ros.engine.tensorrt.source import PlanSource

_LOOK_S = 0.1  # how often one who waits for another's search looks whether it is still wanted

_Key = tuple[frozenset[tuple[str, str]], EngineChoice, frozenset[str]]


class SharedEngines:
    """Opens engines as ``open_engine`` does, and the same one for all who want the same.

    Args:
        cameras: number of cameras in this process.

    Attributes:
        cameras: as given.
    """

    def __init__(self, cameras: int = 1):
        self.cameras = cameras
        self._changed = threading.Condition()
        self._opened: dict[_Key, _Opened] = {}
        self._searches: dict[_Key, PlanSource] = {}  # under way

    def open(
        self,
        bundle: Bundle,
        choice: EngineChoice,
        plans: PlanSource,
        on_step: Callable[[str, bool], None],
        skip: frozenset[str] = frozenset(),
    ) -> OpenedEngine:
        """Do what ``open_engine`` does, or wait for another camera's search for the same.

        Returns:
            What was found. Its engine is a share: each camera closes its own.

        Raises:
            Exception: those of ``open_engine``.
        """
        key = (frozenset(bundle.files.items()), choice, skip)
        found = self._find(key, plans)
        if found is not None:
            on_step(f"{found.steps[-1]}; opened for another camera", False)
            return found
        try:
            opened = open_engine(bundle, choice, plans, on_step, skip)
            with self._changed:
                self._opened[key] = _Opened(opened, _Turns(opened.engine))
                return self._share(key)
        finally:
            with self._changed:
                del self._searches[key]
                self._changed.notify_all()

    def _find(self, key: _Key, plans: PlanSource) -> OpenedEngine | None:
        """Return a share, waiting for a search that is under way; None: the caller has to search.

        Raises:
            BuildStoppedError: ``plans.stop`` was called meanwhile.
        """
        while True:
            with self._changed:
                if key in self._opened:
                    return self._share(key)
                if key not in self._searches:
                    self._searches[key] = plans
                    return None
                progress = self._searches[key].progress
                self._changed.wait(_LOOK_S)
            if plans.is_stopped:
                raise BuildStoppedError("the search for an engine was stopped")
            if progress not in (None, plans.progress):
                plans.tell(*progress)

    def _share(self, key: _Key) -> OpenedEngine:
        opened = self._opened[key]
        opened.owners += 1
        share = EngineShare(opened.engine.engine, opened.turns, lambda: self._close(key, opened))
        return replace(
            opened.engine,
            engine=share,
            retire=lambda: self._retire(key, opened),
            withdraw=lambda: opened.turns.withdraw(share),
        )

    def _retire(self, key: _Key, opened: _Opened) -> None:
        with self._changed:
            if self._opened.get(key) is opened:
                del self._opened[key]

    def _close(self, key: _Key, opened: _Opened) -> None:
        with self._changed:
            opened.owners -= 1
            if opened.owners:
                return
            if self._opened.get(key) is opened:
                del self._opened[key]
        opened.engine.engine.close()


class EngineShare(Engine):
    """An engine that several cameras use, as one of them has it.

    Args:
        engine: that all use.
        turns: of all at it.
        on_close: called once, when this camera needs it no more.
    """

    def __init__(self, engine: Engine, turns: _Turns, on_close: Callable[[], None]):
        self.name, self.device, self.precision = engine.name, engine.device, engine.precision
        self.height, self.width, self.channels = engine.height, engine.width, engine.channels
        self.max_batch = engine.max_batch
        self._turns, self._on_close = turns, on_close
        self._is_closed = False

    def _run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        return self._turns.infer(images, self)

    def close(self) -> None:
        """Give this share back; with the last one the engine is closed. May be called again."""
        if not self._is_closed:
            self._is_closed = True
            self._on_close()


@dataclass(eq=False)
class _Opened:
    engine: OpenedEngine
    turns: _Turns
    owners: int = 0


@dataclass(eq=False)
class _Request:
    images: np.ndarray
    owner: object
    outputs: dict[str, np.ndarray] | None = None
    error: Exception | None = None

    @property
    def is_done(self) -> bool:
        return self.outputs is not None or self.error is not None


class _Turns:
    """Runs an engine for callers of several threads, first come, first served.

    Whoever finds the engine free runs what has waited longest, as many at once as the engine is
    fast with, for whomever it is.
    """

    def __init__(self, engine: Engine):
        self._engine = engine
        self._changed = threading.Condition()
        self._waiting: deque[_Request] = deque()
        self._is_running = False

    def infer(self, images: np.ndarray, owner: object) -> dict[str, np.ndarray]:
        """Do ``Engine.infer`` for one of the owners."""
        request = _Request(images, owner)
        with self._changed:
            self._waiting.append(request)
        while not request.is_done:
            with self._changed:
                self._changed.wait_for(lambda: request.is_done or not self._is_running)
                if request.is_done:
                    break
                count = min(len(self._waiting), self._engine.max_batch)
                batch = [self._waiting.popleft() for _ in range(count)]
                self._is_running = True
            try:
                self._run(batch)
            finally:
                with self._changed:
                    self._is_running = False
                    self._changed.notify_all()
        if request.error is not None:
            raise request.error
        return request.outputs

    def withdraw(self, owner: object) -> None:
        """Let an owner's requests fail at once that wait for their turn."""
        with self._changed:
            for request in [one for one in self._waiting if one.owner is owner]:
                self._waiting.remove(request)
                request.error = WithdrawnError("the image is not wanted any more")
            self._changed.notify_all()

    def _run(self, requests: list[_Request]) -> None:
        try:
            outputs = self._engine.infer(np.concatenate([one.images for one in requests]))
        except Exception as error:  # each of the callers has to know
            for one in requests:
                one.error = error
            return
        start = 0
        for one in requests:
            end = start + len(one.images)
            one.outputs = {name: plane[start:end] for name, plane in outputs.items()}
            start = end
