"""The article's page and command line."""

import html.parser
import json
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "bindings" / "python" / "examples"
sys.path.insert(0, str(EXAMPLES))

pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")

from article import drawing, page, runner  # noqa: E402
from article.experiment import NOT, PARTLY, REPRODUCED, Experiment, Picture, Result, Table, plain, verdict  # noqa: E402

VOID = {"meta", "br", "img", "hr", "link"}


class Checker(html.parser.HTMLParser):
    """Whether elements are closed in order; collects identifiers, links and text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.text = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.links += [value for name, value in attributes.items() if name in ("href", "src")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def picture():
    figure, ax = drawing.subplots()
    ax.plot([1, 2], [3, 4], label="a < b")
    ax.set_xlabel("x & y")
    ax.legend()
    return drawing.svg(figure)


def done():
    table = Table(["method", "value"], [["<batch>", "1.5"], ["layer", "-20"]])
    one = Experiment("first", "First & foremost", "A claim, a < b.", "Someone, 2015", lambda progress, fast: None)
    two = Experiment("second", "Second", "Another claim.", "Someone else", lambda progress, fast: None)
    result = Result(REPRODUCED, "1 < 2", {}, [Picture("What", picture(), "Look here.", table)], "A setup.", "A word.")
    other = Result(NOT, "2 < 1 does not hold", {}, [Picture("Whole", picture(), "Look.", wide=True)])
    return [(one, result, 1.0), (two, other, 2.0)]


def test_page_is_whole_and_needs_nothing_else():
    text = page.document(done(), "NormKit 0", 3.0, fast=False)
    checked = Checker(text)
    assert not checked.open
    assert {"#first", "#second"} <= set(checked.links)
    assert all(link.startswith("#") for link in checked.links)
    assert {link[1:] for link in checked.links} <= set(checked.ids)
    shown = "".join(checked.text)
    for words in ("A claim, a < b.", "✓ reproduced", "✗ not reproduced", "<batch>", "−20", "Look here.", "A word.",
                  "1 reproduced, 0 partly,\n1 not", "Someone, 2015"):
        assert words in shown, words
    assert "http" not in text.replace("http://www.w3.org/", "")


def test_fast_versions_are_called_that():
    assert "fast versions" in page.document(done(), "NormKit 0", 3.0, fast=True)


def test_drawing_is_an_element_in_the_colour_of_the_text():
    svg = picture()
    element = xml.etree.ElementTree.fromstring(svg)
    assert element.tag.endswith("svg") and "width" not in element.attrib
    assert "currentColor" in svg and drawing.INK not in svg
    assert svg == picture()


def test_text_table_is_aligned():
    lines = list(page.text_table(Table(["", "value"], [["long name", "1"], ["b", "-20"]])))
    assert lines == ["           value", "---------  -----", "long name      1", "b            -20"]


def test_verdicts():
    assert [verdict(True, True), verdict(True, False), verdict(False, False)] == [REPRODUCED, PARTLY, NOT]
    with pytest.raises(ValueError, match="verdict is 'yes'"):
        Result("yes", "", {})


def test_plain_numbers():
    value = {1: np.array([1.5, np.inf]), "b": (np.float32(0.5), np.bool_(True)), "c": None, "d": float("nan")}
    assert plain(value) == {"1": [1.5, None], "b": [0.5, True], "c": None, "d": None}


@pytest.mark.parametrize("name", runner.MODULES)
def test_experiments_say_what_they_are(name):
    one = runner.experiment(name)
    assert one.name == name and one.title and one.claim.endswith(".") and one.source


def article(*arguments, **options):
    return subprocess.run([sys.executable, "-m", "article", *arguments], cwd=EXAMPLES, capture_output=True, text=True,
                          **options)


def test_an_experiment_alone(tmp_path):
    run = article("sets_of_elements", "--fast", "--jobs", "1", "--output", tmp_path)
    assert run.returncode == 0, run.stderr
    assert "sets_of_elements: REPRODUCED" in run.stdout and "layer, position" in run.stdout
    numbers = json.loads((tmp_path / "sets_of_elements.json").read_text())
    assert numbers["verdict"] == REPRODUCED and numbers["pictures"][0]["table"]["rows"][0][0] == "batch"
    assert not Checker((tmp_path / "article.html").read_text()).open


def test_an_unknown_experiment_is_refused():
    run = article("nothing")
    assert run.returncode == 2 and "there is no experiment 'nothing'" in run.stderr


def test_list():
    run = article("--list")
    assert run.returncode == 0, run.stderr
    for name in runner.MODULES:
        assert f"{name}\n    {runner.experiment(name).claim}" in run.stdout
