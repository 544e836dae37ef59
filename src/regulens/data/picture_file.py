"""A picture from anywhere, brought to the shape that a network takes."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from regulens.errors import DataError, UserError

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")
"""What is opened, by content, whatever the file's name: pixels alone. Pillow would start Ghostscript for an EPS."""

_MODES = {1: ("L", "gray"), 3: ("RGB", "RGB")}
_WORDS = {"1": "1 bit per pixel", "P": "palette", "PA": "palette with alpha", "LA": "gray with alpha"}
_TURNS = {
    2: (Image.Transpose.FLIP_LEFT_RIGHT, "mirrored"),
    3: (Image.Transpose.ROTATE_180, "turned by 180°"),
    4: (Image.Transpose.FLIP_TOP_BOTTOM, "flipped upside down"),
    5: (Image.Transpose.TRANSPOSE, "mirrored and turned by 90° to the left"),
    6: (Image.Transpose.ROTATE_270, "turned by 90° to the right"),
    7: (Image.Transpose.TRANSVERSE, "mirrored and turned by 90° to the right"),
    8: (Image.Transpose.ROTATE_90, "turned by 90° to the left"),
}
"""By EXIF orientation, how a picture is set upright."""


def read_picture(path: Path, image_shape: tuple[int, int, int]) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Read a picture file of one of ``FORMATS`` as an image of this shape.

    Its first frame is turned as its camera says, put on black where it is transparent, made gray or RGB, and resized to
    the height and width as a whole (Lanczos), its sides' ratio given up. A color profile is not applied.

    Args:
        path: of the file.
        image_shape: (H, W, C) that a network takes, C 1 or 3.

    Returns:
        (H, W, C) uint8, and notes of what was changed or left out, one each, none if nothing was.

    Raises:
        DataError: if the file is absent, damaged, of absurd size, of another format, or has more than 8 bits per value.
        UserError: if images of this many channels are no pictures.
    """
    if image_shape[2] not in _MODES:
        raise UserError(
            f"{path}: a picture cannot be made into an image of {image_shape[2]} channels; name one by its index"
        )
    try:
        _check_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd tags, which are not used
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with _silenced():
                return _read(path, image_shape)
    except DataError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: is too large a picture ({error}); make it smaller") from None
    except MemoryError:
        raise DataError(f"{path}: is too large a picture for this machine's memory; make it smaller") from None
    except UnidentifiedImageError:
        raise DataError(
            f"{path}: is not a picture that can be read, or damaged; save it as PNG (read are {', '.join(FORMATS)})"
        ) from None
    except Exception as error:  # Pillow raises nearly every kind for damaged files
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DataError(f"{path}: is not a picture that can be read ({why}); save it anew, as PNG") from None


def _check_file(path: Path) -> None:
    """Refuse what is no file, or an empty one, before it is opened: a pipe would be waited for."""
    if path.is_file() and path.stat().st_size:
        return
    if path.is_file():
        raise DataError(f"{path}: is empty; fetch or save it again")
    what = "is a folder" if path.is_dir() else "is not a regular file" if path.exists() else "there is no such file"
    raise DataError(f"{path}: {what}; give the index of an image of the data set, or a picture file")


@contextmanager
def _silenced() -> Iterator[None]:
    """Keep what C writes to standard error out of the way: libtiff names every fault of a file there."""
    try:
        kept = os.dup(2)
    except OSError:  # there is no standard error
        yield
        return
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _read(path: Path, image_shape: tuple[int, int, int]) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    height, width, channels = image_shape
    mode, colors = _MODES[channels]
    _check_sums(path)
    with _opened(path) as opened:
        notes = [*_frame_note(opened), *_depth_note(opened)]
        picture, turning = _upright(opened)
    if picture.mode.startswith(("I", "F")):
        raise DataError(f"{path}: has more than 8 bits for a value (mode {picture.mode}); save it with 8")
    notes += [*turning, *_profile_note(picture)]
    changes = []
    if picture.size != (width, height):
        changes.append(f"{picture.height}x{picture.width} to {height}x{width} (height x width)")
    if picture.mode != mode:
        words = f" ({_WORDS[picture.mode]})" if picture.mode in _WORDS else ""
        changes.append(f"{picture.mode}{words} to {colors}")
    if picture.has_transparency_data:
        picture, transparency = _on_black(picture)
        notes += transparency
    picture = picture.convert(mode).resize((width, height), Image.Resampling.LANCZOS)
    if changes:
        notes.append(f"converted from {', '.join(changes)}")
    return np.asarray(picture, np.uint8).reshape(image_shape), tuple(notes)


def _opened(path: Path) -> Image.Image:
    Image.init()  # formats that this Pillow was built without are not in its table
    return Image.open(path, formats=[each for each in FORMATS if each in Image.OPEN])


def _check_sums(path: Path) -> None:
    """Refuse a PNG whose checksums differ: Pillow would show its pixels black, or others, from the fault on."""
    with _opened(path) as opened:
        if opened.format == "PNG":
            opened.verify()


def _frame_note(picture: Image.Image) -> list[str]:
    try:
        frames = int(getattr(picture, "n_frames", 1))
    except Exception:  # the first may be sound where a later one is not
        return ["frame 1; how many there are cannot be read"]
    return [f"frame 1 of {frames}"] if frames > 1 else []


def _depth_note(picture: Image.Image) -> list[str]:
    """Say where Pillow keeps the upper 8 bits of each value: of colors in PNG, TIFF and PPM files."""
    settings = [
        each for tile in getattr(picture, "tile", []) for each in (tile[3] if isinstance(tile[3], tuple) else tile[3:])
    ]
    if picture.format in {"PNG", "TIFF"}:
        deep = any(";16" in str(each) for each in settings)  # the raw mode, such as RGB;16B
    else:
        deep = picture.format == "PPM" and any(isinstance(each, int) and each > 255 for each in settings)  # its maximum
    return ["its values of more than 8 bits cut to 8"] if deep else []


def _upright(opened: Image.Image) -> tuple[Image.Image, list[str]]:
    """Return a loaded picture turned by its EXIF orientation, read alone: no other tag of it is looked at."""
    before = _orientation(opened)
    opened.load()
    after = _orientation(opened)  # Pillow turns a TIFF by itself and takes the tag away
    picture = opened.transpose(_TURNS[after][0]) if after in _TURNS else opened
    turned = before if before in _TURNS else after
    return picture, [f"{_TURNS[turned][1]}, as its EXIF orientation {turned} says"] if turned in _TURNS else []


def _orientation(picture: Image.Image) -> int:
    """Return the orientation from 1 to 8; 1, upright, where there is none or it cannot be read."""
    try:
        value = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # tags that cannot be read say nothing; the pixels are sound all the same
        return 1
    return value if isinstance(value, int) and value in _TURNS else 1


def _profile_note(picture: Image.Image) -> list[str]:
    """Say that a color profile other than sRGB, which all pixels are taken for, is left out."""
    profile = picture.info.get("icc_profile")
    if not profile:
        return []
    try:
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))).strip()
    except Exception:  # pixels do not depend on it
        name = "one that cannot be read"
    return [] if "srgb" in name.lower() else [f"its color profile ({name}) not applied"]


def _on_black(picture: Image.Image) -> tuple[Image.Image, list[str]]:
    """Return a picture put on black where it is transparent, and how much of it is."""
    whole = picture.convert("RGBA")
    seen = np.asarray(whole.getchannel("A"), np.uint8)
    share = float((seen < 255).mean())
    note = [f"put on black where it is transparent ({100 * max(share, 0.001):.1f} % of its pixels)"] if share else []
    return Image.alpha_composite(Image.new("RGBA", whole.size, "black"), whole), note
