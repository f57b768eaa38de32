"""Inline SVG. Colours, light and dark, belong to the style sheet: shapes only carry class names.

Shapes that stretch with the page hold no text; their words stand beside them in HTML.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from journeyman.traces.viewer.visible import cut, plain


def tag(name: str, *children: Any, **attributes: Any) -> Markup:
    """One element; texts and attributes are escaped.

    Args:
        name: Of the element.
        children: Elements made by this function, or texts, which are cut.
        attributes: `class_` and `stroke_width` lose or change their underscore; None is left out.
    """
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = "".join(escape(cut(child)) for child in children)
    return Markup(f"<{name}{said}>{inner}</{name}>")  # noqa: S704  # every part is escaped, or ours


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return str(value) if isinstance(value, int) else escape(plain(value))


@dataclass(frozen=True, slots=True)
class Series:
    """One line or one layer of bars.

    Attributes:
        name: In the legend and in titles.
        css: Class of its shapes, e.g. `student`.
        values: One for each label.
    """

    name: str
    css: str
    values: Sequence[float]


def stacked_bars(
    labels: Sequence[str],
    series: Sequence[Series],
    title: str,
    say: Callable[[float], str] = "{:,.0f}".format,
) -> Markup:
    """Bars over time, one column a label, stretched to the width that there is.

    Args:
        labels: E.g. days; shown when a column is pointed at.
        series: Layers, the lowest first; values are at least 0.
        title: What the picture shows, for those who do not see it.
        say: A value as text.
    """
    totals = [sum(layer.values[i] for layer in series) for i in range(len(labels))]
    top = max(totals, default=0) or 1
    columns = []
    for i, label in enumerate(labels):
        y, shapes = 100.0, []
        for layer in series:
            height = 100 * layer.values[i] / top
            y -= height
            if height:
                shapes.append(
                    tag("rect", x=i + 0.08, y=y, width=0.84, height=height, class_=layer.css)
                )
        told = ", ".join(f"{say(layer.values[i])} {layer.name}" for layer in series)
        shapes.append(tag("rect", x=i, y=0, width=1, height=100, class_="hover"))
        columns.append(tag("g", tag("title", f"{label}: {told}"), *shapes))
    return tag(
        "svg",
        tag("title", title),
        *columns,
        class_="bars",
        viewBox=f"0 0 {max(len(labels), 1)} 100",
        preserveAspectRatio="none",
        role="img",
    )


def meter(parts: Iterable[tuple[float, str]], title: str) -> Markup:
    """One thin bar, filled from the left.

    Args:
        parts: Shares in [0, 1] with the class of each.
        title: What it says.
    """
    x, shapes = 0.0, []
    for part, css in parts:
        shapes.append(tag("rect", x=100 * x, y=0, width=100 * part, height=10, class_=css))
        x += part
    return tag(
        "svg",
        tag("title", title),
        *shapes,
        class_="meter",
        viewBox="0 0 100 10",
        preserveAspectRatio="none",
        role="img",
    )


def slot(start: float, width: float, css: str, title: str) -> Markup:
    """One bar of a waterfall.

    Args:
        start: Share of the whole before it, in [0, 1].
        width: Its share of the whole, in [0, 1]; the bar is never too thin to see.
        css: Its class.
        title: What it says.
    """
    width = max(width, 0.004)
    start = min(max(start, 0.0), 1 - width)
    return tag(
        "svg",
        tag("title", title),
        tag("rect", x=1000 * start, y=3, width=1000 * width, height=4, rx=1, class_=css),
        class_="slot",
        viewBox="0 0 1000 10",
        preserveAspectRatio="none",
        role="img",
    )


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points, or the points alone.

    Attributes:
        name: In the legend and in titles.
        css: Class of its shapes.
        points: (x, y) in data units, by x.
        dots: Show the points.
        joined: Join them.
        notes: What each point says when pointed at; empty for none.
        label: Written beside a point, so that no legend is needed.
        label_at: Which point that is, as a share of them; the last by default.
        tags: Written beside each point; empty for none.
        spans: What each point may as well be, from low to high; empty for none.
    """

    name: str
    css: str
    points: Sequence[tuple[float, float]]
    dots: bool = True
    joined: bool = True
    notes: Sequence[str] = ()
    label: str = ""
    label_at: float = 1.0
    tags: Sequence[str] = ()
    spans: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis.

    Attributes:
        label: What it measures.
        low, high: Its ends in data units.
        ticks: Where its grid lies, in data units.
        unit: `share` for per cent, `number` for plain numbers.
    """

    label: str
    low: float = 0.0
    high: float = 1.0
    ticks: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0)
    unit: str = "share"

    def place(self, value: float) -> float:
        """Where a value lies, as a share of the axis."""
        span = (self.high - self.low) or 1.0
        return min(max((value - self.low) / span, 0.0), 1.0)

    def say(self, value: float) -> str:
        """A tick's text."""
        return f"{value:.0%}" if self.unit == "share" else f"{value:,.10g}"


_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 18, 34

_CHAR, _ROW = 6.2, 12.0
"""About how wide a character of a label is, and how far apart two rows of them are."""

Taken = tuple[float, float, float]
"""Where a label lies: from left to right, at which height."""


def plot(
    lines: Sequence[Line],
    x: Axis,
    y: Axis,
    title: str,
    *,
    width: int = 420,
    height: int = 260,
    marks: Sequence[tuple[float, str]] = (),
    diagonal: bool = False,
) -> Markup:
    """Lines over two axes, with text; it keeps its proportions.

    Args:
        lines: Drawn in order.
        x: Horizontal axis.
        y: Vertical axis.
        title: What the picture shows, for those who do not see it.
        width: In the picture's own units, at most shown so many pixels wide.
        height: Likewise.
        marks: Vertical lines at values of x with what is written above them, e.g. a threshold.
        diagonal: Draw the line from corner to corner, e.g. of perfect calibration.
    """
    right, bottom = width - _RIGHT, height - _BOTTOM

    def at(point: tuple[float, float]) -> tuple[float, float]:
        across = _LEFT + x.place(point[0]) * (right - _LEFT)
        return across, bottom - y.place(point[1]) * (bottom - _TOP)

    shapes = [*_grid(x, y, at), *_axis_labels(x, y, width, height)]
    if diagonal:
        shapes.append(_segment(at((x.low, y.low)), at((x.high, y.high)), "ideal"))
    taken: list[Taken] = []
    for value, told in marks:
        line = _segment(at((value, y.low)), at((value, y.high)), "mark")
        text = _mark_text(told, at((value, y.high)), taken)
        shapes.append(tag("g", tag("title", told), line, text))
    for line_ in lines:
        ends = [(at((point[0], low)), at((point[0], high)))
                for point, (low, high) in zip(line_.points, line_.spans, strict=False)]  # fmt: skip
        shapes.extend(_segment(low, high, f"span {line_.css}") for low, high in ends)
        shapes.extend(_line(line_, [at(point) for point in line_.points]))
    shapes.extend(_labels(lines, at, width, bottom, taken))
    return tag(
        "svg",
        tag("title", title),
        *shapes,
        class_="plot",
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        role="img",
    )


def _grid(x: Axis, y: Axis, at: Any) -> list[Markup]:
    shapes = []
    for value in y.ticks:
        start, end = at((x.low, value)), at((x.high, value))
        shapes.append(_segment(start, end, "grid"))
        shapes.append(
            tag("text", y.say(value), x=start[0] - 6, y=start[1] + 3.5, text_anchor="end")
        )
    for value in x.ticks:
        foot = at((value, y.low))
        shapes.append(_segment(foot, (foot[0], foot[1] + 4), "grid"))
        shapes.append(tag("text", x.say(value), x=foot[0], y=foot[1] + 15, text_anchor="middle"))
    return shapes


def _axis_labels(x: Axis, y: Axis, width: int, height: int) -> list[Markup]:
    middle = (_TOP + height - _BOTTOM) / 2
    return [
        tag("text", x.label, x=(_LEFT + width) / 2, y=height - 4, text_anchor="middle"),
        tag("text", y.label, x=0, y=0, text_anchor="middle",
            transform=f"translate(10 {middle}) rotate(-90)"),
    ]  # fmt: skip


def _line(line: Line, places: Sequence[tuple[float, float]]) -> list[Markup]:
    shapes = []
    if line.joined and len(places) > 1:
        path = " ".join(f"{across:.1f},{down:.1f}" for across, down in places)
        shapes.append(tag("polyline", tag("title", line.name), points=path, class_=line.css))
    if line.dots:
        for i, (across, down) in enumerate(places):
            note = line.notes[i] if i < len(line.notes) else line.name
            shapes.append(
                tag("circle", tag("title", note), cx=across, cy=down, r=3, class_=line.css)
            )
    for (across, down), told in zip(places, line.tags, strict=False):
        shapes.append(tag("text", told, x=across + 5, y=down + 12, class_="tag"))
    return shapes


def _mark_text(told: str, top: tuple[float, float], taken: list[Taken]) -> Markup:
    """What a vertical line is, above its top; below others where they lie there already."""
    length = _CHAR * len(told)
    is_right = top[0] > _LEFT + 180
    left = top[0] - 3 - length if is_right else top[0] + 3
    y = top[1] - 5
    while _lies_on(left, left + length, y, taken):
        y += _ROW
    taken.append((left, left + length, y))
    return _label(told, left, length, y, is_right=is_right)


def _labels(
    lines: Sequence[Line], at: Any, width: int, floor: float, taken: list[Taken]
) -> list[Markup]:
    """What each line is, beside one of its points; no label lies on another, or on a mark's."""
    places = sorted(
        (
            (at(line.points[round(line.label_at * (len(line.points) - 1))]), line.label)
            for line in lines
            if line.label and line.points
        ),
        key=lambda place: place[0][1],
    )
    shapes: list[Markup] = []
    for (across, down), text in places:
        length = _CHAR * len(text)
        has_room = width - _RIGHT - across > length + 7
        left = across + 7 if has_room else max(across - 4 - length, _LEFT)
        y = _free(left, left + length, down + 3.5 if has_room else down - 7, taken, floor)
        taken.append((left, left + length, y))
        shapes.append(_label(text, left, length, y, is_right=not has_room))
    return shapes


def _label(text: str, left: float, length: float, y: float, *, is_right: bool) -> Markup:
    """A text from `left` on; `is_right` sets its end, since its length is a guess."""
    x, anchor = (left + length, "end") if is_right else (left, "start")
    return tag("text", text, x=x, y=y, text_anchor=anchor, class_="label")


def _free(left: float, right: float, y: float, taken: Sequence[Taken], floor: float) -> float:
    """The height nearest to `y`, inside the picture, at which no label lies yet."""
    for step in range(60):
        for height in (y - 4 * step, y + 4 * step):
            is_inside = _TOP + 8 <= height <= floor - 3
            if is_inside and not _lies_on(left, right, height, taken):
                return height
    return y


def _lies_on(left: float, right: float, y: float, taken: Sequence[Taken]) -> bool:
    return any(
        left < end + _CHAR and start < right + _CHAR and abs(y - height) < _ROW
        for start, end, height in taken
    )


def ticks(high: float, number: int = 4) -> list[float]:
    """Round numbers from 0 to at least `high`, in about so many steps."""
    step = max(high, 1e-9) / number
    size = 10.0 ** math.floor(math.log10(step))
    step = next(factor * size for factor in (1, 2, 5, 10) if factor * size >= step * 0.999)
    return [step * i for i in range(math.ceil(high / step - 1e-9) + 1)]


def histogram(
    edges: Sequence[float],
    series: Sequence[Series],
    x: Axis,
    title: str,
    *,
    y_label: str = "attempts",
    width: int = 420,
    height: int = 220,
) -> Markup:
    """Stacked bars over a number line, with counts on the other axis.

    Args:
        edges: Ends of the bins in data units, one more than there are bins.
        series: Layers, the lowest first, one value a bin.
        x: Horizontal axis.
        title: What the picture shows, for those who do not see it.
        y_label: What is counted.
        width: As in `plot`.
        height: Likewise.
    """
    totals = [sum(layer.values[i] for layer in series) for i in range(len(edges) - 1)]
    marks = ticks(max([*totals, 1]))
    y = Axis(y_label, high=marks[-1], ticks=marks, unit="number")
    right, bottom = width - _RIGHT, height - _BOTTOM

    def at(point: tuple[float, float]) -> tuple[float, float]:
        across = _LEFT + x.place(point[0]) * (right - _LEFT)
        return across, bottom - y.place(point[1]) * (bottom - _TOP)

    shapes = [*_grid(x, y, at), *_axis_labels(x, y, width, height)]
    for i in range(len(edges) - 1):
        (left, _), (end, _) = at((edges[i], 0)), at((edges[i + 1], 0))
        told = ", ".join(f"{layer.values[i]:,.0f} {layer.name}" for layer in series)
        bars, below = [], 0.0
        for layer in series:
            if layer.values[i]:
                (_, foot), (_, top) = at((0, below)), at((0, below + layer.values[i]))
                bars.append(tag("rect", x=left + 0.5, y=top, width=max(end - left - 1, 0.5),
                                height=foot - top, class_=layer.css))  # fmt: skip
            below += layer.values[i]
        note = tag("title", f"{x.say(edges[i])} to {x.say(edges[i + 1])}: {told}")
        shapes.append(tag("g", note, *bars))
    return tag("svg", tag("title", title), *shapes, class_="plot",
               viewBox=f"0 0 {width} {height}", width=width, height=height, role="img")  # fmt: skip


def sparkline(values: Sequence[float], title: str) -> Markup:
    """A line of a word's size, the last value marked.

    Args:
        values: In [0, 1], the oldest first.
        title: What it says.
    """
    step = 96 / max(len(values) - 1, 1)
    places = [(2 + i * step, 18 - 16 * value) for i, value in enumerate(values)]
    path = " ".join(f"{across:.1f},{down:.1f}" for across, down in places)
    line = [tag("polyline", points=path, class_="student")] if len(places) > 1 else []
    end = [tag("circle", cx=x, cy=y, r=2.2, class_="student") for x, y in places[-1:]]
    return tag("svg", tag("title", title), *line, *end, class_="sparkline",
               viewBox="0 0 102 20", width=102, height=20, role="img")  # fmt: skip


def _segment(start: tuple[float, float], end: tuple[float, float], css: str) -> Markup:
    return tag("line", x1=start[0], y1=start[1], x2=end[0], y2=end[1], class_=css)
