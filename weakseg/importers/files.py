"""Find and read an export's files: JSON without surprises, pictures by the names it gives them."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any, Final

from weakseg.data.folders import pictures_in
from weakseg.errors import DataError

IMPORT_MARK: Final = "import.json"


class PictureError(ValueError):
    """A picture that cannot be had; the message is a short reason, the same for equal causes."""


def read_export_json(path: Path) -> Any:
    """Read a JSON file that others wrote.

    Raises:
        DataError: If it is missing, truncated, no JSON, or nested beyond reason.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): correct source") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error}): export it again") from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path} is truncated or no JSON (line {error.lineno}: {error.msg}): export it again"
        ) from error
    except (RecursionError, ValueError) as error:
        raise DataError(f"{path} is no JSON that can be read ({error}): export it again") from error


def annotation_files(source: Path) -> list[Path]:
    """List the JSON files of a source: itself, or those in the folder and below it, by name.

    Raises:
        DataError: If there is none.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise DataError(f"{source} does not exist: source= takes a folder or an annotation file")
    jsons = sorted(p for p in source.rglob("*.json") if p.is_file() and p.name[0] != ".")
    found = outside_imports(jsons, source)
    if not found:
        raise DataError(f"{source} holds no JSON file: source= takes the export's folder or file")
    return found


def outside_imports(paths: Iterable[Path], base: Path) -> list[Path]:
    """Leave out what earlier imports made in folders of their own below `base`.

    Args:
        paths: All below `base`.
        base: Where a search starts; it counts as no import, whatever it holds.
    """
    known: dict[Path, bool] = {base: False}

    def is_made(folder: Path) -> bool:
        if folder not in known:
            known[folder] = _is_import(folder) or is_made(folder.parent)
        return known[folder]

    return [path for path in paths if not is_made(path.parent)]


def _is_import(folder: Path) -> bool:
    mark = folder / IMPORT_MARK
    try:
        content = read_export_json(mark) if mark.is_file() else None
    except DataError:
        return False
    return isinstance(content, dict) and content.keys() == {"source"}


def base_of(source: Path) -> Path:
    """Give the folder that a source's names start from, as an absolute path."""
    folder = source if source.is_dir() else source.parent
    return Path(os.path.abspath(folder))  # noqa: PTH100 - resolve() would follow links


def refuse_foreign(source: Path, wanted: str, looks: Mapping[str, str]) -> DataError:
    """Make the error for a source without any file of the wanted format.

    Args:
        source: As given.
        wanted: The format's name.
        looks: File name to what it looks like instead.
    """
    other = next((kind for kind in looks.values() if kind), "")
    advice = f"try format={other}" if other else "see what was exported"
    named = ", ".join(list(looks)[:3])
    return DataError(f"{source} holds no {wanted} file among {named}: {advice}")


def looks_like(content: Any) -> str:
    """Name the format that a JSON file seems to be of; empty if none is known."""
    if isinstance(content, dict):
        if {"images", "annotations"} <= content.keys():
            return "coco"
        if "shapes" in content:
            return "labelme"
        entries = content.get("_via_img_metadata", content)
        first = next(iter(entries.values()), None) if isinstance(entries, dict) else None
        if isinstance(first, dict) and {"filename", "regions"} <= first.keys():
            return "via"
    if isinstance(content, list) and content and isinstance(content[0], dict):
        first = content[0]
        if {"file_name", "camera_id"} <= first.keys():
            return "rise or format=ijmond"
    return ""


@dataclass(frozen=True)
class PictureFinder:
    """Finds the pictures that an export names, inside its folder and nowhere else.

    Args:
        base: Absolute folder that nothing may leave.
    """

    base: Path
    _by_name: dict[str, list[Path]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        found: dict[str, list[Path]] = defaultdict(list)
        for path in outside_imports(pictures_in(self.base), self.base):
            found[path.name].append(path)
        object.__setattr__(self, "_by_name", dict(found))

    def find(self, name: Any, *, beside: Path) -> Path:
        """Find a picture: beside its annotation file, in the base, else by its bare name below.

        Args:
            name: As the export gives it, with either kind of slashes.
            beside: Folder of the annotation file.

        Returns:
            Its absolute path.

        Raises:
            PictureError: If it leaves the base, is not there, or could be several.
        """
        if not isinstance(name, str) or not name or "\0" in name:
            raise PictureError("picture without a name")
        given = name.replace("\\", "/")
        if "://" in given:
            raise PictureError("picture on the web: download it first")
        if PureWindowsPath(name).drive:
            raise PictureError("picture outside the source")
        places = [Path(os.path.abspath(folder / given)) for folder in (beside, self.base)]  # noqa: PTH100
        inside = [place for place in places if place.is_relative_to(self.base)]
        if not inside:
            raise PictureError("picture outside the source")
        for place in inside:
            if place.is_file():
                return place
        bare = self._by_name.get(given.rpartition("/")[2], [])
        near = [path for path in bare if path.is_relative_to(beside)] or bare
        if not near:
            raise PictureError("missing picture")
        if len(near) > 1:
            raise PictureError("picture name that several files have")
        return near[0]

    def relative(self, path: Path) -> str:
        """Name a file inside the base, with forward slashes."""
        return path.relative_to(self.base).as_posix()


def items_of(node: Any) -> Iterator[Any]:
    """Yield what a list or a mapping holds; of anything else, nothing."""
    if isinstance(node, list):
        yield from node
    elif isinstance(node, dict):
        yield from node.values()
