"""Addresses of people: signing in, the organisation, members, keys, one's own settings."""

from __future__ import annotations

from django.urls import path

from hone.accounts.views import audit, keys, people

urlpatterns = [
    path("login/", people.sign_in, name="login"),
    path("logout/", people.sign_out, name="logout"),
    path("organisation/", people.organisation_switch, name="organisation-switch"),
    path("settings/", people.own_settings, name="settings"),
    path("settings/browser/", people.browser_settings, name="browser-settings"),
    path("settings/theme/", people.theme_set, name="theme"),
    path("settings/keys/", keys.keys_page, name="keys"),
    path("settings/keys/<str:key_id>/revoke/", keys.key_revoke_view, name="key-revoke"),
    path("settings/audit/", audit.audit_page, name="audit"),
    path("settings/audit/entries.csv", audit.audit_csv, name="audit-csv"),
    path("settings/members/leave/", people.member_leave, name="member-leave"),
    path("settings/members/", people.members, name="members"),
    path("settings/members/add/", people.member_add, name="member-add"),
    path(
        "settings/members/<int:membership_id>/role/", people.member_set_role, name="member-set-role"
    ),
    path(
        "settings/members/<int:membership_id>/password/",
        people.member_set_password,
        name="member-set-password",
    ),
    path(
        "settings/members/<int:membership_id>/remove/", people.member_remove, name="member-remove"
    ),
]
