"""One byte-pair vocabulary for both text towers: transformers' CLIP tokenizer and open_clip's read the same merges."""

import gzip
from collections.abc import Iterable
from pathlib import Path

from open_clip.tokenizer import SimpleTokenizer, bytes_to_unicode
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import CLIPTokenizer

CONTEXT_LENGTH = 24
END_OF_WORD = "</w>"

Merges = list[tuple[str, str]]


def learn_merges(captions: Iterable[str]) -> Merges:
    """Byte-pair merges under which every word of ``captions`` becomes one token; other text falls back to bytes."""
    bpe = Tokenizer(BPE(end_of_word_suffix=END_OF_WORD))
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Punctuation("removed"), pre_tokenizers.Whitespace()])
    texts = list(captions)
    letters = sorted({*"".join(texts)})
    # Ties are broken by number, and letters at the end of a word would be numbered in the order of a hash map.
    numbered = letters + [letter + END_OF_WORD for letter in letters]
    trainer = BpeTrainer(vocab_size=5_000, special_tokens=numbered, end_of_word_suffix=END_OF_WORD, show_progress=False)
    bpe.train_from_iterator(texts, trainer)
    ids = {index: token for token, index in bpe.get_vocab().items()}
    merged = [ids[index] for index in range(len(ids)) if len(ids[index].removesuffix(END_OF_WORD)) > 1]
    return _split_all(merged)


def _split_all(merged: list[str]) -> Merges:
    """Recover the pair each merged token was made of: both halves are single letters or earlier merges."""
    known: set[str] = set()
    merges: Merges = []
    for token in merged:
        letters = len(token.removesuffix(END_OF_WORD))
        halves = [(token[:cut], token[cut:]) for cut in range(1, letters)]
        merges.append(
            next((a, b) for a, b in halves if all(len(h.removesuffix(END_OF_WORD)) == 1 or h in known for h in (a, b)))
        )
        known.add(token)
    return merges


def transformers_tokenizer(merges: Merges) -> CLIPTokenizer:
    """The tokenizer of the teacher's text encoder, with open_clip's numbering of the tokens."""
    alphabet = list(bytes_to_unicode().values())
    tokens = alphabet + [letter + END_OF_WORD for letter in alphabet] + ["".join(pair) for pair in merges]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=CONTEXT_LENGTH)


def write_open_clip_merges(merges: Merges, path: Path) -> None:
    """Write ``merges`` as the gzip file that open_clip's tokenizer reads (first line: a version)."""
    text = "\n".join(["#version: 0.2", *(" ".join(pair) for pair in merges)])
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def open_clip_tokenizer(path: Path) -> SimpleTokenizer:
    """open_clip's own tokenizer over the merges in ``path``."""
    return SimpleTokenizer(bpe_path=str(path), context_length=CONTEXT_LENGTH)
