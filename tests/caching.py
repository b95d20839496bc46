"""Sources whose builds leave something for later ones, and what those builds gave."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping

from bot.core import release
from bot.core.deployment import Deployment
from tests.builders import a_push
from tests.workshop import Bench

LOCK = {
    "name": "site",
    "lockfileVersion": 3,
    "packages": {
        "": {"name": "site", "dependencies": {"ms": "2.1.3"}},
        "node_modules/ms": {"version": "2.1.3"},
    },
}
LISTING = (
    "mkdir -p dist && find node_modules -name '.package-lock.json' -prune -o "
    "-printf '%p %y %m %l\\n' | sort > dist/tree.txt && "
    "cat node_modules/ms/index.js > dist/ms.js"
)
SPOIL = "echo spoilt > node_modules/ms/index.js; echo x > node_modules/x; echo x >> .git/config"


def site(build: str, *, scripts: Mapping[str, str] | None = None) -> dict[str, str | bytes]:
    package = {
        "name": "site",
        "dependencies": {"ms": "2.1.3"},
        "scripts": {"build": build, **(scripts or {})},
    }
    return {
        "package.json": json.dumps(package),
        "package-lock.json": json.dumps(LOCK),
        "index.html": "<title>Hi</title>",
        ".git/config": "[core]\n",
        "README.md": secrets.token_hex(4),
    }


async def built(
    bench: Bench, files: Mapping[str, str | bytes], *, branch: str = "main"
) -> tuple[Deployment, str]:
    """The record as it ended, and its log, after all that it leaves is kept."""
    claimed = await bench.held(files, a_push(secrets.token_hex(4), branch=branch))
    loop = bench.worker.loop()
    await loop.attend(claimed)
    return await bench.record(claimed.id), await bench.log(claimed)


async def published(bench: Bench, deployment: Deployment) -> dict[str, bytes]:
    manifest = release.decode(await bench.bucket.get(deployment.release))
    found = {}
    for path, file in manifest.files.items():
        at = manifest.contents[file.sha256].identity
        found[path] = await bench.bucket.get_range(
            manifest.packs[at.pack], offset=at.offset, length=at.length
        )
    return found
