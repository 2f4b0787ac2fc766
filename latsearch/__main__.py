"""``python -m latsearch``."""

from latsearch.cli import main

main()
