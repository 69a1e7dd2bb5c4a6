"""The contact sheet: one row per model and number of steps, the same noise and prompt down each column."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from safetensors.numpy import load_file

from tasks.evaluate.cells import Cell
from tasks.roles import Role

FEW = 4
CELL, GAP, MARGIN, LABEL, LINE = 96, 6, 16, 118, 15
LARGEST = 256  # pixels per side in the page; larger pictures are shrunk


@dataclass(frozen=True)
class Row:
    """The pictures uint8 [n, H, W, 3] of a cell."""

    cell: Cell
    pictures: NDArray[np.uint8]

    @property
    def role(self) -> Role:
        """Of the model that drew them."""
        return self.cell.role

    @property
    def steps(self) -> int:
        """In how many they were drawn; 0 where nobody knows."""
        return self.cell.steps or 0


@dataclass(frozen=True)
class ContactSheet:
    """Rows from the teacher to the direct student, and the prompt of each column."""

    prompts: Sequence[str]
    rows: Sequence[Row]

    def shown(self) -> list[Row]:
        """What tells the story: every model in its most steps, a flow in few steps too."""
        full = {row.role.name: max(r.steps for r in self.rows if r.role == row.role) for row in self.rows}
        return [
            row
            for row in self.rows
            if row.steps == full[row.role.name] or (row.role.sampling == "flow" and row.steps <= FEW)
        ]

    def others(self) -> list[Row]:
        """The remaining rows."""
        told = [row.cell for row in self.shown()]
        return [row for row in self.rows if row.cell not in told]


def read_contact_sheet(tensors: Path, prompts: Path, columns: int, cells: Sequence[Cell]) -> ContactSheet:
    """The first columns of `contact.safetensors` (uint8 [n, 3, H, W] by a cell's name) and `contact.json`."""
    texts: list[str] = json.loads(prompts.read_text())["prompts"]
    pictures, roles = load_file(tensors), [cell.role for cell in cells]
    rows = [Row(cell, pictures[cell.name][:columns].transpose(0, 2, 3, 1)) for cell in cells]
    rows.sort(key=lambda row: (roles.index(row.role), -row.steps, row.cell.guidance or 0))
    return ContactSheet(texts[: min(columns, *(len(row.pictures) for row in rows))], rows)


def to_data_uri(picture: NDArray[np.uint8]) -> str:
    """A picture [H, W, 3] as a PNG in a data URI, pixel by pixel unless it is larger than LARGEST."""
    image = Image.fromarray(picture)
    if max(image.size) > LARGEST:
        image.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def draw(sheet: ContactSheet) -> Image.Image:
    """The sheet as one picture, for the README; small pictures are enlarged by whole factors, unblurred."""
    rows, font, bold = sheet.shown(), _font("DejaVuSans.ttf", 11), _font("DejaVuSans-Bold.ttf", 12)
    cells = [[_enlarged(picture) for picture in row.pictures[: len(sheet.prompts)]] for row in rows]
    width, height = cells[0][0].size
    captions = [_wrapped(prompt, font, width) for prompt in sheet.prompts]
    top = MARGIN + LINE * max(len(lines) for lines in captions) + GAP
    size = (
        2 * MARGIN + LABEL + len(captions) * (width + GAP) - GAP,
        top + len(rows) * (height + GAP) - GAP + MARGIN,
    )
    canvas = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(canvas)
    for column, lines in enumerate(captions):
        x, y = MARGIN + LABEL + column * (width + GAP), top - GAP - LINE * len(lines)
        for number, line in enumerate(lines):
            pen.text((x, y + LINE * number), line, fill="#1c2127", font=font)
    for number, (row, pictures) in enumerate(zip(rows, cells, strict=True)):
        y = top + number * (height + GAP)
        pen.rectangle((MARGIN, y, MARGIN + 3, y + height - 1), fill=row.role.colour)
        pen.text((MARGIN + 12, y + height // 2 - 16), row.role.label, fill="#1c2127", font=bold)
        for place, told in enumerate(row.cell.label.split(", ")):
            pen.text((MARGIN + 12, y + height // 2 + 1 + LINE * place), told, fill="#5c6670", font=font)
        for column, picture in enumerate(pictures):
            canvas.paste(picture, (MARGIN + LABEL + column * (width + GAP), y))
    return canvas


def _enlarged(picture: NDArray[np.uint8]) -> Image.Image:
    image = Image.fromarray(picture)
    if max(image.size) > LARGEST:
        image.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    factor = max(1, CELL // max(image.size))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/{name}", size)


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: int, most: int = 6) -> list[str]:
    """The text in lines no wider than `width` pixels, at most `most` of them."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(_cut(word, font, width))
    lines = [line for line in lines if line] or [""]
    return lines if len(lines) <= most else [*lines[: most - 1], _cut(lines[most - 1] + " …", font, width)]


def _cut(word: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    while font.getlength(word) > width:
        word = word.rstrip("…")[:-1] + "…"
    return word
