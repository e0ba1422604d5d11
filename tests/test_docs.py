"""The site: every setting is explained, every link leads somewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mkdocs", reason="make docs needs the extra [docs]")
pytest.importorskip("griffe", reason="make docs needs the extra [docs]")

SITE = Path(__file__).parents[1] / "docs" / "site"
sys.path.insert(0, str(SITE))
hooks = pytest.importorskip("hooks")
settings = pytest.importorskip("settings")

COMMANDS = hooks.command_names()
GROUP_FILES = [
    path
    for folder in settings.group_folders()
    if folder.relative_to(settings.CONF).parts[0] not in settings.WHOLE
    for path in sorted(folder.glob("*.yaml"))
]


def silent(rows: list[Any]) -> list[str]:
    """List the settings that neither say what they are nor lie in one that does."""
    told = {row.key for row in rows if row.comment}
    return [
        row.key
        for row in rows
        if row.default and row.key not in told and row.key.rpartition(".")[0] not in told
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_setting_of_a_command_is_explained(command: str) -> None:
    one = settings.read_config(settings.CONF / f"{command}.yaml")
    assert silent(settings.explained(one, hooks.plan_words(command))) == []


@pytest.mark.parametrize("path", GROUP_FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_setting_of_a_choice_is_explained(path: Path) -> None:
    one = settings.read_config(path)
    assert silent(settings.explained(one)) == []
    assert one.about, "its first line says what it is"


def test_a_config_file_is_read_with_its_comments(tmp_path: Path) -> None:
    path = tmp_path / "made.yaml"
    text = (
        "# @package _global_\n# What it is,\n# in two lines.\ndefaults:\n  - /cam@cam: local\n"
        "_target_: a.B\nplain: 1 # a number\nquoted: 'x # y' # a text\ninner:\n  deep: 2.5 # more\n"
        "  list:\n    - one\n"
    )
    path.write_text(text, encoding="utf-8")
    one = settings.read_config(path, root=tmp_path)
    assert one.about == "What it is, in two lines."
    assert one.targets == {"": "a.B"}
    assert one.groups == {"cam@cam": "local"}
    found = [(row.key, row.default, row.comment) for row in one.settings]
    assert found == [
        ("plain", "1", "a number"),
        ("quoted", "'x # y'", "a text"),
        ("inner.deep", "2.5", "more"),
    ]


@pytest.mark.timeout(240)
def test_the_site_builds_and_its_links_lead_somewhere(tmp_path: Path) -> None:
    done = subprocess.run(
        ["mkdocs", "build", "--strict", "-f", SITE / "mkdocs.yml", "-d", tmp_path / "site"],
        executable=Path(sys.executable).with_name("mkdocs"),
        capture_output=True,
        text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site" / "reference" / "settings" / "stage2.html").read_text("utf-8")
    assert "sam_checkpoint" in page
    python = (tmp_path / "site" / "reference" / "python.html").read_text("utf-8")
    assert "DenseCrfLoss" in python and "Lattice" in python
