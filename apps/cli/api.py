"""The public API, one method a call; every way it can go wrong is a sentence."""

import time
from collections.abc import Callable, Collection
from typing import Any, NoReturn
from urllib.parse import quote

import requests
from requests.auth import AuthBase

from apps.cli.batch import Batch
from apps.cli.exits import CliError, Exit
from apps.cli.settings import Settings

CONNECT_SECONDS = 10
READ_SECONDS = {"GET": 60, "POST": 300}
"""The create call answers only when the server has checked every line."""
BUSY = frozenset({429, 503})
MOST_TRIES = 4
MOST_PAUSE = 20.0


class Away(CliError):
    """Nobody there, or out of order for now: the same call may work later."""

    exit = Exit.NO_SERVER


class Refused(CliError):
    """The server said no; `status` and its `error` object are for who can do something about it."""

    def __init__(self, message: str, exit_code: Exit, status: int, error: dict[str, Any]) -> None:
        super().__init__(message, exit_code)
        self.status = status
        self.error = error


class _Key(AuthBase):
    """Both ways to send a key; as `auth`, because requests would let a .netrc replace an Authorization header."""

    def __init__(self, settings: Settings) -> None:
        self._headers = {"Authorization": f"Bearer {settings.api_key}", "x-api-key": settings.api_key}
        if settings.project_id:
            self._headers["x-project-id"] = settings.project_id

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.update(self._headers)
        return request


class Api:
    """A server and a key. Calls raise Away, Refused, or CliError for a server that does not speak this API."""

    def __init__(self, settings: Settings) -> None:
        self.base_url = settings.base_url
        self._session = requests.Session()
        self._session.auth = _Key(settings)
        self._session.headers["User-Agent"] = "zerobatch-cli"

    def batch(self, batch_id: str) -> Batch:
        return Batch(self._json("GET", f"/batches/{_segment(batch_id)}"))

    def batches(self, *, limit: int, after: str | None) -> dict[str, Any]:
        """One page, newest first, as the server sends it."""
        page = self._json("GET", "/batches", params={"limit": limit, "after": after})
        if not isinstance(page.get("data"), list):
            self._not_ours("a list without data")
        return page

    def create(self, file_id: str, endpoint: str, metadata: dict[str, Any]) -> Batch:
        body = {"input_file_id": file_id, "endpoint": endpoint, "completion_window": "24h"}
        return Batch(self._json("POST", "/batches", json=body | ({"metadata": metadata} if metadata else {})))

    def retry(self, batch_id: str, codes: Collection[str]) -> Batch:
        """ZeroBatch's extension: the lines need not come here and go back."""
        return Batch(self._json("POST", f"/batches/{_segment(batch_id)}/retry", json={"codes": sorted(codes)}))

    def cancel(self, batch_id: str) -> Batch:
        return Batch(self._json("POST", f"/batches/{_segment(batch_id)}/cancel"))

    def file(self, file_id: str) -> dict[str, Any]:
        return self._json("GET", f"/files/{_segment(file_id)}")

    def content(self, file_id: str, start: int) -> requests.Response:
        """The bytes from `start` on, not read yet; a server that knows no ranges answers 200 with all of them."""
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        return self.send("GET", f"/files/{_segment(file_id)}/content", headers=headers, stream=True)

    def post(self, path: str, body: Callable[[], Any] | None = None, **document: Any) -> dict[str, Any]:
        """A POST of JSON, or of a multipart body that `body` builds anew for each try."""
        if body is None:
            return self._json("POST", path, json=document)
        return self._parsed(self._patiently(lambda: self._send_multipart(path, body())))

    def _send_multipart(self, path: str, body: Any) -> requests.Response:
        return self._once("POST", path, data=body, headers={"Content-Type": body.content_type})

    def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        return self._parsed(self.send(method, path, **options))

    def send(self, method: str, path: str, **options: Any) -> requests.Response:
        """A successful answer. A server that is busy (429, 503) is asked again, a few times."""
        return self._patiently(lambda: self._once(method, path, **options))

    def _patiently(self, call: Callable[[], requests.Response]) -> requests.Response:
        for tried in range(1, MOST_TRIES + 1):
            response = call()
            if response.status_code not in BUSY or tried == MOST_TRIES or _is_final(_error_of(response)):
                break
            response.close()
            time.sleep(_pause(response, tried))
        if not response.ok or response.is_redirect:
            self._refuse(response)
        return response

    def _once(self, method: str, path: str, **options: Any) -> requests.Response:
        """One request. It follows no redirect: the key is for this server only."""
        try:
            return self._session.request(
                method,
                self.base_url + path,
                timeout=(CONNECT_SECONDS, READ_SECONDS[method]),
                allow_redirects=False,
                **options,
            )
        except requests.RequestException as error:
            raise self.away(error) from None

    def away(self, error: requests.RequestException) -> CliError:
        """The sentence for a request that got no whole answer."""
        match error:
            case requests.exceptions.SSLError():
                text = (
                    f"the certificate of {self.base_url} is not trusted (REQUESTS_CA_BUNDLE names your own CA's file)"
                )
            case requests.exceptions.ProxyError():
                text = f"the proxy to {self.base_url} does not work (HTTP_PROXY, HTTPS_PROXY, NO_PROXY)"
            case requests.Timeout():
                text = f"{self.base_url} does not answer in time"
            case requests.ConnectionError() if _never_connected(error):
                text = f"cannot reach {self.base_url}: is the address right, and does the server run?"
            case requests.exceptions.InvalidURL() | requests.exceptions.InvalidSchema():
                return CliError(f"{self.base_url} is no address: {error}", Exit.USAGE)
            case _:
                text = f"the connection to {self.base_url} broke"
        return Away(text)

    def _parsed(self, response: requests.Response) -> dict[str, Any]:
        try:
            document = response.json()
        except requests.RequestException:
            document = None
        if not isinstance(document, dict):
            self._not_ours(f"{response.status_code}, {response.headers.get('content-type', 'no content type')}")
        return document

    def _refuse(self, response: requests.Response) -> NoReturn:
        """Raises what a non-2xx answer means."""
        error, status = _error_of(response), response.status_code
        response.close()
        said = error.get("message") or f"{status} {response.reason}"
        if response.is_redirect or 300 <= status < 400:
            where = response.headers.get("location", "elsewhere")
            raise Refused(f"{self.base_url} redirects to {where}: set that as the base URL", Exit.NO_SERVER, status, {})
        if status in {401, 403}:
            raise Refused(f"{self.base_url} refuses the key: {said}", Exit.BAD_KEY, status, error)
        if status >= 500 or (status == 429 and not _is_final(error)):
            raise Away(f"{self.base_url} answers {status}: {said}")
        if status == 404 and not error:
            said = f"{self.base_url} does not answer as a Batch API does (404; a base URL usually ends in /v1)"
            raise Refused(said, Exit.NO_SERVER, status, {})
        raise Refused(f"the server refuses: {said}", Exit.REFUSED, status, error)

    def _not_ours(self, what: str) -> NoReturn:
        raise CliError(f"{self.base_url} does not answer as a Batch API does ({what})", Exit.NO_SERVER)


def _error_of(response: requests.Response) -> dict[str, Any]:
    """The `error` object of wire.md §2; empty when it is somebody else's page."""
    try:
        document = response.json()
    except requests.RequestException:
        return {}
    error = document.get("error") if isinstance(document, dict) else None
    return error if isinstance(error, dict) else {}


def _is_final(error: dict[str, Any]) -> bool:
    """A 429 that no waiting cures."""
    return "insufficient_quota" in {error.get("type"), error.get("code")}


def _pause(response: requests.Response, tried: int) -> float:
    said = response.headers.get("retry-after", "")
    return min(float(said) if said.isdecimal() else 0.5 * 2**tried, MOST_PAUSE)


def _never_connected(error: requests.ConnectionError) -> bool:
    return any(text in str(error) for text in ("NewConnectionError", "NameResolutionError", "Failed to resolve"))


def _segment(identifier: str) -> str:
    """An id as one segment of a path, whatever somebody typed."""
    return quote(identifier, safe="")
