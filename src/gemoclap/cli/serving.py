"""`serve`. It looks at its options first and imports torch then, so that a misspelt one is found at once."""

from __future__ import annotations

import os
import socket
import sys
from argparse import Namespace

from gemoclap.cli.recordings import say_what_is_needed
from gemoclap.errors import GemoclapError
from gemoclap.extras import needed
from gemoclap.files import read_text
from gemoclap.inference.model_folder import model_source, require_model
from gemoclap.serving.addresses import Addresses
from gemoclap.starting import many_imports

LOOPBACK = ("127.0.0.1", "localhost", "::1")
SHORTEST_KEY = 8
PACKAGES = {"fastapi": "fastapi", "uvicorn": "uvicorn", "websockets": "websockets",
            "prometheus_client": "prometheus-client", "python_multipart": "python-multipart"}  # fmt: skip


def run_serve(args: Namespace) -> int:
    """Answer over HTTP and WebSocket until the process is told to stop."""
    for module in PACKAGES:
        needed(module, "the server", "'gemoclap[serve]'")
    if not 0 <= args.port <= 65535:
        raise GemoclapError(f"--port must lie between 0 and 65535, not {args.port}")
    key = _key(args.key_file)
    addresses = Addresses([args.host, *args.allowed_hosts])
    address = _bound(args.host, args.port)
    _check(args)
    require_model(model_source(args.model))
    # Imported here, because torch and transformers take seconds that a misspelt option should not cost, and because the
    # server's packages are an extra.
    with many_imports():
        from gemoclap.inference.predictor import Predictor
        from gemoclap.serving.app import make_app
        from gemoclap.serving.gate import Gate
        from gemoclap.serving.limits import Limits
        from gemoclap.serving.server import Server
        from gemoclap.serving.service import Service
    limits = Limits(
        body_bytes=round(args.max_megabytes * 1e6),
        seconds=args.max_seconds,
        requests=args.max_requests,
        per_client=args.max_per_client,
        streams=args.max_streams,
        streams_per_client=max(1, args.max_streams // 2),
        connections=args.max_connections,
        answer_seconds=args.timeout,
        decode_seconds=args.decode_timeout,
    )
    if key is None and args.host not in LOOPBACK:
        print(
            f"beware: {args.host} can be reached by others, and no key is asked for; give --key_file", file=sys.stderr
        )
    gate = Gate(key, limits, addresses)
    predictor = Predictor.from_pretrained(args.model)
    say_what_is_needed(predictor.needs_adaptation, "ask with adapt=speaker; answers for single clips are worse")
    service = Service(predictor, args.model, limits, args.batch_size)
    Server(make_app(service, gate), gate, limits, args.model).run([address])
    return 0


def _bound(host: str, port: int) -> socket.socket:
    """Return a socket with the address; nobody is let in yet, but nobody else can take it."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind, protocol)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a server that was just stopped is no hindrance
        found.bind(address)
        return found
    except OSError as error:
        raise GemoclapError(
            f"cannot listen on {host}, port {port}: {error.strerror or error}; give another --port or --host"
        ) from None


def _key(path: str | None) -> str | None:
    """Return the key of the file or of the environment; None where there is none.

    It is no option itself: other users of the machine can read the arguments of a process.
    """
    key = read_text(path).strip() if path else os.environ.get("GEMOCLAP_API_KEY", "").strip()
    if not key and not path:
        return None
    where = path or "GEMOCLAP_API_KEY"
    if len(key) < SHORTEST_KEY or not key.isascii() or not key.isprintable() or set(key) & set(' ,"'):
        raise GemoclapError(
            f"{where}: a key has {SHORTEST_KEY} characters or more, of letters, digits and -_.~+/=; make one with "
            "'openssl rand -hex 32'"
        )
    return key


def _check(args: Namespace) -> None:
    for name in ("max_megabytes", "max_seconds", "timeout", "decode_timeout"):
        if not 0 < getattr(args, name) < float("inf"):
            raise GemoclapError(f"--{name} must be above 0, not {getattr(args, name):g}")
