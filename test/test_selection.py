"""Which engine is taken, and what is said about those that are not."""

import sys

import pytest

from depthrefl_ros.engine import selection
from depthrefl_ros.engine.base import EngineError
from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.selection import open_engine


@pytest.fixture(scope="module")
def bundle():
    return Bundle.load("indoor_tiny")


def test_auto_says_what_it_tried_and_what_it_took(bundle, monkeypatch):
    monkeypatch.setattr(selection, "_NVIDIA_DEVICES", ())
    opened = open_engine(bundle)
    assert opened.engine.name == "openvino"
    assert opened.steps[0] == "torch on CUDA: no NVIDIA device file is present"
    assert opened.steps[1].startswith("openvino: chosen")


def test_auto_falls_back_where_openvino_is_missing(bundle, monkeypatch):
    monkeypatch.setattr(selection, "_NVIDIA_DEVICES", ())
    monkeypatch.setitem(sys.modules, "openvino", None)
    opened = open_engine(bundle)
    assert (opened.engine.name, opened.engine.device) == ("torch", "CPU")
    assert "openvino is not installed" in opened.steps[1]


def test_when_nothing_works_every_reason_is_given(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(EngineError, match="no engine works for model indoor_tiny.*pip install"):
        open_engine(bundle, "openvino")


def test_an_unknown_engine_is_named(bundle):
    with pytest.raises(ValueError, match="'abacus'"):
        open_engine(bundle, "abacus")


def test_threads_are_passed_on(bundle):
    opened = open_engine(bundle, "openvino", threads=1)
    assert opened.engine._compiled.get_property("INFERENCE_NUM_THREADS") == 1


def test_auto_survives_a_runtime_that_breaks_in_its_own_way(bundle, monkeypatch):
    def breaks(bundle, threads):
        raise OSError("libcudnn.so.9: cannot open shared object file")

    monkeypatch.setattr(selection, "_torch_on_cuda", breaks)
    opened = open_engine(bundle)
    assert opened.engine.name == "openvino"
    assert "libcudnn.so.9" in opened.steps[0]
