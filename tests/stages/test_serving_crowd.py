"""The HTTP service under many requests, and slow ones."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from doors import Chain
from served import LIMITS, Served, send, serving

from weakseg.stages.predictor import Prediction, Predictor, load_predictor


@pytest.fixture(scope="module")
def predictor(chain: Chain) -> Predictor:
    return load_predictor(chain.root / "runs" / "stage3" / "tiny")


@pytest.fixture
def picture(tiny_folder: Path) -> bytes:
    return (tiny_folder / "scene0_0.png").read_bytes()


def test_who_comes_when_the_queue_is_full_is_told_to_come_back(
    predictor: Predictor, picture: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Semaphore(0), threading.Event()

    def slow(self: Predictor, frame: object, *, threshold: float | None = None) -> Prediction:
        begun.release()
        assert go_on.wait(30)
        return Prediction(np.zeros((2, 2), np.float32), 0.5)

    monkeypatch.setattr(Predictor, "__call__", slow)
    service = Served(predictor)
    statuses: list[int] = []
    askers = [
        threading.Thread(
            target=lambda: statuses.append(
                httpx.post(
                    f"{service.address}/predict", files={"image": picture}, timeout=60
                ).status_code
            )
        )
        for _ in range(2)
    ]
    try:
        for asker in askers:
            asker.start()
        assert begun.acquire(timeout=30)
        deadline = time.monotonic() + 30
        while service.client.get("/health").json()["requests"] < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        late = send(service, picture)
        assert late.status_code == 503
        assert late.headers["retry-after"] == "5"
        assert not begun.acquire(blocking=False), "one frame is segmented at a time"
        go_on.set()
        for asker in askers:
            asker.join(timeout=30)
        assert statuses == [200, 200]
        assert service.client.get("/health").json()["requests"] == 0
    finally:
        go_on.set()
        service.close()


def upload_begun(service: Served) -> socket.socket:
    """Connect, and send the head of a picture's request alone, until the server waits for more."""
    url = service.client.base_url
    line = socket.create_connection((url.host, url.port), timeout=30)
    line.sendall(
        b"POST /predict HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\nExpect: 100-continue\r\n\r\n"
    )
    assert line.recv(1000).startswith(b"HTTP/1.1 100 ")
    return line


def test_too_many_uploads_are_told_to_come_back_and_health_answers(
    predictor: Predictor, picture: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_UPLOADS", 3)
    service = Served(predictor)
    try:
        with ExitStack() as lines:
            for _ in range(3 + LIMITS.queue + 1):
                lines.enter_context(upload_begun(service))
            late = send(service, picture)
            assert late.status_code == 503
            assert late.headers["retry-after"] == "5"
            assert "5 requests are on their way already" in late.json()["detail"]
            assert service.client.get("/health").json()["status"] == "ok"
        deadline = time.monotonic() + 30
        while send(service, picture).status_code == 503:
            assert time.monotonic() < deadline, "those that hung up count no more"
    finally:
        service.close()


def test_an_upload_that_stops_is_ended_and_its_place_is_free(
    predictor: Predictor, picture: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_UPLOADS", 0)
    service = Served(predictor, replace(LIMITS, queue=0, upload_seconds=3.0))
    try:
        with upload_begun(service) as line:
            line.sendall(b"--b\r\n")
            answer = b"".join(iter(lambda: line.recv(1000), b""))
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b"within 3 s (upload_seconds): send it again" in answer
            assert send(service, picture).status_code == 200
    finally:
        service.close()


def test_connections_that_ask_nothing_keep_nobody_out(predictor: Predictor, picture: bytes) -> None:
    service = Served(predictor)
    try:
        url = service.client.base_url
        with ExitStack() as lines:
            for _ in range(60):
                lines.enter_context(socket.create_connection((url.host, url.port), timeout=30))
            assert send(service, picture).status_code == 200
    finally:
        service.close()


def test_connections_have_an_end(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_CONNECTIONS", 3)
    service = Served(predictor)
    try:
        with ExitStack() as lines:
            for _ in range(2):
                lines.enter_context(upload_begun(service))
            assert service.client.get("/health").status_code == 200
            late = httpx.get(f"{service.address}/health")
            assert (late.status_code, late.text) == (503, "Service Unavailable")
    finally:
        service.close()
