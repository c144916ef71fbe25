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

"""The pages say what the code has: links, counters, messages, commands, parameters, arguments."""

import ast
import functools
import importlib
import re
from pathlib import Path

import pytest
import yaml

from depthrefl_ros.ros.diagnostics import DROP_REASONS
from depthrefl_ros.tools.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TRAINING_PAGE = ROOT / "depthrefl_ros" / "training" / "README.md"
MANY_MODES = {"train", "render"}  # commands with subcommands
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


def _words(text: str) -> list[str]:
    return re.findall(r"(?<![\w.])[A-Za-z_/']{2,}(?!\w)", text)  # no numbers


def _triples(words: list[str]) -> list[tuple[str, ...]]:
    return list(zip(words, words[1:], words[2:], strict=False))


@functools.cache
def _said() -> frozenset[tuple[str, ...]]:
    """Return every three words that follow each other in a text of the package."""
    found = set()
    for file in (ROOT / "depthrefl_ros").rglob("*.py"):
        for item in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(item, ast.JoinedStr):
                parts = [getattr(one, "value", None) for one in item.values]
                text = "".join(one if isinstance(one, str) else " 0 " for one in parts)
            elif isinstance(item, ast.Constant) and isinstance(item.value, str):
                text = item.value
            else:
                continue
            found.update(_triples(_words(text)))
    return frozenset(found)


def test_troubleshooting_quotes_what_the_node_says():
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    symptoms = re.findall(r"^\*\*(`.+?)\*\*", page, re.MULTILINE | re.DOTALL)
    quotes = [one for symptom in symptoms for one in re.findall(r"`([^`]{30,})`", symptom)]
    assert len(quotes) > 25
    for quote in quotes:
        words = _words(quote)
        known = [first for first, one in enumerate(_triples(words)) if one in _said()]
        found = {first + step for first in known for step in range(3)}
        # What is left are values: topics, names, numbers.
        assert len(found) >= 0.4 * len(words), f"nothing says {quote!r}"


def _commands(page: Path) -> list[str]:
    """Return the command lines of a page, continued ones joined."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    inline = re.findall(r"(?<!`)`([^`]+)`(?!`)", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [*lines, *(" ".join(one.split()) for one in inline)]


def _help(capsys, *words: str) -> str:
    with pytest.raises(SystemExit):
        importlib.import_module(f"depthrefl_ros.tools.{words[0]}").main([*words[1:], "--help"])
    return capsys.readouterr().out


@pytest.mark.parametrize("page", [*PAGES, TRAINING_PAGE], ids=lambda page: page.name)
def test_commands_have_the_options_that_are_shown(page, capsys):
    for line in _commands(page):
        found = re.match(r"(?:\$ )?(?:ros2 run depthrefl_ros )?depthrefl (\w+)(.*)", line)
        if not found or found[1].isupper():
            continue
        name, rest = found[1], found[2].split("#")[0]
        assert name in COMMANDS, f"{page.name}: {line}"
        if not (shown := set(re.findall(r"(?<!\S)\[?(--[\w-]+)", rest))):
            continue
        mode = rest.split()[:1] if name in MANY_MODES and not rest.lstrip().startswith("-") else []
        try:
            known = _help(capsys, name, *mode)
        except ImportError:
            continue  # it needs what is not installed here
        for option in shown:
            assert re.search(rf"{option}\b", known), f"{page.name}: {line}: {option}"


@pytest.mark.parametrize("page", [*PAGES, TRAINING_PAGE], ids=lambda page: page.name)
def test_benchmarks_have_the_options_that_are_shown(page):
    for line in _commands(page):
        if found := re.match(r"(?:python )?(benchmark/\w+\.py)(.*)", line):
            text = (ROOT / found[1]).read_text(encoding="utf-8")
            if "add_sequence_arguments" in text:
                text += (ROOT / "benchmark" / "scale.py").read_text(encoding="utf-8")
            for option in re.findall(r"(--[\w-]+)", found[2].split("#")[0]):
                is_shared = option == "--json" and "add_json_argument" in text
                assert f'"{option}"' in text or is_shared, f"{page.name}: {line}: {option}"


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
