"""`up` again, after what people do in an afternoon: it starts, and what it says is so."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from pytest_django.fixtures import Settings

from hone.accounts.models import Membership, Organisation, Role, User
from hone.accounts.services import member_add, member_set_role
from hone.core.errors import UserError
from hone.datasets.models import Dataset
from hone.datasets.services import dataset_archive
from hone.demo.management.commands import up
from hone.demo.processes import ProcessGroup
from hone.demo.workspace import (
    EMAIL,
    demo_job_create,
    sign_in_password,
    workspace_find,
    workspace_seed,
)
from hone.tools.models import Tool
from hone.tools.selectors import latest_version
from hone.tools.services import ToolFields, tool_archive, tool_version_add
from jobs.models import Job
from tests.demo.test_demo_commands import free_port

Up = Callable[..., str]


@pytest.fixture
def run_up(db: None, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Up:
    """Everything of `up` but its processes; returns what it printed."""

    @contextmanager
    def nobody(logs: Path, environment: dict[str, str]) -> Iterator[ProcessGroup]:
        group = ProcessGroup(logs, environment)
        group.running["web"] = subprocess.Popen(["true"])
        monkeypatch.setattr(group, "start", lambda program: None)
        yield group
        group.running["web"].wait()

    settings.DATA_DIR = tmp_path
    settings.OUTBOUND_ALLOW = ()
    monkeypatch.setattr(up, "process_group", nobody)
    monkeypatch.setattr(up, "wait_for_port", lambda *args, **options: True)
    monkeypatch.setattr(up.Command, "_watch", lambda self, group: None)
    monkeypatch.setenv("HONE_DEMO_PORT", str(free_port()))

    def run(*words: str) -> str:
        said = io.StringIO()
        call_command("up", "--port", str(free_port()), *words, stdout=said)
        return said.getvalue()

    return run


@pytest.fixture
def demo_user(run_up: Up) -> User:
    """After a first `up`."""
    run_up("--no-job")
    return User.objects.get(email=EMAIL)


def the_organisation() -> Organisation:
    found = workspace_find()
    assert found is not None
    return found


def demote(person: User, role: str) -> None:
    """As another owner of the organisation would."""
    organisation = the_organisation()
    member_add(
        acting_user=person,
        organisation=organisation,
        email="eve@example.org",
        role=Role.OWNER,
        password="nine lives of cats",
    )
    member_set_role(
        acting_user=User.objects.get(email="eve@example.org"),
        membership=Membership.objects.get(user=person),
        role=role,
    )


def test_the_first_time_it_makes_a_job_and_prints_a_password_that_signs_in(run_up: Up) -> None:
    said = run_up()
    password = sign_in_password()
    assert User.objects.get(email=EMAIL).check_password(password)
    assert f"  Password          {password}\n" in said
    assert "The demo job is starting" in said
    assert Job.objects.get().name == "ledger desk, seed 1"


def test_a_job_that_waits_is_named_the_next_time_and_none_is_made(run_up: Up) -> None:
    run_up()
    said = run_up()
    assert "  Going on with     ledger desk, seed 1\n" in said
    assert "The demo job is starting" not in said
    assert Job.objects.count() == 1


def test_a_changed_password_is_not_printed_as_if_it_were_the_old_one(
    run_up: Up, demo_user: User
) -> None:
    old = sign_in_password()
    demo_user.set_password("nine lives of cats")
    demo_user.save()
    said = run_up()
    assert (
        "  Password          changed since; forgotten: "
        "`python manage.py set_password demo@hone.local`\n"
    ) in said
    assert old not in said


@pytest.mark.parametrize("role", [Role.MEMBER, Role.VIEWER])
def test_it_starts_though_the_demo_user_owns_nothing_any_more(
    run_up: Up, demo_user: User, role: str
) -> None:
    demote(demo_user, role)
    assert "Ctrl-C ends everything." in run_up()


def test_it_starts_though_the_demo_user_left(run_up: Up, demo_user: User) -> None:
    demote(demo_user, Role.MEMBER)
    demo_user.memberships.all().delete()
    assert "Ctrl-C ends everything." in run_up()


def test_a_viewer_moves_no_tools_and_the_greeting_says_so(
    run_up: Up, demo_user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    demote(demo_user, Role.VIEWER)
    monkeypatch.setenv("HONE_DEMO_PORT", str(free_port()))
    assert (
        "The demo's tools keep their old port: demo@hone.local may change nothing in "
        "Ledger desk (demo) any more."
    ) in run_up()


def test_tools_follow_the_port_but_an_archived_or_changed_one_stays(
    run_up: Up, demo_user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    archived, changed, *others = Tool.objects.order_by("name")
    tool_archive(acting_user=demo_user, tool=archived)
    theirs = ToolFields(url=f"http://10.0.0.1:8080/{changed.name}")
    tool_version_add(acting_user=demo_user, tool=changed, fields=theirs)
    port = free_port()
    monkeypatch.setenv("HONE_DEMO_PORT", str(port))
    assert "Ctrl-C ends everything." in run_up()
    assert latest_version(archived).number == 1
    assert latest_version(changed).url == theirs.url
    assert others
    assert [latest_version(tool).url for tool in others] == [
        f"http://127.0.0.1:{port}/{tool.name}" for tool in others
    ]
    assert Tool.objects.count() == 2 + len(others)
    run_up()
    assert {latest_version(tool).number for tool in others} == {2}


def test_what_was_archived_is_made_anew_for_a_demo_run_and_not_by_up(
    run_up: Up, demo_user: User
) -> None:
    names = sorted(Dataset.objects.values_list("name", flat=True))
    for thing in Dataset.objects.all():
        dataset_archive(acting_user=demo_user, dataset=thing)
    run_up()
    assert Dataset.objects.count() == 2
    job = demo_job_create(workspace_seed(), seed=2)
    assert job.status == "queued"
    assert sorted(Dataset.objects.filter(archived=False).values_list("name", flat=True)) == names


def test_a_demo_run_needs_a_user_who_may_write(run_up: Up, demo_user: User) -> None:
    demote(demo_user, Role.VIEWER)
    with pytest.raises(UserError) as caught:
        workspace_seed()
    assert caught.value.message == (
        "demo@hone.local may change nothing in Ledger desk (demo) any more. Make it a member "
        "there, or set HONE_DATA_DIR to a folder of its own."
    )


def test_a_workspace_that_was_broken_off_is_made_again(
    run_up: Up, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("hone.demo.workspace.tool_create", broken)
        with pytest.raises(KeyboardInterrupt):
            run_up()
    assert workspace_find() is None
    assert "The demo job is starting" in run_up()
