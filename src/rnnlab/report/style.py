"""The style of the HTML pages: for narrow and wide screens, for paper, and in light and dark mode."""

import base64
import hashlib
from html import escape

from rnnlab.terminal.screen import clean

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1e23; --soft: #5b6470; --line: #e3e6eb; --card: #f6f7f9;
  --blue: #2f5fd0; --orange: #c4500b; --good: #1d7f4f; --bad: #b3261e;
  --near: #1c2f8c; --middle: #259a94; --far: #e3d68c;
  --c0: #0072b2; --c1: #d55e00; --c2: #00805e; --c3: #a6418f; --c4: #8a6d00; --c5: #5b6470 }
@media screen and (prefers-color-scheme: dark) { :root { --paper: #15171b; --ink: #e6e8ec; --soft: #a0a8b4;
  --line: #31363f; --card: #1e2127; --blue: #7da2ff; --orange: #ff9a5c; --good: #62c796; --bad: #ff8a80;
  --near: #fff0b8; --middle: #35a79c; --far: #35507a;
  --c0: #56b4e9; --c1: #ff8c4b; --c2: #3ecf9f; --c3: #e38fc6; --c4: #e0c04c; --c5: #b4bcc8 } }
a { color: var(--blue); text-decoration: none } a:hover { text-decoration: underline }
* { box-sizing: border-box }
body { font: 15px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 1080px;
  margin: 0 auto; padding: 2rem 1rem 4rem }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0; overflow-wrap: anywhere }
h2 { font-size: 1.1rem; margin: 2.4rem 0 .6rem }
p.lead, .note { color: var(--soft) } p.lead { margin: .3rem 0 1rem; overflow-wrap: anywhere }
.chip { font-size: .8rem; font-weight: 600; border-radius: 1em; padding: .15rem .7rem; border: 1px solid currentColor;
  vertical-align: middle; white-space: nowrap } .finished { color: var(--good) } .failed { color: var(--bad) }
div.wide { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 14px }
th, td { text-align: right; padding: .28rem .8rem; white-space: nowrap }
thead th { border-bottom: 1px solid var(--line) }
td:first-child, th:first-child { text-align: left; padding-left: 0 } tr.first td { font-weight: 600 }
tr.aside td { color: var(--soft) } table.pairs td { text-align: left; white-space: normal; overflow-wrap: anywhere;
  vertical-align: top } table.pairs td:first-child { color: var(--soft); white-space: nowrap; padding-right: 1.5rem }
div.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); gap: 1.2rem }
figure { margin: 0 0 1.2rem } figure img { max-width: 100%; height: auto; display: block; border-radius: 6px;
  border: 1px solid var(--line); background: #fff }
figcaption { color: var(--soft); font-size: .85rem; margin-top: .3rem }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 6px;
  padding: .8rem 1rem; font-size: 12.5px; line-height: 1.45; overflow-x: auto;
  white-space: pre-wrap; overflow-wrap: anywhere }
details { margin: .6rem 0 }
summary { cursor: pointer; font-weight: 600 }
svg { max-width: 100%; height: auto } svg text { font: 12px system-ui, sans-serif; fill: var(--soft) }
svg .tick { font-size: 11px; paint-order: stroke; stroke: var(--paper); stroke-width: 3px }
svg .halo { stroke-width: 5px; fill: var(--ink) }
svg .title { font-weight: 600; fill: var(--ink) } svg .grid { stroke: var(--line) } svg .axis { stroke: var(--soft) }
svg .paper { fill: var(--paper) } svg .beyond { opacity: .8 }
svg .level { stroke: var(--soft); stroke-dasharray: 5 4 }
.key { font-size: .85rem; color: var(--soft) } .key i { display: inline-block; width: 16px; border-top: 3px solid;
  vertical-align: middle; margin: 0 .4rem 0 0 }
i.c0 { border-color: var(--c0) } i.c1 { border-color: var(--c1) } i.c2 { border-color: var(--c2) }
i.c3 { border-color: var(--c3) } i.c4 { border-color: var(--c4) } i.c5 { border-color: var(--c5) }
i.blue { border-color: var(--blue) } i.orange { border-color: var(--orange) }
.key span { margin-right: 1.2rem; white-space: nowrap }
details.folds > summary { font-size: 1.1rem; margin: 2.4rem 0 .6rem }
@media print { :root { --ink: #000; --soft: #444; --line: #ccc; --card: #fff } a { color: inherit }
  body { padding: 0; max-width: none; font-size: 11px } figure, tr, svg { break-inside: avoid }
  h2 { break-after: avoid } div.panels { grid-template-columns: 1fr 1fr } table { font-size: 10px }
  th, td { padding: .2rem .5rem } div.wide { overflow: visible } }
"""


def page(title: str, body: str, extra_style: str = "", script: str = "") -> str:
    """A self-contained HTML page, whose Content-Security-Policy blocks everything else.

    The body may contain a stranger's text: even if escaping missed a script in it, no browser would run it.
    """
    style, code = STYLE + extra_style, f"<script>{script}</script>" if script else ""
    body, title = clean(body), clean(title)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy(style, script)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{style}</style></head>"
        f"<body>{body}{code}</body></html>\n"
    )


def policy(style: str, script: str) -> str:
    """A Content-Security-Policy that allows this style, this script and embedded pictures, and nothing else."""
    allowed = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; base-uri 'none'; form-action 'none'"
    )
    return f"{allowed}; script-src {_hash(script)}" if script else allowed


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
