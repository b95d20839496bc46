"""From a host to a label, and from a path to a file of the release. Pure.

A path is only ever looked up in the manifest's dictionary, decoded once, joined to nothing. What a
path without a file of that name means follows Netlify, for whose sites most generators write.
"""

from __future__ import annotations

import re
from collections.abc import Container
from functools import lru_cache
from typing import Final
from urllib.parse import quote, quote_from_bytes, unquote_to_bytes

import msgspec

from bot.core.media import DEFAULT, media_type

INDEX: Final = "index.html"
_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_ODD: Final = re.compile(r"//|/\.\.?(/|$)|[\x00-\x1f\x7f\\]")
"""What no browser makes of a link: it finds nothing, in any site."""
_IN_PATHS: Final = "/-._~!$&'()*+,;=:@"
_IN_QUERIES: Final = _IN_PATHS + "?%[]"


class Redirect(msgspec.Struct, frozen=True):
    """Another path shows it; absolute, decoded, one slash at its beginning."""

    path: str


def label_of(host: str, sites_domain: str) -> str | None:
    """The label of a site's host, as `<label>.<sites domain>` has it; ports do not matter.

    None when `host` is not under the domain (nor is the bare domain), `""` when it is but can
    name no site: a deeper name, or an odd one.
    """
    # What is longer than any name is not worth remembering.
    look = _label_of if len(host) <= 300 else _label_of.__wrapped__
    return look(host, sites_domain)


@lru_cache(4096)
def _label_of(host: str, sites_domain: str) -> str | None:
    name, domain = _name(host), _name(sites_domain)
    if not name.endswith(f".{domain}"):
        return None
    label = name[: -len(domain) - 1]
    return label if _LABEL.fullmatch(label) else ""


def _name(host: str) -> str:
    return host.partition(":")[0].strip().lower().rstrip(".")


def find(files: Container[str], path: str, *, spa: bool = False) -> str | Redirect | None:
    """The name of the file that a decoded path shows; None: not found.

    `/a` is the file `a`, else `a.html`, else it leads to `/a/`, whose file is `a/index.html`;
    `/a/` without one leads to `/a`, so that relative links mean the same under both. A
    single-page application shows its index for what looks like a page of its own.
    """
    name = path[1:]
    if path[:1] == "/" and name in files:
        return name
    if path[:1] != "/" or _ODD.search(path):
        return None
    if not name or name[-1] == "/":
        if name + INDEX in files:
            return name + INDEX
        if name and name[:-1] + ".html" in files:
            return Redirect(path[:-1])
    else:
        if name + ".html" in files:
            return name + ".html"
        if f"{name}/{INDEX}" in files:
            return Redirect(path + "/")
    return INDEX if spa and INDEX in files and _navigates(name) else None


def _navigates(name: str) -> bool:
    """Whether a missing path is one that the application itself may route.

    A missing script, picture or the like is a 404, as in Vite's preview: an old page that asks
    for a chunk of yesterday must see that it is gone, not get HTML for it. Only known types count
    as such, so that `/u/jane.doe` and `/v1.2` are pages. Nor is `/.well-known/…`: others ask there.
    """
    if name.startswith(".") or "/." in name:
        return False
    last = name.rpartition("/")[2]
    type_ = media_type(last)
    return "." not in last or type_ == DEFAULT or type_.startswith("text/html")


def location(redirect: Redirect, query: bytes) -> bytes:
    """The `Location` of a redirect: a path of the same host, with the request's own query."""
    # With two slashes at its beginning it would name another host; `find` makes no such path.
    found = quote("/" + redirect.path.lstrip("/"), safe=_IN_PATHS)
    return (f"{found}?{quote_from_bytes(query, safe=_IN_QUERIES)}" if query else found).encode()


def is_text(raw_path: bytes) -> bool:
    """Whether a path, as it was sent, decodes to UTF-8."""
    try:
        unquote_to_bytes(raw_path).decode()
    except UnicodeDecodeError:
        return False
    return True
