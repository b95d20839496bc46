"""A package.json, read with tolerance: whatever has another type than it should is not there."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from bot.core.errors import BuildFailed, short

_CALLS: Final = re.compile(
    r"(?:npm|pnpm|bun)(?:\s+-[-\w=.]+)*\s+run(?:-script)?(?:\s+-[-\w=.]+)*\s+([\w:.-]+)"
    r"|(?:yarn|pnpm)(?:\s+run)?\s+([\w:.-]+)"
    r"|(?:run-s|run-p|npm-run-all2?|wireit)((?:\s+[-\w:*.]+)+)"
)
_DEEPEST: Final = 4
_MOST: Final = 20_000


class Package(msgspec.Struct, frozen=True, rename="camel", dict=True):
    """What is read of package.json."""

    name: Any = None
    private: Any = None
    scripts: Any = None
    dependencies: Any = None
    dev_dependencies: Any = None
    optional_dependencies: Any = None
    peer_dependencies: Any = None
    workspaces: Any = None
    package_manager: Any = None
    engines: Any = None
    volta: Any = None
    files: Any = None
    module: Any = None
    exports: Any = None
    types: Any = None

    @classmethod
    def of(cls, body: bytes, path: str) -> Package:
        """Reads the bytes of one. Raises `BuildFailed`, code `package_json_invalid`."""
        try:
            return msgspec.json.decode(body.removeprefix(b"\xef\xbb\xbf"), type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise BuildFailed(
                f"{short(path, 60)} cannot be read; mend it: {error}", code="package_json_invalid"
            ) from None

    def table(self, name: str) -> dict[str, Any]:
        """A field that is an object; an empty one where it is none."""
        found = getattr(self, name)
        return found if isinstance(found, dict) else {}

    def word(self, field: str, name: str) -> str:
        """A text in a field that is an object, cut to a hundred characters."""
        found = self.table(field).get(name)
        return found.strip()[:100] if isinstance(found, str) else ""

    @property
    def asked(self) -> dict[str, str]:
        """What its own installation brings, with the ranges."""
        return {
            name: wanted
            for field in ("optional_dependencies", "dev_dependencies", "dependencies")
            for name, wanted in self.table(field).items()
            if isinstance(wanted, str)
        }

    @property
    def patterns(self) -> tuple[str, ...]:
        """The globs of its workspaces."""
        found = self.workspaces
        if isinstance(found, dict):
            found = found.get("packages")
        return tuple(each for each in found if isinstance(each, str)) if isinstance(found, list) \
            else ()  # fmt: skip

    @property
    def is_library(self) -> bool:
        """Whether others are to import it; `main` says nothing, since `npm init` writes it."""
        return not self.private and bool(self.module or self.exports or self.types or self.files)

    def script(self, name: str) -> str:
        """One script's own text; `""` where there is none."""
        found = self.table("scripts").get(name)
        return found if isinstance(found, str) else ""

    def spelled(self, name: str) -> str:
        """A script with the scripts that it calls written out."""
        return " ; ".join(self._spelled([name], set(), _DEEPEST))[:_MOST]

    def _spelled(self, names: Iterable[str], seen: set[str], deep: int) -> list[str]:
        found: list[str] = []
        for name in names:
            text = self.script(name)
            if not text or name in seen:
                continue
            seen.add(name)
            found.append(text[:_MOST])
            if deep:
                called = [word for each in _CALLS.findall(text[:_MOST])
                          for part in each for word in part.split()]  # fmt: skip
                every = self.table("scripts")
                for word in called[:50]:
                    if "*" in word:
                        begun = word.split("*")[0]
                        some = [each for each in every if each.startswith(begun)]
                        found += self._spelled(some, seen, deep - 1)
                    else:
                        found += self._spelled([word], seen, deep - 1)
        return found

    @property
    def installs(self) -> bool:
        """Whether an installation would do anything."""
        return bool(self.asked or self.table("peer_dependencies") or self.patterns) or any(
            self.script(each) for each in ("preinstall", "install", "postinstall", "prepare")
        )
