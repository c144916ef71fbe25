"""Which engine is taken, and what is said about those that are not."""

import sys

import pytest

from depthrefl_ros.engine import selection, tensorrt_api
from depthrefl_ros.engine.base import EngineError
from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.cache import EngineCache
from depthrefl_ros.engine.selection import EngineChoice, open_engine
from depthrefl_ros.engine.tensorrt_api import find_flavour

_rtx = find_flavour("tensorrt_rtx")
needs_rtx = pytest.mark.skipif(
    not _rtx.version or _rtx.can_run, reason="needs tensorrt_rtx on a machine without a GPU"
)


@pytest.fixture(scope="module")
def bundle():
    return Bundle.load("indoor_tiny")


@pytest.fixture(autouse=True)
def without_nvidia(monkeypatch, tmp_path):
    monkeypatch.setattr(selection, "_NVIDIA_DEVICES", ())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_auto_says_what_it_tried_and_what_it_took(bundle):
    opened = open_engine(bundle)
    assert (opened.engine.name, opened.engine.precision) == ("openvino", "fp32")
    heads = ("tensorrt: ", "tensorrt_rtx: ", "torch on CUDA: ", "openvino fp32: chosen, on ")
    assert len(opened.steps) == len(heads)
    for step, head in zip(opened.steps, heads, strict=True):
        assert step.startswith(head)
    assert opened.steps[2] == "torch on CUDA: no NVIDIA device file is present"
    assert opened.problems == []


@needs_rtx
def test_auto_builds_nothing_where_the_device_has_no_driver(bundle, monkeypatch):
    monkeypatch.setattr(selection, "_NVIDIA_DEVICES", ("/dev/null",))
    opened = open_engine(bundle)
    assert opened.engine.name == "openvino"
    assert opened.steps[1].startswith("tensorrt_rtx: CUDA")
    assert opened.steps[2] == "torch on CUDA: device is 'cuda' but torch finds no CUDA device"
    assert opened.problems == [] and EngineCache().entries() == []


@needs_rtx
def test_an_engine_asked_for_by_name_is_built_and_the_next_one_taken(bundle):
    told = []
    choice = EngineChoice("tensorrt_rtx", falls_back=True)
    opened = open_engine(bundle, choice, on_step=told.append)
    assert opened.engine.name == "openvino"
    built, refused, torch, chosen = opened.steps
    assert built.startswith("tensorrt_rtx fp16: built, 11.")
    assert refused.startswith("tensorrt_rtx: CUDA")
    assert torch.startswith("torch on CUDA: ") and chosen.startswith("openvino fp32: chosen")
    assert opened.problems == ["engine tensorrt_rtx was asked for; openvino runs"]
    assert told == opened.steps
    assert "tensorrt_rtx fp16: from the cache" in open_engine(bundle, choice).steps[0]


@needs_rtx
def test_what_is_wrong_with_the_cache_is_told(bundle):
    EngineCache().folder.mkdir(mode=0o700)
    EngineCache().folder.chmod(0o777)
    opened = open_engine(bundle, EngineChoice("tensorrt_rtx", falls_back=True))
    assert any("used from memory" in problem for problem in opened.problems)


@needs_rtx
def test_never_only_takes_what_is_cached(bundle):
    choice = EngineChoice("tensorrt_rtx", build="never")
    with pytest.raises(EngineError, match="tensorrt_rtx fp16: not in the cache .*build is never"):
        open_engine(bundle, choice)


@needs_rtx
def test_who_does_not_fall_back_hears_why(bundle):
    with pytest.raises(EngineError, match="tensorrt_rtx fp16: built.*tensorrt_rtx: CUDA"):
        open_engine(bundle, "tensorrt_rtx")


@pytest.mark.parametrize(
    "kind, expected",
    [
        ("tensorrt", ["tensorrt", "tensorrt_rtx", "torch on CUDA", "openvino", "torch on CPU"]),
        ("tensorrt_rtx", ["tensorrt_rtx", "torch on CUDA", "openvino", "torch on CPU"]),
        ("openvino", ["openvino", "torch on CPU"]),
        ("torch", ["torch on CUDA", "torch on CPU", "openvino"]),
        ("auto", ["tensorrt", "tensorrt_rtx", "torch on CUDA", "openvino", "torch on CPU"]),
    ],
)
def test_the_one_asked_for_comes_first_and_each_once(kind, expected):
    assert list(selection._ladder(EngineChoice(kind, falls_back=True))) == expected


def test_a_precision_that_fails_gives_way_to_fp32(bundle):
    opened = open_engine(bundle, EngineChoice("torch", precision="fp16"))
    assert (opened.engine.name, opened.engine.precision) == ("torch", "fp32")
    assert "precision fp16 was asked for; fp32 runs" in opened.problems


def test_bf16_runs_only_where_depth_and_sigma_pass(bundle):
    opened = open_engine(bundle, EngineChoice("openvino", precision="bf16"))
    assert opened.engine.precision in ("bf16", "fp32")
    if opened.engine.precision == "fp32":
        assert opened.steps[0].startswith("openvino bf16: ")
        assert "self-test" in opened.steps[0] or "does not compute" in opened.steps[0]
        assert opened.problems == [opened.steps[0], "precision bf16 was asked for; fp32 runs"]
    else:
        assert opened.report.sigma_p99 <= 0.02 and opened.problems == []


def test_auto_falls_back_where_openvino_is_missing(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    opened = open_engine(bundle)
    assert (opened.engine.name, opened.engine.device) == ("torch", "CPU")
    assert opened.steps[3].startswith("openvino: openvino is not installed")
    assert opened.problems == []


def test_when_nothing_works_every_reason_is_given(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(EngineError, match="no engine works for model indoor_tiny.*pip install"):
        open_engine(bundle, "openvino")


def test_an_unknown_engine_is_named(bundle):
    with pytest.raises(ValueError, match="engine is 'abacus'"):
        open_engine(bundle, "abacus")
    for field in ("precision", "build"):
        with pytest.raises(ValueError, match=f"{field} is 'abacus'; known are"):
            EngineChoice(**{field: "abacus"})


def test_threads_are_passed_on(bundle):
    opened = open_engine(bundle, EngineChoice("openvino", threads=1))
    assert opened.engine._compiled.get_property("INFERENCE_NUM_THREADS") == 1


def test_auto_survives_a_runtime_that_breaks_in_its_own_way(bundle, monkeypatch):
    def breaks(*arguments, **more):
        raise OSError("libtbb.so.12: cannot open shared object file")

    monkeypatch.setattr(selection, "OpenVinoEngine", breaks)
    opened = open_engine(bundle)
    assert opened.engine.name == "torch"
    assert "openvino fp32: libtbb.so.12" in opened.steps[3]
    assert opened.problems == [opened.steps[3]]


@needs_rtx
def test_a_version_with_a_known_fault_is_named_where_it_fails(monkeypatch):
    version = find_flavour("tensorrt_rtx").version
    monkeypatch.setitem(tensorrt_api._KNOWN_FAULTS, f"tensorrt_rtx {version}", "it drifts")
    assert selection._known_fault("tensorrt_rtx") == f" (tensorrt_rtx {version}; it drifts)"
    assert selection._known_fault("openvino") == ""
