"""Weights and examples as pictures: arrays in, pixels (H, W, 3) in [0, 1] out."""

import math

import numpy as np

Array = np.ndarray
TILES = 64  # at most, in one picture
SIDE = 512  # pixels that a picture is about wide
CARD = 350  # pixels that TensorBoard shows without shrinking: captions stay legible
TILE = 64  # pixels: an example and the caption under it
CAPTION = 14


def kernels(weights: Array) -> Array:
    """Kernels (K, L, C, F) as a grid, a tile each: red where positive, blue where negative, white at 0.

    All share one scale. Three channels make a coloured tile, with grey at 0; any other number of them but
    one a tile for every filter and channel.
    """
    scaled = np.nan_to_num(weights, nan=0.0, posinf=0.0, neginf=0.0)
    scaled = scaled / (np.abs(scaled).max() or 1.0)
    if scaled.shape[2] == 3:
        return grid(0.5 + 0.5 * np.moveaxis(scaled, -1, 0)[:TILES])
    tiles = scaled.transpose(3, 2, 0, 1).reshape(-1, *scaled.shape[:2])[:TILES]
    return grid(np.stack([1 - np.maximum(-tiles, 0), 1 - np.abs(tiles), 1 - np.maximum(tiles, 0)], axis=-1))


def mistakes(x: Array, t: Array, found: Array) -> Array:
    """The first misclassified examples, each with its class and the one found, under a line with the count.

    x (N, H, W, C) in [0, 1]; t and found (N,) classes. Channels are averaged unless there are three.
    """
    wrong = np.flatnonzero(found != t)
    title = caption(f"{len(wrong):,} of {len(x):,} misclassified", CARD)
    tiles = []
    for number in wrong[: TILES // 2]:
        image = x[number] if x.shape[3] == 3 else x[number].mean(axis=2, keepdims=True).repeat(3, axis=2)
        factor = max(1, (TILE - 8) // max(image.shape[:2]))
        image = np.ones(3) * image.repeat(factor, axis=0).repeat(factor, axis=1)
        width = image.shape[1]
        left = max(0, TILE - width) // 2
        image = np.pad(image, ((0, 0), (left, max(0, TILE - width - left)), (0, 0)), constant_values=1)
        tiles.append(np.concatenate([image, caption(f"{t[number]} read as {found[number]}", image.shape[1])]))
    if not tiles:
        return title
    shown = grid(np.array(tiles), magnify=False)
    width = max(shown.shape[1], CARD)
    return np.concatenate([_widened(title, width), _widened(shown, width)])


def grid(tiles: Array, magnify: bool = True) -> Array:
    """Tiles (N, H, W, 3) in rows, with a line of grey between them, enlarged to about SIDE pixels.

    magnify: else they are left as they are, in rows of CARD pixels.
    """
    count, height, width, _ = tiles.shape
    columns = min(count, math.ceil(math.sqrt(count)) if magnify else max(1, CARD // width))
    rows = -(-count // columns)
    factor = max(1, SIDE // (columns * (width + 1))) if magnify else 1
    line = max(1, factor // 4)
    sheet = np.full((rows, columns, height * factor + line, width * factor + line, 3), 0.7)
    for number, tile in enumerate(tiles):
        place = sheet[number // columns, number % columns]
        place[:-line, :-line] = tile.repeat(factor, axis=0).repeat(factor, axis=1)
    return sheet.swapaxes(1, 2).reshape(rows * (height * factor + line), columns * (width * factor + line), 3)


def caption(text: str, width: int) -> Array:
    """Black text on white, (CAPTION, width, 3)."""
    from PIL import Image, ImageDraw

    strip = Image.new("L", (width, CAPTION), 255)
    ImageDraw.Draw(strip).text((2, 1), text, fill=0)
    return np.asarray(strip, np.float64)[..., None].repeat(3, axis=2) / 255


def _widened(picture: Array, width: int) -> Array:
    return np.pad(picture, ((0, 0), (0, width - picture.shape[1]), (0, 0)), constant_values=1)
