"""The cgroup of a sandbox: version 2 before 1, and said where there is none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sandboxes import graded, needs_sandbox

from graders.sandbox import cgroup
from graders.sandbox.cgroup import Group, Home
from graders.sandbox.client import PythonSandbox


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands for the kernel: a new folder in a tree holds the files of the tree's template."""
    mkdir, rmdir = Path.mkdir, Path.rmdir

    def made(path: Path, *arguments: int, **options: bool) -> None:
        mkdir(path, *arguments, **options)
        template = path.parent / "template"
        if path.name.startswith(cgroup.PREFIX) and template.exists():
            for file in template.iterdir():
                (path / file.name).write_text("")

    def removed(path: Path) -> None:
        for file in path.iterdir():
            file.unlink()
        rmdir(path)

    monkeypatch.setattr(Path, "mkdir", made)
    monkeypatch.setattr(Path, "rmdir", removed)


def test_version_2_has_one_folder_with_both_limits(tmp_path: Path, kernel: None) -> None:
    tree = tmp_path / "unified"
    (tree / "template").mkdir(parents=True)
    for name in ("memory.max", "pids.max"):
        (tree / "template" / name).write_text("")
    group = Group(Home(2, (tree,)), 1 << 30)
    (procs,) = group.procs
    made = Path(procs).parent
    assert (made / "memory.max").read_text() == str(1 << 30)
    assert (made / "pids.max").read_text() == "64"
    group.close()
    assert not made.exists()


def test_version_1_has_one_folder_for_each_controller(tmp_path: Path, kernel: None) -> None:
    trees = []
    for controller, name in (("memory", "memory.limit_in_bytes"), ("pids", "pids.max")):
        tree = tmp_path / controller
        (tree / "template").mkdir(parents=True)
        (tree / "template" / name).write_text("")
        trees.append(tree)
    group = Group(Home(1, tuple(trees)), 1 << 30)
    memory, pids = (Path(path).parent for path in group.procs)
    assert (memory / "memory.limit_in_bytes").read_text() == str(1 << 30)
    assert (pids / "pids.max").read_text() == "64"
    group.close()


def test_a_group_without_a_limit_is_none(tmp_path: Path) -> None:
    tree = tmp_path / "unified"
    tree.mkdir()
    with pytest.raises(OSError, match="there is no memory.max"):
        Group(Home(2, (tree,)), 1 << 30)
    assert list(tree.iterdir()) == []


def test_what_a_killed_owner_left_is_removed(tmp_path: Path) -> None:
    gone, here = f"{cgroup.PREFIX}4194303-0", f"{cgroup.PREFIX}{os.getpid()}-0"
    for name in (gone, here):
        (tmp_path / name).mkdir()
    cgroup._sweep(Home(2, (tmp_path,)))
    assert [path.name for path in tmp_path.iterdir()] == [here]


def test_the_words_say_what_is_used() -> None:
    assert str(Home(2)) == "cgroup v2 (memory and processes) and limits of each child"
    assert str(Home(0, why="no cgroup may be made")) == (
        "limits of each child alone (no cgroup may be made)"
    )


@needs_sandbox
@pytest.mark.skipif(cgroup.home().version == 0, reason=str(cgroup.home()))
def test_the_server_is_in_its_group_and_the_group_goes_with_it() -> None:
    with PythonSandbox() as sandbox:
        assert graded(sandbox, "def grade(sample, item): return 1").reward == 1.0
        group = sandbox.start()._group
        assert group is not None
        folders = [Path(path).parent for path in group.procs]
        for folder in folders:
            assert str(sandbox.start().process.pid) in (folder / "cgroup.procs").read_text().split()
    assert not any(folder.exists() for folder in folders)


@needs_sandbox
def test_a_sandbox_works_where_no_group_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroup, "home", lambda: Home(0, why="none"))
    with PythonSandbox() as sandbox:
        assert graded(sandbox, "def grade(sample, item): return 1").reward == 1.0
        assert sandbox.start()._group is None
