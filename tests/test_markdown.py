"""Text from a folder shows in the model card and on the terminal as it is written, and as nothing else."""

from __future__ import annotations

import re
from typing import Any

import pytest

from morel_search._cli import print_err, print_out
from morel_search.models.markdown import md_code, md_text
from morel_search.models.model_card import model_card
from morel_search.models.settings import ModelSettings

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![x](https://example.org/x.png)",
    "https://example.org www.example.org a@example.org",
    "`code` ``more``",
    "**bold** _slanted_ ~~gone~~ $x$",
    "a | b",
    "a\n\n# heading\n\n- list",
    "&lt;b&gt; &#60;",
    "\x1b[31mred\x07\u202e\u2028",
    "\\",
    "```\nblock",
]


TRAIN_KEYS = (
    *("accuracy_loss", "k_robust", "alpha", "temperature", "attack_steps", "norm", "epsilon"),
    *("optimizer", "lr", "schedule", "batch_size", "epochs"),
)


def settings(text: str) -> ModelSettings:
    """Settings of a network in which every text is the given one."""
    values: dict[str, Any] = {
        "format": 1,
        "number": 1,
        "epoch": 2,
        "seed": 3,
        "train": dict.fromkeys(TRAIN_KEYS, text),
        "data": dict.fromkeys(("name", "limit", "validation", "seed"), text),
        "network": {"name": text, "options": {text: text}},
        "evaluation": {"norm": text, "epsilon": text, "final_steps": text},
        "select_epoch": text,
        "image_shape": [1, 8, 8],
        "classes": [text, text],
        "figures": {"verified": {"clean_accuracy": 0.5, "flags": text}, "test": {"images": 4}},
        "picked": {"why": text, "figures": text},
        "compute": {"precision": text},
        "device": text,
    }
    return ModelSettings.from_json(values)


def test_special_characters_are_escaped() -> None:
    assert md_text("<b>&amp;") == "&lt;b&gt;&amp;amp;"
    assert md_text("[a](b) *c* | d") == r"\[a\](b) \*c\* \| d"
    assert md_text("my_net _x_ 8/255 (linf) 95.0%") == r"my_net \_x\_ 8/255 (linf) 95.0%"
    assert md_text("http://a www.b c@d") == r"http\://a www\.b c\@d"
    assert md_text("a\n# b\x1b") == r"a \# b\\x1b"
    assert md_code("a") == "`a`"
    assert md_code("a``b") == "```a``b```"
    assert md_code("`a\n\n") == "`` `a ``"


@pytest.mark.parametrize("text", HOSTILE)
def test_a_model_card_shows_hostile_text_as_text(text: str) -> None:
    """An independent renderer, with raw HTML and links on, makes no element of it."""
    markdown_it = pytest.importorskip("markdown_it")
    renderer = markdown_it.MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough")
    plain = renderer.render(model_card(settings("plain"), "plain"))
    page = renderer.render(model_card(settings(text), text))
    tags = re.compile(r"</?\w+")
    assert tags.findall(page) == tags.findall(plain)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e\u2028]", page)


def test_code_in_a_model_card_names_the_folder_and_nothing_else() -> None:
    name = '1"); import os; os.system("touch ran'
    card = model_card(settings("plain"), name)
    (line,) = [line for line in card.splitlines() if line.startswith("model = ")]
    assert line.startswith(r'model = morel_search.load_model("1\"); import os; os.system(\"touch ran")  #')
    assert "python -m morel_search.train '1\"); import os; os.system(\"touch ran'" in card
    assert "python -m morel_search.train 'a;b'\n" in model_card(settings("plain"), "a;b")


def test_the_terminal_gets_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    print_out("a\x1b[2J\x9b31m\tb\nc \u202eü L∞")
    print_err("\r\x07 \udcff")
    shown = capsys.readouterr()
    assert shown.out == "a\\x1b[2J\\x9b31m\tb\nc \\u202eü L∞\n"
    assert shown.err == "\\r\\x07 \\udcff\n"
