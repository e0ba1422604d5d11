"""Add the generated pages to the site: the reference of settings and of the Python interface."""

from __future__ import annotations

import ast
import sys
from dataclasses import fields
from pathlib import Path

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))

import settings

from weakseg import plans

ROOT = Path(__file__).parents[2]
MODULES = (
    "weakseg.filtering",
    "weakseg.losses",
    "weakseg.losses.energy",
    "weakseg.refine",
    "weakseg.cam",
    "weakseg.metrics",
    "weakseg.models",
    "weakseg.data",
    "weakseg.artifacts",
    "weakseg.densecrf",
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Write every generated page in memory, where the navigation expects it."""
    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def pages() -> dict[str, str]:
    """Give every generated page: path within the site -> Markdown."""
    found = {}
    commands = {name: plan_words(name) for name in command_names()}
    for name, arguments in commands.items():
        found[f"reference/settings/{name}.md"] = settings.command_page(name, arguments)
    found["reference/settings/common.md"] = common_page()
    for folder in settings.group_folders():
        name = folder.relative_to(settings.CONF).as_posix()
        found[f"reference/settings/{settings.page_of(name)}"] = settings.group_page(folder)
    found["reference/settings/index.md"] = overview(list(commands))
    found["reference/python.md"] = "# From Python\n\n" + "\n\n".join(map(module_part, MODULES))
    return found


def module_part(name: str) -> str:
    """Write the part of a module: its docstring, then what it offers from its own files."""
    parts = [f"## {name}", f"::: {name}\n    options:\n      heading_level: 3"]
    parts += [
        f"::: {origin}\n    options:\n      heading_level: 3\n      show_root_heading: true"
        for origin in offered(name)
    ]
    return "\n\n".join(parts)


def offered(module: str) -> list[str]:
    """List what a package offers by `from MODULE import NAME as NAME`, by where it is defined."""
    path = ROOT / module.replace(".", "/") / "__init__.py"
    if not path.is_file():
        return []
    found = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            names = [one.name for one in node.names if one.asname == one.name]
            found += [f"{node.module}.{name}" for name in names]
    return sorted(found, key=lambda name: name.rpartition(".")[2].lower())


def command_names() -> list[str]:
    """List the commands: conf/NAME.yaml with a help text of that name."""
    helps = (settings.CONF / "help").glob("*.yaml")
    return sorted(path.stem for path in helps if (settings.CONF / path.name).is_file())


def common_page() -> str:
    """Write the page of what every command that makes a run shares."""
    parts = ["# Common settings", "Every stage takes these."]
    for place, plan in (
        ("", plans.RunPlan),
        ("hardware.", plans.HardwarePlan),
        ("tracking.", plans.TrackingNames),
    ):
        words = _arguments(plan)
        rows = [
            settings.Setting(f"{place}{one.name}", str(one.default), words.get(one.name, ""))
            for one in fields(plan)
            if isinstance(one.default, (str, int, bool))
        ]
        parts.append(settings.table(rows))
    return "\n\n".join(parts) + "\n"


def overview(commands: list[str]) -> str:
    """Write the list of commands and groups."""
    lines = ["# Every setting", "Written from the configuration files themselves.", "## Commands"]
    lines.append("\n".join(f"- [weakseg.{name}]({name}.md)" for name in commands))
    lines.append("## Groups")
    groups = [folder.relative_to(settings.CONF).as_posix() for folder in settings.group_folders()]
    lines.append("\n".join(f"- [{name}]({settings.page_of(name)})" for name in groups))
    return "\n\n".join(lines) + "\n"


def plan_words(command: str) -> dict[str, str]:
    """Say what the dataclass of a command says of its fields."""
    plan = getattr(plans, f"{command.capitalize()}Plan", None)
    return {} if plan is None else _arguments(plan)


def _arguments(plan: type) -> dict[str, str]:
    found = {}
    for base in reversed(plan.__mro__):
        for section in griffe.Docstring(base.__doc__ or "").parse("google", warnings=False):
            if section.kind is griffe.DocstringSectionKind.parameters:
                found |= {one.name: " ".join(one.description.split()) for one in section.value}
    return found
