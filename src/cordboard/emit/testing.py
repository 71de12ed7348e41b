"""The conformance kit: a pytest plugin, asleep unless ``--cordboard-log`` is given."""

from typing import Any


def pytest_addoption(parser: Any) -> None:
    """Offer ``--cordboard-log``."""
    parser.getgroup("cordboard").addoption(
        "--cordboard-log",
        action="store_true",
        help="fail a test that writes a line without its session, of the wrong session or "
        "schema, or that prints",
    )
