"""Attacks on the sandbox: what hostile code tries, by group, with what must be said of it.

An attack is the body of `attack(item)`. What it gets through it returns: then the grader scores 1,
and the test fails. What was refused rises, and what found nothing is a LookupError, so that every
attack that is contained ends with the label of an error of the grader's own, and never a score.
"""

from __future__ import annotations

import textwrap

HEADER = """
import builtins, ctypes, errno, gc, glob, json, math, mmap, os, select, signal, socket, struct
import subprocess, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    found = libc.syscall(number, *arguments)
    if found == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return found or True
"""
FOOTER = """
def grade(sample, item):
    if attack(item):
        return 1.0
    raise LookupError("nothing was found")
"""

REFUSED = (
    r"raised (PermissionError|FileNotFoundError|OSError|BlockingIOError|gaierror|itimer_error"
    r"|URLError|LookupError: nothing was found|ValueError: not allowed to raise)"
)
KILLED = r"stopped by SIGSYS"

ESCAPE = {
    "read passwd": "return open('/etc/passwd').read()",
    "read the secret": "return open(item['secret']).read()",
    "read the secret by way of a folder's handle": (
        "folder = os.open(os.path.dirname(json.__file__), os.O_RDONLY)\n"
        "return os.open('../' * 20 + item['secret'], os.O_RDONLY, dir_fd=folder)"
    ),
    "read the secret by a path with dots": (
        "return open(os.path.dirname(json.__file__) + '/..' * 20 + item['secret']).read()"
    ),
    "read the sandbox's own code": (
        "return open(sys.modules['graders.sandbox.child'].__file__).read()"
    ),
    "list the root": "return os.listdir('/')",
    "list its own folder": "return os.listdir('.')",
    "environment of the first process": "return open('/proc/1/environ', 'rb').read()",
    "environment of the parent": "return open(f'/proc/{os.getppid()}/environ', 'rb').read()",
    "root of the first process": "return open('/proc/1/root' + item['secret']).read()",
    "its own maps": "return open('/proc/self/maps').read()",
    "its own memory as a file": "return open('/proc/self/mem', 'rb').read(1)",
    "its own handles": "return os.listdir('/proc/self/fd')",
    "its own environment": "return dict(os.environ) or os.getenv('PATH') or libc.getenv(b'PATH')",
    "the kernel's settings": "return open('/proc/sys/kernel/core_pattern', 'w')",
    "the machine's memory": "return open('/dev/mem', 'rb')",
    "the kernel's log": "return os.open('/dev/kmsg', os.O_RDONLY)",
    "the terminal": "return os.open('/dev/tty', os.O_RDONLY)",
    "cgroups": "return os.listdir('/sys/fs/cgroup')",
    "a path handle": "return os.open('/etc', os.O_PATH)",
    "high bits in the flags": "return call(257, -100, b'/etc/passwd', (1 << 32), 0)",
    "openat2": "return call(437, -100, b'/etc/passwd', struct.pack('<QQQ', 0, 0, 0), 24)",
    "the old open": "return call(2, b'/etc/passwd', 0)",
    "chroot": "os.chroot('/'); return True",
    "pivot_root": "return call(155, b'/', b'/')",
    "clone into a new user namespace": "return call(56, 0x10000000 | 17, None, None, None, None)",
    "clone3": "return call(435, ctypes.create_string_buffer(88), 88)",
    "become root": "os.setuid(0); return True",
    "take capabilities": "return call(126, struct.pack('<II', 0x20080522, 0), b'\\xff' * 24)",
    "take ambient capabilities": "return call(157, 47, 2, 21, 0, 0)",
    "raise limits": (
        "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))\nreturn True"
    ),
    "a second filter": "return call(317, 1, 0, None)",
    "become dumpable": "return call(157, 4, 1, 0, 0, 0)",
    "lose the death signal": "return call(157, 1, 0, 0, 0, 0)",
    "reboot": "return call(169, 0xfee1dead, 672274793, 0)",
    "name the host": "socket.sethostname('x'); return True",
    "set the clock": "time.clock_settime(time.CLOCK_REALTIME, 0)\nreturn True",
    "go first": "os.nice(-5); return True",
    "type into a terminal": "import fcntl\nfcntl.ioctl(0, 0x5412, b'x')\nreturn True",
    "new mounts": "return call(428, -100, b'/', 1)",
    "a file system of its own": "return call(430, b'tmpfs', 0)",
}

ESCAPE_KILLED = {
    "ptrace": "return call(101, 0, 0, 0, 0)",
    "read another's memory": "return call(310, os.getppid(), None, 0, None, 0, 0)",
    "write another's memory": "return call(311, os.getppid(), None, 0, None, 0, 0)",
    "unshare": "return call(272, 0x10000000)",
    "unshare mounts": "return call(272, 0x20000)",
    "mount": "return call(165, b'none', b'/', b'tmpfs', 0, None)",
    "setns": "return call(308, 0, 0)",
    "io_uring": "return call(425, 1, ctypes.create_string_buffer(256))",
    "bpf": "return call(321, 0, None, 0)",
    "userfaultfd": "return call(323, 0)",
    "keys": "return call(250, 0, 0, 0)",
    "performance counters": "return call(298, None, 0, -1, -1, 0)",
    "another's handle": "return call(438, 0, 0, 0)",
    "open by inode": "return call(304, -100, None, 0)",
    "load a kernel module": "return call(313, 0, b'', 0)",
    "x32 open": "return call(0x40000002, b'/etc/passwd', 0)",
    "32-bit calls": (
        "code = mmap.mmap(-1, 4096, prot=7)\n"
        "code.write(bytes([0xB8, 20, 0, 0, 0, 0xCD, 0x80, 0xC3]))\n"
        "address = ctypes.addressof(ctypes.c_char.from_buffer(code))\n"
        "return ctypes.CFUNCTYPE(ctypes.c_long)(address)()"
    ),
}

NETWORK = {
    "tcp": "return socket.create_connection(('127.0.0.1', item['tcp']), 1)",
    "tcp by raw call": "return call(41, 2, 1, 0)",
    "tcp over version 6": "return socket.socket(socket.AF_INET6)",
    "a listening server": "return socket.create_server(('127.0.0.1', 0))",
    "udp": (
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "return s.sendto(b'x', ('127.0.0.1', item['udp']))"
    ),
    "names": "return socket.getaddrinfo('example.org', 80)",
    "a web address": (
        "import urllib.request\n"
        "return urllib.request.urlopen(f\"http://127.0.0.1:{item['tcp']}/\", timeout=1)"
    ),
    "netlink": "return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "raw packets": "return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)",
    "vsock": "return socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)",
    "an abstract name": (
        "s = socket.socket(socket.AF_UNIX)\ns.connect('\\0' + item['abstract'])\nreturn True"
    ),
    "a socket's file": "s = socket.socket(socket.AF_UNIX)\ns.connect(item['unix'])\nreturn True",
    "a pair of sockets": "return socket.socketpair()",
    "the server's own socket": "return socket.socket(fileno=3).recv(1)",
}

FILES = {
    "write shared memory": "return open('/dev/shm/left-behind', 'w')",
    "write a device": "return open('/dev/left-behind', 'w')",
    "write a library": "return open(os.path.dirname(json.__file__) + '/x.py', 'w')",
    "append to a library": "return open(json.__file__, 'a')",
    "write over a library by raw call": "return call(2, json.__file__.encode(), 2)",
    "truncate a library": "os.truncate(json.__file__, 0); return True",
    "change the secret": "return open(item['secret'], 'r+')",
    "unlink the secret": "os.unlink(item['secret']); return True",
    "a mode": "os.chmod(json.__file__, 0o777); return True",
    "an owner": "os.chown(json.__file__, 0, 0); return True",
    "times": "os.utime(json.__file__, (0, 0)); return True",
    "attributes": "os.setxattr(json.__file__, 'user.x', b'x'); return True",
    "unlink a library": "os.unlink(json.__file__); return True",
    "rename a library": "os.rename(json.__file__, json.__file__ + 'x'); return True",
    "a symlink": "os.symlink('/etc/passwd', '/tmp/left-behind'); return True",
    "a symlink out of the temporary files": (
        "os.symlink(item['secret'], '/tmp/left-behind')\nreturn open('/tmp/left-behind').read()"
    ),
    "a hard link": "os.link(json.__file__, '/tmp/left-behind'); return True",
    "a pipe with a name": "os.mkfifo('/tmp/left-behind'); return True",
    "a device of its own": "os.mknod('/tmp/left-behind', 0o60600, os.makedev(8, 0)); return True",
    "a socket with a name": "socket.socket(socket.AF_UNIX).bind('/tmp/left-behind'); return True",
    "creat": "return call(85, b'/left-behind', 0o600)",
    "a nameless file": "return os.open('/dev', os.O_TMPFILE | os.O_RDWR)",
    "a file in memory": "return os.memfd_create('left-behind')",
    "memory of System V": "return call(29, 0x5EED, 4096, 0o1666)",
    "messages of System V": "return call(68, 0x5EED, 0o1666)",
    "a queue with a name": "return call(240, b'left-behind', 0o102, 0o600, None)",
    "a folder in the working folder": "os.mkdir('left-behind'); return True",
    "watch a folder": "return call(294, 0)",
    "more than its disk": (
        "with open('/tmp/left-behind', 'wb') as file:\n"
        "    for _ in range(80): file.write(bytes(1 << 20))\nreturn True"
    ),
    "a giant hole": (
        "with open('/tmp/left-behind', 'wb') as file: file.truncate(1 << 40)\nreturn True"
    ),
    "space set aside": (
        "handle = os.open('/tmp/left-behind', os.O_CREAT | os.O_RDWR, 0o600)\n"
        "os.posix_fallocate(handle, 0, 1 << 32)\nreturn True"
    ),
    "many files": (
        "for number in range(100_000):\n"
        "    os.close(os.open(f'/tmp/left-behind-{number}', os.O_CREAT | os.O_WRONLY, 0o600))\n"
        "return True"
    ),
    "many folders": (
        "for number in range(100_000): os.mkdir(f'/tmp/left-behind-{number}')\nreturn True"
    ),
    "run a temporary file": (
        "with open('/tmp/left-behind', 'wb') as file: file.write(b'#!/bin/sh')\n"
        "os.execv('/tmp/left-behind', ['x'])\nreturn True"
    ),
}

PROCESSES = {
    "system": "return os.system('touch /tmp/left-behind') == 0",
    "subprocess": "return subprocess.run(['/bin/true'])",
    "execve": "os.execve('/bin/true', ['true'], {}); return True",
    "execveat": "return call(322, -100, b'/bin/true', None, None, 0)",
    "posix_spawn": "return os.posix_spawn('/bin/true', ['true'], {})",
    "fork": "return os.fork() or True",
    "a fork bomb": "while True: os.fork()",
    "vfork": "return call(58)",
    "two terminals": "return os.forkpty()",
    "multiprocessing": (
        "import multiprocessing\np = multiprocessing.Process(target=print)\np.start()\nreturn True"
    ),
    "kill the parent": "os.kill(os.getppid(), signal.SIGKILL); return True",
    "kill the owner": "os.kill(item['owner'], signal.SIGKILL); return True",
    "kill everything": "os.kill(-1, signal.SIGKILL); return True",
    "kill the group": "os.killpg(0, signal.SIGKILL); return True",
    "stop the parent": "os.kill(os.getppid(), signal.SIGSTOP); return True",
    "a thread of the parent": "return call(234, os.getppid(), os.getppid(), 9)",
    "a queued signal": "return call(129, os.getppid(), 9, ctypes.create_string_buffer(128))",
    "a handle of the parent": "return os.pidfd_open(os.getppid())",
    "a signal by a handle": "import fcntl\nfcntl.fcntl(0, 8, os.getppid())\nreturn True",
    "a timer": "signal.setitimer(signal.ITIMER_REAL, 1); return True",
    "an alarm": "return call(37, 1)",
    "a handler of its own": "signal.signal(signal.SIGTERM, signal.SIG_IGN); return True",
    "another session": "os.setsid(); return True",
    "another group": "os.setpgid(0, os.getppid()); return True",
    "a parent's priority": "os.setpriority(os.PRIO_PROCESS, os.getppid(), 19); return True",
    "all cores": "os.sched_setaffinity(0, range(64)); return True",
    "real time": "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(9)); return True",
    "many handles": "return len([os.dup(0) for _ in range(100)])",
}
PROCESSES_BY_PYTHON = {
    "threads": ("t = threading.Thread(target=print)\nt.start()\nreturn True", "can't start new"),
    "a thread bomb": (
        "while True: threading.Thread(target=time.sleep, args=(9,)).start()",
        "can't start new",
    ),
}

MEMORY = {
    "8 GB": ("return bytearray(8 << 30)", "MemoryError"),
    "slow growth": (
        "grown = []\nwhile True: grown.append(bytearray(1 << 20))",
        "MemoryError",
    ),
    "a giant text": ("return 'x' * (1 << 40)", "MemoryError"),
    "a giant array": ("import numpy\nreturn numpy.ones(1 << 32).sum()", "Memory"),
    "a shared map": ("return mmap.mmap(-1, 1 << 33)", "OSError|PermissionError"),
    "locked pages": ("return call(149, None, 0) and call(151, 3)", REFUSED),
    "a zlib bomb": (
        "import zlib\nreturn zlib.decompress(zlib.compress(bytes(1 << 27), 1)) * 16",
        "MemoryError",
    ),
    "doubling lists": ("grown = [0]\nwhile True: grown += grown", "MemoryError"),
    "a stack without end": (
        "sys.setrecursionlimit(1 << 30)\nx = ()\nfor _ in range(10 ** 6): x = (x,)\nreturn hash(x)",
        "SIGSEGV|SIGBUS|RecursionError|MemoryError",
    ),
    "a null pointer": ("return ctypes.string_at(0)", "SIGSEGV"),
    "a write to nowhere": ("ctypes.memset(1, 0, 1 << 20)", "SIGSEGV"),
    "abort": ("os.abort()", "SIGABRT|SIGSEGV|SIGILL|SIGTRAP|SIGBUS|without an answer"),
}

OUTPUT = {
    "a flood on the reply": ("while True: os.write(5, b'x' * 65536)", "more than|BrokenPipe"),
    "a flood on every handle": (
        "for handle in range(64):\n"
        "    try:\n        os.set_blocking(handle, False)\n        os.write(handle, b'x' * 10**6)\n"
        "    except OSError: pass\nos._exit(0)",
        "more than|key is wrong|without an answer|BrokenPipe",
    ),
    "an exception of 50 MB": ("raise ValueError('x' * 50_000_000)", "raised ValueError: xxx"),
    "an exception without text": (
        "class E(Exception):\n    def __str__(self): raise self\nraise E",
        "could not be made",
    ),
    "an exception that exits": (
        "class E(Exception):\n    def __str__(self): os._exit(0)\nraise E",
        "without an answer",
    ),
    "a score of 50 MB": ("return bad_score('9' * 50_000_000)", "type str"),
    "exit now": ("os._exit(0)", "without an answer"),
    "exit with a code": ("os._exit(3)", "without an answer"),
    "exit with the server's code": ("os._exit(71)", "without an answer"),
    "exit by raw call": ("call(231, 0)", "without an answer"),
    "sys.exit": ("sys.exit(0)", "raised SystemExit: 0"),
    "exit as the interpreter ends": (
        "import atexit\natexit.register(os.write, 5, b'S1.0')\nsys.exit(0)",
        "raised SystemExit: 0",
    ),
}

_PATCH = """
frame = sys._getframe()
while frame:
    names = frame.f_globals
    for name in ("_failure", "_wrong_type", "_error", "_answer"):
        if name in names: names[name] = lambda *a, **k: b"S1.0"
    frame = frame.f_back
return bad_score("no number")
"""
_BUILTINS = """
builtins.float = builtins.type = builtins.isinstance = builtins.int = lambda *a: float
json.dumps = lambda *a, **k: "1.0"
os.write = os._exit = lambda *a: 1
return bad_score("no number")
"""
_FRAMES = """
seen, frame = [], sys._getframe()
while frame:
    seen += [*frame.f_locals.values(), *frame.f_globals.values()]
    frame = frame.f_back
return any(type(v) is bytes and len(v) == 32 for v in seen)
"""
_LOCALS = """
frame = sys._getframe().f_back.f_back
frame.f_locals["answer"] = b"S1.0"
frame.f_locals["value"] = 1.0
return bad_score("no number")
"""
_DEFAULTS = """
answer = sys.modules["graders.sandbox.child"]._answer
answer.__kwdefaults__.update(float_text=lambda v: "1.0", type_of=lambda v: float)
return bad_score("no number")
"""
_GENERATOR = """
frame = sys._getframe()
while frame and frame.f_code.co_name != "_answer":
    frame = frame.f_back
frame.clear()
return True
"""
_HOOK = """
heard = []
sys.addaudithook(lambda event, arguments: heard.append(arguments))
compile('1', 'x', 'eval')
return any(type(v) is bytes and len(v) == 32 for a in heard for v in a)
"""
_COLLECTOR = """
heard = []
gc.callbacks.append(lambda *a: heard.extend(sys._getframe(1).f_locals.values()))
gc.collect()
return any(type(v) is bytes and len(v) == 32 for v in heard)
"""
_LATE = """
class Late:
    def __del__(self): os.write(5, b"S1.0")
sys.late = Late()
os._exit(0)
"""
FORGERY = {
    "a reply": ("os.write(5, b'S1.0')\nos._exit(0)", "key is wrong"),
    "a reply and then the true one": ("os.write(5, b'S1.0')\nreturn bad_score(0)", "key is wrong"),
    "a guessed key": ("os.write(5, b'k' * 32 + b'S1.0')\nos._exit(0)", "key is wrong"),
    "an empty key": ("os.write(5, bytes(32) + b'S1.0')\nos._exit(0)", "key is wrong"),
    "a JSON reply": ("os.write(5, b'{\"reward\": 1.0}')\nos._exit(0)", "key is wrong"),
    "a reply in pieces": (
        "for piece in b'S1.0': os.write(5, bytes([piece]))\nos._exit(0)",
        "key is wrong",
    ),
    "a status of the server's": (
        "for handle in range(3, 64):\n"
        "    try: os.write(handle, struct.pack('<ii', 0, 0))\n    except OSError: pass\n"
        "os._exit(0)",
        "key is wrong",
    ),
    "a closed reply": ("os.close(5)\nreturn bad_score(0)", "without an answer|ended before"),
    "a reply that is a file": (
        "os.dup2(0, 5)\nreturn bad_score(0)",
        "without an answer|PermissionError",
    ),
    "a key that is read again": ("return os.read(4, 32)", "nothing was found"),
    "a key in a frame": (_FRAMES, "nothing was found"),
    "a key in a list of the collector": ("return gc.get_objects()", "may not use gc.get_objects"),
    "a key by who refers to it": (
        "return gc.get_referrers(sys)",
        "may not use gc.get_referrers",
    ),
    "a key by a tracer": ("sys.settrace(print); return True", "may not use sys.settrace"),
    "a key by a profiler": ("sys.setprofile(print); return True", "may not use sys.setprofile"),
    "a key by an audit": (_HOOK, "nothing was found"),
    "a key at a collection": (_COLLECTOR, "nothing was found"),
    "code of its own making": (
        "return attack.__code__.replace(co_code=b'')",
        "may not use code.__new__",
    ),
    "other functions for the answer": (_PATCH, "wrong form"),
    "other builtins": (_BUILTINS, "type str|without an answer|wrong form"),
    "other locals": (_LOCALS, "type str"),
    "other defaults": (_DEFAULTS, "type str"),
    "a cleared generator": (_GENERATOR, "RuntimeError"),
    "a late writer": (_LATE, "without an answer"),
    "a number that is none": ("return bad_score(float('nan'))", "returned nan"),
    "an infinite number": ("return bad_score(float('inf'))", "returned inf"),
    "a truth": ("return bad_score(True)", "type bool"),
    "a digit string": ("return bad_score('1.0')", "type str"),
    "an endless number": ("return bad_score(10 ** 5000)", "type int outside"),
    "a float of its own class": (
        "return bad_score(type('F', (float,), {'__repr__': lambda s: '1.0'})(0))",
        "type F",
    ),
    "an object that says it is a float": (
        "return bad_score(type('F', (), {'__float__': lambda s: 1.0})())",
        "type F",
    ),
    "an object that lies about its class": (
        "return bad_score(type('F', (), {'__class__': float, 'item': lambda s: 1.0})())",
        "type F",
    ),
    "a number type with an item of its own": (
        "import numpy\nreturn bad_score(type('F', (numpy.float64,), {'item': lambda s: 1.0})(0))",
        "type F",
    ),
    "an array of one": ("import numpy\nreturn bad_score(numpy.ones(1))", "type ndarray"),
}

LASTING = {
    "an endless loop": "while True: pass",
    "a loop with blocked signals": (
        "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: pass"
    ),
    "a loop that catches": (
        "while True:\n  try:\n    while True: pass\n  except BaseException: pass"
    ),
    "a long sleep": "time.sleep(1e6)",
    "a wait without end": "select.select([], [], [])",
    "backtracking": "import re\nre.match('(a+)+$', 'a' * 60 + 'b')",
    "a giant power": "return 9 ** 9 ** 9",
    "a flood on the output": "while True: os.write(6, b'x' * 65536)",
}


def source_of(body: str) -> str:
    """A grader that tries `body`; with `bad_score` it returns what is no score."""
    if "bad_score(" not in body:
        return f"{HEADER}\ndef attack(item):\n{textwrap.indent(body, '    ')}\n{FOOTER}"
    wrong = body.replace("bad_score(", "(")
    return f"{HEADER}\ndef grade(sample, item):\n{textwrap.indent(wrong, '    ')}\n"


def refused() -> dict[str, tuple[str, str]]:
    """Group and name → the body, and a pattern of what must be said of it."""
    plain = {"escape": ESCAPE, "network": NETWORK, "files": FILES, "processes": PROCESSES}
    told = {"memory": MEMORY, "output": OUTPUT, "forgery": FORGERY}
    told["processes"] = PROCESSES_BY_PYTHON
    found = {f"escape: {name}": (body, KILLED) for name, body in ESCAPE_KILLED.items()}
    for group, bodies in plain.items():
        found |= {f"{group}: {name}": (body, REFUSED) for name, body in bodies.items()}
    for group, pairs in told.items():
        found |= {f"{group}: {name}": pair for name, pair in pairs.items()}
    return found
