"""The tables of docs/why.md, from the rules of `cordboard why`."""

from docs_contract import code, table

from cordboard.logs.why.rules import EVERYONE, LINES_LOST, RULES, UNKNOWN, Rule
from cordboard.logs.why.thresholds import THRESHOLDS, Threshold


def tables() -> dict[str, str]:
    """Return the tables by the names of their markers."""
    return {"causes": _causes(), "thresholds": _thresholds()}


def _causes() -> str:
    rows = [[code(rule.cause), rule.title, _sentence(rule.proof), _rivals(rule)] for rule in RULES]
    rows += [
        [code(LINES_LOST), "Lines lost", "The coverage is incomplete, and no cause is proved.", ""],
        [
            code(UNKNOWN),
            "Not enough evidence",
            "The coverage is complete, and no cause is proved.",
            "",
        ],
    ]
    return table(["cause", "title", "lines that prove it", "rivals"], rows)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _rivals(rule: Rule) -> str:
    return "all" if rule.rivals == EVERYONE else ", ".join(map(code, rule.rivals))


def _thresholds() -> str:
    rows = [[*_compared(found), _sentence(found.source)] for found in THRESHOLDS.values()]
    return table(["above", "what is compared", "source of the value"], rows)


def _compared(found: Threshold) -> list[str]:
    return [f"{found.value:,g} {found.unit}", _sentence(found.meaning)]
