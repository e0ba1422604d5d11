"""Take a port to serve on."""

from __future__ import annotations

import socket

from weakseg.errors import ArtifactError

_LAST_PORT = 65535


def listen(host: str, port: int) -> socket.socket:
    """Take a port to listen on; 0 takes a free one.

    Raises:
        ArtifactError: If the address cannot be had.
        ValueError: If there is no such port.
    """
    if not 0 <= port <= _LAST_PORT:
        raise ValueError(f"port must be in [0, {_LAST_PORT}], got {port}")
    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise ArtifactError(
            f"cannot listen on host={host} port={port} ({error}): take another port, or 0 for a "
            "free one"
        ) from error
