"""Turn a ResNet of today into a ResNet v1: the stride moves from the 3x3 to the 1x1 convolution."""

from __future__ import annotations

from torch import nn


def move_stride_to_1x1(module: nn.Module) -> int:
    """Give the strided bottleneck blocks of `module` their stride in the first convolution.

    The first ResNets (and their Caffe and Keras weights) stride in the 1x1 `conv1`; torchvision
    and timm stride in the 3x3 `conv2`. Shapes agree, so such weights load without a word and
    lose several points of accuracy when the stride is in the wrong place.

    Args:
        module: A network, or an encoder made from one, changed in place.

    Returns:
        How many blocks were changed.
    """
    changed = 0
    for block in module.modules():
        first, second = getattr(block, "conv1", None), getattr(block, "conv2", None)
        if not (isinstance(first, nn.Conv2d) and isinstance(second, nn.Conv2d)):
            continue
        if first.kernel_size == (1, 1) and second.kernel_size == (3, 3) and second.stride != (1, 1):
            first.stride, second.stride = second.stride, first.stride
            changed += 1
    return changed
