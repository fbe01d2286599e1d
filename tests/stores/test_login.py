"""Every way to log in to Swift, against servers that check it; and what is said when it fails."""

from __future__ import annotations

import os
import traceback
from collections.abc import Mapping
from pathlib import Path

import pytest
import servers

from pipeline.errors import StoreError, TemporaryStoreError
from pipeline.stores.swift import auth as swift_auth

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("servers")]


def enter(env: Mapping[str, str], stall_s: float = 10) -> swift_auth.Access:
    with servers.environment(env):
        return swift_auth.from_environment(stall_s, os.environ).enter()


def refused(env: Mapping[str, str]) -> StoreError:
    with pytest.raises(StoreError) as caught:
        enter(env)
    assert caught.value.exit_code == 5
    assert caught.value.hint
    shown = "".join(traceback.format_exception(caught.value)) + caught.value.hint
    for secret in ("not-the-key", "testing"):
        assert secret not in shown
    return caught.value


def containers(access: swift_auth.Access) -> list[object]:
    """Ask the storage itself, which knows whether the token is good."""
    from swiftclient import client

    found: list[object] = client.get_account(access.storage_url, access.token)[1]
    return found


def rackspace_env(config: pytest.Config, **more: str) -> dict[str, str]:
    address = servers.rackspace(config).env["RAX_AUTH_URL"]
    return {"RS_AUTH_URL": address, "RS_USERNAME": "tester", "RS_API_KEY": "testing"} | more


def test_v1(request: pytest.FixtureRequest):
    access = enter(servers.swift(request.config).env)
    assert access.storage_url.endswith("/v1/AUTH_test")
    assert isinstance(containers(access), list)


def test_v1_at_ceph(request: pytest.FixtureRequest):
    assert isinstance(containers(enter(servers.radosgw(request.config).env)), list)


def test_a_ready_token(request: pytest.FixtureRequest):
    first = enter(servers.swift(request.config).env)
    ready = {"OS_STORAGE_URL": first.storage_url, "OS_AUTH_TOKEN": first.token}
    assert enter(ready) == first


def test_a_rackspace_api_key(request: pytest.FixtureRequest):
    access = enter(rackspace_env(request.config))
    assert "127.0.0.1" in access.storage_url
    assert isinstance(containers(access), list)


def test_a_rackspace_api_key_by_openstack_s_names(request: pytest.FixtureRequest):
    env = {
        "OS_AUTH_TYPE": "rackspace_apikey",
        "OS_AUTH_URL": servers.rackspace(request.config).env["RAX_AUTH_URL"],
        "OS_USERNAME": "tester",
        "OS_API_KEY": "testing",
    }
    assert isinstance(containers(enter(env)), list)


def test_the_region_is_chosen(request: pytest.FixtureRequest):
    access = enter(rackspace_env(request.config, RS_REGION_NAME="lon"))
    assert "elsewhere" in access.storage_url
    error = refused(rackspace_env(request.config, RS_REGION_NAME="ATLANTIS"))
    assert error.code == "store-no-endpoint"
    assert "DFW" in error.message
    assert "LON" in error.message


def test_service_net_is_chosen(request: pytest.FixtureRequest):
    access = enter(rackspace_env(request.config, OS_INTERFACE="internal"))
    assert "//localhost:" in access.storage_url
    assert isinstance(containers(access), list)


@pytest.mark.needs("module:openstack", "module:keystoneauth1")
def test_keystone(request: pytest.FixtureRequest):
    access = enter(servers.keystone(request.config).env)
    assert "/v1/AUTH_" in access.storage_url
    assert isinstance(containers(access), list)


@pytest.mark.needs("module:openstack", "module:keystoneauth1")
def test_keystone_by_clouds_yaml_and_inside(request: pytest.FixtureRequest, tmp_path):
    env = servers.keystone(request.config).env
    (tmp_path / "clouds.yaml").write_text(
        f"""
clouds:
  here:
    auth:
      auth_url: {env["OS_AUTH_URL"]}
      username: tester
      password: testing
      project_name: images
      user_domain_id: default
      project_domain_id: default
    region_name: here
    interface: internal
"""
    )
    access = enter({"OS_CLOUD": "here", "OS_CLIENT_CONFIG_FILE": str(tmp_path / "clouds.yaml")})
    assert "//localhost:" in access.storage_url
    assert isinstance(containers(access), list)


@pytest.mark.needs("module:openstack", "module:keystoneauth1")
def test_keystone_refuses(request: pytest.FixtureRequest):
    env = servers.keystone(request.config).env
    assert refused(env | {"OS_PASSWORD": "not-the-key"}).code == "store-authentication"
    assert refused(env | {"OS_REGION_NAME": "nowhere"}).code == "store-no-endpoint"


def test_a_wrong_key(request: pytest.FixtureRequest):
    good = servers.swift(request.config).env
    assert refused(good | {"ST_KEY": "not-the-key"}).code == "store-authentication"
    wrong = rackspace_env(request.config, RS_API_KEY="not-the-key")
    assert refused(wrong).code == "store-authentication"


def test_nobody_is_there():
    address = f"http://127.0.0.1:{servers.free_port()}"
    v1 = {"ST_AUTH": f"{address}/auth/v1.0", "ST_USER": "u", "ST_KEY": "not-the-key"}
    v2 = {"RS_AUTH_URL": f"{address}/v2.0", "RS_USERNAME": "u", "RS_API_KEY": "not-the-key"}
    for env in (v1, v2):
        error = refused(env)
        assert isinstance(error, TemporaryStoreError)
        assert address.removeprefix("http://") in error.message
        assert "refused" in error.message


def test_a_name_that_does_not_exist():
    env = {"ST_AUTH": "http://host.invalid/auth/v1.0", "ST_USER": "u", "ST_KEY": "not-the-key"}
    assert "host.invalid" in refused(env).message


def test_a_page_that_is_no_login(request: pytest.FixtureRequest):
    info = servers.swift(request.config).env["SWIFT_INFO_URL"]
    error = refused({"ST_AUTH": info, "ST_USER": "u", "ST_KEY": "not-the-key"})
    assert "ST_AUTH" in error.hint
    refused({"RS_AUTH_URL": info, "RS_USERNAME": "u", "RS_API_KEY": "not-the-key"})


@pytest.mark.parametrize(
    "address", ["store.example/auth/v1.0", "http://store.example:99999/v1", "http:///v1", "swift"]
)
def test_an_address_that_is_none_is_named_at_once(address: str):
    for env in (
        {"ST_AUTH": address, "ST_USER": "u", "ST_KEY": "not-the-key"},
        {"RS_AUTH_URL": address, "RS_USERNAME": "u", "RS_API_KEY": "not-the-key"},
    ):
        error = refused(env)
        assert error.code == "store-misconfigured"
        assert next(iter(env)) in error.message


def test_a_storage_address_that_is_none_is_named_at_once():
    env = {"OS_STORAGE_URL": "http://host:99999/v1", "OS_AUTH_TOKEN": "not-the-key"}
    with servers.environment(env):
        session = swift_auth.Session(swift_auth.from_environment(10, os.environ))
    with pytest.raises(StoreError) as caught:
        session.access()
    assert caught.value.code == "store-misconfigured"


def test_an_address_is_shown_without_the_key_in_it():
    host = f"127.0.0.1:{servers.free_port()}"
    for name in ("ST_AUTH", "RS_AUTH_URL"):
        env = {name: f"http://u:not-the-key@{host}/v1.0"}
        env |= {"ST_USER": "u", "ST_KEY": "k", "RS_USERNAME": "u", "RS_API_KEY": "k"}
        assert host in refused(env).message


def test_the_ca_certificates_of_the_environment_are_used(
    request: pytest.FixtureRequest, tmp_path: Path
):
    """By the login at Rackspace too: the store's own requests and the login are two libraries."""
    pem = servers.self_signed(tmp_path)
    login = servers.rackspace(request.config).env["RAX_AUTH_URL"].removesuffix("/v2.0")
    proxy = servers.Faults(login, pem)
    try:
        env = {"RS_AUTH_URL": f"{proxy.url}/v2.0", "RS_USERNAME": "tester", "RS_API_KEY": "testing"}
        assert refused(env).code == "store-tls"
        assert enter(env | {"OS_CACERT": str(pem)}).token
    finally:
        proxy.stop()


@pytest.mark.needs("module:openstack", "module:keystoneauth1")
@pytest.mark.parametrize(
    ("said", "trust"), [("cacert: /ca.pem", "/ca.pem"), ("verify: false", False)]
)
def test_what_clouds_yaml_says_of_certificates_holds_for_the_storage(
    tmp_path: Path, said: str, trust: object
):
    (tmp_path / "clouds.yaml").write_text(
        "clouds: {here: {auth: {auth_url: 'https://127.0.0.1:9/v3', username: u, password: p, "
        f"project_name: x}}, {said}}}}}"
    )
    env = {"OS_CLOUD": "here", "OS_CLIENT_CONFIG_FILE": str(tmp_path / "clouds.yaml")}
    with servers.environment(env):
        assert swift_auth.from_environment(10, os.environ).trust == trust


def test_no_credentials_at_all():
    error = refused({})
    assert error.code == "store-no-credentials"
    assert "ST_AUTH" in error.hint


def test_half_of_the_credentials():
    assert refused({"ST_AUTH": "http://127.0.0.1:9/auth"}).code == "store-no-credentials"


def test_all_threads_share_one_new_login(request: pytest.FixtureRequest):
    from concurrent.futures import ThreadPoolExecutor

    logins = []
    with servers.environment(servers.swift(request.config).env):
        login = swift_auth.from_environment(10, os.environ)

        def enter_and_count() -> swift_auth.Access:
            logins.append(1)
            return login.enter()

        session = swift_auth.Session(swift_auth.Login("counted", enter_and_count))
        _, generation = session.access()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(session.renew, [generation] * 8))
    assert len(logins) == 2


def test_nothing_shows_its_secret(request: pytest.FixtureRequest):
    with servers.environment(rackspace_env(request.config)):
        login = swift_auth.from_environment(10, os.environ)
        access = login.enter()
    assert access.token
    shown = f"{login!r} {access!r} {login} {access}"
    assert access.token not in shown
    assert "testing" not in shown


@pytest.mark.parametrize(
    "body",
    [
        "<html>Please log in</html>",
        "[]",
        '{"access": {"token": {"id": "tok-secret"}}}',
        '{"access": {"token": {"id": "tok-secret"}, "serviceCatalog": {"a": 1}}}',
        '{"access": {"token": {"id": 5}, "serviceCatalog": []}}',
        '{"access": {"token": {"id": "tok-secret"}, "serviceCatalog": [{"type": "x", "endpoints": 3}]}}',
    ],
)
def test_an_identity_service_that_answers_nonsense(request: pytest.FixtureRequest, body: str):
    """It is the store's failure, worth another try, and what may hold a token is never shown."""
    proxy = servers.faults(request.config, servers.swift(request.config), "identity")
    proxy.set({"do": "status", "status": 200, "body": body, "after": -1, "times": None})
    error = refused({"RS_AUTH_URL": f"{proxy.url}/v2.0", "RS_USERNAME": "u", "RS_API_KEY": "k"})

    assert isinstance(error, TemporaryStoreError)
    assert error.code == "store-misunderstood"
    assert "/v2.0" in error.hint
    assert "tok-secret" not in f"{error.message} {error.hint}"
