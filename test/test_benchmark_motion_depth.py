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

"""The benchmark of depth by motion: on the shipped recording, and what it leaves behind."""

import json

import motion_depth
import pytest
from scale import RECORDING

from depthrefl_ros.tools.recordings import Recording


def test_the_shipped_recording_is_measured_and_kept_as_a_robot_would_record_it(tmp_path, capsys):
    figures, kept = tmp_path / "figures.json", tmp_path / "kept"
    command = [str(RECORDING), "--json", str(figures), "--recordings", str(kept)]
    assert motion_depth.main(command) == 0
    [found] = json.loads(figures.read_text()).values()
    assert found["images"] == 32 and 0.7 < found["known"] < 1.0
    assert found["motion"] < 0.8 * found["network"] < found["everywhere"]
    assert found["far_motion"] == pytest.approx(1.0, abs=0.08)
    assert f"{found['motion']:.3f}, {found['network']:.3f}" in capsys.readouterr().out
    with Recording(kept / "corridor" / "corridor.mcap") as recording:
        assert recording.count("/camera/image_raw") == recording.count("/tf") == 64
        assert recording.camera_info_topic("/camera/image_raw") == "/camera/camera_info"


def test_what_is_no_drive_is_told(tmp_path, capsys):
    assert motion_depth.main([str(tmp_path / "nothing")]) == 2
    assert "nothing" in capsys.readouterr().err
