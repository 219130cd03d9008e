"""Datasets at real size: `python -m benchmarks.workbench.datasets`, a table and one JSON line.

A file of a gigabyte is checked, indexed and stored in a process of its own, as a worker does it,
and then sent through the real web server in parts of 8 MB, as a browser does it. The rows are
questions in the contract's form with instructions, two tools, a reference and a level, each one
different.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

BYTES = 1_000_000_000
PART = 8 * 1024 * 1024
MB = 1e6
PATIENCE_S = 60.0
EMAIL = "bench@example.org"

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
QUESTIONS = Path(os.environ.get("HONE_GSM8K") or DATA) / "gsm8k_test.jsonl"
MADE_UP = {
    "question": "A shop sells pens in boxes of twelve. Mia buys seven boxes for the school, gives "
    "a third of the pens to her class and sells the rest at forty cents each. How many dollars "
    "does she take in, and how many pens would be left if she sold only fifty of them?",
    "answer": "She buys 7 * 12 = <<7*12=84>>84 pens.\nShe gives away 84 / 3 = <<84/3=28>>28.\n"
    "She sells 84 - 28 = <<84-28=56>>56 pens for 56 * 0.4 = $<<56*0.4=22.4>>22.4.\n#### 22.4",
}


def measure() -> dict[str, float]:
    """The figures; takes a few minutes and three gigabytes of disk, which it gives back."""
    with tempfile.TemporaryDirectory(prefix="hone-bench-") as folder:
        file = Path(folder) / "tasks.jsonl"
        write_tasks(file, BYTES)
        environment = {
            **os.environ,
            "HONE_DATA_DIR": str(Path(folder) / "data"),
            "HONE_MAX_DATASET_BYTES": str(2 * BYTES),
            "HONE_MAX_DATASET_ROWS": "100000000",
            "HONE_LOG_LEVEL": "WARNING",
            "DJANGO_SETTINGS_MODULE": "hone.settings",
        }
        password = secrets.token_urlsafe(12)
        checked = _child(environment, str(file), password)
        with _web(environment) as (port, workers):
            browser = Browser(port, password)
            warm_up = file.with_name("warm-up.jsonl")
            warm_up.write_bytes(b"x" * 2 * PART)
            upload(browser, warm_up)
            before = max(_peak_mb(pid, reset=True) for pid in workers())
            rate = upload(browser, file)
            growth = max(_peak_mb(pid) for pid in workers()) - before
    sent = {"upload_mb_per_s": round(rate, 1), "upload_rss_growth_mb": round(growth, 1)}
    return {**checked, **sent}


def write_tasks(file: Path, size: int) -> None:
    """Different rows, `size` bytes of them and a little more."""
    questions = [MADE_UP]
    if QUESTIONS.exists():
        questions = [json.loads(line) for line in QUESTIONS.read_text("utf-8").splitlines()]
    with file.open("wb") as out:
        number = 0
        while out.tell() < size:
            question = questions[number % len(questions)]
            out.write(json.dumps(_task(number, question)).encode() + b"\n")
            number += 1


def _task(number: int, question: dict[str, str]) -> dict[str, Any]:
    return {
        "messages": [
            {
                "role": "system",
                "content": "You solve word problems. Use the calculator for every step, convert "
                "units where you must, and end with the number alone.",
            },
            {"role": "user", "content": f"Task {number}. {question['question']}"},
        ],
        "tools": TOOLS,
        "id": f"task-{number}",
        "ground_truth": question["answer"].rpartition("#### ")[2],
        "reference": question["answer"],
        "level": number % 5,
    }


def _tool(name: str, description: str, **properties: Any) -> dict[str, Any]:
    parameters = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    function = {
        "name": name, "description": description, "parameters": parameters, "strict": True
    }  # fmt: skip
    return {"type": "function", "function": function}


TOOLS = [
    _tool(
        "calculate",
        "Work out an arithmetic expression and return the number.",
        expression={"type": "string", "description": "Such as 12 * (3 + 4)"},
    ),
    _tool(
        "convert",
        "Convert an amount from one unit to another.",
        amount={"type": "number"},
        unit={"type": "string"},
        to={"type": "string"},
    ),
]


def check_in_worker(file: Path, password: str) -> dict[str, float]:
    """Take the file in as a worker does; for a process of its own, since memory is measured."""
    import django  # noqa: PLC0415

    django.setup()
    from django.core.files.base import ContentFile  # noqa: PLC0415
    from django.core.management import call_command  # noqa: PLC0415

    from hone.accounts.services import owner_create  # noqa: PLC0415
    from hone.datasets.services import intakes  # noqa: PLC0415
    from hone.datasets.services.taking_in import intake_run  # noqa: PLC0415
    from hone.datasets.sources import LocalFile  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    user, organisation = owner_create(email=EMAIL, password=password, organisation_name="Bench")
    intakes.SMALL_BYTES = 0

    def arrive(content: Any, name: str) -> str:
        intake = intakes.intake_of_file(
            acting_user=user, organisation=organisation, file=content, name=name
        )
        return intake.pk

    with file.open("rb") as opened:
        warm_up = opened.read(4 * PART)
    warm_up = warm_up[: warm_up.rindex(b"\n") + 1]
    intake_run(arrive(ContentFile(warm_up, name="warm.jsonl"), "warm"))
    del warm_up
    copy = file.with_name("copy.jsonl")
    os.link(file, copy)
    with copy.open("rb") as opened:
        waiting = arrive(LocalFile(opened, str(copy)), "whole")
    before = _peak_mb(reset=True)
    began, worked = time.perf_counter(), time.process_time()
    state = intake_run(waiting)
    seconds, worked = time.perf_counter() - began, time.process_time() - worked
    if state != "stored":
        raise SystemExit(f"the file was {state}")
    return {
        "dataset_mb_per_s": round(file.stat().st_size / MB / seconds, 1),
        "dataset_mb_per_cpu_s": round(file.stat().st_size / MB / worked, 1),
        "dataset_rss_growth_mb": round(_peak_mb() - before, 1),
    }


def _peak_mb(pid: int | str = "self", *, reset: bool = False) -> float:
    """A process's largest resident memory; `reset` begins to count from what it is now."""
    if reset:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def _child(environment: dict[str, str], *arguments: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.workbench.datasets", "--in-worker", *arguments]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


@contextmanager
def _web(environment: dict[str, str]) -> Iterator[tuple[int, Callable[[], list[int]]]]:
    """The web server as `make up` starts it: its port, and the processes that answer."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "hone.wsgi", "--bind", f"127.0.0.1:{port}"]
    options = ["--threads", "32", "--no-control-socket", "--log-level", "warning"]
    server = subprocess.Popen([*command, *options], env=environment)
    try:
        _wait_for(port)
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
        yield port, lambda: [int(pid) for pid in children.read_text().split()]
    finally:
        server.terminate()
        server.wait(PATIENCE_S)


def _wait_for(port: int) -> None:
    ends = time.monotonic() + PATIENCE_S
    while True:
        try:
            connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                return
        except (OSError, HTTPException):
            pass
        if time.monotonic() > ends:
            raise SystemExit("the web server did not start")
        time.sleep(0.2)


class Browser:
    """One signed-in connection with cookies and the token of forms."""

    def __init__(self, port: int, password: str) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        self._cookies: dict[str, str] = {}
        self._ask("GET", "/login/")
        form = {"email": EMAIL, "password": password}
        form["csrfmiddlewaretoken"] = self._cookies["csrftoken"]
        kind = "application/x-www-form-urlencoded"
        self._ask("POST", "/login/", urlencode(form).encode(), kind)

    def post(self, path: str, content: bytes, kind: str = "application/json") -> Any:
        return json.loads(self._ask("POST", path, content, kind))

    def _ask(self, method: str, path: str, content: bytes = b"", kind: str = "") -> bytes:
        headers = {"Cookie": "; ".join(f"{k}={v}" for k, v in self._cookies.items())}
        if kind:
            headers |= {"Content-Type": kind, "X-CSRFToken": self._cookies["csrftoken"]}
        answer = self._answer(method, path, content, headers)
        for line in answer.headers.get_all("Set-Cookie", []):
            name, _, value = line.partition(";")[0].partition("=")
            self._cookies[name] = value
        read = answer.read()
        if answer.status >= 400:
            raise SystemExit(f"{path} answered {answer.status}: {read[:300]!r}")
        return read

    def _answer(
        self, method: str, path: str, content: bytes, headers: dict[str, str]
    ) -> HTTPResponse:
        """The server ends a connection that is idle for two seconds; then there is another."""
        try:
            self._connection.request(method, path, content, headers)
            return self._connection.getresponse()
        except (ConnectionError, HTTPException):
            self._connection.close()
            self._connection.request(method, path, content, headers)
            return self._connection.getresponse()


def upload(browser: Browser, file: Path) -> float:
    """Megabytes a second from the first request to the completed upload."""
    size = file.stat().st_size
    began = time.perf_counter()
    created = {"filename": file.name, "bytes": size, "purpose": "fine-tune"}
    address = f"/datasets/uploads/{browser.post('/datasets/uploads/', _json(created))['id']}"
    ids = []
    with file.open("rb") as opened:
        while part := opened.read(PART):
            ids.append(browser.post(f"{address}/parts/", *_form(part))["id"])
    done = browser.post(f"{address}/complete/", _json({"part_ids": ids}))
    seconds = time.perf_counter() - began
    if done["status"] != "completed":
        raise SystemExit(f"the upload is {done['status']}")
    return size / MB / seconds


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _form(part: bytes) -> tuple[bytes, str]:
    line = secrets.token_hex(16)
    head = f'--{line}\r\nContent-Disposition: form-data; name="data"; filename="part"\r\n'
    kind = "Content-Type: application/octet-stream\r\n\r\n"
    content = b"".join([head.encode(), kind.encode(), part, f"\r\n--{line}--\r\n".encode()])
    return content, f"multipart/form-data; boundary={line}"


def main() -> None:
    if sys.argv[1:2] == ["--in-worker"]:
        print(json.dumps(check_in_worker(Path(sys.argv[2]), sys.argv[3])))
        return
    found = measure()
    load = " ".join(f"{each:.2f}" for each in os.getloadavg())
    print(f"{os.cpu_count()} processors, load {load}")
    for name, value in found.items():
        print(f"{name:28s}{value:12,.1f}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
