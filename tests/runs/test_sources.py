"""What makes a run stale: a change that can change numbers, and no other."""

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import rnnlab
from rnnlab.runs import sources, syntax
from rnnlab.runs.manifest import manifest

PACKAGE = Path(rnnlab.__file__).parent
PYTHON = '''
"""A module."""
from torch import Tensor

RATE: float = 0.5  # a comment

class Cell:
    """A class."""
    size = 3

    def step(self, x: Tensor, *rest, scale: float = 1.0) -> Tensor:
        """A function."""
        if not x:
            return x
        match rest:
            case [first, *_]:
                x = f"{first!r:>{self.size}} {x=}" f"{x:>{self.size}}{x:<{self.size}}"
        return x * RATE + scale

async def later():
    "Waits."
    await None
'''
C = """
#define SIZE 3  /* a comment */
#define add(a, b) ((a) + \\
                   (b))
// a line
static float rate = 0.5e-3f;  // another
int main(void) { char *s = "no // comment", c = '"'; return a+++b << 2; }
"""


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A copy of the sources that decide numbers, and an empty cache."""
    monkeypatch.setenv("RNNLAB_CACHE", str(tmp_path / "cache"))
    for name in sources.DECIDING_SOURCES:
        copy = shutil.copytree if (PACKAGE / name).is_dir() else shutil.copy
        (tmp_path / "rnnlab").mkdir(exist_ok=True)
        copy(PACKAGE / name, tmp_path / "rnnlab" / name)
    return tmp_path / "rnnlab"


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) >= 1, f"{file.name} holds no {old!r}"
    file.write_text(text.replace(old, new, 1))


def test_of_rnnlabs_own_sources_a_comment_or_a_docstring_changes_nothing_and_a_constant_does(package):
    before = sources.hash_sources(package)
    assert before == sources.rnnlab_sources()
    for file in sorted(package.rglob("*.py")):
        file.write_text(f'"""Another docstring."""\n# {file.read_text().splitlines()[0]}\n\n'
                        + without_docstring(file.read_text()) + "\n# the end\n")  # fmt: skip
    for file in [*package.rglob("*.c"), *package.rglob("*.h")]:
        file.write_text(f"/* a comment\n of two lines */\n{file.read_text()}\n   // the end\n")
    assert sources.hash_sources(package) == before

    python, c = package / "streams.py", package / "native" / "csrc" / "philox.h"
    for file, old, new in ((python, "256", "257"), (c, "0x", "0x1")):
        whole = file.read_text()
        replace(file, old, new)
        assert sources.hash_sources(package) != before
        file.write_text(whole)
        assert sources.hash_sources(package) == before
    (package / "tasks" / "another.py").write_text("x = 1\n")
    assert sources.hash_sources(package) != before


def without_docstring(text: str) -> str:
    return text.split('"""', 2)[2] if text.startswith('"""') else text


@pytest.mark.parametrize(("old", "new"), [
    ("  # a comment", ""), ('"""A module."""', ""), ('"""A class."""', '"""Another\n    one."""'),
    ('        """A function."""\n', ""), ("x * RATE + scale", "(x * RATE\n  + scale)"), ('"Waits."', "'Waits longer.'"),
])  # fmt: skip
def test_how_python_is_written_changes_nothing(old, new):
    assert syntax.python_syntax(PYTHON.replace(old, new)) == syntax.python_syntax(PYTHON) and old in PYTHON


@pytest.mark.parametrize(("old", "new"), [
    ("0.5", "0.25"), ("1.0", "1"), ("+ scale", "- scale"), ("not x", "x"), ("!r", "!s"), ("size = 3", "size = '3'"),
    ("return x\n", "return None\n"), ("[first, *_]", "[first, _]"), ("async def", "def"), ("RATE +", "rate +"),
    ('"Waits."', '_ = "Waits."'), ("case [first, *_]", "case [0, *first]"),
])  # fmt: skip
def test_what_python_says_changes_it(old, new):
    changed = PYTHON.replace(old, new).replace("await None", "None" if old == "async def" else "await None")
    assert syntax.python_syntax(changed) != syntax.python_syntax(PYTHON) and old in PYTHON


@pytest.mark.parametrize(("old", "new"), [
    ("  /* a comment */", ""), ("// a line\n", ""), (" = 0.5e-3f", "\n    =0.5e-3f"),
    ("int main(void) {", "int main( void )\n{"),
    ("\\\n                   (b)", "(b)"), ("#define SIZE 3", "  #define   SIZE 3"),
])  # fmt: skip
def test_how_c_is_written_changes_nothing(old, new):
    assert syntax.c_syntax(C.replace(old, new)) == syntax.c_syntax(C) and old in C


@pytest.mark.parametrize(("old", "new"), [
    ("SIZE 3", "SIZE 4"), ("0.5e-3f", "0.5e-4f"), ("0.5e-3f", "0.5e -3f"), ("no //", "no  //"), ("no // comment", "no"),
    ("a+++b", "a+ ++b"), ("<< 2", "<= 2"), ("add(a", "add (a"),
    ("static ", ""), ("SIZE 3  /* a comment */\n", "SIZE 3 "),
])  # fmt: skip
def test_what_c_says_changes_it(old, new):
    assert syntax.c_syntax(C.replace(old, new)) != syntax.c_syntax(C) and old in C


def test_the_cache_says_the_same_and_a_damaged_one_nothing(package, tmp_path, monkeypatch):
    before = sources.hash_sources(package)
    (cached,) = (tmp_path / "cache").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(sources, "syntax", None)  # nothing is parsed again
        assert sources.hash_sources(package) == before
    cached.write_text("x")
    assert sources.hash_sources(package) == before == cached.read_text()
    monkeypatch.setenv("RNNLAB_CACHE", str(package / "streams.py"))  # no folder can be made there
    assert sources.hash_sources(package) == before


def test_every_python_here_gives_the_same_text():
    ours, tried = syntax.python_syntax(PYTHON), 0
    program = "import runpy, sys; print(runpy.run_path(sys.argv[1])['python_syntax'](sys.argv[2]), end='')"
    for minor in range(10, 15):
        words = [f"python3.{minor}", "-c", program, syntax.__file__, PYTHON]
        if (
            shutil.which(words[0])
            and not subprocess.run([words[0], "-V"], capture_output=True, check=False).returncode
        ):
            assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == ours, words[0]
            tried += 1
    if tried < 2:
        pytest.skip("only one Python here")


def test_a_users_module_is_stale_by_what_it_says_and_owned_by_its_bytes(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    module = tmp_path / "mine_of_sources.py"
    module.write_text('"""Mine."""\nRATE = 1\n')
    config = {"seed": 0, "model": {"_target_": "mine_of_sources.Model"}, "data": {}}
    recorded = manifest(config, engine={}, data_hash=None, command=[])
    assert sources.stale(recorded, config) == []
    module.write_text('"""Mine, and said better."""\nRATE = 1  # of learning\n')
    assert sources.sources(config)["sources"]["mine_of_sources"] != recorded["sources"]["mine_of_sources"]
    assert sources.stale(recorded, config) == []
    module.write_text("RATE = 2\n")
    assert sources.stale(recorded, config) == ["mine_of_sources has changed"]
    module.unlink()
    assert sources.stale(recorded, config) == ["mine_of_sources has changed"]
    del recorded["syntax"]  # of a version before it was recorded: by its bytes alone
    module.write_text('"""Mine."""\nRATE = 1\n')
    assert sources.stale(recorded, config) == []
    module.write_text("RATE = 1\n")
    assert sources.stale(recorded, config) == ["mine_of_sources has changed"]


def test_a_module_that_a_users_module_imports_makes_it_stale(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    package = tmp_path / "own_package"
    package.mkdir()
    texts = {
        package / "__init__.py": "",
        package / "cells.py": "import numpy\nfrom . import gates\nfrom .gates import open\nclass Mine: ...\n",
        package / "gates.py": "def open(x):\n    import deep_of_own_package\n    return x\n",
        tmp_path / "deep_of_own_package.py": "RATE = 1\n",
    }
    for file, text in texts.items():
        file.write_text(text)
    config = {"seed": 0, "model": {"_target_": "own_package.cells.Mine"}, "data": {}}
    recorded = manifest(config, engine={}, data_hash=None, command=[])
    names = ["deep_of_own_package", "own_package", "own_package.gates"]
    assert sorted(recorded["imports"]) == names and sources.stale(recorded, config) == []
    for name, file in zip(names, (tmp_path / "deep_of_own_package.py", *[*texts][:3:2]), strict=True):
        file.write_text(texts[file] + "# a comment\n")
        assert sources.stale(recorded, config) == []
        file.write_text(texts[file] + "OTHER = 2\n")
        assert sources.stale(recorded, config) == [f"the imported module {name} has changed"]
        file.write_text(texts[file])
    del recorded["imports"]  # of a version before they were recorded
    (package / "gates.py").write_text("open = abs\n")
    assert sources.stale(recorded, config) == []


def test_a_package_that_cannot_be_imported_is_one_that_has_changed(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    package = tmp_path / "broken_later"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "cells.py").write_text("class Mine: ...\n")
    config = {"seed": 0, "model": {"_target_": "broken_later.cells.Mine"}, "data": {}}
    recorded = manifest(config, engine={}, data_hash=None, command=[])
    (package / "__init__.py").write_text("import nothing_of_this_name as (\n")
    monkeypatch.delitem(sys.modules, "broken_later")
    importlib.invalidate_caches()
    assert "broken_later.cells has changed" in sources.stale(recorded, config)


def test_torchs_version_and_a_file_of_the_data_make_it_stale(tmp_path, monkeypatch):
    file = tmp_path / "series.csv"
    file.write_text("1\n")
    config = {"seed": 0, "model": {}, "data": {"path": str(file), "more": [{"paths": ["a", str(file)]}]}}
    recorded = manifest(config, engine={}, data_hash=None, command=[])
    assert sources.stale(recorded, config) == []
    file.write_text("22\n")
    assert sources.stale(recorded, config) == [
        "the file of data.more.0.paths.1 has changed",
        "the file of data.path has changed",
    ]
    monkeypatch.setattr(sources, "torch_version", lambda: "9")
    assert sources.stale(recorded, config)[0].startswith("torch was ")


def test_a_function_of_a_class_makes_a_run_stale_with_its_module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    module = tmp_path / "mine_with_a_function.py"
    module.write_text("class Model:\n    def load(): return 1\n")
    config = {"seed": 0, "model": {"_target_": "mine_with_a_function.Model.load"}, "data": {}}
    recorded = manifest(config, engine={}, data_hash=None, command=[])
    assert sources.stale(recorded, config) == []
    module.write_text("class Model:\n    def load(): return 2\n")
    assert sources.stale(recorded, config) == ["mine_with_a_function has changed"]


def test_a_run_is_stale_where_the_weights_that_it_began_with_have_changed(tmp_path):
    best = tmp_path / "run" / "checkpoints" / "best.ckpt"
    best.parent.mkdir(parents=True)
    best.write_bytes(b"before"), (tmp_path / "run" / "run.json").touch()
    config = {"seed": 0, "model": {"init_from": str(tmp_path / "run")}, "data": {"folder": str(tmp_path)}}
    recorded = manifest(config, engine={}, data_hash=None, command=[])
    assert sources.stale(recorded, config) == []
    best.write_bytes(b"afterwards")
    assert sources.stale(recorded, config) == ["the file of model.init_from has changed"]
