"""Read wandb's sweep files, and write out the command of each point as wandb's agent would."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

import yaml

from weakseg.stages.running import Step
from weakseg.stages.sweeps.space import Parameter, Value, read_parameter
from weakseg.targets import ConfigurationError

METHODS: Final = ("grid", "random", "bayes")
COMMANDS: Final = ("stage1", "stage2", "stage3", "chain")
"""Commands that make a run folder with a summary, and know `tracking`."""
_KEYS: Final = {
    *("name", "description", "project", "entity", "program", "method", "metric"),
    *("parameters", "command", "run_cap", "early_terminate"),
}
_NEEDS: Final = {"stage2": "cams", "stage3": "pseudo_masks"}
_ARGUMENTS: Final = {
    "${args_no_hyphens}": "",
    "${args_append_hydra}": "+",
    "${args_override_hydra}": "++",
}
_VARIABLE: Final = re.compile(r"\$\{envvar:([A-Z0-9_]*)\}")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Metric:
    """What a sweep looks for: a figure of `summary.json`, by the name it has in wandb.

    Args:
        name: Such as `val/auroc`.
        goal: `maximize` or `minimize`.
        target: Value at which the sweep ends; None for never.
    """

    name: str
    goal: str = "minimize"
    target: float | None = None

    @property
    def sign(self) -> int:
        """1 where more is better, else -1."""
        return 1 if self.goal == "maximize" else -1

    def is_reached(self, value: float | None) -> bool:
        """Say whether a value is as good as the target."""
        if self.target is None or value is None:
            return False
        return self.sign * value >= self.sign * self.target


@dataclass(frozen=True)
class SweepFile:
    """A sweep, as its file says it.

    Args:
        name: Of the sweep: the group of its runs.
        method: `grid`, `random` or `bayes`.
        parameters: Name -> what it may be, in the order of the file.
        command: Which of weakseg's is run.
        words: What follows it; wandb's `${args...}` stands for the point's own words.
        metric: What is looked for, if anything.
        run_cap: Largest number of points; None for all.
        early_terminate: Whether wandb's server is to stop bad runs early.
        text: The file itself.
    """

    name: str
    method: str
    parameters: Mapping[str, Parameter]
    command: str
    words: tuple[str, ...]
    metric: Metric | None
    run_cap: int | None
    early_terminate: bool
    text: str

    def overrides(self, values: Mapping[str, Value]) -> list[str]:
        """Write the settings of a point as wandb's agent types them: `refine=crf`."""
        return [f"{name}={value}" for name, value in values.items()]

    def says(self, key: str) -> bool:
        """Tell whether the command or a parameter sets `key`."""
        return key in self.parameters or key in map(_key, self.words)

    def step(self, values: Mapping[str, Value], more: Sequence[str]) -> Step:
        """Give the command of a point, `more` words at its end."""
        own: list[str] = []
        for word in self.words:
            if word in _ARGUMENTS:
                own += [_ARGUMENTS[word] + item for item in self.overrides(values)]
            else:
                own.append(_VARIABLE.sub(lambda m: os.environ.get(m[1], m[1]), word))
        return Step(self.command, self.command, (*own, *more))


def find_sweep_file(name: str) -> Path:
    """Find a sweep file by its path, or one of weakseg's own by its bare name.

    Raises:
        ConfigurationError: If there is none.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    own = Path(str(resources.files("weakseg.conf"))) / "sweep"
    if re.fullmatch(r"\w+", name) and (own / f"{name}.yaml").is_file():
        return own / f"{name}.yaml"
    known = ", ".join(sorted(item.stem for item in own.glob("*.yaml")))
    raise ConfigurationError(
        f"file: there is no sweep file {name}: give the path of one, or one of {known}"
    )


def read_sweep_file(path: Path, *, settings: Sequence[str] = ()) -> SweepFile:
    """Read a sweep file and check all that can be checked before a run is started.

    Args:
        path: The file.
        settings: Words for every run, which win over those of the file's command.

    Raises:
        ConfigurationError: Naming the file, the key and what is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return parse_sweep(text, name=path.stem, settings=settings)
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(
            f"{path} is no YAML file: {' '.join(str(error).split())}"
        ) from error
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error


def parse_sweep(text: str, *, name: str, settings: Sequence[str] = ()) -> SweepFile:
    """Read the text of a sweep file; `name` is used where it has none."""
    content = yaml.safe_load(text)
    if not isinstance(content, Mapping):
        raise ConfigurationError("expected a mapping with method, parameters and command")
    unknown = sorted(set(map(str, content)) - _KEYS)
    if unknown:
        raise ConfigurationError(f"{unknown[0]} is not understood, only {', '.join(sorted(_KEYS))}")
    method = content.get("method")
    if method not in METHODS:
        raise ConfigurationError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    parameters = _parameters(content.get("parameters"))
    command, words = _command(content.get("command"))
    given = {_key(word) for word in settings}
    words = (*(word for word in words if _key(word) not in given), *settings)
    metric = _metric(content.get("metric"))
    cap = content.get("run_cap")
    if cap is not None and (isinstance(cap, bool) or not isinstance(cap, int) or cap < 1):
        raise ConfigurationError(f"run_cap must be a whole number of at least 1, got {cap!r}")
    if method == "bayes" and metric is None:
        raise ConfigurationError("method: bayes needs a metric with a name and a goal")
    if method == "grid":
        for key, parameter in parameters.items():
            if parameter.grid is None:
                raise ConfigurationError(
                    f"parameters.{key}: a grid needs values, or min and max that are whole "
                    "numbers: give values, or take method: random"
                )
    file = SweepFile(
        name=re.sub(r"[^\w.+-]+", "-", str(content.get("name") or name)),
        method=method,
        parameters=parameters,
        command=command,
        words=words,
        metric=metric,
        run_cap=cap,
        early_terminate="early_terminate" in content,
        text=text,
    )
    _check_words(file)
    return file


def _parameters(items: Any) -> dict[str, Parameter]:
    if not isinstance(items, Mapping) or not items:
        raise ConfigurationError(f"parameters must name at least one setting, got {items!r}")
    for name in items:
        if not _NAME.fullmatch(str(name)):
            raise ConfigurationError(
                f"parameters.{name}: wandb takes letters, digits, _ - and dots only: settings "
                "such as +KEY=VALUE go into the command"
            )
    return {str(name): read_parameter(str(name), item) for name, item in items.items()}


def _command(items: Any) -> tuple[str, tuple[str, ...]]:
    """Take `[${env}, ${interpreter}, -m, weakseg.COMMAND, WORDS...]` apart."""
    example = '["${env}", "${interpreter}", "-m", "weakseg.stage2", "${args_no_hyphens}"]'
    if not isinstance(items, Sequence) or isinstance(items, str):
        raise ConfigurationError(f"command must be a list such as {example}")
    words = [str(item) for item in items if str(item) not in ("${env}", "${interpreter}", "python")]
    if len(words) < 2 or words[0] != "-m" or not words[1].startswith("weakseg."):
        raise ConfigurationError(f"command must start a module of weakseg, such as {example}")
    command = words[1].removeprefix("weakseg.")
    if command not in COMMANDS:
        raise ConfigurationError(
            f"command: weakseg.{command} makes no run to choose from: take one of "
            f"{', '.join(f'weakseg.{name}' for name in COMMANDS)}"
        )
    rest = tuple(words[2:])
    macros = [word for word in rest if re.fullmatch(r"\$\{(?!envvar:).*\}", word)]
    if len(macros) != 1 or macros[0] not in _ARGUMENTS:
        raise ConfigurationError(
            "command: the point's settings must stand there once, as ${args_no_hyphens}: "
            f"Hydra takes no --KEY=VALUE, got {', '.join(macros) or 'none'}"
        )
    return command, rest


def _metric(item: Any) -> Metric | None:
    if item is None:
        return None
    if not isinstance(item, Mapping) or not item.get("name"):
        raise ConfigurationError(f"metric must have a name and a goal, got {item!r}")
    unknown = sorted(set(item) - {"name", "goal", "target"})
    if unknown:
        raise ConfigurationError(f"metric.{unknown[0]} is not understood, only name, goal, target")
    goal, target = item.get("goal", "minimize"), item.get("target")
    if goal not in ("maximize", "minimize"):
        raise ConfigurationError(f"metric.goal must be maximize or minimize, got {goal!r}")
    if target is not None and not isinstance(target, int | float):
        raise ConfigurationError(f"metric.target must be a number, got {target!r}")
    return Metric(str(item["name"]), goal, target)


def _key(word: str) -> str:
    return word.lstrip("+~").partition("=")[0]


def _check_words(file: SweepFile) -> None:
    if file.says("output"):
        raise ConfigurationError("output: a sweep gives each point its own folder: leave it out")
    twice = [word for word in file.words if _key(word) in file.parameters]
    if twice:
        raise ConfigurationError(f"command: {twice[0]} is set to what {_key(twice[0])} varies")
    needed = _NEEDS.get(file.command)
    if needed and not file.says(needed) and not file.says("experiment"):
        raise ConfigurationError(
            f"command: every point needs the same {needed}: add {needed}=RUN to the command (or "
            f"settings={needed}=RUN), or make {needed} a parameter"
        )
