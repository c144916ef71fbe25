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

"""What runs the model from configure to cleanup: looked for, replaced, left behind, given back."""

import logging
import sys
import threading
import time

import pytest
from bundle_copies import copy_bundle
from diagnostic_msgs.msg import DiagnosticStatus

from depthrefl_ros.engine.base import EngineError
from depthrefl_ros.engine.bundle import BundleError
from depthrefl_ros.engine.openvino_engine import OpenVinoEngine
from depthrefl_ros.engine.shared_engines import SharedEngines
from depthrefl_ros.ros import loaded_model
from depthrefl_ros.ros.diagnostics import Diagnostics
from depthrefl_ros.ros.loaded_model import Model, is_anything_left_behind
from depthrefl_ros.ros.parameters import Parameters
from depthrefl_ros.settings import changed

NOBODY_STOPS = threading.Event()


class Told:
    """Diagnostics, a log, and how often a search has ended."""

    def __init__(self):
        self.diagnostics = Diagnostics()
        self.ended = 0

    def on_opened(self):
        self.ended += 1

    def values(self) -> dict:
        status = self.diagnostics.status("depthrefl", "active", "")
        values = {item.key: item.value for item in status.values}
        return {**values, "level": status.level, "message": status.message}


@pytest.fixture
def told():
    return Told()


@pytest.fixture
def make_model(told, monkeypatch):
    """Make a model that OpenVINO alone can run; nothing of it is left behind for other tests."""
    monkeypatch.setattr(loaded_model, "_LEFT_BEHIND", [])
    monkeypatch.setitem(sys.modules, "torch", None)
    models, engines = [], SharedEngines(2)

    def make(**changes) -> Model:
        parameters = changed(Parameters(), {"engine": "openvino", **changes})
        log = logging.getLogger("node")
        models.append(Model(engines, parameters, told.diagnostics, log, told.on_opened))
        return models[-1]

    yield make
    for model in models:
        model.close(5.0)


def opened_by(model: Model, within_s: float = 30.0):
    """Return what the search found."""
    end_s = time.monotonic() + within_s
    while model.take() is None:
        assert time.monotonic() < end_s
        model.wait(1.0, NOBODY_STOPS)
    return model.take()


def test_a_model_is_told_and_its_engine_looked_for_at_once(make_model, told, caplog):
    with caplog.at_level(logging.INFO, "node"):
        model = make_model()
    values = told.values()
    assert (values["model"], values["model_path"]) == ("indoor_tiny", str(model.bundle.folder))
    assert values["model_licence"] == model.bundle.licence
    assert values["model_origin"] == model.bundle.origin
    (line,) = (one for one in caplog.messages if one.startswith("model indoor_tiny: "))
    assert line.startswith(f"model indoor_tiny: {model.bundle.licence} (commercial use: no); ")
    ((file, digest),) = model.bundle.sources.items()
    assert line.endswith(
        f"; source: trained by depthrefl_ros; made of {file} (SHA-256 {digest[:12]})"
    )
    opened = opened_by(model)
    assert (opened.engine.name, model.device) == ("openvino", opened.engine.device)
    assert told.values()["engine"].startswith("openvino fp32 on ") and told.ended == 1
    assert model.settings.estimator.max_range_m == model.bundle.max_range_m
    model.search()  # there is one
    assert model.take() is opened and told.ended == 1


def test_a_model_that_is_missing_and_a_file_that_is_are_told(make_model):
    with pytest.raises(BundleError, match="no_such_model"):
        make_model(model="no_such_model")
    with pytest.raises(ValueError, match="self_mask is '/nowhere.png'"):
        make_model(self_mask="/nowhere.png")


def test_where_no_engine_works_that_is_told_and_may_be_tried_again(make_model, told, tmp_path):
    broken = copy_bundle(tmp_path / "broken", {"model.onnx": b"no network"})
    model = make_model(model=str(broken.folder))
    for _ in range(2):
        with pytest.raises(EngineError, match="no engine works for model indoor_tiny"):
            opened_by(model)
        assert told.values()["engine"] == "none" and model.device == ""
        model.search()


def test_nobody_waits_longer_than_they_want(make_model, monkeypatch):
    may_open = threading.Event()

    def slow(*_arguments, **_more):
        assert may_open.wait(20)
        raise EngineError("it took too long")

    monkeypatch.setattr("depthrefl_ros.engine.selection.OpenVinoEngine", slow)
    model = make_model()
    start_s = time.monotonic()
    model.wait(0.3, NOBODY_STOPS)
    assert 0.3 <= time.monotonic() - start_s < 2.0 and model.take() is None
    stopping = threading.Event()
    stopping.set()
    start_s = time.monotonic()
    model.wait(20.0, stopping)
    assert time.monotonic() - start_s < 1.0
    may_open.set()


def test_an_engine_that_fails_is_opened_anew_and_then_passed_over(make_model, told):
    model = make_model()
    first = opened_by(model)
    model.replace("5 frames in a row have failed", is_hanging=False)
    values = told.values()
    assert values["level"] == DiagnosticStatus.ERROR
    rung = first.rung
    assert f"engine {rung}: 5 frames in a row have failed: reopening it" in values["message"]
    second = opened_by(model)
    assert second.rung == rung and second.engine is not first.engine
    with pytest.raises(AttributeError):  # the first one was closed
        first.engine.infer(model.bundle.golden().images[:1])
    model.replace("it has hung for 10 s", is_hanging=False)
    message = told.values()["message"]
    assert "it has hung for 10 s again: trying the next kind of engine" in message
    with pytest.raises(EngineError, match=f"{rung}: not tried again, it failed while it ran"):
        opened_by(model)


def test_a_camera_that_shares_a_failing_engine_takes_the_one_that_another_has_opened(make_model):
    models = [make_model(), make_model()]
    first, shared = (opened_by(model) for model in models)
    models[0].replace("5 frames in a row have failed", is_hanging=False)
    anew = opened_by(models[0])
    image = models[0].bundle.golden().images[:1]
    shared.engine.infer(image)  # nobody closed it
    models[1].replace("5 frames in a row have failed", is_hanging=False)
    with pytest.raises(AttributeError):
        first.engine.infer(image)
    # The same report is of one and the same self-test.
    assert opened_by(models[1]).report is anew.report and anew.report is not first.report


def test_an_engine_that_ran_for_long_is_opened_anew_once_more(make_model, told, monkeypatch):
    model = make_model()
    first = opened_by(model)
    model.replace("it failed", is_hanging=False)
    opened_by(model)
    monkeypatch.setattr(loaded_model, "_FORGIVEN_AFTER_S", 0.0)
    model.replace("it failed", is_hanging=False)
    assert opened_by(model).rung == first.rung
    assert "it failed: reopening it" in told.values()["message"]


def test_an_engine_that_fails_at_once_is_passed_over_however_long_it_took_to_open(
    make_model, monkeypatch
):
    def slow(*arguments, **more):
        time.sleep(1.2)
        return OpenVinoEngine(*arguments, **more)

    monkeypatch.setattr("depthrefl_ros.engine.selection.OpenVinoEngine", slow)
    monkeypatch.setattr(loaded_model, "_FORGIVEN_AFTER_S", 1.0)
    model = make_model()
    for _ in range(2):
        rung = opened_by(model).rung
        model.replace("it failed", is_hanging=False)
    with pytest.raises(EngineError, match=f"{rung}: not tried again"):
        opened_by(model)


def test_a_hanging_engine_is_left_behind_and_never_closed(make_model):
    model = make_model()
    first = opened_by(model)
    model.replace("it has hung", is_hanging=True)
    assert is_anything_left_behind()
    first.engine.infer(model.bundle.golden().images[:1])  # nobody closed it
    first.engine.close()
    second = opened_by(model)
    model.leave_behind()
    assert model.device == "" and model.take() is None
    model.search()
    assert opened_by(model) is not second
    second.engine.close()


def test_an_engine_that_hangs_while_it_is_closed_holds_nothing_up(make_model, monkeypatch):
    model = make_model()
    may_close, close = threading.Event(), OpenVinoEngine.close

    def hanging(self):
        assert may_close.wait(20)
        close(self)

    opened_by(model)
    monkeypatch.setattr(OpenVinoEngine, "close", hanging)
    start_s = time.monotonic()
    model.close(5.0)
    assert time.monotonic() - start_s < 3.0
    assert is_anything_left_behind()
    may_close.set()


def test_a_search_that_is_given_up_may_begin_anew(make_model, told):
    model = make_model()
    model.give_up_search(10.0)
    assert model.take() is None and told.values()["engine"] == "none yet"
    assert not is_anything_left_behind()
    model.search()
    assert opened_by(model).engine.name == "openvino"


def test_close_withdraws_what_was_told(make_model, told):
    model = make_model()
    opened_by(model)
    model.replace("it failed", is_hanging=False)
    model.close(10.0)
    values = told.values()
    assert not {"model", "model_path", "model_licence", "engine"} & values.keys()
    assert values["message"] == "active"
