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

"""The live parameters as controls: which there are, and what they accept."""

import math
import time

import pytest

pytest.importorskip("rclpy")

import rclpy
from rcl_interfaces.msg import ParameterType, ParameterValue
from rcl_interfaces.srv import GetParameters

from depthrefl_ros.ros.parameters import Parameters
from depthrefl_ros.settings import Changeable, SettingError, described
from depthrefl_ros.tools import live_parameters
from depthrefl_ros.tools.live_parameters import ParameterClient, live_controls, plain_value

CONTROLS = live_controls()


def test_every_live_number_switch_and_choice_is_a_control():
    wanted = {
        one.name
        for one, default in described(Parameters())
        if one.changeable is Changeable.ALWAYS
        and (one.choices is not None or not isinstance(default, str))
    }
    assert set(CONTROLS) == wanted
    assert {"min_confidence", "max_obstacle_height", "scale_correction"} <= wanted


def test_what_needs_a_pause_or_names_a_file_is_none():
    assert not {"model", "engine", "image_transport", "self_mask", "base_frame"} & set(CONTROLS)


def test_controls_say_what_they_take():
    one = CONTROLS["max_obstacle_height"].as_dict()
    assert (one["kind"], one["unit"], one["default"]) == ("float", "m", 1.8)
    assert one["low"] < one["default"] < one["high"] and one["description"]
    assert CONTROLS["aspect_fit"].choices == ("pad", "crop")
    assert CONTROLS["min_confidence"].group == "What may be believed"
    assert CONTROLS["scan_min_height"].group == "For costmaps: scan"


@pytest.mark.parametrize(
    "name, value, kind",
    [
        ("min_confidence", 0.5, ParameterType.PARAMETER_DOUBLE),
        ("max_range", 6, ParameterType.PARAMETER_DOUBLE),
        ("cloud_stride", 2.0, ParameterType.PARAMETER_INTEGER),
        ("median_filter", False, ParameterType.PARAMETER_BOOL),
        ("aspect_fit", "crop", ParameterType.PARAMETER_STRING),
    ],
)
def test_values_become_parameters(name, value, kind):
    message = CONTROLS[name].parameter(value)
    assert (message.name, message.value.type) == (name, kind)
    assert plain_value(message.value) == value


@pytest.mark.parametrize(
    "name, value, hint",
    [
        ("min_confidence", 2.0, "between 0 and 0.99"),
        ("min_confidence", "0.5", "of type float"),
        ("min_confidence", float("nan"), "of type float|between"),
        ("min_confidence", True, "of type float"),
        ("cloud_stride", 1.5, "of type int"),
        ("cloud_stride", math.nan, "finite, of type int"),
        ("cloud_stride", math.inf, "finite, of type int"),
        ("cloud_stride", 10**400, "finite, of type int"),
        ("max_range", -math.inf, "finite, of type float"),
        ("max_range", 10**400, "finite, of type float"),
        ("median_filter", 1, "of type bool"),
        ("aspect_fit", "squash", "one of"),
        ("aspect_fit", None, "of type str"),
    ],
)
def test_what_a_parameter_cannot_be_is_refused(name, value, hint):
    with pytest.raises(SettingError, match=hint) as refused:
        CONTROLS[name].parameter(value)
    assert name in str(refused.value) and repr(value) in str(refused.value)


def test_lists_and_unset_parameters_have_no_plain_value():
    assert plain_value(ParameterValue()) is None
    kind = ParameterType.PARAMETER_DOUBLE_ARRAY
    assert plain_value(ParameterValue(type=kind, double_array_value=[1.0])) is None


def test_values_are_asked_for_again_until_an_answer_comes(peer, monkeypatch):
    monkeypatch.setattr(live_parameters, "ASK_AGAIN_S", 0.05)
    asked, news = [], []

    def serve(request, response):
        asked.append(request)
        response.values = [ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=4.0)]
        return response

    # In no executor yet, it is there and silent.
    other = rclpy.create_node("silent", start_parameter_services=False)
    service = other.create_service(GetParameters, "/silent/get_parameters", serve)
    client = ParameterClient(peer.node, "/silent", news.append)
    end = time.monotonic() + 0.5
    peer.spin_until(lambda: time.monotonic() > end, do=client.ask)
    assert not asked and not news
    peer._executor.add_node(other)
    assert peer.spin_until(lambda: len(asked) > 1 and news, do=client.ask)
    assert set(news[0]["values"].values()) == {4.0}
    assert peer.spin_until(lambda: len(news) == len(asked))
    before = len(asked)
    end = time.monotonic() + 0.3
    peer.spin_until(lambda: time.monotonic() > end, do=client.ask)
    assert len(asked) == before
    client.close()
    other.destroy_service(service)
    other.destroy_node()
