"""Reproduces a run with the code of its recorded commit, in a separate git worktree."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rnnlab.errors import UserError
from rnnlab.reproduce.scratch import scratch
from rnnlab.runs.manifest import git as known
from rnnlab.runs.manifest import inert, repositories
from rnnlab.runs.run import Run

# instead of -m, which would put the working folder first on sys.path
ENTRY = "import sys; sys.path[:] = filter(None, sys.path); from rnnlab.cli import main; sys.exit(main())"


def with_its_code(run: Run, arguments: Sequence[str], trust: bool) -> int:
    """Runs `rnnlab reproduce` with `arguments` and the code of the run's commit; returns its exit code.

    Uncommitted changes are applied from the recorded diff. That is code from the run's folder, so it needs `trust`.
    Raises UserError where the commit is not recorded, not in this repository, or older than this command.
    """
    code = run.manifest.get("code", {})
    commit, diff = str(code.get("commit") or ""), str(code.get("diff") or "")
    if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", commit):
        raise UserError(
            f"{run.folder}: neither it nor rnnlab was in a git repository; there is no commit to go back to"
        )
    if diff and not trust:
        raise UserError(f"{run.folder}: the code had changes that were not committed; its manifest holds them as a "
                        "diff, which --trust applies")  # fmt: skip
    there = [
        place
        for place in repositories()
        if known(place, "cat-file", "-e", f"{commit}^{{commit}}") is not None
    ]
    if not there:
        raise UserError(
            f"--commit: commit {commit[:12]} is not in the repository of this folder, nor in rnnlab's own"
        )
    home = there[0]
    with scratch() as folder:
        tree = folder / "tree"
        try:
            git(home, "worktree", "add", "--detach", "--quiet", str(tree), commit, why="no worktree")
            if diff:
                git(tree, "apply", "-", why="the recorded diff does not apply", given=diff)
            package = tree / "src" / "rnnlab"
            if not any((package / name).is_dir() for name in ("reproduce", "reproduction")):  # an older name
                raise UserError(
                    f"commit {commit[:12]} is older than rnnlab reproduce: check it out, and train by hand"
                )
            environment = os.environ | {
                "PYTHONPATH": os.pathsep.join([str(tree / "src"), *filter(None, sys.path[1:])]),
                # so the manifest records the worktree's commit; the working folder stays, for relative paths
                "GIT_DIR": git(tree, "rev-parse", "--absolute-git-dir", why="no worktree").strip(),
                "GIT_WORK_TREE": str(tree),
            }
            words = [sys.executable, "-c", ENTRY, "reproduce", *arguments]
            return subprocess.run(words, env=environment, check=False).returncode
        finally:
            with suppress(UserError):
                git(home, "worktree", "remove", "--force", str(tree), why="the worktree stays")


def git(folder: Path, *words: str, why: str, given: str | None = None) -> str:
    """The output of git, without the repository's hooks and filters, so that only the commit's code runs."""
    try:
        command, environment = inert(folder, *words)
    except UserError as error:
        raise UserError(f"--commit: {error}") from None
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise UserError(f"--commit: {why}: {' '.join(done.stderr.split())}")
    return done.stdout
