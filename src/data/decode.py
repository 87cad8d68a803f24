"""One image file as pixels of the packed size. Runs in worker processes: imports little."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

TiffImagePlugin.READ_LIBTIFF = True  # without it Pillow scrambles uncompressed files that lie on their side

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".jp2")
UNREAD = (".heic", ".heif", ".jxl", ".dng", ".nef", ".cr2", ".cr3", ".arw", ".raf", ".psd", ".svg", ".dcm")
MODES = {1: "L", 3: "RGB"}
DRAFT = 2  # times the packed size that JPEGs are decoded to at least: theirs is a fast reduction
BLANK_RANGE = 2  # gray levels between the darkest and the brightest value of an image that shows nothing


class Decoded(NamedTuple):
    pixels: np.ndarray  # uint8 (channels, size, size)
    width: int  # of the image in the file, turned upright
    height: int

    @property
    def blank(self) -> bool:
        """Whether every channel has one value, noise of a level apart."""
        flat = self.pixels.reshape(len(self.pixels), -1)
        return int((flat.max(1).astype(int) - flat.min(1)).max()) <= BLANK_RANGE


def decode(path: str | Path, size: int, channels: int, bits: int) -> Decoded:
    """The first frame, turned upright as EXIF says, over white where transparent, cut to its central square.

    ``bits`` is how many bits the values of 16-bit files use: 12 for many cameras and microscopes. Raises ValueError
    on what isn't an image, is damaged, or would take absurdly much memory (a decompression bomb).
    """
    if str(path).lower().endswith(UNREAD):
        raise ValueError(f"{Path(path).suffix.lower()} isn't read: save it as PNG or JPEG")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata; bombs raise from twice as many pixels
            with Image.open(path) as image:
                width, height = image.size
                image.draft(image.mode, (DRAFT * size, DRAFT * size))  # a JPEG is decoded no larger than that needs
                image.load()
                plain = _opaque(_upright(_eight_bits(image, bits)))
                plain = plain if plain.mode == MODES[channels] else plain.convert(MODES[channels])
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        reason = "no image in it" if isinstance(error, UnidentifiedImageError) else "a decompression bomb"
        raise ValueError(reason) from None
    except Exception as error:  # Pillow's plugins raise of all kinds on damaged files
        said = getattr(error, "strerror", None) or str(error)  # without the path
        raise ValueError(" ".join(said.split()) or type(error).__name__) from None
    packed = (size, size)
    square = plain if plain.size == packed else ImageOps.fit(plain, packed, Image.Resampling.LANCZOS)
    pixels = np.asarray(square).reshape(size, size, channels).transpose(2, 0, 1)
    lying = (plain.width > plain.height) != (width > height)  # turned by a quarter
    return Decoded(pixels, *((height, width) if lying else (width, height)))


def _eight_bits(image: Image.Image, bits: int) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point values: save it with 8 or 16 bits")
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.int64)
    top = 2**bits - 1
    if values.min() < 0 or values.max() > top:
        raise ValueError(f"values of {values.min()} to {values.max()}, more than data.source.bits={bits} allows")
    eight = Image.fromarray((values * 255 // top).astype(np.uint8))
    eight.info = image.info
    eight._exif = image.getexif()
    return eight


def _upright(image: Image.Image) -> Image.Image:
    turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
    return ImageOps.exif_transpose(image) if turned else image


def _opaque(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    paper = Image.new("RGBA", image.size, "white")
    paper.alpha_composite(image.convert("RGBA"))
    return paper
