"""Decides how a source is built: what to install, what to execute, what to publish, and why. Pure.

The repository's own file wins, then the table of facts, then plain HTML. `look` reads, `detect`
decides on what was read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from bot.core.errors import BuildFailed
from bot.core.sitefile import Sitefile
from worker.detect import node, others, python, readthedocs
from worker.detect.facts import COMMAND, PLAIN, SCRIPT, Fact
from worker.detect.marks import Mark, Sure
from worker.detect.plan import Plan
from worker.detect.reading import look
from worker.detect.roots import Choice, choose, pages_of
from worker.detect.serving import serves
from worker.detect.source import Place, Source
from worker.tool import Tool

__all__ = ["Place", "Plan", "Source", "detect", "look"]

_NODE: Final = re.compile(r"\b(node|npm|npx|pnpm|yarn|bun|bunx|corepack)\b")

_CACHE: Final = "node_modules/.cache"
"""Where a tool of Node's keeps what it may need again, whatever framework it serves."""


def detect(source: Source, sitefile: Sitefile) -> Plan:
    """The plan for a source.

    Raises `BuildFailed`: `package_json_invalid`, `server_framework` for what makes a server and no
    pages.
    """
    asked = sitefile.build
    said = asked.root or asked.command is not None or asked.output
    choice = choose(source, asked.root if said else None)
    found = choice.mark
    if asked.command is not None:
        found = _by_command(found, sitefile)
        if not asked.command:
            return _plain(source, found, sitefile, choice)
    if found.fact is PLAIN or found.sure == Sure.NOTHING:
        return _plain(source, found, sitefile, choice)
    if asked.command is None and (cure := serves(found)):
        raise BuildFailed(cure, code="server_framework")
    plan = _plan(source, found, sitefile)
    by = sitefile.file_of("command") if asked.command is not None else found.why
    steps = ", then ".join(filter(None, (plan.install, plan.command)))
    where = f" in {plan.root}, since the top has no site" if choice.found_below else ""
    return replace(
        plan,
        reason=f"{plan.framework}{where}, by {by}: {steps}; publishes {plan.outputs[0] or '.'}",
    )


def _by_command(found: Mark, sitefile: Sitefile) -> Mark:
    """The mark where the repository's file says the command: its outputs are likely still."""
    if found.fact is not PLAIN and found.sure > Sure.PERHAPS:
        return replace(found, script="")
    place = found.place
    return Mark(fact=SCRIPT if place.package else COMMAND, place=place, sure=Sure.SITE,
                why=sitefile.file_of("command") if sitefile.build.command else "")  # fmt: skip


def _plain(source: Source, found: Mark, sitefile: Sitefile, choice: Choice) -> Plan:
    asked = sitefile.build
    if asked.output:
        return Plan(
            framework=PLAIN.name,
            reason=f"{PLAIN.name}, no build: publishes {asked.output}, "
            f"by {sitefile.file_of('output')}",
            root=found.place.path,
            outputs=(asked.output,),
            declared=True,
        )
    why = found.why if found.fact is PLAIN else f"{sitefile.file_of('command')} has no command"
    pages = pages_of(source, found.place)
    at = found.at if found.fact is PLAIN else pages or ""
    where = f"{at or found.place.path or 'the repository'}, which has index.html"
    if pages is None:
        where = "the repository as it is; it has no index.html, so its front page will be a 404"
    below = f" in {found.place.path}, since the top has no site" if choice.found_below else ""
    return Plan(
        framework=PLAIN.name,
        reason=f"{PLAIN.name}{below}, {why}: publishes {where}",
        root=found.place.path,
        outputs=(at,),
    )


def _plan(source: Source, found: Mark, sitefile: Sitefile) -> Plan:
    fact, place = found.fact, found.place
    environment = sitefile.build.environment
    plan = Plan(
        framework=fact.name,
        reason="",
        root=place.path,
        outputs=(sitefile.build.output,) if sitefile.build.output else _outputs(found),
        declared=bool(sitefile.build.output),
        caches=fact.caches,
        hint=fact.hint,
    )
    command = sitefile.build.command
    match fact.language:
        case "python":
            made = python.prepare(source, found, environment)
            plan = replace(plan, install=made.install, install_at=made.at, tools=made.tools,
                           notes=made.notes, locks=made.locks,
                           command=python.command(found, made))  # fmt: skip
            if made.command and command is None:
                at = (readthedocs.OUTPUT,)
                plan = replace(plan, root=made.at, command=made.command,
                               outputs=plan.outputs if plan.declared else at)  # fmt: skip
        case "ruby" if not found.script:
            install, notes = others.gems(place)
            plan = replace(plan, install=install, install_at=place.path, notes=tuple(notes),
                           command=others.jekyll(install),
                           tools=_tools(fact))  # fmt: skip
        case "machine":
            plan = replace(plan, command=fact.command, tools=_tools(fact))
        case _:
            plan = _with_node(source, found, sitefile, plan)
    if fact.language == "hugo" or "hugo" in (command or ""):
        tool, more = others.hugo(source, place, environment)
        plan = replace(plan, tools=(*plan.tools, tool), notes=(*plan.notes, *more))
    if command is not None:
        plan = replace(plan, command=command)
    if sitefile.build.install is not None:
        plan = replace(plan, install=sitefile.build.install)
    return plan


def _tools(fact: Fact) -> tuple[Tool, ...]:
    return tuple(Tool(name=name) for name in fact.tools)


def _with_node(source: Source, found: Mark, sitefile: Sitefile, plan: Plan) -> Plan:
    fact, place, asked = found.fact, found.place, sitefile.build
    package = place.package
    command = asked.command if asked.command is not None else ""
    if package is None and not _NODE.search(f"{asked.install or ''} {command}"):
        return replace(plan, command=command or fact.command)
    packages = node.packages(source, place, asked.environment)
    installs = package is not None and (package.installs or packages.at != place.path)
    if not command:
        run = f"{packages.name} run {found.script}" if found.script else ""
        own = f"{node.EXECUTE[packages.name]} {_argued(source, found)}" if fact.command else ""
        command = run or (fact.command if fact.language == "hugo" else own)
    tool, notes, variables = node.version(source, place, sitefile, old=fact.old)
    extra = _tools(fact) if "bun" in fact.tools and packages.name != "bun" else ()
    if fact.language == "ruby":
        extra = _tools(fact)
    return replace(
        plan,
        install=packages.install if installs else "",
        install_at=packages.at,
        command=command,
        tools=(tool, *packages.tools, *extra),
        notes=(*plan.notes, *packages.notes, *notes, *_told(tool)),
        caches=tuple(dict.fromkeys((*plan.caches, _CACHE))),
        environment={**dict(packages.environment), **variables},
        locks=packages.locks,
    )


def _told(tool: Tool) -> tuple[str, ...]:
    return (f"Node.js {tool.version}, by {tool.why}",) if tool.version and tool.why else ()


def _argued(source: Source, found: Mark) -> str:
    """The framework's own command, with the directory that holds its configuration."""
    fact = found.fact
    if not fact.places or found.place.holds(fact.holds):
        return fact.command
    at = next((each for each in fact.places
               if source.below(found.place, each).holds(fact.holds)), "")  # fmt: skip
    return f"{fact.command} {at}".strip()


def _outputs(found: Mark) -> tuple[str, ...]:
    """The framework's directories, what the configuration names before them."""
    return tuple(dict.fromkeys((*_configured(found), *found.fact.outputs)))


_SAID: Final[Mapping[str, tuple[str, str]]] = {
    "Vite": ("vite.config.", r"\boutDir\s*:\s*['\"`]([^'\"`]+)"),
    "Astro": ("astro.config.", r"\boutDir\s*:\s*['\"`]([^'\"`]+)"),
    "Starlight": ("astro.config.", r"\boutDir\s*:\s*['\"`]([^'\"`]+)"),
    "Next.js": ("next.config.", r"\bdistDir\s*:\s*['\"`]([^'\"`]+)"),
    "Angular": ("angular.json", r'"outputPath"\s*:\s*(?:\{\s*"base"\s*:\s*)?"([^"]+)'),
    "Hugo": ("hugo.", r"(?im)^\s*publishDir\s*[=:]\s*['\"]?([\w./-]+)"),
    "Jekyll": ("_config.y", r"(?m)^destination:\s*['\"]?([\w./-]+)"),
}


def _configured(found: Mark) -> list[str]:
    file, pattern = _SAID.get(found.fact.name, ("", ""))
    text = "\n".join(body for _, body in found.place.texts(file)) if file else ""
    outputs = re.findall(pattern, text) if pattern else []
    said = [each.removeprefix("./").strip("/") for each in outputs]
    said = [each for each in said if each and ".." not in each.split("/") and "$" not in each]
    if found.fact.name == "Angular":
        said = [path for each in said for path in (f"{each}/browser", each)]
    return said[:4]
