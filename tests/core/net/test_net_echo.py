"""A tool that sends back its headers gives nothing away."""

from __future__ import annotations

from hone.core.net.function_call import without_secrets


def test_a_value_and_its_last_word_are_masked() -> None:
    headers = {"Authorization": "Bearer s3cr3t-token", "X-Version": "2"}
    echoed = "got Bearer s3cr3t-token, or just s3cr3t-token, version 2"
    assert without_secrets(echoed, headers) == "got **********, or just **********, version 2"


def test_a_value_that_json_writes_otherwise_is_masked_too() -> None:
    headers = {"X-Key": 'a"b/c\u00fcd'}
    for echoed in ('a"b/c\u00fcd', 'a\\"b/c\\u00fcd', 'a\\"b\\/c\\u00fcd', 'a\\"b/c\u00fcd'):
        assert without_secrets(f"got {echoed}.", headers) == "got **********."
