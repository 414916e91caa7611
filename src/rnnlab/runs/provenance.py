"""How a run was made, as rows for a page."""

from collections.abc import Mapping
from typing import Any

from rnnlab.runs.run import Run


def manifest_rows(manifest: Mapping[str, Any], run: Run) -> list[tuple[str, Any]]:
    """Title and value of each fact about how a run was made."""
    code, engine = manifest.get("code", {}), manifest.get("engine", {})
    commit = code.get("commit")
    if commit:
        commit = commit[:12] + ("" if code.get("clean") else ", with changes that were not committed")
    versions, machine = manifest.get("versions", {}), manifest.get("machine", {})
    shown = [f"{name} {versions[name]}" for name in ("python", "torch", "lightning") if name in versions]
    return [
        ("folder", folder_link(run)),
        ("run", run.folder.name),
        ("command", " ".join(manifest.get("command", []))),
        ("code", f"rnnlab {code.get('rnnlab', '')}, commit {commit or 'none'}"),
        ("engine", f"{engine.get('name')} ({engine.get('why')}); steps {engine.get('steps')}"),
        ("data", manifest.get("data_hash")),
        ("versions", ", ".join(shown)),
        ("machine", f"{machine.get('cpu')}, {machine.get('cores')} cores"),
        ("threads", manifest.get("threads", {}).get("torch")),
    ]


def folder_link(run: Run) -> str:
    return run.folder.absolute().as_uri()
