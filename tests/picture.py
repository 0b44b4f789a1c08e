#!/usr/bin/env python3
"""Prints docs/planes.svg: the drawing in ARCHITECTURE.md, as a picture. tests/rules.sh compares the two.

usage: tests/picture.py > docs/planes.svg
"""

import itertools
import pathlib
import re
from xml.sax.saxutils import escape

WIDE, HIGH = 9, 19
LEFT, RIGHT, UP, DOWN = (-1, 0), (1, 0), (0, -1), (0, 1)
LINES = {
    "─": (LEFT, RIGHT), "│": (UP, DOWN), "┼": (LEFT, RIGHT, UP, DOWN),
    "┌": (RIGHT, DOWN), "┐": (LEFT, DOWN), "└": (RIGHT, UP), "┘": (LEFT, UP),
    "├": (RIGHT, UP, DOWN), "┤": (LEFT, UP, DOWN), "┬": (LEFT, RIGHT, DOWN), "┴": (LEFT, RIGHT, UP),
}
HEADS = {"▲": UP, "▼": DOWN, "◄": LEFT, "►": RIGHT}


def main():
    architecture = pathlib.Path(__file__).parent.parent / "ARCHITECTURE.md"
    rows = re.search("^```text\n(.*?)^```$", architecture.read_text(), re.DOTALL | re.MULTILINE)[1].splitlines()
    width, height = (max(map(len, rows)) + 2) * WIDE, (len(rows) + 2) * HIGH
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="monospace" font-size="15">')
    print("<!-- Made by tests/picture.py from the drawing in ARCHITECTURE.md. -->")
    print(f'<rect width="{width}" height="{height}" fill="white"/>')
    places = [(x, y, character) for y, row in enumerate(rows) for x, character in enumerate(row)]
    print(f'<path stroke="black" fill="none" d="{"".join(arms(*place) for place in places)}"/>')
    print(f'<path d="{"".join(head(*place) for place in places)}"/>')
    for y, row in enumerate(rows):
        for word in re.finditer(r"[^\s─│┌┐└┘├┤┬┴┼▲▼◄►]+( [^\s─│┌┐└┘├┤┬┴┼▲▼◄►]+)*", row):
            x, text = (word.start() + 1) * WIDE, word[0]
            print(f'<text x="{x}" y="{(y + 1) * HIGH + 14}" textLength="{len(text) * WIDE}">{escape(text)}</text>')
    print("</svg>")


def middle(x, y):
    return (x + 1) * WIDE + WIDE / 2, (y + 1) * HIGH + HIGH / 2


def arms(x, y, character):
    """A line of the drawing, from the middle of its place to the edges."""
    (a, b) = middle(x, y)
    return "".join(f"M{a:g} {b:g}l{i * WIDE / 2:g} {j * HIGH / 2:g}" for i, j in LINES.get(character, ()))


def head(x, y, character):
    """The head of an arrow, which fills its place."""
    if character not in HEADS:
        return ""
    (a, b), (i, j) = middle(x, y), HEADS[character]
    long, broad = (WIDE / 2, 4) if i else (HIGH / 2, 4)
    tip = a + i * long, b + j * long
    corners = [(a - i * long + side * j * broad, b - j * long + side * i * broad) for side in (-1, 1)]
    return "M" + "L".join(f"{p:g} {q:g}" for p, q in itertools.chain([tip], corners)) + "z"


main()
