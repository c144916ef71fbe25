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

from depthrefl_ros.conversion.families import _FAMILIES
from depthrefl_ros.conversion.presets import PRESETS
from depthrefl_ros.ros.diagnostics import DROP_REASONS
from depthrefl_ros.tools.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
NETWORKS_PAGE = ROOT / "docs" / "networks.md"
# How the table of the README calls what can be converted.
FAMILIES_IN_WORDS = {
    "depth_anything": "Depth Anything V1 S, B, L",
    "depth-anything-v2-small": "Depth Anything V2 S; B, L",
    "depth-anything-v2": "Depth Anything V2 metric S; B, L",
    "da1metric": "Depth Anything V1 metric",
    "da3metric": "DA3METRIC-LARGE",
    "zoedepth": "ZoeDepth N, K, NK",
    "depth_pro": "Depth Pro",
    "dpt": "DPT on DINOv2 S, B, L; MiDaS 3",
    "glpn": "GLPN",
    "tipsv2_dpt": "TIPSv2-DPT",
    "metric3d": "Metric3D v2",
    "dav3-metric": "LightlyTrain dav3-metric",
    "yolo26-depth": "YOLO26-depth",
    "zipdepth": "ZipDepth",
    "midas-small": "MiDaS v2.1 small",
}
TRAINING_PAGES = sorted((ROOT / "depthrefl_ros" / "training").glob("*.md"))
MANY_MODES = {"train", "render"}  # commands with subcommands
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_COMMAND = re.compile(r"ros2 launch depthrefl_ros (\w+\.launch\.py)((?:[^`\n]|\\\n)*)")


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).strip().replace(" ", "-") for one in headings}


@pytest.mark.parametrize("page", [*PAGES, *TRAINING_PAGES], ids=lambda page: page.name)
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


def _table(page: Path, first: str) -> list[dict[str, str]]:
    """Return the rows of the table whose first column is called so, by column."""
    lines = page.read_text(encoding="utf-8").splitlines()
    (start,) = (number for number, line in enumerate(lines) if line.startswith(f"| {first} |"))
    cells = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        cells.append([one.strip() for one in line.strip("|").split("|")])
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]


NUMBERS = r"(\w[\w -]*(, [\w-]+)*: )?[\d.]+((, |; | to )[\d.]+)*( M)?"


def test_the_table_of_presets_says_of_each_what_it_is_and_costs():
    """Kind, focal length, resize and commercial use are the code's; size and cost are told."""
    rows = {row["preset"].split("`")[1]: row for row in _table(NETWORKS_PAGE, "preset")}
    assert rows.keys() == PRESETS.keys()
    for name, row in rows.items():
        preset = PRESETS[name]
        focal = f", {preset.focal_px:g} px" if preset.focal_px else ""
        assert row["kind"] == f"{preset.kind}{focal}", name
        assert row["needs intrinsics"] == ("yes" if preset.needs_intrinsics else "no"), name
        assert preset.resize in row["input"] and row["commercial"] == preset.commercial, name
        assert re.fullmatch(rf"{NUMBERS}|not stated", row["parameters"]), name
        assert re.fullmatch(rf"{NUMBERS}|not counted", row["GMAC"]), name


def test_the_readme_names_every_family_with_its_size_and_cost():
    rows = _table(PAGES[0], "family")
    families = " ".join(row["family"] for row in rows)
    for word in FAMILIES_IN_WORDS.values():
        assert word in families, word
    assert FAMILIES_IN_WORDS.keys() == _FAMILIES.keys() | PRESETS.keys()
    for row in rows:
        assert set(re.split("; ", row["kind"])) <= {"relative", "metric", "canonical"}, row
        assert (row["intrinsics"] == "needed") == (row["kind"] == "canonical"), row
        assert re.fullmatch(rf"{NUMBERS}|not stated", row["parameters"]), row
        assert re.fullmatch(rf"{NUMBERS}|not counted", row["GMAC"]), row
        assert row["weights' licence"], row


def test_depth_anythings_size_and_cost_are_counted():
    """Parameters and multiply-accumulate operations of the public class at the tables' inputs."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from torch.utils.flop_counter import FlopCounterMode

    families = {row["family"]: row for row in _table(NETWORKS_PAGE, "family")}
    presets = {row["preset"].split("`")[1]: row for row in _table(NETWORKS_PAGE, "preset")}
    told = (families["Depth Anything V1 (S, B, L)"], families["DA3METRIC-LARGE, with sky"])
    first = [row["GMAC"].split(", ") for row in told]
    second = [presets[name]["GMAC"].split(", ") for name in ("depth-anything-v2", "da3metric")]
    expected = {  # sizes of the encoder, its heads, layers, widths of the neck, of the fusion
        (384, 6, 12, (48, 96, 192, 384), 64): {
            (518, 686): first[0][0], (518, 518): presets["depth-anything-v2-small"]["GMAC"],
        },
        (768, 12, 12, (96, 192, 384, 768), 128): {
            (518, 686): first[0][1], (518, 518): second[0][0],
        },
        (1024, 16, 24, (256, 512, 1024, 1024), 256): {
            (518, 686): first[0][2], (518, 518): second[0][1],
            (378, 504): first[1][0], (280, 504): second[1][0],
        },
    }  # fmt: skip
    sizes = []
    for (width, heads, layers, neck, fusion), costs in expected.items():
        taps = [f"stage{layers * part // 4}" for part in (1, 2, 3, 4)]
        encoder = transformers.Dinov2Config(
            hidden_size=width, num_attention_heads=heads, num_hidden_layers=layers, image_size=518,
            patch_size=14, out_features=taps, reshape_hidden_states=False,
        )  # fmt: skip
        config = transformers.DepthAnythingConfig(
            backbone_config=encoder, neck_hidden_sizes=list(neck), fusion_hidden_size=fusion,
            reassemble_hidden_size=width,
        )  # fmt: skip
        with torch.device("meta"):  # nothing is computed
            model = transformers.DepthAnythingForDepthEstimation(config).eval()
        sizes.append(round(sum(one.numel() for one in model.parameters()) / 1e6))
        for shape, cost in costs.items():
            image = torch.zeros(1, 3, *shape, device="meta")
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                model(pixel_values=image)
            assert round(counter.get_total_flops() / 2e9) == int(cost), (width, shape)
    assert told[0]["parameters"] == f"{', '.join(map(str, sizes))} M"


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


@pytest.mark.parametrize("page", [*PAGES, *TRAINING_PAGES], ids=lambda page: page.name)
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


@pytest.mark.parametrize("page", [*PAGES, *TRAINING_PAGES], ids=lambda page: page.name)
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
