"""Attacks on the sandbox, by group; each is contained, and none of them leaves a score it forged.

An attack is the body of `attack(item)`. It returns what it got out; the grader's score is 1 where
the attack was refused by the kernel (an OSError) or found nothing, and 0 where it got through.
"""

from __future__ import annotations

import os
import socket
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sandboxes import MODES, failure, opened

from graders.sandbox.client import PythonSandbox

HEADER = """
import ctypes, errno, glob, json, mmap, os, signal, socket, struct, subprocess, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    if libc.syscall(number, *arguments) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return True
"""
FOOTER = """
def grade(sample, item):
    try:
        got = attack(item)
    except (OSError, RuntimeError):
        return 1.0
    if got:
        print("got", repr(got)[:300])
    return 0.0 if got else 1.0
"""


@pytest.fixture(scope="module", params=MODES)
def sandbox(request: pytest.FixtureRequest) -> Iterator[PythonSandbox]:
    yield from opened(request.param)


def source_of(body: str) -> str:
    return HEADER + "def attack(item):\n" + textwrap.indent(textwrap.dedent(body), "    ") + FOOTER


REFUSED = {
    "01-read-passwd": "return open('/etc/passwd').read()",
    "02-read-secret": "return open(item['secret']).read()",
    "03-list-root": "return os.listdir('/')",
    "03-list-own-folder": "return os.listdir('.')",
    "04-environment-of-init": "return open('/proc/1/environ', 'rb').read()",
    "04-environment-of-parent": "return open(f'/proc/{os.getppid()}/environ', 'rb').read()",
    "05-own-maps": "return open('/proc/self/maps').read()",
    "05-own-memory": "return open('/proc/self/mem', 'rb').read(1)",
    "05-own-handles": "return os.listdir('/proc/self/fd')",
    "06-environment": "return dict(os.environ) or os.getenv('PATH') or libc.getenv(b'PATH')",
    "07-write-temporary": "return open('/tmp/left-behind', 'w')",
    "07-write-shared-memory": "return open('/dev/shm/left-behind', 'w')",
    "07-write-library": "return open(os.path.dirname(json.__file__) + '/x.py', 'w')",
    "07-append-library": "return open(json.__file__, 'a')",
    "07-truncate-library": "os.truncate(json.__file__, 0); return True",
    "08-symlink": "os.symlink('/etc/passwd', '/tmp/link'); return True",
    "08-hardlink": "os.link(json.__file__, '/tmp/link'); return True",
    "08-chmod": "os.chmod(json.__file__, 0o777); return True",
    "08-unlink": "os.unlink(json.__file__); return True",
    "08-rename": "os.rename(json.__file__, json.__file__ + 'x'); return True",
    "08-mkdir": "os.mkdir('/tmp/folder'); return True",
    "09-system": "return os.system('true') == 0",
    "09-subprocess": "return subprocess.run(['/bin/true'])",
    "09-execve": "os.execve('/bin/true', ['true'], {}); return True",
    "09-execveat": "return call(322, -100, b'/bin/true', None, None, 0)",
    "09-posix-spawn": "return os.posix_spawn('/bin/true', ['true'], {})",
    "10-fork": "return os.fork() or True",
    "10-vfork": "return call(58)",
    "10-multiprocessing": (
        "import multiprocessing\np = multiprocessing.Process(target=print)\np.start()\nreturn True"
    ),
    "11-threads": "t = threading.Thread(target=print)\nt.start()\nreturn True",
    "23-many-handles": "return len([os.dup(0) for _ in range(100)])",
    "24-tcp": "return socket.create_connection(('127.0.0.1', item['port']), 1)",
    "24-udp": "return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    "24-dns": "return socket.getaddrinfo('example.org', 80)",
    "24-netlink": "return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "24-raw": "return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)",
    "24-vsock": "return socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)",
    "24-abstract-unix": (
        "s = socket.socket(socket.AF_UNIX)\ns.connect('\\0' + item['abstract'])\nreturn True"
    ),
    "24-socketpair": "return socket.socketpair()",
    "25-kill-parent": "os.kill(os.getppid(), signal.SIGKILL); return True",
    "25-kill-everything": "os.kill(-1, signal.SIGKILL); return True",
    "25-kill-group": "os.killpg(0, signal.SIGKILL); return True",
    "25-tgkill": "return call(234, os.getppid(), os.getppid(), 9)",
    "25-pidfd": "return os.pidfd_open(os.getppid())",
    "27-clone-new-user": "return call(56, 0x10000000 | 17, None, None, None, None)",
    "27-clone3": "return call(435, ctypes.create_string_buffer(88), 88)",
    "27-chroot": "os.chroot('/'); return True",
    "27-pivot-root": "return call(155, b'/', b'/')",
    "28-memfd": "return os.memfd_create('x')",
    "29-openat2": ("return call(437, -100, b'/tmp/x', struct.pack('<QQQ', 0o101, 0o600, 0), 24)"),
    "29-creat": "return call(85, b'/tmp/left-behind', 0o600)",
    "29-open": "return call(2, json.__file__.encode(), 2)",
    "29-openat-for-writing": "return os.open(json.__file__, os.O_RDWR)",
    "29-openat-temporary": "return os.open('/dev', os.O_TMPFILE | os.O_RDWR)",
    "29-openat-path": "return os.open('/etc', os.O_PATH)",
    "29-high-flag-bits": "return call(257, -100, b'/etc/passwd', (1 << 32), 0)",
    "30-raise-limits": (
        "import resource\ntry:\n  resource.setrlimit(resource.RLIMIT_AS, (-1, -1))\n"
        "except ValueError: return False\nreturn True"
    ),
    "30-setuid": "os.setuid(0); return True",
    "30-capset": "return call(126, struct.pack('<II', 0x20080522, 0), b'\\xff' * 24)",
    "30-sticky-terminal": "import fcntl\nfcntl.ioctl(0, 0x5412, b'x')\nreturn True",
    "30-timer": "signal.setitimer(signal.ITIMER_REAL, 1); return True",
    "30-alarm": "return call(37, 1)",
    "30-handler": "signal.signal(signal.SIGTERM, signal.SIG_IGN); return True",
    "30-async-handles": "import fcntl\nfcntl.fcntl(0, 8, os.getppid())\nreturn True",
    "30-prctl-dumpable": "return call(157, 4, 1, 0, 0, 0)",
    "30-second-filter": "return call(317, 1, 0, None)",
    "30-system-v-memory": "return call(29, 1, 4096, 0o1666)",
    "30-message-queue": "return call(240, b'/queue', 0o102, 0o600, None)",
    "30-reboot": "return call(169, 0xfee1dead, 672274793, 0)",
    "30-host-name": "socket.sethostname('x'); return True",
    "30-clock": "import time\ntime.clock_settime(time.CLOCK_REALTIME, 0)\nreturn True",
    "30-priority": "os.nice(-5); return True",
}

X86_ONLY = pytest.mark.skipif(
    os.uname().machine != "x86_64", reason="speaks of system calls by their x86-64 numbers"
)


@X86_ONLY
@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED.keys())
def test_is_refused(sandbox: PythonSandbox, body: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    secret.chmod(0o644)
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        abstract = f"hone-test-{os.getpid()}"
        unix.bind("\0" + abstract)
        unix.listen()
        item = {"secret": str(secret), "port": tcp.getsockname()[1], "abstract": abstract}
        grading = sandbox.run(source_of(body), {}, item)
    assert (grading.reward, grading.error, grading.stdout) == (1.0, None, "")


STOPPED = {
    "26-ptrace": ("return call(101, 0, 0, 0, 0)", "SIGSYS"),
    "26-read-memory": ("return call(310, os.getppid(), None, 0, None, 0, 0)", "SIGSYS"),
    "26-write-memory": ("return call(311, os.getppid(), None, 0, None, 0, 0)", "SIGSYS"),
    "27-unshare": ("return call(272, 0x10000000)", "SIGSYS"),
    "27-mount": ("return call(165, b'none', b'/', b'tmpfs', 0, None)", "SIGSYS"),
    "27-setns": ("return call(308, 0, 0)", "SIGSYS"),
    "28-io-uring": ("return call(425, 1, ctypes.create_string_buffer(256))", "SIGSYS"),
    "28-bpf": ("return call(321, 0, None, 0)", "SIGSYS"),
    "28-userfaultfd": ("return call(323, 0)", "SIGSYS"),
    "28-keyctl": ("return call(250, 0, 0, 0)", "SIGSYS"),
    "28-perf": ("return call(298, None, 0, -1, -1, 0)", "SIGSYS"),
    "28-pidfd-getfd": ("return call(438, 0, 0, 0)", "SIGSYS"),
    "29-x32-open": ("return call(0x40000002, b'/etc/passwd', 0)", "SIGSYS"),
    "29-int-80": (
        """
        code = mmap.mmap(-1, 4096, prot=7)
        code.write(bytes([0xB8, 20, 0, 0, 0, 0xCD, 0x80, 0xC3]))
        address = ctypes.addressof(ctypes.c_char.from_buffer(code))
        return ctypes.CFUNCTYPE(ctypes.c_long)(address)()
        """,
        "SIGSYS",
    ),
    "12-8-gb": ("return bytearray(8 << 30)", "MemoryError"),
    "12-slow-growth": ("grown = []\nwhile True: grown.append(bytearray(1 << 20))", "MemoryError"),
    "13-zlib-bomb": (
        "import zlib\nreturn zlib.decompress(zlib.compress(bytes(1 << 27), 1) * 1) * 16",
        "MemoryError",
    ),
    "18-stack-overflow": (
        "sys.setrecursionlimit(1 << 30)\nf = lambda: [f()][0]\nx = []\n"
        "for _ in range(10 ** 6): x = [x]\nreturn repr(x)",
        "SIGSEGV|SIGBUS|RecursionError|MemoryError",
    ),
    "19-null": ("return ctypes.string_at(0)", "SIGSEGV"),
    "19-abort": ("os.abort()", "SIG(ABRT|SEGV|ILL|TRAP|BUS)|without an answer"),
    "20-exit-now": ("os._exit(0)", "without an answer"),
    "20-exit-with-a-code": ("os._exit(3)", "without an answer"),
    "20-exit-with-the-servers-code": ("os._exit(71)", "without an answer"),
    "20-exit": ("sys.exit(0)", "raised SystemExit: 0"),
    "20-exit-group": ("call(231, 0)", "without an answer"),
    "21-flood-the-reply": ("while True: os.write(5, b'x' * 65536)", "more than|raised BrokenPipe"),
    "22-forged-reply": ("os.write(5, b'S1.0')\nos._exit(0)", "key is wrong"),
    "22-forged-reply-then-normal": ("os.write(5, b'S1.0')\nreturn 0", "key is wrong"),
    "22-forged-with-a-guessed-key": ("os.write(5, b'k' * 32 + b'S1.0')\nos._exit(0)", "key is"),
    "22-forged-json": ("os.write(5, b'{\"reward\": 1.0}')\nos._exit(0)", "key is wrong"),
    "22-closed-reply": ("os.close(5)\nreturn 0", "without an answer|ended before"),
    "23-frames-everywhere": (
        """
        for handle in range(64):
            try:
                os.write(handle, b'S1.0')
            except OSError:
                pass
        os._exit(0)
        """,
        "key is wrong",
    ),
}


@X86_ONLY
@pytest.mark.parametrize(("body", "said"), STOPPED.values(), ids=STOPPED.keys())
def test_is_stopped_without_a_score(sandbox: PythonSandbox, body: str, said: str) -> None:
    source = source_of(body).replace("(OSError, RuntimeError)", "ZeroDivisionError")
    message = failure(sandbox.run(source, {}, {}))
    assert any(option in message for option in expanded(said)), message


LASTING = {
    "14-endless-loop": ("while True: pass"),
    "14-loop-with-blocked-signals": (
        "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: pass"
    ),
    "14-loop-that-catches": (
        "while True:\n  try:\n    while True: pass\n  except BaseException: pass"
    ),
    "15-sleep": ("import time\ntime.sleep(1e6)"),
    "15-wait-for-input": ("import select\nselect.select([], [], [])"),
    "16-backtracking": ("import re\nre.match('(a+)+$', 'a' * 60 + 'b')"),
    "17-giant-power": ("return 9 ** 9 ** 9"),
    "21-flood-the-output": ("while True: os.write(6, b'x' * 65536)"),
}


@pytest.fixture(scope="module", params=MODES)
def brief_sandbox(request: pytest.FixtureRequest) -> Iterator[PythonSandbox]:
    yield from opened(request.param, wall_s=1.0)


@pytest.mark.slow
@X86_ONLY
@pytest.mark.parametrize("body", LASTING.values(), ids=LASTING.keys())
def test_is_ended_in_time(brief_sandbox: PythonSandbox, body: str) -> None:
    started = time.monotonic()
    message = failure(brief_sandbox.run(source_of(body), {}, {}))
    assert message == "timeout: `grade` ran longer than 1 s and was stopped."
    assert time.monotonic() - started < 5


def expanded(said: str) -> list[str]:
    """`a|b` → a, b; `SIG(A|B)|c` → SIGA, SIGB, c."""
    if said.startswith("SIG("):
        names, rest = said[4:].split(")", 1)
        return [f"SIG{name}" for name in names.split("|")] + rest.strip("|").split("|")
    return said.split("|")


@X86_ONLY
def test_after_all_attacks_the_server_still_grades(sandbox: PythonSandbox) -> None:
    assert sandbox.run("def grade(sample, item): return 0.25", {}, {}).reward == 0.25
