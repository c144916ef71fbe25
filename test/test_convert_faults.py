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

"""``depthrefl convert`` with bad input and full disks: one line, and nothing half done."""

import re
import shutil
import tempfile

import numpy as np
import onnx
import pytest
import torch
import yaml
from authors_files import V2, write_depth_anything
from bundle_copies import copy_bundle
from foreign_networks import SIZE, foreign_network
from mounted_disk import mounted_disk
from onnx import TensorProto, helper, numpy_helper

from depthrefl_ros.conversion.converter import convert_onnx
from depthrefl_ros.conversion.hub_converter import convert_original
from depthrefl_ros.conversion.meaning import ConversionError, Meaning
from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.tools.convert import is_converted, main

PLAIN = Meaning(kind="metric", licence="MIT", range_m=(0.3, 10.0))
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


def test_what_the_user_can_put_right_is_one_line(tmp_path, capsys):
    path = foreign_network(tmp_path / "n.onnx", size=(None, None))
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.txt").write_text("dear to somebody")
    (tmp_path / "w.pth").write_bytes(b"PK\x03\x04")
    out, onnx_file = str(tmp_path / "out"), ["--onnx", str(path)]
    preset = ["--preset", "da3metric"]
    for command, words in (
        (["--hub", "~nouser/x", out], "'~nouser/x'"),
        ([out], "--onnx FILE and --hub NAME are both missing"),
        (onnx_file, "OUT is missing"),
        ([*onnx_file, out], "--meaning FILE or --preset NAME is missing"),
        ([*onnx_file, "--preset", "midas", out], "did you mean 'midas-small'?"),
        ([*onnx_file, *preset, str(tmp_path / "photos")], "holds other things"),
        ([*onnx_file, *preset, out], "say --size WIDTHxHEIGHT"),
        (["--onnx", str(tmp_path / "w.pth"), *preset, out], "torch.onnx.export("),
        ([*onnx_file, *preset, "--size", "64x48", "--output", "deep", out], "outputs are depth"),
    ):
        assert main(command) == 2, command
        said = capsys.readouterr().err
        assert words in said and said.count("\n") == 1, said
    assert not (tmp_path / "out").exists()
    with pytest.raises(SystemExit):
        main([*onnx_file, *preset, "--size", "64", out])


def broken_network(path, kind):
    """Return a network whose output is zero, constant, NaN, or does not hang on its input."""
    nodes = [helper.make_node("ReduceMean", ["image", "axes"], ["grey"], keepdims=1)]
    number = {"zero": 0.0, "constant": 0.0, "nan": np.nan, "same": 0.0}[kind]
    added = np.full((1, 1, *SIZE), 2.0 if kind == "constant" else 0.0, np.float32)
    if kind == "same":
        added += np.linspace(1.0, 4.0, SIZE[0], dtype=np.float32)[:, None]
    constants = [
        numpy_helper.from_array(np.float32([number]), "number"),
        numpy_helper.from_array(added, "added"),
        numpy_helper.from_array(np.int64([1]), "axes"),
    ]
    nodes += [
        helper.make_node("Mul", ["grey", "number"], ["product"]),
        helper.make_node("Add", ["product", "added"], ["depth"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, *SIZE])
    depth = helper.make_tensor_value_info("depth", TensorProto.FLOAT, [1, 1, *SIZE])
    graph = helper.make_graph(nodes, "broken", [image], [depth], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    return path


@pytest.mark.parametrize(
    "kind, words",
    [
        ("zero", "is 0 everywhere"),
        ("constant", r"is constant \(2\)"),
        ("nan", "is NaN or infinite"),
        ("same", "is the same for different pictures"),
    ],
)
def test_an_output_that_says_nothing_is_refused(tmp_path, kind, words):
    path = broken_network(tmp_path / "n.onnx", kind)
    with pytest.raises(ConversionError, match=words):
        convert_onnx(path, PLAIN, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_trained_bundle_is_not_replaced_by_a_converted_one(tmp_path, capsys):
    path, keep = foreign_network(tmp_path / "n.onnx"), tmp_path / "keep"
    copy_bundle(keep, {})
    before = {one.name: one.read_bytes() for one in keep.iterdir()}
    command = ["--onnx", str(path), "--preset", "yolo26-depth", "--no-comparison", str(keep)]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "keep is a bundle that convert did not make" in said and said.count("\n") == 1
    assert {one.name: one.read_bytes() for one in keep.iterdir()} == before
    assert main([*command, "--overwrite"]) == 0
    assert Bundle.load(str(keep)).sources.keys() == {"n.onnx"}
    assert main(command) == 0  # its own result
    description = yaml.safe_load((keep / "model.yaml").read_text())
    assert is_converted({**description, "calibration": {"x": [0, 1], "p": [0, 1]}})


class RunsCode:
    """What a checkpoint can hide: unpickling it calls a function."""

    def __reduce__(self):
        return (print, ("this must not run",))


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


# What is given to --hub -> how it comes about in a folder, and what is said.
BAD = {
    "no network, no file": (lambda folder: "owner/nothing", "no network, and owner/nothing is not"),
    "a folder without config.json": (lambda folder: folder, "has no config.json"),
    "a pointer": (
        lambda folder: (folder / "depth_anything_v2_vits.pth").write_text(LFS),
        "Git LFS pointer",
    ),
    "needs code": (
        lambda folder: torch.save({"model": RunsCode()}, folder / "depth_anything_v2_vits.pth"),
        r"needs code to be read \((\w+\.)?print\), which is refused; export it to ONNX where",
    ),
    "cut off": (
        lambda folder: cut(write_depth_anything(folder, "depth_anything_v2_vits.pth", V2)[0]),
        "is cut off; download it again",
    ),
    "no known network": (
        lambda folder: torch.save({"a.b": torch.zeros(1)}, folder / "depth_anything_v2_vits.pth"),
        r"holds no network whose tensors are known \(they begin with a\.b\)",
    ),
    "V1 metric, named like another": (
        lambda folder: torch.save(
            {"core.core.depth_head.projects.0.weight": torch.zeros(1)},
            folder / "depth_anything_v2_vits.pth",
        ),
        "holds Depth Anything V1 metric; whether indoor .* or outdoor .* is in its name only",
    ),
    "keys": (
        lambda folder: torch.save(
            {
                name: tensor
                for name, tensor in torch.load(
                    write_depth_anything(folder, "depth_anything_v2_vits.pth", V2)[0]
                ).items()
                if "refinenet" not in name
            }
            | {f"depth_head.more.{number}": torch.zeros(1) for number in range(12)},
            folder / "depth_anything_v2_vits.pth",
        ),
        r"it lacks (\S+, ){9}\S+ and \d+ more; it has no place for (\S+, ){9}\S+ and 2 more",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_checkpoint_is_one_line(tmp_path, capfd, monkeypatch, case):
    make, words = BAD[case]
    given = make(tmp_path)
    path = tmp_path / "depth_anything_v2_vits.pth"
    if path.is_file():
        given = path
    if case.startswith("no network"):
        constants = pytest.importorskip("huggingface_hub.constants")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    capfd.readouterr()
    command = ["--hub", str(given), str(tmp_path / "out"), "--no-comparison", "--size", "98x70"]
    assert main(command) == 2
    told = capfd.readouterr()
    assert re.search(words, told.err) and told.err.count("\n") == 1, told.err
    assert "this must not run" not in told.out + told.err
    assert not (tmp_path / "out").exists()


def leave_free(disk, size):
    """Fill a disk but for ``size`` bytes."""
    (disk / "filler").unlink(missing_ok=True)
    (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free - size))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_full_disk_leaves_no_half_of_a_bundle(tmp_path, capsys, share):
    """Full at the graphs, between them and the golden planes, and near the end."""
    path = foreign_network(tmp_path / "n.onnx")
    given = ["--onnx", str(path), "--preset", "yolo26-depth", "--no-comparison"]
    with mounted_disk(tmp_path / "disk", megabytes=1) as disk:
        out = disk / "out"
        assert main([*given, str(out)]) == 0
        before = {path.name: path.read_bytes() for path in out.iterdir()}
        needed = sum(map(len, before.values()))
        leave_free(disk, int(share * needed))
        capsys.readouterr()
        assert main([*given, str(disk / "other")]) == 2
        said = capsys.readouterr().err
        assert sorted(path.name for path in disk.iterdir()) == ["filler", "out"]
        assert main([*given, str(out)]) == 2  # a bundle that is there stays as it was
        assert {path.name: path.read_bytes() for path in out.iterdir()} == before
        assert Bundle.load(str(out)).kind == "metric"
        assert sorted(path.name for path in disk.iterdir()) == ["filler", "out"]
    assert said.count("\n") == 1
    assert re.search(r"no space left on a disk: \S+disk \(OUT\) has 0\.\d MB free.*not writ", said)


def test_weights_that_do_not_fit_leave_no_bundle(tmp_path):
    """The graphs fit on the disk, and the weights beside them do not."""
    path, _ = write_depth_anything(tmp_path, "depth_anything_v2_vits.pth", V2)
    with mounted_disk(tmp_path / "disk", megabytes=20) as disk:
        (done,) = convert_original(path, disk / "first", (70, 98))
        done = done.bundle
        needed = sum(one.stat().st_size for one in done.folder.iterdir())
        assert done.description["training"].startswith("none: graphs only")
        leave_free(disk, needed + 100_000)
        with pytest.raises(OSError, match="No space left"):
            convert_original(path, disk / "out", (70, 98), with_weights=True)
        assert sorted(one.name for one in disk.iterdir()) == ["filler", "first"]
        (disk / "filler").unlink()
        (done,) = convert_original(path, disk / "out", (70, 98), with_weights=True)
        done = done.bundle
        assert "backbone.safetensors" in done.description["training"]
        assert {"backbone.safetensors", "model.onnx"} < set(done.files)


@pytest.mark.parametrize("of", ["onnx", "pth"])
def test_a_full_temporary_folder_is_told(tmp_path, capsys, monkeypatch, of):
    command = ["--onnx", str(foreign_network(tmp_path / "n.onnx")), "--preset", "yolo26-depth"]
    if of == "pth":
        path = write_depth_anything(tmp_path, "depth_anything_v2_vits.pth", V2)[0]
        command = ["--hub", str(path)]
    with mounted_disk(tmp_path / "disk", megabytes=1) as disk:
        leave_free(disk, 4096)
        capsys.readouterr()
        monkeypatch.setattr(tempfile, "tempdir", str(disk))
        assert main([*command, str(tmp_path / "out"), "--no-comparison"]) == 2
        assert [path.name for path in disk.iterdir()] == ["filler"]
    said = capsys.readouterr().err
    assert f"{tmp_path / 'disk'} (TMPDIR) has 0.0 MB free" in said
    assert said.count("\n") == 1 and not (tmp_path / "out").exists()
