"""The command that starts a sandbox's server: what it may see, and what it is told.

From the outside in: a shell that enters the cgroup and offers itself to the kernel first when
memory runs out, bubblewrap with namespaces of its own, and Python without site-packages.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from graders.sandbox import libraries, scratch
from graders.sandbox.isolation import SandboxUnavailable, bubblewrap, probe
from graders.sandbox.limits import Limits
from graders.sandbox.zygote import Setup

_OTHERS_PACKAGES = ("site-packages", "dist-packages")
_SYSTEM_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")
_NLTK_PLACES = ("/usr/local/share/nltk_data", "/usr/share/nltk_data")
_QUOTAS = (
    "/sys/fs/cgroup/cpu.max",
    "/sys/fs/cgroup/cpu/cpu.cfs_quota_us",
    "/sys/fs/cgroup/cpu/cpu.cfs_period_us",
)
"""How many cores there are to use: libraries read it where they see that it is there."""
_ROOT = Path(__file__).resolve().parents[2]
_PACKAGES, _NLTK_DATA = "/packages", "/nltk_data"
"""Where libraries, ours and data lie in bubblewrap's view, wherever they lie outside."""
_BOOT = (
    "import gc, sys; gc.disable(); sys.path.insert(0, sys.argv[1]); "
    "from graders.sandbox.zygote import main; main(*sys.argv[2:])"
)
_ENTER = """
echo 1000 > /proc/self/oom_score_adj
for group in $0; do echo 0 > "$group" || exit 70; done
exec "$@"
"""
# One order of sets in every server: a resumed job grades as the first one did.
ENVIRONMENT = {"PYTHONHASHSEED": "0"}


@dataclass(frozen=True)
class ServerOptions:
    """`bwrap`: None takes bubblewrap where it works, False does without, True insists."""

    limits: Limits
    concurrency: int = 4
    bwrap: bool | None = None
    foreign_calls: bool = False


def entering(procs: Sequence[str]) -> list[str]:
    """A shell that goes into the cgroups behind `procs`, then becomes what follows."""
    return ["/bin/sh", "-c", _ENTER, " ".join(procs)]


def wrapping(options: ServerOptions, told: int) -> list[str]:
    """Bubblewrap and its options, or nothing; it writes about itself to the handle `told`."""
    wrapper = _wrapper(options.bwrap)
    if wrapper is None:
        return []
    return [
        wrapper,
        *("--unshare-all", "--unshare-user", "--uid", "65534", "--gid", "65534"),
        # For the tmpfs of each grading; its process gives it up before anyone's code runs.
        *("--cap-drop", "ALL", "--cap-add", "CAP_SYS_ADMIN"),
        *("--hostname", "grader", "--chdir", "/", "--info-fd", str(told)),
        *_view(),
        "--",
    ]


def program(handle: int, options: ServerOptions, *, wrapped: bool) -> list[str]:
    """Python, running the server on the socket `handle`."""
    places = _places() if wrapped else {path: path for path in _places()}
    modules = {name: places[path] for name, path in libraries.find().modules.items()}
    nltk_data = [places[path] for path in _nltk_data()]
    setup = Setup(
        machine=os.uname().machine,
        memory_bytes=options.limits.memory_bytes,
        disk_bytes=options.limits.disk_bytes,
        foreign_calls=options.foreign_calls,
        scratch=wrapped,
        readable=[*_standard_library(), *places.values(), *_QUOTAS],
        libraries=modules,
        nltk_data=nltk_data,
    )
    # What -I stands for but -E: PYTHONHASHSEED counts. No other variable gets here.
    boot = [_python(), "-P", "-s", "-S", "-B", "-c", _BOOT, _PACKAGES if wrapped else str(_ROOT)]
    return [*boot, str(handle), json.dumps(asdict(setup))]


@functools.cache
def _places() -> dict[str, str]:
    """Path outside → path in bubblewrap's view, for all that graders may read beside Python's own.

    Side by side, as in `site-packages`: modules look for shared libraries in folders beside them.
    """
    packages = {path: f"{_PACKAGES}/{Path(path).name}" for path in libraries.find().paths}
    data = {path: f"{_NLTK_DATA}/{number}" for number, path in enumerate(_nltk_data())}
    return packages | data


def _wrapper(wanted: bool | None) -> str | None:
    isolation = probe()
    if isolation.level == "none":
        raise SandboxUnavailable(f"Python graders do not run here. {isolation.reason}")
    if wanted and isolation.level != "bubblewrap":
        raise SandboxUnavailable(f"Bubblewrap does not work here. {isolation.reason}")
    return bubblewrap() if wanted in {None, True} else None


@functools.cache
def _python() -> str:
    return str(Path(sys.executable).resolve())


def _libraries() -> list[str]:
    """The standard library's folders. The interpreter's own: a virtual environment has none."""
    found = {sysconfig.get_path("stdlib"), sysconfig.get_config_var("DESTSHARED")}
    return sorted({str(Path(folder).resolve()) for folder in found if folder})


@functools.cache
def _standard_library() -> tuple[str, ...]:
    """The standard library's own entries: `site-packages` may lie in its folder."""
    return tuple(
        str(entry)
        for folder in _libraries()
        for entry in sorted(Path(folder).iterdir())
        if entry.name not in _OTHERS_PACKAGES
    )


def _nltk_data() -> list[str]:
    """Where the operator put the data of nltk: as nltk itself looks for it, but for homes."""
    named = os.environ.get("NLTK_DATA", "").split(os.pathsep)
    places = [*filter(None, named), f"{sys.prefix}/nltk_data", *_NLTK_PLACES]
    return list(dict.fromkeys(str(Path(one).resolve()) for one in places if Path(one).is_dir()))


@functools.cache
def _view() -> tuple[str, ...]:
    """What there is to see: libraries, read-only, and an empty place for temporary files."""
    python = Path(_python())
    base = [
        *(folder for folder in _SYSTEM_LIBRARIES if Path(folder).exists()),
        str(python),
        *(str(library) for library in python.parents[1].glob("lib/libpython*")),
        *_libraries(),
    ]
    ours = (_ROOT / "graders" / name for name in ("__init__.py", "sandbox"))
    hidden = [Path(folder) / name for folder in _libraries() for name in _OTHERS_PACKAGES]
    over = [str(folder) for folder in hidden if folder.is_dir()]
    return (
        *_bound({path: path for path in base}),
        *(word for folder in over for word in ("--tmpfs", folder)),
        *_bound(_places() | {str(path): f"{_PACKAGES}/graders/{path.name}" for path in ours}),
        *("--dev", "/dev", "--dir", scratch.PLACE),
        *(word for folder in [*over, "/dev", "/"] for word in ("--remount-ro", folder)),
    )


def _bound(places: Mapping[str, str]) -> Iterator[str]:
    for outside, inside in places.items():
        yield from ("--ro-bind", outside, inside)
