"""A served embedder gives the vectors of the one in process, or raises."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from journeyman.models.errors import ModelUnavailable, WeightsError
from journeyman.models.loopback_http import HttpReply, HttpRequest, LoopbackServer
from journeyman.models.served import Serving
from journeyman.models.served_embedder import ServedEmbedder
from journeyman.models.served_http import Server
from journeyman.models.students.embedder import Embedder, Vector

Embed = Callable[[list[str]], list[Vector]]


@pytest.fixture(scope="module")
def local() -> Embedder:
    return Embedder(device="cpu")


@pytest.fixture
def embeds(local: Embedder) -> dict[str, Embed]:
    """How the server embeds; tests change it. Its vectors are not of unit length."""
    return {"by": lambda texts: [3 * vector for vector in local.predict(texts)]}


@pytest.fixture
def server(embeds: dict[str, Embed]) -> Iterator[Server]:
    def answer(request: HttpRequest) -> HttpReply:
        texts = json.loads(request.body)["input"]
        rows = [
            {"index": i, "embedding": np.asarray(vector).tolist()}
            for i, vector in enumerate(embeds["by"](texts))
        ]
        return HttpReply(200, json.dumps({"data": rows[::-1]}).encode())

    with LoopbackServer(answer, name="pooling stand-in") as opened:
        yield Server(opened.url, timeout_s=30)


def test_vectors_are_those_in_process(server: Server, local: Embedder) -> None:
    queries = ["one", "another"]
    found = ServedEmbedder(local, server, name="mini").predict(queries)
    np.testing.assert_allclose(found, local.predict(queries), atol=1e-5)


async def test_one_at_a_time(server: Server, local: Embedder) -> None:
    served = ServedEmbedder(local, server, name="mini")
    np.testing.assert_allclose(await served.answer("one"), local.predict(["one"])[0], atol=1e-5)
    await server.aclose()


def test_another_embedder_is_refused(
    server: Server, local: Embedder, embeds: dict[str, Embed]
) -> None:
    embeds["by"] = lambda texts: [np.roll(vector, 1) for vector in local.predict(texts)]
    with pytest.raises(WeightsError, match="other vectors"):
        ServedEmbedder(local, server, name="mini").predict(["one"])


def test_another_embedder_behind_a_broken_connection_is_refused(
    server: Server, local: Embedder, embeds: dict[str, Embed]
) -> None:
    calls: list[list[str]] = []

    def exchanged(texts: list[str]) -> list[Vector]:
        calls.append(texts)
        if len(calls) == 2:  # the query, after the fixed texts
            server.num_breaks += 1
        return [np.roll(vector, int(len(calls) > 1)) for vector in local.predict(texts)]

    embeds["by"] = exchanged
    with pytest.raises(WeightsError, match="other vectors"):
        ServedEmbedder(local, server, name="mini").predict(["one"])


@pytest.mark.parametrize(
    "vector", [[1.0, 2.0], [float("nan")] * 384, [0.0] * 384], ids=["short", "nan", "zero"]
)
def test_what_is_no_vector_is_refused(
    server: Server, local: Embedder, embeds: dict[str, Embed], vector: list[float]
) -> None:
    embeds["by"] = lambda texts: [np.array(vector, dtype=np.float32) for _ in texts]
    with pytest.raises(ModelUnavailable, match="pooling"):
        ServedEmbedder(local, server, name="mini").predict(["one"])


def test_the_same_precision_is_the_same_student(local: Embedder) -> None:
    server = Server("http://127.0.0.1:9")
    assert ServedEmbedder(local, server, name="mini").fingerprint() == local.fingerprint()
    half = ServedEmbedder(local, server, name="mini", serving=Serving(dtype="bfloat16"))
    assert half.fingerprint() != local.fingerprint()
