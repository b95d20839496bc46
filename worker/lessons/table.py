"""The signs of common failures, and what to do about each: facts, and no code.

Each pattern is looked for in the last lines of a build's output; what it captures first stands for
`{0}` in the words. No pattern has a repetition inside a repetition, so none can be made slow.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Sign:
    """How one failure is known, and the line about it."""

    code: str
    """Stable, for programs and for docs/failures.md."""
    pattern: re.Pattern[str]
    words: str
    """What is wrong and what to do, at most 132 characters with a name of 30."""


def _sign(code: str, words: str, *patterns: str) -> Sign:
    return Sign(code, re.compile("|".join(patterns), re.MULTILINE), words)


_NAME: Final = r"([@\w][\w@./-]{0,99})"

RELATIVE: Final = re.compile(
    r"(?:Could not resolve|Failed to resolve import|[Cc]annot find module|Can't resolve"
    r"|failed to resolve import) [\"']((?:\.{1,2}|@|~)/[^\"'\n]{1,200})[\"']"
)
"""An import of a file of the repository's own."""

SIGNS: Final = (
    _sign(
        "lock_missing",
        "a frozen installation needs a lock file: commit the one that your package manager writes",
        r"can only install with an existing package-lock\.json",
        r"ERR_PNPM_NO_LOCKFILE",
    ),
    _sign(
        "lock_outdated",
        "the lock file is out of date: install on your machine once more, and commit "
        "what that changes",
        r"can only install packages when your package\.json and",
        r"ERR_PNPM_(?:OUTDATED_LOCKFILE|LOCKFILE_CONFIG_MISMATCH)",
        r"Your lockfile needs to be updated",
        r"YN0028",
        r"lockfile had changes, but lockfile is frozen",
        r"changed significantly since poetry\.lock was last generated",
        r"The lockfile at `uv\.lock` needs to be updated",
        r"Your Pipfile\.lock \(\w{1,80}\) is out of date",
        r"because (?:frozen mode is set|the lockfile (?:is|can't be))",
    ),
    _sign(
        "lock_broken",
        "the lock file cannot be read (a merge's marks?): delete it, install anew and commit it",
        r"ERR_PNPM_BROKEN_LOCKFILE",
        r"Unknown token: \{ line: \d{1,9}, col: \d{1,9}, type: 'INVALID'",
    ),
    _sign(
        "package_altered",
        "a package is not what the lock file says of it: write the lock file anew and commit it",
        r"code EINTEGRITY",
        r"ERR_PNPM_TARBALL_INTEGRITY",
        r"Integrity check failed",
        r"THESE PACKAGES DO NOT MATCH THE HASHES",
    ),
    _sign(
        "peer_conflict",
        "peer dependencies conflict: mend their versions, or commit an .npmrc with "
        "legacy-peer-deps=true",
        r"code ERESOLVE",
        r"ERR_PNPM_PEER_DEP_ISSUES",
    ),
    _sign(
        "openssl_unsupported",
        "webpack is too old for this Node: update it, or set "
        "NODE_OPTIONS=--openssl-legacy-provider in [build.environment]",
        r"ERR_OSSL_EVP_UNSUPPORTED",
        r"digital envelope routines::unsupported",
    ),
    _sign(
        "node_version",
        "another Node is needed: say its version in .nvmrc, or as `node` in [build] of "
        "pushlane.toml",
        r"code EBADENGINE",
        r"ERR_PNPM_UNSUPPORTED_ENGINE",
        r"The engine \"node\" is incompatible with this module",
        r"Node\.js version \"?[^\n]{1,40} is required",
        r"requires a minimum Node\.js version",
        r"Node\.js v[\d.]{1,20} is not supported",
        r"crypto\.hash is not a function",
        r"SyntaxError: Unexpected token '(?:\?\?=|\|\|=|&&=|\?\.|\?\?|\?|\.)'$",
        r"SyntaxError: The requested module 'node:[\w/]{1,40}' does not provide an export",
        r"ReferenceError: (?:File|fetch|structuredClone|CustomEvent|WebSocket) is not defined",
        r"\.(?:findLast|toSorted|toReversed|toSpliced|hasOwn|withResolvers) is not a function",
    ),
    _sign(
        "python_version",
        "another Python is needed: say its version in .python-version",
        r"requires a different Python",
        r"Ignored the following versions that require a different python version",
    ),
    _sign(
        "heap_exhausted",
        "Node's heap is full: set NODE_OPTIONS=--max-old-space-size=3072 in [build.environment] of "
        "pushlane.toml",
        r"JavaScript heap out of memory",
        r"Reached heap limit Allocation failed",
    ),
    _sign(
        "disk_full",
        "the build's disk is full: make the source, its packages or its output smaller",
        r"\bENOSPC: no space left",
        r"No space left on device",
        r"Disk quota exceeded",
    ),
    _sign(
        "files_open",
        "the build opens too many files at once: let it process fewer at a time",
        r"\bEMFILE\b",
        r"[Tt]oo many open files",
    ),
    _sign(
        "package_json_invalid",
        "package.json is no valid JSON: mend it (a comma too many, or too few?)",
        r"code EJSONPARSE",
        r"ERR_PNPM_JSON_PARSE",
    ),
    _sign(
        "manager_mismatch",
        "packageManager in package.json names {0}, and the command uses another: use only one",
        r"This project is configured to use (\w{1,20})",
        r"This project's package\.json defines \"packageManager\": \"(\w{1,20})@",
    ),
    _sign(
        "corepack_failed",
        "corepack cannot prove its download: leave it out, `packageManager` in package.json is "
        "enough",
        r"Cannot find matching keyid",
    ),
    _sign(
        "registry_denied",
        "the registry wants a token: name it in .npmrc as ${{NAME}}, and set NAME by "
        "`pushlane env set`",
        r"code E40[13]\b",
        r"ERR_PNPM_FETCH_40[13]",
        r"\b401 Unauthorized\b",
    ),
    _sign(
        "version_missing",
        "the registry has no such version of {0}: ask for one that is there",
        r"No matching version found for (@?[\w-][\w./-]{0,80}@[\w.^~-]{0,40}\w)",
        rf"No matching distribution found for {_NAME}[=<>~!]=",
    ),
    _sign(
        "package_missing",
        "the registry has no package {0}, or it is private: mend the name, or give .npmrc a token",
        rf"The requested resource '{_NAME}' could not be found",
        rf"^.{{0,3}}ERR_PNPM_FETCH_404  GET \S{{1,200}}/{_NAME}: Not Found",
        rf"'{_NAME}' is not in (?:this|the npm) registry",
        rf"error Couldn't find package \"{_NAME}\"",
        rf"No matching distribution found for {_NAME}",
    ),
    _sign(
        "dependency_by_ssh",
        "a dependency comes from git, and a build holds no key: take it from a registry, or by "
        "https if it is public",
        r"Could not read from remote repository",
        r"Permission denied \(publickey",
        r"Host key verification failed",
        r"could not read Username for",
    ),
    _sign(
        "git_missing",
        "git is not on the worker's machine: install it there, or do without it in the build",
        r"syscall spawn git\b",
        r"spawn git ENOENT",
        r"\bgit: (?:command )?not found",
        r"Cannot find command 'git'",
    ),
    _sign(
        "sharp_missing",
        "sharp's binary for Linux is not in the lock file: "
        "`npm install --os=linux --cpu=x64 sharp`, and commit that",
        r"Could not load the \"sharp\" module",
        r"Something went wrong installing the \"sharp\" module",
    ),
    _sign(
        "native_build",
        "a native module could not be compiled: take a version of it with binaries for this Node",
        r"\bgyp ERR!",
        r"gyp: Undefined variable",
        r"node-gyp: (?:command )?not found",
        r"error: command '[\w./-]{1,80}(?:gcc|cc|g\+\+)' failed",
        r"error: Microsoft Visual C\+\+",
    ),
    _sign(
        "script_missing",
        "package.json has no script `{0}`: add it, or say another `command` in pushlane.toml",
        r"Missing script: \"?([\w:./-]{1,80})",
        r"error Command \"([\w:./-]{1,80})\" not found",
        r"Couldn't find a script named \"([\w:./-]{1,80})\"",
        r"error: Script not found \"([\w:./-]{1,80})\"",
    ),
    _sign(
        "warnings_as_errors",
        'warnings end this build, since CI is set: mend them, or set CI = "false" in '
        "[build.environment]",
        r"Treating warnings as errors because process\.env\.CI = true",
    ),
    _sign(
        "variable_missing",
        "the variable {0} is not set: say it in [build.environment], or a secret one by "
        "`pushlane env set`",
        r"(?i:missing|required|undefined)(?i: required)?"
        r"(?i: environment variables?| env(?:ironment)? vars?| env variables?| env| variables?)"
        r":? [\"'`]?([A-Z][A-Z0-9_]{1,79})\b",
        r"(?i:environment variable|env var) [\"'`]?([A-Z][A-Z0-9_]{1,79})[\"'`]? "
        r"(?i:is (?:not|missing|required|undefined)|not (?:set|found)|must be)",
        r"\b([A-Z][A-Z0-9_]{1,79}) environment variable (?i:is|not|must|missing)",
        r"process\.env\.([A-Z][A-Z0-9_]{1,79}) is (?:not|required|undefined|missing)",
        r"^KeyError: '([A-Z][A-Z0-9_]{2,79})'$",
    ),
    _sign(
        "hugo_extended",
        "the site needs Hugo's extended edition: ask for it by HUGO_VERSION in [build.environment]",
        r"you need the extended version",
        r"this feature is not available in your current Hugo version",
    ),
    _sign(
        "documentation_warnings",
        "warnings end this build (-W, --strict): mend them, or leave that option out",
        r"^Warning, treated as error:",
        r"build finished with problems, \d{1,9} warnings? \(with warnings treated as errors\)",
        r"Aborted with \d{1,9} warnings? in strict mode",
    ),
    _sign(
        "python_module_missing",
        "Python has no module {0}: name its package in requirements.txt",
        r"No module named '?([A-Za-z_][\w.]{0,99})",
        r"Could not import extension ([\w.]{1,99})",
        r"The \"([\w./-]{1,99})\" plugin is not installed",
        r"no theme named '([\w.-]{1,99})' found",
        r"Unrecognised theme name: '([\w.-]{1,99})'",
    ),
    _sign(
        "gem_missing",
        "the gem {0} is not there: name it in the Gemfile, and commit Gemfile.lock",
        r"Could not find gem '([\w.-]{1,99})",
        r"cannot load such file -- ([\w./-]{1,99})",
        r"Could not find ([\w.-]{1,99}) in (?:any of the sources|locally installed gems)",
        r"The ([\w.-]{1,99}) theme could not be found",
    ),
    _sign(
        "module_missing",
        "{0} is not installed: add it to package.json, and commit that with the lock file",
        r"(?:Cannot find (?:module|package)|Can't resolve|Could not resolve"
        r"|[Ff]ailed to resolve import) [\"']((?:@[\w.-]{1,80}/)?[A-Za-z0-9][\w.-]{0,80})",
    ),
    _sign(
        "typescript_errors",
        "TypeScript finds errors ({0}): mend them; `npx tsc --noEmit` shows them all",
        r"error (TS\d{4,5}):",
        r"(Type error): ",
    ),
    _sign(
        "lint_errors",
        "ESLint finds errors: mend them, or leave the lint out of the build's command",
        r"✖ \d{1,9} problems? \([1-9]\d{0,8} errors?",
    ),
    _sign(
        "build_scripts_ignored",
        "pnpm runs only build scripts that you allow: `pnpm approve-builds`, and commit that",
        r"ERR_PNPM_IGNORED_BUILDS",
    ),
    _sign(
        "not_executable",
        "{0} may not be executed: `git update-index --chmod=+x` it, and commit that",
        r"(?:sh|bash): (?:line )?\d{0,9}:? ?([\w./-]{1,100}): Permission denied",
    ),
    _sign(
        "command_missing",
        "there is no command `{0}`: put its package into package.json, under NODE_ENV=production "
        "into dependencies",
        r"(?:sh|bash): (?:line )?\d{0,9}:? ?([\w./-]{1,100}): (?:command )?not found",
        r"error: Failed to spawn: `([\w./-]{1,100})`",
        r"Command \"([\w./-]{1,100})\" not found",
    ),
    _sign(
        "host_unreachable",
        "{0} cannot be reached from here: try again later, or build without it",
        r"getaddrinfo (?:ENOTFOUND|EAI_AGAIN) ([\w.-]{1,200})",
        r"Could not resolve host: ([\w.-]{1,200})",
        r"\[GET\] \"https?://([\w.-]{1,200})[^\"\n]{0,300}\": <no response>",
        r"(?:request to|fetch|GET|open) [\"']?https?://([\w.-]{1,200})[^\n]{0,300} failed",
        r"(?:TypeError|FetchError|Error): (fetch failed)$",
    ),
)  # fmt: skip
"""What is more particular goes first."""
