"""The access doors: who may see or change what. A foreign id and an absent id are the same 404."""

from __future__ import annotations

from typing import Literal, TypeVar

from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import Http404

from hone.accounts.models import Membership, Organisation, Role, User

Need = Literal["read", "write", "admin", "owner"]

_MAY: dict[str, frozenset[Need]] = {
    Role.OWNER: frozenset({"read", "write", "admin", "owner"}),
    Role.ADMIN: frozenset({"read", "write", "admin"}),
    Role.MEMBER: frozenset({"read", "write"}),
    Role.VIEWER: frozenset({"read"}),
}
_Row = TypeVar("_Row", bound=Model)


def role_in(user: User | AnonymousUser, organisation_id: str) -> str | None:
    """The user's role there, or None."""
    if not user.is_authenticated or not user.is_active:
        return None
    found = Membership.objects.filter(user_id=user.pk, organisation_id=organisation_id)
    return found.values_list("role", flat=True).first()


def may(user: User | AnonymousUser, organisation_id: str, need: Need) -> bool:
    """Whether the user may do that in the organisation."""
    role = role_in(user, organisation_id)
    return role is not None and need in _MAY[role]


def access_row(
    rows: QuerySet[_Row], user: User | AnonymousUser, row_id: object, *, need: Need = "read"
) -> _Row:
    """The row with that id, if the user may `need` it in its organisation.

    Raises Http404 where the row is absent or of an organisation the user does not belong to, and
    PermissionDenied where the user may read but not `need`.
    """
    row = rows.filter(pk=row_id).first() if _plausible(row_id) else None
    organisation_id = getattr(row, "organisation_id", None)
    role = role_in(user, organisation_id) if organisation_id else None
    if row is None or role is None:
        raise Http404("There is nothing here that you can see.")
    if need not in _MAY[role]:
        raise PermissionDenied(f"Your role here is {role}; this needs the right to {need}.")
    return row


def _plausible(row_id: object) -> bool:
    return not isinstance(row_id, str) or (len(row_id) <= 200 and "\x00" not in row_id)


def access_organisation(
    user: User | AnonymousUser, organisation_id: str, *, need: Need = "read"
) -> Organisation:
    """The organisation, if the user may `need` it there; raises as `access_row` does."""
    found = Organisation.objects.filter(pk=organisation_id)
    organisation = found.first() if _plausible(organisation_id) else None
    role = role_in(user, organisation.id) if organisation else None
    if organisation is None or role is None:
        raise Http404("There is nothing here that you can see.")
    if need not in _MAY[role]:
        raise PermissionDenied(f"Your role here is {role}; this needs the right to {need}.")
    return organisation


def organisations_of(user: User) -> QuerySet[Organisation]:
    """The organisations the user belongs to, by name."""
    return Organisation.objects.filter(memberships__user=user).order_by("name", "id")


def access_membership(
    user: User | AnonymousUser, membership_id: int, *, need: Need = "read"
) -> Membership:
    """The membership, if the user may `need` it there; raises as `access_row` does."""
    rows = Membership.objects.select_related("organisation", "user")
    return access_row(rows, user, membership_id, need=need)


def member_list(organisation: Organisation) -> QuerySet[Membership]:
    """The organisation's members with their people, by e-mail address."""
    rows = Membership.objects.filter(organisation=organisation)
    return rows.select_related("user").order_by("user__email")
