"""The board answers to this machine's names alone, and its answers load nothing from elsewhere."""

import http.client
import re
import signal
import subprocess
import sys

import pytest

from rnnlab.tensorboard.hosts import local


def asked(host: str, kind: str = "application/json", policy: str | None = None) -> tuple[str, dict[str, str]]:
    said = {}

    def app(environ, start):
        start("200 OK", [("Content-Type", kind), *([("Content-Security-Policy", policy)] if policy else [])])
        return [b"the ledger"]

    def start(status, headers, *_):
        said["status"], said["headers"] = status, dict(headers)

    body = b"".join(local(app)({"HTTP_HOST": host}, start))
    assert (b"the ledger" in body) == said["status"].startswith("200")
    return said["status"][:3], said["headers"]


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:6006", "LOCALHOST:1", "127.0.0.1:6006", "[::1]", "[::1]:6006"]
)
def test_names_of_this_machine(host):
    assert asked(host)[0] == "200"


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "evil.example:6006", "localhost.evil.example", "127.0.0.1.evil.example", "localhost,evil",
     "[::1].evil", "evil@localhost", "0.0.0.0", "127.1", "[::ffff:127.0.0.1]", "localhost.", "\x1b[31mlocalhost"],
)  # fmt: skip
def test_any_other_name_is_misdirected(host):
    assert asked(host)[0] == "421"


def test_policies():
    own = "default-src 'self';frame-src 'self' https://ui.perfetto.dev;img-src 'self' data:;style-src https://x 'self'"
    page = asked("localhost", "text/html", own)[1]["Content-Security-Policy"]
    assert page == (
        "default-src 'self';frame-src 'self';img-src 'self' data:;style-src 'self'; base-uri 'self'; "
        "form-action 'none'; frame-ancestors 'self'"
    )
    assert "default-src 'self'" in asked("localhost", "text/html")[1]["Content-Security-Policy"]
    assert asked("localhost", "image/svg+xml")[1]["Content-Security-Policy"] == "default-src 'none'; sandbox"
    # a worker would be held to it
    assert "Content-Security-Policy" not in asked("localhost", "text/javascript")[1]


def test_the_board_itself(small):
    words = [sys.executable, "-m", "rnnlab", "board", str(small().folder.parent)]
    board = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    port = int(re.search(r"http://127\.0\.0\.1:(\d+)/", board.stdout.readline())[1])

    def ask(path: str, host: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("GET", path, headers={"Host": host})
        return connection.getresponse()

    try:
        assert ask("/data/environment", "localhost").status == 200
        assert ask("/data/environment", f"evil.example:{port}").status == 421
        assert ask("/", "evil.example").status == 421
        page = ask("/", f"127.0.0.1:{port}")
        assert "frame-ancestors 'self'" in page.headers["Content-Security-Policy"]
        assert "https:" not in page.headers["Content-Security-Policy"]
    finally:
        board.send_signal(signal.SIGTERM)
        assert board.wait() == 0
