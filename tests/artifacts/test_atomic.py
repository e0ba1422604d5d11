"""Files are whole or absent, and a refusing disk is told in one sentence."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from weakseg.artifacts import (
    ArtifactError,
    atomic_path,
    read_json,
    remove_partials,
    write_json,
    write_text,
)


def test_written_text_is_read_back_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "a.txt", "plüme\r\n")
    assert (tmp_path / "new" / "a.txt").read_bytes() == "plüme\r\n".encode()
    assert [item.name for item in (tmp_path / "new").iterdir()] == ["a.txt"]


def test_failing_block_leaves_the_old_file_and_no_partial(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_text(target, "old")
    with pytest.raises(ValueError, match="halfway"), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise ValueError("halfway")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_temporary_file_keeps_the_suffix_and_fits_long_names(tmp_path: Path) -> None:
    target = tmp_path / ("x" * 251 + ".png")
    with atomic_path(target) as temporary:
        assert temporary.suffix == ".png"
        assert temporary.parent == tmp_path
        temporary.write_bytes(b"x")
    assert target.exists()


def test_nan_is_refused_in_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"iou": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_json_is_read_back_and_damage_is_told(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"iou": 0.5, "name": "ü"})
    assert read_json(tmp_path / "a.json") == {"iou": 0.5, "name": "ü"}
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_json(tmp_path / "a.json")
    with pytest.raises(ArtifactError, match="is missing"):
        read_json(tmp_path / "b.json")


def test_partials_of_killed_writers_are_removed(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from weakseg.artifacts.atomic import atomic_path\n"
        "with atomic_path(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    target = tmp_path / "masks" / "a.png"
    assert subprocess.run([sys.executable, "-c", code, str(target)], check=False).returncode == -9
    assert len(list(target.parent.iterdir())) == 1
    assert remove_partials(tmp_path) == 1
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EROFS, "the disk is read-only"),
        (errno.EACCES, "permission denied"),
    ],
)
def test_refusing_disk_is_told_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(ArtifactError, match=words) as caught:
        write_text(tmp_path / "a.txt", "x")
    assert str(tmp_path / "a.txt") in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("writer", ["bytes", "torch", "safetensors"])
def test_real_size_limit_loses_nothing(tmp_path: Path, writer: str) -> None:
    code = """
import resource, signal, sys, pathlib
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from weakseg.artifacts import ArtifactError, atomic_path
target, writer = pathlib.Path(sys.argv[1]), sys.argv[2]
if writer != "bytes":
    import torch, safetensors.torch
    tensors = {"a": torch.zeros(100_000)}
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    with atomic_path(target) as temporary:
        if writer == "bytes":
            temporary.write_bytes(bytes(100_000))
        elif writer == "torch":
            torch.save(tensors, temporary)
        else:
            safetensors.torch.save_file(tensors, temporary)
except ArtifactError as error:
    print(error)
"""
    target = tmp_path / "a.pt"
    target.write_text("old")
    command = [sys.executable, "-c", code, str(target), writer]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert answer.stdout.startswith(f"cannot write {target}: ")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_file_in_place_of_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(ArtifactError, match="a file stands where a folder is needed"):
        write_text(tmp_path / "runs" / "a" / "b.txt", "x")
