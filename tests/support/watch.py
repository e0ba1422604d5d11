"""See what a computation reads back from its device: here, on CPU tensors."""

from __future__ import annotations

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

READS_A_NUMBER = {"aten::_local_scalar_dense", "aten::item", "aten::equal", "aten::is_nonzero"}
READS_A_SIZE = {
    *("aten::nonzero", "aten::masked_select", "aten::_unique", "aten::_unique2"),
    *("aten::unique_consecutive", "aten::unique_dim", "aten::bincount", "aten::repeat_interleave"),
}


class Watch(TorchDispatchMode):
    """Write down every operation, also those inside others."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.targets: set[Any] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.names.add(func._schema.name)
        if "copy" in func._schema.name:
            self.targets.add(kwargs.get("device"))
        return func(*args, **kwargs)
