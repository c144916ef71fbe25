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

"""What an ONNX network takes and gives, by options alone: as by the file of ``--meaning``."""

import numpy as np
import pytest
import yaml
from foreign_networks import foreign_network

from depthrefl_ros.conversion import meaning
from depthrefl_ros.conversion.meaning import read_meaning
from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.tools.convert import _parser, main
from depthrefl_ros.tools.meaning_options import FIELDS, meaning_of_options

# A file of --meaning, and the options that say the same.
SAME = {
    "canonical, with sky": (
        {
            "kind": "canonical",
            "focal_px": 300,
            "input": {
                "layout": "NHWC",
                "type": "float",
                "colours": "bgr",
                "scale": 0.5,
                "mean": [0.1, 0.2, 0.3],
                "std": [1, 2, 3],
                "resize": "crop",
            },
            "output": {"name": "d", "transform": "sigmoid_times_max", "maximum": 20},
            "sky": {"name": "s", "threshold": -0.3, "is": "below"},
            "range_m": {"min": 0.3, "max": 20},
            "licence": "MIT, or ask",
            "commercial": "yes",
            "source": "here",
        },
        "--kind canonical --focal-px 300 --layout NHWC --type float --colours bgr --scale 0.5 "
        "--mean 0.1,0.2,0.3 --std 1,2,3 --resize crop --output d --transform sigmoid_times_max "
        "--maximum 20 --sky s --sky-threshold -0.3 --sky-is below --range-m 0.3,20 "
        "--commercial yes --source here --licence",
    ),
    "metric": (
        {
            "kind": "metric",
            "trained_hfov_deg": 60,
            "input": {"mean": 0.5},
            "range_m": {"min": 0.1, "max": 8.5},
            "licence": "MIT, or ask",
        },
        "--kind metric --trained-hfov-deg 60 --mean 0.5 --range-m 0.1,8.5 --licence",
    ),
    "bytes": (
        {
            "kind": "inverse_relative",
            "input": {"type": "uint8"},
            "range_m": {"min": 0.3, "max": 20},
            "licence": "MIT, or ask",
        },
        "--kind inverse_relative --type uint8 --range-m 0.3,20 --licence",
    ),
}


@pytest.mark.parametrize("case", SAME)
def test_the_options_say_what_the_file_says(tmp_path, case):
    fields, options = SAME[case]
    path = tmp_path / "meaning.yaml"
    path.write_text(yaml.safe_dump(fields))
    args = _parser().parse_args([*options.split(), "MIT, or ask"])
    assert meaning_of_options(args) == read_meaning(path)


def test_every_field_but_the_size_has_an_option():
    known = {name for name in meaning._TOP if name not in meaning._PARTS} | {"range_m"}
    parts = {name: fields for name, fields in meaning._PARTS.items() if name != "range_m"}
    known |= {f"{part}.{name}" for part, names in parts.items() for name in names}
    assert set(FIELDS.values()) == known - {"input.width", "input.height"}  # --size
    used = {word for _, options in SAME.values() for word in options.split()}
    assert set(FIELDS) <= used


def test_a_network_is_converted_by_options_alone(tmp_path):
    """The bundle is the same as by the file, and has the free size of ``--size``."""
    path = foreign_network(tmp_path / "n.onnx", last="log", size=(None, None))
    file = tmp_path / "meaning.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "kind": "metric",
                "input": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
                "output": {"name": "depth", "transform": "exp"},
                "range_m": {"min": 0.3, "max": 10},
                "licence": "MIT",
            }
        )
    )
    options = "--kind metric --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --output depth "
    options += "--transform exp --range-m 0.3,10 --licence MIT"
    made = {}
    for name, told in (("file", ["--meaning", str(file)]), ("options", options.split())):
        command = ["--onnx", str(path), *told, "--size", "64x48", "--no-comparison"]
        assert main([*command, str(tmp_path / name)]) == 0
        made[name] = Bundle.load(str(tmp_path / name))
    by_file, by_options = made.values()
    assert by_options.files["model.onnx"] == by_file.files["model.onnx"]
    np.testing.assert_array_equal(by_options.golden().depth, by_file.golden().depth)
    assert 0.5 < by_options.golden().depth.mean() < 10.0
    told = [{**one.description, "name": "", "files": sorted(one.files)} for one in made.values()]
    assert told[0] == told[1]


@pytest.mark.parametrize(
    "options, words",
    [
        ("--onnx n.onnx --preset midas-small --mean 0.5", "--mean and --preset midas-small are"),
        ("--onnx n.onnx --meaning m.yaml --kind metric --std 1", "--kind, --std and --meaning m.y"),
        ("--onnx n.onnx --kind metric", "without --meaning and --preset, --range-m, --licence is"),
        ("--onnx n.onnx --output d", "--meaning FILE or --preset NAME is missing, or --kind, --r"),
        ("--hub a/b --scale 1", "--scale is for --onnx; a checkpoint's files tell it"),
        ("--hub a/b --preset metric3d", "--preset is for --onnx; a checkpoint's files tell it"),
        ("--hub a/b --kind canonical", "--kind canonical is for --onnx"),
        (
            "--onnx n.onnx --kind metric --range-m 0.3,10 --licence MIT --focal-px 300",
            "the command line: focal_px is 300.0; only kind canonical has it, not metric",
        ),
        (
            "--onnx n.onnx --kind canonical --range-m 0.3,10 --licence MIT",
            "the command line has no focal_px",
        ),
        (
            "--onnx n.onnx --kind metric --range-m 0.3,10 --licence MIT --mean 1,2",
            "the command line: input.mean is [1.0, 2.0]; one number or three are needed",
        ),
    ],
)
def test_options_that_contradict_or_lack_something_are_one_line(tmp_path, capsys, options, words):
    assert main([*options.split(), str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1, said


@pytest.mark.parametrize("option", ["--range-m=5", "--range-m=1,2,3", "--mean=a", "--kind=depth"])
def test_an_option_that_is_none_is_refused(capsys, option):
    with pytest.raises(SystemExit):
        main([option, "out"])
    assert f"argument {option.split('=')[0]}: " in capsys.readouterr().err
