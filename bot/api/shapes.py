"""What the API answers: records as JSON, with times in ISO 8601 (UTC) and durations in seconds."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from bot.core.deployment import Deployment, Status, branch_label, deployment_label, timings
from bot.core.project import ProjectSettings
from bot.core.settings import Settings


class StageShape(msgspec.Struct, frozen=True, kw_only=True):
    """One stage that a deployment went through, in its last attempt."""

    name: str
    started_at: str
    seconds: float | None
    """None while it lasts."""


class Attempts(msgspec.Struct, frozen=True, kw_only=True):
    """How often each stage was begun."""

    fetch: int
    build: int


class Urls(msgspec.Struct, frozen=True, kw_only=True):
    """Where a deployment is seen."""

    page: str
    deployment: str
    branch: str | None
    production: str | None
    """None unless it was pushed to the production branch, or production shows it."""


class ErrorShape(msgspec.Struct, frozen=True, kw_only=True):
    """Why it failed: a stable code, and what to do."""

    code: str
    message: str


class DeploymentShape(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment's record."""

    id: str
    project: str
    repository: str
    ref: str
    branch: str
    commit: str
    status: Status
    trigger: str
    production: bool
    live: bool
    """Whether production shows it now."""
    message: str
    author: str
    attempts: Attempts
    received_at: str | None
    fetching_at: str | None
    queued_at: str | None
    building_at: str | None
    publishing_at: str | None
    ended_at: str | None
    stages: list[StageShape]
    seconds: float | None
    """From received to ended."""
    urls: Urls
    url: str
    """Its own host while its release is kept, else its page."""
    condemned_at: str | None
    """Since then its release is no longer kept."""
    error: ErrorShape | None
    reason: str
    stop: str
    delivery: str
    redeploy_of: str
    beside: tuple[str, ...]
    """The deployments of the repository's further projects that this one led to."""
    framework: str
    files: int
    bytes: int


class ProjectShape(msgspec.Struct, frozen=True, kw_only=True):
    """A project."""

    slug: str
    repository: str
    repository_id: int
    private: bool
    main: str | None
    """The repository's main project, where this is a further one."""
    entry: str | None
    """What the repository's file calls a further one."""
    default_branch: str
    production_branch: str
    created_at: str | None
    url: str
    live: str | None
    """The deployment that production shows."""
    pinned: bool
    settings: ProjectSettings
    """What a person has set; the repository's own file wins over it."""


def iso(milliseconds: int) -> str | None:
    """A moment as ISO 8601 in UTC with milliseconds; None for 0, not yet."""
    if not milliseconds:
        return None
    at = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def shape_of(deployment: Deployment, settings: Settings, *, live: bool) -> DeploymentShape:
    """A deployment's record for the outside."""
    own = settings.site_url(deployment_label(deployment.id, deployment.project))
    page = settings.page_url(deployment.id)
    branch = None
    if deployment.ref.startswith("refs/heads/"):
        branch = settings.site_url(branch_label(deployment.branch, deployment.project))
    ended = deployment.ended_at
    error = None
    if deployment.error_code:
        error = ErrorShape(code=deployment.error_code, message=deployment.error_message)
    return DeploymentShape(
        id=deployment.id,
        project=deployment.project,
        repository=deployment.repository,
        ref=deployment.ref,
        branch=deployment.branch,
        commit=deployment.commit,
        status=deployment.status,
        trigger=deployment.trigger.value,
        production=deployment.production,
        live=live,
        message=deployment.message,
        author=deployment.author,
        attempts=Attempts(fetch=deployment.fetch_attempts, build=deployment.build_attempts),
        received_at=iso(deployment.received_at),
        fetching_at=iso(deployment.fetching_at),
        queued_at=iso(deployment.queued_at),
        building_at=iso(deployment.building_at),
        publishing_at=iso(deployment.publishing_at),
        ended_at=iso(ended),
        stages=[
            StageShape(
                name=stage.status.value,
                started_at=iso(stage.began_at) or "",
                seconds=(stage.ended_at - stage.began_at) / 1000 if stage.ended_at else None,
            )
            for stage in timings(deployment)
        ],
        seconds=(ended - deployment.received_at) / 1000 if ended else None,
        urls=Urls(
            page=page,
            deployment=own,
            branch=branch,
            production=settings.site_url(deployment.project)
            if deployment.production or live
            else None,
        ),
        url=own if deployment.status is Status.READY and not deployment.condemned_at else page,
        condemned_at=iso(deployment.condemned_at),
        error=error,
        reason=deployment.reason,
        stop=deployment.stop,
        delivery=deployment.delivery,
        redeploy_of=deployment.redeploy_of,
        beside=deployment.beside,
        framework=deployment.framework,
        files=deployment.files,
        bytes=deployment.bytes,
    )
