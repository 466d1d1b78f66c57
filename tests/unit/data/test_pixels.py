"""Kinds of pixels: scaled from the range that their file states, or refused by name, and never clipped.

The files are written here byte by byte where Pillow has no writer for them.
"""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mcoherence.data.image_folder import ImageFile, decode_files
from mcoherence.data.pixels import open_rgb
from mcoherence.errors import UserError

RAMP = np.linspace(0, 255, 16).round().astype(np.uint8)[None].repeat(8, axis=0)  # 8 bits, [8, 16]
RAMP_16 = RAMP.astype(np.uint16) * 257  # the same picture in 16 bits
WHITE = (255, 255, 255)


def grey(path):
    """The image of a file, whose three channels must be the same, [H, W]."""
    image = np.asarray(open_rgb(str(path)))
    assert image.dtype == np.uint8
    assert np.array_equal(image[..., 0], image[..., 1])
    assert np.array_equal(image[..., 0], image[..., 2])
    return image[..., 0]


def tiff(values, bits, sample_format=1, white_is_zero=False, order="<"):
    """Bytes of a TIFF file of one channel."""
    height, width = values.shape
    data = values.tobytes() if bits != 12 else packed_in_12_bits(values)
    entries = [
        (256, 3, width), (257, 3, height), (258, 3, bits), (259, 3, 1), (262, 3, 0 if white_is_zero else 1),
        (273, 4, 8 + 2 + 9 * 12 + 4), (277, 3, 1), (279, 4, len(data)), (339, 3, sample_format),
    ]  # fmt: skip
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(entries))
    for tag, kind, value in entries:
        head += struct.pack(f"{order}HHI", tag, kind, 1)
        head += struct.pack(f"{order}HH", value, 0) if kind == 3 else struct.pack(f"{order}I", value)
    return head + struct.pack(f"{order}I", 0) + data


def packed_in_12_bits(values):
    bits = np.unpackbits(values.astype(">u2").view(np.uint8).reshape(*values.shape, 2), axis=-1)[..., 4:]
    return np.packbits(bits.reshape(len(values), -1), axis=-1).tobytes()


def png(rows, depth, color_type, *chunks):
    """Bytes of a PNG file of these rows of bytes."""
    width = 8 * len(rows[0]) // depth // {0: 1, 2: 3}[color_type]

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, len(rows), depth, color_type, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [(b"IHDR", head), *chunks, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def pgm(values, maximum, plain=False):
    height, width = values.shape
    if plain:
        return f"P2\n{width} {height}\n{maximum}\n{' '.join(map(str, values.flat))}\n".encode()
    return f"P5\n{width} {height}\n{maximum}\n".encode() + values.astype(">u2" if maximum > 255 else "u1").tobytes()


STATED = {
    "8 bits, PGM": ("g.pgm", pgm(RAMP, 255)),
    "plain PGM": ("g.pgm", pgm(RAMP, 255, plain=True)),
    "16 bits, PGM": ("g.pgm", pgm(RAMP_16, 65535)),
    "16 bits, plain PGM": ("g.pgm", pgm(RAMP_16, 65535, plain=True)),
    "12 bits, PGM": ("g.pgm", pgm((RAMP / 255 * 4095).round().astype(int), 4095)),
    "a maximum of 1000, PGM": ("g.pgm", pgm((RAMP / 255 * 1000).round().astype(int), 1000)),
    "a maximum of 15, PGM": ("g.pgm", pgm(RAMP // 17, 15)),
    "16 bits, TIFF": ("g.tif", tiff(RAMP_16.astype("<u2"), 16)),
    "16 bits, big endian, TIFF": ("g.tif", tiff(RAMP_16.astype(">u2"), 16, order=">")),
    "16 bits, white is zero, TIFF": ("g.tif", tiff((65535 - RAMP_16).astype("<u2"), 16, white_is_zero=True)),
    "12 bits, TIFF": ("g.tif", tiff((RAMP / 255 * 4095).round().astype(np.uint16), 12)),
    "16 bits, PNG": ("g.png", png([row.astype(">u2").tobytes() for row in RAMP_16], 16, 0)),
}


@pytest.mark.parametrize(("name", "content"), STATED.values(), ids=STATED)
def test_a_stated_range_becomes_0_to_255(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    found = grey(tmp_path / name)
    assert np.abs(found.astype(int) - RAMP).max() <= 1
    assert (found.min(), found.max()) == (0, 255)


UNSTATED = {
    "signed 8 bits": (tiff(RAMP.astype("<i1"), 8, sample_format=2), "signed integers"),
    "signed 16 bits": (tiff((RAMP_16 // 2).astype("<i2"), 16, sample_format=2), "signed integers"),
    "signed 32 bits": (tiff(RAMP_16.astype("<i4"), 32, sample_format=2), "signed integers"),
    "32 bits": (tiff(RAMP_16.astype("<u4") * 65537, 32), "integers of 32 bits"),
    "floats to 1": (tiff((RAMP / 255).astype("<f4"), 32, sample_format=3), "floating-point numbers"),
    "floats to 255": (tiff(RAMP.astype("<f4"), 32, sample_format=3), "floating-point numbers"),
    "PFM": (b"Pf\n2 1\n-1.0\n" + np.array([0.0, 1.0], dtype="<f4").tobytes(), "floating-point numbers"),
}


@pytest.mark.parametrize(("content", "kind"), UNSTATED.values(), ids=UNSTATED)
def test_pixels_without_a_stated_range_are_refused_by_name(tmp_path, content, kind):
    (tmp_path / "image.tif").write_bytes(content)
    with pytest.raises(UserError, match=rf"^found pixels that are {kind}, .*expected 8 or 16 bits; convert it$"):
        open_rgb(str(tmp_path / "image.tif"))


@pytest.mark.parametrize(("values", "maximum"), [([0, 65535], 4095), ([0, 200], 100)])
def test_values_above_the_stated_maximum_are_refused(tmp_path, values, maximum):
    (tmp_path / "g.pgm").write_bytes(pgm(np.array([values]), maximum))
    with pytest.raises(UserError, match=f"^found value {values[1]}, expected at most {maximum}, the maximum that"):
        open_rgb(str(tmp_path / "g.pgm"))


def hidden(mode, color, clear, shown):
    """An image of two pixels: one of `color` that nobody sees, and one that is `shown` whole."""
    image = Image.new(mode, (2, 1), (*color, clear))
    image.putpixel((1, 0), (*shown, 255))
    return image


@pytest.mark.parametrize(
    ("image", "shown"),
    [(hidden("RGBA", (200, 0, 0), 0, (1, 2, 3)), (1, 2, 3)), (hidden("LA", (200,), 0, (9,)), (9, 9, 9))],
    ids=["RGBA", "LA"],
)
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_colours_that_nobody_sees_become_the_white_background(tmp_path, image, shown, suffix):
    if suffix == "webp":
        image = image.convert("RGBA")
    image.save(tmp_path / f"a.{suffix}", **({"lossless": True, "exact": True} if suffix == "webp" else {}))
    assert np.asarray(open_rgb(str(tmp_path / f"a.{suffix}"))).tolist() == [[list(WHITE), list(shown)]]


def test_half_transparent_pixels_are_laid_on_white(tmp_path):
    Image.new("RGBA", (1, 1), (0, 255, 0, 51)).save(tmp_path / "a.png")  # a fifth of green
    assert np.asarray(open_rgb(str(tmp_path / "a.png"))).tolist() == [[[204, 255, 204]]]


CLEAR = b"tRNS"
TRANSPARENT_VALUE = {
    "8 bits": png([bytes([7, 8])], 8, 0, (CLEAR, struct.pack(">H", 7))),
    "16 bits": png([struct.pack(">2H", 0x0701, 0x0802)], 16, 0, (CLEAR, struct.pack(">H", 0x0701))),
    "colours": png([bytes([7, 7, 7, 8, 8, 8])], 8, 2, (CLEAR, struct.pack(">3H", 7, 7, 7))),
}


@pytest.mark.parametrize("content", TRANSPARENT_VALUE.values(), ids=TRANSPARENT_VALUE)
def test_a_value_that_a_png_calls_transparent_is_transparent(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    assert grey(tmp_path / "a.png").tolist() == [[255, 8]]


def test_so_is_one_of_2_bits_and_one_of_a_palette(tmp_path):
    (tmp_path / "a.png").write_bytes(png([bytes([0b00011011])], 2, 0, (CLEAR, struct.pack(">H", 1))))
    assert grey(tmp_path / "a.png").tolist() == [[0, 255, 170, 255]]  # the second one is the clear one
    palette = Image.new("P", (2, 1))
    palette.putpalette([200, 0, 0, 9, 9, 9])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "p.png", transparency=0)
    assert grey(tmp_path / "p.png").tolist() == [[255, 9]]


def test_a_transparent_colour_of_16_bits_is_refused(tmp_path):
    row = struct.pack(">6H", 0x0701, 0x0701, 0x0701, 0x0702, 0x0702, 0x0702)
    (tmp_path / "a.png").write_bytes(png([row], 16, 2, (CLEAR, struct.pack(">3H", 0x0701, 0x0701, 0x0701))))
    with pytest.raises(UserError, match=r"^found a transparent colour among colours of 16 bits"):
        open_rgb(str(tmp_path / "a.png"))


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_of_several_pictures_the_first_is_taken(tmp_path, suffix):
    frames = [Image.new("L", (4, 4), level) for level in (10, 200)]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
    assert np.abs(grey(tmp_path / f"a.{suffix}").astype(int) - 10).max() <= 2


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"


def test_the_content_decides_and_other_formats_are_not_read(tmp_path):
    (tmp_path / "eps.png").write_bytes(EPS)  # for which Pillow would start Ghostscript
    Image.new("RGB", (4, 4)).save(tmp_path / "gif.png", format="GIF")
    Image.new("RGB", (4, 4), (1, 1, 1)).save(tmp_path / "jpeg.png", format="JPEG")
    for name in ("eps.png", "gif.png"):
        with pytest.raises(UserError, match=r"^found no image that can be read, expected one of JPEG, PNG, WEBP, TIFF"):
            open_rgb(str(tmp_path / name))
    assert grey(tmp_path / "jpeg.png").max() <= 2


def test_an_image_that_is_cut_short_or_huge_is_one_line(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    files = []
    for suffix in ("png", "jpg", "tif", "webp", "bmp", "ppm"):
        path = tmp_path / f"half.{suffix}"
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        files.append(path)
    files += [tmp_path / "bomb.png", tmp_path / "bomb.pgm", tmp_path / "thread.png"]
    files[-3].write_bytes(png([bytes(4)], 8, 0).replace(struct.pack(">II", 4, 1), struct.pack(">II", 50_000, 50_000)))
    files[-2].write_bytes(b"P5\n60000 60000\n255\n")
    Image.new("L", (1, 30_000)).save(files[-1])  # few pixels, until its short side is as long as is asked for
    items = [ImageFile(str(path), path.stat().st_size, 0) for path in files]
    _, complaints = decode_files(items, resize=100, size=64)
    assert [line.partition(" (")[0] for line in complaints] == [str(path) for path in files]
    assert all("\n" not in line for line in complaints)
    assert "found more than 178956970 pixels" in complaints[-2]
    assert "found 1 x 30000 pixels, which resizing would make 100 x 3000000" in complaints[-1]
