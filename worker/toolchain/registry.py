"""What npm and pip answer. They are asked since they know their registries; nothing is executed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from bot.core.errors import BuildFailed, Errored, short
from worker.sandbox.passing import told

_INSTALL_SECONDS = 600.0


async def npm_view(
    cache: Path, spec: str, field: str, paths: Sequence[Path], environment: Mapping[str, str]
) -> list[str]:
    """The values of a package's field, of one version or of each that `spec` means.

    None where there is no such package. `paths` hold npm. Raises Errored where npm could not ask.
    """
    argv = ["npm", "view", spec, field, "--json", "--loglevel=error"]
    code, said = await call(argv, _environment(cache, paths, environment), seconds=120)
    if code != 0:
        if "E404" in said or "ETARGET" in said or "No match" in said:
            return []
        raise Errored(f"npm could not tell about {spec}: {_tail(said)}", code="registry_failed")
    # Behind whatever npm has to say besides.
    begin = re.search(r'(?m)^["\[]', said)
    if begin is None:
        return []
    with contextlib.suppress(msgspec.DecodeError):
        found = msgspec.json.decode(said[begin.start() :], type=str | list[str])
        return [found] if isinstance(found, str) else found
    return []


async def npm_install(
    cache: Path,
    prefix: Path,
    specs: list[str],
    paths: Sequence[Path],
    environment: Mapping[str, str],
) -> None:
    """Installs packages below `prefix` as npm does globally, without their scripts.

    Raises BuildFailed where there is no such version, Errored where npm failed otherwise.
    """
    await asyncio.to_thread(prefix.mkdir, parents=True, exist_ok=True)
    argv = ["npm", "install", "--global", "--prefix", str(prefix), "--ignore-scripts"]
    argv += ["--no-audit", "--no-fund", "--omit=dev", *specs]
    # What is unpacked is not wanted a second time, so the archives go.
    downloads = prefix / ".downloads"
    told_npm = {**_environment(cache, paths, environment), "npm_config_cache": str(downloads)}
    code, said = await call(argv, told_npm, seconds=_INSTALL_SECONDS)
    await asyncio.to_thread(shutil.rmtree, downloads, ignore_errors=True)
    if code == 0:
        return
    if "ETARGET" in said or "E404" in said:
        raise BuildFailed(
            f"the registry has no {short(' '.join(specs), 60)}; correct the version in the "
            "repository",
            code="version_unknown",
        )
    raise Errored(f"npm could not install {' '.join(specs)}: {_tail(said)}", code="registry_failed")


def _environment(
    cache: Path, paths: Sequence[Path], environment: Mapping[str, str]
) -> dict[str, str]:
    path = [*(str(each) for each in paths), environment.get("PATH", os.defpath)]
    kept = told(environment)
    kept["PATH"] = ":".join(path)
    kept.setdefault("HOME", str(cache))
    kept["npm_config_cache"] = str(cache / "downloads")
    kept["npm_config_update_notifier"] = "false"
    return kept


async def call(
    argv: list[str], environment: Mapping[str, str], *, seconds: float
) -> tuple[int, str]:
    """Exit code and all output of a program that we trust, though not with our secrets."""
    program = shutil.which(argv[0], path=environment.get("PATH", os.defpath))
    if program is None:
        return 127, f"{argv[0]} is not on the PATH"
    process = await asyncio.create_subprocess_exec(
        program,
        *argv[1:],
        env=told(environment),
        cwd="/",
        umask=0o022,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(seconds):
            out, _ = await process.communicate()
    except TimeoutError:
        return 124, f"{argv[0]} gave no answer in {seconds:.0f} s"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, out.decode(errors="replace")


async def wheel_versions(
    package: str, environment: Mapping[str, str], *, python: Path | None = None
) -> list[str]:
    """The versions of a package of which pip has a wheel for this Python, or for another one.

    Empty where it has none, or does not answer: pip tells these two apart by no code.
    """
    # `pip index versions` lists those without a wheel too; what pip could have taken it says when
    # it is asked for what cannot be.
    argv = [*_pip(python), "download", "--no-deps", "--only-binary=:all:", "--dest", "/nonexistent"]
    _, said = await call([*argv, f"{package}==0+nothing"], environment, seconds=60)
    found = re.search(r"\(from versions: ([^)]*)\)", said)
    offered = [each.strip() for each in found[1].split(",")] if found else []
    return [] if offered == ["none"] else offered[::-1]


async def unpacked_wheel(
    package: str, version: str, directory: Path, environment: Mapping[str, str]
) -> None:
    """The contents of a package's wheel in `directory`; pip compares its hash with the index's.

    Raises Errored where pip could not have it.
    """
    argv = [*_pip(), "download", "--no-deps", "--only-binary=:all:", "--dest", str(directory)]
    spec = f"{package}=={version}"
    code, _ = await call([*argv, spec], environment, seconds=_INSTALL_SECONDS)
    if code != 0:
        raise Errored(
            f"pip could not fetch {package} {version}; see that it reaches its index",
            code="toolchain_unavailable",
        )

    def unpack() -> None:
        for wheel in directory.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(directory)

    await asyncio.to_thread(unpack)


async def pip_install(python: Path, *specs: str, environment: Mapping[str, str]) -> None:
    """Installs packages and what they need beside `python`: wheels only, so nothing is executed.

    Raises Errored where pip failed.
    """
    argv = [*_pip(python), "install", "--quiet", "--only-binary=:all:", *specs]
    code, said = await call(argv, environment, seconds=_INSTALL_SECONDS)
    if code != 0:
        raise Errored(f"pip could not install {specs[0]}: {_tail(said)}", code="registry_failed")


def _pip(python: Path | None = None) -> list[str]:
    found = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    return [*found, "--python", str(python)] if python else found


def _tail(said: str) -> str:
    return " ".join(said.split())[-300:]
