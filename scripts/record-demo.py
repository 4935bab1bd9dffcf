#!/usr/bin/env python3
"""Records `slipway demo` as a picture for the README.

usage: scripts/record-demo.py [SLIPWAY [SVG]]     (bin/slipway, docs/demo.svg)

Runs the real demo in a terminal of its own and writes what it prints as an
SVG: the lines that stay, in their colours, each of which lights up when it was
printed (four times as fast). Viewers that do not animate show all of them.
Left out, to fit on a page, are the pictures of digits and the part that shows
the commands for the record; an ellipsis marks where. Nothing but Python's
standard library is needed.
"""

import fcntl
import html
import os
import pty
import re
import struct
import sys
import termios
import time

COLUMNS, ROWS = 118, 50
SPEED = 4  # how many times as fast the picture is
CHARACTER, LINE, MARGIN = 7.83, 17, 16  # pixels
COLOURS = {"31": "#f47067", "32": "#57ab5a", "33": "#daaa3f", "34": "#539bf5", "90": "#768390"}
SEQUENCE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])")


def record(program):
    """Runs the demo in a terminal and returns what it wrote, with the times."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm-256color", COLORTERM="")
        os.execv(program, [program, "demo"])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    began, written = time.monotonic(), []
    while True:
        try:
            part = os.read(terminal, 1 << 16)
        except OSError:  # the terminal is closed when the demo has ended
            break
        if not part:
            break
        written.append((time.monotonic() - began, part))
    _, status = os.waitpid(pid, 0)
    if status != 0:
        sys.exit(f"the demo failed: {os.waitstatus_to_exitcode(status)}")
    return written


class Screen:
    """What a terminal would show, without a limit of rows. A cell is a
    character and its style; a row also has the time when it last changed."""

    def __init__(self):
        self.rows, self.times = [[]], [0.0]
        self.x = self.y = 0
        self.style = ""

    def write(self, at, text):
        end = 0
        for m in SEQUENCE.finditer(text):
            self.characters(at, text[end : m.start()])
            self.control(m.group(1), m.group(2))
            end = m.end()
        self.characters(at, text[end:])

    def characters(self, at, text):
        for c in text:
            if c == "\r":
                self.x = 0
            elif c == "\n":
                self.y += 1
                while len(self.rows) <= self.y:
                    self.rows.append([])
                    self.times.append(at)
            elif c >= " ":
                row = self.rows[self.y]
                row.extend([(" ", "")] * (self.x + 1 - len(row)))
                row[self.x] = (c, self.style)
                self.times[self.y] = at
                self.x += 1

    def control(self, arguments, kind):
        n = int(arguments) if arguments.isdigit() else 1
        if kind == "A":
            self.y = max(0, self.y - n)
        elif kind == "F":
            self.y, self.x = max(0, self.y - n), 0
        elif kind == "G":
            self.x = n - 1
        elif kind == "K":
            del self.rows[self.y][0 if arguments == "2" else self.x :]
        elif kind == "J":
            del self.rows[self.y][self.x :]
            del self.rows[self.y + 1 :], self.times[self.y + 1 :]
        elif kind == "m":
            self.style = "" if arguments in ("", "0", "39") else arguments


def lines(written):
    """The rows that stay, as (time, [(style, text), …])."""
    screen, rest = Screen(), b""
    for at, part in written:
        text = rest + part
        cut = len(text)
        while cut > len(text) - 12 and cut > 0:  # a sequence or a letter may go on in the next part
            try:
                whole = text[:cut].decode()
                if not re.search(r"\x1b\[?[0-9;?]*$", whole):
                    break
            except UnicodeDecodeError:
                pass
            cut -= 1
        rest = text[cut:]
        screen.write(at, text[:cut].decode(errors="replace"))
    found = []
    for at, row in zip(screen.times, screen.rows):
        runs = []
        for character, style in row:
            if runs and runs[-1][0] == style:
                runs[-1][1] += character
            else:
                runs.append([style, character])
        found.append((at, runs))
    return found


def shorten(rows):
    """Leaves out what a page has no room for, and cuts long lines."""
    kept, cut = [], False
    for at, runs in rows:
        text = "".join(t for _, t in runs)
        if "what is on record" in text:
            cut = True
        elif cut and "on record as" in text:
            cut = False
        if cut or re.search("[░▒▓█]", text):
            if kept and kept[-1][1] != [["", "  …"]]:
                kept.append((at, [["", "  …"]]))
            continue
        if not text.strip() and (not kept or not kept[-1][1] or kept[-1][1] == [["", "  …"]]):
            continue
        if not text.strip():
            runs = []
        room, short = COLUMNS, []
        for style, t in runs:
            if len(t) > room:
                t = t[: max(0, room - 1)] + "…"
            if room > 0:
                short.append([style, t])
            room -= len(t)
        kept.append((at, short))
    # A blank line before an ellipsis says nothing.
    kept = [r for i, r in enumerate(kept) if r[1] or i + 1 < len(kept) and kept[i + 1][1] != [["", "  …"]]]
    return kept


def draw(rows):
    """The rows as an SVG."""
    width, height = COLUMNS * CHARACTER + 2 * MARGIN, len(rows) * LINE + 2 * MARGIN
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" '
        f'width="{width:.0f}" height="{height}">',
        "<style>",
        "text { font: 13px ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; fill: #cdd9e5; "
        "white-space: pre; }",
        "@media (prefers-reduced-motion: no-preference) { text { animation: appear 0s both; } }",
        "@keyframes appear { from { opacity: 0.35; } to { opacity: 1; } }",
        "</style>",
        f'<rect width="{width:.0f}" height="{height}" rx="8" fill="#22272e"/>',
    ]
    first = rows[0][0]
    for i, (at, runs) in enumerate(rows):
        column, spans = 0, ""
        for style, text in runs:
            if text.strip():
                x = MARGIN + column * CHARACTER
                attributes = f' textLength="{len(text) * CHARACTER:.1f}"'
                for code in style.split(";"):
                    if code == "1":
                        attributes += ' font-weight="bold"'
                    elif code in COLOURS:
                        attributes += f' fill="{COLOURS[code]}"'
                spans += f'<tspan x="{x:.1f}"{attributes}>{html.escape(text)}</tspan>'
            column += len(text)
        if spans:
            y, delay = MARGIN + i * LINE + 13, (at - first) / SPEED
            out.append(f'<text y="{y}" style="animation-delay:{delay:.1f}s">{spans}</text>')
    return "\n".join(out + ["</svg>", ""])


def main():
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
    program = sys.argv[1] if len(sys.argv) > 1 else os.path.join(root, "bin/slipway")
    path = sys.argv[2] if len(sys.argv) > 2 else os.path.join(root, "docs/demo.svg")
    rows = lines(record(program))
    with open(path, "w", encoding="utf-8") as f:
        f.write(draw(shorten(rows)))
    for _, runs in rows:
        print("".join(text for _, text in runs))


if __name__ == "__main__":
    main()
