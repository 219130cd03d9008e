"""The address of the search of the whole organisation."""

from __future__ import annotations

from django.urls import path

from hone.search import views

urlpatterns = [path("search/", views.search_page, name="search")]
