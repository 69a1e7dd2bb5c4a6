"""Every kind of picture becomes the RGB picture that a person sees, or is named."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from infra.errors import UserError
from tasks.data.pictures import check_pictures, faults, read_picture
from tests import ROOT

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (24, 32), np.uint8)
COLOUR = RNG.integers(0, 256, (24, 32, 3), np.uint8)


def read(path: Path) -> np.ndarray:
    picture = read_picture(path)
    assert picture.mode == "RGB"
    return np.asarray(picture)


def saved(path: Path, values: np.ndarray | Image.Image, **how: object) -> Path:
    (values if isinstance(values, Image.Image) else Image.fromarray(values)).save(path, **how)  # type: ignore[arg-type]
    return path


def test_colour_is_taken_as_it_is_and_grey_three_times(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read(saved(tmp_path / "a.png", COLOUR)), COLOUR)
    np.testing.assert_array_equal(read(saved(tmp_path / "b.png", GREY)), np.stack([GREY] * 3, 2))
    black_or_white = Image.fromarray(GREY).convert("1")
    np.testing.assert_array_equal(
        read(saved(tmp_path / "c.png", black_or_white)), np.asarray(black_or_white.convert("RGB"))
    )


def test_a_palette_becomes_its_colours(tmp_path: Path) -> None:
    palette = Image.fromarray(COLOUR).quantize(16)
    np.testing.assert_array_equal(read(saved(tmp_path / "a.png", palette)), np.asarray(palette.convert("RGB")))


def test_cmyk_is_converted_by_pillows_formula(tmp_path: Path) -> None:
    printed = Image.merge("CMYK", [Image.new("L", (8, 8), value) for value in (0, 255, 51, 0)])
    found = read(saved(tmp_path / "a.tif", printed))
    np.testing.assert_array_equal(found, np.broadcast_to(np.array([255, 0, 204], np.uint8), (8, 8, 3)))
    found = read(saved(tmp_path / "a.jpg", printed, quality=100))
    assert np.abs(found.astype(int) - [255, 0, 204]).max() <= 4, "JPEG"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_as_the_camera_was(orientation: int, tmp_path: Path) -> None:
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # Image.Transpose: what the viewer does
    given, exif = Image.fromarray(COLOUR), Image.Exif()
    exif[0x0112] = orientation
    upright = given if orientation == 1 else given.transpose(Image.Transpose(turns[orientation]))
    for name in ("a.png", "a.tif"):
        np.testing.assert_array_equal(read(saved(tmp_path / name, given, exif=exif)), np.asarray(upright))
    saved(tmp_path / "a.jpg", given, exif=exif, quality=95)
    assert read(tmp_path / "a.jpg").shape == np.asarray(upright).shape


def test_sixteen_bits_become_eight_by_the_high_byte(tmp_path: Path) -> None:
    wide = GREY.astype(np.uint16) * 257  # 8 bits made 16 as is usual: 255 becomes 65535
    np.testing.assert_array_equal(read(saved(tmp_path / "a.png", wide)), np.stack([GREY] * 3, 2))
    np.testing.assert_array_equal(read(saved(tmp_path / "a.tif", wide)), np.stack([GREY] * 3, 2))


def test_sixteen_bit_grey_with_a_transparent_value_is_on_white(tmp_path: Path) -> None:
    wide = GREY.astype(np.uint16) * 257
    path = saved(tmp_path / "a.png", wide, transparency=int(wide[0, 0]))
    expected = np.where(wide == wide[0, 0], 255, GREY)
    np.testing.assert_array_equal(read(path), np.stack([expected] * 3, 2))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_on_white(mode: str, tmp_path: Path) -> None:
    half = np.dstack([np.full((4, 4, 3), 60, np.uint8), np.array([[0, 85, 170, 255]] * 4, np.uint8)])
    picture = Image.fromarray(half)
    found = read(saved(tmp_path / "a.png", picture.quantize(8) if mode == "P" else picture.convert(mode)))
    expected = np.array([255, 190, 125, 60])
    assert np.abs(found[0, :, 0].astype(int) - expected).max() <= (8 if mode == "P" else 1)


def test_a_transparent_colour_is_on_white(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", COLOUR, transparency=tuple(int(x) for x in COLOUR[0, 0]))
    expected = COLOUR.copy()
    expected[(COLOUR == COLOUR[0, 0]).all(2)] = 255
    np.testing.assert_array_equal(read(path), expected)


def test_a_moving_picture_is_its_first_frame(tmp_path: Path) -> None:
    first, second = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    path = saved(tmp_path / "a.gif", first, save_all=True, append_images=[second])
    assert (read(path) == [255, 0, 0]).all()


def test_values_without_a_range_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.tif", GREY.astype(np.float32))
    with pytest.raises(UserError, match=r"a\.tif: floating-point numbers .*mode F.* expected 8 or 16 bits"):
        read_picture(path)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def huge(path: Path, width: int, height: int) -> Path:
    """A PNG of that many pixels, by its header."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""))
    return path


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [10_000, 20_000])
def test_too_large_a_picture_is_named_by_its_header(side: int, tmp_path: Path) -> None:
    path = huge(tmp_path / "huge.png", side, side)
    with pytest.raises(UserError, match=r"huge\.png: .*expected at most 89478485 pixels\. Shrink"):
        read_picture(path)
    assert "Shrink" in str(next(faults(tmp_path, ["huge.png"])))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("kind", ["png", "jpg", "gif", "tif", "webp", "bmp"])
@pytest.mark.parametrize("kept", [0, 10, 0.5])
def test_a_cut_off_file_is_named(kind: str, kept: float, tmp_path: Path) -> None:
    path = saved(tmp_path / f"cut.{kind}", COLOUR)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if isinstance(kept, float) else kept])
    with pytest.raises(UserError, match=rf"cut\.{kind}: broken picture: .*expected a whole image file .*coco\.images"):
        read_picture(path)


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_a_cut_off_file_is_found_without_decoding_it(kind: str, tmp_path: Path) -> None:
    data = saved(tmp_path / f"whole.{kind}", COLOUR).read_bytes()
    (tmp_path / f"cut.{kind}").write_bytes(data[:-16])
    (tmp_path / f"more.{kind}").write_bytes(data + bytes(100_000))
    names = [f"whole.{kind}", f"cut.{kind}", f"more.{kind}"]
    whole, cut, more = faults(tmp_path, names)
    assert whole is None and more is None and "cut short, without the mark at the end" in str(cut)


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "page.jpg").write_text("<html>404</html>")
    with pytest.raises(UserError, match=r"page\.jpg: broken picture: cannot identify"):
        read_picture(tmp_path / "page.jpg")
    with pytest.raises(UserError, match=r"none\.jpg: no such picture; .*coco\.images"):
        read_picture(tmp_path / "none.jpg")
    with pytest.raises(UserError, match="no such picture"):
        read_picture(tmp_path)


def test_a_folder_is_looked_through_and_the_first_faults_are_told(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(20)]
    for name in names:
        saved(tmp_path / name, GREY)
    counted: list[int] = []
    check_pictures(tmp_path, names, counted.append)
    assert sum(counted) == 20
    for name in ("3.png", "7.png", "8.png", "11.png", "19.png"):
        (tmp_path / name).unlink()
    with pytest.raises(UserError) as raised:
        check_pictures(tmp_path, names)
    first, second, third, rest = str(raised.value).splitlines()
    assert "3.png" in first and "7.png" in second and "8.png" in third
    assert rest == "... and 2 more of 20 pictures"
    with pytest.raises(UserError, match=r"nowhere: no such folder; .*coco\.images"):
        check_pictures(tmp_path / "nowhere", names)


def test_the_search_ends_when_it_is_not_wanted(tmp_path: Path) -> None:
    def stop(_: int) -> None:
        raise InterruptedError

    names = [saved(tmp_path / f"{number}.png", GREY).name for number in range(3)]
    with pytest.raises(InterruptedError):
        check_pictures(tmp_path, names, stop)


def test_looking_takes_no_torch() -> None:
    code = "import sys, tasks.data.pictures, tasks.data.coco; assert not {'torch', 'numpy'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
