"""Archives from a stranger: every bound is a line, and no command leaves an unpacked copy behind."""

import random
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from rnnlab.cli import main
from rnnlab.reproduce import archive, scratch, unpacking


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path, monkeypatch):
    """Where nothing may stay."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    monkeypatch.setenv("TMPDIR", str(place))
    yield place
    assert list(place.iterdir()) == []


@pytest.fixture
def packed(seeds, tmp_path) -> Path:
    archive.write(seeds[0].folder.parent, tmp_path / "exp.zip")
    return tmp_path / "exp.zip"


def refused(capsys, file: Path, *more: str) -> str:
    assert main(["reproduce", str(file), *(more or ("--sample", "1"))]) == 2
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1 and str(file) in said, said
    return said


def archive_of(file: Path, members: dict[str, bytes], **about) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            member = zipfile.ZipInfo(name)
            member.compress_type = zipfile.ZIP_DEFLATED
            for key, value in about.items():
                setattr(member, key, value)
            made.writestr(member, content)
    return file


def test_an_experiment_that_is_the_working_folder_has_its_name(packed, seeds, tmp_path, monkeypatch):
    monkeypatch.chdir(seeds[0].folder.parent)
    archive.write(Path(), tmp_path / "here.zip")
    with zipfile.ZipFile(packed) as one, zipfile.ZipFile(tmp_path / "here.zip") as other:
        assert one.namelist() == other.namelist()


def test_only_the_run_that_is_asked_for_is_unpacked(packed, seeds):
    name = seeds[2].folder.name
    with unpacking.opened(packed) as opened:
        assert len(list(opened.folder.glob("*/run.json"))) == 7
        assert len(list(opened.folder.rglob("*.ckpt"))) == 0
        opened.fill(name)
        (best,) = opened.folder.rglob("*.ckpt")
        assert best.read_bytes() == seeds[2].best_checkpoint.read_bytes()
        assert (opened.folder / name / "metrics.csv").read_bytes() == seeds[2].metrics_file.read_bytes()


def test_a_run_of_an_archive_is_reproduced(packed, seeds, capsys):
    name = seeds[2].folder.name
    assert main(["reproduce", f"{packed}/{name}"]) == 0
    assert f"{packed}/{name}" in capsys.readouterr().out


ZEROS = {f"exp/run{i}/{name}": bytes(9_900_000) for i in range(2) for name in ("metrics.csv", "other.bin")}
RECORD = {"exp/run0/run.json": b'{"status": "finished"}'}
SIX = {f"exp/run0/{name}": bytes(9_900_000) for name in archive.OF_A_RUN if name != "run.json"}
TRAPS = {
    "a record of zeros": ({"exp/run0/run.json": bytes(9_900_000)}, {}, "which no run.json has"),
    "a bomb in parts": (RECORD | SIX, {}, "unfolds to 49,500,000 bytes"),
    "a control sign": ({"exp/run\x1b[31m/run.json": b"{}"}, {}, "a name that no run's file has"),
    "a mark of direction": ({"exp/run\u202e/run.json": b"{}"}, {}, "a name that no run's file has"),
    "a new line": ({"exp/run\nbitwise/run.json": b"{}"}, {}, "a name that no run's file has"),
    "a long name": ({f"exp/{'x' * 2000}/run.json": b"{}"}, {}, "a name that no run's file has"),
    "a device": (RECORD, {"external_attr": (stat.S_IFCHR | 0o666) << 16}, "a device or a pipe"),
    "a pipe": (RECORD, {"external_attr": (stat.S_IFIFO | 0o666) << 16}, "a device or a pipe"),
    "a link": (RECORD, {"external_attr": (stat.S_IFLNK | 0o777) << 16}, "is a link"),
    "two experiments": (RECORD | {"other/run0/run.json": b"{}"}, {}, "not an archive of an experiment's runs"),
    "deeper": ({"a/b/c/run0/run.json": b"{}"}, {}, "not an archive of an experiment's runs"),
    "no run": ({"exp/notes.txt": b"x"}, {}, "not an archive of an experiment's runs"),
    "no record": ({"exp/run0/run.json": b"[1, 2"}, {}, "not an archive of an experiment's runs"),
    "nothing": ({}, {}, "not an archive of an experiment's runs"),
}  # fmt: skip


@pytest.mark.parametrize("trap", TRAPS)
def test_traps(trap, tmp_path, capsys):
    members, about, why = TRAPS[trap]
    assert why in refused(capsys, archive_of(tmp_path / "trap.zip", members, **about))


def test_what_is_not_asked_for_costs_nothing(packed, seeds, own_temporary_folder):
    """300 members of zeros that pass for themselves, and 60,000 folders."""
    with zipfile.ZipFile(packed, "a", zipfile.ZIP_DEFLATED) as made:
        zeros = bytes(9_900_000)
        for i in range(30):
            made.writestr(f"sine/zeros{i}/metrics.csv", zeros)
        for i in range(60_000):
            made.writestr(zipfile.ZipInfo(f"sine/folder{i}/"), b"")
    with unpacking.opened(packed) as opened:
        opened.fill(seeds[2].folder.name)
        files = [path for path in own_temporary_folder.rglob("*") if path.is_file()]
        assert sum(path.stat().st_size for path in files) < 1_000_000 and len(files) < 20


def test_counts_are_bounded(tmp_path, capsys, monkeypatch, packed):
    monkeypatch.setattr(unpacking, "RUNS", 6)
    assert "holds 7 runs, more than 6" in refused(capsys, packed)
    monkeypatch.setattr(unpacking, "FILES", 5)
    assert "files, more than 5" in refused(capsys, packed)
    monkeypatch.setattr(unpacking, "DIRECTORY", 100)
    assert "a table of contents of" in refused(capsys, packed)


def test_a_full_disk_is_seen_before(packed, seeds, capsys, monkeypatch):
    usage = shutil.disk_usage(packed.parent)
    left = iter([usage.free, 100])  # enough for the records, and not for the rest of a run
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=next(left)))
    assert main(["reproduce", f"{packed}/{seeds[0].folder.name}"]) == 2
    assert "more than 100; not unpacked" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_duplicates_methods_and_passwords(tmp_path, capsys):
    with zipfile.ZipFile(tmp_path / "twice.zip", "w") as made:
        made.writestr("exp/run0/run.json", b"{}")
        made.writestr("exp/run0/run.json", b"[]")
    assert "more than once" in refused(capsys, tmp_path / "twice.zip")
    with zipfile.ZipFile(tmp_path / "lzma.zip", "w", zipfile.ZIP_LZMA) as made:
        made.writestr("exp/run0/run.json", b"{}")
    assert "compressed by method 14" in refused(capsys, tmp_path / "lzma.zip")
    secret = archive_of(tmp_path / "secret.zip", RECORD)
    content = bytearray(secret.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    secret.write_bytes(content)
    assert "is encrypted" in refused(capsys, secret)


def test_files_over_one_another(tmp_path, capsys):
    """A quoted bomb: many entries of the table of contents for one stretch of the file."""
    file = archive_of(tmp_path / "over.zip", {"exp/run0/metrics.csv": random.Random(0).randbytes(100_000)})
    content = file.read_bytes()
    start, end = content.index(b"PK\x01\x02"), content.index(b"PK\x05\x06")
    entry = content[start:end]
    table = b"".join(entry.replace(b"run0", b"run%d" % i) for i in range(10))
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 10, 10, len(table), start, 0)
    file.write_bytes(content[:start] + table + tail)
    assert "lie over one another" in refused(capsys, file)


def test_any_damage_is_a_line(packed, seeds, capsys, own_temporary_folder):
    """Bytes changed anywhere, and the file cut anywhere."""
    whole, draw = packed.read_bytes(), random.Random(0)
    damaged = packed.with_name("damaged.zip")
    for i in range(60):
        content = bytearray(whole[: draw.randrange(len(whole))] if i % 3 == 0 else whole)
        places = [draw.randrange(len(content)) for _ in range(20)] if i % 3 == 1 else []
        places += [len(content) - 1 - draw.randrange(4000) for _ in range(5)] if i % 3 == 2 else []
        for at in places:
            content[at] = draw.randrange(256)
        damaged.write_bytes(content)
        code = main(["reproduce", str(damaged)])  # without --sample: refused at the latest when all is read
        said = capsys.readouterr().err
        assert code == 2 and "Traceback" not in said and len(said.splitlines()) >= 1, said


HOLD = """
import signal, sys
from pathlib import Path
from rnnlab import cli
from rnnlab.reproduce import unpacking
def held(argv):
    with unpacking.opened(Path(argv[0])) as opened:
        opened.fill(argv[1])
        print("unpacked", flush=True)
        while True:
            signal.pause()
import types
sys.modules["rnnlab.cli.report"] = types.ModuleType("report")
sys.modules["rnnlab.cli.report"].main = held
sys.exit(cli.main(["report", *sys.argv[1:]]))
"""


@pytest.mark.parametrize(
    ("how", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129), ("SIGKILL", -9)]
)
def test_a_stopped_command_leaves_no_copy(how, code, packed, seeds, own_temporary_folder):
    words = [sys.executable, "-c", HOLD, str(packed), seeds[0].folder.name]
    held = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert held.stdout.readline() == "unpacked\n"
    assert any(own_temporary_folder.rglob("*.ckpt"))
    scratch.clear()  # another command: what is in use stays
    assert any(own_temporary_folder.rglob("*.ckpt"))
    held.send_signal(getattr(signal, how))
    assert held.wait() == code
    if how == "SIGKILL":
        assert any(own_temporary_folder.rglob("*.ckpt"))
        with scratch.scratch():  # the next command
            assert not any(own_temporary_folder.rglob("*.ckpt"))


@pytest.mark.parametrize(("how", "code"), [("SIGINT", -2), ("SIGTERM", 143)])
def test_a_signal_while_it_tidies_up_waits_for_the_end(how, code, own_temporary_folder):
    """With a thread that the signal may be given to, as torch has some."""
    words = f"""
import os, shutil, signal, threading, time
from rnnlab.reproduce.scratch import scratch
threading.Thread(target=time.sleep, args=(100,), daemon=True).start()
removes = shutil.rmtree
def remove(*given, **named):
    os.kill(os.getpid(), signal.{how})
    while signal.{how} in signal.sigpending():
        pass
    for _ in range(1000):  # here the handler would run
        pass
    removes(*given, **named)
with scratch() as folder:
    (folder / "copy.ckpt").touch()
    shutil.rmtree = remove
"""
    done = subprocess.run([sys.executable, "-c", words], stderr=subprocess.DEVNULL)
    assert done.returncode == code and not any(own_temporary_folder.rglob("*.ckpt"))


def test_what_others_have_there_stays(own_temporary_folder, tmp_path):
    theirs = own_temporary_folder / "rnnlab-of-theirs"
    theirs.mkdir()  # not ours: no lock lies in it
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / ".held").touch()
    link = own_temporary_folder / "rnnlab-link"
    link.symlink_to(tmp_path / "precious")
    scratch.clear()
    assert theirs.is_dir() and (tmp_path / "precious").is_dir()
    theirs.rmdir()
    link.unlink()


def test_nohup_is_left_alone(own_temporary_folder):
    code = """
import signal
from rnnlab.reproduce.scratch import scratch
signal.signal(signal.SIGHUP, signal.SIG_IGN)
with scratch():
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(sys.platform == "win32", reason="no name of a file has a colon")
def test_an_experiment_with_a_colon_in_its_name_is_read_again(seeds, tmp_path):
    shutil.copytree(seeds[0].folder.parent, tmp_path / "a:b")
    archive.write(tmp_path / "a:b", tmp_path / "a.zip")
    with unpacking.opened(tmp_path / "a.zip") as opened:
        opened.fill(seeds[2].folder.name)
        assert opened.folder.name == "a:b" and len(list(opened.folder.rglob("best.ckpt"))) == 1


def test_a_folder_in_the_place_of_an_archive_is_a_line(seeds, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for place in (".", str(tmp_path)):
        assert main(["archive", str(seeds[0].folder.parent), "--out", place]) == 2
        assert f"{place}: a folder is there" in capsys.readouterr().err
