"""Submodules: which repository each one names, read from `.gitmodules` with mistrust. Pure."""

from __future__ import annotations

import posixpath
import re
from typing import Final
from urllib.parse import urlsplit

from bot.core.deployment import repository_key
from bot.core.errors import BuildFailed
from bot.source.origin import REPOSITORY, Origin, no_token

DEPTH: Final = 5
"""How far submodules of submodules are followed."""
COUNT: Final = 100
"""How many one source may have."""
_SCP: Final = re.compile(r"(?:[A-Za-z0-9._-]+@)?(?P<host>[A-Za-z0-9.-]+):(?!//)(?P<path>.+)")


def urls(listing: bytes) -> dict[bytes, str]:
    """Path -> URL, from what `git config -z --list` says of a `.gitmodules`."""
    fields: dict[bytes, dict[bytes, bytes]] = {}
    for entry in listing.split(b"\0"):
        key, _, value = entry.partition(b"\n")
        section, _, rest = key.partition(b".")
        name, _, field = rest.rpartition(b".")
        if section == b"submodule" and name:
            fields.setdefault(name, {})[field] = value
    return {
        found[b"path"].rstrip(b"/"): found[b"url"].decode(errors="replace")
        for found in fields.values()
        if b"path" in found and b"url" in found
    }


def origin_of(url: str, *, path: str, parent: Origin, top: Origin) -> Origin:
    """The repository that a submodule's URL names, as a source of its own.

    Only https (or ssh, rewritten) of the same host. Our token goes along only to repositories that
    `top` opens, of the owner that was pushed to: else whoever may push to one repository could
    read, through a submodule, every other that the token is good for. Raises `BuildFailed`
    (`submodule_refused`).
    """
    base = urlsplit(top.base_url)
    home = base.path.rstrip("/")
    url = url.strip()
    if url.startswith(("./", "../")):
        full = posixpath.normpath(posixpath.join("/" + parent.repository, url))
    else:
        full = _path_of(url, host=base.hostname or "", port=base.port, scheme=base.scheme, at=path)
        if home and not full.startswith(home + "/"):
            raise _refused(path, "lies outside the GitHub that Pushlane is set to")
        full = full[len(home) :]
    repository = full.strip("/").removesuffix(".git")
    if not REPOSITORY.fullmatch(repository):
        raise _refused(path, "names no owner/name")
    ours = repository.partition("/")[0].lower() == top.owner and top.opens(repository)
    key = repository_key(0, repository)
    return Origin(
        base_url=top.base_url,
        repository=repository,
        # What a token opened is kept apart from what anyone may read.
        key=f"s-{key}" if ours else f"a-{key}",
        token=top.token if ours else no_token,
    )


def unread(error: BuildFailed, origin: Origin, *, path: str, top: Origin) -> BuildFailed:
    """Why the submodule at `path` could not be fetched, with the cure where we sent no token."""
    words = error.message
    withheld = origin.owner == top.owner and not top.opens(origin.repository)
    if error.code == "repository_not_found" and withheld:
        words = (
            f"{origin.repository} is gone, or private and not named by PUSHLANE_REPOS: add it there"
        )
    return BuildFailed(f"submodule {path}: {words}", code=error.code)


def _path_of(url: str, *, host: str, port: int | None, scheme: str, at: str) -> str:
    if url.startswith("-") or any(ord(c) < 33 or c == "\\" for c in url) or "::" in url:
        raise _refused(at, "has a URL that is none")
    if "://" not in url and (scp := _SCP.fullmatch(url)):
        if scp["host"].lower() != host.lower():
            raise _elsewhere(at, scp["host"], host)
        return "/" + scp["path"].lstrip("/")
    try:
        parts = urlsplit(url)
        theirs, their_port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise _refused(at, "has a URL that is none") from None
    if parts.scheme not in ("https", "ssh", scheme):
        raise _refused(at, f"uses {parts.scheme[:20] or 'a local path'!r}; only https is fetched")
    default = {"https": 443, "http": 80}
    same_port = parts.scheme == "ssh" or (their_port or default.get(parts.scheme)) == (
        port or default.get(scheme)
    )
    if theirs != host.lower() or not same_port:
        raise _elsewhere(at, theirs, host)
    return parts.path


def _elsewhere(path: str, theirs: str, ours: str) -> BuildFailed:
    return _refused(path, f"lies on {theirs[:100] or 'no host'}; only {ours} is fetched from")


def _refused(path: str, words: str) -> BuildFailed:
    return BuildFailed(
        f"the submodule at {path[:200]!r} {words}: change its url in .gitmodules, or set "
        "`submodules = false` in pushlane.toml",
        code="submodule_refused",
    )
