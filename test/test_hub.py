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

"""Downloads against a local stand-in of the Hub's HTTP interface: resumed, checked, told."""

import hashlib
import http.server
import json
import re
import threading
from types import SimpleNamespace

import pytest
from mounted_disk import mounted_disk

from depthrefl_ros.conversion.hub import fetch_checkpoint
from depthrefl_ros.conversion.meaning import ConversionError

constants = pytest.importorskip("huggingface_hub.constants")

NAME = "owner/network"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS = bytes(range(256)) * 4096  # 1 MiB


class Hub:
    """What it serves and what it does wrong.

    Attributes:
        files: content by name.
        cut_at: bytes after which the next download of weights breaks off; None for none.
        damaged: the weights arrive with a wrong byte.
        status: of every answer, where it is not None.
        ranges: headers ``Range`` of the downloads.
    """

    def __init__(self):
        self.files = {
            "config.json": b'{"model_type": "glpn"}',
            "preprocessor_config.json": b"{}",
            "model.safetensors": WEIGHTS,
        }
        self.cut_at, self.damaged, self.status, self.ranges = None, False, None, []

    def answer(self, request):
        head, _, file = request.path.partition("/resolve/main/")
        content = self.files.get(file) if head == f"/{NAME}" else None
        if self.status or content is None:
            request.send_response(self.status or 404)
            code = "EntryNotFound" if head == f"/{NAME}" else "RepoNotFound"
            request.send_header("X-Error-Code", "GatedRepo" if self.status == 403 else code)
            request.send_header("X-Repo-Commit", COMMIT)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        digest = hashlib.sha256(content).hexdigest()
        body, start = content, 0
        if request.headers.get("Range") and request.command == "GET":
            self.ranges.append(request.headers["Range"])
            start = int(request.headers["Range"].removeprefix("bytes=").split("-")[0])
        if self.damaged and file == "model.safetensors":
            body = b"x" + body[1:]
        request.send_response(206 if start else 200)
        request.send_header("X-Repo-Commit", COMMIT)
        # Large files go by their SHA-256, small ones by Git's own hash.
        request.send_header("ETag", f'"{digest if len(content) > 1000 else digest[:40]}"')
        request.send_header("Accept-Ranges", "bytes")
        request.send_header("Content-Length", str(len(body) - start))
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        request.end_headers()
        if request.command == "HEAD":
            return
        end = len(body)
        if self.cut_at is not None and file == "model.safetensors":
            end, self.cut_at = min(end, start + self.cut_at), None
        request.wfile.write(body[start:end])
        if end < len(body):
            request.wfile.flush()
            request.connection.shutdown(2)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Return a Hub of one repository, and an empty cache."""
    hub = Hub()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            hub.answer(self)

        do_HEAD = do_GET

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in (
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    hub.close = server.shutdown
    yield hub
    server.shutdown()
    server.server_close()


def test_a_checkpoint_arrives_whole_and_is_fetched_once(hub, capfd, monkeypatch):
    monkeypatch.setenv("TQDM_POSITION", "-1")  # shown as on a terminal, which a test has not
    folder = fetch_checkpoint(NAME, hub.endpoint)
    said = capfd.readouterr().err
    assert re.search(r"model\.safetensors: 100%.*1\.05M/1\.05M", said), said  # how far it is
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert json.loads((folder / "config.json").read_text()) == {"model_type": "glpn"}
    hub.files["model.safetensors"] = b""  # it would be refused
    hub.close()
    assert fetch_checkpoint(NAME, hub.endpoint) == folder


def test_split_weights_are_fetched_by_their_index(hub):
    del hub.files["model.safetensors"]
    parts = {"a": "part-1.safetensors", "b": "part-2.safetensors"}
    hub.files |= {part: WEIGHTS[:5000] + part.encode() for part in parts.values()}
    hub.files["model.safetensors.index.json"] = json.dumps({"weight_map": parts}).encode()
    folder = fetch_checkpoint(NAME, hub.endpoint)
    assert all((folder / part).is_file() for part in parts.values())


def test_a_download_that_breaks_off_goes_on_where_it_stopped(hub, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 16)  # of 10 MB
    hub.cut_at = 300_000
    try:
        folder = fetch_checkpoint(NAME, hub.endpoint)  # the client may go on by itself
    except ConversionError as error:
        assert "goes on where it stopped" in str(error)
        folder = fetch_checkpoint(NAME, hub.endpoint)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert hub.cut_at is None and any(not r.startswith("bytes=0-") for r in hub.ranges)


def test_damaged_weights_are_removed_and_told(hub):
    hub.damaged = True
    with pytest.raises(ConversionError, match="arrived damaged: SHA-256 .* run the same command"):
        fetch_checkpoint(NAME, hub.endpoint)
    hub.damaged = False
    assert (fetch_checkpoint(NAME, hub.endpoint) / "model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    "spoil, name, words",
    [
        ("offline", NAME, "no network, .* download config.json, .* --hub FOLDER"),
        ("repository", "owner/nothing", "there is no owner/nothing on the Hub"),
        ("name", "no/such/name", "is no name on the Hub"),
        ("gated", NAME, "accept its terms"),
        ("weights", NAME, "neither model.safetensors nor pytorch_model.bin"),
        ("config", NAME, "has no config.json on the Hub"),
    ],
)
def test_what_goes_wrong_is_one_line(hub, monkeypatch, spoil, name, words):
    if spoil == "offline":
        hub.close()
        hub.endpoint = "http://127.0.0.1:9"  # nobody listens
        patient = SimpleNamespace(sleep=lambda seconds: None)  # it waits 23 s between its tries
        monkeypatch.setattr("huggingface_hub.utils._http.time", patient)
    elif spoil == "gated":
        hub.status = 403
    elif spoil in ("weights", "config"):
        del hub.files["model.safetensors" if spoil == "weights" else "config.json"]
    with pytest.raises(ConversionError, match=words) as refused:
        fetch_checkpoint(name, hub.endpoint)
    assert "\n" not in str(refused.value)


def test_a_full_disk_is_told(hub, tmp_path, monkeypatch):
    hub.files["model.safetensors"] = 4 * WEIGHTS
    with mounted_disk(tmp_path / "disk", megabytes=1) as disk:
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(disk))
        with pytest.raises(OSError, match="No space left on device"):
            fetch_checkpoint(NAME, hub.endpoint)
