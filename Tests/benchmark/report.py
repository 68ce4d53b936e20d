"""The results as tables in Markdown."""

from collections.abc import Callable

from tabulate import tabulate

from .comparison import Comparison, comparisons, geometric_mean, grouped

MOST_BUSY = 0.05

LEGEND = """\
A time is that of one call, the median of many. *÷ NormKit*: the peer's time ÷ NormKit's: above 1, NormKit is
faster; **bold**: the peer is. *NormKit ÷ copy*: its time as a multiple of that of a plain copy of the bytes
that have to be moved. ✗: its results are wrong, and it is never the best peer. Tests/benchmark/README.md says
what was measured, and how.
"""


def table(rows: list[list[str]], headers: list[str]) -> str:
    align = ("left", *["right"] * (len(headers) - 1))
    return tabulate(rows, headers, "github", disable_numparse=True, colalign=align if rows else None)


def duration(seconds: float) -> str:
    """Three digits."""
    for factor, unit in (1e6, "µs"), (1e3, "ms"), (1, "s"):
        value = seconds * factor
        if value < 999.5 or unit == "s":
            return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {unit}"
    raise AssertionError


def multiple(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def ratio(value: float | None, is_wrong: bool = False) -> str:
    if value is None:
        return ""
    return multiple(value) + " ✗" if is_wrong else f"**{value:.2f}**" if value < 1 else multiple(value)


def on(threads: int) -> str:
    return f"{threads} thread{'s' * (threads > 1)}"


def by_threads(rows: list[Comparison]) -> dict[str, dict[int, Comparison]]:
    found: dict[str, dict[int, Comparison]] = {}
    for row in rows:
        found.setdefault(row.title, {})[row.threads] = row
    return found


def best_peers(rows: list[Comparison], counts: list[int]) -> str:
    lines = []
    for title, found in by_threads(rows).items():
        cells = [title]
        for count in counts:
            row = found.get(count)
            cells += (
                [
                    duration(row.own),
                    row.best or "none",
                    ratio(row.best_ratio if row.best else None),
                    multiple(row.own / row.seconds["copy"]),
                ]
                if row
                else [""] * 4
            )
        lines.append(cells)
    headers = [
        header
        for count in counts
        for header in (f"NormKit, {on(count)}", "best peer", "÷ NormKit", "NormKit ÷ copy")
    ]
    return table(lines, ["", *headers])


def all_peers(rows: list[Comparison], counts: list[int], peers: list[str]) -> str:
    lines = []
    for title, found in by_threads(rows).items():
        cells = [
            ratio(found[count].ratio(peer), peer in found[count].wrong) if count in found else ""
            for count in counts
            for peer in peers
        ]
        lines.append([title, *cells])
    return table(lines, ["", *(f"{peer}, {on(count)}" for count in counts for peer in peers)])


def means(rows: list[Comparison], counts: list[int]) -> str:
    """Of the ratio to the best peer."""
    lines = []
    keys: list[Callable[[Comparison], str]] = [
        lambda row: row.direction,
        lambda row: row.dtype,
        lambda row: f"{row.direction}, {row.family}",
        lambda row: "all",
    ]
    for key in keys:
        for name, members in grouped(rows, key).items():
            ratios = [[row.best_ratio for row in members if row.threads == count] for count in counts]
            lines.append(
                [
                    name,
                    str(max(map(len, ratios))),
                    *(ratio(geometric_mean(found)) if found else "" for found in ratios),
                ]
            )
    return table(lines, ["best peer ÷ NormKit", "rows", *map(on, counts)])


def peer_means(rows: list[Comparison], counts: list[int], peers: list[str]) -> str:
    lines = []
    for peer in peers:
        ratios = [
            [
                row.seconds[peer] / row.own
                for row in rows
                if row.threads == count and peer in row.seconds and peer not in row.wrong
            ]
            for count in counts
        ]
        lines.append(
            [
                peer,
                str(max(map(len, ratios))),
                *(ratio(geometric_mean(found)) if found else "" for found in ratios),
            ]
        )
    return table(lines, ["peer ÷ NormKit, where it has the operation", "rows", *map(on, counts)])


def worst(rows: list[Comparison]) -> str:
    found = min((row for row in rows if row.best), key=lambda row: row.best_ratio, default=None)
    if found is None:
        return "No row has a peer."
    faster = sum(row.best_ratio >= 1 for row in rows if row.best)
    return (
        f"NormKit is the fastest in {faster} of {sum(row.best is not None for row in rows)} comparisons. "
        f"The worst row: {found.direction}, {found.title}, on {on(found.threads)}: {found.best} ÷ NormKit is "
        f"{found.best_ratio:.2f}."
    )


def errors(results: list[dict], systems: list[str]) -> str:
    """The largest of each family, in units, on any number of threads."""
    found: dict[str, dict[str, float]] = {}
    for r in results:
        for name, value in r["errors"].items():
            line = found.setdefault(f"{r['direction']}, {r['family']} {r['dtype']}: {name}", {})
            line[r["system"]] = max(value, line.get(r["system"], 0))
    lines = [
        [name, *(number(line[system]) if system in line else "" for system in systems)]
        for name, line in found.items()
    ]
    return table(lines, ["", *systems])


def number(value: float) -> str:
    return f"{value:.2f}" if value < 1e4 else f"{value:.1e}"


def memory(counted: list[dict]) -> str:
    found: dict[str, dict[str, list[int]]] = {}
    systems = list(dict.fromkeys(c["system"] for c in counted))
    for c in counted:
        found.setdefault(c["title"], {}).setdefault(c["system"], []).append(c["bytes"])
    lines = [
        [title, *(" / ".join(f"{size / 1024:.0f}" for size in line.get(system, ())) for system in systems)]
        for title, line in found.items()
    ]
    return table(lines, ["KiB", *systems])


def failures(measured: dict) -> list[str]:
    """Sentences about what is not in the tables, or not to be trusted."""
    found = list(measured["missing"])
    for r in measured["results"]:
        where = f"{r['system']}, {r['direction']}, {r['problem']} {r['dtype']}, {on(r['threads'])}"
        if r["failure"]:
            found.append(f"{where}: failed: {r['failure'].splitlines()[0]}")
        elif not r["is_right"]:
            values = ", ".join(f"{name} {number(value)}" for name, value in r["errors"].items())
            found.append(f"{where}: wrong: errors in units: {values}")
    return found


def busy(share: float) -> str:
    """share: of the processors that other processes have used."""
    warning = (
        " **Times on several threads are not to be trusted**: threads that wait for each other lose their turn."
    )
    return f"Other processes used {share:.0%} of the processors meanwhile." + warning * (share > MOST_BUSY)


def markdown(measured: dict) -> str:
    rows, results = comparisons(measured["results"]), measured["results"]
    counts = sorted({row.threads for row in rows})
    present = {system for row in rows for system in row.seconds}
    peers = [system for system in measured["versions"] if system in present - {"NormKit", "copy"}]
    machine = measured["machine"]
    parts = [
        "# NormKit beside other systems",
        f"{machine['processor']}, {machine['instruction set of NormKit']}, {machine['date']}. "
        + ", ".join(f"{name} {version}" for name, version in measured["versions"].items() if name != "copy")
        + ".",
        busy(machine["share of other processes"]),
        LEGEND,
    ]
    for direction in ("forward", "backward"):
        if chosen := [row for row in rows if row.direction == direction]:
            parts += [f"## {direction.capitalize()}", best_peers(chosen, counts)]
    parts += ["## Geometric means", worst(rows), means(rows, counts), peer_means(rows, counts, peers)]
    for direction in ("forward", "backward"):
        if chosen := [row for row in rows if row.direction == direction]:
            parts += [f"## All peers, {direction}: time ÷ NormKit's", all_peers(chosen, counts, peers)]
    parts += ["## Largest errors, in units in the last place", errors(results, ["NormKit", *peers])]
    if measured["memory"]:
        parts += [
            f"## Memory of backward calls beyond their outputs, on {' / '.join(map(on, counts))}",
            memory(measured["memory"]),
        ]
    if found := failures(measured):
        parts += ["## Left out, failed or wrong", "\n".join(f"- {line}" for line in found)]
    return "\n\n".join(part.strip() for part in parts) + "\n"
