"""Which media type a file of a site has, by its name alone. Pure, and the same everywhere."""

from __future__ import annotations

from typing import Final

DEFAULT: Final = "application/octet-stream"
_TEXT: Final = "; charset=utf-8"

_TYPES: Final[dict[str, str]] = {
    # pages, styles, scripts
    "html": "text/html",
    "htm": "text/html",
    "xhtml": "application/xhtml+xml",
    "css": "text/css",
    "js": "text/javascript",
    "mjs": "text/javascript",
    "cjs": "text/javascript",
    "wasm": "application/wasm",
    "vtt": "text/vtt",
    "appcache": "text/cache-manifest",
    # what scripts and feeds read
    "json": "application/json",
    "map": "application/json",
    "jsonld": "application/ld+json",
    "geojson": "application/geo+json",
    "topojson": "application/json",
    "webmanifest": "application/manifest+json",
    "xml": "application/xml",
    "xsl": "application/xml",
    "xslt": "application/xml",
    "rss": "application/rss+xml",
    "atom": "application/atom+xml",
    "yaml": "application/yaml",
    "yml": "application/yaml",
    "toml": "application/toml",
    "csv": "text/csv",
    "tsv": "text/tab-separated-values",
    "ics": "text/calendar",
    "vcf": "text/vcard",
    "rtf": "application/rtf",
    "tex": "application/x-tex",
    "sh": "application/x-sh",
    # plain text; source code is shown, not offered as a download
    "txt": "text/plain",
    "text": "text/plain",
    "log": "text/plain",
    "md": "text/markdown",
    "markdown": "text/markdown",
    "ts": "text/plain",
    "tsx": "text/plain",
    "jsx": "text/plain",
    "py": "text/plain",
    "c": "text/plain",
    "h": "text/plain",
    "rs": "text/plain",
    "go": "text/plain",
    "java": "text/plain",
    "ini": "text/plain",
    # pictures
    "svg": "image/svg+xml",
    "png": "image/png",
    "apng": "image/apng",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "jfif": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "avif": "image/avif",
    "heic": "image/heic",
    "jxl": "image/jxl",
    "bmp": "image/bmp",
    "ico": "image/x-icon",
    "cur": "image/x-icon",
    "tif": "image/tiff",
    "tiff": "image/tiff",
    # fonts
    "woff": "font/woff",
    "woff2": "font/woff2",
    "ttf": "font/ttf",
    "otf": "font/otf",
    "ttc": "font/collection",
    "eot": "application/vnd.ms-fontobject",
    # sound and film
    "mp3": "audio/mpeg",
    "m4a": "audio/mp4",
    "aac": "audio/aac",
    "oga": "audio/ogg",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
    "wav": "audio/wav",
    "flac": "audio/flac",
    "weba": "audio/webm",
    "mid": "audio/midi",
    "mp4": "video/mp4",
    "m4v": "video/mp4",
    "webm": "video/webm",
    "ogv": "video/ogg",
    "mov": "video/quicktime",
    "m3u8": "application/vnd.apple.mpegurl",
    "mpd": "application/dash+xml",
    # documents and archives
    "pdf": "application/pdf",
    "epub": "application/epub+zip",
    "doc": "application/msword",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xls": "application/vnd.ms-excel",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "ppt": "application/vnd.ms-powerpoint",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "zip": "application/zip",
    "gz": "application/gzip",
    "tgz": "application/gzip",
    "bz2": "application/x-bzip2",
    "xz": "application/x-xz",
    "zst": "application/zstd",
    "br": "application/octet-stream",
    "7z": "application/x-7z-compressed",
    "tar": "application/x-tar",
    "jar": "application/java-archive",
    # three dimensions
    "glb": "model/gltf-binary",
    "gltf": "model/gltf+json",
    "obj": "model/obj",
    "stl": "model/stl",
    # keys and signatures
    "pem": "application/x-pem-file",
    "asc": "application/pgp-signature",
    "sig": "application/pgp-signature",
}
_NAMES: Final = {
    "apple-app-site-association": "application/json",
    "cname": "text/plain",
    "license": "text/plain",
    "readme": "text/plain",
    "robots.txt": "text/plain",
    "security.txt": "text/plain",
}
_WITH_CHARSET: Final = frozenset(
    {
        "application/json",
        "application/ld+json",
        "application/geo+json",
        "application/manifest+json",
        "application/xml",
        "application/xhtml+xml",
        "application/rss+xml",
        "application/atom+xml",
        "application/yaml",
        "application/toml",
        "image/svg+xml",
    }
)
_COMPRESSIBLE: Final = frozenset(
    {
        "application/wasm",
        "application/rtf",
        "application/x-tex",
        "application/x-sh",
        "application/x-tar",
        "application/x-pem-file",
        "application/vnd.apple.mpegurl",
        "application/vnd.ms-fontobject",
        "application/dash+xml",
        "application/octet-stream",
        "font/ttf",
        "font/otf",
        "font/collection",
        "image/bmp",
        "image/x-icon",
        "image/tiff",
        "audio/wav",
        "audio/midi",
        "model/gltf-binary",
        "model/gltf+json",
        "model/obj",
        "model/stl",
    }
)


def media_type(path: str) -> str:
    """The media type of a path, with `charset=utf-8` for text; `DEFAULT` where nobody knows."""
    name = path.rpartition("/")[2].lower()
    stem, dot, extension = name.rpartition(".")
    found = _NAMES.get(name) or (_TYPES.get(extension, DEFAULT) if dot and stem else DEFAULT)
    return found + _TEXT if found.startswith("text/") or found in _WITH_CHARSET else found


def compresses(type_: str) -> bool:
    """Whether contents of this type are worth the try: text and what is stored uncompressed."""
    plain = type_.partition(";")[0]
    return plain.startswith("text/") or plain in _WITH_CHARSET or plain in _COMPRESSIBLE
