"""Charts as SVG text: drawn for a narrow page, with a title, a description and the table of their numbers."""

from collections.abc import Callable
from dataclasses import dataclass
from html import escape

from latent_trainer.analysis.figures import COLOURS

WIDTH = 360  # units, about the points of a phone's screen
ROW, BAR = 17, 6  # height of a text line, of a bar
LETTER = 7.4  # width that is kept for a letter of a legend, of any font
PLOT = 190  # height of a line chart without its labels
LEFT, RIGHT, TOP = 46, 12, 10
Point = tuple[float, float, float, float]  # x, y, and the ends of y's interval


@dataclass(frozen=True)
class Chart:
    """One chart.

    Args:
        name: of its file.
        title: states what it shows.
        description: says in words what can be seen, for readers who do not see it.
        svg: the drawing.
        headings, rows: the numbers that are drawn, as a table.
    """

    name: str
    title: str
    description: str
    svg: str
    headings: list[str]
    rows: list[list[str]]


def percent(value: float | None) -> str:
    """Return a share as a table shows it."""
    return "" if value is None else f"{100 * value:.1f} %"


def frame(name: str, title: str, description: str, height: float, parts: list[str]) -> str:
    """Return an SVG of ``WIDTH`` units that says what it is."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        f'aria-labelledby="{name}-title {name}-desc" font-family="system-ui, sans-serif" font-size="12" fill="currentColor">'
        f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-desc">{escape(description)}</desc>'
        f"{''.join(parts)}</svg>"
    )


def text(x: float, y: float, words: str, anchor: str = "start", more: str = "") -> str:
    """Return words at a place."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, more: str = 'stroke="currentColor" stroke-opacity="0.35"') -> str:
    """Return a line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {more}/>'


def legend(names: list[str], y: float) -> tuple[list[str], float]:
    """Return coloured names, a line each where they do not fit one, and the height below them."""
    parts, x = [], 4.0
    for number, name in enumerate(names):
        width = 22 + LETTER * len(name)
        if x + width > WIDTH and number:
            x, y = 4.0, y + ROW
        parts.append(f'<rect x="{x:.1f}" y="{y - 9:.1f}" width="10" height="10" fill="{COLOURS[number % len(COLOURS)]}"/>')
        parts.append(text(x + 14, y, name))
        x += width
    return parts, y + ROW


def bars(
    name: str,
    title: str,
    description: str,
    rows: list[tuple[str, list[tuple[float, float, float] | None]]],
    series: list[str],
) -> Chart:
    """Return bars of shares with their intervals, a label above each group.

    Args:
        name, title, description: of the chart.
        rows: label, and share and ends of its interval for every series; None where there is none.
        series: their names.
    """
    parts, y = legend(series, 14) if len(series) > 1 else ([], 6.0)
    left, right = 4, WIDTH - 54
    for label, values in rows:
        parts.append(text(left, y + 11, label))
        y += ROW
        for number, value in enumerate(values):
            if value is None:
                continue
            share, low, high = value
            colour, length = COLOURS[number % len(COLOURS)], right - left
            middle = y + BAR / 2
            parts.append(line(left, middle, right, middle, 'stroke="currentColor" stroke-opacity="0.12"'))
            parts.append(
                f'<rect x="{left}" y="{y:.1f}" width="{max(share, 0) * length:.1f}" height="{BAR}" fill="{colour}"/>'
            )
            ends = (left + max(low, 0) * length, left + high * length)
            parts.append(line(ends[0], middle, ends[1], middle, 'stroke="currentColor" stroke-width="1.5"'))
            parts.append(text(WIDTH - 2, y + 8, f"{100 * share:.1f} %", "end"))
            y += BAR + 7
        y += 4
    table = [[label, *(cell for value in values for cell in _cells(value))] for label, values in rows]
    headings = ["", *(heading for one in series for heading in (one, "95 % interval"))]
    return Chart(name, title, description, frame(name, title, description, y + 4, parts), headings, table)


def _cells(value: tuple[float, float, float] | None) -> list[str]:
    return ["", ""] if value is None else [percent(value[0]), f"{100 * value[1]:.1f} to {100 * value[2]:.1f} %"]


def lines(
    name: str,
    title: str,
    description: str,
    series: dict[str, list[Point]],
    across: str,
    up: str,
    most: float | None = None,
    notes: dict[str, dict[float, str]] | None = None,
) -> Chart:
    """Return curves with intervals, one a series.

    Args:
        name, title, description: of the chart.
        series: name -> points in the order of x.
        across, up: what x and y are.
        most: the largest y of the axis; None where y is a share.
        notes: name -> x -> a word that stands below the axis there.
    """
    places = sorted({point[0] for points in series.values() for point in points})
    span = max(places[-1] - places[0], 1e-9)

    def at(x: float) -> float:
        return LEFT + (x - places[0]) / span * (WIDTH - LEFT - RIGHT) if len(places) > 1 else (WIDTH + LEFT) / 2

    head, top = legend(list(series), 14) if len(series) > 1 else ([], float(TOP))
    limit = 1.0 if most is None else most
    under = top + ROW  # of the words that say what y is

    def height(y: float) -> float:
        return under + (1 - min(max(y, 0), limit) / limit) * PLOT

    parts = [*head, text(4, top + 2, up)]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        level, value = height(tick * limit), tick * limit
        parts.append(line(LEFT, level, WIDTH - RIGHT, level, 'stroke="currentColor" stroke-opacity="0.15"'))
        parts.append(text(LEFT - 4, level + 4, f"{100 * value:.0f} %" if most is None else f"{value:.2g}", "end"))
    low = under + PLOT
    shown = _apart(places, at)
    for place in shown:
        parts.append(text(_within(at(place), f"{place:g}"), low + 15, f"{place:g}", "middle"))
    parts.append(text((WIDTH + LEFT) / 2, low + 31, across, "middle"))
    end = low + 40
    for note, words in (notes or {}).items():
        parts.append(text(4, end + 10, note))
        parts += [
            text(_within(at(place), words[place]), end + 10 + ROW, words[place], "middle")
            for place in shown
            if place in words
        ]
        end += 2 * ROW + 4
    for number, points in enumerate(series.values()):
        colour = COLOURS[number % len(COLOURS)]
        drawn = " ".join(f"{at(x):.1f},{height(y):.1f}" for x, y, _, _ in points)
        parts.append(f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for x, y, least, greatest in points:
            parts.append(line(at(x), height(least), at(x), height(greatest), f'stroke="{colour}"'))
            parts.append(f'<circle cx="{at(x):.1f}" cy="{height(y):.1f}" r="3" fill="{colour}"/>')
    values = [{x: y for x, y, _, _ in points} for points in series.values()]
    told = list((notes or {}).values())
    table = [
        [
            f"{place:g}",
            *(_number(own.get(place), most is None) for own in values),
            *(words.get(place, "") for words in told),
        ]
        for place in places
    ]
    drawing = frame(name, title, description, end, parts)
    return Chart(name, title, description, drawing, [across, *series, *(notes or {})], table)


def _within(x: float, words: str) -> float:
    """Return where the middle of words stands, so that they end within the drawing."""
    return min(x, WIDTH - LETTER * len(words) / 2)


def _apart(places: list[float], at: Callable[[float], float]) -> list[float]:
    """Return the places whose labels do not touch, the last one always."""
    chosen = places[-1:]
    for place in reversed(places[:-1]):
        if at(chosen[-1]) - at(place) >= 4 * LETTER:
            chosen.append(place)
    return chosen[::-1]


def _number(value: float | None, share: bool) -> str:
    return percent(value) if share or value is None else f"{value:.3g}"


def influence(name: str, title: str, description: str, moved: list[list[float | None]], changed: list[float]) -> Chart:
    """Return the graph of what one latent does to the later ones, above, and to the answer, below.

    Args:
        name, title, description: of the chart.
        moved: row t, column u: how far latent u moves where t is set.
        changed: per latent, the share of answers that change.
    """
    number = len(changed)
    gap = (WIDTH - 40) / max(number - 1, 1)
    known = [value for row in moved for value in row if value is not None]
    most = max([*known, 1e-9])
    tallest = min(gap * (number - 1) / 2, 150)
    middle, answer = tallest + 26, tallest + 140
    radius = min(11, 0.45 * gap)
    xs = [20 + gap * place if number > 1 else WIDTH / 2 for place in range(number)]
    parts = []
    for first in range(number):
        for second in range(first + 1, number):
            value = moved[first][second]
            if value is None:
                continue
            wide, high = (xs[second] - xs[first]) / 2, tallest * (second - first) / max(number - 1, 1)
            width, shade = 0.4 + 5 * value / most, 0.15 + 0.85 * value / most
            parts.append(
                f'<path d="M {xs[first]:.1f} {middle - 11:.1f} a {wide:.1f} {high:.1f} 0 0 1 {2 * wide:.1f} 0" fill="none" '
                f'stroke="{COLOURS[0]}" stroke-width="{width:.2f}" stroke-opacity="{shade:.2f}"/>'
            )
    for place, (x, share) in enumerate(zip(xs, changed, strict=True)):
        width, shade = 0.4 + 6 * share, 0.15 + 0.85 * share
        more = f'stroke="{COLOURS[1]}" stroke-width="{width:.2f}" stroke-opacity="{shade:.2f}"'
        parts.append(line(x, middle + 11, WIDTH / 2, answer - 12, more))
        parts.append(f'<circle cx="{x:.1f}" cy="{middle:.1f}" r="{radius:.1f}" fill="{COLOURS[0]}"/>')
        parts.append(text(x, middle + 4, str(place + 1), "middle", f'fill="white" font-size="{min(12, 1.2 * radius):.1f}"'))
    parts.append(f'<rect x="{WIDTH / 2 - 34:.1f}" y="{answer - 12:.1f}" width="68" height="22" rx="4" fill="{COLOURS[1]}"/>')
    parts.append(text(WIDTH / 2, answer + 4, "answer", "middle", 'fill="white"'))
    table = [
        [str(place + 1), *("" if value is None else f"{value:.2f}" for value in moved[place]), percent(changed[place])]
        for place in range(number)
    ]
    headings = ["set latent", *(f"moves {place + 1}" for place in range(number)), "answers changed"]
    return Chart(name, title, description, frame(name, title, description, answer + 20, parts), headings, table)
