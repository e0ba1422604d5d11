"""Handle settings as they are typed: join them, quote them for Hydra, find the files they name."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import Final

from weakseg.artifacts import fingerprint
from weakseg.data import sha256_of
from weakseg.quoting import needs_quotes, quoted, unquoted

_ITEM: Final = re.compile(r"'(?:\\.|[^'\\])*'|[^,]+")
_RUN: Final = "run:"
_HARDWARE: Final = ("hardware.accelerator=", "hardware.threads=", "hardware.workers=")
_FIGURELESS: Final = (*_HARDWARE, "cache=", "report_frames=", "overwrite=", "tracker", "tracking.")
_FROM_RUNS: Final = ("cams", "data.index", "data.root", "ensemble", "output", "run", "trained")
"""Keys of what an ablation makes itself, whose content is known by how it is made."""


def merged(*settings: str) -> list[str]:
    """Join settings as they are typed; of a key given twice, the later one counts.

    A value that names a file of yours is quoted as Hydra wants it.
    """
    chosen: dict[str, str] = {}
    for text in settings:
        for word in shlex.split(text):
            key, equals, value = word.partition("=")
            bare = key.lstrip("+~")
            chosen.pop(bare, None)
            is_file = equals and needs_quotes(value) and _exists(value)
            chosen[bare] = f"{key}={quoted(value)}" if is_file else word
    return list(chosen.values())


def safely_quoted(text: str, weights: Iterable[str | None]) -> str:
    """Quote the weights' names in settings for a shell, where an apostrophe in one ends the word.

    Args:
        text: Settings, in which names of weights stand between apostrophes.
        weights: The names.
    """
    for name in weights:
        if name is not None and "'" in name:
            text = text.replace(f"'{name}'", shlex.quote(name))
    return text


def counts(word: str) -> bool:
    """Say whether a word can change a figure; where the work runs and what it tells cannot."""
    return not word.lstrip("+~").startswith(_FIGURELESS)


def runs_anywhere(word: str) -> bool:
    """Say whether a word is free of the machine it was written for."""
    return not word.startswith(_HARDWARE)


def shortened(word: str, places: Mapping[str, str]) -> str:
    """Replace the folders of one machine by names; files elsewhere keep their own name alone.

    Args:
        word: `KEY=VALUE`; the value may be quoted, a list, or `run:FOLDER`.
        places: Folder -> name; of folders inside each other, the inner one counts.
    """
    key, equals, value = word.partition("=")
    if not equals:
        return word
    if value.startswith("[") and value.endswith("]"):
        items = [_short(item, places) for item in _ITEM.findall(value[1:-1])]
        return f"{key}=[{','.join(items)}]"
    return f"{key}={_short(value, places)}"


def _short(value: str, places: Mapping[str, str]) -> str:
    bare = unquoted(value)
    prefix = _RUN if bare.startswith(_RUN) else ""
    path = bare.removeprefix(prefix)
    for folder in sorted(places, key=len, reverse=True):
        if path == folder or path.startswith(f"{folder}/"):
            return quoted(prefix + places[folder] + path.removeprefix(folder))
    return quoted(prefix + Path(path).name) if path.startswith("/") else value


def files_in(words: Iterable[str], known: MutableMapping[Path, str]) -> list[tuple[str, str]]:
    """Hash the weights that the words name, so that other weights of the same name count.

    Args:
        words: Of a command.
        known: Path -> hash of what was hashed before; what is hashed now is added.

    Returns:
        (key, hash) of every file, and of every folder of `run:FOLDER`, by key.
    """
    found = []
    for word in words:
        key, _, value = word.partition("=")
        bare = unquoted(value)
        is_path = bare.startswith(_RUN) or "." in bare or "/" in bare
        name = bare.removeprefix(_RUN)
        if key in _FROM_RUNS or not counts(word) or not is_path or not _exists(name):
            continue
        path = Path(name).expanduser()
        if path not in known:
            known[path] = _hash_of(path)
        found.append((key, known[path]))
    return sorted(found)


def _hash_of(path: Path) -> str:
    """Hash a file, or the weights in a folder."""
    if path.is_file():
        return sha256_of(path)
    inside = sorted(path.rglob("*.safetensors"))
    return fingerprint([(str(file.relative_to(path)), sha256_of(file)) for file in inside])


def _exists(value: str) -> bool:
    """Say whether a value is a path of something; a long list of numbers is none."""
    try:
        return Path(value).expanduser().exists()
    except (OSError, RuntimeError, ValueError):
        return False
