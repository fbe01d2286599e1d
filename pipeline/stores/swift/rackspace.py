"""Rackspace identity v2.0 with an API key (RAX-KSKEY), which no current library speaks by itself.

    POST {auth}/tokens  {"auth": {"RAX-KSKEY:apiKeyCredentials": {"username": …, "apiKey": …}}}
    200  {"access": {"token": {"id": …}, "user": {"RAX-AUTH:defaultRegion": …},
          "serviceCatalog": [{"name": "cloudFiles", "type": "object-store",
                              "endpoints": [{"region": …, "publicURL": …, "internalURL": …}]}, …]}}

https://docs.rackspace.com/docs/identity-api-authenticate-and-get-a-token ; ``internalURL`` is the
ServiceNet address, free of charge within one region.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from pipeline.errors import StoreError
from pipeline.stores import endpoints, responses
from pipeline.stores.failures import no_answer, refusal
from pipeline.text import clean
from pipeline.transfer.retry import retry_after

Trust: TypeAlias = bool | str
"""Whether certificates are checked, and by which file of CA certificates, as ``requests`` takes it."""

DEFAULT_AUTH_URL = "https://identity.api.rackspacecloud.com/v2.0"
_ACTION = "logging in at Rackspace"
_HINT = "OS_AUTH_URL or RS_AUTH_URL must end in /v2.0"


@dataclass(frozen=True)
class ApiKey:
    """A user's API key and where it is valid; ``repr`` does not show the key."""

    auth_url: str
    username: str
    key: str = field(repr=False)
    region: str | None = None  # None: the user's default region


def from_environment(env: Mapping[str, str]) -> ApiKey | None:
    """The key of ``RS_*``, or of ``OS_*`` with ``OS_AUTH_TYPE=rackspace_apikey``."""
    if env.get("RS_USERNAME") and env.get("RS_API_KEY"):
        return ApiKey(
            env.get("RS_AUTH_URL") or DEFAULT_AUTH_URL,
            env["RS_USERNAME"],
            env["RS_API_KEY"],
            env.get("RS_REGION_NAME") or env.get("OS_REGION_NAME"),
        )
    chosen = env.get("OS_AUTH_TYPE") == "rackspace_apikey"
    key = env.get("OS_API_KEY") or env.get("OS_PASSWORD")
    if chosen and env.get("OS_USERNAME") and key:
        auth_url = env.get("OS_AUTH_URL") or DEFAULT_AUTH_URL
        return ApiKey(auth_url, env["OS_USERNAME"], key, env.get("OS_REGION_NAME"))
    return None


def enter(key: ApiKey, internal: bool, timeout_s: float, trust: Trust = True) -> tuple[str, str]:
    """Storage URL and token.  Raises ``StoreError``: refused, unreachable, unknown region."""
    import requests

    endpoints.require("RS_AUTH_URL or OS_AUTH_URL", key.auth_url)
    host = endpoints.host(key.auth_url)
    credentials = {"username": key.username, "apiKey": key.key}
    try:
        answer = requests.post(
            key.auth_url.rstrip("/") + "/tokens",
            json={"auth": {"RAX-KSKEY:apiKeyCredentials": credentials}},
            headers={"Accept": "application/json"},
            timeout=timeout_s,
            verify=trust,
            allow_redirects=False,
        )
    except (requests.RequestException, OSError) as error:
        raise no_answer(_ACTION, host, error) from None
    if answer.status_code not in (200, 203):
        wish = retry_after(answer.headers.get("Retry-After"))
        raise refusal(_ACTION, answer.status_code, answer.reason, retry_after_s=wish)
    access = responses.read_identity(_ACTION, answer.content, hint=_HINT)
    return _endpoint(access, key.region or access.user.region, internal), access.token.id


def _endpoint(access: responses.Entrance, region: str | None, internal: bool) -> str:
    which = "internalURL" if internal else "publicURL"
    found = {
        endpoint.region.upper(): url
        for service in access.catalog
        if service.type == "object-store"
        for endpoint in service.endpoints
        if (url := endpoint.internal if internal else endpoint.public) is not None
    }
    if region and region.upper() in found:
        return found[region.upper()]
    if not region and len(found) == 1:
        return next(iter(found.values()))
    raise StoreError(
        "store-no-endpoint",
        f"{_ACTION}: Cloud Files has no {which} in region {clean(str(region), 20)}; "
        f"there are: {clean(', '.join(sorted(found)), 100) or 'none'}",
        hint="set RS_REGION_NAME (or OS_REGION_NAME) to one of them",
    )
