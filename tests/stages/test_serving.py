"""The HTTP service, asked by a real client over a real socket."""

from __future__ import annotations

import base64
import io
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from doors import Chain
from PIL import Image
from served import LIMITS, Served, send

from weakseg import __version__
from weakseg.data import read_frame
from weakseg.errors import ArtifactError
from weakseg.report import overlay
from weakseg.stages.predictor import Predictor, load_predictor
from weakseg.stages.serving.manual import manual_page
from weakseg.stages.serving.ports import listen


@pytest.fixture(scope="module")
def predictor(chain: Chain) -> Predictor:
    return load_predictor(chain.root / "runs" / "stage3" / "tiny")


@pytest.fixture(scope="module")
def served(predictor: Predictor) -> Iterator[Served]:
    service = Served(predictor)
    yield service
    service.close()


@pytest.fixture
def picture(tiny_folder: Path) -> bytes:
    return (tiny_folder / "scene0_0.png").read_bytes()


def test_it_says_that_it_is_up_and_what_it_is(served: Served, predictor: Predictor) -> None:
    assert served.client.get("/health").json() == {"status": "ok", "requests": 0, "places": 2}
    about = served.client.get("/version").json()
    assert about["weakseg"] == __version__
    assert about["fingerprint"] == predictor.fingerprint
    assert about["threshold"] == predictor.threshold


def test_a_picture_is_answered_as_the_run_itself_would(
    served: Served, predictor: Predictor, picture: bytes, tiny_folder: Path
) -> None:
    expected = predictor(read_frame(tiny_folder / "scene0_0.png"))
    found = send(served, picture).json()
    assert (found["height"], found["width"]) == expected.mask.shape
    assert found["smoke_share"] == pytest.approx(expected.share, abs=1e-6)
    assert found["smoke_probability"] == pytest.approx(expected.probability, abs=1e-6)
    mask = Image.open(io.BytesIO(base64.b64decode(found["mask_png_base64"])))
    np.testing.assert_array_equal(np.array(mask), expected.mask * 255)


@pytest.mark.parametrize("wanted", ["mask", "scores", "overlay"])
def test_a_picture_comes_back_where_one_is_wanted(
    served: Served, predictor: Predictor, picture: bytes, tiny_folder: Path, wanted: str
) -> None:
    answer = send(served, picture, f"?wanted={wanted}")
    assert answer.headers["content-type"] == "image/png"
    found = np.array(Image.open(io.BytesIO(answer.content)))
    frame = read_frame(tiny_folder / "scene0_0.png")
    expected = predictor(frame)
    assert 0 < expected.share < 1
    pictures = {
        "mask": 255 * expected.mask,
        "scores": np.rint(255 * expected.scores),
        "overlay": overlay(frame, expected.mask),
    }
    np.testing.assert_array_equal(found, pictures[wanted])


def test_the_threshold_of_a_request_counts(served: Served, picture: bytes) -> None:
    shares = [send(served, picture, f"?threshold={t}").json()["smoke_share"] for t in (0, 1)]
    assert shares[0] == 1.0
    assert shares[1] < 1.0


def test_bad_requests_are_told_what_is_wrong(served: Served, picture: bytes) -> None:
    broken = send(served, b"no picture at all")
    assert broken.status_code == 422
    assert "the image" in broken.json()["detail"] and "/" not in broken.json()["detail"]
    assert send(served, picture[: len(picture) // 2]).status_code == 422
    assert send(served, b"").status_code == 422
    assert send(served, picture, "?threshold=2").status_code == 422
    assert send(served, picture, "?wanted=everything").status_code == 422
    assert served.client.post("/predict").status_code == 422
    wide = io.BytesIO()
    Image.new("L", (1000, 101)).save(wide, format="PNG")
    assert send(served, wide.getvalue()).status_code == 422
    assert "pixels" in send(served, wide.getvalue()).json()["detail"]


@pytest.mark.parametrize("size", [(5000, 1), (1, 5000)])
def test_thin_pictures_that_take_much_memory_are_refused(
    served: Served, size: tuple[int, int]
) -> None:
    thin = io.BytesIO()
    Image.new("L", size).save(thin, format="PNG")
    answer = send(served, thin.getvalue())
    assert answer.status_code == 422
    assert f"the image has {size[0]}x{size[1]} pixels" in answer.json()["detail"]
    assert f"the limit of {LIMITS.max_pixels}" in answer.json()["detail"]


def test_the_manual_names_every_path_and_no_other_host(served: Served) -> None:
    answer = served.client.get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    page = answer.text
    schema = served.client.get("/openapi.json").json()
    assert set(schema["paths"]) == {"/health", "/version", "/predict"}
    for path in schema["paths"]:
        assert f"{served.address}{path}" in page
    for words in ("threshold", "number from 0 to 1", "one of json, mask, scores, overlay", "503"):
        assert words in page
    assert f"curl -F image=@frame.jpg {served.address}/predict" in page
    assert "//" not in page.replace(served.address, "")
    assert "<script" not in page
    assert served.client.get("/redoc").status_code == 404


def test_the_manual_is_escaped(served: Served) -> None:
    told = {"description": "<b>", "responses": {"200": {"description": "a < b & c"}}}
    schema = {"info": {"title": "<t>", "version": "1"}, "paths": {"/<p>": {"get": told}}}
    page = manual_page(schema, address="http://<x>/")
    assert not any(words in page for words in ("<b>", "a < b", "<t>", "<p>/", "/<p>", "<x>"))
    assert "curl &#x27;http://&lt;x&gt;/&lt;p&gt;&#x27;" in page


def test_bodies_beyond_the_limit_are_refused(served: Served) -> None:
    answer = send(served, bytes(LIMITS.max_bytes))
    assert answer.status_code == 413
    assert str(LIMITS.max_bytes) in answer.json()["detail"]

    def unmeasured() -> Iterator[bytes]:
        yield b"x" * 10

    assert served.client.post("/predict", content=unmeasured()).status_code == 411


def test_body_in_chunks_is_refused_whatever_length_it_says(served: Served) -> None:
    host, port = served.client.base_url.host, served.client.base_url.port
    assert port is not None
    with socket.create_connection((host, port), timeout=30) as line:
        line.sendall(
            b"POST /predict HTTP/1.1\r\nHost: here\r\nContent-Length: 10\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n"
            b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        )
        for body in (
            b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n',
            bytes(2 * LIMITS.max_bytes),
            b"\r\n--b--\r\n",
            b"",
        ):
            with suppress(OSError):  # It may hang up before all is sent.
                line.sendall(b"%x\r\n%s\r\n" % (len(body), body))
        assert line.recv(1000).startswith(b"HTTP/1.1 411 ")


def test_a_port_in_use_is_named() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ArtifactError, match=f"port={port}.*take another port"):
            listen("127.0.0.1", port)
    with pytest.raises(ValueError, match=r"port must be in \[0, 65535\], got 70000"):
        listen("127.0.0.1", 70000)


@pytest.mark.parametrize(
    ("name", "value"), [("max_bytes", 0), ("max_pixels", 0), ("queue", -1), ("upload_seconds", 0)]
)
def test_limits_have_ranges(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=name):
        replace(LIMITS, **{name: value})
