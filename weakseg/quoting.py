"""Quote and gather the words of a command line, as Hydra's grammar asks for."""

from __future__ import annotations

import re
import shlex
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Final

_UNQUOTED: Final = re.compile(r"[\w./:@%+-]*", re.ASCII)
_SPECIAL: Final = frozenset('"$`\\!')
_FLAGS_WITH_A_VALUE: Final = frozenset(
    {"--cfg", "-c", "--package", "-p", "--info", "-i", "--config-path", "-cp", "--config-name"}
    | {"-cn", "--config-dir", "-cd"}
)


def needs_quotes(value: str) -> bool:
    """Say whether Hydra would take a value apart that is not quoted."""
    return not _UNQUOTED.fullmatch(value)


def quoted(value: str) -> str:
    """Quote a value for Hydra where its grammar asks for it."""
    if not needs_quotes(value):
        return value
    # Only before a quote does a backslash mean anything there.
    inside = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), value)
    return f"'{inside}'"


def unquoted(value: str) -> str:
    """Give what `quoted` was given."""
    if len(value) < 2 or value[0] != "'" or value[-1] != "'":
        return value
    inside = re.sub(r"(\\+)'", lambda found: "\\" * (len(found[1]) // 2) + "'", value[1:-1])
    return re.sub(r"\\+$", lambda found: "\\" * (len(found[0]) // 2), inside)


def typed(words: Sequence[str]) -> str:
    """Join words to a line for a shell; what Hydra has in quotes goes into double ones."""
    return " ".join(
        f'"{word}"' if "'" in word and not _SPECIAL.intersection(word) else shlex.quote(word)
        for word in words
    )


def gathered(words: Sequence[str], prefixes: Container[str]) -> list[str]:
    """Gather `stage2.KEY=VALUE`, for each of the prefixes, into one `stage2=['KEY=VALUE', ...]`."""
    lists: dict[str, list[str]] = {}
    rest: list[str] = []
    for word in words:
        prefix, dot, own = word.partition(".")
        if dot and prefix in prefixes and "=" in own:
            lists.setdefault(prefix, []).append(quoted(own))
        else:
            rest.append(word)
    return [*rest, *(f"{prefix}=[{','.join(own)}]" for prefix, own in lists.items())]


def quote_texts(words: Sequence[str], keys: Container[str]) -> list[str]:
    """Quote what is typed for settings that hold words of other commands: `settings=cams=RUN`."""
    told = []
    for word in words:
        key, _, value = word.partition("=")
        is_bare = key in keys and not value.startswith(("'", '"'))
        told.append(f"{key}={quoted(value)}" if is_bare else word)
    return told


def gather_runs(arguments: list[str]) -> list[str]:
    """Take the words that are neither settings nor flags for runs: `compare RUN RUN`."""
    runs: list[str] = []
    rest: list[str] = []
    for before, item in zip(["", *arguments], arguments, strict=False):
        is_word = not item.startswith(("-", "~")) and "=" not in item
        # A sweep names its folders after settings: `runs/sweeps/seed=1`.
        is_run = (is_word and before not in _FLAGS_WITH_A_VALUE) or Path(item).is_dir()
        (runs if is_run else rest).append(item)
    return [*rest, f"runs=[{','.join(map(quoted, runs))}]"] if runs else rest
