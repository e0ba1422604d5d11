"""The HTTP service in a thread, and a client of it."""

from __future__ import annotations

import importlib
import threading
from typing import Any

import httpx
import pytest

from weakseg.stages.predictor import Predictor
from weakseg.stages.serving.ports import listen

pytest.importorskip("fastapi", reason="needs the extra [serve]")
pytest.importorskip("uvicorn", reason="needs the extra [serve]")
serving = importlib.import_module("weakseg.stages.serving.api")

LIMITS = serving.Limits(max_bytes=200_000, max_pixels=100_000, queue=1, upload_seconds=30.0)


class Served:
    """A service in a thread, and a client of it."""

    def __init__(self, predictor: Predictor, limits: Any = LIMITS) -> None:
        listener = listen("127.0.0.1", 0)
        app = serving.make_app(predictor, limits)
        self._server = serving.make_server(app)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), daemon=True)
        self._thread.start()
        self.address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.client = httpx.Client(base_url=self.address, timeout=60)

    def close(self) -> None:
        self.client.close()
        self._server.should_exit = True
        self._thread.join(timeout=20)


def send(served: Served, content: bytes, query: str = "") -> httpx.Response:
    return served.client.post(f"/predict{query}", files={"image": ("frame.png", content)})
