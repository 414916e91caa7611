"""A headless Chromium, driven by the WebDriver protocol over plain HTTP."""

import base64
import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from waiting import PATIENCE

OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
           "--disable-background-networking", "--disable-component-update", "--disable-sync",
           "--disable-dev-shm-usage")  # fmt: skip

# text and elements of a page, through all shadow roots
DEEP = """
const all = (node, found = []) => { for (const e of node.querySelectorAll('*')) { found.push(e);
  if (e.shadowRoot) all(e.shadowRoot, found); } return found; };
const seen = e => { const b = e.getBoundingClientRect(); return b.width > 0 && b.height > 0; };
"""


def missing() -> str | None:
    """Why there is no browser to test with; None where there is one."""
    for names in (("chromium", "chromium-browser", "google-chrome"), ("chromedriver",)):
        if not any(map(shutil.which, names)):
            return f"no {names[0]} on this machine (Debian: apt-get install chromium chromium-driver)"
    return None


def ask(url: str, content: Any = None, method: str | None = None) -> Any:
    """JSON for JSON."""
    data = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.load(answer)


def until(what: Any) -> Any:
    """The first answer of `what` that is true; raises AssertionError with the last one where none comes."""
    end, found = time.monotonic() + PATIENCE, None
    while time.monotonic() < end:
        try:
            if found := what():
                return found
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.3)
    raise AssertionError(f"not within {PATIENCE:g} s; last: {found!r}")


class Browser:
    def __init__(self, profile: Path) -> None:
        self.driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
        said = iter(self.driver.stdout.readline, "")
        port = next(found[1] for line in said if (found := re.search(r"started .* on port (\d+)", line)))
        root = f"http://127.0.0.1:{port}"
        until(lambda: ask(f"{root}/status")["value"]["ready"])
        chrome = {"args": [*OPTIONS, f"--user-data-dir={profile}"]}
        binary = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
        wanted = {"browserName": "chrome", "goog:chromeOptions": chrome | {"binary": binary},
                  "goog:loggingPrefs": {"browser": "ALL"}}  # fmt: skip
        session = ask(f"{root}/session", {"capabilities": {"alwaysMatch": wanted}})["value"]["sessionId"]
        self.at = f"{root}/session/{session}"

    def close(self) -> None:
        ask(self.at, method="DELETE")
        self.driver.terminate()
        self.driver.wait()

    def size(self, width: int, height: int) -> None:
        """Of the page itself, as a phone or a desk has it."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.devtools("Emulation.setDeviceMetricsOverride", metrics)

    def scheme(self, name: str) -> None:
        """Dark or light, as a person prefers."""
        feature = {"name": "prefers-color-scheme", "value": name}
        self.devtools("Emulation.setEmulatedMedia", {"features": [feature]})

    def devtools(self, command: str, parameters: dict[str, Any]) -> Any:
        return ask(f"{self.at}/goog/cdp/execute", {"cmd": command, "params": parameters})["value"]

    def open(self, url: str) -> None:
        ask(f"{self.at}/url", {"url": url})

    def run(self, script: str) -> Any:
        return ask(f"{self.at}/execute/sync", {"script": DEEP + script, "args": []})["value"]

    def text(self) -> str:
        """All that can be read on the page, line by line."""
        return self.run(
            "return all(document).filter(e => seen(e) && !['SCRIPT', 'STYLE'].includes(e.tagName))."
            "map(e => [...e.childNodes].filter(n => n.nodeType === 3).map(n => n.data.trim()).join(' '))"
            ".filter(t => t).join('\\n')"
        )

    def errors(self) -> list[str]:
        """What the console complained of since it was last asked."""
        entries = ask(f"{self.at}/se/log", {"type": "browser"})["value"]
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]

    def picture(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(ask(f"{self.at}/screenshot")["value"]))
