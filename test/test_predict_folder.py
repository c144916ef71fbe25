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

"""Where the results of ``predict`` go."""

import json

import pytest

from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.predict_folder import (
    ResultFolder,
    default_folder,
    is_of_predict,
)


def written(path, source: str, *names: str) -> ResultFolder:
    folder = ResultFolder(path, source)
    for name in names:
        folder.begin()
        (path / f"{name}.npy").write_text(source)
        folder.add({"image": name, "files": {"npy": f"{name}.npy"}})
    return folder


def test_the_default_is_the_whole_name_of_a_folder_and_the_stem_of_a_file(tmp_path, monkeypatch):
    for name in ("v1.0", "v1.1"):
        (tmp_path / name).mkdir()
    (tmp_path / "photo.jpg").write_bytes(b"")
    monkeypatch.chdir(tmp_path / "v1.0")
    assert str(default_folder(".")) == str(default_folder("../v1.0/")) == "v1.0_depth"
    assert str(default_folder("../v1.1")) == "v1.1_depth"
    assert str(default_folder(str(tmp_path / "photo.jpg"))) == "photo_depth"
    assert str(default_folder("..")) == f"{tmp_path.name}_depth"
    assert str(default_folder("0")) == "0_depth"


def test_the_results_of_another_source_stay(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    out = tmp_path / "out"
    written(out, str(tmp_path / "a.png"), "a")
    with pytest.raises(ToolError, match=r"out holds the results of .*/a\.png, which stay"):
        ResultFolder(out, str(tmp_path / "b.png"))
    assert (out / "a.npy").is_file()
    listed = json.loads((out / "predict.jsonl").read_text())
    assert listed["source"] == str((tmp_path / "a.png").resolve())
    again = tmp_path / "x" / ".." / "a.png"  # the same file
    (tmp_path / "x").mkdir()
    written(out, str(again), "a")


def test_what_an_earlier_run_wrote_goes_with_the_first_new_result(tmp_path):
    out = tmp_path / "out"
    written(out, "0", "first", "second")
    (out / "mine.txt").write_text("kept")
    (tmp_path / "precious.npy").write_text("kept")
    with (out / "predict.jsonl").open("a") as lines:
        lines.write(json.dumps({"source": "0", "files": {"npy": "../precious.npy"}}) + "\n")
    written(out, "0")
    assert (out / "second.npy").is_file() and is_of_predict(out)
    written(out, "0", "first")
    assert sorted(path.name for path in out.iterdir()) == ["first.npy", "mine.txt", "predict.jsonl"]
    assert (tmp_path / "precious.npy").is_file()
    assert len((out / "predict.jsonl").read_text().splitlines()) == 1


def test_a_subfolder_goes_with_its_last_result_and_stays_with_others(tmp_path):
    out = tmp_path / "out"
    for name in ("kitchen", "hall"):
        (out / name / "east").mkdir(parents=True)
    (out / "predict.jsonl").write_text("")
    written(out, "0", "kitchen/east/1", "hall/east/1")
    (out / "hall" / "mine.txt").write_text("kept")
    written(out, "0", "2")
    found = sorted(path.relative_to(out).as_posix() for path in out.rglob("*"))
    assert found == ["2.npy", "hall", "hall/mine.txt", "predict.jsonl"]


def test_results_of_an_unknown_source_stay(tmp_path):
    (tmp_path / "predict.jsonl").write_text(json.dumps({"files": {"npy": "a.npy"}}) + "\n")
    (tmp_path / "a.npy").write_text("of another photograph")
    with pytest.raises(ToolError, match="results of an unknown source: give another --output"):
        ResultFolder(tmp_path, "0")
    assert (tmp_path / "a.npy").read_text() == "of another photograph"


def test_a_list_that_is_not_of_predict_is_not_taken_for_one(tmp_path):
    for content in ("[1]", '{"files": 3}', "no JSON"):
        (tmp_path / "predict.jsonl").write_text(content)
        assert not is_of_predict(tmp_path)


def test_a_line_that_was_cut_off_makes_no_folder_foreign(tmp_path):
    out = tmp_path / "out"
    written(out, "0", "first", "second")
    content = (out / "predict.jsonl").read_bytes()
    for cut in (4, 20, len(content) - 20):
        (out / "predict.jsonl").write_bytes(content[:cut])
        assert is_of_predict(out)
    written(out, "0", "third")
    assert not (out / "first.npy").exists() and (out / "third.npy").is_file()


def test_a_source_may_begin_with_a_tilde(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~no user.jpg").write_bytes(b"")
    assert str(default_folder("~no user.jpg")) == "~no user_depth"
    written(tmp_path / "out", "~no user.jpg", "a")
    ResultFolder(tmp_path / "out", str(tmp_path / "~no user.jpg"))
