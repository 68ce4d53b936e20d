"""The page: one HTML file that needs nothing else, for wide and narrow, light and dark screens."""

import html
import re

VERDICTS = {"reproduced": "✓ reproduced", "partly": "◐ partly", "not": "✗ not reproduced"}

STYLE = """
:root { color-scheme: light dark; --page: #fcfcfb; --ink: #22262e; --soft: #626a76; --line: #e2e4e8; --box: #f3f4f6;
  --link: #1f6fb2; --reproduced: #1d7f4f; --partly: #96650a; --not: #b8383f; }
@media (prefers-color-scheme: dark) { :root { --page: #15181d; --ink: #dfe3e9; --soft: #98a1ae; --line: #2d333c;
  --box: #1d2127; --link: #74b4ec; --reproduced: #5cc48d; --partly: #dfb050; --not: #f0848a; } }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; padding: 3rem 1.5rem 5rem; max-width: 64rem; background: var(--page); color: var(--ink);
  font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif; }
h1 { font-size: 2.1rem; line-height: 1.2; margin: 0 0 .6rem; letter-spacing: -.015em; }
h2 { font-size: 1.45rem; line-height: 1.25; margin: 0 0 .8rem; letter-spacing: -.01em; }
h3 { font-size: 1.02rem; margin: 0 0 .6rem; }
p { margin: 0 0 .9rem; max-width: 46rem; }
a { color: var(--link); text-decoration: none; } a:hover { text-decoration: underline; }
.soft, figcaption, .source { color: var(--soft); }
.claim { font-size: 1.12rem; margin: 0 0 1rem; padding-left: 1rem; border-left: 3px solid var(--line); }
.verdict { font-weight: 650; white-space: nowrap; }
.verdict.reproduced { color: var(--reproduced); } .verdict.partly { color: var(--partly); }
.verdict.not { color: var(--not); }
section { margin-top: 4rem; padding-top: 2rem; border-top: 1px solid var(--line); }
.finding { background: var(--box); border-radius: .5rem; padding: .8rem 1rem; margin: 0 0 1.2rem; max-width: none; }
figure { margin: 2rem 0 0; }
.both { display: grid; grid-template-columns: minmax(0, 5fr) minmax(0, 4fr); gap: 2rem; align-items: start; }
.wide .drawing svg { min-width: 34rem; }
.drawing { overflow-x: auto; }
svg { display: block; width: 100%; height: auto; }
svg text { font-family: inherit !important; }
figcaption { font-size: .95rem; margin: .6rem 0 1rem; max-width: 46rem; }
.numbers { overflow-x: auto; }
table { border-collapse: collapse; font-size: .86rem; line-height: 1.4; font-variant-numeric: tabular-nums; }
.numbers th, .numbers td { padding: .25rem .9rem .25rem 0; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
.numbers th { color: var(--soft); font-weight: 500; vertical-align: bottom; white-space: normal; }
.numbers th:first-child, .numbers td:first-child { text-align: left; }
.summary { width: 100%; font-size: .95rem; margin-top: 2rem; }
.summary th { text-align: left; color: var(--soft); font-weight: 500; padding: 0 1.2rem .4rem 0; }
.summary td { vertical-align: top; padding: .8rem 1.2rem .8rem 0; border-top: 1px solid var(--line); }
.summary td:first-child { width: 38%; }
@media (max-width: 46rem) {
  body { padding: 1.6rem 1rem 3rem; } h1 { font-size: 1.65rem; } h2 { font-size: 1.3rem; }
  .both { display: block; }
  .summary thead { display: none; } .summary, .summary tbody, .summary tr, .summary td { display: block; }
  .summary td, .summary td:first-child { width: auto; padding: .15rem 0; border: 0; }
  .summary tr { border-top: 1px solid var(--line); padding: .9rem 0; }
  section { margin-top: 2.5rem; padding-top: 1.5rem; }
}
@media print { section { break-before: page; } }
"""


def document(done, library, seconds, fast):
    """The page. done: (experiment, result, seconds of the processor) each."""
    counts = [sum(result.verdict == verdict for _, result, _ in done) for verdict in VERDICTS]
    small = " These are the fast versions: only their direction is to be trusted." if fast else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Normalization, claim by claim</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>Normalization, claim by claim</h1>
<p>What is said about normalization in neural networks, each claim as an experiment on NormKit: all means, variances,
norms, and their gradients are the library's. A claim that an experiment did not reproduce is reported as that.</p>
<p class="soft">{len(done)} experiments in {seconds:.0f} s: {counts[0]} reproduced, {counts[1]} partly,
{counts[2]} not. {escape(library)}. Seeds are fixed.{small}</p>
</header>
{summary(done)}
<main>
{"".join(section(*one) for one in done)}</main>
</body>
</html>
"""


def escape(text):
    """Text for HTML, with minus signs where there are hyphens before a number."""
    return re.sub(r"(?<![\w.])-(?=\.?\d)", "\N{MINUS SIGN}", html.escape(text))


def sentence(line):
    """A line of numbers with a capital letter, for HTML."""
    return escape(line[:1].upper() + line[1:])


def badge(verdict):
    return f'<span class="verdict {verdict}">{VERDICTS[verdict]}</span>'


def summary(done):
    """The table at the top: claim, verdict, numbers."""
    rows = "\n".join(
        f'<tr><td><a href="#{one.name}">{escape(one.claim)}</a></td><td>{badge(result.verdict)}</td>'
        f"<td>{sentence(result.line)}</td></tr>" for one, result, _ in done)
    return f"""<table class="summary">
<thead><tr><th>Claim</th><th>Verdict</th><th>Numbers</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
"""


def section(experiment, result, seconds):
    comment = f"<p>{escape(result.comment)}</p>\n" if result.comment else ""
    return f"""<section id="{experiment.name}">
<h2>{escape(experiment.title)}</h2>
<p class="claim">{escape(experiment.claim)}</p>
<p class="finding">{badge(result.verdict)} &ensp;{sentence(result.line)}</p>
<p>{escape(result.setup)}</p>
{comment}<p class="source">Source: {escape(experiment.source)}. Alone: <code>python -m article {experiment.name}</code>,
{seconds:.0f} s of one core.</p>
{"".join(figure(picture) for picture in result.pictures)}</section>
"""


def figure(picture):
    """Drawing and sentence, with the table beside them, or below where the drawing is wide or the screen is not."""
    numbers = f'<div class="numbers">{html_table(picture.table)}</div>\n' if picture.table else ""
    kind = "wide" if picture.wide else "both"
    return f"""<figure class="{kind}">
<div>
<h3>{escape(picture.title)}</h3>
<div class="drawing">{picture.svg}</div>
<figcaption>{escape(picture.look)}</figcaption>
</div>
{numbers}</figure>
"""


def html_table(table):
    def row(cells, tag):
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "\n".join(row(cells, "td") for cells in table.rows)
    return f"<table><thead>{row(table.header, 'th')}</thead><tbody>{body}</tbody></table>"


def text_table(table):
    """Its lines in plain text: the first column left-aligned, the others right-aligned."""
    widths = [max(map(len, column)) for column in zip(table.header, *table.rows)]
    for row in [table.header, ["-" * width for width in widths], *table.rows]:
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        yield "  ".join([row[0].ljust(widths[0]), *cells])
