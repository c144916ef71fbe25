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

"""Files of images as users have them."""

import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest

from depthrefl_ros.image_files import (
    ImageFileError,
    decode,
    home_expanded,
    is_turned,
    jpeg_end,
    list_images,
    list_images_below,
    natural_key,
    read_image,
    stem_of,
)


def picture(height: int = 48, width: int = 64) -> np.ndarray:
    """(H, W, 3) uint8 BGR with another colour in every quarter."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = (200, 30, 30)
    image[: height // 2, width // 2 :] = (30, 200, 30)
    image[height // 2 :, : width // 2] = (30, 30, 200)
    return image


def encoded(suffix: str) -> bytes:
    return cv2.imencode(suffix, picture())[1].tobytes()


def with_exif(jpeg: bytes, orientation: int, thumbnail: bytes = b"") -> bytes:
    """Return the JPEG with an orientation tag, and anything behind it in the same segment."""
    tag = bytes([1, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0])
    body = b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + tag + bytes(4) + thumbnail
    return jpeg[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + jpeg[2:]


def test_a_folder_is_listed_as_people_number_it(tmp_path):
    names = ["f_1.jpg", "f_2.JPG", "f_10.jpeg", "f_11.png", "K\u00fcche 3.png", "K\u00fcche 12.PNG"]
    for name in reversed(names):
        (tmp_path / name).write_bytes(b"x")
    for other in ("._f_1.jpg", ".hidden.png", "notes.txt", "f_3.jpg.part"):
        (tmp_path / other).write_bytes(b"x")
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in list_images(tmp_path)] == names
    assert [path.name for path in list_images(tmp_path, (".png",))] == names[3:]


def test_subfolders_are_listed_with_their_folder(tmp_path):
    names = ["1.png", "hall 2/1.png", "hall 10/a/3.JPG"]
    for name in [*reversed(names), ".trash/2.png", "hall 2/.thumbs/4.png", "hall 2/notes.txt"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = list_images_below(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in found] == names


def test_numbers_of_any_length_and_names_without_numbers_compare():
    names = ["1", "2", "10", "a", "a1b", "a01b", "a2", "b\u00b2", "\u00e9"]
    assert sorted(reversed(names), key=natural_key) == [
        "1", "2", "10", "a", "a01b", "a1b", "a2", "b\u00b2", "\u00e9",
    ]  # fmt: skip


def test_a_tilde_is_the_home_folder_or_part_of_a_name(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert home_expanded("~/rooms") == Path("/home/me/rooms")
    for name in ("~no such user.jpg", "rooms~", Path("~no such user") / "a.jpg"):
        assert home_expanded(name) == Path(name)


def test_umlauts_are_one_name_however_they_are_written():
    taken_apart = unicodedata.normalize("NFD", "K\u00fcche")
    assert stem_of(Path("a") / f"{taken_apart}.1.jpg") == "a/K\u00fcche.1"


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("tail", [b"\r\n", bytes(16), b"SEFH\0\1\xff\xd8SEFT", b"\xff\xd9"])
def test_bytes_behind_the_end_do_no_harm(tmp_path, suffix, tail):
    path = tmp_path / f"image{suffix}"
    path.write_bytes(encoded(suffix) + tail)
    expected = cv2.cvtColor(cv2.imdecode(np.frombuffer(encoded(suffix), np.uint8), 1), 4)
    assert np.array_equal(read_image(path), expected)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_file_is_refused(tmp_path, suffix, share):
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    content = cv2.imencode(suffix, noise)[1].tobytes()
    path = tmp_path / f"image{suffix}"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ImageFileError, match="truncated"):
        read_image(path)


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_image(tmp_path):
    content = with_exif(encoded(".jpg"), 1, thumbnail=encoded(".jpg"))
    assert jpeg_end(content) == len(content)
    path = tmp_path / "cut.jpg"
    path.write_bytes(content[:-40])
    with pytest.raises(ImageFileError, match="truncated"):
        read_image(path)


def test_progressive_and_restarted_jpegs_end_where_they_end():
    for option in (cv2.IMWRITE_JPEG_PROGRESSIVE, cv2.IMWRITE_JPEG_RST_INTERVAL):
        content = cv2.imencode(".jpg", picture(), [option, 1])[1].tobytes()
        assert jpeg_end(content + b"tail") == len(content)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_an_orientation_tag_moves_no_pixel(tmp_path, orientation):
    path = tmp_path / "phone.jpg"
    path.write_bytes(with_exif(encoded(".jpg"), orientation))
    found = cv2.cvtColor(read_image(path), cv2.COLOR_RGB2BGR)
    assert found.shape == picture().shape
    assert np.abs(found[4:20, 4:28].astype(int) - (200, 30, 30)).max() < 12


def test_a_photograph_stands_upright_where_it_comes_alone(tmp_path):
    path = tmp_path / "phone.jpg"
    path.write_bytes(with_exif(encoded(".jpg"), 6))
    found = decode(path, cv2.IMREAD_COLOR, upright=True)
    assert np.abs(found.astype(int) - np.rot90(picture(), -1)).mean() < 6


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_an_image_without_a_tag_is_not_turned(tmp_path, suffix):
    path = tmp_path / f"image{suffix}"
    for pixels in (picture(), picture(64, 48), picture(48, 48)):
        path.write_bytes(cv2.imencode(suffix, pixels)[1].tobytes())
        assert not is_turned(path, pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_5_to_8_turns_rows_into_columns(tmp_path, orientation):
    path = tmp_path / "phone.jpg"
    path.write_bytes(with_exif(encoded(".jpg"), orientation))
    upright = decode(path, cv2.IMREAD_COLOR, upright=True)
    assert is_turned(path, upright) == (upright.shape[0] == 64) == (orientation >= 5)


@pytest.mark.parametrize(
    "content, said",
    [
        (b"", "empty"),
        (b"text", "not an image"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
    ],
)
def test_what_is_no_image_is_refused_by_name(tmp_path, content, said):
    path = tmp_path / "image.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageFileError, match=said) as error:
        decode(path, cv2.IMREAD_COLOR)
    assert str(path) in str(error.value)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(ImageFileError, match="none.png: cannot be read: No such file"):
        read_image(tmp_path / "none.png")
