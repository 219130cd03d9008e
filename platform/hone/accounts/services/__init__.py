"""Changes to people, organisations, roles and keys; and the audit row that each change writes."""

from hone.accounts.services.audit import audit_record
from hone.accounts.services.people import (
    member_add,
    member_leave,
    member_remove,
    member_seen,
    member_set_password,
    member_set_role,
    operator_set,
    operator_set_password,
    owner_create,
    owner_email,
    password_change,
    person_at,
    sign_in_check,
)

__all__ = [
    "audit_record",
    "member_add",
    "member_leave",
    "member_remove",
    "member_seen",
    "member_set_password",
    "member_set_role",
    "operator_set",
    "operator_set_password",
    "owner_create",
    "owner_email",
    "password_change",
    "person_at",
    "sign_in_check",
]
