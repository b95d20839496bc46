"""Our own pages: what a visitor sees where there is no site, no page, or no way to read it now."""

from __future__ import annotations

from html import escape
from typing import Final

from bot.gateway.prepared import (
    CHECKED,
    NO_SNIFFING,
    NOT_INDEXED,
    NOT_KEPT,
    Answer,
    Headers,
)
from bot.gateway.route import Redirect, location

RETRY_SECONDS: Final = 5
_ALLOW: Final = (b"allow", b"GET, HEAD, OPTIONS")
_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 1rem/1.6 system-ui, sans-serif; max-width: 34rem; margin: 20vh auto }}
body {{ padding: 0 1rem }}
h1 {{ font-size: 1.5rem; line-height: 1.3; margin: 0 0 .5rem }}
p {{ margin: 0; opacity: .75 }}
</style>
<h1>{title}</h1>
<p>{words}</p>
"""


def _page(status: int, title: str, words: str, *more: tuple[bytes, bytes]) -> Answer:
    body = _PAGE.format(title=escape(title), words=escape(words)).encode()
    headers: Headers = (
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
        (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'"),
        NOT_KEPT,
        NO_SNIFFING,
        NOT_INDEXED,
        *more,
    )
    return Answer(status, headers, body)


NO_SITE: Final = _page(
    404,
    "There is no site here",
    "Nothing has been deployed under this name. A site that was just pushed appears here as soon "
    "as its build has ended.",
)
DELETED: Final = _page(
    404,
    "This branch was deleted",
    "Its preview went with it. It comes back when the branch is pushed again.",
)
NOT_FOUND: Final = _page(404, "Page not found", "This site has no page at this address.")
GONE: Final = _page(
    410,
    "This deployment is no longer kept",
    "Its files were removed to make room. Newer deployments of the project are still there.",
)
UNREADABLE: Final = _page(
    503,
    "This site cannot be read right now",
    "The storage behind it does not answer. Please try again in a moment.",
    (b"retry-after", b"%d" % RETRY_SECONDS),
)
READ_ONLY: Final = _page(405, "Sites are read only", "This address answers GET and HEAD.", _ALLOW)
OPTIONS: Final = Answer(204, (_ALLOW, NOT_KEPT))


def redirect(found: Redirect, query: bytes, *, indexed: bool) -> Answer:
    """A 301 to another path of the site. It is asked about each time: the next release may not."""
    headers: Headers = (
        (b"location", location(found, query)),
        (b"content-length", b"0"),
        CHECKED,
        NO_SNIFFING,
        *(() if indexed else (NOT_INDEXED,)),
    )
    return Answer(301, headers)
