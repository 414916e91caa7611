"""`rnnlab board`: TensorBoard at a port of its own. What it shows is in tests/inspection."""

import re
import signal
import subprocess
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from rnnlab.cli import main


class Anything(BaseHTTPRequestHandler):
    """Answers whatever it is asked, as another TensorBoard would."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def other():
    server = HTTPServer(("127.0.0.1", 0), Anything)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


def test_at_a_port_that_another_server_has_nothing_is_shown(other, tmp_path, capsys):
    assert main(["board", str(tmp_path), "--port", str(other)]) == 1
    said = capsys.readouterr()
    assert (
        said.out == "" and "did not start" in said.err and f"port {other}, it was already in use" in said.err
    )


def test_each_board_takes_a_port_that_is_free_and_says_which(tmp_path):
    words = [sys.executable, "-m", "rnnlab", "board", str(tmp_path)]
    # TensorBoard asks for such a module; one in the working folder, perhaps a stranger's, is not taken
    (tmp_path / "tensorboard_data_server.py").write_text("raise SystemExit('not to be run')")
    boards = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=tmp_path) for _ in range(2)]
    addresses = {re.search(r"http://127\.0\.0\.1:\d+/", board.stdout.readline())[0] for board in boards}
    assert len(addresses) == 2
    for address in addresses:
        with urllib.request.urlopen(f"{address}data/environment") as answer:
            assert answer.status == 200
    for board in boards:
        board.send_signal(signal.SIGTERM)
        assert board.wait() == 0
