"""A picture from anywhere, brought to the shape that a network takes."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from regulens.errors import DataError, UserError

_MODES = {1: ("L", "gray"), 3: ("RGB", "RGB")}


def read_picture(path: Path, image_shape: tuple[int, int, int]) -> tuple[NDArray[np.uint8], str]:
    """Read a picture file (PNG, JPEG and what else Pillow reads) as an image of this shape.

    The picture is turned as its camera says, put on black where it is transparent, made gray or RGB, and resized to the
    height and width as a whole (Lanczos), its sides' ratio given up.

    Args:
        path: of the file.
        image_shape: (H, W, C) that a network takes, C 1 or 3.

    Returns:
        (H, W, C) uint8, and a note of what was changed, empty if nothing was.

    Raises:
        DataError: if the file is absent, damaged, of absurd size, or no picture of 8 bits.
        UserError: if images of this many channels are no pictures.
    """
    height, width, channels = image_shape
    if channels not in _MODES:
        raise UserError(f"{path}: a picture cannot be made into an image of {channels} channels; name one by its index")
    mode, colours = _MODES[channels]
    picture = _opened(path)
    changes = []
    if picture.size != (width, height):
        changes.append(f"{picture.height}x{picture.width} to {height}x{width} (height x width)")
    if picture.mode != mode:
        changes.append(f"{picture.mode} to {colours}")
    if picture.has_transparency_data:
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "black"), picture.convert("RGBA"))
    picture = picture.convert(mode).resize((width, height), Image.Resampling.LANCZOS)
    pixels = np.asarray(picture, np.uint8).reshape(image_shape)
    return pixels, f"converted from {', '.join(changes)}" if changes else ""


def _opened(path: Path) -> Image.Image:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "there is no such file"
        raise DataError(f"{path}: {what}; give the index of an image of the data set, or a picture file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                turned = ImageOps.exif_transpose(picture)
                turned.load()
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: is too large a picture ({error}); make it smaller") from None
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for damaged files
        raise DataError(f"{path}: is not a picture that can be read ({error})") from None
    if turned.mode.startswith(("I", "F")):
        raise DataError(f"{path}: has more than 8 bits for a value (mode {turned.mode}); save it with 8")
    return turned
