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

"""Which panoramas and photographs a folder has."""

import base64

import cv2
import numpy as np
import pytest

from depthrefl_ros.training.synth.looks import PLAIN, Looks, LooksError, find_looks, is_readable

EXR = b"\x76\x2f\x31\x01 and the rest"


def module(content: bytes) -> str:
    """Return a JavaScript module with a picture, as npm packages have it."""
    return f"export default 'data:application/exr;base64,{base64.b64encode(content).decode()}'"


def test_nothing_is_asked_for_and_nothing_is_found(tmp_path):
    assert find_looks(None, None, tmp_path) == PLAIN == Looks()


def test_panoramas_of_every_form_and_photographs_below_a_folder_are_listed(tmp_path):
    (tmp_path / "sky" / "more").mkdir(parents=True)
    (tmp_path / "sky" / "a.exr").write_bytes(EXR)
    (tmp_path / "sky" / "b.HDR").write_bytes(b"#?RADIANCE")
    (tmp_path / "sky" / "more" / "lab.exr.js").write_text(module(EXR))
    (tmp_path / "sky" / "lab.exr.d.ts").write_text("declare const url")
    (tmp_path / "photos").mkdir()
    for name in ("1.JPG", "2.png", "notes.txt"):
        (tmp_path / "photos" / name).write_bytes(b"")
    found = find_looks(tmp_path / "sky", tmp_path / "photos", tmp_path / "unpacked")
    assert [path.name for path in found.panoramas] == ["a.exr", "b.HDR", "lab.exr"]
    assert found.panoramas[-1].read_bytes() == EXR
    assert [path.name for path in found.photographs] == ["1.JPG", "2.png"]


@pytest.mark.parametrize(
    "name, content, named",
    [
        ("notes.txt", "", "no panoramas; .exr, .hdr, .exr.js files are needed"),
        ("x.exr.js", "export default 'x.exr'", "x.exr.js: no OpenEXR picture"),
        ("x.exr.js", module(b"GIF89a"), "x.exr.js: no OpenEXR picture"),
        ("x.exr.js", "'data:application/exr;base64,dg=v'", "x.exr.js: its base64 data is broken"),
    ],
)
def test_a_folder_without_usable_panoramas_is_named(tmp_path, name, content, named):
    (tmp_path / name).write_text(content)
    with pytest.raises(LooksError, match=named):
        find_looks(tmp_path, None, tmp_path / "unpacked")


@pytest.mark.parametrize(
    "content, reason",
    [(b"hello", "not an image"), (b"", "empty"), (b"\xff\xd8\xff", "truncated")],
)
def test_a_broken_photograph_is_told_once(tmp_path, capsys, content, reason):
    (tmp_path / "a.jpg").write_bytes(content)
    assert not is_readable(tmp_path / "a.jpg") and not is_readable(tmp_path / "a.jpg")
    (line,) = capsys.readouterr().err.splitlines()
    assert "a.jpg" in line and reason in line and line.endswith("the photograph is left out")


def test_a_good_photograph_is_readable(tmp_path, capsys):
    for name in ("a.jpg", "b.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((9, 9, 3), np.uint8))
        assert is_readable(tmp_path / name)
    assert not capsys.readouterr().err
