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

"""What a foreign network means is read from YAML, and what is misspelt or absurd is named."""

import pytest
import yaml

from depthrefl_ros.conversion.meaning import ConversionError, Meaning, read_meaning
from depthrefl_ros.conversion.presets import PRESETS, find_preset

WHOLE = {
    "kind": "canonical",
    "focal_px": 300,
    "input": {
        "layout": "NHWC",
        "type": "float",
        "colours": "bgr",
        "scale": 1,
        "mean": [100, 110, 120],
        "std": 50,
        "width": 504,
        "height": 280,
        "resize": "stretch",
    },
    "output": {"name": ["depth", "d"], "transform": "sigmoid_times_max", "maximum": 80},
    "sky": {"name": "sky", "threshold": 0.3, "is": "below"},
    "range_m": {"min": 0.5, "max": 40},
    "licence": "MIT",
    "commercial": True,  # YAML's bare yes
    "source": "a test",
}


def written(folder, content):
    path = folder / "meaning.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_every_field_is_read(tmp_path):
    assert read_meaning(written(tmp_path, WHOLE)) == Meaning(
        kind="canonical",
        focal_px=300.0,
        layout="NHWC",
        colours="bgr",
        scale=1.0,
        mean=(100.0, 110.0, 120.0),
        std=(50.0, 50.0, 50.0),
        width=504,
        height=280,
        resize="stretch",
        outputs=("depth", "d"),
        transform="sigmoid_times_max",
        maximum=80.0,
        sky=("sky",),
        sky_threshold=0.3,
        sky_is="below",
        range_m=(0.5, 40.0),
        licence="MIT",
        commercial="yes",
        source="a test",
    )


def test_little_is_needed(tmp_path):
    short = {"kind": "metric", "licence": "MIT", "range_m": {"min": 0.3, "max": 10}}
    found = read_meaning(written(tmp_path, short))
    assert (found.layout, found.scale, found.commercial) == ("NCHW", 1 / 255, "unknown")
    assert found.plane == "depth" and not found.needs_intrinsics


@pytest.mark.parametrize(
    "change, words",
    [
        ({"kind": "metres"}, "kind is 'metres'; known are canonical, metric, inverse_relative"),
        ({"kind": "metric"}, "focal_px is 300; only kind canonical has it, not metric"),
        ({"focal_px": None}, "has no focal_px"),
        ({"licence": None}, "has no licence"),
        ({"license": "MIT"}, "there is no field license; did you mean 'licence'"),
        ({"input": {"colors": "bgr"}}, "no field input.colors; did you mean 'colours'"),
        ({"input": {"std": [1, 0, 1]}}, "std is 0; a number from"),
        ({"input": {"mean": [1, 2]}}, "mean is .*; one number or three are needed"),
        ({"input": {"type": "uint8", "scale": 1}}, "scale is 1; an input of type uint8 has none"),
        ({"output": {"transform": "log"}}, "transform is 'log'; known are identity, exp"),
        ({"output": {"maximum": 10}}, "maximum is 10; only transform sigmoid_times_max"),
        ({"output": {"transform": "sigmoid_times_max"}}, "has no output.maximum"),
        ({"sky": {"threshold": 0.3}}, "sky.name is None; the name of the output for the sky"),
        ({"range_m": {"min": 5, "max": 2}}, "range_m.min is 5.0; it must be less than max, 2"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, change, words):
    with pytest.raises(ConversionError, match=words):
        read_meaning(written(tmp_path, {**WHOLE, **change}))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConversionError, match=r"none\.yaml cannot be read"):
        read_meaning(tmp_path / "none.yaml")


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(ConversionError, match=r"no preset 'metric3dv2'; did you mean 'metric3d'\?"):
        find_preset("metric3dv2")
    with pytest.raises(ConversionError, match="known are da3metric, metric3d, "):
        find_preset("xyz")


def test_the_focal_lengths_of_canonical_presets():
    focal = {name: one.focal_px for name, one in PRESETS.items() if one.kind == "canonical"}
    assert focal == {"da3metric": 300.0, "metric3d": 1000.0, "dav3-metric": 300.0}
    assert all(one.licence and one.source for one in PRESETS.values())
