"""One image file as pixels of the packed size. Runs in worker processes: imports little."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageFile, ImageOps, JpegImagePlugin, TiffImagePlugin, UnidentifiedImageError

TiffImagePlugin.READ_LIBTIFF = True  # without it Pillow scrambles uncompressed files that lie on their side

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".jp2")
UNREAD = (".heic", ".heif", ".jxl", ".dng", ".nef", ".cr2", ".cr3", ".arw", ".raf", ".psd", ".svg", ".dcm")
# No other plugin of Pillow sees a file, whatever its name: the one for EPS runs an interpreter. JPEG's reads MPO too.
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000")
MODES = {1: "L", 3: "RGB"}
DRAFT = 2  # JPEGs are decoded to at least this many times the packed size: their own reduction is fast
BLANK_RANGE = 2  # gray levels between the darkest and the brightest value of an image that shows nothing
MOST_PIXELS = 178_956_970  # decoded at most: beyond it, Pillow itself warns of a decompression bomb
MOST_BYTES = 2 * 10**9  # of memory for one image
CODEC_BYTES = {"WEBP": 6, "AVIF": 4, "JPEG2000": 7}  # per pixel and band, measured: these don't say that memory ran out
BLOCK = 2**18  # pixels that are converted at a time
TOO_LARGE = f"needs more than {MOST_BYTES / 1e9:g} GB to decode: make it smaller"
BOMB = f"a decompression bomb, more than {MOST_PIXELS / 1e6:.0f} million pixels: make it smaller"


class Decoded(NamedTuple):
    pixels: np.ndarray  # uint8 (channels, size, size)
    width: int  # of the image in the file, turned upright
    height: int

    @property
    def blank(self) -> bool:
        """Whether every channel has a single value, but for noise of a gray level either way."""
        flat = self.pixels.reshape(len(self.pixels), -1)
        return int((flat.max(1).astype(int) - flat.min(1)).max()) <= BLANK_RANGE


def decode(path: str | Path, size: int, channels: int, bits: int) -> Decoded:
    """The first frame, turned upright as EXIF says, over white where transparent, cut to its central square.

    ``bits`` is how many bits the values of 16-bit files use: 12 for many cameras and microscopes. Raises ValueError
    on what isn't an image of FORMATS, is damaged, or would take absurdly much memory (a decompression bomb).
    """
    if str(path).lower().endswith(UNREAD):
        raise ValueError(f"{Path(path).suffix.lower()} isn't read: save it as PNG or JPEG")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata, large images; those of twice MOST_PIXELS raise
            return _decode(path, size, channels, bits)
    except Exception as error:  # on damaged files, Pillow's plugins raise all kinds of errors
        raise ValueError(_reason(error)) from None


def _decode(path: str | Path, size: int, channels: int, bits: int) -> Decoded:
    with _open(path) as image:
        # the size in the file: draft changes image.size
        width, height = image.size
        image.draft(image.mode, (DRAFT * size, DRAFT * size))  # a JPEG is decoded no larger than needed
        _refuse_bombs(image, width * height)
        image.load()
        plain = _plain(_upright(_eight_bits(image, bits)), MODES[channels])
    packed = (size, size)
    square = plain if plain.size == packed else ImageOps.fit(plain, packed, Image.Resampling.LANCZOS)
    square = square if square.mode == MODES[channels] else square.convert(MODES[channels])
    pixels = np.asarray(square).reshape(size, size, channels).transpose(2, 0, 1)
    lying = (plain.width > plain.height) != (width > height)  # turned by a quarter
    return Decoded(pixels, *((height, width) if lying else (width, height)))


def _open(path: str | Path) -> ImageFile.ImageFile:
    try:
        return Image.open(path, formats=FORMATS)
    except Image.DecompressionBombError:
        with suppress(SyntaxError):  # it is no JPEG
            return JpegImagePlugin.JpegImageFile(path)  # decoded smaller: its size in the file doesn't count
        raise


def _refuse_bombs(image: ImageFile.ImageFile, whole: int) -> None:
    """``whole``: pixels in the file. Raises DecompressionBombError or MemoryError, as decoding would, but at once."""
    pixels, bands = image.width * image.height, len(image.getbands())
    if pixels > MOST_PIXELS:
        raise Image.DecompressionBombError
    needed = CODEC_BYTES.get(image.format or "", 0) * bands * pixels
    if image.info.get("progressive"):
        needed = 2 * bands * whole  # libjpeg holds the coefficients of all pixels, whatever the size it decodes to
    if needed > MOST_BYTES:
        raise MemoryError


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "no image in it"
    if isinstance(error, Image.DecompressionBombError):
        return BOMB
    said = " ".join((getattr(error, "strerror", None) or str(error)).split())  # without the path
    if MemoryError in (type(error), type(error.__cause__)) or "out of memory" in said.lower():
        return TOO_LARGE
    if said == "could not create decoder object":  # WebP's, before its size is known
        return f"{said}: damaged, or it {TOO_LARGE}"
    return said or type(error).__name__


def _by_rows(image: Image.Image, mode: str, change: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """The image in another mode, block by block: only one at a time is in memory in its intermediate forms."""
    changed = Image.new(mode, image.size)
    rows = max(1, BLOCK // image.width)
    for top in range(0, image.height, rows):
        block = image.crop((0, top, image.width, min(top + rows, image.height)))
        changed.paste(change(block), (0, top))
    return changed


def _eight_bits(image: Image.Image, bits: int) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point values: save it with 8 or 16 bits")
    if not image.mode.startswith("I"):
        return image
    top = 2**bits - 1
    ends: list[int] = []

    def reduced(block: Image.Image) -> Image.Image:
        values = np.asarray(block)
        ends.extend((int(values.min()), int(values.max())))
        # 65,535 * 255 doesn't fit in 16 bits
        return Image.fromarray((values.astype(np.uint32) * 255 // top).astype(np.uint8))

    eight = _by_rows(image, "L", reduced)
    if min(ends) < 0 or max(ends) > top:
        raise ValueError(f"values of {min(ends)} to {max(ends)}, more than data.source.bits={bits} allows")
    # Image.new has neither: transparency stands in the one, the orientation in the other
    eight.info = image.info
    eight._exif = image.getexif()
    return eight


def _upright(image: Image.Image) -> Image.Image:
    turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
    return ImageOps.exif_transpose(image) if turned else image


def _plain(image: Image.Image, mode: str) -> Image.Image:
    """Without transparency, in a mode that can be resized; gray becomes colour when it is small."""
    if not image.has_transparency_data and image.mode in (mode, "L"):
        return image
    return _by_rows(image, mode, lambda block: _opaque(block).convert(mode))


def _opaque(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    paper = Image.new("RGBA", image.size, "white")
    paper.alpha_composite(image.convert("RGBA"))
    return paper
