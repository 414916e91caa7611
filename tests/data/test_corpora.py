"""Downloads, against a real server on loopback."""

import hashlib
import io
import socket
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rnnlab.data import corpora
from rnnlab.data.corpora import Corpus
from rnnlab.errors import UserError

TEXT = ("To be, or not to be: that is the question. " * 5000).encode()


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


FILES = {
    "/good.txt": TEXT,
    "/latin.txt": "caf\xe9".encode("latin-1"),
    "/good.zip": zipped(readme=b"no", speech=TEXT),
    "/long.zip": zipped(speech=TEXT + b"x"),
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path == "/broken.txt":
            self.send_error(503)
            return
        if self.path == "/silent.txt":
            return  # hangs up without an answer
        content = FILES.get(self.path, TEXT)
        self.send_response(200)
        if self.path != "/unannounced.txt":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:100_000] if self.path in ("/cut.txt", "/unannounced.txt") else content)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def running():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def serve(running, monkeypatch):
    """Registers the server's file as the corpus "tiny"; returns the paths asked for since."""
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    running.asked.clear()

    def register(path: str, content: bytes | None = None, size: int = len(TEXT), **options) -> list[str]:
        content = FILES.get(path, TEXT) if content is None else content
        url = f"http://127.0.0.1:{running.server_port}{path}"
        tiny = Corpus(url, hashlib.sha256(content).hexdigest(), size, **options)
        monkeypatch.setitem(corpora.CORPORA, "tiny", tiny)
        return running.asked

    return register


def refusal(folder) -> str:
    """What the user reads when the corpus cannot be had; nothing may stay behind."""
    with pytest.raises(UserError) as caught:
        corpora.read("tiny", folder)
    assert list(folder.iterdir()) == []
    message = str(caught.value)
    assert "\n" not in message
    assert "data.path=FILE always works" in message
    return message


def test_a_corpus_is_downloaded_once(serve, tmp_path):
    asked = serve("/good.txt")
    folder = tmp_path / "new" / "folder"
    assert corpora.read("tiny", folder) == TEXT.decode()
    assert corpora.read("tiny", folder) == TEXT.decode()
    corpora.fetch("tiny", folder)
    assert asked == ["/good.txt"]
    assert [file.name for file in folder.iterdir()] == ["tiny.txt"]


def test_an_archive_is_read_in_memory(serve, tmp_path):
    asked = serve("/good.zip", member="speech")
    assert corpora.read("tiny", tmp_path) == corpora.read("tiny", tmp_path) == TEXT.decode()
    assert asked == ["/good.zip"]
    assert [file.name for file in tmp_path.iterdir()] == ["tiny.zip"]


def test_an_archive_is_not_unpacked_beyond_the_length_of_the_text(serve, tmp_path):
    serve("/long.zip", member="speech")
    with pytest.raises(UserError, match="speech"):
        corpora.read("tiny", tmp_path)


def test_a_corpus_has_its_own_encoding(serve, tmp_path):
    serve("/latin.txt", size=4, encoding="latin-1")
    assert corpora.read("tiny", tmp_path) == "café"


def test_a_wrong_hash_leaves_nothing_behind(serve, tmp_path):
    asked = serve("/good.txt", content=b"something else")
    assert "SHA-256" in refusal(tmp_path)
    serve("/good.txt")
    assert corpora.read("tiny", tmp_path) == TEXT.decode()
    assert len(asked) == 2


def test_a_cut_connection_leaves_nothing_behind(serve, tmp_path):
    serve("/cut.txt")
    assert f"cut after 100,000 of {len(TEXT):,} bytes" in refusal(tmp_path)


def test_a_cut_connection_is_noticed_without_an_announced_length(serve, tmp_path):
    serve("/unannounced.txt")
    assert "SHA-256" in refusal(tmp_path)


def test_a_file_longer_than_its_corpus_is_not_read_to_the_end(serve, tmp_path):
    serve("/good.txt", size=1000)
    refusal(tmp_path)


def test_an_interrupted_download_leaves_nothing_behind(serve, tmp_path, monkeypatch):
    def interrupted(corpus, name, sink):
        sink.write(TEXT[:1000])
        raise KeyboardInterrupt

    serve("/good.txt")
    monkeypatch.setattr(corpora, "_receive", interrupted)
    with pytest.raises(KeyboardInterrupt):
        corpora.fetch("tiny", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_downloads_at_the_same_time_do_not_disturb_each_other(serve, tmp_path):
    serve("/good.txt")
    with ThreadPoolExecutor(4) as pool:
        texts = list(pool.map(lambda _: corpora.read("tiny", tmp_path), range(4)))
    assert texts == [TEXT.decode()] * 4
    assert [file.name for file in tmp_path.iterdir()] == ["tiny.txt"]


def test_an_error_of_the_server_is_named(serve, tmp_path):
    serve("/broken.txt")
    assert "503" in refusal(tmp_path)


def test_a_server_that_hangs_up_is_an_error(serve, tmp_path):
    serve("/silent.txt")
    assert "cannot download" in refusal(tmp_path)


def test_no_network_is_named(serve, tmp_path, monkeypatch):
    serve("/good.txt")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/tiny.txt"  # it is ours, and nobody listens there
        monkeypatch.setitem(corpora.CORPORA, "tiny", Corpus(url, "0" * 64, 10))
        assert "refused" in refusal(tmp_path)


def test_a_folder_that_cannot_be_made_is_named(serve, tmp_path):
    serve("/good.txt")
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError, match=r"taken.*data\.path=FILE"):
        corpora.read("tiny", tmp_path / "taken")


def test_a_changed_file_does_not_pass_for_the_corpus(serve, tmp_path):
    serve("/good.txt")
    (tmp_path / "tiny.txt").write_bytes(TEXT[:-1])
    with pytest.raises(UserError, match=r"tiny\.txt is not the corpus tiny"):
        corpora.read("tiny", tmp_path)


def test_the_embedded_corpus_is_the_topics_in_order_and_in_ascii():
    from pydoc_data.topics import topics

    text = corpora.pydoc()
    assert text.isascii()
    assert len(text) > 300_000
    places = [text.index(topics[name].encode("ascii", "ignore").decode()[:40]) for name in ("assert", "with")]
    assert places[0] == 0 < places[1]


def test_an_unknown_corpus_is_refused_with_the_nearest():
    with pytest.raises(UserError, match=r"data\.corpus=text9.*Did you mean text8"):
        corpora.check("text9")
