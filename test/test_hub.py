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

"""Downloads against a local stand-in of the Hub's HTTP interface: resumed, checked, told.

And authors' repositories from there to a bundle, by the command.
"""

import hashlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
from authors_files import V2, da3metric_file, depth_anything, write_depth_anything
from conftest import ROOT
from mounted_disk import mounted_disk

from depthrefl_ros.conversion.hub import fetch_checkpoint
from depthrefl_ros.conversion.meaning import ConversionError
from depthrefl_ros.conversion.original_names import find_original
from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.tools.convert import main

constants = pytest.importorskip("huggingface_hub.constants")

NAME = "owner/network"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS = bytes(range(256)) * 4096  # 1 MiB
DA3METRIC = {
    "config": {
        "net": {"name": "vitl", "out_layers": [4, 11, 17, 23], "rope_start": -1},
        "head": {"dim_in": 1024, "output_dim": 1, "features": 256},
    },
    "model_name": "da3metric-large",
}


class Hub:
    """What it serves and what it does wrong.

    Attributes:
        name: of the repository.
        files: content by name.
        cut_at: bytes after which the next download of weights breaks off; None for none.
        damaged: the weights arrive with a wrong byte.
        status: of every answer, where it is not None.
        ranges: headers ``Range`` of the downloads.
        sent: names of the files of which something was sent.
    """

    def __init__(self):
        self.files = {
            "config.json": b'{"model_type": "glpn"}',
            "preprocessor_config.json": b"{}",
            "model.safetensors": WEIGHTS,
        }
        self.name, self.sent = NAME, []
        self.cut_at, self.damaged, self.status, self.ranges = None, False, None, []

    def list_files(self, request):
        rows = [
            {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
            for name, content in self.files.items()
        ]
        body = json.dumps(rows).encode()
        request.send_response(200)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def answer(self, request):
        if request.path.startswith(f"/api/models/{self.name}/tree/main?"):
            return self.list_files(request)
        head, _, file = request.path.partition("/resolve/main/")
        content = self.files.get(file) if head == f"/{self.name}" else None
        if self.status or content is None:
            request.send_response(self.status or 404)
            code = "EntryNotFound" if head == f"/{self.name}" else "RepoNotFound"
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
        if self.damaged and len(content) > 5000:
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
        self.sent.append(file)
        end = len(body)
        if self.cut_at is not None and len(content) > 5000:
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


# What a repository is -> what its weights are called, and its config.json.
REPOSITORIES = {
    "transformers": ("model.safetensors", {"model_type": "glpn"}),
    "DA3METRIC": ("model.safetensors", DA3METRIC),
    "authors": ("depth_anything_v2_vits.pth", None),
}


def serve(hub, kind):
    """Put a repository of this kind on the Hub, and return what its weights are called."""
    file, config = REPOSITORIES[kind]
    hub.files = {file: WEIGHTS, "README.md": b"---\nlicense: mit\n---\n"}
    if config is not None:
        hub.files["config.json"] = json.dumps(config).encode()
    return file


@pytest.mark.parametrize("kind", REPOSITORIES)
def test_a_checkpoint_arrives_whole_and_is_fetched_once(hub, capfd, monkeypatch, kind):
    monkeypatch.setenv("TQDM_POSITION", "-1")  # shown as on a terminal, which a test has not
    file = serve(hub, kind)
    folder = fetch_checkpoint(NAME, hub.endpoint)
    said = capfd.readouterr().err
    assert re.search(rf"{file}: 100%.*1\.05M/1\.05M", said), said  # how far it is
    assert (folder / file).read_bytes() == WEIGHTS
    assert sorted(hub.sent) == sorted(hub.files)
    original = find_original(folder, NAME)
    assert original == (None if kind == "transformers" else folder / file)
    hub.files[file] = b""  # it would be refused
    hub.close()
    assert fetch_checkpoint(NAME, hub.endpoint) == folder


def test_split_weights_are_fetched_by_their_index(hub):
    del hub.files["model.safetensors"]
    parts = {"a": "part-1.safetensors", "b": "part-2.safetensors"}
    hub.files |= {part: WEIGHTS[:5000] + part.encode() for part in parts.values()}
    hub.files["model.safetensors.index.json"] = json.dumps({"weight_map": parts}).encode()
    folder = fetch_checkpoint(NAME, hub.endpoint)
    assert all((folder / part).is_file() for part in parts.values())


@pytest.mark.parametrize("kind", REPOSITORIES)
def test_a_download_that_breaks_off_goes_on_where_it_stopped(hub, monkeypatch, kind):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 16)  # of 10 MB
    file = serve(hub, kind)
    hub.cut_at = 300_000
    try:
        folder = fetch_checkpoint(NAME, hub.endpoint)  # the client may go on by itself
    except ConversionError as error:
        assert "goes on where it stopped" in str(error)
        folder = fetch_checkpoint(NAME, hub.endpoint)
    assert (folder / file).read_bytes() == WEIGHTS
    assert hub.cut_at is None and any(not r.startswith("bytes=0-") for r in hub.ranges)


@pytest.mark.parametrize("kind", REPOSITORIES)
def test_damaged_weights_are_removed_and_told(hub, kind):
    file = serve(hub, kind)
    hub.damaged = True
    with pytest.raises(ConversionError, match="arrived damaged: SHA-256 .* run the same command"):
        fetch_checkpoint(NAME, hub.endpoint)
    hub.damaged = False
    assert (fetch_checkpoint(NAME, hub.endpoint) / file).read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    "spoil, name, words",
    [
        ("offline", NAME, "no network, .* download config.json, .* --hub FOLDER"),
        ("repository", "owner/nothing", "there is no owner/nothing on the Hub"),
        ("name", "no/such/name", "is no name on the Hub"),
        ("gated", NAME, "accept its terms"),
        ("weights", NAME, "neither model.safetensors nor pytorch_model.bin"),
        ("config", NAME, "neither config.json nor an authors' file .* it has model.safetensors, "),
        ("several", NAME, "holds 2 networks: depth_anything_v2_vits.pth, ZoeD_M12_N.pt; download"),
        ("family", NAME, "has model_type 'bert' in config.json"),
        ("mono", NAME, "is da3mono-large by its config.json: .* only DA3METRIC-LARGE"),
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
    elif spoil == "several":
        hub.files = {"depth_anything_v2_vits.pth": WEIGHTS, "ZoeD_M12_N.pt": WEIGHTS}
    elif spoil in ("family", "mono"):
        other = {"model_type": "bert"} if spoil == "family" else {"model_name": "da3mono-large"}
        hub.files["config.json"] = json.dumps(
            other if spoil == "family" else DA3METRIC | other
        ).encode()
    with pytest.raises(ConversionError, match=words) as refused:
        fetch_checkpoint(name, hub.endpoint)
    assert "\n" not in str(refused.value)
    assert not {"model.safetensors", "ZoeD_M12_N.pt"} & set(hub.sent)  # before the weights come


def test_the_command_names_the_folder_that_is_full(hub, tmp_path):
    """The cache is short of space, not the folder of the bundle: one line says which to move."""
    hub.files["model.safetensors"] = 4 * WEIGHTS
    with mounted_disk(tmp_path / "disk", megabytes=1) as disk:
        home = {"HF_HOME": str(disk / "hf"), "HF_ENDPOINT": hub.endpoint, "TQDM_DISABLE": "1"}
        kept = {name: value for name, value in os.environ.items() if "HF_" not in name}
        command = [sys.executable, "-m", "depthrefl_ros", "convert", "--hub", NAME]
        done = subprocess.run(
            [*command, str(tmp_path / "out")],
            env=kept | home, cwd=ROOT, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 2, done.stderr
        assert not (tmp_path / "out").exists()
    (line,) = done.stderr.splitlines()
    assert re.search(
        rf"no space left on a disk: .*{disk}/hf/hub \(HF_HOME\) has [01]\.\d MB free", line
    )
    assert re.search(r"/out was not written\. Free some, or choose another folder", line)
    assert f"{tmp_path} (OUT) has " in line


def test_a_full_disk_is_told(hub, tmp_path, monkeypatch):
    hub.files["model.safetensors"] = 4 * WEIGHTS
    with mounted_disk(tmp_path / "disk", megabytes=1) as disk:
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(disk))
        with pytest.raises(OSError, match="No space left on device"):
            fetch_checkpoint(NAME, hub.endpoint)


def authors_repository(kind, folder):
    """Return a repository's name and files, small and with drawn weights."""
    card = {"README.md": b"---\nlicense: apache-2.0\n---\n"}
    if kind == "DA3METRIC":
        path, _ = da3metric_file(depth_anything(V2), folder, -0.3)
        config = json.dumps(DA3METRIC).encode()
        weights = path.read_bytes()
        return "depth-anything/DA3METRIC-LARGE", {
            "config.json": config, "model.safetensors": weights, **card
        }  # fmt: skip
    path, _ = write_depth_anything(folder, "depth_anything_v2_vits.pth", V2)
    return "depth-anything/Depth-Anything-V2-Small", {path.name: path.read_bytes()}


@pytest.mark.parametrize("kind, made", [("DA3METRIC", "canonical"), ("V2", "inverse_relative")])
@pytest.mark.usefixtures("one_torch_thread")
def test_the_command_converts_an_authors_repository(hub, tmp_path, capsys, monkeypatch, kind, made):
    """By its name on the Hub alone."""
    hub.name, hub.files = authors_repository(kind, tmp_path)
    url = hub.endpoint + constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url)  # as HF_ENDPOINT would
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    # Drawn weights order no depths.
    monkeypatch.setattr("depthrefl_ros.tools.convert._recorded_frames", lambda: None)
    command = ["--hub", hub.name, str(tmp_path / "out"), "--size", "98x70", "--no-comparison"]
    assert main(command) == 0
    bundle = Bundle.load(str(tmp_path / "out"))
    assert (bundle.kind, bundle.source) == (made, hub.name)
    assert bundle.licence.lower() == "apache-2.0" and bundle.commercial == "yes"
    (file,) = bundle.sources
    assert bundle.sources[file] == hashlib.sha256(hub.files[file]).hexdigest()
    assert re.search(r"licence +apache-2\.0\n", capsys.readouterr().out, re.IGNORECASE)
