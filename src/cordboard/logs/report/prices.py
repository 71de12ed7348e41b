"""What the services of a call cost, by the table ``[prices]`` of the settings."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cordboard.contract.errors import SettingsError
from cordboard.logs.report.entry import one_line
from cordboard.logs.report.records import Usage
from cordboard.logs.values import number

_MILLION: Final = 1_000_000
_MINUTE_S: Final = 60.0
_UNITS: Final[dict[str, float]] = {
    "prompt": _MILLION,
    "cached": _MILLION,
    "completion": _MILLION,
    "characters": _MILLION,
    "audio_minute": _MINUTE_S,
}
"""By how much an amount is divided before it is multiplied by its price."""

_APART: Final = "cached_apart"
_CURRENCY: Final = "currency"


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices of models and processors.

    Attributes:
        currency: In which they are; empty where the table does not say.
        by_name: For each model or processor its prices.
        apart: Models and processors that count cached tokens apart from prompt tokens.
    """

    currency: str = ""
    by_name: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    apart: frozenset[str] = frozenset()

    def cost(self, used: Usage) -> float | None:
        """Return what the service of `used` cost; None where an amount has no price."""
        name = next((n for n in _names(used) if n in self.by_name), None)
        if name is None or not used.amounts:
            return None
        prices = self.by_name[name]
        amounts = self._amounts(used, prices, name)
        if amounts.keys() - prices.keys():
            return None
        return sum(amount / _UNITS[key] * prices[key] for key, amount in amounts.items())

    def total(self, usage: Iterable[Usage]) -> float | None:
        """Return the sum of what of `usage` has a price; None where nothing has one."""
        costs = [cost for used in usage if (cost := self.cost(used)) is not None]
        return sum(costs) if costs else None

    def words(self, cost: float | None) -> str:
        """Return the amount of money `cost` for people; empty for None."""
        return "" if cost is None else f"{cost:,.4f} {self.currency}".rstrip()

    def _amounts(self, used: Usage, prices: Mapping[str, float], name: str) -> dict[str, float]:
        """Return the amounts by the names of prices."""
        told = used.amounts
        found = {
            "prompt": told.get("prompt_tokens", 0.0),
            "completion": told.get("completion_tokens", 0.0),
            "characters": told.get("characters", 0.0),
            "audio_minute": told.get("audio_s", 0.0),
        }
        cached = told.get("cache_read_tokens", 0.0)
        if name not in self.apart and "cached" in prices:
            cached = min(cached, found["prompt"])
            found["prompt"] -= cached
        if name in self.apart or "cached" in prices:
            found["cached"] = cached
        # A service that is paid by characters also reports the seconds of its audio, and the other way round.
        by_length = found["characters"] and found["audio_minute"]
        if by_length and ("characters" in prices) != ("audio_minute" in prices):
            del found["characters" if "audio_minute" in prices else "audio_minute"]
        return {key: amount for key, amount in found.items() if amount}


def _names(used: Usage) -> list[str]:
    """Return the names under which a service may stand in the table, the best first."""
    return [used.model, used.processor, used.processor.partition("#")[0]]


def prices_from(table: Mapping[str, Any]) -> Prices:
    """Return the prices that `table`, ``[prices]`` of ``cordboard.toml``, states.

    Raises:
        SettingsError: It states something else.
    """
    currency = table.get(_CURRENCY, "")
    if not isinstance(currency, str):
        raise SettingsError(f'[prices] currency: expected a text such as "USD", got {currency!r}.')
    by_name: dict[str, dict[str, float]] = {}
    apart = set()
    for name, prices in table.items():
        if name == _CURRENCY:
            continue
        if not isinstance(prices, Mapping):
            raise SettingsError(
                f"[prices] {name}: expected a table, got {prices!r}.",
                hint=f'Write [prices."{name}"] and below it prompt = 2.50.',
            )
        by_name[name] = {
            key: _price(name, key, value) for key, value in prices.items() if key != _APART
        }
        if _flag(name, prices.get(_APART, False)):
            apart.add(name)
    return Prices(one_line(currency, 12), by_name, frozenset(apart))


def _price(name: str, key: str, value: Any) -> float:
    if key not in _UNITS:
        known = ", ".join([*_UNITS, _APART])
        raise SettingsError(f'[prices."{name}"] {key}: expected one of {known}.')
    price = number(value)
    if price is None or price < 0:
        raise SettingsError(
            f'[prices."{name}"] {key}: expected a number of at least 0, got {value!r}.'
        )
    return price


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise SettingsError(f'[prices."{name}"] {_APART}: expected true or false, got {value!r}.')
    return value
