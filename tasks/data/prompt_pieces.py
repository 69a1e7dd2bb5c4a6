"""A source of prompts as its pieces, whatever its format. Light: headers can be looked at before there is a network."""

from __future__ import annotations

from infra.artifact import Files
from tasks.data.prompt_filters import columns
from tasks.data.prompt_parquet import parquet_pieces
from tasks.data.prompt_sources import Piece, caption_pieces, jsonl_pieces, text_pieces
from tasks.sections import Prompts


def pieces(config: Prompts, files: Files) -> list[Piece]:
    """The pieces of the files that a recipe names.

    Raises UserError, naming the recipe's field, for what headers and first lines tell: files of another format, columns
    that are missing or of another type.
    """
    match config.source:
        case "coco":
            return caption_pieces(files)
        case "text":
            return text_pieces(files)
        case "jsonl":
            return jsonl_pieces(files, columns(config))
        case "parquet":
            return parquet_pieces(files, columns(config))
        case "mini":
            raise ValueError("the grammar lies in no files")
