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

"""Every source file names its licence, which is the repository's."""

import re
import xml.etree.ElementTree as ElementTree

from conftest import ROOT

IDENTIFIER = "# SPDX-License-Identifier: Apache-2.0"
# As ament_copyright looks for it; below it an empty line.
HEADER = (ROOT / "setup.py").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
FOLDERS = ("depthrefl_ros", "launch", "test", "benchmark", "docker")


def sources():
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    return [*found, *ROOT.glob("*.py")]


def scripts():
    return [
        *(ROOT / "docker").glob("Dockerfile*"),
        *(ROOT / "docker").glob("*.sh"),
        ROOT / ".ci" / "run",
        ROOT / "Makefile",
    ]


def first_lines(path, count):
    lines = path.read_text(encoding="utf-8").splitlines()
    return lines[1 : count + 1] if lines[0].startswith("#!") else lines[:count]


def test_every_source_file_begins_with_its_licence():
    assert len(HEADER) == 14 and HEADER[1] == IDENTIFIER
    words = " ".join(" ".join(HEADER).replace("#", " ").split())
    assert words.startswith("Copyright 20") and words.endswith("limitations under the License.")
    assert 'Licensed under the Apache License, Version 2.0 (the "License");' in words
    assert len(sources()) > 400 and len(scripts()) > 4
    without = [path for path in sources() if first_lines(path, 15) != [*HEADER, ""]]
    without += [path for path in scripts() if first_lines(path, 1) != [IDENTIFIER]]
    assert [str(path.relative_to(ROOT)) for path in without] == []


def test_the_licence_is_the_same_everywhere():
    identifier = IDENTIFIER.split()[-1]
    assert ElementTree.parse(ROOT / "package.xml").findtext("license") == identifier
    assert re.search(r'license="([^"]+)"', (ROOT / "setup.py").read_text())[1] == identifier
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text and "Version 2.0, January 2004" in text
