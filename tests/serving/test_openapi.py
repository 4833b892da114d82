"""What /openapi.json describes is what the server does: schemathesis makes requests from it, sound and unsound ones.

It is skipped where schemathesis is not installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from servers import listening

from gemoclap import Predictor

schemathesis = pytest.importorskip("schemathesis", reason="the package schemathesis is not installed")
hypothesis = pytest.importorskip("hypothesis")

TAKING, LOOKING = ("/v1/predict", "/v1/timeline"), ("/v1/model", "/healthz", "/metrics")
REQUESTS = [(path, "POST", mode) for path in TAKING for mode in ("POSITIVE", "NEGATIVE")]
REQUESTS += [(path, "GET", "POSITIVE") for path in LOOKING]  # they take nothing that could be unsound
EXAMPLES = {"POST": 20, "GET": 2}
DESCRIBED = ("status_code_conformance", "content_type_conformance", "response_schema_conformance")
"""What answers are checked for, beside faults of the server."""


@pytest.fixture(scope="module")
def api(predictor: Predictor) -> Iterator[Any]:
    with listening(predictor) as address:
        yield schemathesis.openapi.from_url(f"{address}/openapi.json")


def test_these_are_all_paths(client: TestClient) -> None:
    described = client.get("/openapi.json").json()["paths"]
    asked = {(path, method.lower()) for path, method, _ in REQUESTS}
    assert {(path, method) for path, methods in described.items() for method in methods} == asked


@pytest.mark.usefixtures("loud_net")
@pytest.mark.parametrize(("path", "method", "mode"), REQUESTS)
def test_every_answer_is_described_and_none_is_a_fault(
    path: str, method: str, mode: str, api: Any, clips: list[Path]
) -> None:
    """Of requests that fit the description, every other one sends real sound, so that options meet it."""
    checks = schemathesis.checks
    wanted = [checks.not_a_server_error, *(one for one in checks.CHECKS.get_all() if one.__name__ in DESCRIBED)]
    assert len(wanted) == 1 + len(DESCRIBED)
    sound, seen = clips[0].read_bytes(), []
    settings = hypothesis.settings(
        max_examples=EXAMPLES[method],
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    )

    @settings
    @hypothesis.given(case=api[path][method].as_strategy(generation_mode=schemathesis.GenerationMode[mode]))
    def ask(case: Any) -> None:
        if mode == "POSITIVE" and isinstance(case.body, dict) and len(seen) % 2:
            case.body["file"] = sound
        answer = case.call()
        case.validate_response(answer, checks=wanted)
        seen.append(answer.status_code)

    ask()
    assert seen and (mode == "NEGATIVE" or 200 in seen)
