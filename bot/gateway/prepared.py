"""What can be said of a file before anybody asks: its encodings, tags and headers. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

import msgspec

from bot.core.release import Content, File, Manifest, Range
from bot.gateway.asked import ENCODINGS, Encoding, encodings, names, wanted
from bot.gateway.hashed import is_hashed
from bot.gateway.located import Located, encoded, identity

Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]

CHECKED: Final = (b"cache-control", b"public, max-age=0, must-revalidate")
"""May be kept, and is asked about each time: a 304 costs little, an old page much."""
FOR_EVER: Final = (b"cache-control", b"public, max-age=31536000, immutable")
NOT_KEPT: Final = (b"cache-control", b"no-store")
NO_SNIFFING: Final = (b"x-content-type-options", b"nosniff")
NOT_INDEXED: Final = (b"x-robots-tag", b"noindex")
_VARIES: Final = (b"vary", b"Accept-Encoding")
_IN_PARTS: Final = (b"accept-ranges", b"bytes")


class Answer(msgspec.Struct, frozen=True):
    """What is sent: a status, the headers, and a body of our own or a part of a content."""

    status: int
    headers: Headers
    body: bytes = b""
    content: Located | None = None
    """Whose bytes from `start` to `stop` (excluded) are the body."""
    start: int = 0
    stop: int = 0


class Representation(msgspec.Struct, frozen=True):
    """One encoding of a file."""

    etag: bytes
    whole: Answer
    """To one who has nothing of it."""
    unchanged: Answer
    """To one who has it."""


class Prepared(msgspec.Struct, frozen=True):
    """A file of a release, ready to be asked for."""

    size: int
    representations: Mapping[Encoding, Representation]
    tagged: bool = True
    """False for a site's own page of what it has not: the same, whatever is asked of it."""

    def answer(self, asked: Mapping[bytes, bytes], *, get: bool) -> Answer:
        """The answer to a GET (or HEAD) with these headers, in the encoding that is welcome."""
        accepted = encodings(asked.get(b"accept-encoding"))
        found = next(
            self.representations[each] for each in accepted if each in self.representations
        )
        if not self.tagged:
            return found.whole
        as_it_is = self.representations["identity"]
        part = wanted(asked, as_it_is.etag, self.size) if get else None
        if part is not None:
            found = as_it_is
        if b"if-match" in asked and not names(asked[b"if-match"], found.etag, strong=True):
            return _CHANGED
        if b"if-none-match" in asked and names(asked[b"if-none-match"], found.etag):
            return found.unchanged
        return found.whole if part is None else _part(found, self.size, *part)


_CHANGED: Final = Answer(412, (NOT_KEPT, NO_SNIFFING, (b"content-length", b"0")))


def prepare(manifest: Manifest, name: str, *, indexed: bool, status: int = 200) -> Prepared:
    """The file `name` of a release; `indexed` says whether search engines may list it."""
    file = manifest.files[name]
    content = manifest.contents[file.sha256]
    common: Headers = (
        (b"content-type", file.type.encode("latin-1")),
        FOR_EVER if status == 200 and is_hashed(name) else CHECKED,
        _VARIES,
        NO_SNIFFING,
        *(() if indexed else (NOT_INDEXED,)),
    )
    return Prepared(
        size=file.size,
        representations={
            encoding: _representation(manifest, file, encoding, stored, status, common)
            for encoding in ENCODINGS
            if (stored := _stored(content, encoding)) is not None
        },
        tagged=status == 200,
    )


def _stored(content: Content, encoding: Encoding) -> Range | None:
    match encoding:
        case "zstd":
            return content.zstd
        case "gzip":
            return content.gzip
        case "identity":
            return content.identity


def _representation(
    manifest: Manifest,
    file: File,
    encoding: Encoding,
    stored: Range,
    status: int,
    common: Headers,
) -> Representation:
    place = (manifest.packs[stored.pack], stored.offset, stored.length)
    plain = encoding == "identity"
    content = identity(file.sha256, *place) if plain else encoded(*place)
    etag = f'"{file.sha256[:32]}{"" if plain else f"-{encoding}"}"'.encode()
    headers: Headers = (
        *common,
        (b"content-length", b"%d" % stored.length),
        *(() if plain else ((b"content-encoding", encoding.encode()),)),
        *((_IN_PARTS, (b"etag", etag)) if status == 200 else ()),
    )
    kept = tuple(each for each in common if each[0] in (b"cache-control", b"vary"))
    return Representation(
        etag=etag,
        whole=Answer(status, headers, content=content, stop=stored.length),
        unchanged=Answer(304, (*kept, (b"etag", etag))),
    )


def _part(found: Representation, size: int, start: int, stop: int) -> Answer:
    """206 with a part of the identity bytes, or 416 for a part that is none."""
    if start >= stop:
        where = b"bytes */%d" % size
        length = (b"content-length", b"0")
        return Answer(416, (NOT_KEPT, NO_SNIFFING, _IN_PARTS, (b"content-range", where), length))
    headers: Headers = (
        *(each for each in found.whole.headers if each[0] != b"content-length"),
        (b"content-length", b"%d" % (stop - start)),
        (b"content-range", b"bytes %d-%d/%d" % (start, stop - 1, size)),
    )
    return Answer(206, headers, content=found.whole.content, start=start, stop=stop)
