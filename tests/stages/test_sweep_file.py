"""Sweep files are wandb's own: what its agent would type is what is run here."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from weakseg.stages.sweeps.file import (
    SweepFile,
    find_sweep_file,
    parse_sweep,
    read_sweep_file,
)
from weakseg.stages.sweeps.search import build_search
from weakseg.targets import ConfigurationError

OWN = sorted((Path(__file__).parents[2] / "conf" / "sweep").glob("*.yaml"))
GRID: dict[str, Any] = {
    "method": "grid",
    "parameters": {"refine": {"values": ["none", "crf+sam"]}, "seed": {"values": [0, 1]}},
    "command": ["${env}", "${interpreter}", "-m", "weakseg.stage2", "cams=x", "${args_no_hyphens}"],
}


def parsed(**changes: Any) -> SweepFile:
    content = {key: value for key, value in {**GRID, **changes}.items() if value is not None}
    return parse_sweep(yaml.safe_dump(content, sort_keys=False), name="a")


def wandb_command(path: Path, values: dict[str, Any]) -> list[str]:
    """Write out a command with what `wandb agent` uses for it, in its order."""
    utils = pytest.importorskip("wandb.sdk.launch.sweeps.utils")
    config = utils.load_sweep_config(str(path))
    chosen = {"args": {key: {"value": value} for key, value in values.items()}}
    macros = {**utils.create_sweep_command_args(chosen), "interpreter": ["python"], "env": []}
    words: list[str] = []
    for word in utils.create_sweep_command(list(config["command"])):
        is_macro = word.startswith("${") and word.endswith("}")
        words += macros[word[2:-1]] if is_macro else [str(word)]
    return words


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # wandb forgets to close the file.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_own_files_run_here_as_wandbs_agent_would_run_them(path: Path, tmp_path: Path) -> None:
    if path.stem == "refinement":  # Which CAMs, only its user knows.
        with pytest.raises(ConfigurationError, match="settings=cams=RUN"):
            read_sweep_file(path)
        text = path.read_text().replace('"weakseg.stage2", ', '"weakseg.stage2", "cams=RUN", ')
        path = tmp_path / path.name
        path.write_text(text)
    file = read_sweep_file(path)
    pytest.importorskip("optuna") if file.method == "bayes" else None
    values = build_search(file, points=3, seed=0).propose([])
    assert values is not None
    step = file.step(values, [])
    assert ["python", "-m", f"weakseg.{step.command}", *step.words] == wandb_command(path, values)
    OverridesParser.create().parse_overrides(list(step.words))


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_own_files_keep_to_wandbs_schema(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of pydantic's, at its import.
        # Version 0.3.0 of its engine wants numpy<2, and 0.2.0 knows no run_cap: neither is a
        # dependency. `pip install --no-deps sweeps==0.3.0 jsonref` beside ours runs this.
        config = pytest.importorskip("sweeps.config", reason="wandb's engine is not installed")
    assert config.schema_violations_from_proposed_config(yaml.safe_load(path.read_text())) == []


def test_own_files_use_only_keys_of_wandbs_schema() -> None:
    # Of its schema, version 0.3.0 of the package `sweeps`, where that is not installed.
    known = {"method", "parameters", "command", "metric", "name", "description", "run_cap"}
    for path in OWN:
        assert set(yaml.safe_load(path.read_text())) <= known, path.name


def test_own_file_is_found_by_its_bare_name(tmp_path: Path) -> None:
    assert find_sweep_file("refinement").name == "refinement.yaml"
    mine = tmp_path / "mine.yaml"
    mine.write_text("x: 1")
    assert find_sweep_file(str(mine)) == mine
    with pytest.raises(ConfigurationError, match=r"no sweep file nothing: .* cams, chain"):
        find_sweep_file("nothing")


def test_names_and_words_of_a_file() -> None:
    file = parsed(name="my sweep", metric={"name": "val/auroc", "goal": "maximize"})
    assert (file.name, file.method, file.command) == ("my-sweep", "grid", "stage2")
    step = file.step({"refine": "crf+sam", "seed": 1}, ["output=here"])
    assert step.words == ("cams=x", "refine=crf+sam", "seed=1", "output=here")
    assert file.says("cams")
    assert file.says("seed")
    assert not file.says("output")


def test_settings_win_over_the_words_of_the_file() -> None:
    text = yaml.safe_dump(GRID)
    file = parse_sweep(text, name="a", settings=["cams=mine", "tracker=none"])
    assert file.words == ("${args_no_hyphens}", "cams=mine", "tracker=none")


def test_environment_is_read_as_wandb_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMES", "/there")
    monkeypatch.delenv("NOT_THERE", raising=False)
    command = [*GRID["command"][:-1], "a=${envvar:FRAMES}/b", "c=${envvar:NOT_THERE}"]
    file = parsed(command=[*command, "${args_override_hydra}"])
    assert file.step({"seed": 1}, []).words == ("cams=x", "a=/there/b", "c=NOT_THERE", "++seed=1")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"method": "hyperband"}, "method must be one of grid, random, bayes, got 'hyperband'"),
        ({"then": 1}, "then is not understood"),
        ({"parameters": {}}, "parameters must name at least one setting"),
        ({"parameters": {"+x": {"value": 1}}}, r"parameters.\+x: wandb takes letters"),
        ({"parameters": {"x": {"values": []}}}, "parameters.x: values must be a list"),
        ({"parameters": {"x": {"values": [None]}}}, 'write "null"'),
        ({"parameters": {"x": {"values": [{"a": 1}]}}}, "a mapping cannot be typed"),
        ({"parameters": {"fit": {"parameters": {"a": {"value": 1}}}}}, "with dots, such as fit"),
        ({"parameters": {"x": {"min": 0.0, "max": 1.0}}}, "parameters.x: a grid needs values"),
        ({"parameters": {"x": {"min": 2, "max": 1}}}, "min 2 must be less than max 1"),
        ({"parameters": {"x": {"min": "1e-3", "max": 1}}}, "min must be a number"),
        ({"parameters": {"x": {"value": 1, "unit": "m"}}}, "unit is not understood here"),
        ({"parameters": {"x": {"distribution": "beta"}}}, "distribution must be one of"),
        ({"command": "python"}, "command must be a list such as"),
        ({"command": ["python", "train.py"]}, "command must start a module of weakseg"),
        ({"command": ["python", "-m", "weakseg.check", "${args}"]}, "weakseg.check makes no run"),
        ({"command": ["python", "-m", "weakseg.stage1", "${args}"]}, r"as \$\{args_no_hyphens\}"),
        ({"command": [*GRID["command"], "output=x"]}, "output: a sweep gives each point its own"),
        ({"command": [*GRID["command"], "seed=3"]}, "seed=3 is set to what seed varies"),
        ({"metric": {"goal": "maximize"}}, "metric must have a name"),
        ({"metric": {"name": "x", "goal": "high"}}, "metric.goal must be maximize or minimize"),
        ({"method": "bayes"}, "method: bayes needs a metric"),
        ({"run_cap": 0}, "run_cap must be a whole number of at least 1"),
    ],
)
def test_what_cannot_be_run_is_refused_in_words(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        parsed(**changes)


def test_stage_2_is_told_what_it_starts_from() -> None:
    command = [word for word in GRID["command"] if word != "cams=x"]
    with pytest.raises(ConfigurationError, match="every point needs the same cams"):
        parsed(command=command)
    assert parsed(command=command, parameters={"cams": {"values": ["a", "b"]}}).says("cams")


def test_error_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("method: [")
    with pytest.raises(ConfigurationError, match=re.escape(f"{path} is no YAML file")):
        read_sweep_file(path)
    path.write_text("method: grid")
    with pytest.raises(ConfigurationError, match=re.escape(f"{path}: parameters")):
        read_sweep_file(path)
