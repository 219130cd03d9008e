"""What Jinja draws: tables of many rows and form fields."""

from __future__ import annotations

import pytest
from django import forms
from django.template import Context, Template, engines
from jinja2 import UndefinedError

ENGINE = engines["compiled"]


def test_every_value_is_escaped() -> None:
    drawn = ENGINE.from_string("<td title='{{ word }}'>{{ word|visible }}</td>")
    hostile = "<b>'\"&\u202e"
    escaped = "&lt;b&gt;&#39;&#34;&amp;"
    assert drawn.render({"word": hostile}) == f"<td title='{escaped}\u202e'>{escaped}⟦U+202E⟧</td>"


def test_a_name_that_is_not_there_is_an_error_and_not_an_empty_cell() -> None:
    with pytest.raises(UndefinedError):
        ENGINE.from_string("<td>{{ reward }}</td>").render({})


def test_a_page_hands_what_it_knows_to_the_table_and_takes_its_text_as_it_is() -> None:
    page = Template('{% load compiled %}<table>{% compiled "jobs/trajectory_rows.jinja" %}</table>')
    assert page.render(Context({"lines": []})) == "<table></table>"


def test_a_choice_shows_what_hides_in_its_name() -> None:
    class Form(forms.Form):
        model = forms.ChoiceField(choices=[("a<b", "tiny\u200b <model>")])

    drawn = str(Form()["model"])
    assert '<option value="a&lt;b">tiny⟦U+200B⟧ &lt;model&gt;</option>' in drawn
