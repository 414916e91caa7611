import pytest
import torch

from rnnlab.data import vocabulary
from rnnlab.data.vocabulary import Vocabulary, listed
from rnnlab.errors import UserError

TEXT = "naïve Ω 🙂 zebra\n"


def test_ids_are_places_in_the_sorted_characters_and_decode_is_the_inverse(monkeypatch):
    monkeypatch.setattr(vocabulary, "CHUNK", 5)
    v = Vocabulary.of(TEXT)
    ids = v.encode(TEXT)
    assert v.characters == "".join(sorted(set(TEXT)))
    assert ids.dtype == torch.int64
    assert ids.tolist() == [v.characters.index(c) for c in TEXT]
    assert v.decode(ids) == v.decode(ids.tolist()) == v.decode(ids.numpy()) == TEXT
    assert v.encode("").shape == (0,)
    assert v.decode([]) == ""


def test_error_lists_the_unknown_characters():
    with pytest.raises(UserError, match=r"'!' \(U\+0021\), '😀' \(U\+1F600\)") as caught:
        Vocabulary.of(TEXT).encode("zebra! 😀!")
    assert "\n" not in str(caught.value)


def test_skip_leaves_unknown_characters_out():
    v = Vocabulary.of(TEXT, "skip")
    assert v.decode(v.encode("😀z!e\x00bra")) == "zebra"


def test_replace_gives_unknown_characters_the_last_id():
    v = Vocabulary.of(TEXT, "replace")
    assert len(v) == len(set(TEXT)) + 1
    assert v.encode("z!\U0010ffff").tolist() == [v.characters.index("z"), len(v) - 1, len(v) - 1]
    assert v.decode(v.encode("z!😀")) == "z\ufffd\ufffd"


def test_replace_shares_its_id_with_a_replacement_character_of_the_text():
    v = Vocabulary.of("a\ufffd😀", "replace")
    assert v.characters == "a😀\ufffd"
    assert v.encode("\ufffdb").tolist() == [2, 2]


@pytest.mark.parametrize("rule", ["error", "skip", "replace"])
def test_a_spec_is_enough(rule):
    v = Vocabulary.of(TEXT, rule)
    again = Vocabulary.from_spec({"vocabulary": v.characters, "unknown": rule})
    assert again.unknown == rule
    assert torch.equal(again.encode(TEXT), v.encode(TEXT))


def test_an_unknown_rule_is_refused():
    with pytest.raises(UserError, match=r"data\.unknown=replce.*Did you mean replace"):
        Vocabulary("ab", "replce")


def test_a_long_list_is_cut():
    assert listed("abcd", most=2) == "'a' (U+0061), 'b' (U+0062) and 2 more"
