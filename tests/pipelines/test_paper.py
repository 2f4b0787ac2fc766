"""`pipelines/paper.yaml` on a tiny setting: its stages and variants on the digits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from latsearch.config.pipeline import load_pipeline
from latsearch.pipelines.context import PipelineOptions
from latsearch.pipelines.published import PUBLISHED
from latsearch.pipelines.reporting import published_rows
from latsearch.pipelines.running import run_pipeline
from latsearch.spaces import find_pipeline

DIGITS = {
    "version": 1,
    "study": "paper-digits",
    "preset": "paper",
    "data": {"name": "digits", "train_samples": 200},
    "network": {
        "family": "mlp",
        "width": 4,
        "hidden": 8,
        "timesteps": {"low": 2, "high": 3},
        "synapse": {"choices": ["delta", "step"]},
    },
    "train": {"epochs": 2, "batch_size": 50, "lr": 0.01},
    "search": {"trials": 2, "sampler": "random"},
    "tracking": {"enabled": False},
}


def test_the_papers_tables_on_a_tiny_setting(tmp_path: Path) -> None:
    config = load_pipeline(find_pipeline("paper"))
    assert config.robustness is not None
    few = {"samples": 20, "corruptions": ["contrast"], "severities": [3]}
    config = config.model_copy(
        update={
            "search": config.search.model_copy(update={"space": (DIGITS,)}),
            "refit": config.refit.model_copy(update={"seeds": 1, "members": 1}),
            "robustness": config.robustness.model_copy(update=few),
            "export": None,
        }
    )
    result = run_pipeline(config, PipelineOptions(runs=tmp_path, workers=0))
    assert result.report is not None
    text = result.report.read_text()
    for title in ("Operating points", "Ablations", "Robustness", "Beside published figures"):
        assert f"## {title}" in text
    rows = json.loads((result.folder / "test" / "table.json").read_text())["rows"]
    assert {row["variant"] for row in rows} == {None, *config.refit.variants}
    by_variant = {row["variant"]: row for row in rows}
    for name in ("one-step", "one-bit", "relu"):
        assert by_variant[name]["timesteps"] == 1
        assert by_variant[name]["test"]["mean"]["latency"] == 1.0
    robust = json.loads((result.folder / "robustness" / "table.json").read_text())
    assert len(robust["rows"]) == 1 + len(config.refit.variants)


def test_published_figures_have_their_source() -> None:
    paper = PUBLISHED["cifar10"][0]
    assert paper.accuracy == 0.9360
    assert "2603.23206" in paper.source
    for found in PUBLISHED.values():
        for one in found:
            assert 0.5 < one.accuracy < 1
            assert one.source
    assert published_rows("cifar10")[0][1:4] == ["93.60%", "about 1 (mean)", "not known"]
    assert published_rows("digits") == []


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_is_not_known_is_said(name: str) -> None:
    for row in published_rows(name):
        assert row[3] == "not known"  # no source gives an energy
