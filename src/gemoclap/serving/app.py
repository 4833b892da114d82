"""The paths of the server, and what they take."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

import anyio.to_thread
from fastapi import Depends, FastAPI, File, Form, Query, Request, Response, UploadFile, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BeforeValidator
from pydantic.json_schema import SkipJsonSchema
from starlette.exceptions import HTTPException

from gemoclap import __version__
from gemoclap.errors import GemoclapError
from gemoclap.inference.smoothing import SMOOTH_SECONDS
from gemoclap.serving.answers import ERRORS, LOOKS, OPEN, Health, ModelAnswer, PredictionAnswer, TimelineAnswer
from gemoclap.serving.fields import FORM, each, known_fields, media_type, shown
from gemoclap.serving.gate import Gate, GateKeeper, headers_of
from gemoclap.serving.limits import Refused, checked_labels, unusable
from gemoclap.serving.pages import add_page
from gemoclap.serving.service import Adapt, Include, Service, Speech, WindowOptions
from gemoclap.serving.streaming import answer_stream
from gemoclap.serving.uploads import kept

logger = logging.getLogger(__name__)

ABOUT = """\
Emotion in speech. Send a recording to `/v1/predict` for one emotion, or to `/v1/timeline` for emotion over time.
`/v1/stream` is a WebSocket for live sound: send PCM, get windows. An error has a body `{"error": {"code", "message"}}`;
the message says what to do.
"""
CHANNEL = r"^(mix|[1-9][0-9]{0,2})$"
CHANNELS = r"^(mix|each|[1-9][0-9]{0,2})$"
CHANNELS_IN_WORDS = {
    CHANNEL: "mix or the number of a channel, from 1 (a timeline can also have each)",
    CHANNELS: "mix, each or the number of a channel, from 1",
}

Sound = Annotated[UploadFile, File(description="The recording: WAV, FLAC, MP3, Ogg or Opus.")]
Nothing = SkipJsonSchema[None]
"""A field that is left out. A form has no null, so the description of the API does not speak of one."""
Labels = Annotated[
    list[str] | Nothing,
    Form(
        description="Labels to choose from, in place of the model's own, with commas between or the field several times.",
        examples=[["joyful,furious"]],
    ),
]
AnyWords = Annotated[
    bool, Form(description="Whether labels may be words that are like no English word for an emotion.")
]
Window = Annotated[
    float | Nothing, Form(gt=0, le=3600, description="Length of the windows in seconds.", examples=[4.0])
]
Threshold = Annotated[
    float, Form(ge=0, le=1, description="'unknown' where no label has at least this probability.", examples=[0.4])
]


def make_app(service: Service, gate: Gate) -> FastAPI:
    """Return the application.

    Parameters
    ----------
    service : does the work; it is closed when the application ends.
    gate : decides who comes in.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        limits = service.limits
        # A thread for each request and stream, and some for writing uploads to the disk meanwhile.
        anyio.to_thread.current_default_thread_limiter().total_tokens = limits.requests + limits.streams + 8
        try:
            await anyio.to_thread.run_sync(service.warm_up)
            yield
        finally:
            await anyio.to_thread.run_sync(service.close)

    app = FastAPI(
        title="gemoclap",
        version=__version__,
        description=ABOUT,
        lifespan=lifespan,
        docs_url=None,  # these pages load their scripts from elsewhere
        redoc_url=None,
    )
    app.add_middleware(GateKeeper, gate=gate, metrics=service.metrics)  # type: ignore[arg-type]
    _answer_errors(app)
    _add_work(app, service)
    _add_stream(app, service, gate)
    _add_looks(app, service, gate)
    add_page(app)
    return app


def _add_work(app: FastAPI, service: Service) -> None:
    """Add what takes a recording. These are plain functions: FastAPI runs each in a thread, where it may wait."""
    limits = service.limits

    checks = [Depends(known_fields)]

    @app.post(
        "/v1/predict",
        response_model=PredictionAnswer,
        responses=ERRORS,
        summary="The emotion of a clip",
        dependencies=checks,
    )
    def predict(
        file: Sound,
        labels: Labels = None,
        any_words: AnyWords = False,
        window: Annotated[
            float | Nothing,
            Form(
                ge=0.1,
                le=3600,
                description="A longer clip is cut into parts of at most so many seconds, and the answer is their mean.",
                examples=[4.0],
            ),
        ] = None,
        channel: Annotated[
            str, Form(pattern=CHANNEL, description="'mix' for the mean of all, or a number from 1.", examples=["mix"])
        ] = "mix",
        threshold: Threshold = 0.0,
    ) -> dict[str, Any]:
        """One emotion for the whole clip. A clip longer than the model uses is cut into parts; the answer is their mean."""
        own = checked_labels(labels, limits)
        with kept(file.file, file.filename, service.folder) as upload:
            return service.predict(
                upload, own, any_words, window, None if channel == "mix" else int(channel), threshold
            )

    @app.post(
        "/v1/timeline",
        response_model=TimelineAnswer,
        responses=ERRORS,
        summary="Emotion over time",
        dependencies=checks,
    )
    def timeline(
        file: Sound,
        labels: Labels = None,
        any_words: AnyWords = False,
        window: Window = None,
        hop: Annotated[
            float, Form(ge=0.1, le=60, description="Seconds from one window to the next.", examples=[1.0])
        ] = 1.0,
        channel: Annotated[
            str,
            Form(
                pattern=CHANNELS,
                description="'mix' for the mean of all, 'each' for a look at each, or a number from 1.",
                examples=["each"],
            ),
        ] = "mix",
        smooth: Annotated[
            float, Form(ge=0, le=60, description="Windows nearer than so many seconds are averaged.", examples=[2.0])
        ] = SMOOTH_SECONDS,
        threshold: Threshold = 0.0,
        speech: Annotated[Speech, Form(description="'all' takes all sound for speech.")] = "detect",
        adapt: Annotated[
            Adapt, Form(description="'speaker' adapts to the voice of each lane, without labels.")
        ] = "none",
        include: Annotated[
            list[Include] | Nothing,
            BeforeValidator(each),
            Form(
                description="What is added: the outline of the waveform, files as text; "
                "with commas between or the field several times.",
                examples=[["csv", "vtt"]],
            ),
        ] = None,
    ) -> dict[str, Any]:
        """A lane for the recording or for each channel: stretches of speech, windows, and segments of one emotion."""
        options = WindowOptions(checked_labels(labels, limits), any_words, window, hop, speech, adapt)
        which: Any = int(channel) if channel.isdecimal() else channel
        with kept(file.file, file.filename, service.folder) as upload:
            return service.timeline(upload, options, which, smooth, threshold, include or ())


def _add_stream(app: FastAPI, service: Service, gate: Gate) -> None:
    @app.websocket("/v1/stream")
    async def stream(
        websocket: WebSocket,
        sample_rate: str = "16000",
        form: Annotated[str, Query(alias="format")] = "s16le",
        labels: Annotated[list[str] | None, Query()] = None,
        window: str = "",
        hop: str = "1",
        speech: str = "detect",
        any_words: str = "false",
        adapt: str = "none",
    ) -> None:
        asked = {"sample_rate": sample_rate, "format": form, "window": window, "hop": hop, "speech": speech}
        asked |= {"any_words": any_words, "adapt": adapt}
        await answer_stream(websocket, service, gate, asked, labels)


def _add_looks(app: FastAPI, service: Service, gate: Gate) -> None:
    """Add what tells of the server itself."""

    @app.get("/v1/model", response_model=ModelAnswer, responses=LOOKS, summary="The model and the limits")
    async def model() -> dict[str, Any]:
        return service.about()

    @app.get(
        "/healthz",
        response_model=Health,
        responses={**OPEN, 503: {"model": Health}},
        summary="Whether it takes requests",
    )
    async def health() -> JSONResponse:
        status: Literal["ok", "stopping"] = "stopping" if gate.is_stopping else "ok"
        return JSONResponse({"status": status, "model": service.name}, 503 if gate.is_stopping else 200)

    @app.get("/metrics", response_class=Response, responses=LOOKS, summary="Counters for Prometheus")
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _answer_errors(app: FastAPI) -> None:
    """Give every error one form of body."""

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> JSONResponse:
        return JSONResponse(error.body, error.status, headers_of(error))

    @app.exception_handler(GemoclapError)
    async def unfit(request: Request, error: GemoclapError) -> JSONResponse:
        return JSONResponse(unusable(error.for_clients).body, 422)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        kind = media_type(request)
        if request.method == "POST" and kind != FORM:
            message = f"the body is {kind or 'of no type'}; send a form ({FORM}) with the field 'file'"
            return JSONResponse(Refused(415, "no_form", message).body, 415)
        first = error.errors()[0]
        # Behind the name of a field can come its place in a list, and the member of a union.
        field = str(next((one for one in first["loc"][1:] if not isinstance(one, int)), first["loc"][0]))
        message = f"{field}: {_in_words(field, first)}; {app.title} describes its fields at /openapi.json"
        return JSONResponse(Refused(422, "invalid_field", message).body, 422)

    @app.exception_handler(HTTPException)
    async def of_http(request: Request, error: HTTPException) -> JSONResponse:
        detail: Any = error.detail
        if not isinstance(detail, dict):
            detail = {"code": "http", "message": f"{detail}; /openapi.json has the paths and what they take"}
        return JSONResponse({"error": detail}, error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        message = "an error that nobody foresaw; look into the server's log, and report it"
        return JSONResponse(Refused(500, "unforeseen", message).body, 500)


def _in_words(field: str, error: dict[str, Any]) -> str:
    """Return what is wrong with a field."""
    if field == "file":
        return "no file was sent in this field; send the recording in it"
    if error["type"] == "string_pattern_mismatch":
        return f"must be {CHANNELS_IN_WORDS[error['ctx']['pattern']]}, not {shown(str(error['input']))}"
    if error["type"] == "bool_parsing":
        return f"must be true or false, not {shown(str(error['input']))}"
    return str(error["msg"]).lower()
