"""The language of --where."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latsearch.errors import UserError
from latsearch.search.query import parse

ROW = {
    "accuracy": 0.98,
    "latency": 1.25,
    "energy": 120.0,
    "network.family": "lenet",
    "network.hidden": None,
    "train.horizontal_flip": True,
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("latency <= 1.5", True),
        ("latency<1.25", False),
        ("1.5 >= latency", True),
        ("latency = 1.25", True),
        ("latency == 1.25 and accuracy > 0.99", False),
        ("latency > 2 or accuracy > 0.9", True),
        ("latency > 2 or accuracy > 0.9 and energy > 500", False),
        ("(latency < 2 or accuracy > 0.9) and energy > 500", False),
        ("not latency > 2", True),
        ("not not latency > 2", False),
        ("not (latency > 2 or energy < 500)", False),
        ("network.family == 'lenet'", True),
        ('network.family != "mlp"', True),
        ("network.family == lenet", True),
        ("network.hidden > 3", False),
        ("network.hidden == null", True),
        ("train.horizontal_flip == true", True),
        ("energy < 1.2e2", False),
        ("energy >= +1.2e2", True),
        ("accuracy > -1", True),
        ("accuracy > energy", False),
        ("network.family > 3", False),
    ],
)
def test_conditions(text: str, holds: bool) -> None:
    assert parse(text, ROW)(ROW) is holds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("latncy < 2", "did you mean 'latency'?"),
        ("latency", "ends where a comparison such as <= was expected"),
        ("latency <", "ends where a column or a value was expected"),
        ("latency < 2 energy > 1", "did not expect 'energy'"),
        ("(latency < 2", "a bracket is not closed"),
        ("latency < 2 and", "ends where"),
        ("1 < 2", "a comparison needs a column"),
        ("latency ~ 2", "cannot read '~ 2'"),
        ("latency < 1 < 2", "did not expect '<'"),
        ("", "ends where"),
        ("__import__('os').system('ls')", 'cannot read ".system'),
        ("(" * 500 + "latency < 1" + ")" * 500, "nested too deeply"),
    ],
)
def test_faults_are_told_in_one_line(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(text, ROW)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=60) | st.lists(st.sampled_from(
    ["latency", "energy", "<", "<=", "==", "and", "or", "not", "(", ")", "1.5", "'x'", "lenet"]
)).map(" ".join))  # fmt: skip
def test_any_text_is_a_condition_or_a_user_error(text: str) -> None:
    try:
        condition = parse(text, ROW)
    except UserError:
        return
    assert condition(ROW) in (True, False)
