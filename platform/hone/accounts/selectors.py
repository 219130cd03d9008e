"""The access doors: who may see or change what. A foreign id and an absent id are the same 404."""

from __future__ import annotations

from typing import Literal, TypeVar

from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import Http404

from hone.accounts.models import ApiKey, Membership, Organisation, Role, User

Need = Literal["read", "write", "admin", "owner"]

_MAY: dict[str, frozenset[str]] = {
    Role.OWNER: frozenset({"read", "write", "admin", "owner"}),
    Role.ADMIN: frozenset({"read", "write", "admin"}),
    Role.MEMBER: frozenset({"read", "write"}),
    Role.VIEWER: frozenset({"read"}),
}
_Row = TypeVar("_Row", bound=Model)


def role_in(user: User | AnonymousUser, organisation_id: str) -> str | None:
    """The user's role there, or None."""
    membership = _membership(user, organisation_id)
    return membership.role if membership else None


def _membership(user: User | AnonymousUser, organisation_id: str) -> Membership | None:
    if not user.is_authenticated or not user.is_active:
        return None
    if user.key is not None and user.key.organisation_id != organisation_id:
        return None
    if user.memberships_read is not None:
        mine = (each for each in user.memberships_read() if each.organisation_id == organisation_id)
        return next(mine, None)
    return memberships_of(user).filter(organisation=organisation_id).first()


def may(user: User | AnonymousUser, organisation_id: str, need: Need) -> bool:
    """Whether the user may do that in the organisation."""
    role = role_in(user, organisation_id)
    return role is not None and need in rights(user, role)


def rights(user: User | AnonymousUser, role: str) -> frozenset[str]:
    """What the role may, as far as the key lets it that the user came with."""
    key = user.key if isinstance(user, User) else None
    return _MAY[role] if key is None else _MAY[role] & frozenset(key.scopes)


def allows(role: str | None, need: Need) -> bool:
    """Whether that role may; None is nobody's role."""
    return role is not None and need in _MAY[role]


def _check(user: User | AnonymousUser, role: str, need: Need) -> None:
    if need not in _MAY[role]:
        raise PermissionDenied(f"Your role here is {role}; this needs the right to {need}.")
    if need not in rights(user, role):
        raise PermissionDenied(f"This key may not {need}. Do it on the pages, signed in.")


def access_row(
    rows: QuerySet[_Row],
    user: User | AnonymousUser,
    row_id: object,
    *,
    need: Need = "read",
    key: str = "pk",
) -> _Row:
    """The row with that id, or that `key`, if the user may `need` it in its organisation.

    Raises Http404 where the row is absent or of an organisation the user does not belong to, and
    PermissionDenied where the user may read but not `need`.
    """
    row = rows.filter(**{key: row_id}).first() if is_plausible(row_id) else None
    organisation_id = getattr(row, "organisation_id", None)
    role = role_in(user, organisation_id) if organisation_id else None
    if row is None or role is None:
        raise Http404("There is nothing here that you can see.")
    _check(user, role, need)
    return row


def seen_by(
    rows: QuerySet[_Row], user: User | AnonymousUser, *, organisation: str
) -> QuerySet[_Row]:
    """Those of the rows that the user may read; `organisation` is the path to theirs."""
    if not user.is_authenticated or not user.is_active:
        return rows.none()
    return rows.filter(**{f"{organisation}__memberships__user": user.pk})


def is_plausible(row_id: object) -> bool:
    """Whether the database need be asked for that id at all."""
    return not isinstance(row_id, str) or (len(row_id) <= 200 and "\x00" not in row_id)


def access_organisation(
    user: User | AnonymousUser, organisation_id: str, *, need: Need = "read"
) -> Organisation:
    """The organisation, if the user may `need` it there; raises as `access_row` does."""
    membership = _membership(user, organisation_id) if is_plausible(organisation_id) else None
    if membership is None:
        raise Http404("There is nothing here that you can see.")
    _check(user, membership.role, need)
    return membership.organisation


def memberships_of(user: User) -> QuerySet[Membership]:
    """The organisations the user belongs to and the roles there, by name."""
    rows = Membership.objects.filter(user=user).select_related("organisation")
    return rows.order_by("organisation__name", "organisation_id")


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


def access_key(user: User, key_id: object) -> ApiKey:
    """The key, if it is the user's own or the user manages its organisation; else Http404."""
    rows = ApiKey.objects.select_related("organisation", "user")
    key = access_row(rows, user, key_id)
    return key if key.user_id == user.pk else access_row(rows, user, key_id, need="admin")


def key_list(user: User, organisation: Organisation) -> QuerySet[ApiKey]:
    """Keys that are not revoked: one's own, all of them for who manages; the newest first."""
    rows = ApiKey.objects.filter(organisation=organisation, revoked_at__isnull=True)
    if not may(user, organisation.id, "admin"):
        rows = rows.filter(user=user)
    return rows.select_related("user").order_by("-created_at", "-id")


def is_last_owner(user: User, organisation: Organisation) -> bool:
    """Whether nobody but the user owns the organisation."""
    owners = Membership.objects.filter(organisation=organisation, role=Role.OWNER)
    return list(owners.values_list("user_id", flat=True)[:2]) == [user.pk]
