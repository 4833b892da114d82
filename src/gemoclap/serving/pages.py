"""The page at /, from files that come with the package: no build, and nothing from elsewhere."""

from __future__ import annotations

import secrets
from pathlib import Path

from fastapi import FastAPI, Response

from gemoclap import __version__

FOLDER = Path(__file__).with_name("page")
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data: blob:; media-src blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Scripts come from this server alone. wavesurfer.js puts a style into the page, which the nonce allows."""
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


def add_page(app: FastAPI) -> None:
    """Add the page and its files; no name that is not among these is looked for on the disk."""
    page = (FOLDER / "index.html").read_text(encoding="utf-8").replace("{{version}}", __version__)

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        nonce = secrets.token_urlsafe(16)
        headers = {**HEADERS, "Content-Security-Policy": POLICY.format(nonce=nonce)}
        return Response(page.replace("{{nonce}}", nonce), media_type="text/html; charset=utf-8", headers=headers)

    for path in sorted(FOLDER.iterdir()):
        if path.suffix in TYPES:
            _add_file(app, path.name, path.read_bytes(), TYPES[path.suffix])


def _add_file(app: FastAPI, name: str, content: bytes, media_type: str) -> None:
    @app.get(f"/{name}", include_in_schema=False)
    async def file() -> Response:
        return Response(content, media_type=media_type, headers=HEADERS)
