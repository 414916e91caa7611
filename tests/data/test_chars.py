import gzip
import hashlib
import math
import random
from typing import ClassVar

import lightning
import numpy as np
import pytest
import torch

from rnnlab.data import chars
from rnnlab.data.chars import Chars, Segment
from rnnlab.data.vocabulary import Vocabulary
from rnnlab.errors import UserError


@pytest.fixture
def write(tmp_path):
    def to(content: str | bytes, name: str = "text.txt") -> str:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return to


def words(n: int, seed: int = 0, alphabet: str = "abcdef \n") -> str:
    return "".join(random.Random(seed).choices(alphabet, weights=range(1, len(alphabet) + 1), k=n))


def ready(path: str, **options) -> Chars:
    data = Chars(path=path, **({"segment": 7, "batch_size": 4} | options))
    data.setup()
    return data


@pytest.mark.parametrize("n", [1000, 1003, 1017])
def test_training_rows_run_on_from_segment_to_segment_and_from_row_to_row(write, n):
    data = ready(write(words(n)), fractions=[1, 0, 0])
    batches = list(data.train_dataloader())
    x, y = (torch.cat(column, dim=1) for column in zip(*((b.x, b.y) for b in batches), strict=True))
    text, length = words(n), (n - 1) // (4 * 7) * 7
    assert [b.first for b in batches] == [True] + [False] * (length // 7 - 1)
    assert all(b.x.shape == b.y.shape == (4, 7) and b.x.dtype == torch.int64 for b in batches)
    for i in range(4):
        assert data.decode(x[i]) == text[i * length : (i + 1) * length]
        assert data.decode(y[i]) == text[i * length + 1 : (i + 1) * length + 1]


def test_validation_scores_all_but_the_first_and_less_than_a_row_of_characters(write):
    data = ready(write(words(1100)), fractions=[0.5, 0.45, 0.05])
    val, test = list(data.val_dataloader()), list(data.test_dataloader())
    assert [b.y.shape for b in val] == [(4, 7)] * 17 + [(4, 4)]  # 495 characters: 4 rows of 123
    assert torch.equal(torch.cat([b.y for b in val], 1).ravel(), data.encode(words(1100)[551 : 551 + 492]))
    assert [b.y.shape for b in test] == [(4, 7), (4, 6)]  # 55 characters: 4 rows of 13
    assert data.facts("val") == {"characters": 495, "scored": 492, "vocabulary": 8}


@pytest.mark.parametrize(
    ("n", "shapes"), [(2, [(1, 1)]), (5, [(1, 4)]), (16, [(2, 7)]), (18, [(2, 7), (2, 1)])]
)
def test_a_short_part_gets_fewer_rows(write, n, shapes):
    data = ready(write(words(100 + n)), fractions=[100 / (100 + n), n / (100 + n), 0])
    assert [tuple(b.x.shape) for b in data.val_dataloader()] == shapes
    assert data.loader("test") is None
    assert data.baselines("test") == {}


def test_batches_are_views_of_one_tensor(write):
    data = ready(write(words(500)))
    storages = {t.untyped_storage().data_ptr() for b in data.train_dataloader() for t in (b.x, b.y)}
    assert len(storages) == 1


def test_a_loader_goes_on_where_its_state_was_taken(write):
    data = ready(write(words(1000)))
    whole = list(data.train_dataloader())
    loader = data.train_dataloader()
    before = [batch for batch, _ in zip(loader, range(3), strict=False)]
    again = data.train_dataloader()
    again.load_state_dict({"epoch": 0, "position": len(before)})
    for a, b in zip([*before, *again], whole, strict=True):
        assert isinstance(a, Segment)
        assert torch.equal(a.x, b.x)
        assert a.first == b.first


def test_a_stock_trainer_gets_the_same_segments_each_epoch(write):
    class Listener(lightning.LightningModule):
        automatic_optimization = False
        seen: ClassVar[dict[str, list[Segment]]] = {"train": [], "val": []}

        def training_step(self, batch, _):
            self.seen["train"].append(batch)

        def validation_step(self, batch, _):
            self.seen["val"].append(batch)

        def configure_optimizers(self):
            return None

    data = ready(write(words(1000)))
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    quiet |= {"enable_model_summary": False, "num_sanity_val_steps": 0}
    lightning.Trainer(accelerator="cpu", max_epochs=2, **quiet).fit(Listener(), data)
    for split, loader in (("train", data.train_dataloader()), ("val", data.val_dataloader())):
        expected = [*loader, *loader]
        assert len(Listener.seen[split]) == len(expected) > 2
        for found, segment in zip(Listener.seen[split], expected, strict=True):
            assert torch.equal(found.x, segment.x)
            assert torch.equal(found.y, segment.y)
            assert found.first is segment.first


def test_parts_follow_each_other_and_the_vocabulary_is_that_of_training(write):
    text = words(600) + words(200, alphabet="abc") + words(200, alphabet="bcd")
    data = ready(write(text), fractions=[0.6, 0.2, 0.2])
    assert data.spec == {"kind": "text", "vocabulary": "\n abcdef", "vocabulary_size": 8, "unknown": "skip"}
    assert data.decode(data.rows("val")[0]) == text[600 : 600 + len(data.rows("val")[0])]
    assert data.decode(data.rows("test")[0]) == text[800 : 800 + len(data.rows("test")[0])]


def test_characters_that_training_lacks_follow_the_rule(write):
    path = write(words(500) + "zaqbz" + words(495))
    with pytest.raises(
        UserError, match=r"the validation part has .*'q' \(U\+0071\), 'z' .*data\.unknown=skip"
    ):
        ready(path, fractions=[0.5, 0.5, 0], unknown="error")
    skipping = ready(path, fractions=[0.5, 0.5, 0], unknown="skip")
    assert skipping.decode(skipping.rows("val")[0])[:10] == "ab" + words(8)
    replacing = ready(path, fractions=[0.5, 0.5, 0], unknown="replace")
    assert replacing.rows("val")[0, :5].tolist() == replacing.encode("zaqbz").tolist()
    assert replacing.decode(replacing.rows("val")[0, :5]) == "\ufffda\ufffdb\ufffd"
    assert replacing.spec["vocabulary_size"] == 9


def test_a_trained_vocabulary_can_be_taken(write):
    trained = ready(write(words(500)))
    new = Chars(path=write(words(500, 1, "abc"), "new.txt"), segment=7, batch_size=4)
    new.with_spec(trained.spec)
    new.setup()
    assert new.spec == trained.spec
    assert trained.decode(new.rows("val")[0]) == words(500, 1, "abc")[450:459]
    stranger = Chars(path=write("x" * 500, "x.txt"), unknown="error")
    stranger.with_spec(trained.spec)
    with pytest.raises(UserError, match=r"the training part has .*'x'"):
        stranger.setup()
    with pytest.raises(UserError, match="was not trained with it"):
        Chars(unknown="replace").with_spec(trained.spec)
    with pytest.raises(
        UserError, match=r"outside the model's vocabulary: .* data\.unknown=skip leaves them out$"
    ):
        stranger.with_spec(trained.spec).setup()


def test_a_new_text_as_a_whole_is_called_the_text(write):
    trained = ready(write(words(500)))
    whole = Chars(path=write(words(50) + "é", "w.txt"), segment=7, batch_size=4, fractions=[0.0, 0.0, 1.0])
    whole.with_spec(trained.spec).setup()
    assert whole.remarks[0].startswith("the text: 1 of 51 characters left out")
    short = Chars(path=write("a", "s.txt"), segment=7, batch_size=4, fractions=[0.0, 0.0, 1.0])
    with pytest.raises(UserError, match=r"^the text is too short: it has 1 character, and needs 2$"):
        short.with_spec(trained.spec).setup()


def test_limit_takes_the_first_characters(write):
    data = ready(write(words(1000) + "§"), limit=400, fractions=[1, 0, 0])
    assert data.facts("train")["characters"] == 400
    assert data.content_hash == ready(write(words(400), "b.txt"), fractions=[1, 0, 0]).content_hash


def test_the_hash_is_that_of_the_text_and_its_split(write):
    path = write("é" + words(999))
    data = ready(path, fractions=[0.8, 0.2, 0])
    assert data.content_hash == hashlib.sha256(("é" + words(999)).encode() + b"|800|1000").hexdigest()
    latin = write(("é" + words(999)).encode("latin-1"), "latin.txt")
    assert ready(latin, fractions=[0.8, 0.2, 0], encoding="latin-1").content_hash == data.content_hash
    assert ready(path, fractions=[0.9, 0.1, 0]).content_hash != data.content_hash


def test_a_byte_order_mark_is_no_character(write):
    assert ready(write("\ufeff" + words(500))).content_hash == ready(write(words(500), "b.txt")).content_hash


def test_setup_works_once_and_reads_no_file_again(write, tmp_path):
    data = ready(write(words(500)))
    rows = data.rows("train")
    (tmp_path / "text.txt").unlink()
    data.setup("fit")
    assert data.rows("train").data_ptr() == rows.data_ptr()


def test_baselines_score_what_the_loader_gives(write):
    """Unigram and bigram, counted by hand from the batches themselves."""
    data = ready(write(words(4000)), fractions=[0.8, 0.2, 0])
    text, size = data.encode(words(4000)[:3200]).numpy(), 8
    x, y = (torch.cat([b[i] for b in data.val_dataloader()], 1).numpy() for i in (0, 1))
    unigram = (np.bincount(text, minlength=size) + size / size) / (len(text) + size)
    pairs = np.zeros((size, size))
    np.add.at(pairs, (text[:-1], text[1:]), 1)
    kinds = (pairs > 0).sum(1, keepdims=True)
    bigram = (pairs + kinds * unigram) / (pairs.sum(1, keepdims=True) + kinds)
    scores = data.baselines("val")
    assert list(scores) == ["uniform", "unigram", "bigram", "5-gram"]
    for name, p in {
        "uniform": np.full(y.shape, 1 / size),
        "unigram": unigram[y],
        "bigram": bigram[x, y],
    }.items():
        nats = -np.log(p).mean()
        expected = {"nats": nats, "bits": nats / math.log(2), "perplexity": math.exp(nats)}
        assert scores[name] == pytest.approx(expected, rel=1e-12)
    assert data.baselines("val") is scores


def test_only_the_last_training_characters_are_counted(write, monkeypatch):
    monkeypatch.setattr(chars, "COUNTED", 300)
    text = "b" * 600 + words(300, alphabet="ab") + words(100, alphabet="ab")
    long = ready(write(text), fractions=[0.9, 0.1, 0])
    short = ready(write(text[600:], "short.txt"), fractions=[0.75, 0.25, 0])
    assert long.baselines("val") == short.baselines("val")


def test_the_embedded_corpus_trains_with_the_defaults():
    data = Chars()
    data.prepare_data()
    data.setup()
    first = next(iter(data.train_dataloader()))
    assert first.x.shape == (50, 50)
    assert Vocabulary.from_spec(data.spec).decode(first.x[0]).startswith('The "assert" statement\n')
    scores = [data.baselines("val")[name]["bits"] for name in ("uniform", "unigram", "bigram", "5-gram")]
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] < 2.5


def test_split_by_rows_is_char_rnns(tmp_path):
    """Against char-rnn's layout written out: rows first, then the last share of each for validation."""
    text = "".join(chr(97 + (i * i + i // 7) % 26) for i in range(1000))
    (tmp_path / "t.txt").write_text(text)
    data = Chars(
        path=str(tmp_path / "t.txt"), fractions=(0.8, 0.2, 0.0), segment=6, batch_size=4, split="rows"
    )
    data.setup()
    segments = 999 // 24
    length, cut = segments * 6, round(0.8 * segments) * 6
    for split, a, b in (("train", 0, cut), ("val", cut, length)):
        rows = data.rows(split)
        for r in range(4):
            assert data.decode(rows[r, :-1]) == text[r * length + a : r * length + b]
            assert data.decode(rows[r, 1:]) == text[r * length + a + 1 : r * length + b + 1]
    batches = list(data.loader("val"))
    assert [b.first for b in batches] == [True] + [False] * (len(batches) - 1)
    assert sum(b.x.numel() for b in batches) == 4 * (length - cut)
    assert data.loader("test") is None
    assert data.baselines("val")["unigram"]["nats"] > 0


def test_a_text_too_short_for_its_rows(tmp_path):
    (tmp_path / "t.txt").write_text("abc" * 5)
    with pytest.raises(UserError, match="too short"):
        Chars(path=str(tmp_path / "t.txt"), segment=6, batch_size=4, split="rows").setup()


def test_several_files_and_folders_and_gzipped_ones_are_one_text(tmp_path):
    (tmp_path / "b.txt").write_text("beta " * 200)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "c.md.gz").write_bytes(gzip.compress(b"gamma " * 200))
    (tmp_path / "a.bin").write_bytes(b"\xff")
    whole = "beta " * 200 + "\n" + "gamma " * 200
    (tmp_path / "whole.text").write_text(whole)
    small = {"segment": 10, "batch_size": 4}
    listed = [str(tmp_path / "b.txt"), str(tmp_path / "sub" / "c.md.gz")]
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "1.txt").write_text(whole)
    hashes = set()
    for path in (listed, str(tmp_path / "whole.text"), str(tmp_path / "folder")):
        data = Chars(path=path, **small)
        data.setup()
        hashes.add(data.content_hash)
    assert len(hashes) == 1
    with pytest.raises(UserError, match="the folder holds no text"):
        (tmp_path / "none").mkdir()
        Chars(path=str(tmp_path / "none")).setup()


def test_unknown_characters_are_left_out_and_counted(tmp_path):
    (tmp_path / "t.txt").write_text("ab" * 1000 + "abxyzx" * 20)
    data = Chars(path=str(tmp_path / "t.txt"), segment=10, batch_size=4, fractions=(0.9, 0.1, 0.0))
    data.setup()
    assert data.remarks == [
        "the validation part: 80 of 212 characters left out, as training has none like them: "
        "'x' (U+0078), 'y' (U+0079), 'z' (U+007A)"
    ]
    assert data.facts("val")["characters"] == 132


def test_unknown_characters_that_are_replaced_are_other_data(write):
    """The hash of `skip`, the default, is that of the text and its cuts."""
    text = "ab" * 1000 + "abxy" * 20
    path = write(text)
    left_out, replaced = (
        ready(path, fractions=[0.9, 0.1, 0], unknown=rule).content_hash for rule in ("skip", "replace")
    )
    assert left_out == hashlib.sha256(f"{text}|1872|2080".encode()).hexdigest() != replaced
    known = write(words(500), "known.txt")
    assert len({ready(known, unknown=rule).content_hash for rule in ("skip", "replace", "error")}) == 1


def test_a_validation_text_of_its_own(tmp_path):
    (tmp_path / "t.txt").write_text("abc" * 1000)
    (tmp_path / "v.txt").write_text("cba" * 100)
    data = Chars(path=str(tmp_path / "t.txt"), val_path=str(tmp_path / "v.txt"), segment=10, batch_size=4)
    data.setup()
    assert data.decode(data.rows("val")[0, :6]) == "cbacba"
    assert [data.facts(s)["characters"] for s in ("train", "val", "test")] == [2850, 300, 150]
    other = Chars(path=str(tmp_path / "t.txt"), segment=10, batch_size=4)
    other.setup()
    assert data.content_hash != other.content_hash
    same = Chars(path=tmp_path / "t.txt", val_path=[tmp_path / "v.txt"], segment=10, batch_size=4)
    same.setup()
    assert data.content_hash == same.content_hash
    whole = Chars(
        path=tmp_path / "t.txt", val_path=str(tmp_path / "gone.txt"), fractions=(0, 0, 1), segment=10
    )
    whole.with_spec(data.spec).setup()  # as in an evaluation elsewhere
    assert whole.facts("test")["characters"] == 3000 and whole.loader("val") is None


@pytest.mark.parametrize("held_out", ["h", "xyz"])
def test_a_validation_text_with_nothing_to_score_is_refused(tmp_path, held_out):
    (tmp_path / "t.txt").write_text("hello world. " * 50)
    (tmp_path / "v.txt").write_text(held_out)
    data = Chars(path=str(tmp_path / "t.txt"), val_path=str(tmp_path / "v.txt"), fractions=(1, 0, 0), batch_size=4,
                 segment=5)  # fmt: skip
    with pytest.raises(UserError, match="too short"):
        data.setup()
