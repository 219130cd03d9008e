"""Changes to people, organisations and roles."""

from __future__ import annotations

import hashlib
from datetime import timedelta

from django.contrib.auth import authenticate
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.utils import timezone

from hone.accounts.errors import LastOwner, SharedAccount, TooManyFailures
from hone.accounts.models import (
    Membership,
    Organisation,
    Role,
    SignInFailure,
    User,
)
from hone.accounts.selectors import access_organisation
from hone.accounts.services.audit import audit_record
from hone.core import text
from hone.core.errors import UserError

MOST_FAILURES = 10
FAILURES_COUNT_FOR = timedelta(minutes=15)


def owner_create(
    *, email: str, password: str, organisation_name: str, is_demo: bool = False
) -> tuple[User, Organisation]:
    """The first person of a new organisation."""
    email = owner_email(email)
    organisation_name = text.name(organisation_name, field="organisation")
    if not is_demo:
        _check_password(password, email)
    with transaction.atomic():
        user = User.objects.create_user(email, password)
        _operator_be_the_first(user)
        organisation = Organisation.objects.create(name=organisation_name, is_demo=is_demo)
        Membership.objects.create(organisation=organisation, user=user, role=Role.OWNER)
        audit_record(
            acting_user=user,
            organisation=organisation,
            action="organisation.create",
            target=organisation.id,
            detail={"name": organisation_name},
        )
    return user, organisation


def _operator_be_the_first(user: User) -> None:
    """Who makes the first account of an installation has its shell, so nothing is given away."""
    if not User.objects.exclude(pk=user.pk).exists():
        operator_set(user, is_operator=True)


def operator_set(person: User, *, is_operator: bool) -> None:
    """Let a person see what works on this installation, or no longer; for the shell alone."""
    with transaction.atomic():
        person.is_operator = is_operator
        person.save(update_fields=["is_operator"])
        for organisation in person.organisations.all():
            audit_record(
                acting_user=None,
                organisation=organisation,
                action="operator.give" if is_operator else "operator.take",
                target=person.email,
            )


def owner_email(email: str) -> str:
    """The address as it is kept; UserError where it is none, or somebody's already."""
    email = _checked_email(email)
    if User.objects.filter(email=email).exists():
        raise UserError(
            f"{email} has an account already. Sign in, or use another address.", field="email"
        )
    return email


def member_add(
    *, acting_user: User, organisation: Organisation, email: str, role: str, password: str
) -> Membership:
    """Add a person; a new one gets `password`, a known one keeps theirs."""
    access_organisation(acting_user, organisation.id, need="admin")
    _check_grant(acting_user, organisation, role)
    email = _checked_email(email)
    with transaction.atomic():
        user = User.objects.filter(email=email).first()
        if user is None:
            _check_password(password, email)
            user = User.objects.create_user(email, password)
        membership, made = Membership.objects.get_or_create(
            organisation=organisation, user=user, defaults={"role": role}
        )
        if not made:
            raise UserError(f"{email} is a member already, as {membership.role}.", field="email")
        audit_record(
            acting_user=acting_user,
            organisation=organisation,
            action="member.add",
            target=email,
            detail={"role": role},
        )
    return membership


def member_set_role(*, acting_user: User, membership: Membership, role: str) -> None:
    """Give a member another role; the last owner stays one."""
    access_organisation(acting_user, membership.organisation_id, need="admin")
    _check_grant(acting_user, membership.organisation, role, before=membership.role)
    with transaction.atomic():
        _keep_an_owner(membership, leaves_ownership=role != Role.OWNER)
        before, membership.role = membership.role, role
        membership.save(update_fields=["role"])
        audit_record(
            acting_user=acting_user,
            organisation=membership.organisation,
            action="member.role",
            target=membership.user.email,
            detail={"before": before, "after": role},
        )


def member_remove(*, acting_user: User, membership: Membership) -> None:
    """Take a person out of the organisation; the last owner stays."""
    access_organisation(acting_user, membership.organisation_id, need="admin")
    _check_grant(acting_user, membership.organisation, Role.VIEWER, before=membership.role)
    with transaction.atomic():
        _keep_an_owner(membership, leaves_ownership=True)
        membership.delete()
        audit_record(
            acting_user=acting_user,
            organisation=membership.organisation,
            action="member.remove",
            target=membership.user.email,
        )


def member_leave(*, acting_user: User, organisation: Organisation) -> None:
    """Leave an organisation, whatever one's role; the last owner stays."""
    membership = Membership.objects.filter(user=acting_user, organisation=organisation).first()
    if membership is None:
        raise UserError(f"You are no member of {organisation.name}.", code="no_member")
    with transaction.atomic():
        _keep_an_owner(membership, leaves_ownership=True)
        membership.delete()
        audit_record(
            acting_user=acting_user,
            organisation=organisation,
            action="member.leave",
            target=acting_user.email,
            detail={"role": membership.role},
        )


def member_seen(*, acting_user: User, organisation: Organisation) -> None:
    """Note that a person is here; no audit row, since nothing of anybody's changes."""
    Membership.objects.filter(user=acting_user, organisation=organisation).update(
        last_seen_at=timezone.now()
    )


def sign_in_check(*, email: str, password: str, address: str) -> User:
    """The person with that password; failures are counted per address and e-mail."""
    key = hashlib.sha256(f"{address}|{User.objects.normalise(email)}".encode()).hexdigest()
    since = timezone.now() - FAILURES_COUNT_FOR
    if SignInFailure.objects.filter(key=key, created_at__gt=since).count() >= MOST_FAILURES:
        raise TooManyFailures
    user = None if "\x00" in email + password else authenticate(username=email, password=password)
    if not isinstance(user, User):
        SignInFailure.objects.filter(created_at__lte=since).delete()
        SignInFailure.objects.create(key=key)
        raise UserError(
            "No account has this e-mail address and password. Check both and try again.",
            code="sign_in",
        )
    SignInFailure.objects.filter(key=key).delete()
    return user


def password_change(*, acting_user: User, current: str, password: str) -> None:
    """Give oneself another password; the current one proves who asks."""
    if not acting_user.check_password(current):
        raise UserError("This is not your current password.", field="current")
    _password_save(acting_user, acting_user, password, "password.change")


def member_set_password(*, acting_user: User, membership: Membership, password: str) -> None:
    """Give a member who forgot it another password; their browsers are signed out."""
    organisation, person = membership.organisation, membership.user
    access_organisation(acting_user, organisation.id, need="admin")
    _check_grant(acting_user, organisation, Role.VIEWER, before=membership.role)
    if person == acting_user:
        raise UserError("Change your own password in the settings, with the current one.")
    if person.memberships.exclude(organisation=organisation).exists():
        raise SharedAccount(person.email)
    _password_save(acting_user, person, password, "member.password")


def operator_set_password(*, email: str, password: str) -> User:
    """Give anybody another password; whoever has a shell on the server may."""
    person = person_at(email)
    _password_save(None, person, password, "operator.password")
    return person


def person_at(email: str) -> User:
    """Whose address that is; UserError where it is nobody's."""
    email = _checked_email(email)
    person = User.objects.filter(email=email).first()
    if person is None:
        raise UserError(f"{email} has no account. Check the address.", field="email")
    return person


def _password_save(acting_user: User | None, person: User, password: str, action: str) -> None:
    _check_password(password, person.email)
    with transaction.atomic():
        person.set_password(password)
        person.save(update_fields=["password"])
        for organisation in person.organisations.all():
            audit_record(
                acting_user=acting_user,
                organisation=organisation,
                action=action,
                target=person.email,
            )


def _keep_an_owner(membership: Membership, *, leaves_ownership: bool) -> None:
    owners = Membership.objects.select_for_update().filter(
        organisation=membership.organisation, role=Role.OWNER
    )
    held = [owner.pk for owner in owners.order_by("pk")]
    if leaves_ownership and held == [membership.pk]:
        raise LastOwner


def _check_grant(
    acting_user: User, organisation: Organisation, role: str, before: str = ""
) -> None:
    if role not in Role.values:
        raise UserError(f"{role!r} is no role. Use one of {', '.join(Role.values)}.", field="role")
    if Role.OWNER in {role, before}:
        access_organisation(acting_user, organisation.id, need="owner")


def _checked_email(email: str) -> str:
    email = text.storable(email, field="email").strip().lower()
    try:
        validate_email(email)
    except ValidationError as error:
        raise UserError(f"{email!r} is no e-mail address.", field="email") from error
    return email


def _check_password(password: str, email: str) -> None:
    try:
        validate_password(password, User(email=email))
    except ValidationError as error:
        raise UserError(" ".join(error.messages), field="password") from error
