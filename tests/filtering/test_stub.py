"""The stub of the C++ module, which mypy believes, against the module."""

from __future__ import annotations

import ast
from pathlib import Path

from weakseg import _core

STUB = Path(__file__).parents[2] / "weakseg" / "_core.pyi"


def public(names: list[str]) -> set[str]:
    return {name for name in names if not name.startswith("_")}


def test_stub_names_what_the_module_holds() -> None:
    kinds = ast.ClassDef | ast.FunctionDef
    stub = [node for node in ast.parse(STUB.read_text("utf-8")).body if isinstance(node, kinds)]
    assert {node.name for node in stub} == public(dir(_core))
    for held in stub:
        if isinstance(held, ast.ClassDef):
            members = [node.name for node in held.body if isinstance(node, ast.FunctionDef)]
            assert public(members) == public(dir(getattr(_core, held.name))), held.name
