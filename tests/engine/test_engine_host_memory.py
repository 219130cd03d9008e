"""The memory that a process may use: the machine's, or less in a container or a service."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.engine.host_memory import HostMemory, host_memory

MEMINFO = "MemTotal:  16000 kB\nMemFree:  1000 kB\nMemAvailable:  12000 kB\n"
KB = 1024


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine of 16000 kB of which 12000 are free."""
    put(tmp_path, "proc/meminfo", MEMINFO)
    return tmp_path


def put(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def group(root: Path, folder: str, limit: int | str, used: int, cache: str) -> None:
    v1 = "/memory" in folder
    put(root, f"{folder}/memory.{'limit_in_bytes' if v1 else 'max'}", f"{limit}\n")
    put(root, f"{folder}/memory.{'usage_in_bytes' if v1 else 'current'}", f"{used}\n")
    put(root, f"{folder}/memory.stat", f"anon 1\n{cache}\nactive_file 7\n")


def test_without_control_groups_it_is_the_machine_s(root: Path) -> None:
    assert host_memory(root) == HostMemory(16000 * KB, 12000 * KB)


def test_a_container_s_limit_counts_and_its_file_cache_is_free(root: Path) -> None:
    put(root, "proc/self/cgroup", "0::/\n")
    group(root, "sys/fs/cgroup", 4000 * KB, 3000 * KB, f"inactive_file {500 * KB}")
    assert host_memory(root) == HostMemory(4000 * KB, 1500 * KB)


def test_of_nested_groups_the_tightest_counts(root: Path) -> None:
    put(root, "proc/self/cgroup", "0::/system.slice/hone.service\n")
    group(root, "sys/fs/cgroup/system.slice", 2000 * KB, 100 * KB, "inactive_file 0")
    group(root, "sys/fs/cgroup/system.slice/hone.service", "max", 50 * KB, "inactive_file 0")
    assert host_memory(root) == HostMemory(2000 * KB, 1900 * KB)


def test_the_first_version_s_limit_counts_even_under_a_path_of_the_outside(root: Path) -> None:
    put(root, "proc/self/cgroup", "4:cpu:/docker/ab\n3:memory:/docker/ab\n0::/docker/ab\n")
    group(root, "sys/fs/cgroup/memory", 3000 * KB, 1000 * KB, f"total_inactive_file {200 * KB}")
    assert host_memory(root) == HostMemory(3000 * KB, 2200 * KB)


def test_no_limit_and_a_limit_above_the_machine_s_memory_change_nothing(root: Path) -> None:
    put(root, "proc/self/cgroup", "3:memory:/\n0::/\n")
    group(root, "sys/fs/cgroup", "max", 10, "inactive_file 0")
    group(root, "sys/fs/cgroup/memory", 2**63 - 4096, 10, "total_inactive_file 0")
    assert host_memory(root) == HostMemory(16000 * KB, 12000 * KB)


def test_this_machine_s_memory_is_a_number_of_bytes() -> None:
    memory = host_memory()
    assert 2**26 < memory.free <= memory.total < 2**50
