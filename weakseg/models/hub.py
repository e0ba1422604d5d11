"""Fetch pretrained weights from the hub: the cache first, then a quick knock at the door."""

from __future__ import annotations

from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import huggingface_hub
import timm
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from weakseg.errors import WeightsError

KNOCK_SECONDS = 5.0
"""How long the hub may take to answer at all. The hub's own client retries for most of a minute."""

_FILE = "model.safetensors"


def fetch_timm_weights(name: str, *, key: str = "classifier.weights") -> Path:
    """Give the local path of a timm network's hub weights, downloading them once.

    Args:
        name: A timm name, with a tag or without (`vit_small_patch16_224.dino`).
        key: The setting that could name a file instead, for the message.

    Raises:
        WeightsError: If the network has no weights on the hub, or the hub cannot be reached.
    """
    settings = timm.get_pretrained_cfg(name)
    if settings is None or not settings.hf_hub_id:
        raise WeightsError(f"timm knows no hub weights for {name}: {_way_out(key)}")
    return fetch(settings.hf_hub_id, what=name, key=key)


def fetch(
    repository: str,
    *,
    what: str,
    key: str,
    revision: str | None = None,
    file: str = _FILE,
    random: bool = True,
) -> Path:
    """Give the local path of a file of a hub repository, `model.safetensors` unless said.

    Args:
        repository: Owner and name.
        what: Whose weights they are, for the message.
        key: The setting that could name a file instead, for the message.
        revision: Of the repository; None takes the newest.
        file: The file in it.
        random: Whether random weights would do as well, for the message.

    Raises:
        WeightsError: If it is neither cached nor to be had within seconds.
    """
    try:
        found = huggingface_hub.hf_hub_download(
            repository, file, revision=revision, local_files_only=True
        )
    except LocalEntryNotFoundError:
        check_reachable(what, key=key, random=random)
        try:
            found = huggingface_hub.hf_hub_download(
                repository, file, revision=revision, etag_timeout=KNOCK_SECONDS
            )
        except (HfHubHTTPError, OSError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            way_out = _way_out(key, random)
            raise WeightsError(f"no weights for {what} ({reason}): {way_out}") from error
    return Path(found)


def check_reachable(what: str, *, key: str, random: bool = True) -> None:
    """Raise WeightsError within seconds when the hub does not answer."""
    if constants.HF_HUB_OFFLINE:
        raise WeightsError(
            f"weights for {what} are not cached and the hub is offline: {_way_out(key, random)}"
        )
    try:
        with urlopen(constants.ENDPOINT, timeout=KNOCK_SECONDS):
            pass
    except HTTPError:
        return  # An answer, if an unkind one: somebody is there.
    except (OSError, HTTPException) as error:
        raise WeightsError(
            f"weights for {what} are not cached and {constants.ENDPOINT} cannot be reached: "
            f"{_way_out(key, random)}"
        ) from error


def _way_out(key: str, random: bool = True) -> str:
    given = f"give {key}=FILE.safetensors"
    return f"{given}, or {key}=none for random ones" if random else given
