"""The syntax of a source file as text: files that differ only in comments, docstrings and layout give the same text."""

import ast
import re
from contextlib import suppress
from typing import Any

# fields of a syntax tree that do not matter: ctx follows from the place of a name, the others describe spelling
_UNTOLD = ("ctx", "kind", "type_comment", "type_ignores")
_WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_C_TEXT = re.compile(r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|/\*.*?\*/|//[^\n]*|\\\n""", re.DOTALL)
_C_TOKEN = re.compile(
    r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\.?\d(?:[eEpP][+-]|[\w.])*|\w+"""
    r"|\+\+|--|->|<<=?|>>=?|&&|\|\||\.\.\.|[-+*/%&|^!=<>]=|\S"
)


def python_syntax(source: bytes | str) -> str:
    """A Python module's syntax tree without docstrings, as text that is the same in Python 3.10 to 3.13.

    `ast.dump` is not: newer versions add fields, which are empty for older code, and leave empty fields out.
    Raises SyntaxError where `source` is not Python.
    """
    words: list[str] = []

    def add(node: Any) -> None:
        if isinstance(node, ast.AST):
            words.append(type(node).__name__)
            for name in node._fields:
                value = getattr(node, name, None)
                if name == "body" and isinstance(node, _WITH_DOCSTRING) and _begins_with_docstring(node.body):
                    value = node.body[1:]
                elif name == "values" and isinstance(node, ast.JoinedStr):  # Python 3.12.1 adds empty texts
                    value = [part for part in node.values if getattr(part, "value", None) != ""]
                if value is not None and value != [] and name not in _UNTOLD:
                    words.append(name)
                    add(value)
            words.append(")")
        elif isinstance(node, list):
            for item in node:
                add(item)
        else:
            words.append(repr(node))

    add(ast.parse(source))
    return "\0".join(words)


def _begins_with_docstring(body: list[ast.stmt]) -> bool:
    first = body[0] if body else None
    return isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str)


def c_syntax(source: str) -> str:
    """The tokens of a C file without comments and white space; a directive ends with its line, as it does in C."""

    def kept(found: re.Match[str]) -> str:
        return found[0] if found[0][0] in "\"'" else " "

    words: list[str] = []
    for line in _C_TEXT.sub(kept, source).splitlines():
        if line.lstrip().startswith("#"):
            words += ["\n", " ".join(line.split()), "\n"]
        else:
            words += _C_TOKEN.findall(line)
    return "\0".join(words)


def syntax(name: str, source: bytes) -> str:
    """The syntax of a source file as text, for .py, .c and .h; of other or invalid files all bytes count."""
    if name.endswith(".py"):
        with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
            return python_syntax(source)
    elif name.endswith((".c", ".h")):
        return c_syntax(source.decode(errors="replace"))
    return repr(source)
