"""Templates and static files become answers, with the headers that every page bears."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from importlib import resources
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from bot.pages import ansi, words
from bot.wording import ref_in_words, size_in_words

HEADERS: Final = {
    # No inline script or style, nothing from elsewhere, in nobody's frame.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: browsers then send `Origin: null` with our own forms too.
    "Referrer-Policy": "same-origin",
    "X-Robots-Tag": "noindex",
    "Cache-Control": "no-store",
}
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class Renderer:
    """The templates and static files of this package, read once."""

    def __init__(self) -> None:
        self._static, self._named = _static_files()
        self._templates = Environment(
            loader=PackageLoader("bot.pages"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals["asset"] = lambda name: f"/static/{self._named[name]}"
        self._templates.filters |= {
            "markup": ansi.markup,
            "duration": words.duration,
            "moment": words.moment,
            "iso": words.iso,
            "ago": lambda at: words.ago(at, now=int(time.time() * 1000)),
            "headline": words.headline,
            "advice": words.advice,
            "tone": words.TONES.__getitem__,
            "subject": words.subject,
            "ref": ref_in_words,
            "size": size_in_words,
        }

    def page(
        self, template: str, *, status: int = 200, headers: Mapping[str, str] = {}, **shown: Any
    ) -> HTMLResponse:
        """A whole page. `shown` is what the template asks for."""
        return HTMLResponse(
            self.fragment(template, **shown), status_code=status, headers={**HEADERS, **headers}
        )

    def fragment(self, template: str, **shown: Any) -> str:
        """The template's text alone."""
        return self._templates.get_template(template).render(shown)

    async def static(self, request: Request) -> Response:
        """A static file by its hashed name, to be kept for a year: what changes is renamed."""
        found = self._static.get(request.path_params["name"])
        if found is None:
            return Response("there is no such file\n", status_code=404, media_type="text/plain")
        body, type_ = found
        return Response(
            body,
            media_type=type_,
            headers={
                "Cache-Control": "public, max-age=31536000, immutable",
                "X-Content-Type-Options": "nosniff",
            },
        )


def _static_files() -> tuple[dict[str, tuple[bytes, str]], dict[str, str]]:
    """Hashed name -> bytes and media type, and plain name -> hashed name."""
    files: dict[str, tuple[bytes, str]] = {}
    named: dict[str, str] = {}
    for file in (resources.files("bot.pages") / "static").iterdir():
        stem, dot, suffix = file.name.rpartition(".")
        if f".{suffix}" in _TYPES:
            body = file.read_bytes()
            hashed = f"{stem}-{hashlib.sha256(body).hexdigest()[:12]}.{suffix}"
            files[hashed] = (body, _TYPES[dot + suffix])
            named[file.name] = hashed
    return files, named
