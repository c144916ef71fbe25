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

"""Bundles are written whole, over one file of weights, and never over anything else."""

import errno
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import yaml
from mounted_disk import mounted_disk
from onnx import TensorProto, helper, numpy_helper

from depthrefl_ros.engine.bundle import Bundle, BundleError, is_bundle
from depthrefl_ros.engine.bundle_writer import save_golden, save_graphs, write_bundle
from depthrefl_ros.engine.openvino_engine import OpenVinoEngine
from depthrefl_ros.engine.selection import EngineChoice, open_engine
from depthrefl_ros.engine.self_test import self_test
from depthrefl_ros.engine.tensorrt.api import find_flavour
from depthrefl_ros.engine.tensorrt.build import build_plan
from depthrefl_ros.engine.tensorrt.plan import plan_key

SIZE = (32, 48)
RTX = find_flavour("tensorrt_rtx")
CONTENT = {
    "kind": "inverse_relative",
    "input": {"height": SIZE[0], "width": SIZE[1], "resize": "stretch"},
    "outputs": ["relative"],
    "range_m": {"min": 0.5, "max": 20.0},
    "licence": "Apache-2.0",
    "commercial": "yes",
    "source": "a test",
    "sources": {"other.onnx": "0" * 64},
}


def graph(dtype=TensorProto.FLOAT, weights=None):
    """Somebody else's network: mean colour, then a table of weights, of one output."""
    weights = np.random.default_rng(0).random((1, 1, *SIZE)) if weights is None else weights
    half = numpy_helper.from_array(weights.astype(np.float16), "table")
    nodes = [
        helper.make_node("Cast", ["images"], ["x"], to=dtype),
        helper.make_node("Transpose", ["x"], ["y"], perm=[0, 3, 1, 2]),
        helper.make_node("ReduceMean", ["y", "axes"], ["grey"], keepdims=1),
        helper.make_node("Cast", ["table"], ["t"], to=dtype),
        helper.make_node("Mul", ["grey", "t"], ["product"]),
        helper.make_node("Cast", ["product"], ["relative"], to=TensorProto.FLOAT),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", *SIZE, 3])
    relative = helper.make_tensor_value_info("relative", TensorProto.FLOAT, ["batch", 1, *SIZE])
    axes = numpy_helper.from_array(np.array([1]), "axes")
    made = helper.make_graph(nodes, "network", [images], [relative], [half, axes])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    return model


@pytest.fixture
def golden():
    images = np.random.default_rng(1).integers(0, 255, (3, *SIZE, 3), np.uint8)
    session = onnxruntime.InferenceSession(graph().SerializeToString())
    return {"images": images, "relative": session.run(None, {"images": images})[0]}


def write(folder, golden, **content):
    graphs = {"model.onnx": graph(), "model_fp16.onnx": graph(TensorProto.FLOAT16)}
    write_bundle(folder, graphs, golden, {**CONTENT, **content})
    return Bundle.load(str(folder))


@pytest.fixture
def bundle(tmp_path, golden):
    return write(tmp_path / "theirs", golden)


def test_a_network_of_somebody_else_becomes_a_bundle_that_is_guarded(bundle):
    assert sorted(path.name for path in bundle.folder.iterdir()) == [
        *("golden.npz", "model.onnx", "model.weights", "model.yaml", "model_fp16.onnx"),
    ]
    assert bundle.outputs == ("relative",) and bundle.sources == {"other.onnx": "0" * 64}
    engine = OpenVinoEngine(bundle)
    assert set(engine.infer(bundle.golden().images)) == {"relative"}
    assert self_test(engine, bundle).p99.keys() == {"relative"}
    # Torch has no code for it; the other engines do not need it.
    opened = open_engine(bundle, EngineChoice("torch", falls_back=True))
    assert opened.engine.name == "openvino"
    assert any("theirs has ONNX files only, none for torch" in step for step in opened.steps)


def test_weights_of_both_graphs_stand_once(bundle):
    table = SIZE[0] * SIZE[1] * 2
    assert (bundle.folder / "model.weights").stat().st_size == table
    for name in ("model.onnx", "model_fp16.onnx"):
        assert (bundle.folder / name).stat().st_size < 1000
        session = onnxruntime.InferenceSession(str(bundle.path(name)))
        images = bundle.golden().images
        found = session.run(None, {"images": images})[0]
        np.testing.assert_allclose(found, bundle.golden().planes["relative"], rtol=0.01, atol=0.01)


@pytest.mark.skipif(not RTX.can_build, reason=f"TensorRT-RTX: {RTX.reason}")
def test_tensorrt_builds_from_a_graph_and_its_weights(bundle):
    for name, precision in (("model.onnx", "fp32"), ("model_fp16.onnx", "fp16")):
        built = build_plan("tensorrt_rtx", bundle.path(name), precision=precision)
        assert len(built.plan) > (bundle.folder / "model.weights").stat().st_size
    key = plan_key(bundle, "tensorrt_rtx", "fp16")
    assert key.onnx_sha256 == bundle.network_digest("model_fp16.onnx")


def test_equal_tensors_stand_once_and_the_graphs_given_stay_whole(tmp_path):
    given = graph()
    before = given.SerializeToString()
    other = graph(weights=np.ones((1, 1, *SIZE)))
    save_graphs({"a.onnx": given, "b.onnx": graph(), "c.onnx": other}, tmp_path)
    assert given.SerializeToString() == before
    assert (tmp_path / "model.weights").stat().st_size == 2 * SIZE[0] * SIZE[1] * 2
    loaded = onnx.load(tmp_path / "c.onnx")
    table = next(tensor for tensor in loaded.graph.initializer if tensor.name == "table")
    assert (numpy_helper.to_array(table) == 1).all()


def test_golden_planes_keep_more_than_an_engine_reproduces(bundle, golden):
    stored, exact = bundle.golden().planes["relative"][:3], golden["relative"]
    assert np.abs(stored / exact - 1.0).max() < 1e-4
    assert not (stored.view(np.uint32) & 0x3FF).any()
    np.testing.assert_array_equal(bundle.golden().images[:3], golden["images"])


def test_a_bundle_is_replaced_and_what_the_user_put_there_stays(bundle, golden):
    folder = bundle.folder
    (folder / "notes.txt").write_text("mine")
    (folder / "frames").mkdir()
    (folder / "frames" / "1.txt").write_text("mine too")
    assert write(folder, golden, licence="MIT").licence == "MIT"
    assert (folder / "notes.txt").read_text() == "mine"
    assert (folder / "frames" / "1.txt").read_text() == "mine too"
    assert [path.name for path in folder.parent.iterdir()] == ["theirs"]


def test_a_bundle_behind_a_link_is_replaced_and_keeps_the_name_that_is_given(bundle, golden):
    link = bundle.folder.with_name("newest")
    link.symlink_to(bundle.folder)
    written = write(link, golden, licence="MIT")
    assert written.name == "newest" and link.is_symlink()
    assert Bundle.load(str(bundle.folder)).licence == "MIT"


def test_a_mounted_folder_is_filled_and_nothing_is_lost(tmp_path, golden):
    """As a container's volume: it can be neither renamed nor removed."""
    with mounted_disk(tmp_path / "disk", megabytes=4) as disk:
        for licence in ("BSD-3-Clause", "MIT"):
            (disk / "notes.txt").write_text("mine") if any(disk.iterdir()) else None
            assert write(disk, golden, licence=licence).licence == licence
        names = sorted(path.name for path in disk.iterdir())
    made = ["golden.npz", "model.onnx", "model.weights", "model.yaml", "model_fp16.onnx"]
    assert names == [*made, "notes.txt"]


def test_where_the_new_bundle_cannot_be_put_the_old_one_stands(bundle, golden, monkeypatch):
    rename = Path.rename

    def refuse(path, target):
        if Path(target) == bundle.folder and not path.name.endswith(".old"):
            raise OSError(errno.EBUSY, "busy")
        return rename(path, target)

    before = {path.name: path.read_bytes() for path in bundle.folder.iterdir()}
    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="busy"):
        write(bundle.folder, golden, licence="MIT")
    assert {path.name: path.read_bytes() for path in bundle.folder.iterdir()} == before
    assert [path.name for path in bundle.folder.parent.iterdir()] == ["theirs"]


def test_a_folder_with_something_else_is_left_alone(tmp_path, golden):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "final.safetensors").write_text("days of work")
    with pytest.raises(BundleError, match="run is no bundle, and what it holds is not replaced"):
        write(tmp_path / "run", golden)
    assert [path.name for path in tmp_path.rglob("*")] == ["run", "final.safetensors"]


def test_a_file_of_the_users_in_the_way_is_not_replaced(bundle, golden):
    folder = bundle.folder
    description = yaml.safe_load((folder / "model.yaml").read_text())
    del description["files"]["golden.npz"]  # so it is not the bundle's
    (folder / "model.yaml").write_text(yaml.safe_dump(description))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(BundleError, match="golden.npz is not of the bundle there"):
        write(folder, golden, licence="MIT")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["theirs"]


def test_a_bundle_that_cannot_be_finished_leaves_everything_as_it_was(bundle, golden):
    def fails(folder):
        raise OSError("No space left on device")

    before = {path.name: path.read_bytes() for path in bundle.folder.iterdir()}
    with pytest.raises(OSError, match="No space left"):
        write_bundle(bundle.folder, {"model.onnx": graph()}, golden, CONTENT, fails)
    assert {path.name: path.read_bytes() for path in bundle.folder.iterdir()} == before
    assert [path.name for path in bundle.folder.parent.iterdir()] == ["theirs"]


def test_a_damaged_bundle_is_still_a_bundle(bundle, tmp_path):
    (bundle.folder / "model.onnx").write_bytes(b"")
    assert is_bundle(bundle.folder)
    assert not is_bundle(tmp_path)
    (tmp_path / "model.yaml").write_text("name: something\n")
    assert not is_bundle(tmp_path)


def test_golden_outputs_are_read_as_written_and_take_half_the_room(tmp_path):
    with np.load(Bundle.load("indoor_nano").path("golden.npz")) as shipped:
        arrays = dict(shipped)
    save_golden(tmp_path / "golden.npz", arrays)
    with np.load(tmp_path / "golden.npz", allow_pickle=False) as found:
        assert sorted(found) == sorted(arrays)
        for name, array in arrays.items():
            assert found[name].dtype == array.dtype and np.array_equal(found[name], array)
    np.savez_compressed(tmp_path / "deflated.npz", **arrays)
    sizes = [(tmp_path / name).stat().st_size for name in ("golden.npz", "deflated.npz")]
    assert sizes[0] < 0.6 * sizes[1]
