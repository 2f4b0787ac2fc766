"""What a study's parent run in MLflow gets beside its tables: the report, and importances."""

from __future__ import annotations

from pathlib import Path

from latsearch.plots import write_shares_png
from latsearch.report.content import gather
from latsearch.report.importance import importance
from latsearch.report.page import report_page
from latsearch.search.storage import Study


def attach_report(study: Study, folder: Path) -> None:
    """Write the report, and a picture of the parameters' importance where it can be told."""
    content = gather(study)
    found = importance(content.knees, content.parameters, content.objectives)
    (folder / "report.html").write_text(report_page(content, found), encoding="utf-8")
    if found.shares:
        write_shares_png(found.shares, "importance of each parameter", folder / "importance.png")
