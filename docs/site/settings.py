"""Write the reference of every setting from conf/: names, defaults, what the comments say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import griffe
import hydra
import yaml

CONF = Path(__file__).parents[2] / "conf"
_COMMENT = re.compile(r"(?:^|\s)#\s?(.*)$")
_KEY = re.compile(r"^(\s*)([\w.@/+-]+):(?:\s+(.*))?$")
# Groups whose files set what other groups define: they are shown as they are.
WHOLE = {"experiment", "study", "sweep"}
# Of `defaults`: what composes the file, and is told by the list of groups.
_HIDDEN = {"defaults", "_target_", "_partial_", "hydra"}


@dataclass
class Setting:
    """One line of a configuration file.

    Args:
        key: Dotted, as it is typed within the file's group.
        default: As YAML writes it; empty where the key only holds others.
        comment: What the file says beside it.
    """

    key: str
    default: str
    comment: str


@dataclass
class ConfigFile:
    """A file of conf/: what it says of itself, what it builds, what it holds.

    Args:
        name: Of the file, without its ending: the choice that a user types.
        about: Its first lines of comment.
        targets: Where in the file a component is built -> its dotted path; "" is the file itself.
        settings: In the order of the file.
        groups: `group` or `group@place` -> the choice made by default.
    """

    name: str
    about: str
    targets: dict[str, str] = field(default_factory=dict)
    settings: list[Setting] = field(default_factory=list)
    groups: dict[str, str] = field(default_factory=dict)


def read_config(path: Path, *, root: Path = CONF) -> ConfigFile:
    """Read a YAML file below `root` with the comments that explain it.

    Raises:
        ValueError: If a line is neither a comment nor part of the mapping.
    """
    text = path.read_text(encoding="utf-8")
    values = yaml.safe_load(text) or {}
    about = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            about.append(line.removeprefix("#").strip())
    return ConfigFile(
        path.stem,
        " ".join(about),
        targets=dict(_targets(values)),
        settings=[one for one in _settings(text) if one.key.split(".")[0] not in _HIDDEN],
        groups=_groups(values.get("defaults", []), path.parent.relative_to(root)),
    )


def _targets(values: object, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield where components are built, and which, through all that the file holds."""
    if not isinstance(values, dict):
        return
    for key, value in values.items():
        if key == "_target_":
            yield place, str(value)
        else:
            yield from _targets(value, f"{place}.{key}" if place else str(key))


def _settings(text: str) -> Iterator[Setting]:
    """Yield each `key: value # comment` with its dotted key; nested lists and texts are left."""
    above: list[tuple[int, str]] = []
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith(("#", "-")):
            continue
        bare, comment = _split_comment(line)
        found = _KEY.match(bare)
        if not found:
            continue
        indent, key, value = len(found[1]), found[2], (found[3] or "").strip()
        while above and above[-1][0] >= indent:
            above.pop()
        dotted = ".".join([*(name for _, name in above), key])
        if not value:
            above.append((indent, key))
        if key not in _HIDDEN and (value or comment):
            yield Setting(dotted, value, comment)


def _split_comment(line: str) -> tuple[str, str]:
    """Part a line from its comment; a # within quotes is none."""
    quote = ""
    for place, letter in enumerate(line):
        if letter in "'\"":
            quote = "" if letter == quote else quote or letter
        elif letter == "#" and not quote and (place == 0 or line[place - 1].isspace()):
            return line[:place].rstrip(), line[place + 1 :].strip()
    return line.rstrip(), ""


def _groups(defaults: list[object], home: Path) -> dict[str, str]:
    """List the groups that a file takes; a name without a leading / starts from the file's own."""
    found = {}
    for entry in defaults:
        for name, choice in entry.items() if isinstance(entry, dict) else ():
            if not str(name).startswith(("override", "help")):
                group = (
                    str(name)[1:] if str(name).startswith("/") else (home / str(name)).as_posix()
                )
                found[group] = "none" if choice is None else str(choice)
    return found


def component(target: str) -> tuple[str, dict[str, str]]:
    """Give what a component's docstring says: its first line, and its arguments by name."""
    try:
        text = hydra.utils.get_object(target).__doc__ or ""
    except ImportError as error:
        raise ValueError(f"{target} cannot be imported: correct _target_ in conf/") from error
    first, arguments = "", {}
    for section in griffe.Docstring(text).parse("google", warnings=False):
        if section.kind is griffe.DocstringSectionKind.text and not first:
            first = section.value.split("\n\n")[0]
        if section.kind is griffe.DocstringSectionKind.parameters:
            arguments = {one.name: one.description for one in section.value}
    return _line(first), {name: _line(words) for name, words in arguments.items()}


def explained(one: ConfigFile, arguments: dict[str, str] | None = None) -> list[Setting]:
    """Fill in what the components' docstrings say where the file is silent.

    Args:
        one: The file.
        arguments: What its plan's docstring says, by key.
    """
    known = dict(arguments or {})
    for place, target in one.targets.items():
        for name, words in component(target)[1].items():
            known[f"{place}.{name}" if place else name] = words
    return [
        Setting(item.key, item.default, item.comment or known.get(item.key, ""))
        for item in one.settings
    ]


def table(settings: list[Setting]) -> str:
    """Write settings as a Markdown table."""
    lines = ["| setting | default | meaning |", "|---|---|---|"]
    for one in settings:
        default = f"`{one.default}`" if one.default else ""
        lines.append(f"| `{one.key}` | {_cell(default)} | {_cell(one.comment)} |")
    return "\n".join(lines)


def command_page(name: str, plan: dict[str, str]) -> str:
    """Write the page of a command, `conf/NAME.yaml`; `plan` is its dataclass's docstring."""
    one = read_config(CONF / f"{name}.yaml")
    parts = [f"# weakseg.{name}", one.about, f"```bash\npython -m weakseg.{name} --help\n```"]
    if one.groups:
        lines = ["| group | by default |", "|---|---|"]
        for group, choice in one.groups.items():
            lines.append(f"| {_group_link(group)} | `{choice}` |")
        parts += ["## Groups: choose with GROUP=CHOICE", "\n".join(lines)]
    if one.settings:
        parts += ["## Settings: change with KEY=VALUE", table(explained(one, plan))]
    parts.append("`hardware`, `tracking` and the report's size are [common settings](common.md).")
    return "\n\n".join(parts) + "\n"


def group_page(folder: Path) -> str:
    """Write the page of a group: every choice with its settings."""
    name = folder.relative_to(CONF).as_posix()
    parts = [f"# {name}", f"Choose with `{name}=CHOICE`."]
    for path in sorted(folder.glob("*.yaml")):
        parts.append(f"## {path.stem}")
        parts += _whole(path) if name.split("/")[0] in WHOLE else _choice(read_config(path))
    return "\n\n".join(part for part in parts if part) + "\n"


def _choice(one: ConfigFile) -> Iterator[str]:
    yield one.about
    if "" in one.targets:
        yield f"Builds `{one.targets['']}`: {component(one.targets[''])[0]}"
    if one.groups:
        made = ", ".join(f"{_group_link(group)} `{to}`" for group, to in one.groups.items())
        yield f"Takes {made}."
    if one.settings:
        yield table(explained(one))


def _whole(path: Path) -> Iterator[str]:
    """Show a file that is itself what one wants to read."""
    yield f"```yaml\n{path.read_text(encoding='utf-8').strip()}\n```"


def group_folders() -> list[Path]:
    """List the groups of conf/; help texts are none."""
    folders = {path.parent for path in CONF.rglob("*.yaml")} - {CONF, CONF / "help"}
    return sorted(folders)


def page_of(group: str) -> str:
    """Name the page of a group: `refine/step` -> `refine_step.md`; a command goes before."""
    name = group.replace("/", "_")
    return f"{name}_files.md" if (CONF / f"{name}.yaml").is_file() else f"{name}.md"


def _group_link(entry: str) -> str:
    group, _, place = entry.partition("@")
    folder = CONF / group
    words = f"[`{group}`]({page_of(group)})" if folder.is_dir() else f"`{group}`"
    return f"{words} at `{place}`" if place and place != group else words


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _line(text: str) -> str:
    return " ".join(text.split())
