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

"""The pages say what the code has: links, counters, parameters of examples, launch arguments."""

import re
from pathlib import Path

import pytest
import yaml

from depthrefl_ros.ros.diagnostics import DROP_REASONS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_COMMAND = re.compile(r"ros2 launch depthrefl_ros (\w+\.launch\.py)((?:[^`\n]|\\\n)*)")


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).strip().replace(" ", "-") for one in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_within_the_project_leads_somewhere(page):
    links = [one for one in _LINK.findall(page.read_text(encoding="utf-8")) if "://" not in one]
    for link in links:
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in _anchors(target), f"{page.name}: {link}"


def test_the_readme_links_to_every_page():
    links = {(ROOT / one).resolve() for one in _LINK.findall(PAGES[0].read_text(encoding="utf-8"))}
    assert [page.name for page in PAGES[1:] if page not in links] == []


def test_troubleshooting_explains_every_counter_of_dropped_frames():
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    explained = re.findall(r"^\| `dropped_(\w+)` \|", text, re.MULTILINE)
    assert sorted(explained) == sorted(DROP_REASONS)


def _examples(page: Path) -> list[dict]:
    blocks = re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return [yaml.safe_load(block) for block in blocks]


def _config(name: str) -> dict:
    return yaml.safe_load((ROOT / "config" / name).read_text(encoding="utf-8"))


def _differences(part: dict, whole: dict, path: str = "") -> list[str]:
    found = []
    for name, value in part.items():
        if isinstance(value, dict) and isinstance(whole.get(name), dict):
            found += _differences(value, whole[name], f"{path}{name}.")
        elif name != "plugins" and whole.get(name) != value:  # those of the robot come in as well
            found.append(f"{path}{name}")
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_parameters_in_examples_exist(page):
    known = _config("depthrefl.yaml")["/**"]["ros__parameters"]
    for example in _examples(page):
        for name in example.get("/**", {}).get("ros__parameters", {}):
            assert name in known, f"{page.name}: {name}"


def test_the_excerpt_for_nav2_is_part_of_the_shipped_file():
    (excerpt,) = _examples(ROOT / "docs" / "nav2.md")
    assert _differences(excerpt, _config("nav2_costmap.yaml")) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_launch_arguments_exist(page):
    for file, words in _COMMAND.findall(page.read_text(encoding="utf-8")):
        declared = (ROOT / "launch" / file).read_text(encoding="utf-8")
        for name in re.findall(r"(\w+):=", words):
            assert f'"{name}": (' in declared, f"{page.name}: {name} is no argument of {file}"
