"""Pictures of random kinds with known samples are read by the definition of their format, or refused by name."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.random import Generator
from picture_files import bmp, chunk, netpbm, png, tiff

from vqgen.data import Reading, read_image
from vqgen.errors import DataError

Array = np.ndarray


@dataclass
class Made:
    """A file, and the picture that it is by definition.

    Attributes:
        kind: Its format, for messages.
        data: The bytes.
        colours: `(h, w, c)` colours of 8 bits, before they are laid on white; None for a file that is to be refused.
        alpha: `(h, w)` opacity of 8 bits; None without one.
        refused: Words of the refusal.
        value_range: A declared range.
    """

    kind: str
    data: bytes
    colours: Array | None
    alpha: Array | None = None
    refused: str = ""
    value_range: tuple[float, float] | None = None


def to_8_bits(values: Array, low: float, high: float) -> Array:
    exact = (values.astype(np.float64) - low) * 255 / (high - low)
    return np.floor(np.clip(exact, 0, 255) + 0.5).astype(np.uint8)


def size(rng: Generator) -> tuple[int, int]:
    return int(rng.integers(1, 12)), int(rng.integers(1, 12))


def choice(rng: Generator, *options):
    return options[int(rng.integers(len(options)))]


def unsigned(rng: Generator, shape: tuple[int, ...], bits: int) -> Array:
    dtype = next(f"u{size}" for size in (1, 2, 4, 8) if 8 * size >= bits)
    values = rng.integers(0, 1 << bits, shape, dtype=np.uint64)
    # The ends of the range more often than by chance.
    ends = rng.random(shape)
    values = np.where(ends < 0.1, 0, np.where(ends > 0.9, (1 << bits) - 1, values))
    return values.astype(dtype)


def random_tiff(rng: Generator) -> Made:
    height, width = size(rng)
    photometric = choice(rng, 0, 1, 1, 2, 2)
    colours = 3 if photometric == 2 else 1
    extras = choice(rng, (), (), (0,), (1,), (2,), (0, 2))
    count = colours + len(extras)
    sample_format = choice(rng, 1, 1, 1, 2, 3)
    bits = {
        1: lambda: choice(rng, *((1, 2, 3, 4, 5, 6, 7, 8, 8, 10, 12, 14, 15, 16, 16, 16, 32))),
        2: lambda: choice(rng, 8, 16, 32),
        3: lambda: choice(rng, 16, 32, 64),
    }[sample_format]()
    compression = choice(rng, 1, 1, 8, 32946, 5, 32773)
    predictor = 1
    if compression in (5, 8, 32946) and bits in (8, 16, 32, 64):
        predictor = choice(rng, 1, 2, 3) if sample_format == 3 else choice(rng, 1, 2)
    shape = (height, width, count)
    if sample_format == 1:
        samples = unsigned(rng, shape, bits)
        scale = (0, (1 << bits) - 1) if bits <= 16 else None
    elif sample_format == 2:
        half = 1 << (bits - 1)
        samples = rng.integers(-half, half, shape).astype(f"i{bits // 8}")
        scale = None
    else:
        samples = rng.uniform(-0.25, 1.25, shape).astype(f"f{bits // 8}")
        scale = None
    has_alpha = 1 in extras or 2 in extras
    place = colours + (extras.index(1) if 1 in extras else extras.index(2)) if has_alpha else 0
    full = 1.0 if sample_format == 3 else (1 << bits) - 1 if sample_format == 1 else (1 << (bits - 1)) - 1
    if has_alpha:
        kind = choice(rng, "blank", "any")
        alpha = np.zeros((height, width)) if kind == "blank" else rng.random((height, width))
        if kind == "any":
            alpha = np.where(alpha < 0.2, 0, np.where(alpha > 0.7, 1, alpha))
        samples[..., place] = (alpha * full).astype(samples.dtype)
    if 1 in extras and scale and samples[..., place].any():  # premultiplied colours are at most the opacity
        samples[..., :colours] = np.minimum(samples[..., :colours], samples[..., place : place + 1])
    tile = choice(rng, None, None, (16, 16), (32, 16))
    data = tiff(
        samples, bits, photometric=photometric, sample_format=sample_format, extras=extras, order=choice(rng, "<", ">"),
        is_big=bool(rng.integers(2)), is_planar=bool(rng.integers(2)) and count > 1, tile=tile,
        rows_per_strip=None if tile else int(rng.integers(1, height + 1)), compression=compression, predictor=predictor,
    )  # fmt: skip
    what = f"TIFF p{photometric} f{sample_format} {bits} bits {extras} c{compression} d{predictor} t{tile}"
    declared = choice(rng, None, (0.0, 1.0), (-0.1, 0.7), (0.0, 4095.0), (-1000.0, 1000.0))
    if declared is None and scale is None:
        return Made(what, data, None, refused=f"samples are (int|float)?{bits}(-bit)?, which define no values of black")
    low, high = declared or scale
    plain = samples[..., :colours].astype(np.float64)
    opacity = None
    if has_alpha and samples[..., place].any():
        opacity = to_8_bits(samples[..., place], 0, full)
        if extras[place - colours] == 1:
            divisor = samples[..., place : place + 1].astype(np.float64) / full
            plain = plain / np.where(divisor > 0, divisor, 1)
    found = to_8_bits(plain, high, low) if photometric == 0 else to_8_bits(plain, low, high)
    return Made(what, data, found, opacity, value_range=declared)


def random_palette_tiff(rng: Generator) -> Made:
    height, width = size(rng)
    bits = choice(rng, 1, 2, 4, 8)
    indices = unsigned(rng, (height, width, 1), bits)
    colours = rng.integers(0, 256, (3, 1 << bits))
    data = tiff(indices, bits, photometric=3, order=choice(rng, "<", ">"),
                more=((320, 3, (colours * 257).reshape(-1).tolist()),))  # fmt: skip
    return Made(f"TIFF palette {bits} bits", data, colours.T[indices[..., 0]].astype(np.uint8))


def random_png(rng: Generator) -> Made:
    height, width = size(rng)
    colour_type = choice(rng, 0, 2, 4, 6)
    bits = choice(rng, 1, 2, 4, 8, 16) if colour_type == 0 else choice(rng, 8, 16)
    count = {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]
    samples = unsigned(rng, (height, width, count), bits)
    high = (1 << bits) - 1
    alpha = None
    before = b""
    colours = samples
    if colour_type in (4, 6):
        alpha = samples[..., -1]
        if rng.random() < 0.3:
            alpha[...] = 0
        colours = samples[..., :-1]
        alpha = to_8_bits(alpha, 0, high)
    elif rng.random() < 0.5:
        key = samples[int(rng.integers(height)), int(rng.integers(width))]
        before = chunk(b"tRNS", key.astype(">u2").tobytes())
        alpha = np.where((samples == key).all(-1), 0, 255).astype(np.uint8)
    if alpha is not None and not alpha.any():
        alpha = None
    filters = tuple(int(kind) for kind in rng.integers(0, 5, 4))
    is_interlaced = bool(rng.integers(2))
    data = png(samples, bits, colour_type, before=before, filters=filters, interlaced=is_interlaced)
    declared = choice(rng, None, None, (0.0, 100.0), (50.0, 4095.0)) if bits in (8, 16) else None
    found = to_8_bits(colours, *(declared or (0, high)))
    what = f"PNG type {colour_type} {bits} bits key {bool(before)} interlaced {is_interlaced}"
    return Made(what, data, found, alpha, value_range=declared)


def random_palette_png(rng: Generator) -> Made:
    height, width = size(rng)
    bits = choice(rng, 1, 2, 4, 8)
    indices = unsigned(rng, (height, width, 1), bits)
    colours = rng.integers(0, 256, (1 << bits, 3)).astype(np.uint8)
    before = chunk(b"PLTE", colours.tobytes())
    alpha = None
    if rng.random() < 0.6:
        opacity = np.full(1 << bits, 255, np.uint8)
        some = rng.integers(0, 256, int(rng.integers(1, (1 << bits) + 1))).astype(np.uint8)
        some[rng.random(len(some)) < 0.4] = 0
        opacity[: len(some)] = some
        before += chunk(b"tRNS", some.tobytes())
        alpha = opacity[indices[..., 0]]
        alpha = alpha if alpha.any() else None
    return Made(f"PNG palette {bits}", png(indices, bits, 3, before=before), colours[indices[..., 0]], alpha)


def random_bmp(rng: Generator) -> Made:
    height, width = size(rng)
    kind = choice(rng, "555", "565", "24", "32", "alpha", "palette")
    version = choice(rng, 3, 4, 5)
    top_down = bool(rng.integers(2))
    if kind == "palette":
        bits = choice(rng, 1, 4, 8)
        indices = unsigned(rng, (height, width, 1), bits)
        colours = rng.integers(0, 256, (1 << bits, 3)).astype(np.uint8)
        table = np.pad(colours[:, ::-1], ((0, 0), (0, 1))).tobytes()
        digits = (indices >> np.arange(bits - 1, -1, -1)) & 1  # the highest bit of each index first
        rows = [np.packbits(row.reshape(-1).astype(np.uint8)).tobytes() for row in digits]
        data = bmp(rows, width, bits, palette=table, top_down=top_down, version=version)
        return Made(f"BMP palette {bits}", data, colours[indices[..., 0]])
    if kind in ("555", "565"):
        depths = [int(digit) for digit in kind]
        parts = [unsigned(rng, (height, width), depth) for depth in depths]
        red, green, blue = (part.astype(np.uint16) for part in parts)
        words = (red << (depths[1] + 5)) | (green << 5) | blue
        masks = {"555": (0x7C00, 0x3E0, 0x1F, 0), "565": (0xF800, 0x7E0, 0x1F, 0)}[kind]
        data = bmp([row.astype("<u2").tobytes() for row in words], width, 16, masks=masks, top_down=top_down,
                   version=version)  # fmt: skip
        found = [to_8_bits(part, 0, (1 << depth) - 1) for part, depth in zip(parts, depths, strict=True)]
        return Made(f"BMP {kind}", data, np.stack(found, -1))
    colours = unsigned(rng, (height, width, 3), 8)
    if kind == "24":
        data = bmp([row[:, ::-1].tobytes() for row in colours], width, 24, top_down=top_down, version=version)
        return Made("BMP 24", data, colours)
    fourth = unsigned(rng, (height, width, 1), 8)
    if rng.random() < 0.4:
        fourth[...] = 0
    pixels = np.concatenate([colours[..., ::-1], fourth], axis=-1)
    rows = [row.tobytes() for row in pixels]
    if kind == "32":
        return Made("BMP 32", bmp(rows, width, 32, top_down=top_down, version=version), colours)
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    data = bmp(rows, width, 32, masks=masks, top_down=top_down, version=max(4, version))
    return Made("BMP alpha", data, colours, fourth[..., 0] if fourth.any() else None)


def random_netpbm(rng: Generator) -> Made:
    height, width = size(rng)
    kind = choice(rng, "P1", "P2", "P3", "P4", "P5", "P6", "P7", "P7", "Pf", "PF")
    count = {"P3": 3, "P6": 3, "PF": 3, "P7": int(rng.integers(1, 5))}.get(kind, 1)
    if kind in ("Pf", "PF"):
        values = rng.uniform(-1, 3, (height, width, count)).astype(np.float32)
        data = netpbm(values, kind, order=choice(rng, "<", ">"))
        declared = choice(rng, None, (0.0, 1.0), (-1.0, 3.0))
        if declared is None:
            return Made(kind, data, None, refused="samples are float32, which define no values of black")
        return Made(kind, data, to_8_bits(values, *declared), value_range=declared)
    high = 1 if kind in ("P1", "P4") else choice(rng, 1, 7, 15, 100, 255, 256, 1023, 4095, 16383, 65535)
    samples = rng.integers(0, high + 1, (height, width, count)).astype(np.uint16)
    data = netpbm(samples, kind, high)
    alpha = to_8_bits(samples[..., -1], 0, high) if kind == "P7" and count in (2, 4) else None
    colours = samples if alpha is None else samples[..., :-1]
    found = to_8_bits(colours, 0, high)
    if kind in ("P1", "P4"):
        found = 255 - found
    return Made(f"{kind} up to {high}", data, found, alpha if alpha is not None and alpha.any() else None)


MAKERS: list[Callable[[Generator], Made]] = [
    random_tiff, random_tiff, random_tiff, random_palette_tiff, random_png, random_png, random_palette_png, random_bmp,
    random_netpbm,
]  # fmt: skip


def check(made: Made, path: Path, seed: int) -> bool:
    """Checks that a file is read as it is defined, or refused by name; returns True if it is read."""
    path.write_bytes(made.data)
    reading = Reading(value_range=made.value_range)
    where = f"{made.kind}, seed {seed}"
    if made.colours is None:
        with pytest.raises(DataError, match=made.refused):
            read_image(path, reading=reading)
        return False
    try:
        kept = read_image(path, reading=reading, keep_alpha=True)
        flat = read_image(path, reading=reading)
    except DataError as error:
        raise AssertionError(f"{where}: refused: {error}") from error
    expected = made.colours if made.alpha is None else np.dstack([made.colours, made.alpha])
    found = np.asarray(kept).reshape(expected.shape)
    assert (found == expected).all(), f"{where}: {found.tolist()} instead of {expected.tolist()}"
    if made.alpha is not None:
        share = made.alpha[..., None] / 255
        white = made.colours * share + 255 * (1 - share)
        difference = np.abs(np.asarray(flat).reshape(white.shape) - white)
        assert difference.max() <= 1, f"{where}: on white"
        assert (difference[(made.alpha == 0) | (made.alpha == 255)] == 0).all(), f"{where}: on white"
    return True


def check_many(folder: Path, seeds: range) -> None:
    read = Counter[bool]()
    for seed in seeds:
        rng = np.random.default_rng(seed)
        # The name says nothing: content decides.
        read[check(choice(rng, *MAKERS)(rng), folder / "picture.jpg", seed)] += 1
    assert read[True] > 0.8 * len(seeds)


def test_pictures_of_random_kinds_are_read_by_definition(tmp_path):
    check_many(tmp_path, range(150))


@pytest.mark.slow
def test_two_thousand_pictures_of_random_kinds_are_read_by_definition(tmp_path):
    check_many(tmp_path, range(1000, 3000))
