#!/usr/bin/env python3
"""Draws docs/rooms.svg from docs/rooms.txt: a box for each room with its inner rooms, and an arrow to each room that it
may include, leaving out arrows that are implied by others.

usage: draw_rooms.py [--check]   --check: fails if rooms.svg differs from what would be drawn
"""
import pathlib
import sys

FOLDER = pathlib.Path(__file__).resolve().parent
FAMILIES = (("layers vision text model generation", "#e3f0e4", "#2e7d32"), ("backend", "#fdeede", "#b9600e"),
            ("io loading processing", "#e4edf8", "#1f5fa8"), ("", "#eeeeee", "#555555"))
CHIPS = 2  # inner rooms side by side
ROW, GAP = 46, 34  # pixels between floors and between boxes


def read_rooms(path):
    """Room -> rooms that it may include, as in the file."""
    rooms = {}
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, included = line.partition(":")
            rooms[name] = included.split()
    return rooms


def box_of(room):
    """The box that a room is drawn in: its first folder, and of the backends the second one, too."""
    return "/".join(room.split("/")[:2 if room.startswith("backend/") else 1])


def reachable(edges, start):
    seen, todo = set(), list(edges[start])
    while todo:
        box = todo.pop()
        if box not in seen:
            seen.add(box)
            todo += edges[box]
    return seen


class Box:
    def __init__(self, name, inner):
        self.name, self.inner, self.x = name, inner, 0.0
        widths = [7 * len(word) + 14 for word in inner]
        self.chip = max(widths, default=0)
        columns = min(len(inner), CHIPS)
        self.width = max(8 * len(name) + 28, columns * (self.chip + 6) + 14)
        self.height = 32 + 26 * ((len(inner) + CHIPS - 1) // CHIPS)
        self.column_count = columns


class Bend(Box):
    """Where an arrow passes a floor."""

    def __init__(self):
        super().__init__("", [])
        self.width, self.height = 10, 0


def spread(row):
    """Moves the boxes of a floor apart, in their order."""
    for a, b in zip(row, row[1:]):
        b.x = max(b.x, a.x + (a.width + b.width) / 2 + GAP)
    for a, b in reversed(list(zip(row, row[1:]))):
        a.x = min(a.x, b.x - (a.width + b.width) / 2 - GAP)


def layout(boxes, arrows):
    """Floors from the ground up, each a list of boxes with their x, and the arrows as lists of boxes on the way."""
    level = {}

    def level_of(name):
        if name not in level:
            level[name] = None
            below = [level_of(other) for other in arrows[name]]
            if None in below:
                sys.exit(f"rooms.txt: {name} includes itself by way of others")
            level[name] = 1 + max(below, default=-1)
        return level[name]

    floors = [[] for _ in range(1 + max(level_of(name) for name in boxes))]
    for name, box in boxes.items():
        floors[level[name]].append(box)
    paths = []
    for name in boxes:
        for other in arrows[name]:
            bends = [Bend() for _ in range(level[other] + 1, level[name])]
            for floor, bend in zip(floors[level[other] + 1:level[name]], bends):
                floor.append(bend)
            paths.append([boxes[name], *reversed(bends), boxes[other]])
    neighbours = {box: [] for floor in floors for box in floor}
    for path in paths:
        for a, b in zip(path, path[1:]):
            neighbours[a].append(b)
            neighbours[b].append(a)
    for floor in floors:
        for i, box in enumerate(floor):
            box.x = 200.0 * (i - (len(floor) - 1) / 2)
    for turn in range(60):
        for floor in floors if turn % 2 else floors[::-1]:
            for box in floor:
                near = neighbours[box]
                if near:
                    box.x = sum(other.x for other in near) / len(near)
            if turn < 40:
                floor.sort(key=lambda box: box.x)
            middle = sum(box.x for box in floor) / len(floor)
            spread(floor)
            moved = sum(box.x for box in floor) / len(floor) - middle
            for box in floor:
                box.x -= moved
    return floors, paths


def draw(rooms):
    names = list(dict.fromkeys(box_of(room) for room in rooms))
    inner = {name: [room[len(name) + 1:] for room in rooms if room.startswith(name + "/")] for name in names}
    edges = {name: [] for name in names}
    for room, included in rooms.items():
        for other in included:
            a, b = box_of(room), box_of(other)
            if a != b and b not in edges[a]:
                edges[a].append(b)
    arrows = {}  # without those that others imply
    for name in names:
        arrows[name] = [other for other in edges[name]
                        if not any(other in reachable(edges, third) for third in edges[name] if third != other)]
    boxes = {name: Box(name, inner[name]) for name in names}
    floors, paths = layout(boxes, arrows)

    left = min(box.x - box.width / 2 for floor in floors for box in floor) - 20
    width = max(box.x + box.width / 2 for floor in floors for box in floor) + 20 - left
    y = 20.0
    for floor in reversed(floors):
        height = max(box.height for box in floor)
        for box in floor:
            box.x -= left
            box.top = y + (height - box.height) / 2
        y += height + ROW
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {y - ROW + 20:.0f}" '
           'font-family="sans-serif" font-size="12">',
           '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
           '<path d="M0 0L8 4L0 8z" fill="#777"/></marker></defs>', '<rect width="100%" height="100%" fill="white"/>']
    for path in paths:
        words = f"M{path[0].x:.0f} {path[0].top + path[0].height:.0f}"
        for a, b in zip(path, path[1:]):
            begin, end = a.top + a.height, b.top
            bend = (begin + end) / 2
            words += f"C{a.x:.0f} {bend:.0f} {b.x:.0f} {bend:.0f} {b.x:.0f} {end:.0f}"
        out.append(f'<path d="{words}" fill="none" stroke="#777" marker-end="url(#tip)"/>')
    for name, box in boxes.items():
        first = name.split("/")[0]
        fill, stroke = next((fill, stroke) for words, fill, stroke in FAMILIES if first in words.split() or not words)
        x = box.x - box.width / 2
        out.append(f'<rect x="{x:.0f}" y="{box.top:.0f}" width="{box.width:.0f}" height="{box.height:.0f}" rx="5" '
                   f'fill="{fill}" stroke="{stroke}"/>')
        out.append(f'<text x="{box.x:.0f}" y="{box.top + 20:.0f}" text-anchor="middle" font-weight="bold">'
                   f'{name}</text>')
        for i, word in enumerate(box.inner):
            cx = box.x + (i % CHIPS - (box.column_count - 1) / 2) * (box.chip + 6)
            cy = box.top + 30 + 26 * (i // CHIPS)
            out.append(f'<rect x="{cx - box.chip / 2:.0f}" y="{cy:.0f}" width="{box.chip}" height="20" rx="3" '
                       f'fill="white" stroke="{stroke}" stroke-opacity="0.5"/>')
            out.append(f'<text x="{cx:.0f}" y="{cy + 14:.0f}" text-anchor="middle" font-size="11">'
                       f'{word}</text>')
    return "\n".join(out + ["</svg>", ""])


def main():
    svg, file = draw(read_rooms(FOLDER / "rooms.txt")), FOLDER / "rooms.svg"
    if sys.argv[1:] == ["--check"]:
        if not file.exists() or file.read_text() != svg:
            sys.exit("docs/rooms.svg is not what docs/draw_rooms.py draws from docs/rooms.txt: run it")
    else:
        file.write_text(svg)


if __name__ == "__main__":
    main()
