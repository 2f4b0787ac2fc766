"""Model cards: what a network is, how it was measured, and what it is not good for."""

from latsearch.cards.card import (
    JSON_FILE,
    MARKDOWN_FILE,
    DataNote,
    ModelCard,
    Reproduction,
    write_card,
)
from latsearch.cards.figures import SeedFigures, measure_points, measure_seed, wilson
from latsearch.cards.making import data_note, make_card

__all__ = [
    "JSON_FILE",
    "MARKDOWN_FILE",
    "DataNote",
    "ModelCard",
    "Reproduction",
    "SeedFigures",
    "data_note",
    "make_card",
    "measure_points",
    "measure_seed",
    "wilson",
    "write_card",
]
