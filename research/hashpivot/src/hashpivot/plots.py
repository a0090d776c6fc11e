"""Plotting defaults. A chart says what it shows: units, source, as-of, sample size, and whether its data are simulated or recorded. A gap is a gap: a line
never crosses a day that is missing, and what is missing is written on the chart."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import matplotlib as mpl
import matplotlib.dates as mdates
import numpy as np
import pandas as pd
from IPython.display import Image, display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from matplotlib.transforms import ScaledTranslation

from . import calendar
from .state import as_of_text, kind

#: Okabe and Ito's palette without its yellow, which a light ground swallows: told apart by the colour-blind.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#555555")
WARNING = "#AA3300"
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (7, 2, 1.5, 2)))

STYLE: Any = {
    "figure.facecolor": "white", "axes.facecolor": "white", "axes.edgecolor": "#888888", "axes.grid": True, "grid.color": "#E4E4E4", "grid.linewidth": 0.8,
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "font.family": "DejaVu Sans", "font.size": 9.5,
    "axes.titlesize": 12, "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.labelsize": 9.5, "legend.frameon": False, "legend.fontsize": 9,
    "text.parse_math": False, "lines.linewidth": 1.6, "lines.markersize": 4, "xtick.color": "#444444", "ytick.color": "#444444",
}  # fmt: skip

WIDTH, DPI = 9.6, 110
mpl.rcParams.update(STYLE)


class Chart:
    """One figure, of one panel or of several with a common time axis."""

    def __init__(self, title: str, *, unit: str, source: str, n: int, as_of: datetime, trade_date: date, mark: str, height: float = 4.2, rows: int = 1) -> None:
        self.title = title if mark == "" else f"{title} · {kind(mark)}"
        self.source, self.n, self.as_of, self.trade_date = source, n, as_of, trade_date
        self._notes: list[str] = []
        self._events: list[str] = []
        self._used = self._levels = 0
        self._legend: dict[str, Any] | None = None
        self.fig = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = self.fig.subplots(rows, 1, sharex=rows > 1, squeeze=False)
        self.axes: list[Axes] = [a for a in axes[:, 0]]
        self.ax = self.axes[0]
        self.ax.set_ylabel(unit)

    def colour(self) -> str:
        self._used += 1
        return COLOURS[(self._used - 1) % len(COLOURS)]

    def line(
        self,
        days: Sequence[Any],
        values: Sequence[float],
        label: str,
        *,
        every: str = "utc",
        reasons: Sequence[str] | None = None,
        ax: Axes | None = None,
        colour: str | None = None,
        **style: Any,
    ) -> None:
        """A line by day that breaks where a day of the calendar ('utc', 'trade') is missing or has no value; a day that stands alone is a dot.

        What `reasons` say of days without a value is noted on the chart.
        """
        ax = ax or self.ax
        if "linestyle" not in style:
            style["linestyle"] = DASHES[(self._used // len(COLOURS)) % len(DASHES)]
        colour = colour or self.colour()
        if reasons is not None:
            lacking = pd.DataFrame({"day": pd.to_datetime(pd.Series(list(days))), "reason": list(reasons)})[pd.isna(pd.Series(list(values))).to_numpy()]
            groups: Any = lacking.groupby("reason", sort=True)
            for reason, of in groups:
                self.note(f"{label}: {len(of)} days without a value, {of['day'].min():%Y-%m-%d} to {of['day'].max():%Y-%m-%d}: {reason or 'no reason given'}")
        x, y = broken(days, values, every)
        if not np.isfinite(y).any():
            if reasons is None or not len(x):
                self.note(f"{label}: no value in the window")
            return
        ax.plot(x, y, label=label, color=colour, **style)
        lone = alone(y)
        if lone.any():
            ax.plot([d for d, k in zip(x, lone, strict=True) if k], y[lone], linestyle="none", marker="o", color=colour, markersize=3.5)

    def note(self, text: str) -> None:
        """Write on the chart what its data lack."""
        if text not in self._notes:
            self._notes.append(text)

    def missing(self, series: Iterable[Any]) -> None:
        """Write the notes and gaps of data states on the chart."""
        for s in series:
            if s.note:
                self.note(f"{s.name}: {s.note}")
            elif s.missing_days:
                self.note(f"{s.name}: {s.begins + '; ' if s.begins else ''}{s.missing_days} of {s.expected_days} days missing: {s.gaps_text(3)}")
            elif s.begins:
                self.note(f"{s.name} {s.begins}")

    def events(self, events: pd.DataFrame, first: Any, last: Any) -> None:
        """Mark the days of events within a span by numbered lines; the foot says what they are."""
        if not any(drawn(ax) for ax in self.axes):
            return
        inside = events[(events["date"] >= pd.Timestamp(first)) & (events["date"] <= pd.Timestamp(last))]
        span = max(1, (pd.Timestamp(last) - pd.Timestamp(first)).days)
        level, before = 0, None
        rows: Any = inside.itertuples()
        for e in rows:
            self._events.append(f"{len(self._events) + 1}  {e.date:%Y-%m-%d}  {e.title}{'' if e.confirmed else ' (not confirmed)'}")
            level = (level + 1) % 3 if before is not None and (e.date - before).days < span * 0.022 else 0
            before, self._levels = e.date, max(self._levels, level + 1)
            for i, ax in enumerate(self.axes):
                ax.axvline(e.date, color="#777777", linewidth=0.9, linestyle=(0, (2, 2)), zorder=1, gid="event")
                if i == 0:
                    ax.annotate(
                        str(len(self._events)), (e.date, 1), xycoords=("data", "axes fraction"), xytext=(0, 3 + 11 * level), textcoords="offset points", ha="center", va="bottom",
                        fontsize=7.5, color="#333333", bbox={"boxstyle": "round,pad=0.18", "facecolor": "white", "edgecolor": "#777777", "linewidth": 0.6},
                    )  # fmt: skip

    def span(self, first: Any, last: Any) -> None:
        """Show these days and no others, so that what is missing at either end is seen."""
        half = pd.Timedelta(hours=12)
        left, right = mdates.date2num(pd.Timestamp(first) - half), mdates.date2num(pd.Timestamp(last) + half)
        for ax in self.axes:
            ax.set_xlim(left, right)

    def log(self, axis: str = "y", form: str = "{x:,.0f}", ax: Axes | None = None) -> None:
        """A logarithmic axis, labelled at 1, 2 and 5."""
        ax = ax or self.ax
        (ax.set_yscale if axis == "y" else ax.set_xscale)("log")
        one = ax.yaxis if axis == "y" else ax.xaxis
        one.set_major_locator(LogLocator(subs=(1, 2, 5)))
        one.set_major_formatter(form)
        one.set_minor_formatter(NullFormatter())

    def legend(self, **how: Any) -> None:
        """A legend above the plotting area, where it hides no data."""
        self._legend = {"ncols": 4, "handlelength": 2.2, "columnspacing": 1.4, **how}

    def _head(self) -> None:
        """The title, over the legend, over the numbers of the events."""
        up = 4 + 11 * self._levels
        if self._legend is not None:
            handles, labels = self.ax.get_legend_handles_labels()
            if labels:
                lift = ScaledTranslation(0, up / 72, self.fig.dpi_scale_trans)
                self.ax.legend(
                    handles,
                    labels,
                    loc="lower left",
                    bbox_to_anchor=(0, 1),
                    bbox_transform=self.ax.transAxes + lift,
                    borderaxespad=0,
                    borderpad=0.1,
                    **self._legend,
                )
                up += 4 + 14 * -(-len(labels) // int(self._legend["ncols"]))
        self.ax.set_title("\n".join(textwrap.wrap(self.title, 84)), loc="left", pad=up + 3)

    def png(self) -> bytes:
        self._head()
        for ax in self.axes:
            if not drawn(ax):
                ax.text(
                    0.5,
                    0.5,
                    "no data: see the notes below" if self._notes else "no data in the window",
                    transform=ax.transAxes,
                    ha="center",
                    va="center",
                    color=WARNING,
                    fontsize=12,
                )
                ax.set_yticks([])
                if not any(drawn(other) for other in self.axes):  # panels share their ticks
                    ax.set_xticks([])
            elif isinstance(ax.xaxis.get_major_locator(), mdates.AutoDateLocator):
                ax.xaxis.set_major_formatter(mdates.ConciseDateFormatter(ax.xaxis.get_major_locator()))
        lines = [(t, WARNING) for n in self._notes for t in textwrap.wrap("▲ " + n, 150, subsequent_indent="   ")]
        lines += [(t, "#444444") for e in self._events for t in textwrap.wrap(e, 150, subsequent_indent="   ")]
        foot = f"Source: {self.source} · n = {self.n:,} · trade date {self.trade_date} · as of {as_of_text(self.as_of)}"
        lines += [(t, "#777777") for t in textwrap.wrap(foot, 150)]
        self._foot(lines)
        out = io.BytesIO()
        self.fig.savefig(out, format="png", dpi=DPI, metadata={"Software": None})
        return out.getvalue()

    def _foot(self, lines: list[tuple[str, str]]) -> None:
        """Grow the figure by the foot's lines, in place of squeezing the axes."""
        w, h = self.fig.get_size_inches()
        each = 0.165
        foot = each * len(lines) + 0.08
        self.fig.set_size_inches(w, h + foot)
        engine: Any = self.fig.get_layout_engine()
        engine.set(rect=(0, foot / (h + foot), 1, h / (h + foot)))
        for i, (text, colour) in enumerate(reversed(lines)):
            self.fig.text(0.012, (0.05 + each * i) / (h + foot), text, fontsize=7.8, color=colour, va="bottom", ha="left")

    def show(self) -> None:
        """Put the picture into the notebook, with its title as the text for those who do not see it."""
        display(Image(self.png(), format="png", width=int(WIDTH * 96), alt=f"{self.title}. n = {self.n}." + "".join(f" {n}." for n in self._notes)))


def drawn(ax: Axes) -> bool:
    """Whether data are on the axes; lines that mark a day or a level are none."""
    return bool(ax.collections or ax.patches) or any(x.get_transform() == ax.transData and x.get_gid() != "event" for x in ax.lines)


def broken(days: Sequence[Any], values: Sequence[float], every: str) -> tuple[Any, np.ndarray[Any, np.dtype[np.float64]]]:
    """Points in order of their days, with an empty one wherever a day that the calendar expects has none."""
    at = sorted((pd.Timestamp(d).to_pydatetime().replace(tzinfo=None), float("nan") if pd.isna(v) else float(v)) for d, v in zip(days, values, strict=True))
    x: list[datetime] = []
    y: list[float] = []
    for t, v in at:
        if x and every:
            between = calendar.days(x[-1].date() + timedelta(days=1), t.date() - timedelta(days=1))
            if any(every == "utc" or calendar.is_trade_date(d) for d in between):
                x.append(x[-1] + (t - x[-1]) / 2)
                y.append(float("nan"))
        x.append(t)
        y.append(v)
    return x, np.asarray(y, dtype=np.float64)


def alone(y: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which points have no neighbour that a line could join them to."""
    ok = np.isfinite(y)
    left = np.concatenate(([False], ok[:-1]))
    right = np.concatenate((ok[1:], [False]))
    out: np.ndarray[Any, np.dtype[np.bool_]] = ok & ~left & ~right
    return out
