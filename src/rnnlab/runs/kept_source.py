"""Keeps the source of a class that cannot be imported again: one defined in a notebook, a script or a function.

The source becomes a module, source_<hash of its text>, with the imports, constants and other definitions that the class
uses. The process that defined the class, and those whose user trusts the run, import the module from the cache folder;
the manifest keeps its text.
"""

import __future__

import ast
import builtins
import hashlib
import importlib
import importlib.util
import inspect
import linecache
import re
import symtable
import sys
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from rnnlab.errors import UserError
from rnnlab.runs.cache import cache_folder
from rnnlab.runs.files import write_whole
from rnnlab.runs.syntax import python_syntax

PREFIX = "source_"
NAME = re.compile(rf"{PREFIX}[0-9a-f]{{12}}")
CONSTANTS = (int, float, complex, str, bytes, bool, type(None))
FUTURE = "from __future__ import annotations"
NOT_FINITE = {word: f"from math import {word}" for word in ("inf", "nan")}  # how `repr` writes such numbers


class Unrecordable(Exception):
    """An object cannot be made again from text; the message says why."""


def target_of(kind: Any) -> str:
    """The dotted path of a class or function. One that cannot be imported gets a path by keeping its source.

    Raises Unrecordable where there is no source, or where it uses a value that cannot be written as text, and where a
    method was replaced after the import.
    """
    path = importable(kind)
    if path and inspect.isclass(kind) and (name := patched(kind)):
        raise Unrecordable(
            f"{kind.__name__}.{name} was replaced after the import; make a class of your own of it"
        )
    return path or f"{keep(kind)}.{kind.__name__}"


def patched(kind: type) -> str:
    """The method of an imported class in whose place stands a function of another module; "" where there is none."""
    values = {name: getattr(value, "__func__", value) for name, value in vars(kind).items()}
    others = [n for n, f in values.items() if inspect.isfunction(f) and f.__module__ != kind.__module__]
    if others:
        with suppress(OSError, TypeError, SyntaxError):
            [written] = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
            methods = [one for one in getattr(written, "body", ()) if isinstance(one, ast.FunctionDef)]
            # a decorator may give a function of its own module
            defined = [one.name for one in methods if not one.decorator_list]
            return next((name for name in others if name in defined), "")
    return ""


def importable(kind: Any) -> str | None:
    module, name = kind.__module__, kind.__qualname__
    if (
        module == "__main__"
        or not name.isidentifier()
        or getattr(sys.modules.get(module), name, None) is not kind
    ):
        return None
    try:
        if importlib.util.find_spec(module) is None:
            return None
    except (ImportError, ValueError):
        return None
    if module.split(".")[0] in ("rnnlab", "lightning", "torch"):  # configs know its short name
        parts = module.split(".")
        for n in range(2, len(parts)):
            shorter = ".".join(parts[:n])
            if getattr(sys.modules.get(shorter), name, None) is kind:
                return f"{shorter}.{name}"
    return f"{module}.{name}"


def keep(kind: Any) -> str:
    """Writes the module of a class; returns the module's name, which can be imported from now on."""
    text = module_text(kind)
    module = f"{PREFIX}{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    install({module: text})
    try:
        importlib.import_module(module)
    except Exception as error:
        raise Unrecordable(
            f"{kind.__name__}, by its source alone: {type(error).__name__}: {error}"
        ) from error
    for live in kind.__mro__ if inspect.isclass(kind) else (kind,):
        copy = getattr(importlib.import_module(module), live.__name__, None)
        if getattr(copy, "__module__", "") == module and (at := replaced(live, copy)):
            raise Unrecordable(f"{at} was changed after its definition; define it as it is to be")
    return module


def replaced(kind: Any, copy: Any) -> str:
    """The method or number of a class (or the function) that is not what its source says; "" where there is none."""
    if inspect.isfunction(kind):
        return "" if _meaning(kind.__code__) == _meaning(copy.__code__) else kind.__name__
    for name, value in vars(kind).items():
        ours, theirs = (getattr(one, "__func__", one) for one in (value, vars(copy).get(name)))
        if (
            inspect.isfunction(ours) and ours.__code__.co_filename != "<string>"
        ):  # one that a dataclass has generated
            changed = not inspect.isfunction(theirs) or _meaning(ours.__code__) != _meaning(theirs.__code__)
        else:
            changed = _constant(value) and not name.startswith("__") and repr(value) != repr(theirs)
        if changed:
            return f"{kind.__name__}.{name}"
    return ""


def _meaning(code: CodeType) -> tuple[Any, ...]:
    """What a function computes, without its place: two definitions of the same text have the same."""
    inner = [
        _meaning(one) if isinstance(one, CodeType) else (type(one), _short(one)) for one in code.co_consts
    ]
    return code.co_code, code.co_names, code.co_varnames, code.co_freevars, inner


def _short(value: Any) -> Any:
    """A text without the names of functions around it, as Python 3.10 keeps names of inner functions."""
    return value.rpartition("<locals>.")[2] if isinstance(value, str) else repr(value)


def install(kept: Mapping[str, str]) -> None:
    """Makes kept modules importable in this process. Raises UserError where a text does not match its name's hash."""
    for module, text in kept.items():
        digest = hashlib.sha256(text.encode()).hexdigest()
        if not NAME.fullmatch(module) or module != f"{PREFIX}{digest[:12]}":
            raise UserError(
                f"manifest.json: the source kept as {module} is not the one that was trained with"
            )
        folder = cache_folder() / "sources" / digest[:32]
        folder.mkdir(parents=True, exist_ok=True)
        if not (file := folder / f"{module}.py").is_file() or file.read_bytes() != text.encode():
            write_whole(file, text.encode())
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
            importlib.invalidate_caches()


def kept(modules: Iterator[str]) -> dict[str, str]:
    """{name: text} of those modules that are kept sources."""
    found = {}
    for module in modules:
        spec = importlib.util.find_spec(module) if NAME.fullmatch(module) else None
        if spec is not None and spec.origin:
            found[module] = Path(spec.origin).read_text(encoding="utf-8")
    return found


def module_text(kind: Any) -> str:
    imports: set[str] = set()
    parts: dict[str, str] = {}
    _add(kind, imports, parts, set())
    first = [FUTURE] if FUTURE in imports else []
    return "\n\n\n".join(["\n".join([*first, *sorted(imports - {FUTURE})]), *parts.values()]).strip() + "\n"


def _add(kind: Any, imports: set[str], parts: dict[str, str], under_way: set[str]) -> None:
    """Adds the source of a class or function to `parts`, after the definitions that it uses."""
    name = kind.__name__
    if name in parts or name in under_way:
        return
    under_way.add(name)
    text, globals_ = source(kind)
    if any(f.__code__.co_flags & __future__.annotations.compiler_flag for f in own_functions(kind)):
        imports.add(FUTURE)
    names = global_names(text)
    if FUTURE in imports:  # then annotations use no names
        names &= global_names(f"{FUTURE}\n{text}")
    for around in sorted(closures(kind, names) - {name}):
        # the module would use another value without a word
        if around in globals_ or hasattr(builtins, around):
            raise Unrecordable(f"{name} uses {around}, a variable of the function around it")
    for used in sorted(names - {name}):
        if used not in globals_:
            if not hasattr(builtins, used):
                raise Unrecordable(f"{name} uses {used}, which is not defined beside it")
            continue
        value = globals_[used]
        if isinstance(value, ModuleType):
            imports |= submodules(used, value, text)
        if (line := import_line(used, value)) is not None:
            imports.add(line)
        elif inspect.isclass(value) or inspect.isfunction(value):
            if value.__name__ != used:
                raise Unrecordable(f"{name} uses {used}, another name of {value.__name__}")
            _add(value, imports, parts, under_way)
        elif _constant(value):
            imports |= {line for word, line in NOT_FINITE.items() if word in global_names(repr(value))}
            parts.setdefault(used, f"{used} = {value!r}")
        else:
            raise Unrecordable(f"{name} uses {used}, a {type(value).__name__} that has no source")
    parts[name] = text


def _constant(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_constant, value))
    if isinstance(value, dict):
        return all(_constant(k) and _constant(v) for k, v in value.items())
    return type(value) in CONSTANTS


WHOLE = ("torch", "lightning", "numpy", "os")  # packages that import the modules that are used of them


def submodules(name: str, package: ModuleType, text: str) -> set[str]:
    """The import statements of the modules in a package that a text uses as NAME.MODULE."""
    if package.__name__.partition(".")[0] in WHOLE:
        return set()
    used = {ast.unparse(node) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Attribute)}
    paths = {package.__name__ + chain.removeprefix(name) for chain in used if chain.startswith(f"{name}.")}
    return {f"import {path}" for path in paths & sys.modules.keys()}


def import_line(name: str, value: Any) -> str | None:
    """The import statement that binds `value` to `name`; None where no module has it."""
    if isinstance(value, ModuleType):
        return f"import {value.__name__}" + (f" as {name}" if value.__name__ != name else "")
    own = getattr(value, "__name__", None)
    if not isinstance(own, str) or getattr(value, "__module__", "") == "__main__":
        return None
    if (path := imported_as(value)) is None:
        return None
    return f"from {path.rpartition('.')[0]} import {own}" + (f" as {name}" if own != name else "")


def imported_as(value: Any) -> str | None:
    """The dotted path by which a class or function is imported; None where there is none."""
    if (
        path := importable(value) if hasattr(value, "__qualname__") and value.__module__ else None
    ) is not None:
        return path
    own = getattr(value, "__name__", None)
    if not inspect.isbuiltin(value):
        return None
    # built-in functions such as torch.sigmoid have no usable __module__
    places = [
        m for m, module in list(sys.modules.items()) if getattr(module, "__dict__", {}).get(own) is value
    ]
    return (
        f"{min(places, key=lambda m: (m.startswith('_') or '._' in m, m.count('.'), len(m)))}.{own}"
        if places
        else None
    )


def own_functions(kind: Any) -> list[FunctionType]:
    """A function, or the functions that a class defines itself."""
    values = [kind] if inspect.isfunction(kind) else vars(kind).values()
    functions = [f for value in values if inspect.isfunction(f := getattr(value, "__func__", value))]
    try:  # what a decorator wraps has the source, and the variables around it
        functions = [f for wrapper in functions if inspect.isfunction(f := inspect.unwrap(wrapper))]
    except ValueError as error:
        raise Unrecordable(f"{kind.__name__} wraps itself") from error
    # functions that dataclasses and the like have generated have no source
    return [f for f in functions if f.__module__ == kind.__module__ and f.__code__.co_filename != "<string>"]


def closures(kind: Any, names: set[str]) -> set[str]:
    """The variables of enclosing functions that a class or function uses, whose source uses these `names`: in functions
    and bodies of classes, and in defaults, decorators, bases and annotations.
    """
    own = own_functions(kind)
    found = {name for f in own for name in f.__code__.co_freevars} - {"__class__"}
    if "<locals>" in kind.__qualname__:
        files = {f.__code__.co_filename: f.__globals__ for f in own}
        if not files and (module := sys.modules.get(kind.__module__)):
            files = {getattr(module, "__file__", None) or "": vars(module)}
        path = kind.__qualname__.replace("<locals>.", "").split(".")
        for file, globals_ in files.items():
            with suppress(SyntaxError):
                whole = symtable.symtable("".join(linecache.getlines(file, globals_)), file, "exec")
                found |= _bound_around(whole, path) & names
    return found


def _bound_around(table: symtable.SymbolTable, names: list[str]) -> set[str]:
    """The variables of the functions around a definition with these names, from the outermost to its own."""
    found = set[str]()
    for inner in table.get_children() if len(names) > 1 else ():
        if inner.get_name() == names[0]:
            found |= _bound_around(inner, names[1:])
            if inner.get_type() == "function":
                found |= {symbol.get_name() for symbol in inner.get_symbols() if symbol.is_local()}
    return found


def source(kind: Any) -> tuple[str, dict[str, Any]]:
    """The source text of a class or function, and the globals of its module."""
    own = own_functions(kind)
    for function in own:
        lines = linecache.getlines(function.__code__.co_filename, function.__globals__)
        try:
            tree = ast.parse("".join(lines))
        except SyntaxError:
            continue
        for node in ast.walk(tree):
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == kind.__name__:
                first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                if first <= function.__code__.co_firstlineno <= (node.end_lineno or 0):
                    text = textwrap.dedent("".join(lines[first - 1 : node.end_lineno])).rstrip()
                    return _as_defined(node, text), function.__globals__
    if inspect.isclass(kind) and not own and (module := sys.modules.get(kind.__module__)):
        with suppress(OSError, TypeError):  # in a notebook, a class without a method cannot be located
            return textwrap.dedent(inspect.getsource(kind)).rstrip(), vars(module)
    raise Unrecordable(f"the source of {kind.__name__} is not to be found")


def _as_defined(node: ast.stmt, text: str) -> str:
    """The text of a definition, or its syntax written anew where the lost indent changed a text in it."""
    written = ast.unparse(node)
    with suppress(SyntaxError):
        if not node.col_offset or python_syntax(text) == python_syntax(written):
            return text
    return written


def global_names(text: str) -> set[str]:
    """The global names that a definition uses."""

    def walk(table: symtable.SymbolTable) -> Iterator[str]:
        top = table.get_type() == "module"
        for symbol in table.get_symbols():
            if symbol.is_global() or (top and symbol.is_referenced() and not symbol.is_assigned()):
                yield symbol.get_name()
        for inner in table.get_children():
            yield from walk(inner)

    names = set(walk(symtable.symtable(text, "kept", "exec")))
    return {name for name in names if not (name.startswith("__") and name.endswith("__"))}
