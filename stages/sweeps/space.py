"""Say what a parameter of a sweep may be, as wandb's sweep files write it, and draw from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from weakseg.targets import ConfigurationError

Value: TypeAlias = bool | int | float | str | list[Any]
"""What a parameter can be set to."""

_NUMBERS: Final[Mapping[str, tuple[str, ...]]] = {
    "int_uniform": ("min", "max"),
    "uniform": ("min", "max"),
    "log_uniform": ("min", "max"),
    "log_uniform_values": ("min", "max"),
    "q_uniform": ("min", "max", "q"),
    "q_log_uniform": ("min", "max", "q"),
    "q_log_uniform_values": ("min", "max", "q"),
    "normal": ("mu", "sigma"),
    "q_normal": ("mu", "sigma", "q"),
    "log_normal": ("mu", "sigma"),
    "q_log_normal": ("mu", "sigma", "q"),
}
_DEFAULTS: Final = {"q": 1, "mu": 0, "sigma": 1}
_CHOICES: Final = ("categorical", "categorical_w_probabilities", "constant")


@dataclass(frozen=True)
class Choice:
    """One of several values.

    Args:
        values: At least one.
        probabilities: Of each; alike if None.
    """

    values: tuple[Value, ...]
    probabilities: tuple[float, ...] | None = None

    @property
    def grid(self) -> tuple[Value, ...] | None:
        """Every value; None where probabilities say that some count more."""
        return None if self.probabilities else self.values

    def draw(self, rng: np.random.Generator) -> Value:
        """Draw one."""
        return self.values[int(rng.choice(len(self.values), p=self.probabilities))]


@dataclass(frozen=True)
class Number:
    """A number drawn from a distribution.

    Args:
        distribution: By wandb's name. Bounds of `log_uniform` are exponents of e; those of
            `log_uniform_values` are the values themselves.
        low: Smallest value (or mean, of a normal distribution).
        high: Largest value (or standard deviation).
        step: Values are multiples of it; None for any.
    """

    distribution: str
    low: float
    high: float
    step: float | None = None

    @property
    def is_whole(self) -> bool:
        """Whether all values are whole numbers."""
        if self.distribution == "int_uniform":
            return True
        return self.step is not None and float(self.step).is_integer()

    @property
    def grid(self) -> tuple[Value, ...] | None:
        """Every value, where they can be counted; as wandb, `q_uniform` leaves out its maximum."""
        if self.distribution == "int_uniform":
            return tuple(range(int(self.low), int(self.high) + 1))
        if self.distribution == "q_uniform":
            every = np.arange(self.low, self.high, self.step)
            whole = self.is_whole and float(self.low).is_integer()
            return tuple(round(float(x)) if whole else float(f"{x:.12g}") for x in every)
        return None

    def draw(self, rng: np.random.Generator) -> Value:
        """Draw one."""
        name = self.distribution.removeprefix("q_").removesuffix("_values")
        if name == "int_uniform":
            return int(rng.integers(int(self.low), int(self.high) + 1))
        if name in ("normal", "log_normal"):
            x = float(rng.normal(self.low, self.high))
        elif self.distribution.endswith("_values"):
            x = float(rng.uniform(math.log(self.low), math.log(self.high)))
        else:
            x = float(rng.uniform(self.low, self.high))
        return self._rounded(math.exp(x) if name.startswith("log_") else x)

    def _rounded(self, x: float) -> Value:
        if self.step is None:
            return float(x)
        whole = round(float(x) / self.step) * self.step
        return round(whole) if self.is_whole else float(f"{whole:.12g}")


Parameter: TypeAlias = Choice | Number


def read_parameter(name: str, item: Any) -> Parameter:
    """Read one entry under `parameters:`.

    Raises:
        ConfigurationError: If it is none, or none that a command line can say.
    """
    if not isinstance(item, Mapping):
        raise _wrong(name, f"expected values, value, or min and max, got {item!r}")
    if "parameters" in item:
        raise _wrong(name, f"write nested settings with dots, such as {name}.KEY: {{values: ...}}")
    if "value" in item or "values" in item:
        return _choice(name, item)
    return _number(name, item)


def _choice(name: str, item: Mapping[str, Any]) -> Choice:
    values = item.get("values", [item["value"]] if "value" in item else None)
    _only(name, item, "value", "values", "probabilities", "distribution")
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise _wrong(name, f"values must be a list with at least one value, got {values!r}")
    if item.get("distribution", "categorical") not in _CHOICES:
        raise _wrong(name, f"values have no distribution {item['distribution']!r}")
    for value in values:
        _check_value(name, value)
    shares = item.get("probabilities")
    if shares is None:
        return Choice(tuple(values))
    if len(shares) != len(values) or not math.isclose(math.fsum(shares), 1.0) or min(shares) < 0:
        raise _wrong(name, f"probabilities must be one a value and sum to 1, got {shares}")
    return Choice(tuple(values), tuple(map(float, shares)))


def _number(name: str, item: Mapping[str, Any]) -> Number:
    both_whole = all(_is_whole(item.get(key)) for key in ("min", "max"))
    distribution = item.get("distribution", "int_uniform" if both_whole else "uniform")
    if distribution not in _NUMBERS:
        known = ", ".join((*_CHOICES[:1], *_NUMBERS))
        raise _wrong(name, f"distribution must be one of {known}, got {distribution!r}")
    keys = _NUMBERS[distribution]
    _only(name, item, *keys, "distribution")
    found = {}
    for key in keys:
        found[key] = item.get(key, _DEFAULTS.get(key))
        if isinstance(found[key], bool) or not isinstance(found[key], int | float):
            raise _wrong(name, f"{key} must be a number (YAML's 1.0e-3), got {found[key]!r}")
    low, high, step = found[keys[0]], found[keys[1]], found.get("q")
    if "min" in keys and low >= high:
        raise _wrong(name, f"min {low} must be less than max {high}")
    if distribution.endswith("_values") and low <= 0:
        raise _wrong(name, f"min must be above 0 for {distribution}, got {low}")
    if distribution == "int_uniform" and not both_whole:
        raise _wrong(name, "min and max of int_uniform must be whole numbers")
    if ("sigma" in keys and high <= 0) or (step is not None and step <= 0):
        raise _wrong(name, "sigma and q must be above 0")
    return Number(distribution, low, high, step)


def _check_value(name: str, value: Any) -> None:
    """Refuse what wandb's agent would type in a way that Hydra reads otherwise."""
    if value is None:
        raise _wrong(name, "null is typed as 'None', which is a word to Hydra: write \"null\"")
    if isinstance(value, Mapping):
        raise _wrong(name, f"a mapping cannot be typed: give its settings one by one, got {value}")
    if isinstance(value, list):
        for one in value:
            _check_value(name, one)
    elif not isinstance(value, bool | int | float | str):
        raise _wrong(name, f"a value must be a number, a word or a list of them, got {value!r}")


def _only(name: str, item: Mapping[str, Any], *known: str) -> None:
    unknown = sorted(set(item) - set(known))
    if unknown:
        raise _wrong(name, f"{unknown[0]} is not understood here, only {', '.join(known)}")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _wrong(name: str, what: str) -> ConfigurationError:
    return ConfigurationError(f"parameters.{name}: {what}")
