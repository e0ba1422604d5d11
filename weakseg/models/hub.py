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


def fetch(repository: str, *, what: str, key: str, revision: str | None = None) -> Path:
    """Give the local path of `model.safetensors` of a hub repository.

    Raises:
        WeightsError: If it is neither cached nor to be had within seconds.
    """
    try:
        found = huggingface_hub.hf_hub_download(
            repository, _FILE, revision=revision, local_files_only=True
        )
    except LocalEntryNotFoundError:
        check_reachable(what, key=key)
        try:
            found = huggingface_hub.hf_hub_download(
                repository, _FILE, revision=revision, etag_timeout=KNOCK_SECONDS
            )
        except (HfHubHTTPError, OSError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise WeightsError(f"no weights for {what} ({reason}): {_way_out(key)}") from error
    return Path(found)


def check_reachable(what: str, *, key: str) -> None:
    """Raise WeightsError within seconds when the hub does not answer."""
    if constants.HF_HUB_OFFLINE:
        raise WeightsError(
            f"weights for {what} are not cached and the hub is offline: {_way_out(key)}"
        )
    try:
        with urlopen(constants.ENDPOINT, timeout=KNOCK_SECONDS):
            pass
    except HTTPError:
        return  # An answer, if an unkind one: somebody is there.
    except (OSError, HTTPException) as error:
        raise WeightsError(
            f"weights for {what} are not cached and {constants.ENDPOINT} cannot be reached: "
            f"{_way_out(key)}"
        ) from error


def _way_out(key: str) -> str:
    return f"give {key}=FILE.safetensors, or {key}=none for random ones"
