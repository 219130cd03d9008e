"""Checkpoints exist whole or not at all, and a damaged one is never read."""

from __future__ import annotations

import errno
import os
import random

import pytest
import torch

from jobs.engine.errors import RunFailed
from jobs.engine.learning.checkpoint import (
    ADAPTER,
    CheckpointCorrupt,
    TrainingState,
    best_steps,
    checkpoint_files,
    parse_state,
    parse_tensors,
    prune,
    publish_folder,
    read_verified,
    remove_orphans,
)


def state(step=3):
    return TrainingState(
        step=step,
        position=7,
        updates=2,
        seed=1,
        config_sha256="c",
        base_sha256="b",
        evaluations={"0": 0.25},
    )


def save(folder, step=3):
    files = checkpoint_files(
        {"a": torch.arange(4.0)}, {"r": 4}, {"a/step": torch.ones(())}, state()
    )
    return publish_folder(folder, files, step=step)


def test_what_is_saved_is_read_back(tmp_path):
    folder = tmp_path / "step-000003"
    files = read_verified(folder, save(folder))
    assert parse_state(folder, files) == state()
    assert parse_tensors(folder, ADAPTER, files)["a"].tolist() == [0.0, 1.0, 2.0, 3.0]
    assert [path.name for path in tmp_path.iterdir()] == ["step-000003"]


def test_a_file_that_the_disk_does_not_give_out_may_be_tried_again(tmp_path):
    folder = tmp_path / "step-000003"
    save(folder)
    (folder / ADAPTER).unlink()
    (folder / ADAPTER).mkdir()
    with pytest.raises(RunFailed, match=f"{ADAPTER}: Is a directory") as failed:
        read_verified(folder)
    assert (failed.value.code, failed.value.permanent) == ("checkpoint_unreadable", False)
    assert folder.is_dir()


def test_the_same_state_has_the_same_bytes(tmp_path):
    assert save(tmp_path / "step-000001") == save(tmp_path / "step-000002")


def test_any_damage_is_found_before_parsing_and_the_folder_is_set_aside(tmp_path):
    chance = random.Random(5)
    for case in range(60):
        folder = tmp_path / f"step-{case:06d}"
        digest = save(folder)
        victim = chance.choice(sorted(folder.iterdir()))
        data = bytearray(victim.read_bytes())
        match case % 3:
            case 0:
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
                victim.write_bytes(data)
            case 1:
                victim.write_bytes(data[: chance.randrange(len(data))])
            case _:
                victim.unlink()
        with pytest.raises(CheckpointCorrupt, match=victim.name) as caught:
            read_verified(folder, digest)
        assert folder.name in caught.value.text
        assert not folder.exists()
        assert folder.with_name(f"{folder.name}.corrupt").is_dir()


def test_a_full_disk_leaves_no_half_published_folder(tmp_path, monkeypatch):
    real, calls = os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save(tmp_path / "step-000004")
    assert list(tmp_path.iterdir()) == []


def test_the_best_steps_are_the_highest_rewards_and_of_equals_the_latest():
    assert best_steps({"0": 0.5, "4": 0.7, "8": 0.7, "12": 0.1}, 3) == [8, 4, 0]


@pytest.mark.parametrize(
    ("committed", "left"), [(None, [1, 5, 6]), (6, [1, 5, 6]), (3, [1, 3, 4, 5, 6])]
)
def test_what_a_resume_could_need_is_not_removed(tmp_path, committed, left):
    for step in range(7):
        (tmp_path / f"step-{step:06d}").mkdir()
    prune(tmp_path, [1], newest=6, committed=committed)
    assert sorted(int(path.name[5:]) for path in tmp_path.iterdir()) == left


def test_files_of_steps_that_were_never_committed_are_removed(tmp_path):
    for name in ("step-000002", "step-000003", ".step-000003.ab12"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    (tmp_path / "trajectories").mkdir()
    for name in ("step-000002.e1.zst", "step-000003.e1.zst"):
        (tmp_path / "trajectories" / name).write_bytes(b"")
    remove_orphans(tmp_path, 2)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-000002"]
    assert [p.name for p in (tmp_path / "trajectories").iterdir()] == ["step-000002.e1.zst"]
