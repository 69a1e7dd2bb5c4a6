"""One vocabulary for two tokenizers: every word of the grammar is a token, and both agree."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import SimpleTokenizer
from transformers import CLIPTokenizer

from models.mini.captions import caption
from models.mini.scene import ATTRIBUTES, generator
from models.mini.tokenizer import (
    CONTEXT_LENGTH,
    learn_merges,
    open_clip_tokenizer,
    transformers_tokenizer,
    write_open_clip_merges,
)
from tests.models.mini.drawn import scene

Tokenizers = tuple[CLIPTokenizer, SimpleTokenizer]


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> Tokenizers:
    merges = learn_merges(caption(scene(i), generator(0, i)) for i in range(500))
    path = tmp_path_factory.mktemp("vocabulary") / "merges.txt.gz"
    write_open_clip_merges(merges, path)
    return transformers_tokenizer(merges), open_clip_tokenizer(path)


def test_every_word_of_the_grammar_is_one_token(tokenizers: Tokenizers) -> None:
    teacher, clip = tokenizers
    words = {word for values in ATTRIBUTES.values() for word in values}
    words |= {*"a an there is picture of in the on at shape background centre".split()}
    for word in sorted(words):
        assert len(teacher(word).input_ids) == len(clip.encode(word)) + 2 == 3, word


def test_every_caption_fits_the_context(tokenizers: Tokenizers) -> None:
    texts = [caption(scene(i), generator(3, i)) for i in range(500)]
    assert max(len(ids) for ids in tokenizers[0](texts).input_ids) <= CONTEXT_LENGTH


def test_the_vocabulary_does_not_depend_on_the_order_of_the_captions() -> None:
    texts = [caption(scene(i), generator(0, i)) for i in range(300)]
    assert learn_merges(texts) == learn_merges(texts[::-1])


def test_the_vocabulary_of_a_few_captions_is_always_the_same() -> None:
    texts = [caption(scene(i), generator(0, i)) for i in range(12)]  # so few that many pairs are equally frequent
    assert len({tuple(learn_merges(texts)) for _ in range(50)}) == 1


# The long s: open_clip, ignoring case, takes it for an s, as in "'s".
characters = st.characters(exclude_categories=["Cs", "Cn", "Co"], exclude_characters="ſ")


texts = st.text(characters, max_size=12) | st.text("a redrings,.'0🐈é日", max_size=60)


@settings(max_examples=400, derandomize=True, deadline=None)
@given(texts)
@example("a large red circle")
@example("")
@example("don't 12 naïve 日本語 🐈‍⬛, {cats}\tand\n\ndogs!")
@example("a " * 40)
def test_both_tokenizers_agree(tokenizers: Tokenizers, text: str) -> None:
    teacher, clip = tokenizers
    # open_clip also mends broken encodings, entities and ligatures; what it leaves alone must give the same ids.
    clean = clip.clean_fn(text)
    assume(clean == unicodedata.normalize("NFC", clean) and clean == clip.clean_fn(clean))
    ours = teacher(clean, truncation=True).input_ids
    theirs = clip([clean])[0].tolist()
    end = theirs.index(clip.eot_token_id) + 1
    assert ours == theirs[:end] and not any(theirs[end:])
