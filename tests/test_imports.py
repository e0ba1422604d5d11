"""Imports go one way, and what few modules may touch stays with those few."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LAYERS = (
    {"labels", "checks", "arrays", "errors", "processors", "artifacts.atomic"},
    {"_core"},
    {"filtering"},
    {"mean_field"},
    {"data", "models", "losses", "metrics", "densecrf"},
    {"cam", "refine", "training", "importers"},
    {"artifacts", "tracking", "report"},
    {"plans", "targets", "quoting"},
    {"stages"},
    {"launch"},
    {
        "sweep",
        "chain",
        "sync",
        "stage1",
        "stage2",
        "stage3",
        "check",
        "compare",
        "evaluate",
        "predict",
        "export",
        "ablation",
        "import",
        "serve",
        "app",
    },
)
RANKS = {f"weakseg.{name}": rank for rank, names in enumerate(LAYERS) for name in names}

DOORS = {f"weakseg.{name}" for name in LAYERS[-1]}
# What only few may import, and who.
RESERVED = {
    "hydra": {"weakseg.launch", *DOORS},
    "omegaconf": {"weakseg.launch", *DOORS},
    # Measuring and checking read the truth; of what learns, stage 3's supervision alone.
    "weakseg.data.truth": {
        "weakseg.stages.evaluation.measuring",
        "weakseg.stages.audit",
        "weakseg.stages.supervision",
    },
    # It hands the truth on: to what measures, tells or draws, and to stage 3 for `selection=val`.
    "weakseg.stages.evaluation.measuring": {
        *(f"weakseg.stages.ablation.{name}" for name in ("frames", "page")),
        *(f"weakseg.stages.cards.{name}" for name in ("limits", "writing")),
        "weakseg.stages.comparison.page",
        *(f"weakseg.stages.evaluation.{name}" for name in ("command", "rules", "sets")),
        *(f"weakseg.stages.pages.{name}" for name in ("evaluation", "panels", "plots")),
        "weakseg.stages.pages.segmentation",
        "weakseg.stages.instances",
        "weakseg.stages.segmentation",
        "weakseg.stages.segmentation_summary",
        "weakseg.stages.showing",
    },
    "weakseg.stages.supervision": {"weakseg.stages.segmentation"},
    "weakseg._core": {"weakseg.filtering.native", "weakseg.mean_field"},
}


def modules(root: Path) -> dict[str, Path]:
    """Name every module of the package as the wheel does: stages/ lies inside weakseg."""
    found = {}
    for folder, prefix in (("weakseg", "weakseg"), ("stages", "weakseg.stages")):
        for path in sorted((root / folder).rglob("*.py")):
            parts = path.relative_to(root / folder).with_suffix("").parts
            name = ".".join((prefix, *parts)).removesuffix(".__init__")
            found[name] = path
    return found


def imports(module: str, path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the dotted name of all that a module imports, in functions too."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(above if node.level else []), *filter(None, [node.module])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def starts_with(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


def part_of(name: str) -> str:
    """Give the longest known part that a name lies in, or nothing."""
    return max((known for known in RANKS if starts_with(name, known)), key=len, default="")


def violations(root: Path) -> list[str]:
    """Say every import that goes against the arrows or into a reserved module."""
    wrong = []
    for module, path in modules(root).items():
        for line, name in imports(module, path):
            where = f"{path.relative_to(root)}:{line}"
            here, there = part_of(module), part_of(name)
            if here and there and here != there and RANKS[there] > RANKS[here]:
                wrong.append(f"{where}: {here} lies below {there}")
            wrong += [
                f"{where}: {module} may not import {reserved}"
                for reserved, allowed in RESERVED.items()
                if starts_with(name, reserved) and module not in allowed
            ]
    return wrong


def test_imports_follow_the_layers() -> None:
    assert violations(ROOT) == []


def test_every_module_has_a_layer() -> None:
    roots = {"weakseg", "weakseg.stages"}
    assert [name for name in modules(ROOT) if name not in roots and not part_of(name)] == []


def test_parts_do_not_import_each_other_in_circles() -> None:
    arrows: dict[str, set[str]] = {part: set() for part in RANKS}
    for module, path in modules(ROOT).items():
        here = part_of(module)
        targets = {part_of(name) for _, name in imports(module, path)} - {here, ""}
        arrows.get(here, set()).update(targets)
    while arrows:
        leaves = {part for part, targets in arrows.items() if not targets & arrows.keys()}
        assert leaves, f"circle among {sorted(arrows)}"
        arrows = {part: targets for part, targets in arrows.items() if part not in leaves}


@pytest.mark.parametrize(
    ("file", "source", "complaint"),
    [
        ("weakseg/data/a.py", "from weakseg.stages import cams", "weakseg.data lies below"),
        ("weakseg/metrics/a.py", "import weakseg.refine.crf", "weakseg.metrics lies below"),
        ("weakseg/cam/a.py", "from ..report import page", "weakseg.cam lies below"),
        ("weakseg/models/a.py", "def f():\n    import hydra.utils", "may not import hydra"),
        ("stages/cams.py", "from weakseg.data import truth", "may not import weakseg.data.truth"),
        (
            "stages/refinement/rounds.py",
            "from weakseg.data import truth",
            "may not import weakseg.data.truth",
        ),
        (
            "stages/pseudo_masks.py",
            "from weakseg.stages.supervision import open_teaching",
            "may not import weakseg.stages.supervision",
        ),
        (
            "stages/pseudo_masks.py",
            "from weakseg.stages.evaluation.measuring import truth_of",
            "may not import weakseg.stages.evaluation.measuring",
        ),
        ("weakseg/refine/sam.py", "from weakseg import _core", "may not import weakseg._core"),
        ("weakseg/labels.py", "from weakseg import data", "weakseg.labels lies below"),
    ],
)
def test_wrong_import_is_found(tmp_path: Path, file: str, source: str, complaint: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(source)
    assert any(complaint in sentence for sentence in violations(tmp_path))


def test_allowed_imports_are_left_alone(tmp_path: Path) -> None:
    for file, source in {
        "weakseg/data/a.py": "from weakseg.artifacts.atomic import write_text",
        "stages/evaluation/measuring.py": "from weakseg.data.truth import masks_of\nimport torch",
        "weakseg/stage1.py": "import hydra",
        "weakseg/refine/a.py": "from .b import c",
    }.items():
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    assert violations(tmp_path) == []
