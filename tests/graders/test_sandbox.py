"""The sandbox as graders use it: scores, errors, output, and its server's life."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sandboxes import MODES, failure, graded

from graders.kinds.base import GradingError
from graders.sandbox import bpf, syscalls
from graders.sandbox.client import PythonSandbox, read_ending
from graders.sandbox.server import Ended
from graders.sandbox.zygote import REFUSED_EXIT

KEY = b"k" * 32


@pytest.fixture(scope="module", params=MODES)
def sandbox(request: pytest.FixtureRequest) -> Iterator[PythonSandbox]:
    with PythonSandbox(wall_s=20.0, bwrap=request.param) as opened:
        yield opened


@pytest.mark.parametrize(
    ("expression", "reward"),
    [
        ("0.25", 0.25),
        ("1", 1.0),
        ("-3", -3.0),
        ("2 ** 53", 9007199254740992.0),
        ("1e-300", 1e-300),
        ("-1.5e300", -1.5e300),
        ("0.1 + 0.2", 0.1 + 0.2),
        ("len(sample['output_text']) + item['x']", 9.5),
        ("__import__('numpy').float64(0.5)", 0.5),
        ("__import__('numpy').float32(0.5)", 0.5),
        ("__import__('numpy').int64(3)", 3.0),
        ("__import__('numpy').mean([1, 2])", 1.5),
        ("__import__('rapidfuzz').fuzz.ratio('ab', 'ab')", 100.0),
        ("__import__('statistics').mean([1, 2, 3])", 2.0),
    ],
)
def test_numbers_become_rewards_exactly(
    sandbox: PythonSandbox, expression: str, reward: float
) -> None:
    grading = graded(sandbox, f"def grade(sample, item): return {expression}", x=3.5)
    assert (grading.reward, grading.error) == (reward, None)
    assert type(grading.reward) is float


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("float('nan')", "returned nan"),
        ("float('inf')", "returned inf"),
        ("-float('inf')", "returned -inf"),
        ("__import__('numpy').float64('nan')", "returned nan"),
        ("True", "type bool"),
        ("__import__('numpy').bool_(True)", "type bool"),
        ("'1.0'", "type str"),
        ("b'1.0'", "type bytes"),
        ("None", "type NoneType"),
        ("10 ** 5000", "type int outside"),
        ("2 ** 53 + 1", "type int outside"),
        ("[1.0]", "type list"),
        ("1j", "type complex"),
        ("__import__('numpy').ones(1)", "type ndarray"),
        ("__import__('decimal').Decimal('1')", "type Decimal"),
        ("type('F', (float,), {'__repr__': lambda self: '1.0'})(0)", "type F"),
        ("type('F', (), {'__float__': lambda self: 1.0})()", "type F"),
        ("type('F', (), {'__reduce__': lambda self: (print, ())})()", "type F"),
        ("'x' * 50_000_000", "type str"),
    ],
)
def test_what_is_no_finite_number_is_an_error(
    sandbox: PythonSandbox, expression: str, said: str
) -> None:
    assert said in failure(graded(sandbox, f"def grade(sample, item): return {expression}"))


def test_an_exception_is_told_with_type_message_and_line(sandbox: PythonSandbox) -> None:
    source = """
    import json
    def helper(item):
        return item['amount']
    def grade(sample, item):
        return helper(item)
    """
    assert failure(graded(sandbox, source)) == "`grade` raised KeyError: 'amount' at line 4."


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("raise ValueError('at import')\ndef grade(sample, item): return 1", "at import at line 1"),
        ("def grade(sample, item): return 1 +", "SyntaxError"),
        ("x = 1", "KeyError: 'grade'"),
        ("def grade(sample): return 1", "TypeError: grade() takes 1 positional argument"),
        ("def grade(sample, item): raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("def grade(sample, item): return grade(sample, item)", "RecursionError"),
        ("def grade(sample, item): raise ValueError('a\\0b\\ud800')", "ValueError: a"),
        (
            "class E(Exception):\n def __str__(self): raise self\ndef grade(sample, item): raise E",
            "E: (its text could not be made)",
        ),
        ("def grade(sample, item): raise ValueError('x' * 10**6)", "x" * 2000 + " at"),
        ("import torch\ndef grade(sample, item): return 1", "No module named 'torch'"),
        ("import django\ndef grade(sample, item): return 1", "No module named 'django'"),
        ("import jobs\ndef grade(sample, item): return 1", "No module named 'jobs'"),
    ],
)
def test_errors_of_the_source_are_told(sandbox: PythonSandbox, source: str, said: str) -> None:
    message = failure(graded(sandbox, source))
    assert said in message
    message.encode()
    assert "\x00" not in message


def test_the_first_4_kb_of_output_are_kept(sandbox: PythonSandbox) -> None:
    source = """
    import sys
    def grade(sample, item):
        print("first", file=sys.stderr)
        for _ in range(64):
            print("x" * 2 ** 14)
        return 1.0
    """
    grading = graded(sandbox, source)
    assert grading.reward == 1.0
    assert grading.stdout.startswith("first\nxxx")
    assert len(grading.stdout) == 4096


def test_output_of_a_failing_grader_is_kept(sandbox: PythonSandbox) -> None:
    grading = graded(sandbox, "def grade(sample, item):\n  print('so far')\n  return 1 / 0")
    assert (grading.reward, grading.stdout) == (None, "so far\n")


def test_what_one_grading_patches_the_next_does_not_see(sandbox: PythonSandbox) -> None:
    spoiled = """
    import builtins, json, math, os
    def grade(sample, item):
        json.dumps = json.loads = builtins.len = math.isfinite = os.write = lambda *a, **k: 1
        builtins.float = builtins.type = builtins.repr = lambda *a: 1
        return 0.5
    """
    assert graded(sandbox, spoiled).reward == 0.5
    clean = "import json\ndef grade(sample, item): return float(len(json.dumps([1, 2])))"
    assert graded(sandbox, clean).reward == 6.0


PLANTS = {
    "a builtin": ("builtins.planted = 1", "hasattr(builtins, 'planted')"),
    "a module": ("sys.modules['planted'] = sys", "'planted' in sys.modules"),
    "an attribute": ("numpy.planted = 1", "hasattr(numpy, 'planted')"),
    "a variable": ("os.environ['planted'] = '1'", "bool(os.environ)"),
    "a path": ("sys.path.append('planted')", "'planted' in sys.path"),
    "a finder": ("sys.meta_path.insert(0, len)", "len in sys.meta_path"),
    "a limit": ("sys.setrecursionlimit(777)", "sys.getrecursionlimit() == 777"),
    "a state": ("numpy.random.seed(7)", "numpy.random.rand() == 0.07630828937395717"),
    "a mask": (
        "signal.pthread_sigmask(signal.SIG_BLOCK, [10])",
        "bool(signal.pthread_sigmask(signal.SIG_BLOCK, []))",
    ),
    "a temporary file": ("open('/tmp/planted', 'w').close()", "os.path.exists('/tmp/planted')"),
}


@pytest.mark.parametrize(("plant", "look"), PLANTS.values(), ids=PLANTS.keys())
def test_nothing_survives_from_one_grading_to_the_next(
    sandbox: PythonSandbox, plant: str, look: str
) -> None:
    """Each run looks before it plants: none finds what an earlier one left."""
    source = f"""
    import builtins, numpy, os, signal, sys
    def grade(sample, item):
        if {look}: return 1.0
        try: {plant}
        except PermissionError: return 0.5
        return 0.5 if {look} else 0.0
    """
    assert [graded(sandbox, source).reward for _ in range(3)] == [0.5, 0.5, 0.5]


def test_gradings_are_the_same_each_time(sandbox: PythonSandbox) -> None:
    source = "import random\ndef grade(sample, item): return random.random()"
    assert len({graded(sandbox, source).reward for _ in range(5)}) == 1


CLASSES = {
    "dataclass": """
    from dataclasses import asdict, dataclass
    @dataclass
    class Answer:
        value: int
    def grade(sample, item): return asdict(Answer(3))["value"]
    """,
    "dataclass with lazy annotations": """
    from __future__ import annotations
    from dataclasses import dataclass, fields
    @dataclass(frozen=True)
    class Answer:
        value: int
    def grade(sample, item): return float(fields(Answer)[0].type == "int") + 2
    """,
    "named tuple": """
    from typing import NamedTuple, get_type_hints
    class Answer(NamedTuple):
        value: int = 3
    def grade(sample, item): return Answer().value if get_type_hints(Answer)["value"] is int else 0
    """,
    "enum": """
    import enum, pickle
    class Answer(enum.IntEnum):
        RIGHT = 3
    def grade(sample, item): return int(pickle.loads(pickle.dumps(Answer.RIGHT)))
    """,
}


@pytest.mark.parametrize("source", CLASSES.values(), ids=CLASSES.keys())
def test_a_source_may_define_classes(sandbox: PythonSandbox, source: str) -> None:
    assert graded(sandbox, source).reward == 3.0


def test_the_platforms_own_future_imports_do_not_reach_a_source(sandbox: PythonSandbox) -> None:
    source = "def grade(sample, item: int): return float(grade.__annotations__['item'] is int)"
    assert graded(sandbox, source).reward == 1.0


THIEVES = {
    "frames": """
    import sys
    def grade(sample, item):
        frame, seen = sys._getframe(), []
        while frame:
            seen += [v for v in [*frame.f_locals.values(), *frame.f_globals.values()]]
            frame = frame.f_back
        return float(sum(type(v) is bytes and len(v) == 32 for v in seen))
    """,
    "handles": """
    import os
    def grade(sample, item):
        os.set_blocking(4, False) if False else None
        return float(len(os.read(4, 32)))
    """,
}


def test_no_frame_leads_to_the_key(sandbox: PythonSandbox) -> None:
    assert graded(sandbox, THIEVES["frames"]).reward == 0.0


def test_the_keys_pipe_is_empty_when_the_code_runs(sandbox: PythonSandbox) -> None:
    assert graded(sandbox, THIEVES["handles"]).reward == 0.0


@pytest.mark.parametrize(
    "attempt",
    [
        "__import__('gc').get_objects()",
        "__import__('gc').get_referents(__import__('sys')._getframe())",
        "__import__('sys').settrace(print)",
        "__import__('sys').setprofile(print)",
        "(lambda: 0).__code__.replace(co_code=b'')",
        "__import__('ctypes').string_at(id(sample), 8)",
        "__import__('ctypes').CDLL(None)",
    ],
)
def test_what_finds_nameless_objects_is_refused(sandbox: PythonSandbox, attempt: str) -> None:
    message = failure(graded(sandbox, f"def grade(sample, item):\n  {attempt}\n  return 1.0"))
    assert "PermissionError: [Errno 1] A grader may not use" in message


def test_replacing_what_the_caller_uses_forges_nothing(sandbox: PythonSandbox) -> None:
    source = """
    import sys
    def grade(sample, item):
        frame = sys._getframe().f_back
        names = frame.f_globals
        names["_failure"] = names["_wrong_type"] = names["_error"] = lambda *a: b"S1.0"
        return "no number"
    """
    assert "wrong form" in failure(graded(sandbox, source))


def test_many_gradings_at_once_do_not_mix(sandbox: PythonSandbox) -> None:
    source = "def grade(sample, item):\n  print(item['x'])\n  return item['x']"
    with ThreadPoolExecutor(8) as threads:
        gradings = list(threads.map(lambda x: graded(sandbox, source, x=x), range(100)))
    assert [(one.reward, one.stdout) for one in gradings] == [(x, f"{x}\n") for x in range(100)]


def test_a_large_item_arrives_whole(sandbox: PythonSandbox) -> None:
    source = "def grade(sample, item): return len(item['x'])"
    assert graded(sandbox, source, x="é" * 3_000_000).reward == 3_000_000.0


@pytest.mark.parametrize(
    ("item", "said"),
    [({"x": float("nan")}, "JSON"), ({"x": object()}, "JSON"), ({"x": b""}, "JSON")],
)
def test_what_is_no_json_is_refused(
    sandbox: PythonSandbox, item: dict[str, Any], said: str
) -> None:
    grading = sandbox.run("def grade(sample, item): return 1", {}, item)
    assert grading.error is not None
    assert grading.error.code == "sample_parse"
    assert said in grading.error.message


def test_a_source_of_256_kb_is_refused(sandbox: PythonSandbox) -> None:
    grading = graded(sandbox, "#" * 256_000)
    assert grading.error is not None
    assert "256000 bytes" in grading.error.message


@pytest.mark.parametrize(("megabytes", "fits"), [(500, True), (520, False)])
def test_memory_is_limited_to_512_mb(sandbox: PythonSandbox, megabytes: int, fits: bool) -> None:
    source = f"def grade(sample, item): return len(bytearray({megabytes} << 20))"
    grading = graded(sandbox, source)
    assert grading.reward == (float(megabytes << 20) if fits else None)


def ended(reply: bytes, **changes: Any) -> Ended:
    values: dict[str, Any] = {
        "exit_code": 0,
        "timed_out": False,
        "reply": reply,
        "oversized": False,
        "stdout": b"",
        "started": True,
    }
    return Ended(**(values | changes))


def test_an_answer_with_the_key_is_a_score() -> None:
    assert read_ending(ended(KEY + b"S0.5"), KEY, 1).reward == 0.5


@pytest.mark.parametrize(
    "wrong",
    [
        ended(b""),
        ended(b"S0.5"),
        ended(KEY),
        ended(KEY + b"S"),
        ended(KEY + b"S0.5\n"),
        ended(KEY + b"S0.5" + KEY + b"S1.0"),
        ended(KEY[:-1] + b"x" + b"S0.5"),
        ended(b"x" + KEY + b"S0.5"),
        ended(KEY + b"S0x1p3"),
        ended(KEY + b"S1_0"),
        ended(KEY + b"S1e999"),
        ended(KEY + b"S" + b"9" * 5000),
        ended(KEY + b"Snan"),
        ended(KEY + b"STrue"),
        ended(KEY + "S١".encode()),
        ended(KEY + b'{"reward": 1.0}'),
        ended(KEY + b'E{"type": "", "line": 0}'),
        ended(KEY + b'E{"type": "", "line": "0", "message": ""}'),
        ended(KEY + b"S0.5", exit_code=1),
        ended(KEY + b"S0.5", exit_code=-11),
        ended(KEY + b"S0.5", timed_out=True),
        ended(KEY + b"S0.5", oversized=True),
    ],
)
def test_anything_else_is_no_score(wrong: Ended) -> None:
    failure(read_ending(wrong, KEY, 1))


def test_a_process_that_never_took_its_key_is_the_worlds_fault() -> None:
    """Whatever else it shows; and no exit code of the author's looks like one."""
    for seen in (ended(b""), ended(b"", exit_code=REFUSED_EXIT), ended(b"", timed_out=True)):
        failure(read_ending(seen, KEY, 1))
        error = read_ending(replace(seen, started=False), KEY, 1).error
        assert error == GradingError(
            "python_grader_server",
            "The grader's process ended before the grader was started.",
            infra=True,
        )


def test_a_process_that_was_killed_from_outside_is_the_worlds_fault(sandbox: PythonSandbox) -> None:
    error = read_ending(ended(KEY + b"S0.5", exit_code=-9), KEY, 1).error
    assert error == GradingError(
        "python_grader_server",
        "The grader's process was killed from outside, as where memory runs out.",
        infra=True,
    )
    for attempt in ("os.kill(os.getpid(), 9)", "signal.raise_signal(9)"):
        source = f"import os, signal\ndef grade(sample, item): return {attempt}"
        assert "PermissionError" in failure(graded(sandbox, source))


def test_other_processors_are_refused_by_name() -> None:
    with pytest.raises(bpf.UnknownArchitecture, match="'riscv64'; there are x86_64, aarch64"):
        bpf.program("riscv64")


@pytest.mark.parametrize("machine", syscalls.ARCHITECTURES)
def test_the_filter_is_of_whole_steps_and_ends_in_a_refusal(machine: str) -> None:
    program = bpf.program(machine)
    assert len(program) % 8 == 0
    assert program[-8:] == bytes.fromhex("0600000001000500")
