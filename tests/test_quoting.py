"""What is shown to be typed is what a shell and Hydra read back."""

from __future__ import annotations

import shlex

import pytest

from weakseg.quoting import quoted, typed, unquoted


@pytest.mark.parametrize(
    "value", ["plain", "a b", "it's", 'say "it"', "$HOME", "back\\slash", "'", "", "a,b=c", "\\'"]
)
def test_a_shell_reads_back_what_was_typed(value: str) -> None:
    words = ["python", f"output={quoted(value)}", value]
    assert shlex.split(typed(words)) == words
    assert unquoted(quoted(value)) == value


def test_what_hydra_has_in_quotes_is_easy_to_read() -> None:
    assert (
        typed(["a", "output='runs/refine=crf,seed=0'"])
        == """a "output='runs/refine=crf,seed=0'\""""
    )
    assert typed(["a b", "x=1"]) == "'a b' x=1"
