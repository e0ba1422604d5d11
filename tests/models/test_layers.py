"""Layers are found by the names people type."""

from __future__ import annotations

import pytest
from torch import nn

from weakseg.models.layers import canonical_name, find_layer, has_layer


@pytest.fixture
def network() -> nn.Module:
    blocks = nn.Sequential(*(nn.ModuleDict({"norm1": nn.LayerNorm(2)}) for _ in range(3)))
    return nn.ModuleDict({"blocks": blocks, "head": nn.Linear(2, 1)})


@pytest.mark.parametrize("name", ["blocks.2.norm1", "blocks.-1.norm1", "blocks[-1].norm1"])
def test_the_last_block_has_many_names(network: nn.Module, name: str) -> None:
    assert find_layer(network, name) is network.get_submodule("blocks.2.norm1")
    assert canonical_name(network, name) == "blocks.2.norm1"


@pytest.mark.parametrize("name", ["blocks.3.norm1", "blocks.-4", "blocks.0.norm2", "haed"])
def test_a_wrong_name_lists_close_ones(network: nn.Module, name: str) -> None:
    assert not has_layer(network, name)
    with pytest.raises(ValueError, match=r"there is no layer .* did you mean one of (blocks|head)"):
        find_layer(network, name)
