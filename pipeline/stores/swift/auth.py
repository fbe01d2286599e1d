"""Who we are for Swift: found in the environment, proved once, renewed once for all workers.

    OS_STORAGE_URL + OS_AUTH_TOKEN                   a ready token; cannot be renewed
    ST_AUTH  ST_USER  ST_KEY                         auth v1 (tempauth, Rackspace v1.0)
    RS_USERNAME  RS_API_KEY  [RS_REGION_NAME]        Rackspace identity v2, API key
    OS_AUTH_TYPE=rackspace_apikey  OS_USERNAME  OS_API_KEY  [OS_AUTH_URL  OS_REGION_NAME]    the same
    OS_CLOUD, clouds.yaml, OS_AUTH_URL  OS_USERNAME …     Keystone, through keystoneauth (an extra)

The first that is complete is taken.  ``OS_INTERFACE=internal`` chooses the internal address (what
Rackspace calls ServiceNet).  Nothing here is ever printed, logged, or kept in an exception.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from pipeline.errors import EnvironmentFailed, StoreError, TemporaryStoreError
from pipeline.stores import endpoints
from pipeline.stores.failures import no_answer, refusal
from pipeline.stores.swift import rackspace

_ACTION = "logging in"


@dataclass(frozen=True)
class Access:
    """An answer to a login.  Its ``repr`` does not show the token."""

    storage_url: str
    token: str = field(repr=False)


@dataclass(frozen=True)
class Login:
    """A way to get access; ``enter`` raises ``StoreError``."""

    kind: str  # for people: "auth v1", "Keystone", …
    enter: Callable[[], Access] = field(repr=False)
    renewable: bool = True
    trust: rackspace.Trust = True


class Session:
    """One login for all threads.

    ``generation`` counts logins: a worker whose token was refused says which one it used, and only
    the first of them logs in again.  Where that was refused for good, the others are told the same
    without asking: a lock-out after so many wrong logins would follow.
    """

    def __init__(self, login: Login) -> None:
        self._login = login
        self._lock = threading.Lock()
        self._access: Access | None = None
        self._generation = 0
        self._refused: StoreError | None = None

    def access(self) -> tuple[Access, int]:
        """The current access and its generation; logs in when there is none."""
        with self._lock:
            if self._access is None:
                self._access = self._enter()
                self._generation += 1
            return self._access, self._generation

    @property
    def trust(self) -> rackspace.Trust:
        """How the certificates of the store are checked."""
        return self._login.trust

    def renew(self, refused: int) -> None:
        """The token of this generation was refused.  Raises ``StoreError`` when it is final."""
        with self._lock:
            if refused != self._generation:
                return
            if self._refused is not None:
                told = self._refused
                raise StoreError(told.code, told.message, hint=told.hint)
            if not self._login.renewable:
                raise StoreError(
                    "store-authentication",
                    "the store refused the token of OS_AUTH_TOKEN",
                    hint="tokens expire: get a new one, or give credentials that can be renewed",
                )
            try:
                self._access = self._enter()
            except TemporaryStoreError:
                raise
            except StoreError as error:
                self._refused = error
                raise
            self._generation += 1

    def _enter(self) -> Access:
        access = self._login.enter()
        endpoints.require("the storage URL", access.storage_url)
        return access


def from_environment(stall_s: float, env: Mapping[str, str]) -> Login:
    """The first complete set of credentials; ``StoreError`` code ``store-no-credentials``."""
    internal = _wants_internal(env)
    trust: rackspace.Trust = env.get("OS_CACERT") or True
    if env.get("OS_STORAGE_URL") and env.get("OS_AUTH_TOKEN"):
        ready = Access(env["OS_STORAGE_URL"], env["OS_AUTH_TOKEN"])
        return Login("a ready token", lambda: ready, renewable=False, trust=trust)
    if env.get("ST_AUTH") and env.get("ST_USER") and env.get("ST_KEY"):
        return Login("auth v1", lambda: _enter_v1(env, internal, stall_s), trust=trust)
    key = rackspace.from_environment(env)
    if key is not None:
        return Login(
            "a Rackspace API key",
            lambda: Access(*rackspace.enter(key, internal, stall_s, trust)),
            trust=trust,
        )
    if env.get("OS_CLOUD") or env.get("OS_AUTH_URL"):
        return _keystone(stall_s, trust)
    raise StoreError(
        "store-no-credentials",
        "there are no credentials for swift:// in the environment",
        hint="set ST_AUTH, ST_USER and ST_KEY; or OS_CLOUD with a clouds.yaml; or OS_AUTH_URL and "
        "the other OS_* variables; or RS_USERNAME and RS_API_KEY",
    )


def _wants_internal(env: Mapping[str, str]) -> bool:
    chosen = env.get("OS_INTERFACE") or env.get("OS_ENDPOINT_TYPE") or ""
    return chosen.lower().startswith("internal")


def _enter_v1(env: Mapping[str, str], internal: bool, stall_s: float) -> Access:
    from requests import RequestException
    from swiftclient import client
    from urllib3.exceptions import HTTPError

    host = endpoints.host(endpoints.require("ST_AUTH", env["ST_AUTH"]))
    try:
        url, token = client.get_auth_1_0(
            env["ST_AUTH"],
            env["ST_USER"],
            env["ST_KEY"],
            timeout=stall_s,
            cacert=env.get("OS_CACERT"),
        )
    except client.ClientException as error:
        status = int(error.http_status or 0)
        if 200 <= status < 300:
            raise _no_login(host) from None
        # A store answers a wrong v1 key with 401 or 403.
        status = 401 if status == 403 else status
        raise refusal(_ACTION, status, str(error.http_reason or "")) from None
    except (RequestException, HTTPError, OSError) as error:
        raise no_answer(_ACTION, host, error) from None
    if not url or not token:
        raise _no_login(host)
    return Access(_service_net(url) if internal else url, token)


def _no_login(host: str) -> StoreError:
    return StoreError(
        "store-authentication",
        f"{_ACTION}: {host} answered without a storage URL",
        hint="ST_AUTH must be the address of a v1 login, like https://host/auth/v1.0",
    )


def _service_net(url: str) -> str:
    """The internal name of a v1 storage URL: ``snet-`` before the host."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"snet-{parts.netloc}"))


def _keystone(stall_s: float, trust: rackspace.Trust) -> Login:
    """The settings are read now, as the environment is; the login comes later."""
    try:
        from keystoneauth1 import exceptions
        from openstack import config
        from openstack.exceptions import ConfigException
    except ImportError:
        raise EnvironmentFailed(
            "keystone-missing",
            "OS_CLOUD or OS_AUTH_URL is set, but keystoneauth1 and openstacksdk are missing",
            hint="install them: pip install 'imgprep[keystone]'",
        ) from None
    failures = (exceptions.ClientException, ConfigException)
    try:
        region = config.OpenStackConfig().get_one()
        session = region.get_session()
    except failures as error:
        raise _keystone_failed(error) from None
    session.timeout = stall_s
    entered = False

    def enter() -> Access:
        nonlocal entered
        try:
            if entered:
                session.invalidate()
            entered = True
            token = session.get_token()
            url = region.get_session_endpoint("object-store")
        except exceptions.Unauthorized:
            raise refusal(_ACTION, 401, "Unauthorized") from None
        except exceptions.ConnectFailure as error:
            raise no_answer(_ACTION, "the identity service", error) from None
        except failures as error:
            raise _keystone_failed(error) from None
        if not url or not token:
            raise _no_endpoint(region)
        return Access(url, token)

    # What clouds.yaml says of certificates holds for the storage too.
    said: rackspace.Trust | None = session.verify
    return Login("Keystone", enter, trust=trust if said is None or said is True else said)


def _keystone_failed(error: Exception) -> StoreError:
    return StoreError(
        "store-authentication",
        f"{_ACTION}: Keystone does not accept the settings ({type(error).__name__})",
        hint="check OS_* or clouds.yaml with: openstack token issue",
    )


def _no_endpoint(region: Any) -> StoreError:
    name = getattr(region, "region_name", None) or "any region"
    return StoreError(
        "store-no-endpoint",
        f"{_ACTION}: the service catalog has no object-store in {name}",
        hint="check OS_REGION_NAME and OS_INTERFACE",
    )
