"""The judges of one run or trial: where they are, what they were asked, and what it cost."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec

from graders.kinds.base import TokenUsage
from graders.kinds.judging.chat import Question, Reply, read_reply, request_body
from graders.kinds.judging.embeddings import Embedded, embeddings_body, read_embeddings
from hone.core.net.client import AsyncGuardedClient
from hone.core.net.line import PAUSES, Address, Limits, Line, NoAnswer
from hone.core.net.retry_budget import RetryBudgets

T = TypeVar("T")
Told = TypeVar("Told", Reply, Embedded)

CHAT, EMBEDDINGS = "/chat/completions", "/embeddings"
_NONE = "this place was given no judges, so it asks none"


class Run(Protocol):
    """Runs a coroutine to its end, for code that has no event loop."""

    def __call__(self, work: Coroutine[Any, Any, T], /) -> T: ...


class JudgeEndpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One model behind an OpenAI-compatible chat API. `key` is a secret."""

    url: str
    """The base, as `https://api.example.org/v1`."""
    model: str
    """By the name that the endpoint knows."""
    key: str = ""
    timeout_s: float = 60.0
    max_concurrency: int = 8
    per_minute: float = 0.0
    """0: as fast as it answers."""
    input_price: float = 0.0
    output_price: float = 0.0
    """For a million tokens."""

    def cost(self, usage: TokenUsage) -> float:
        """Cached tokens cost what others do: what they cost less differs from one to the next."""
        tokens = usage.prompt_tokens * self.input_price
        return (tokens + usage.completion_tokens * self.output_price) / 1e6


class JudgeCaller(Protocol):
    """How a grader asks a judge; safe to call from several threads."""

    def ask(self, model: str, question: Question) -> Reply:
        """`model` as the spec names it; raises NoAnswer."""
        ...

    def embed(self, model: str, texts: Sequence[str]) -> Embedded:
        """A vector for each text; raises NoAnswer."""
        ...


@dataclass
class Spending:
    """What one model was asked and what it told of its tokens."""

    calls: int = 0
    failed: int = 0
    usage: TokenUsage = field(default_factory=TokenUsage)


class Judges:
    """Asks judges from an event loop; `endpoints` by the name that specs use."""

    def __init__(
        self,
        endpoints: Mapping[str, JudgeEndpoint],
        client: AsyncGuardedClient,
        *,
        pauses: tuple[float, ...] = PAUSES,
        longest_s: float | None = None,
    ) -> None:
        """`longest_s`: what no answer may take longer than, whatever the endpoint says."""
        self.endpoints = dict(endpoints)
        self.spent: dict[str, Spending] = {}
        self._client = client
        self._pauses = pauses
        self._longest_s = longest_s
        self._lines: dict[tuple[str, str], Line] = {}
        self._budgets = RetryBudgets()

    async def ask(self, model: str, question: Question) -> Reply:
        """The judge's reply; raises NoAnswer."""
        endpoint = self._endpoint(model)
        content = request_body(endpoint.model, question)
        return await self._counted(model, self._line(endpoint, CHAT).post(content, read_reply))

    async def embed(self, model: str, texts: Sequence[str]) -> Embedded:
        """A vector for each text; raises NoAnswer."""
        endpoint = self._endpoint(model)
        content = embeddings_body(endpoint.model, texts)
        read = partial(read_embeddings, count=len(texts))
        return await self._counted(model, self._line(endpoint, EMBEDDINGS).post(content, read))

    def _endpoint(self, model: str) -> JudgeEndpoint:
        if model not in self.endpoints:
            raise NoAnswer("barred", f"there is no judge for the model {model!r} here")
        return self.endpoints[model]

    async def _counted(self, model: str, asking: Coroutine[Any, Any, Told]) -> Told:
        spent = self.spent.setdefault(model, Spending())
        spent.calls += 1
        try:
            told = await asking
        except NoAnswer:
            spent.failed += 1
            raise
        spent.usage += told.usage
        return told

    def take_spent(self) -> dict[str, Spending]:
        """What was spent since the last time, by model."""
        spent, self.spent = self.spent, {}
        return spent

    def _line(self, endpoint: JudgeEndpoint, path: str) -> Line:
        """Models of one address share its places, its pace and its budget of retries."""
        url = f"{endpoint.url.rstrip('/')}{path}"
        place = (url, endpoint.key)
        line = self._lines.get(place)
        if line is None:
            headers = {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
            longest = self._longest_s or endpoint.timeout_s
            limits = Limits(
                timeout_s=min(endpoint.timeout_s, longest),
                max_concurrency=endpoint.max_concurrency,
                per_second=endpoint.per_minute / 60,
                pauses=self._pauses,
            )
            address = Address(url=url, who="the judge", headers=headers)
            line = Line(self._client, address, limits, self._budgets.of(url))
            self._lines[place] = line
        return line


@dataclass(frozen=True)
class WaitingJudges:
    """`Judges` for threads, which wait while `run` has the question asked."""

    judges: Judges
    run: Run

    def ask(self, model: str, question: Question) -> Reply:
        return self.run(self.judges.ask(model, question))

    def embed(self, model: str, texts: Sequence[str]) -> Embedded:
        return self.run(self.judges.embed(model, texts))


class NoJudges:
    """Stands where no judges were given."""

    def ask(self, model: str, question: Question) -> Reply:
        raise NoAnswer("barred", _NONE)

    def embed(self, model: str, texts: Sequence[str]) -> Embedded:
        raise NoAnswer("barred", _NONE)
