"""Choose the points of a sweep: all of a grid, by chance, or where optuna expects the best."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np

from weakseg.artifacts import fingerprint
from weakseg.stages.sweeps.file import Metric, SweepFile
from weakseg.stages.sweeps.space import Choice, Number, Parameter, Value
from weakseg.targets import ConfigurationError

_DRAWS: Final = 200
"""How often a point that was there before is drawn again until the space counts as used up."""
_STARTUP: Final = 10
_BAYES: Final = ("int_uniform", "uniform", "log_uniform_values", "q_uniform")


@dataclass(frozen=True)
class Seen:
    """A point that was chosen before.

    Args:
        values: Of its parameters.
        metric: What it came to; None as long as that is not known.
        has_failed: Whether it will never be known.
    """

    values: Mapping[str, Value]
    metric: float | None = None
    has_failed: bool = False


class Search(Protocol):
    """A way to choose points; the same history gives the same choice."""

    total: int
    """How many points there can be at most."""

    def propose(self, history: Sequence[Seen]) -> dict[str, Value] | None:
        """Choose the next point; None if there is none left."""

    def includes(self, values: Mapping[str, Value]) -> bool:
        """Say whether a point chosen before still belongs to the sweep."""


def point_id(values: Mapping[str, Value]) -> str:
    """Name a point by its values, whatever their order."""
    return fingerprint(dict(values))[:12]


def build_search(file: SweepFile, *, points: int | None, seed: int) -> Search:
    """Build the search that a file asks for.

    Args:
        file: The sweep.
        points: Largest number of points, beside the file's `run_cap`.
        seed: Of what is drawn.

    Raises:
        ConfigurationError: If it would never end, or optuna is needed and missing.
    """
    caps = [cap for cap in (points, file.run_cap) if cap is not None]
    if file.method == "grid":
        return GridSearch(file.parameters, cap=min(caps, default=None))
    if not caps:
        raise ConfigurationError(
            f"method: {file.method} has no end: give run_cap in the sweep file, or points=N"
        )
    if file.method == "random":
        return RandomSearch(file.parameters, total=min(caps), seed=seed)
    assert file.metric is not None, "read_sweep_file asks for one"
    return BayesSearch(file.parameters, file.metric, total=min(caps), seed=seed)


class GridSearch:
    """Every combination, the last parameter changing fastest.

    Args:
        parameters: All of which can be counted.
        cap: Largest number of points; None for all.
    """

    def __init__(self, parameters: Mapping[str, Parameter], *, cap: int | None) -> None:
        grids = [parameter.grid or () for parameter in parameters.values()]
        every = (dict(zip(parameters, values, strict=True)) for values in itertools.product(*grids))
        self._points = {point_id(values): values for values in itertools.islice(every, cap)}
        self.total = len(self._points)

    def propose(self, history: Sequence[Seen]) -> dict[str, Value] | None:
        """Choose the first combination that was not chosen yet."""
        known = {point_id(seen.values) for seen in history}
        return next((values for key, values in self._points.items() if key not in known), None)

    def includes(self, values: Mapping[str, Value]) -> bool:
        """Say whether the file still names this combination."""
        return point_id(values) in self._points


class RandomSearch:
    """Points drawn by chance, each but once.

    Args:
        parameters: What is drawn.
        total: How many.
        seed: Of the draw.
    """

    def __init__(self, parameters: Mapping[str, Parameter], *, total: int, seed: int) -> None:
        self.total = total
        self._parameters = parameters
        self._seed = seed

    def propose(self, history: Sequence[Seen]) -> dict[str, Value] | None:
        """Draw a point that was not drawn before."""
        known = {point_id(seen.values) for seen in history}
        for draw in range(_DRAWS):
            rng = np.random.default_rng((self._seed, len(history), draw))
            values = {name: one.draw(rng) for name, one in self._parameters.items()}
            if point_id(values) not in known:
                return values
        return None

    def includes(self, values: Mapping[str, Value]) -> bool:
        """Say yes: whoever changes what is drawn is asked for another folder."""
        return True


class BayesSearch:
    """Points where a tree-structured Parzen estimator expects the metric to be best.

    The first points are drawn by chance. Running points count as bad ones, so that those made at
    the same time differ; a failed one counts as the worst so far, as in wandb.

    Args:
        parameters: Choices, or numbers between bounds.
        metric: What is looked for.
        total: How many points.
        seed: Of what is drawn.

    References:
        Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011.
    """

    def __init__(
        self, parameters: Mapping[str, Parameter], metric: Metric, *, total: int, seed: int
    ) -> None:
        self.total = total
        self._optuna = _import_optuna()
        self._distributions = {
            name: _distribution(self._optuna, name, one) for name, one in parameters.items()
        }
        self._choices = {k: one.values for k, one in parameters.items() if isinstance(one, Choice)}
        self._metric = metric
        self._seed = seed

    def propose(self, history: Sequence[Seen]) -> dict[str, Value] | None:
        """Ask optuna, which is told of all points before."""
        known = {point_id(seen.values) for seen in history}
        for draw in range(_DRAWS):
            # Of a small space the best points are asked for again and again: then by chance.
            values = self._ask(history, draw=draw, by_chance=draw > _DRAWS // 4)
            if point_id(values) not in known:
                return values
        return None

    def includes(self, values: Mapping[str, Value]) -> bool:
        """Say yes: whoever changes what is drawn is asked for another folder."""
        return True

    def _ask(self, history: Sequence[Seen], *, draw: int, by_chance: bool) -> dict[str, Value]:
        samplers, seed = self._optuna.samplers, _mixed(self._seed, len(history), draw)
        startup = min(_STARTUP, max(3, self.total // 3))
        study = self._optuna.create_study(
            direction=self._metric.goal,
            sampler=samplers.RandomSampler(seed=seed)
            if by_chance
            else samplers.TPESampler(n_startup_trials=startup, constant_liar=True, seed=seed),
        )
        for seen in history:
            study.add_trial(self._trial(seen, history))
        chosen = study.ask(self._distributions).params
        return {
            name: self._choices[name][value] if name in self._choices else _tidy(value)
            for name, value in chosen.items()
        }

    def _trial(self, seen: Seen, history: Sequence[Seen]) -> Any:
        states = self._optuna.trial.TrialState
        known = [one.metric for one in history if one.metric is not None]
        value = seen.metric
        if seen.has_failed:
            value = min(known, key=lambda x: self._metric.sign * x, default=None)
        state = states.COMPLETE if value is not None else states.RUNNING
        if seen.has_failed and value is None:
            state = states.FAIL
        params = {
            name: self._choices[name].index(item) if name in self._choices else item
            for name, item in seen.values.items()
        }
        return self._optuna.trial.create_trial(
            state=state, value=value, params=params, distributions=self._distributions
        )


def _distribution(optuna: Any, name: str, parameter: Parameter) -> Any:
    kinds = optuna.distributions
    if isinstance(parameter, Choice):
        if parameter.probabilities is not None:
            raise _not_bayes(name, "probabilities")
        return kinds.CategoricalDistribution(range(len(parameter.values)))
    if not isinstance(parameter, Number) or parameter.distribution not in _BAYES:
        raise _not_bayes(name, parameter.distribution)
    low, high, step = parameter.low, parameter.high, parameter.step
    if parameter.distribution == "int_uniform":
        return kinds.IntDistribution(int(low), int(high))
    if parameter.distribution == "log_uniform_values":
        return kinds.FloatDistribution(float(low), float(high), log=True)
    if step is None:
        return kinds.FloatDistribution(float(low), float(high))
    if parameter.is_whole and float(low).is_integer():
        whole = int(step) * math.floor((high - low) / step)
        return kinds.IntDistribution(int(low), int(low) + whole, step=int(step))
    whole_steps = step * math.floor((high - low) / step + 1e-9)
    return kinds.FloatDistribution(low, float(f"{low + whole_steps:.12g}"), step=step)


def _tidy(value: Value) -> Value:
    """Write 0.3, not 0.30000000000000004; what is no such multiple stays as it is."""
    if not isinstance(value, float):
        return value
    short = float(f"{value:.12g}")
    return short if math.isclose(short, value, rel_tol=1e-15, abs_tol=0.0) else value


def _not_bayes(name: str, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"parameters.{name}: method: bayes knows values and {', '.join(_BAYES)} here, and no "
        f"{what}: take one of them, or method: random"
    )


def _mixed(*numbers: int) -> int:
    return int(np.random.default_rng(numbers).integers(2**31))


def _import_optuna() -> Any:
    try:
        import optuna  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigurationError(
            "method: bayes needs optuna, which is not installed: pip install 'weakseg[sweep]'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
