"""Simulates two machines that train one sweep on a shared file system: `python scripts/two_mounts.py [cached=3]`.

bindfs (FUSE; must be installed, and run as root) mounts one folder twice. Each mount has separate locks, and caches
files and folders for `cached` seconds, like NFS without a lock daemon. A sweep is started in each mount at the same
time, the second under another host name, and both are killed (SIGKILL); then both are started again, and the first is
killed; then both run to their end. Prints which trained how many runs, and how many runs differ from those of an
undisturbed sweep; exit code 1 if any does.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from options import parsed

LINE = ("train", "-m", "experiment=sine", "model.hidden_size=16,48", "seed=0,1,2,3,4,5,6,7",
        "trainer.max_epochs=-1", "trainer.max_steps=3000", "trainer.accelerator=cpu", "sweep.workers=1",
        "checkpoint.every_n_steps=300")  # fmt: skip
KILLED = ((True, True), (True, False), (False, False))
LIVES = 12  # seconds


def sweep(folder: Path, host: str = "") -> "subprocess.Popen[str]":
    """Starts the sweep in a folder, in a new session; under the host name `host`, if given."""
    command = [sys.executable, "-m", "rnnlab", *LINE]
    if host:
        command = ["unshare", "-u", "sh", "-c", f'hostname {host}; exec "$0" "$@"', *command]
    return subprocess.Popen(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            start_new_session=True)  # fmt: skip


def kill(process: "subprocess.Popen[str]", folder: Path) -> None:
    """Kills a sweep and its workers: each process that works in the folder."""
    process.kill()
    for place in Path("/proc").iterdir():
        try:
            if place.name.isdigit() and (place / "cwd").readlink().is_relative_to(folder):
                os.kill(int(place.name), signal.SIGKILL)
        except OSError:
            continue


def curves(folder: Path) -> dict[str, bytes]:
    return {file.parent.name: file.read_bytes() for file in folder.glob("outputs/sine/*/metrics.csv")}


def main(arguments: list[str]) -> int:
    given, _ = parsed(__doc__, arguments, "cached")
    cached = given.get("cached", "3")
    if why := "root" if os.getuid() else "bindfs" if shutil.which("bindfs") is None else "":
        print(f"not tried: this needs {why}")
        return 2
    folder = Path(tempfile.mkdtemp(prefix="mounts-"))
    alone, shared, *mounts = (folder / name for name in ("alone", "shared", "a", "b"))
    for place in (alone, shared, *mounts):
        place.mkdir()
    sweep(alone).communicate()
    try:
        for mount in mounts:
            kept = ",".join(f"{what}_timeout={cached}" for what in ("attr", "entry", "negative"))
            subprocess.run(["bindfs", "-o", kept, str(shared), str(mount)], check=True)
        for number, killed in enumerate(KILLED, 1):
            both = [sweep(mounts[0]), sweep(mounts[1], "another")]
            time.sleep(LIVES if any(killed) else 0)
            for process, mount, dies in zip(both, mounts, killed, strict=True):
                if dies:
                    kill(process, mount)
            ended = [process.communicate()[0] for process in both]
            records = map(Path.read_text, shared.glob("outputs/sine/*/run.json"))
            found = Counter(json.loads(record)["status"] for record in records)
            codes = [process.returncode for process in both]
            print(f"round {number}: exit codes {codes}, runs {dict(found)}", flush=True)
            for code, said, dies in zip(codes, ended, killed, strict=True):
                if code and not dies:
                    print(said)
    finally:
        for mount in mounts:
            subprocess.run(["umount", str(mount)], check=False)
    expected, found = curves(alone), curves(shared)
    differ = [name for name in expected if found.get(name) != expected[name]]
    print(f"{len(expected)} runs, {len(differ)} differ from those of a sweep that nothing befell", *differ)
    shutil.rmtree(folder)
    return not expected or bool(differ) or expected.keys() != found.keys()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
