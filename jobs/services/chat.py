"""A model's chat template and tokeniser as the engine uses them, without torch and transformers."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from jobs.engine.rollout.render import ChatRenderer

Template = str | dict[str, str]


def prompt_tokens(
    folder: Path, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]
) -> int | None:
    """The tokens that a rollout begins with; None where they cannot be counted here."""
    try:
        changed = tuple(path.stat().st_mtime_ns for path in _files(folder))
        return len(_renderer(folder, changed).prompt_ids(messages, tools))
    except Exception:  # noqa: BLE001
        # A template is a program of its own, and the tokeniser's library raises plain `Exception`.
        return None


def chat_template(folder: Path) -> Template | None:
    """The template of a model's folder; several by name where it has more than one."""
    if (file := folder / "chat_template.jinja").is_file():
        named = sorted((folder / "additional_chat_templates").glob("*.jinja"))
        found = {"default": file, **{path.stem: path for path in named}}
        texts = {name: path.read_text() for name, path in found.items()}
        return texts if named else texts["default"]
    for name in ("tokenizer_config.json", "chat_template.json"):
        template = _json(folder / name).get("chat_template")
        if isinstance(template, list):
            return {each["name"]: each["template"] for each in template}
        if template:
            return str(template)
    return None


def _files(folder: Path) -> list[Path]:
    names = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
    return [path for name in names if (path := folder / name).is_file()]


@functools.lru_cache(maxsize=2)
def _renderer(folder: Path, changed_ns: tuple[int, ...]) -> ChatRenderer:
    return ChatRenderer(_PlainTokenizer(folder))


class _PlainTokenizer:
    """What the engine's renderer uses of a tokenizer, done as transformers does it."""

    def __init__(self, folder: Path) -> None:
        self.chat_template = chat_template(folder)
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        # Limits that a file brings along are those of its last use.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._special = _special_tokens(folder)
        self.all_special_tokens = list(self._special.values())
        self.eos_token_id = self._tokenizer.token_to_id(self._special.get("eos_token", ""))

    def apply_chat_template(self, conversation: Any, **options: Any) -> str:
        tools = options["tools"]
        template = self.chat_template
        if isinstance(template, dict):
            template = template["tool_use" if tools and "tool_use" in template else "default"]
        # Templates write what is absent well, and what is None as the word.
        messages = [
            {name: value for name, value in message.items() if value is not None}
            for message in conversation
        ]
        variables = {**self._special, "messages": messages, "tools": tools, "documents": None}
        return str(_compiled(str(template)).render(**variables, add_generation_prompt=True))

    def __call__(self, text: str, **options: Any) -> dict[str, list[int]]:
        return {"input_ids": self._tokenizer.encode(text, add_special_tokens=False).ids}

    def decode(self, token_ids: list[int], **options: Any) -> str:
        return str(self._tokenizer.decode(token_ids, skip_special_tokens=False))


class _Generation(Extension):
    """`{% generation %}` marks what a model wrote, for training on transcripts; here it is text."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


@functools.lru_cache(maxsize=8)
def _compiled(template: str) -> Any:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals |= {"raise_exception": _raise, "strftime_now": _now}
    return environment.from_string(template)


def _tojson(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    """Without the escapes for HTML of jinja's own filter."""
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


def _raise(message: str) -> None:
    raise TemplateError(message)


def _now(pattern: str) -> str:
    return datetime.now().astimezone().strftime(pattern)


def _special_tokens(folder: Path) -> dict[str, str]:
    """By name, such as `bos_token`: templates may write them."""
    found: dict[str, str] = {}
    for file in ("special_tokens_map.json", "tokenizer_config.json"):
        for name, token in _json(folder / file).items():
            content = token.get("content") if isinstance(token, dict) else token
            if name.endswith("_token") and isinstance(content, str):
                found[name] = content
    return found


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
