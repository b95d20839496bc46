"""Asks other programs about themselves: the worker's sandbox, and what is installed here."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Mapping, Sequence

import msgspec

from bot.core.errors import Errored


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that the sandbox's self-test tried. One that is `advisory` refuses no start."""

    name: str
    ok: bool
    detail: str
    advisory: bool = False


class _Findings(msgspec.Struct, frozen=True):
    findings: tuple[Finding, ...]


async def sandbox_findings(
    environ: Mapping[str, str], *, seconds: float = 60.0
) -> tuple[Finding, ...]:
    """What `python -m worker --self-test` finds with the settings in `environ`.

    Raises:
        Errored: It says that no sandbox can be made here, or does not end in `seconds`.
    """
    # -P: a directory called `worker` where the user happens to be is not ours.
    argv = (sys.executable, "-P", "-m", "worker", "--self-test")
    code, said, errors = await _heard(argv, environ, seconds=seconds)
    if code == 0:
        with contextlib.suppress(msgspec.MsgspecError):
            return msgspec.json.decode(said, type=_Findings).findings
    words = errors.decode(errors="replace").strip().splitlines() or [f"exit code {code}"]
    raise Errored(words[-1], code="sandbox_self_test")


async def first_line(
    argv: Sequence[str], environ: Mapping[str, str], *, seconds: float = 5.0
) -> str:
    """The first line that a program prints; `git --version`, say.

    Raises:
        Errored: It is not there, fails, or does not end in `seconds`.
    """
    code, said, errors = await _heard(argv, environ, seconds=seconds)
    lines = (said or errors).decode(errors="replace").strip().splitlines() or [""]
    if code:
        raise Errored(f"{argv[0]} ended with {code}: {lines[0]}", code="program_failed")
    return lines[0]


async def _heard(
    argv: Sequence[str], environ: Mapping[str, str], *, seconds: float
) -> tuple[int, bytes, bytes]:
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            env=dict(environ),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise Errored(
            f"{argv[0]} cannot be started: {error.strerror}", code="program_missing"
        ) from (error)
    try:
        async with asyncio.timeout(seconds):
            said, errors = await process.communicate()
    except TimeoutError:
        raise Errored(
            f"{argv[0]} did not end within {seconds:.0f} s", code="program_silent"
        ) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, said, errors
