"""The notebooks run from top to bottom, one after the other, without a network or a window."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SECONDS_A_CELL = 900  # of a busy machine; a free one takes 40

Namespace = dict[str, Any]


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code_of(book: nbformat.NotebookNode) -> list[str]:
    return [cell.source for cell in book.cells if cell.cell_type == "code"]


def helpers_of(book: nbformat.NotebookNode) -> str:
    [cell] = [source for source in code_of(book) if "def explore(" in source]
    return cell


def outputs_of(book: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output for cell in book.cells for output in cell.get("outputs", [])]


def helpers() -> Namespace:
    """Run the cell of helpers as a kernel would."""
    space: Namespace = {"plt": plt}
    exec(helpers_of(read(NOTEBOOKS[0])), space)
    return space


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Any]:
    """Give a function that runs a notebook in the test's folder; every command shares its runs."""
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("MPLBACKEND", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def run(path: Path) -> nbformat.NotebookNode:
        book = read(path)
        resources = {"metadata": {"path": str(tmp_path)}}
        client = NotebookClient(
            book, timeout=SECONDS_A_CELL, kernel_name="python3", resources=resources
        )
        return client.execute()

    return run


@pytest.mark.slow
@pytest.mark.timeout(4 * SECONDS_A_CELL)
# The kernel and its sockets are closed by libraries that warn about each other's ways.
@pytest.mark.filterwarnings("default::DeprecationWarning", "default::ResourceWarning")
def test_notebooks_run_one_after_the_other(kernel: Callable[[Path], Any], tmp_path: Path) -> None:
    for path in NOTEBOOKS:
        outputs = outputs_of(kernel(path))
        # A command that fails inside the notebook leaves an error, and the cell goes on.
        assert [o.evalue for o in outputs if o.output_type == "error"] == [], path.name
        pictures = [o for o in outputs if "image/png" in o.get("data", {})]
        assert len(pictures) >= 5, path.name
    runs = tmp_path / "runs" / "notebooks"
    assert {"frames", "stage1", "stage2", "stage3", "comparison"} <= {
        one.name for one in runs.iterdir()
    }


def test_there_are_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == [
        "1_frames",
        "2_cams",
        "3_refinement",
        "4_results",
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped(path: Path) -> None:
    book = read(path)
    assert outputs_of(book) == []
    assert {cell.execution_count for cell in book.cells if cell.cell_type == "code"} == {None}
    assert "widgets" not in book.metadata


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_use_the_library_and_not_the_recipes(path: Path) -> None:
    assert not [source for source in code_of(read(path)) if "weakseg.stages" in source]


def test_notebooks_share_their_helpers_and_their_runs() -> None:
    books = [read(path) for path in NOTEBOOKS]
    assert len({helpers_of(book) for book in books}) == 1
    commands = {source for book in books for source in code_of(book) if source.startswith("%run")}
    # One command a module: another would find the folder taken by a run with other settings.
    assert len(commands) == len({command.split()[2] for command in commands}) == 4


def test_without_ipywidgets_one_picture_is_drawn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    space = helpers()
    shown: list[Any] = []
    space["display"] = shown.append
    space["explore"](lambda **chosen: chosen, frame=range(9), cut=(0.1, 0.5, 0.9))
    assert shown == [{"frame": 0, "cut": 0.5}]
    assert "pip install 'weakseg[notebooks]'" in capsys.readouterr().out


def test_a_slider_draws_anew_in_the_same_place() -> None:
    pytest.importorskip("ipywidgets")
    space = helpers()
    display = space["display"] = Mock()
    space["explore"](lambda **chosen: chosen, frame=range(3), kind=("cam", "local"))
    controls, picture = display.call_args_list
    assert picture.args == ({"frame": 0, "kind": "local"},)
    frame, kind = controls.args[0].children
    frame.value = 2
    kind.value = "cam"
    updates = [call.args[0] for call in display.return_value.update.call_args_list]
    assert updates == [{"frame": 2, "kind": "local"}, {"frame": 2, "kind": "cam"}]


def test_a_figure_holds_every_picture_under_its_title() -> None:
    pictures = [np.zeros((4, 5, 3), np.uint8)] * 3
    axes = helpers()["figure_of"](pictures, ["a", "b", "c"], columns=2).axes
    assert [axis.get_title() for axis in axes] == ["a", "b", "c", ""]
    assert [len(axis.images) for axis in axes] == [1, 1, 1, 0]
