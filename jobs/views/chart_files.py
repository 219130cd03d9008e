"""A chart to keep: its numbers as CSV, or its picture."""

from __future__ import annotations

import csv

from django.http import HttpResponse

from hone.core.spreadsheets import cells
from jobs.views.charts import Chart
from jobs.views.svg import standalone


def chart_file(chart: Chart, form: str, name: str) -> HttpResponse:
    """`form` is csv or svg, and the end of the file's name."""
    if form == "svg":
        answer = HttpResponse(standalone(chart), content_type="image/svg+xml")
    else:
        answer = HttpResponse(content_type="text/csv; charset=utf-8")
        writer = csv.writer(answer)
        writer.writerow(cells([chart.axis, *(line.label for line in chart.series)]))
        values = zip(chart.steps, *(line.exact for line in chart.series), strict=True)
        writer.writerows(values)
    answer["Content-Disposition"] = f'attachment; filename="{name}.{form}"'
    return answer
