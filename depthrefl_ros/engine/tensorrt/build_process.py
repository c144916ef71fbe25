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

"""Builds a TensorRT plan in a child process: a build takes minutes, holds locks, and may crash.

``python -m depthrefl_ros.engine.tensorrt.build_process DESCRIPTOR`` is the child. Over the socket
of that number it gets one JSON request, sends JSON messages about its progress, and at last the
plan. It ends when the parent closes the socket or dies.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

from depthrefl_ros.engine.base import BuildStoppedError, EngineError
from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.tensorrt.build import BuiltPlan, build_plan
from depthrefl_ros.engine.tensorrt.plan import ONNX_FILES, StoredPlan, plan_key
from depthrefl_ros.engine.tensorrt.source import find_or_build
from depthrefl_ros.engine.tensorrt.store import PlanStore

_PROGRESS_PERIOD_S = 0.2
_IMPORT_FOLDER = Path(__file__).resolve().parents[2]  # the one that holds this package


class BuildProcess:
    """One build in a child process.

    Args:
        bundle_folder: of the model.
        flavour: ``tensorrt`` or ``tensorrt_rtx``.
        precision: ``fp32``, ``fp16`` or ``int8``.
        store_folder: where the plan is looked for and stored.
        force: build even where the plan is there.
        gpu: index of the CUDA device that it shall run on.
        batch: largest number of images at once.
    """

    def __init__(
        self,
        bundle_folder: Path,
        flavour: str,
        precision: str,
        store_folder: Path,
        force: bool = False,
        gpu: int = 0,
        batch: int = 1,
    ):
        self._words = f"the build of {flavour} {precision}"
        self._is_stopped = False
        self._connection, theirs = Pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            # `-m` puts the working directory in front of all modules: not the user's, in which
            # anything may lie.
            cwd=_IMPORT_FOLDER,
            stdin=subprocess.DEVNULL,
            # Ctrl-C goes to the whole process group; the child ends when its parent says so.
            start_new_session=True,
        )
        theirs.close()
        self._request = {
            # Absolute: a bare name would be taken for a shipped model's.
            "bundle_folder": str(bundle_folder.resolve()),
            "flavour": flavour,
            "precision": precision,
            "store_folder": str(store_folder.resolve()),
            "force": force,
            "gpu": gpu,
            "batch": batch,
        }

    @property
    def pid(self) -> int:
        """Of the child."""
        return self._process.pid

    def result(self, on_progress: Callable[[str, float], None] | None = None) -> StoredPlan:
        """Ask for the plan and waits for it; once. The child has ended after that.

        Args:
            on_progress: told what is being done and the share done in [0, 1].

        Raises:
            EngineError: the build failed or crashed.
            BuildStoppedError: ``stop`` was called.
        """
        try:
            _send(self._connection, self._request)
            while True:
                message = json.loads(self._connection.recv_bytes())
                if "error" in message:
                    raise EngineError(message["error"])
                if "notes" in message:
                    data = self._connection.recv_bytes()
                    return StoredPlan(data, message["is_cached"], tuple(message["notes"]))
                if on_progress is not None:
                    on_progress(message["phase"], message["share"])
        except (EOFError, OSError) as error:
            if self._is_stopped:
                raise BuildStoppedError(f"{self._words} was stopped") from error
            raise EngineError(f"{self._words} ended with code {self._process.wait()}") from error
        finally:
            self.stop()
            self._connection.close()

    def stop(self) -> None:
        """End the child if it still runs; may be called more than once and by any thread."""
        self._is_stopped = True
        self._process.kill()  # a build cannot be interrupted otherwise; the store withstands it
        self._process.wait()


def main(descriptor: int) -> None:
    """Build in the child what the parent asks for."""
    connection = Connection(descriptor)
    request = json.loads(connection.recv_bytes())
    threading.Thread(target=_end_with_parent, args=(connection,), daemon=True).start()
    try:
        stored = _build(connection, **request)
    except Exception as error:  # a broken runtime raises anything; the parent judges
        _send(connection, {"error": str(error) or repr(error)})
    else:
        _send(connection, {"is_cached": stored.is_cached, "notes": stored.notes})
        connection.send_bytes(stored.data)


def _end_with_parent(connection: Connection) -> None:
    try:
        connection.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)  # the build cannot be interrupted otherwise


def _build(
    connection: Connection,
    bundle_folder: str,
    flavour: str,
    precision: str,
    store_folder: str,
    force: bool,
    gpu: int,
    batch: int,
) -> StoredPlan:
    bundle = Bundle.load(bundle_folder)
    due_s = 0.0

    def tell(phase: str, share: float) -> None:
        nonlocal due_s
        now_s = time.monotonic()
        if now_s >= due_s:
            due_s = now_s + _PROGRESS_PERIOD_S
            _send(connection, {"phase": phase, "share": share})

    def build(times: bytes) -> BuiltPlan:
        path = bundle.path(ONNX_FILES[precision])
        return build_plan(
            flavour,
            path,
            batch=batch,
            precision=precision,
            timing_cache=times,
            progress=tell,
            gpu=gpu,
        )

    return find_or_build(
        PlanStore(Path(store_folder)),
        plan_key(bundle, flavour, precision, batch, gpu=gpu),
        build,
        force,
        on_wait=lambda: tell("another process is building it", 0.0),
    )


def _send(connection: Connection, message: dict) -> None:
    connection.send_bytes(json.dumps(message).encode())


if __name__ == "__main__":
    main(int(sys.argv[1]))
