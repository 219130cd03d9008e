"""Tools that answer in process and a sampler by rule, for rollouts that are continued."""

from __future__ import annotations

from jobs.engine.rollout.episode import EpisodeSettings
from jobs.engine.rollout.render import ChatRenderer
from jobs.engine.rollout.runner import RolloutRequest, RolloutRunner
from jobs.engine.rollout.tools import ToolExecutor
from jobs.engine.sampling.base import Sampled
from jobs.engine.spec import Budgets, ToolSpec
from jobs.engine.types import Task

TOOLS = [
    ToolSpec("think", "http://localhost/", effects="none"),
    ToolSpec("look", "http://localhost/", effects="reads"),
    ToolSpec("book", "http://localhost/", effects="writes"),
]
TASK = Task(0, ({"role": "user", "content": "Q?"},), (), {"answer": 7})


class InProcess(ToolExecutor):
    """Every call is answered with its name and arguments; `made` keeps them."""

    def __init__(self):
        super().__init__(TOOLS, {}, None)
        self.made = []
        self.offered = []

    async def execute(self, calls, *, trace_id, item, offered, keys):
        self.offered = list(offered)
        for call, key in zip(calls, keys, strict=True):
            if call.status != "pending":
                continue
            if call.name not in offered:
                call.status, call.output = "malformed", "no such tool"
                continue
            self.made.append((trace_id, call.name, call.arguments, key))
            call.status, call.output, call.attempts = "ok", f"{call.name}: {call.arguments}", 1


class Ruled:
    """Says what `line` says of (the turn's place, the seed); entropies are the turn's place."""

    name = "ruled"

    def __init__(self, tokenizer, line):
        self.requests = []
        self._tokenizer = tokenizer
        self._line = line

    async def generate(self, request):
        self.requests.append(request)
        text = str(self._tokenizer.decode(list(request.ids)))
        turn = text.count("<|im_start|>assistant") - 1
        ids = self._tokenizer(self._line(turn, request.seed) + "<|im_end|>")["input_ids"]
        finish = "stop" if len(ids) <= request.max_tokens else "length"
        ids = ids[: request.max_tokens]
        return Sampled(ids, [-0.5] * len(ids), [float(turn)] * len(ids), finish)

    def weights_changed(self):
        self.requests.clear()


def says(name, **arguments):
    shown = ", ".join(f'"{key}": "{value}"' for key, value in arguments.items())
    return f'<tool_call>\n{{"name": "{name}", "arguments": {{{shown}}}}}\n</tool_call>'


def make_runner(tokenizer, line, tools=None, **budgets):
    """`line`: the lines by turn, or a rule; returns the runner, its sampler and its tools."""
    tools = tools or InProcess()
    rule = line if callable(line) else lambda turn, _seed: line[turn]
    sampler = Ruled(tokenizer, rule)
    settings = EpisodeSettings(
        budgets=Budgets(**budgets), seed=1, temperature=1.0, run_id="run", context_length=4096
    )
    runner = RolloutRunner(sampler, ChatRenderer(tokenizer), tools, settings)
    return runner, sampler, tools


def request(sample=0, group="0", prefix=None):
    return RolloutRequest(TASK, group, sample, "train", 3, prefix)
