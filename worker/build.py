"""Source → output directory: unpack, find out how to build, install, execute, find the output."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bot.core import monorepo, sitefile
from bot.core.bucket import Bucket
from bot.core.deployment import Deployment, branch_label, deployment_label
from bot.core.errors import BuildFailed, Errored, short
from bot.core.lease import Lease
from bot.core.monorepo import Part
from bot.core.project import ProjectSettings
from bot.core.settings import Settings
from bot.core.sitefile import Sitefile
from worker import detect, made, toolchain, tree
from worker.buildlog import BuildLog
from worker.caches import Caches, Store
from worker.detect import Plan
from worker.lessons import lesson
from worker.output import Output
from worker.sandbox import Limits, Mount, Outcome, Sandbox, Workspace
from worker.unpack import SOURCE, unpack

_UNPACK_SECONDS: Final = 300.0
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_QUIET: Final = {
    # Nobody is there to answer, to be told of updates, or to be counted.
    "COREPACK_ENABLE_DOWNLOAD_PROMPT": "0",
    "NO_UPDATE_NOTIFIER": "1",
    "npm_config_audit": "false",
    "npm_config_fund": "false",
    "npm_config_progress": "false",
    "YARN_ENABLE_TELEMETRY": "0",
    "NEXT_TELEMETRY_DISABLED": "1",
    "ASTRO_TELEMETRY_DISABLED": "1",
    "GATSBY_TELEMETRY_DISABLED": "1",
    "NUXT_TELEMETRY_DISABLED": "1",
    "STORYBOOK_DISABLE_TELEMETRY": "1",
    "NG_CLI_ANALYTICS": "false",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """What every build of this worker uses."""

    settings: Settings
    sandbox: Sandbox
    bucket: Bucket
    environment: Mapping[str, str]
    """The worker's own, from which toolchains are fetched."""
    store: Store | None = None
    """What is kept for later builds; None: nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a person has told of the project, besides the repository's own file."""

    settings: ProjectSettings = field(default_factory=ProjectSettings)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Names and values, for this deployment's build."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What a build made."""

    output: Output
    framework: str
    sitefile: Sitefile


_NOTHING_TOLD: Final = Told()


@dataclass(slots=True)
class _Build:
    """One build under way."""

    shop: Workshop
    deployment: Deployment
    workspace: Workspace
    lease: Lease
    log: BuildLog
    caches: Caches
    told: Told
    ends: float
    """Monotonic seconds at which its time is over."""

    @property
    def source(self) -> Path:
        return self.workspace.path / SOURCE


async def build(
    shop: Workshop,
    deployment: Deployment,
    workspace: Workspace,
    *,
    lease: Lease,
    log: BuildLog,
    caches: Caches,
    told: Told = _NOTHING_TOLD,
) -> Built:
    """Builds the deployment's source in `workspace`. `log` hides the secrets already.

    Raises `BuildFailed` for what is the repository's fault (its codes are said below), `Errored`
    for ours, `Stopped` when the lease ends.
    """
    ends = time.monotonic() + shop.settings.build_timeout_seconds
    under_way = _Build(shop, deployment, workspace, lease, log, caches, told, ends)
    if shop.settings.sandbox == "none":
        await log.say("PUSHLANE_SANDBOX=none: this build is not kept from anything on the machine")
    await unpack(
        deployment.source,
        bucket=shop.bucket,
        sandbox=shop.sandbox,
        workspace=workspace,
        limits=_limits(under_way, seconds=_UNPACK_SECONDS),
        lease=lease,
    )
    whole = await asyncio.to_thread(_asked, under_way.source, deployment)
    part = Part(project=deployment.project, entry=deployment.entry)
    asked = monorepo.asked_of(whole, part, told.settings)
    if asked is None:
        raise BuildFailed(monorepo.not_named(whole, part), code="project_not_named")
    looked = await asyncio.to_thread(
        detect.look, under_way.source, asked.build.root, by=asked.file_of("root")
    )
    plan = await asyncio.to_thread(detect.detect, looked, asked)
    for line in (plan.reason, *plan.notes, *asked.notes, *asked.warnings):
        await log.say(line)
    base = (SOURCE, *tree.parts_of(plan.root))
    since = made.now(workspace.path)
    if plan.builds:
        await _execute(under_way, plan, asked)
    parts = await asyncio.to_thread(made.find, workspace.path, base, plan, since=since)
    owner = workspace.owner
    return Built(
        output=Output(
            root=workspace.path,
            parts=parts,
            source_itself=parts == base,
            owner=owner.uid if owner else None,
        ),
        framework=plan.framework,
        sitefile=asked,
    )


def _asked(source: Path, deployment: Deployment) -> Sitefile:
    """What the repository's own files ask for. Blocking."""
    found = ((name, tree.read(source, name, most=sitefile.LIMIT + 1)) for name in sitefile.FILES)
    return sitefile.read(
        {name: body for name, body in found if body is not None},
        context=sitefile.netlify_context(production=deployment.production),
        branch=deployment.branch,
    )


async def _execute(build: _Build, plan: Plan, asked: Sitefile) -> None:
    tools = await _tools(build, plan)
    root = "/".join(("/work", SOURCE, *tree.parts_of(plan.root)))
    home = "/".join(("/work", SOURCE, *tree.parts_of(plan.install_at)))
    environment = _environment(build, asked, plan, (root, home), tools)
    if tools:
        told = ", ".join(f"{name} {version}" for name, version in tools.versions.items())
        await build.log.say(told)
    if plan.install:
        await _install(build, plan, environment, tools)
    if plan.command:
        below = "/".join((SOURCE, *tree.parts_of(plan.root)))
        found = await build.caches.restore([f"{below}/{folder}" for folder in plan.caches])
        if found:
            names = ", ".join(folder.removeprefix(f"{below}/") for folder in found)
            await build.log.say(f"Kept from the last build: {names}")
        await build.log.say(f"$ {plan.command}")
        await _command(build, plan.command, "build_failed", root, environment, tools)


async def _install(
    build: _Build,
    plan: Plan,
    environment: Mapping[str, str],
    tools: toolchain.Toolchain | None,
) -> None:
    """Installs the packages, or takes those that were kept."""
    kept = await build.caches.packages(
        build.source,
        install=plan.install,
        install_at=plan.install_at,
        locks=plan.locks,
        environment=environment,
        versions=tools.versions if tools else {},
        say=build.log.say,
    )
    command, place = plan.install, plan.install_at
    if kept is not None:
        program = plan.install.split()[0]
        command, place = (
            " && ".join(
                f"(cd {shlex.quote(folder or '.')} && {program} run {name})"
                for folder, name in kept.repeated
            ),
            "",
        )
    if command:
        await build.log.say(f"$ {command}")
        cwd = "/".join(("/work", SOURCE, *tree.parts_of(place)))
        await _command(build, command, "install_failed", cwd, environment, tools)
    if kept is None:
        await build.caches.installed()


async def _command(
    build: _Build,
    command: str,
    code: str,
    cwd: str,
    environment: Mapping[str, str],
    tools: toolchain.Toolchain | None,
) -> None:
    outcome = await build.shop.sandbox.execute(
        command,
        workspace=build.workspace,
        cwd=cwd,
        environment=environment,
        limits=_limits(build, seconds=max(build.ends - time.monotonic(), 0.1)),
        mounts=_mounts(tools),
        network=True,
        on_output=build.log.write,
        stop=build.lease.stop,
    )
    build.lease.check()
    for host in outcome.refused_hosts:
        await build.log.say(f"refused: {host}, by PUSHLANE_EGRESS={build.shop.settings.egress}")
    await asyncio.to_thread(_judge, build, command, code, outcome)


def _judge(build: _Build, command: str, code: str, outcome: Outcome) -> None:
    """Raises what an outcome means, unless it is a success."""
    settings = build.shop.settings
    match outcome.killed:
        case "timeout":
            raise BuildFailed(
                f"the build took longer than {settings.build_timeout_seconds} s: make it faster, "
                "or raise PUSHLANE_BUILD_TIMEOUT_SECONDS",
                code="build_timeout",
            )
        case "memory":
            raise BuildFailed(
                f"`{short(command, 40)}` needed more than {settings.build_memory_mb} MB of memory: "
                "make it need less, or raise PUSHLANE_BUILD_MEMORY_MB",
                code="build_out_of_memory",
            )
        case "processes":
            raise BuildFailed(
                f"`{short(command, 40)}` started too many processes: make it start fewer at a time",
                code="build_too_many_processes",
            )
        case "disk":
            raise _disk_full(build)
        case "log":
            raise BuildFailed(
                f"the build printed more than {settings.build_log_mb} MB: print less, or raise "
                "PUSHLANE_BUILD_LOG_MB",
                code="build_log_too_large",
            )
        case "stopped":
            raise Errored("the build was stopped", code="build_stopped")
    if outcome.exit_code == 0:
        return
    if code == "install_failed" and outcome.away_registries:
        # The proxy has seen it: what a build prints decides nothing.
        away = ", ".join(outcome.away_registries)
        raise Errored(f"the registry cannot be reached: {away}", code="registry_unreachable")
    known = lesson(
        exit_code=outcome.exit_code,
        lines=tuple(build.log.recent),
        refused_hosts=outcome.refused_hosts,
        files=lambda: tree.files(build.source),
    )
    if known:
        raise BuildFailed(known.message, code=known.code)
    words = build.log.last_words
    hint = f": {words[:200]}" if words else ""
    raise BuildFailed(
        f"`{short(command, 40)}` ended with exit code {outcome.exit_code}{hint}", code=code
    )


async def _tools(build: _Build, plan: Plan) -> toolchain.Toolchain | None:
    if not plan.tools:
        return None
    provided = toolchain.provide(
        build.shop.settings.data_dir / "toolchains",
        plan.tools,
        environment=build.shop.environment,
        log=build.log.say,
    )
    return await build.lease.bound(provided)


def _mounts(tools: toolchain.Toolchain | None) -> Sequence[Mount]:
    return tools.mounts if tools else ()


def _environment(
    build: _Build,
    asked: Sitefile,
    plan: Plan,
    places: tuple[str, str],
    tools: toolchain.Toolchain | None,
) -> dict[str, str]:
    """What a build sees besides what the sandbox gives: the names are Netlify's own."""
    settings, deployment = build.shop.settings, build.deployment
    production = settings.site_url(deployment.project)
    branch = production
    if not deployment.production and deployment.ref.startswith("refs/heads/"):
        branch = settings.site_url(branch_label(deployment.branch, deployment.project))
    bins = dict.fromkeys(f"{each}/node_modules/.bin" for each in (*places, f"/work/{SOURCE}"))
    paths = [*(str(path) for path in (tools.paths if tools else ())), *bins, _PATH]
    return {
        **_QUIET,
        **(tools.variables if tools else {}),
        "PATH": ":".join(paths),
        "CI": "1",
        "PUSHLANE": "1",
        "COMMIT_REF": deployment.commit,
        "BRANCH": deployment.branch,
        "HEAD": deployment.branch,
        "CONTEXT": sitefile.netlify_context(production=deployment.production),
        "URL": production,
        "DEPLOY_URL": settings.site_url(deployment_label(deployment.id, deployment.project)),
        "DEPLOY_PRIME_URL": branch,
        "DEPLOY_ID": deployment.id,
        "REPOSITORY_URL": f"{settings.github_url}/{deployment.repository}",
        **plan.environment,
        **asked.build.environment,
        # What the file says under a secret's name is for whoever has none.
        **build.told.secrets,
    }


def _limits(build: _Build, *, seconds: float) -> Limits:
    settings = build.shop.settings
    return Limits(
        timeout_seconds=seconds,
        memory_mb=settings.build_memory_mb,
        work_mb=max(4096, 3072 + settings.build_output_mb),
        work_files=max(500_000, 400_000 + 2 * settings.build_output_files),
    )


def _disk_full(build: _Build) -> BuildFailed:
    limits = _limits(build, seconds=0)
    return BuildFailed(
        f"the source, its packages and its output need more than {limits.work_mb} MB or "
        f"{limits.work_files:,} files: make them smaller",
        code="build_disk_full",
    )
