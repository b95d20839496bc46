"""What a user names on the command line: a deployment, a project, a ref."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from bot.cli.answers import Page, Projects, read
from bot.cli.failures import wrong
from bot.core.deployment import ID
from bot.core.errors import Rejected

if TYPE_CHECKING:
    from bot.cli.server import Server

_REPOSITORY: Final = r"[A-Za-z0-9][A-Za-z0-9_-]*/[A-Za-z0-9._-]+"
_SLUG: Final = r"[a-z0-9][a-z0-9-]*"
_GUID: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
# A branch's name may hold @ and /, an owner's and a repository's no @: the first @ ends them.
_TARGET: Final = re.compile(
    rf"(?:(?P<repository>{_REPOSITORY})|(?P<project>{_SLUG}))(?:@(?P<ref>.+))?"
)


def target(text: str) -> dict[str, str]:
    """What to ask the API for, out of `OWNER/NAME[@REF]` or `PROJECT[@REF]`.

    Raises `Rejected` when it is neither.
    """
    found = _TARGET.fullmatch(text)
    if not found:
        raise wrong(f"{text!r} is not understood; it takes OWNER/NAME, or OWNER/NAME@REF")
    return {name: value for name, value in found.groupdict().items() if value}


def deployment_id(text: str) -> str:
    """The text, when it is a deployment's id; else raises `Rejected`."""
    if not ID.fullmatch(text):
        raise wrong(f"{text!r} is no deployment id; `pushlane list` shows them")
    return text


def newest(server: Server, text: str) -> Any:
    """The record (as the API answers it) of a deployment: by its id, or a project's newest.

    Raises `Rejected` when there is none.
    """
    if ID.fullmatch(text):
        return server.get(deployment_path(text))
    try:
        page = read(Page, server.get("/deployments", project=project(text), limit=1))
    except Rejected as error:
        if error.code != "project_not_found" or "/" in text:
            raise
        raise wrong(f"there is no deployment or project {text!r}", code="not_found") from None
    if not page.deployments:
        raise wrong(f"{text} has no deployment yet: pushlane deploy {text}", code="not_found")
    return page.deployments[0]


def deployment_path(id_: str) -> str:
    """Where the API keeps a deployment."""
    return f"/deployments/{quote(id_, safe='')}"


def delivery_path(text: str) -> str:
    """Where the API keeps the delivery with this GUID, or whose GUID begins so.

    Raises `Rejected` when the text can be none.
    """
    if not _GUID.fullmatch(text):
        raise wrong(f"{text!r} is no GUID; `pushlane deliveries` shows them")
    return f"/deliveries/{text}"


def repository(text: str) -> str:
    """The text, when it is OWNER/NAME; else raises `Rejected`."""
    if not re.fullmatch(_REPOSITORY, text):
        raise wrong(f"{text!r} is no repository; it takes OWNER/NAME")
    return text


def project(text: str) -> str:
    """The text, when it is OWNER/NAME or a project's slug; else raises `Rejected`."""
    if not re.fullmatch(rf"{_REPOSITORY}|{_SLUG}", text):
        raise wrong(f"{text!r} is no project; it takes its slug, or OWNER/NAME")
    return text


def project_path(server: Server, text: str) -> str:
    """Where the API keeps the project that is named by its slug or by `OWNER/NAME`.

    Raises `Rejected` when a repository has none, or several.
    """
    slug = project(text)
    if "/" in slug:
        found = read(Projects, server.get("/projects", repository=slug))
        slugs = [each.slug for each in found.projects]
        if not slugs:
            raise wrong(f"{text} has no project yet: pushlane deploy {text}", code="not_found")
        if len(slugs) > 1:
            raise wrong(f"{text} has several projects; name one: {', '.join(slugs)}")
        slug = slugs[0]
    return f"/projects/{quote(slug, safe='')}"
