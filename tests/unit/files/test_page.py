"""Pages are whole, escape what they are given, and show nothing in silence that they were not given."""

from pathlib import Path

import pytest
from jinja2 import UndefinedError

from mcoherence.errors import UserError
from mcoherence.files.page import check_page, html_page, write_page
from mcoherence.study.code_digest import import_closure

TEMPLATE = """{% extends "frame" %}
{% block title %}One & all{% endblock %}
{% block body %}
<p>{{ said }}</p>
{% endblock %}
"""


def test_a_page_has_frame_and_style_and_loads_nothing():
    page = html_page(TEMPLATE, said="so")
    assert page.startswith("<!DOCTYPE html>\n")
    assert "<title>One & all</title>" in page
    assert "<p>so</p>\n</body>\n</html>\n" in page
    assert "td.number" in page
    assert not any(word in page for word in ("src=", "href=", "@import", "url("))


def test_what_is_given_is_escaped():
    assert "<p>a &lt;b&gt; &amp; &#34;c&#34;</p>" in html_page(TEMPLATE, said='a <b> & "c"')


def test_what_is_not_given_is_an_error():
    with pytest.raises(UndefinedError, match="said"):
        html_page(TEMPLATE)


@pytest.mark.parametrize(("command", "room"), [("check_claims", "claims"), ("describe_study", "audit")])
def test_the_code_of_a_command_holds_its_page_and_the_frame(command, room):
    reached = import_closure(f"workflow_scripts.{command}", Path(__file__).parents[3])
    assert {f"mcoherence.{room}.page", "mcoherence.files.page"} <= reached


def test_an_edited_page_or_file_beside_it_is_refused(tmp_path):
    page, config = tmp_path / "study.html", tmp_path / "config.json"
    config.write_text('{"lr": 0.1}')
    write_page(page, html_page(TEMPLATE, said="so"), [config])
    check_page(page, [config], "describe it again")
    kept = page.read_text()
    for damaged in (kept.replace("<p>so</p>", "<p>not so</p>"), kept[:100], "", html_page(TEMPLATE, said="so")):
        page.write_text(damaged)
        with pytest.raises(UserError, match=r"study\.html: changed since it was made .*; describe it again$"):
            check_page(page, [config], "describe it again")
    page.write_text(kept)
    config.write_text('{"lr": 0.2}')
    with pytest.raises(UserError, match=r"config\.json: changed since it was made"):
        check_page(page, [config], "describe it again")
    config.unlink()
    with pytest.raises(UserError, match=r"config\.json: missing"):
        check_page(page, [config], "describe it again")
