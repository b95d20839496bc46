"""Cut the operations that the stand-in offers out of GitHub's OpenAPI description.

Call it as `python -m tests.standin.extract path/to/github-openapi.json`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

TARGET = Path(__file__).parents[1] / "fixtures" / "github" / "openapi.json"

OPERATIONS: tuple[tuple[str, str], ...] = (
    ("get", "/repos/{owner}/{repo}"),
    ("get", "/repos/{owner}/{repo}/branches"),
    ("get", "/repos/{owner}/{repo}/branches/{branch}"),
    ("get", "/repos/{owner}/{repo}/commits/{ref}"),
    ("get", "/repos/{owner}/{repo}/commits/{ref}/status"),
    ("get", "/repos/{owner}/{repo}/commits/{ref}/statuses"),
    ("post", "/repos/{owner}/{repo}/statuses/{sha}"),
    ("get", "/repos/{owner}/{repo}/installation"),
    ("get", "/repos/{owner}/{repo}/hooks"),
    ("get", "/repos/{owner}/{repo}/hooks/{hook_id}/deliveries"),
    ("get", "/repos/{owner}/{repo}/hooks/{hook_id}/deliveries/{delivery_id}"),
    ("post", "/repos/{owner}/{repo}/hooks/{hook_id}/deliveries/{delivery_id}/attempts"),
    ("post", "/repos/{owner}/{repo}/hooks/{hook_id}/pings"),
    ("get", "/app"),
    ("get", "/app/installations"),
    ("post", "/app/installations/{installation_id}/access_tokens"),
    ("get", "/app/hook/deliveries"),
    ("get", "/app/hook/deliveries/{delivery_id}"),
    ("post", "/app/hook/deliveries/{delivery_id}/attempts"),
    ("get", "/rate_limit"),
)


def main(source: Path) -> None:
    """Write `TARGET` anew from the whole description at `source`; KeyError if one is missing."""
    whole = json.loads(source.read_bytes())
    paths: dict[str, dict[str, object]] = {}
    for method, path in OPERATIONS:
        paths.setdefault(path, {})[method] = whole["paths"][path][method]
    extracted = {"openapi": whole["openapi"], "source": whole["source"], "paths": paths}
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(json.dumps(extracted, separators=(",", ":")).replace('},"/', '},\n"/') + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
