"""Turn frames and masks into the tensors that networks train on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate
from torchvision import tv_tensors

from weakseg.arrays import FrameArray, Mask
from weakseg.checks import check_at_least
from weakseg.data.frames import Frame
from weakseg.data.reading import MAX_PIXELS, read_frame, read_ids, read_instances
from weakseg.data.sampling import EpochSampler as EpochSampler  # noqa: PLC0414 - offered here too
from weakseg.data.sampling import Key
from weakseg.data.transforms import Augmentation, plain_pipeline
from weakseg.errors import DataError
from weakseg.labels import BACKGROUND, IGNORE, SMOKE

Item = dict[str, Tensor]
WEIGHT_LEVELS = 255.0


@dataclass(frozen=True)
class SegmentationItem:
    """A frame with the mask to learn from it.

    Args:
        frame: The frame.
        mask_path: PNG of class ids 0, 1, 255 (ignore) at the frame's size; None is background
            everywhere, as in a frame known to be smoke-free.
        weight_path: 8-bit PNG of per-pixel weights, 255 for 1; None weighs all pixels alike.
        is_noisy: Whether the mask may be wrong, as a pseudo-mask is.
        is_unlabelled: Whether nothing is known of the pixels: all are ignored.
        instances_path: PNG of instance numbers of the smoke, 0 for none; None if unknown.
    """

    frame: Frame
    mask_path: Path | None
    weight_path: Path | None = None
    is_noisy: bool = False
    is_unlabelled: bool = False
    instances_path: Path | None = None


class ClassificationData(Dataset[Item]):
    """Frames with their labels.

    Args:
        frames: The frames.
        image_size: Side of the square they are brought to, in pixels.
        augment: How they are varied; None only resizes.
        seed: With the epoch and the index, all that the variation depends on.
        max_pixels: Refuse larger pictures.
    """

    def __init__(
        self,
        frames: Sequence[Frame],
        *,
        image_size: int,
        augment: Augmentation | None = None,
        seed: int = 0,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        check_at_least(1, image_size=image_size, max_pixels=max_pixels)
        check_at_least(0, seed=seed)
        self.frames = list(frames)
        self.seed = seed
        self.max_pixels = max_pixels
        self._transform = _pipeline(augment, image_size)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, key: Key | int) -> Item:
        """Read one item.

        Args:
            key: (epoch, index), or an index, which stands for epoch 0.

        Returns:
            image: (3, H, W) float32 in [0, 1]; label: () float32; index: () int64.
        """
        epoch, index = _split_key(key)
        frame = self.frames[index]
        image = _image(read_frame(frame.path, max_pixels=self.max_pixels))
        with _randomness(self.seed, epoch, index):
            image = self._transform(image)
        return {
            "image": image.as_subclass(Tensor),
            "label": torch.tensor(float(frame.label)),
            "index": torch.tensor(index),
        }


class SegmentationData(Dataset[Item]):
    """Frames with masks and, if given, per-pixel weights; arguments as `ClassificationData`."""

    def __init__(
        self,
        items: Sequence[SegmentationItem],
        *,
        image_size: int,
        augment: Augmentation | None = None,
        seed: int = 0,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        check_at_least(1, image_size=image_size, max_pixels=max_pixels)
        check_at_least(0, seed=seed)
        self.items = list(items)
        self.has_instances = any(item.instances_path is not None for item in self.items)
        self.seed = seed
        self.max_pixels = max_pixels
        self._transform = _pipeline(augment, image_size)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, key: Key | int) -> Item:
        """Read one item.

        Args:
            key: (epoch, index), or an index, which stands for epoch 0.

        Returns:
            image: (3, H, W) float32 in [0, 1]; mask: (H, W) int64 in {0, 1, 255}; weight: (H, W)
            float32 in [0, 1]; noisy: () bool; label: () float32; index: () int64. If any item knows
            its instances, also instances: (H, W) int64, 0 where none is known.
        """
        epoch, index = _split_key(key)
        item = self.items[index]
        frame = read_frame(item.frame.path, max_pixels=self.max_pixels)
        maps: dict[str, npt.NDArray[Any]] = {
            "mask": _training_mask(item, frame),
            "weight": _weight(item.weight_path, frame),
        }
        if self.has_instances:
            maps["instances"] = _instances(item.instances_path, frame)
        with _randomness(self.seed, epoch, index):
            image, *varied = self._transform(
                _image(frame), *(tv_tensors.Mask(torch.from_numpy(one)) for one in maps.values())
            )
        plain = {name: one.as_subclass(Tensor) for name, one in zip(maps, varied, strict=True)}
        known = {"instances": plain["instances"].long()} if self.has_instances else {}
        return {
            "image": image.as_subclass(Tensor),
            "mask": plain["mask"].long(),
            "weight": plain["weight"].float() / WEIGHT_LEVELS,
            **known,
            "noisy": torch.tensor(item.is_noisy),
            "label": torch.tensor(float(item.frame.label)),
            "index": torch.tensor(index),
        }


class FrameLoader(DataLoader[Item]):
    """A loader whose workers' complaints arrive as they were made, without a traceback in them."""

    def __iter__(self) -> Iterator[Item]:  # type: ignore[override]
        """Yield the batches; a damaged file raises DataError here."""
        for batch in super().__iter__():
            if isinstance(batch, DataError):
                raise batch
            yield batch


class _Guarded(Dataset["Item | DataError"]):
    """Hands complaints over as items, for they must cross from a worker to the main process."""

    def __init__(self, dataset: Dataset[Item]) -> None:
        self.dataset = dataset

    def __getitem__(self, key: Key) -> Item | DataError:
        try:
            return self.dataset[key]
        except DataError as error:
            return error


def make_loader(
    dataset: Dataset[Item], batches: Sequence[Sequence[Key]], *, workers: int = 0
) -> FrameLoader:
    """Load the given batches in their order.

    Args:
        dataset: What the keys index.
        batches: The keys of each batch; see `EpochSampler.batches`.
        workers: Processes that read, at least 0; 0 reads in this one. They are forked, so nothing
            in them may call the C++ core, whose threads do not survive a fork.
    """
    check_at_least(0, workers=workers)
    return FrameLoader(
        _Guarded(dataset),  # type: ignore[arg-type]
        batch_sampler=[list(batch) for batch in batches],
        num_workers=workers,
        collate_fn=_collate,
        worker_init_fn=_settle_worker,
        multiprocessing_context="fork" if workers > 0 else None,
        # A generator of its own: the loader would draw from the global one, and change training.
        generator=torch.Generator().manual_seed(0),
    )


def _pipeline(augment: Augmentation | None, image_size: int) -> torch.nn.Module:
    found = plain_pipeline(image_size) if augment is None else augment.pipeline(image_size)
    assert isinstance(found, torch.nn.Module)
    return found


def _split_key(key: Key | int) -> Key:
    return key if isinstance(key, tuple) else (0, key)


def _image(frame: FrameArray) -> tv_tensors.Image:
    # (H, W, 3) -> (3, H, W)
    return tv_tensors.Image(torch.from_numpy(frame).permute(2, 0, 1).contiguous())


@contextmanager
def _randomness(seed: int, epoch: int, index: int) -> Iterator[None]:
    """Let torch's generator depend on these three alone, and restore it afterwards."""
    state = np.random.SeedSequence((seed, epoch, index)).generate_state(1, np.uint64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(state[0] >> np.uint64(1)))
        yield


def _training_mask(item: SegmentationItem, frame: FrameArray) -> Mask:
    path = item.mask_path
    if item.is_unlabelled or path is None:
        known = IGNORE if item.is_unlabelled else BACKGROUND
        return np.full(frame.shape[:2], known, dtype=np.uint8)
    mask = read_ids(path)
    if mask.shape != frame.shape[:2]:
        raise DataError(
            f"{path} covers {mask.shape[0]}x{mask.shape[1]} pixels but its frame "
            f"{frame.shape[0]}x{frame.shape[1]}: make the pseudo-masks again"
        )
    if ((mask > SMOKE) & (mask != IGNORE)).any():
        raise DataError(f"{path} holds ids other than 0, 1 and 255: make the pseudo-masks again")
    return mask


def _weight(path: Path | None, frame: FrameArray) -> Mask:
    if path is None:
        return np.full(frame.shape[:2], WEIGHT_LEVELS, dtype=np.uint8)
    weight = read_ids(path)
    if weight.shape != frame.shape[:2]:
        raise DataError(f"{path} does not have its frame's size: make the pseudo-masks again")
    return weight


def _instances(path: Path | None, frame: FrameArray) -> npt.NDArray[Any]:
    if path is None:
        return np.zeros(frame.shape[:2], dtype=np.int32)
    instances = read_instances(path)
    if instances.shape != frame.shape[:2]:
        raise DataError(
            f"{path} covers {instances.shape[0]}x{instances.shape[1]} pixels but its frame "
            f"{frame.shape[0]}x{frame.shape[1]}: make the instances again at the frame's size"
        )
    return instances.astype(np.int32)


def _collate(items: list[Item | DataError]) -> Item | DataError:
    errors = [item for item in items if isinstance(item, DataError)]
    return errors[0] if errors else cast(Item, default_collate(items))


def _settle_worker(worker: int) -> None:
    """Keep each reading process to one thread."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
