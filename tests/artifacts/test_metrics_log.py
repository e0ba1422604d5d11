"""Rows are whole lines, whatever happens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from weakseg.artifacts import ArtifactError, MetricsLog


def test_rows_are_read_back_in_order(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "new" / "metrics.jsonl")
    assert log.rows() == []
    log.append({"step": 1, "loss": np.float32(0.5), "phase": "train"})
    log.append({"step": 2, "loss": float("nan")})
    assert log.rows() == [
        {"step": 1, "loss": 0.5, "phase": "train"},
        {"step": 2, "loss": None},
    ]


def test_partial_last_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2, "lo')
    assert MetricsLog(path).rows() == [{"step": 1}]
    MetricsLog(path).append({"step": 2})
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_rows_after_the_checkpoint_are_dropped_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    kept = '{"note": "ü", "step": 1}\n{"step":   3}\n'
    path.write_text(kept + '{"step": 4}\n{"step": 5}\n{"st', encoding="utf-8")
    MetricsLog(path).truncate_after(3)
    assert path.read_text(encoding="utf-8") == kept
    MetricsLog(path).truncate_after(0)
    assert path.read_text() == ""


def test_other_key_can_count_the_steps(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.truncate_after(0)
    for epoch in range(4):
        log.append({"epoch": epoch, "step": 0})
    log.truncate_after(1, key="epoch")
    assert [row["epoch"] for row in log.rows()] == [0, 1]


def test_full_disk_leaves_whole_rows(tmp_path: Path) -> None:
    code = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from weakseg.artifacts import ArtifactError, MetricsLog
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
log = MetricsLog(sys.argv[1])
try:
    for step in range(100):
        log.append({"step": step})
except ArtifactError as error:
    print(error)
"""
    path = tmp_path / "metrics.jsonl"
    command = [sys.executable, "-c", code, str(path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert answer.stdout.startswith(f"cannot write {path}: ")
    assert path.read_text().endswith("}\n")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(len(rows)))
    assert len(rows) > 50


def test_refusing_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, os.strerror(30))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ArtifactError, match="read-only"):
        MetricsLog(tmp_path / "metrics.jsonl").append({"step": 1})
