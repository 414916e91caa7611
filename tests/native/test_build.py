"""The library's way from sources to cache, and what is said where it cannot be had."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import warm
from rnnlab.cells import GRU
from rnnlab.errors import UserError
from rnnlab.native import bindings as library
from rnnlab.native import build
from rnnlab.recurrence import Stack, choose

CPU = torch.device("cpu")


ONCE = """
for word in "$@"; do [ "$before" = -o ] && out=$word; before=$word; done
case $(basename "$out") in
kernels-*)
    [ -f {kept} ] || {compiler} "$@" || exit 1
    [ -f {kept} ] || cp "$out" {kept}
    cp {kept} "$out";;
*) exec {compiler} "$@";;
esac
"""


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """The compiler, which compiles the kernels once and from then on hands out what it has kept."""
    folder = tmp_path_factory.mktemp("once")
    return script(folder / "cc", ONCE.format(kept=folder / "kernels.so", compiler=build.find_compiler()))


@pytest.fixture
def forgotten(monkeypatch, tmp_path, once):
    """No library loaded, an empty cache, and nothing remembered."""
    monkeypatch.setenv("RNNLAB_CACHE", str(tmp_path))
    monkeypatch.setenv("RNNLAB_CC", once)
    monkeypatch.setattr(library, "_loaded", None)
    monkeypatch.setattr(library, "_failure", None)
    # quicker to compile
    monkeypatch.setattr(build, "FLAGS", tuple("-O0" if flag == "-O3" else flag for flag in build.FLAGS))
    return tmp_path


def script(path: Path, body: str) -> str:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def test_status_tells_how_it_was_built(forgotten):
    told = library.status()
    assert told["available"], told["reason"]
    assert told["reason"] is None
    assert Path(told["library"]).parent == forgotten
    assert told["compile_seconds"] > 0
    assert told["isa"] in ("AVX-512", "AVX2", "NEON")
    # nothing half-written is left
    assert [p.name for p in forgotten.iterdir()] == [Path(told["library"]).name]


def test_a_second_process_takes_it_from_the_cache(forgotten):
    first = build.build()
    assert first.seconds > 0
    assert build.build() == build.Built(first.path, first.compiler, first.isa, 0.0)


def test_the_key_holds_flags_and_sources(forgotten, monkeypatch, tmp_path):
    monkeypatch.setattr(build, "_compile", lambda compiler, flags, name: Path(name))  # its name is enough
    usual = build.build().path
    assert build.build(extra=("-O2",)).path != usual
    copied = tmp_path / "sources"
    copied.mkdir()
    for source in build.sources():
        (copied / source.name).write_bytes(source.read_bytes())
    (copied / "vector.h").write_text((copied / "vector.h").read_text() + "\n/* changed */\n")
    monkeypatch.setattr(build, "SOURCES", copied)
    assert build.build().path != usual


def test_processes_that_race_all_succeed(forgotten, monkeypatch, tmp_path):
    monkeypatch.delenv("RNNLAB_CC")  # they compile indeed
    monkeypatch.setenv("RNNLAB_CC", script(tmp_path / "quicker", f'exec {build.find_compiler()} "$@" -O0'))
    program = "from rnnlab.native import status; print(status()['available'], status()['library'])"
    racers = [
        warm.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    said = {racer.communicate()[0] for racer in racers}
    assert len(said) == 1
    assert said.pop().startswith("True")


CHILD = """
from rnnlab.native import build, status
build.FLAGS = tuple("-O0" if flag == "-O3" else flag for flag in build.FLAGS)  # as in `forgotten`
print(status()["available"], status()["compile_seconds"] > 0)
"""
DAMAGE = {
    "cut to half": lambda whole: whole[: len(whole) // 2],
    "zeros": lambda whole: bytes(len(whole)),
    "empty": lambda whole: b"",
    "a byte of its code": lambda whole: whole[: len(whole) // 3] + b"\x0b" + whole[len(whole) // 3 + 1 :],
    "another library": lambda whole: next(Path(torch.__file__).parent.glob("lib/libshm*.so")).read_bytes(),
    "a text": lambda whole: "no library: \u00e4".encode("latin-1"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_library_is_built_again_before_anything_of_it_is_loaded(forgotten, damage):
    whole = build.build().path
    content = whole.read_bytes()
    whole.write_bytes(DAMAGE[damage](content))
    done = warm.run([sys.executable, "-c", CHILD])
    assert (done.returncode, done.stdout, done.stderr) == (0, "True True\n", "")
    assert whole.read_bytes() == content and len(list(forgotten.iterdir())) == 1


def test_a_folder_in_the_librarys_place_is_said(forgotten):
    whole = build.build().path
    whole.unlink()
    whole.mkdir()
    reason = library.obstacle()
    assert reason is not None and "cannot write to" in reason and "\n" not in reason


def test_a_compiler_that_speaks_no_utf8(forgotten, monkeypatch, tmp_path):
    strange = script(
        tmp_path / "strange",
        'case "$*" in *--version*) printf "cc 1 \\344\\n";; *-dM*) echo "#define __AVX__ 1"; echo "#define __FMA__ 1";;'
        ' *) printf "kernels.c:1: error: nicht m\\366glich\\n" >&2; exit 1;; esac',
    )
    assert "error: nicht m\ufffdglich" in why(monkeypatch, RNNLAB_CC=strange)


def why(monkeypatch, **environment: str) -> str:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    reason = library.obstacle()
    assert reason is not None
    assert "\n" not in reason
    assert library.status() == {"available": False, "reason": reason}
    return reason


def test_no_compiler(forgotten, monkeypatch, tmp_path):
    assert "no C compiler: RNNLAB_CC=nowhere" in why(monkeypatch, RNNLAB_CC="nowhere")
    monkeypatch.delenv("RNNLAB_CC")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert library.obstacle().count("nowhere") == 1  # tried once, remembered


def test_a_compiler_that_fails_at_all(forgotten, monkeypatch, tmp_path):
    broken = script(tmp_path / "broken", 'echo "error: no licence" >&2; exit 1')
    assert f"{broken} failed: error: no licence" in why(monkeypatch, RNNLAB_CC=broken)


def test_a_compile_that_fails(forgotten, monkeypatch, tmp_path):
    broken = script(
        tmp_path / "broken",
        'case "$*" in *--version*) echo v1;; *-dM*) echo "#define __AVX__ 1"; echo "#define __FMA__ 1";;'
        ' *) echo "kernels.c:1: error: no luck today" >&2; exit 1;; esac',
    )
    assert "error: no luck today" in why(monkeypatch, RNNLAB_CC=broken)
    assert not list(forgotten.glob("kernels*"))


def test_without_path_and_in_another_language_a_compiler_finds_its_linker_and_speaks_english(
    forgotten, monkeypatch, tmp_path
):
    abroad = script(
        tmp_path / "abroad",
        'case "$*" in *--version*) echo v1;; *-dM*) echo "#define __AVX__ 1"; echo "#define __FMA__ 1";;'
        ' *) echo "a word before" >&2; echo "$LC_ALL $(printenv PATH): error" >&2; exit 1;; esac',
    )
    monkeypatch.delenv("PATH")
    assert f"C {os.defpath}: error" in why(monkeypatch, RNNLAB_CC=abroad, LC_ALL="de_DE.UTF-8")


def test_a_library_that_cannot_be_loaded(forgotten, monkeypatch, tmp_path):
    empty = script(
        tmp_path / "empty",
        'case "$*" in *--version*) echo v1;; *-dM*) echo "#define __AVX__ 1"; echo "#define __FMA__ 1";; esac',
    )
    assert "cannot load" in why(monkeypatch, RNNLAB_CC=empty)


def test_a_cpu_without_fused_multiply_add(forgotten, monkeypatch, tmp_path):
    old = script(tmp_path / "old", 'echo "#define __SSE2__ 1"')
    assert "no fused multiply-add" in why(monkeypatch, RNNLAB_CC=old)


def test_a_cache_that_cannot_be_written(forgotten, monkeypatch, tmp_path):
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    assert "set RNNLAB_CACHE" in why(monkeypatch, RNNLAB_CACHE=str(in_the_way / "cache"))


def test_a_library_in_a_cache_that_can_only_be_read_is_taken(forgotten, monkeypatch, tmp_path):
    kept = build.build().path
    other = tmp_path / "other"
    monkeypatch.setattr(build, "cache_folders", lambda: [other, forgotten])
    monkeypatch.setattr(build, "cache_folder", lambda: other)
    assert build.build().path == kept
    assert not other.exists()


def test_users_who_share_a_cache_can_read_each_others_libraries(forgotten):
    before = os.umask(0o027)
    try:
        library = build.build().path
    finally:
        os.umask(before)
    assert library.stat().st_mode & 0o666 == 0o640


def test_another_users_lock_that_cannot_be_removed_stops_nobody(forgotten, monkeypatch):
    def refused(path: Path, **options: bool) -> None:
        raise PermissionError(1, "Operation not permitted", str(path))

    monkeypatch.setattr(Path, "unlink", refused)
    with build._alone("one"):
        pass


def test_libraries_of_other_names_are_compiled_at_the_same_time(forgotten):
    with build._alone("one"), build._alone("other"):  # a lock that they shared would never be had
        assert len(list(forgotten.glob("*.lock"))) == 2
    assert not list(forgotten.iterdir())


def test_other_engines_serve_where_the_kernels_cannot_be_had(forgotten, monkeypatch):
    monkeypatch.setenv("RNNLAB_CC", "nowhere")
    stack = Stack("gru", 3, 4)
    assert stack.choice.engine == "torch"
    assert "RNNLAB_CC=nowhere" in stack.choice.reason
    with pytest.raises(UserError, match="RNNLAB_CC=nowhere"):
        Stack("gru", 3, 4, engine="native")


def test_what_the_engine_serves():
    for precision in ("32-true", "bf16-mixed"):
        assert choose("auto", [GRU(1, 1)], CPU, precision).engine == "native"
    cuda = torch.device("cuda")
    for device, precision in ((CPU, "64-true"), (CPU, "bf16-true"), (cuda, "32-true"), (cuda, "bf16-mixed")):
        assert choose("auto", [GRU(1, 1)], device, precision).engine == "torch"


def test_the_sources_compile_without_a_warning(tmp_path):
    files = [str(s) for s in build.sources() if s.suffix == ".c"]
    flags = [
        *build.FLAGS,
        "-O0",
        "-march=native",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-o",
        str(tmp_path / "kernels.so"),
    ]
    done = subprocess.run([build.find_compiler(), *flags, *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


OLD = ["-mno-avx"] if platform.machine() in ("x86_64", "AMD64") else []


@pytest.mark.parametrize("old", [[], OLD])
def test_the_products_in_bfloat16_read_no_memory_under_another_type(tmp_path, old):
    words = ["-DRNNLAB_BF16", "-march=native", *old, "-fstrict-aliasing", "-Wstrict-aliasing=2", "-Werror"]
    file, flags = build.SOURCES / "bf16.c", [flag for flag in build.FLAGS if flag != "-shared"]
    command = [build.find_compiler(), *flags, *words, "-c", str(file), "-o", str(tmp_path / "bf16.o")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
