"""A developer's working copy: write files, commit, push, by git itself and nobody's settings."""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Mapping
from pathlib import Path

from .git import environment

_AUTHOR = {
    "GIT_AUTHOR_NAME": "Ada Example",
    "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_COMMITTER_NAME": "Ada Example",
    "GIT_COMMITTER_EMAIL": "ada@example.com",
}


class Worktree:
    """A repository at `path` (made when it is not there) that pushes to `remote_url`.

    `token` goes along as a header, `ca` is the bundle to trust. Everything waits for git, so call
    it from a thread where a loop must go on. subprocess.CalledProcessError says what git said.
    """

    def __init__(
        self,
        path: Path,
        remote_url: str,
        *,
        token: str | None = None,
        ca: Path | None = None,
        branch: str = "main",
    ) -> None:
        self.path = path
        self.remote_url = remote_url
        config = {"push.negotiate": "false"}
        if token is not None:
            config["http.extraHeader"] = f"Authorization: Bearer {token}"
        extra = dict(_AUTHOR)
        if ca is not None:
            extra["GIT_SSL_CAINFO"] = str(ca)
        self._environment = environment(extra, config=config)
        if not (path / ".git").exists():
            path.mkdir(parents=True, exist_ok=True)
            self.git("init", "--quiet", f"--initial-branch={branch}")

    def git(self, *arguments: str) -> str:
        """What git printed, without the last newline."""
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.path,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            error = subprocess.CalledProcessError(done.returncode, done.args)
            error.add_note(done.stderr.decode(errors="replace"))
            error.stderr = done.stderr
            raise error
        return done.stdout.decode(errors="surrogateescape").rstrip("\n")

    def write(
        self,
        files: Mapping[str, str | bytes | None],
        *,
        symlinks: Mapping[str, str] | None = None,
        executable: Collection[str] = (),
    ) -> None:
        """Write each file; None deletes one. `symlinks` maps a path to what it points at."""
        for name, content in files.items():
            target = self.path / name
            if content is None:
                target.unlink()
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.is_symlink():
                target.unlink()
            target.write_bytes(content.encode() if isinstance(content, str) else content)
            target.chmod(0o755 if name in executable else 0o644)
        for name, aim in (symlinks or {}).items():
            link = self.path / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(aim)

    def commit(self, message: str = "A change") -> str:
        """Commit all that lies there, also when nothing changed; gives the sha."""
        self.git("add", "--all", "--force")
        self.git("commit", "--quiet", "--allow-empty", f"--message={message}")
        return self.head()

    def head(self) -> str:
        """The sha of the commit that is checked out."""
        return self.git("rev-parse", "HEAD")

    def switch(self, branch: str, *, start: str = "HEAD") -> None:
        """Go to `branch`, made or moved to `start`."""
        self.git("switch", "--quiet", f"--force-create={branch}", start)

    def reset(self, sha: str) -> None:
        """Move the checked-out branch to `sha`, with its files."""
        self.git("reset", "--quiet", "--hard", sha)

    def tag(self, name: str, *, message: str | None = None) -> None:
        """Tag the checked-out commit; with a message the tag is an object of its own."""
        annotation = [] if message is None else ["--annotate", f"--message={message}"]
        self.git("tag", *annotation, "--end-of-options", name)

    def push(self, ref: str = "main", *, force: bool = False, source: str = "HEAD") -> str:
        """Push what is checked out to this branch (or whole ref); gives the pushed sha."""
        whole = ref if ref.startswith("refs/") else f"refs/heads/{ref}"
        self.push_all(f"{'+' if force else ''}{source}:{whole}")
        return self.git("rev-parse", source)

    def push_all(self, *refspecs: str) -> None:
        """Push several refspecs in one go."""
        self.git("push", "--quiet", "--end-of-options", self.remote_url, *refspecs)

    def delete_branch(self, ref: str) -> None:
        """Delete the branch (or whole ref) at the remote; GitHub refuses its default branch."""
        self.push_all(f":{ref if ref.startswith('refs/') else f'refs/heads/{ref}'}")
