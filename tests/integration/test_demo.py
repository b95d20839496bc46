"""What `scripts/demo --keep` leaves to whoever is there: a work tree that can be pushed from."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from scripts.demo import REPOSITORY, SITE, hand_over
from tests.standin import StandIn, Worktree


async def test_the_command_that_it_prints_pushes_whatever_stands_in_the_users_own_settings(
    tmp_path: Path,
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".gitconfig").write_text("[push]\n\tdefault = nothing\n")
    async with StandIn(tmp_path / "github") as github:
        github.create_repository(REPOSITORY)
        worktree = Worktree(tmp_path / "work", github.clone_url(REPOSITORY), token=github.token)
        worktree.write({**SITE, "main.js": "import './is-not-there.js';\n"})
        worktree.commit()
        before = worktree.push()
        command = hand_over(worktree, token=github.token)
        assert command == f"cd {tmp_path / 'work'} && git commit -am x && git push"
        done = subprocess.run(
            ["bash", "-c", command],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path / "home"),
                "http_proxy": "http://127.0.0.1:9",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        there = worktree.git("ls-remote", worktree.remote_url, "refs/heads/main").split()[0]
        assert there == worktree.head() != before
        assert "is-not-there" not in worktree.git("show", "HEAD:main.js")
