"""Texts with a name: one that comes with Python, and some that are downloaded once."""

import hashlib
import http.client
import io
import urllib.error
import urllib.request
import uuid
import zipfile
from dataclasses import dataclass
from pathlib import Path

from rnnlab.errors import UserError, nearest
from rnnlab.regular_files import read_file


@dataclass(frozen=True)
class Corpus:
    """A file on a server; if it is a zip archive, `member` is the name of the text in it."""

    url: str
    sha256: str  # of the file as it is downloaded
    bytes: int  # length of the text
    member: str | None = None
    encoding: str = "utf-8"

    def file(self, name: str, folder: Path) -> Path:
        """Where the file is kept."""
        return folder / f"{name}{Path(self.url).suffix}"


# The three hashes agree with those that several independent public projects pin. enwik8 is read byte by byte
# (latin-1: 205 symbols), as for all published scores in bits per character.
CORPORA = {
    "tinyshakespeare": Corpus(
        "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        1_115_394,
    ),
    "text8": Corpus(
        "http://mattmahoney.net/dc/text8.zip",
        "a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232",
        100_000_000,
        member="text8",
    ),
    "enwik8": Corpus(
        "http://mattmahoney.net/dc/enwik8.zip",
        "547994d9980ebed1288380d652999f38a14fe291a6247c157c3d33d4932534bc",
        100_000_000,
        member="enwik8",
        encoding="latin-1",
    ),
}
EMBEDDED = "pydoc"
LOCAL = "data.path=FILE always works"
TIMEOUT = 30.0  # seconds without a byte from the server
# Typographic characters of the documentation, and their ASCII forms
ASCII = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "--", "…": "..."})


def check(name: str) -> None:
    """Raise UserError unless there is a corpus of this name."""
    names = (EMBEDDED, *CORPORA)
    if name not in names:
        raise UserError(f"data.corpus={name}: no such corpus.{nearest(name, names)} {LOCAL}.")


def fetch(name: str, folder: Path) -> None:
    """Download a corpus into `folder` unless it is there already. Raises UserError."""
    if name in CORPORA and not CORPORA[name].file(name, folder).exists():
        download(CORPORA[name], CORPORA[name].file(name, folder))


def read(name: str, folder: Path) -> str:
    """The text of a corpus, downloaded first if needed. Raises UserError.

    The file's hash is checked at every reading, not only after the download: another file, copied there by hand or
    changed later, is not accepted as the corpus.
    """
    if name == EMBEDDED:
        return pydoc()
    corpus = CORPORA[name]
    file = corpus.file(name, folder)
    fetch(name, folder)
    content = read_file(file, 3)
    if hashlib.sha256(content).hexdigest() != corpus.sha256:
        raise UserError(
            f"{file} is not the corpus {name} (its SHA-256 differs). Delete it to download it again."
        )
    return _unpacked(content, corpus).decode(corpus.encoding)


def pydoc() -> str:
    """The language reference that CPython contains for its help(): the topics in alphabetical order.

    Topics are joined by two newlines. The text differs between versions of Python: quote a score with the content
    hash. Quotes, dashes and dots are written in ASCII, and the few other characters outside ASCII are left out, so
    that in no version a character occurs only in the validation or test part.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise UserError(f"data.corpus={EMBEDDED}: this Python came without pydoc_data. {LOCAL}.") from None
    text = "\n\n".join(topics[topic] for topic in sorted(topics))
    return text.translate(ASCII).encode("ascii", "ignore").decode()


def download(corpus: Corpus, file: Path) -> None:
    """Downloads into a file beside `file`, checks it, and only then renames it to `file`.

    So `file` is complete or absent, even if several processes download at once. Raises UserError without a network,
    and for an error of the server, a broken connection and a wrong hash.
    """
    part = file.with_name(f".{file.name}.{uuid.uuid4().hex}.part")
    problem: str | None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("xb") as sink:
                problem = _receive(corpus, file.name, sink)
            if problem is None:
                part.replace(file)
                return
        finally:
            part.unlink(missing_ok=True)
    except urllib.error.HTTPError as error:
        problem = f"the server answers {error.code} {error.reason}"
    except urllib.error.URLError as error:
        problem = str(error.reason)
    except (OSError, http.client.HTTPException) as error:
        problem = str(error) or type(error).__name__
    raise UserError(f"cannot download {corpus.url} to {file}: {problem}. Without a download, {LOCAL}.")


def _receive(corpus: Corpus, name: str, sink: io.BufferedWriter) -> str | None:
    """Writes what the server sends into `sink`; returns what is wrong with it, or None."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from rnnlab.terminal.console import Console

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    digest, received = hashlib.sha256(), 0
    with (
        urllib.request.urlopen(corpus.url, timeout=TIMEOUT) as response,
        Progress(*columns, console=Console(stderr=True), transient=True) as progress,
    ):
        announced = response.headers.get("Content-Length")
        expected = int(announced) if announced and announced.isdigit() else None
        bar = progress.add_task(f"Downloading {name}", total=expected)
        # an archive is smaller than its text: a server that sends more than that sends something else
        while received <= corpus.bytes and (block := response.read(1 << 16)):
            sink.write(block)
            digest.update(block)
            received += len(block)
            progress.update(bar, completed=received)
    if expected is not None and received < expected:
        return f"the connection was cut after {received:,} of {expected:,} bytes"
    if digest.hexdigest() != corpus.sha256:
        return f"what the server sent has SHA-256 {digest.hexdigest()[:12]}..., not {corpus.sha256[:12]}..."
    return None


def _unpacked(content: bytes, corpus: Corpus) -> bytes:
    """The text's bytes; an archive is unpacked in memory, but never beyond the text's known length."""
    if corpus.member is None:
        return content
    with zipfile.ZipFile(io.BytesIO(content)) as archive, archive.open(corpus.member) as member:
        text = member.read(corpus.bytes + 1)
    if len(text) != corpus.bytes:
        raise UserError(
            f"{corpus.url}: {corpus.member} does not have the {corpus.bytes:,} bytes that it should"
        )
    return text
