"""Addresses of people: signing in, the organisation, members, one's own settings."""

from __future__ import annotations

from django.urls import path

from hone.accounts import views

urlpatterns = [
    path("login/", views.sign_in, name="login"),
    path("logout/", views.sign_out, name="logout"),
    path("organisation/", views.organisation_switch, name="organisation-switch"),
    path("settings/", views.own_settings, name="settings"),
    path("settings/browser/", views.browser_settings, name="browser-settings"),
    path("settings/members/", views.members, name="members"),
    path("settings/members/add/", views.member_add, name="member-add"),
    path(
        "settings/members/<int:membership_id>/role/", views.member_set_role, name="member-set-role"
    ),
    path(
        "settings/members/<int:membership_id>/password/",
        views.member_set_password,
        name="member-set-password",
    ),
    path("settings/members/<int:membership_id>/remove/", views.member_remove, name="member-remove"),
]
