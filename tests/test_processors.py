"""Counting processors, where the system tells which ones are this process's and where not."""

from __future__ import annotations

import os

import pytest

from weakseg.processors import count_processors


def test_only_the_processors_of_this_process_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {1, 3, 5}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)

    assert count_processors() == 3


@pytest.mark.parametrize(("told", "counted"), [(8, 8), (None, 1)])
def test_systems_without_affinity_count_all(
    monkeypatch: pytest.MonkeyPatch, told: int | None, counted: int
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: told)

    assert count_processors() == counted
