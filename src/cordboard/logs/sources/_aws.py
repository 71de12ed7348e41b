"""Requests to CloudWatch Logs with boto3: at a bounded rate, and with errors as reasons of coverage."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoRegionError,
    ProfileNotFound,
)
from botocore.exceptions import (
    ConnectionError as AwsConnectionError,
)

from cordboard.contract.errors import SettingsError
from cordboard.logs.sources._http import skew_s
from cordboard.logs.sources._secrets import words_of
from cordboard.logs.sources._slices import StoreError, understood

# A request is refused for load for seconds, an outage lasts longer: then the coverage names it.
ATTEMPTS_MAX: Final = 8
_SLOWEST_PER_S: Final = 0.2  # however often the service refuses
_GAIN_PER_S: Final = 0.1  # with each answer
_READ_TIMEOUT_S: Final = 60
QUERY_POLL_S: Final = 1.0
"""A query of Logs Insights takes seconds, and each look at it is a request."""
_ENDED: Final = ("Complete", "Failed", "Cancelled", "Timeout")

_MISSING: Final = frozenset({"ResourceNotFoundException"})
_BUSY: Final = frozenset(
    {
        "InternalFailure",
        "InternalServerError",
        "LimitExceededException",
        "RequestLimitExceeded",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_INVALID: Final = frozenset(
    {"InvalidParameterException", "InvalidOperationException", "MalformedQueryException"}
)


class Pacer:
    """Spaces requests in time, as fast as the service bears: a little faster with each answer, half as fast after a refusal.

    AWS documents 5 requests a second for an account and region, shared with everything else that reads there.

    Args:
        per_s: The most requests a second.
        sleep: Waits some seconds; returns true to give up.
        clock: Returns the time in seconds.
    """

    def __init__(
        self,
        per_s: float = 2.0,
        *,
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit_per_s = self.rate_per_s = per_s
        self._sleep = sleep
        self._clock = clock
        self._next_at = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Wait for a turn. Threads get turns one after the other."""
        with self._lock:
            now = self._clock()
            at = max(now, self._next_at)
            self._next_at = at + 1 / self.rate_per_s
        if at > now:
            self._sleep(at - now)

    def answered(self) -> None:
        """Note that a request was answered."""
        with self._lock:
            self.rate_per_s = min(self.limit_per_s, self.rate_per_s + _GAIN_PER_S)

    def refused(self) -> None:
        """Note that a request was refused for load."""
        with self._lock:
            self.rate_per_s = max(min(_SLOWEST_PER_S, self.limit_per_s), self.rate_per_s / 2)


class AwsLogs:
    """CloudWatch Logs of one account and region.

    Args:
        region: The region; empty for that of the AWS command line.
        profile: The profile of the credentials; empty for the default chain.
        endpoint: The URL of a VPC endpoint; empty for the public one.
        pacer: Spaces the requests.

    Attributes:
        pacer: Spaces the requests.
        query_poll_s: The seconds between two looks at a query of Logs Insights.
        clock_skew_s: By how many seconds the service's clock is ahead of this machine's, by its last answer.
    """

    def __init__(
        self,
        *,
        region: str = "",
        profile: str = "",
        endpoint: str = "",
        pacer: Pacer,
    ) -> None:
        self.pacer = pacer
        self.query_poll_s = QUERY_POLL_S
        self.clock_skew_s: float | None = None
        # One attempt: the pacer repeats, and all threads slow down together.
        config = Config(
            retries={"total_max_attempts": 1}, read_timeout=_READ_TIMEOUT_S, max_pool_connections=32
        )
        try:
            self._session: Any = boto3.Session(
                region_name=region or None, profile_name=profile or None
            )
            self._client: Any = self._session.client(
                "logs", endpoint_url=endpoint or None, config=config
            )
        except (NoRegionError, ProfileNotFound, ValueError) as error:
            raise SettingsError(
                f"cloudwatch: {_sentence(error)}",
                hint='Write: region = "eu-central-1", or profile = "NAME", as for `aws --profile NAME`.',
            ) from error

    @property
    def identity(self) -> str:
        """The identity of the requests, for people: the key's id, which is no secret, and its source."""
        credentials = self._session.get_credentials()
        if credentials is None:
            return "without credentials"
        region = self._client.meta.region_name
        return f"as the access key {credentials.access_key} ({credentials.method}) in {region}"

    def ask(
        self, operation: str, values: Mapping[str, Any], closed: threading.Event
    ) -> dict[str, Any]:
        """Return the answer to a request; one that is refused for load is repeated, slower.

        Args:
            operation: The method of boto3's client, such as ``filter_log_events``.
            values: The request's parameters.
            closed: Ends the repetition.

        Raises:
            StoreError: It was refused, or the service does not answer.
        """
        for attempt in range(1, ATTEMPTS_MAX + 1):
            self.pacer.wait()
            try:
                answer: dict[str, Any] = getattr(self._client, operation)(**values)
            except ClientError as error:
                code = str(error.response.get("Error", {}).get("Code", ""))
                if code not in _BUSY or attempt == ATTEMPTS_MAX or closed.is_set():
                    raise self._refused(code, error) from None
                self.pacer.refused()
            except (AwsConnectionError, HTTPClientError) as error:
                # Not chained: what is below quotes headers, among them the token of the session.
                raise StoreError("unreachable", _connection_words(error)) from None
            except BotoCoreError as error:  # no credentials, expired single sign-on and the like
                detail = f"{_sentence(error)} Sign in as for the AWS command line."
                raise StoreError("forbidden", detail) from error
            except ValueError as error:  # credentials or an endpoint that no request can be made of
                raise StoreError("forbidden", f"{type(error).__name__} in the request") from None
            else:
                self.pacer.answered()
                headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
                self.clock_skew_s = skew_s(headers.get("date"))
                return answer
        raise StoreError("unreachable", "no answer")  # the loop always returns or raises

    def query(
        self, group: str, seconds: tuple[int, int], text: str, closed: threading.Event
    ) -> tuple[list[dict[str, str]], int]:
        """Return the rows of a query of Logs Insights, and the number of records that matched.

        Args:
            group: The group's name or ARN.
            seconds: The first and the last second of the window, both inclusive.
            text: The query.
            closed: Ends the query.

        Raises:
            StoreError: The query was refused or failed.
        """
        values = {
            "logGroupIdentifiers": [group],
            "startTime": seconds[0],
            "endTime": seconds[1],
            "queryString": text,
        }
        with understood():
            query = {"queryId": self.ask("start_query", values, closed)["queryId"]}
            answer = self._ended(query, closed)
            if answer is None:
                return [], 0
            if answer["status"] != "Complete":
                detail = f"the query of Logs Insights ended as {answer['status']}"
                raise StoreError("truncated", detail)
            matched = round(answer["statistics"]["recordsMatched"])
            return [_row(fields) for fields in answer["results"]], matched

    def _ended(self, query: Mapping[str, Any], closed: threading.Event) -> Mapping[str, Any] | None:
        """Return the results of a query when it has ended; None where `closed` ends it."""
        while (answer := self.ask("get_query_results", query, closed))["status"] not in _ENDED:
            if closed.wait(self.query_poll_s):
                self.ask("stop_query", query, closed)
                return None
        return answer

    def _refused(self, code: str, error: ClientError) -> StoreError:
        message = str(error.response.get("Error", {}).get("Message") or code)
        detail = f"{code}: {self._without_secrets(message)}"
        if code in _MISSING:
            return StoreError("group_missing", detail)
        if code in _BUSY:
            return StoreError("unreachable", f"{detail} (after {ATTEMPTS_MAX} attempts)")
        if code in _INVALID:
            return StoreError("unreadable", detail)
        return StoreError("forbidden", detail)

    def _without_secrets(self, text: str) -> str:
        """Return `text`, which AWS sent, without the credentials: it repeats headers that it refuses."""
        credentials = self._session.get_credentials()
        for secret in (getattr(credentials, name, None) for name in ("token", "secret_key")):
            text = text.replace(secret, "…") if secret else text
        return text


def _row(fields: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {str(field["field"]): str(field["value"]) for field in fields}


def _connection_words(error: Exception) -> str:
    """Return what an error of a connection says; the text of one that came from below may quote a header."""
    inner = getattr(error, "kwargs", {}).get("error")
    if not isinstance(inner, Exception):
        return _sentence(error)
    causes: list[BaseException] = [inner]
    while (below := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(below)
    system = next((cause for cause in causes if isinstance(cause, OSError)), inner)
    return f"{type(error).__name__}: {words_of(system)}"


def _sentence(error: Exception) -> str:
    return str(error).rstrip(".") + "."
