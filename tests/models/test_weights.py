"""Weights are read whole, checked, and never unpickled."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from weakseg.errors import WeightsError
from weakseg.models import load_pretrained, load_weights, read_weights, save_weights


def network(hidden: int = 4) -> nn.Sequential:
    torch.manual_seed(hidden)
    return nn.Sequential(nn.Linear(3, hidden), nn.BatchNorm1d(hidden), nn.Linear(hidden, 2))


def test_saved_weights_come_back_exactly(tmp_path: Path) -> None:
    written, read = network(), network()
    with torch.no_grad():
        for tensor in written.state_dict().values():
            tensor.add_(1)
    save_weights(tmp_path / "a.safetensors", written)
    load_weights(tmp_path / "a.safetensors", read)
    for name, tensor in written.state_dict().items():
        assert torch.equal(tensor, read.state_dict()[name]), name


def test_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        save_weights(tmp_path / f"{name}.safetensors", network())
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_half_precision_is_read_as_float32(tmp_path: Path) -> None:
    save_file({"x": torch.ones(2, dtype=torch.float16)}, tmp_path / "h.safetensors")
    assert read_weights(tmp_path / "h.safetensors")["x"].dtype == torch.float32


def test_only_the_head_may_be_of_another_size(tmp_path: Path) -> None:
    thousand = nn.Sequential(*network()[:2], nn.Linear(4, 1000))
    save_weights(tmp_path / "a.safetensors", thousand)
    module = network()
    head = module[2].weight.clone()
    load_pretrained(module, tmp_path / "a.safetensors", head=["2"])
    assert torch.equal(module[2].weight, head)
    assert torch.equal(module[0].weight, thousand[0].weight)
    with pytest.raises(WeightsError, match=r"2\.weight is \(1000, 4\) and should be \(2, 4\)"):
        load_pretrained(module, tmp_path / "a.safetensors")


def test_a_fitting_head_is_loaded(tmp_path: Path) -> None:
    written, module = network(), network()
    with torch.no_grad():
        written[2].weight.fill_(7)
    save_weights(tmp_path / "a.safetensors", written)
    load_pretrained(module, tmp_path / "a.safetensors", head=["2"])
    assert torch.equal(module[2].weight, written[2].weight)


def test_a_saved_classifier_starts_another(tmp_path: Path) -> None:
    written, module = network(), network()
    save_weights(tmp_path / "a.safetensors", nn.ModuleDict({"backbone": written}))
    load_pretrained(module, tmp_path / "a.safetensors")
    assert torch.equal(module[0].weight, written[0].weight)


def test_batch_counters_may_be_missing_but_nothing_else(tmp_path: Path) -> None:
    tensors = network().state_dict()
    del tensors["1.num_batches_tracked"]
    save_file(tensors, tmp_path / "a.safetensors")
    load_weights(tmp_path / "a.safetensors", network())
    del tensors["1.running_mean"]
    tensors["extra"] = torch.zeros(1)
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError) as refusal:
        load_weights(tmp_path / "a.safetensors", network())
    assert "1 tensors missing (1.running_mean)" in str(refusal.value)
    assert "1 unexpected tensors (extra)" in str(refusal.value)
    assert "a.safetensors" in str(refusal.value)


@pytest.mark.parametrize("content", [b"", b"\x00" * 64, None], ids=["empty", "zeros", "cut short"])
def test_broken_files_are_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "broken.safetensors"
    save_weights(path, network())
    path.write_bytes(path.read_bytes()[:-5] if content is None else content)
    with pytest.raises(WeightsError, match=r"broken\.safetensors is no whole"):
        read_weights(path)


def test_pickles_are_refused_unread(tmp_path: Path) -> None:
    torch.save({"x": torch.ones(1)}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="pickled"):
        read_weights(tmp_path / "a.pth")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no weights file .*none\.safetensors"):
        read_weights(tmp_path / "none.safetensors")
