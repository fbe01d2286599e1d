"""Images at addresses, from real servers: read by ranges, copied where they must be, watched."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import phony
import places
import pytest
import servers

from pipeline.batch.images import on_servers
from pipeline.disk import GuestDisk
from pipeline.errors import SourceError, UsageError
from pipeline.remote.source import PAGE
from pipeline.stage import Cancellation
from pipeline.stores.sources import is_address, open_address, parse
from stages.identify import container_facts
from tests.remote.served import QUICK, require_equal
from tests.remote.web import Plain, Ranged, Web

pytestmark = pytest.mark.needs("qemu-img", "qemu-nbd")

MIB = 1 << 20


def converted(imgprep, source, output, **env):
    ended = imgprep("convert", source, output, "--json", **QUICK, **env)
    assert ended.code == 0, ended.stderr
    return ended


def identify(ended):
    (stage,) = (item for item in ended.report["stages"] if item["name"] == "identify")
    return stage.get("reason") or ""


def test_a_raw_disk_is_read_by_ranges_and_never_copied(imgprep, web, folder, tmp_path):
    ended = converted(imgprep, web.url("disk.raw"), tmp_path / "out.vhd")

    require_equal(tmp_path / "out.vhd", folder)
    assert identify(ended) == ""
    assert ended.report["job"]["source"] == web.url("disk.raw")
    assert ended.report["facts"]["container"]["unknown"]["allocated_size"]
    assert all(asked.startswith("bytes=") for _, asked in web.asked)


def test_a_container_that_only_tools_can_read_is_copied_and_that_is_said(
    imgprep, web, folder, tmp_path
):
    ended = converted(imgprep, web.url("disk.qcow2"), tmp_path / "out.vhd")

    require_equal(tmp_path / "out.vhd", folder)
    assert "copied to scratch" in identify(ended)
    assert "qcow2 cannot be read by ranges" in identify(ended)
    assert not any(Path(imgprep.env["TMPDIR"]).iterdir())


def test_what_is_prepared_on_a_server_is_stored_as_it_is(imgprep, web, folder, tmp_path):
    ended = imgprep(
        "upload", web.url("disk.raw"), tmp_path / "s", "--job-dir", tmp_path / "jobs", **QUICK
    )

    assert ended.code == 0, ended.stderr
    assert (tmp_path / "s" / "disk.raw").read_bytes() == (folder / "disk.raw").read_bytes()


def test_what_is_refused_at_first_sight_is_not_copied(imgprep, web, folder):
    (folder / "long.iso").write_bytes((folder / "disc.iso").read_bytes() + bytes(40 * MIB))

    ended = imgprep("check", web.url("long.iso"), "--guest=off", "--json", **QUICK)

    assert ended.code == 1, ended.stderr
    assert web.sent < 10 * MIB


def test_a_server_without_ranges_gives_a_copy(imgprep, folder, tmp_path):
    with Web(folder, Plain).running() as site:
        ended = converted(imgprep, site.url("disk.raw"), tmp_path / "out.vhd")

    require_equal(tmp_path / "out.vhd", folder)
    assert "its server gives no ranges" in identify(ended)


def test_content_by_ranges_is_that_of_the_file_and_without_them_it_is_not_guessed(
    imgprep, web, folder, tmp_path
):
    how = ("--guest=off", "--fail-on=never", "--identity=content", "--json", "--job-dir", tmp_path)
    here = imgprep("run", folder / "disk.raw", tmp_path / "here", *how)
    there = imgprep("run", web.url("disk.raw"), tmp_path / "there", *how, **QUICK)
    with Web(folder, Plain).running() as site:
        unknown = imgprep("run", site.url("disk.raw"), tmp_path / "no", *how, **QUICK)

    assert here.code == there.code == 0, there.stderr
    uuids = [ended.report["facts"]["result"]["container"]["uuid"] for ended in (here, there)]
    assert uuids[0] == uuids[1]
    assert unknown.report["error"]["code"] == "source-without-ranges"


def test_pythons_own_server_started_by_its_command(imgprep, folder, tmp_path):
    argv = [sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1", "0"]
    with subprocess.Popen(
        argv, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as it:
        try:
            port = it.stdout.readline().split(b"port ")[1].split()[0].decode()
            source = f"http://127.0.0.1:{port}/disk.qcow2"
            ended = converted(imgprep, source, tmp_path / "out.vhd")
        finally:
            it.kill()

    require_equal(tmp_path / "out.vhd", folder)
    assert "its server gives no ranges" in identify(ended)


@pytest.mark.needs("bwrap")
def test_a_copy_that_does_not_fit_is_told_before_it_fills_the_disk(imgprep, web, tmp_path):
    small = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    small += ["--size", str(4 * MIB), "--tmpfs", "/mnt"]
    done = subprocess.run(
        [*small, *imgprep.argv("check", web.url("disk.qcow2"), "--guest=off")],
        cwd=Path(__file__).resolve().parents[2],
        env=imgprep.env | QUICK | {"TMPDIR": "/mnt", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 3, done.stderr
    assert "no-space" in done.stderr
    assert "too little free space" in " ".join(done.stderr.split())


def changing(folder, name, after):
    """A hook that writes to the file before the request of this number is answered."""
    count = 0

    def hook(handler):
        nonlocal count
        count += 1
        if count == after:
            with (folder / name).open("r+b") as file:
                file.seek(3 * MIB)
                file.write(b"another byte")
            os.utime(folder / name, ns=(count, count))

    return hook


@pytest.mark.parametrize("name", ["changing.raw", "changing.qcow2"])
@pytest.mark.parametrize("handler", [Ranged, Plain])
def test_a_file_that_changes_on_its_server_is_noticed_and_nothing_is_stored(
    imgprep, folder, tmp_path, name, handler
):
    original = (folder / f"disk{Path(name).suffix}").read_bytes()
    for after in (2, 4):
        (folder / name).write_bytes(original)
        with Web(folder, handler).running() as site:
            site.hooks[f"/{name}"] = changing(folder, name, after)
            ended = imgprep(
                "run", site.url(name), tmp_path / "s", "--guest=off", "--json",
                "--job-dir", tmp_path / "jobs", **QUICK,
            )  # fmt: skip

        assert ended.code == 3, (after, ended.stderr)
        assert ended.report["error"]["code"] == "source-changed"
        assert not list((tmp_path / "s").glob("*.vhd"))


def test_redirections_are_followed_a_few_times_and_never_to_files(imgprep, web, folder, tmp_path):
    web.hooks["/moved.raw"] = lambda handler: handler.redirect("/disk.raw?signed=hush-hush")
    web.hooks["/round.raw"] = lambda handler: handler.redirect("/round.raw")
    web.hooks["/local.raw"] = lambda handler: handler.redirect(f"file://{folder}/disk.raw")

    moved = imgprep("check", web.url("moved.raw"), "--guest=off", "--json", "-v", **QUICK)
    around = imgprep("check", web.url("round.raw"), "--guest=off", **QUICK)
    local = imgprep("check", web.url("local.raw"), "--guest=off", **QUICK)

    assert moved.code in (0, 1)
    assert moved.report["facts"]["container"]["format"] == "raw"
    assert "hush-hush" not in moved.stdout + moved.stderr
    assert (around.code, local.code) == (5, 5)
    assert "more than 5 redirections" in " ".join(around.stderr.split())
    assert "not followed" in " ".join(local.stderr.split())


def test_what_may_pass_is_asked_again(imgprep, web, folder, tmp_path):
    asked = 0

    def busy(handler):
        nonlocal asked
        asked += 1
        if asked in (1, 4):
            return handler.refuse(503)
        if asked in (2, 6):  # the line breaks in the middle of an answer
            handler.send_response(206)
            handler.send_header("Content-Length", "1000")
            handler.end_headers()
            handler.wfile.write(b"x" * 10)
            handler.close_connection = True
            return True
        return False

    web.hooks["/disk.raw"] = busy
    env = {"IMGPREP_STORE_DEADLINE": "60"}
    ended = imgprep("convert", web.url("disk.raw"), tmp_path / "out.vhd", **env)

    assert ended.code == 0, ended.stderr
    assert asked > 6
    require_equal(tmp_path / "out.vhd", folder)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://user:pw@host/disk.raw", "credentials do not belong there"),
        ("https://host/disk.raw?X-Amz-Signature=pw", "stand in every report"),
        ("https://host/", "is no image's address"),
        ("https://host/disk.raw#part", "is no image's address"),
        ("http://[host/disk.raw", "is no image's address"),
        ("http://host/a b.raw", "percent-encoded"),
        ("s3://bucket", "names no object"),
        ("s3://bucket/", "names no object"),
        ("swift://user:pw@c/o", "credentials do not belong there"),
        ("s3://bucket/../o", "'.' or '..'"),
    ],
)
def test_an_address_that_is_none_is_told_without_its_secrets(address, words):
    assert is_address(address)
    with pytest.raises(UsageError) as caught:
        parse(address)

    assert caught.value.code == "address-malformed"
    assert words in caught.value.message
    assert "pw" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(
    ("address", "code", "words"),
    [
        ("https://host/disk.raw?signed=secret", 2, "stand in every report"),
        ("http://127.0.0.1:9/disk.raw", 5, "no answer from 127.0.0.1:9"),
        ("swift://c/o", 5, "no credentials for swift://"),
    ],
)
def test_an_address_that_cannot_be_read_is_told_plainly(imgprep, address, code, words):
    ended = imgprep("check", address, "--guest=off", IMGPREP_STORE_DEADLINE="0.1")

    assert ended.code == code, ended.stderr
    assert words in " ".join(ended.stderr.split())
    assert "secret" not in ended.stderr


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, "source-missing"), (403, "source-unreadable"), (200, "source-unwatchable")],
)  # fmt: skip
def test_what_a_server_refuses_is_the_source_s_failure(imgprep, web, status, code):
    web.hooks["/it.raw"] = lambda handler: handler.refuse(status)

    ended = imgprep("check", web.url("it.raw"), "--guest=off", "--json", **QUICK)

    assert ended.code == 3
    assert ended.report["error"]["code"] == code


def test_an_empty_file_is_judged(imgprep, web):
    here = imgprep("check", web.folder / "empty.raw", "--guest=off", "--json")
    there = imgprep("check", web.url("empty.raw"), "--guest=off", "--json", **QUICK)

    assert there.code == here.code
    assert there.rules() == here.rules()


@pytest.mark.parametrize("name", ["disk.raw", "disk.qcow2", "text.raw"])
def test_the_findings_are_those_of_the_local_file(imgprep, web, folder, name):
    here = imgprep("check", folder / name, "--guest=off", "--json")
    there = imgprep("check", web.url(name), "--guest=off", "--json", **QUICK)

    assert there.code == here.code
    assert there.rules("fail", "unknown") == here.rules("fail", "unknown")
    mine, theirs = (
        {key: value for key, value in ended.report["facts"]["disk"].items() if key != "allocation"}
        for ended in (here, there)
    )
    assert theirs == mine


@pytest.mark.needs("mke2fs", "sfdisk", "zstd", "setpriv", "module:pyfsext")
def test_a_guest_is_read_over_the_network(imgprep, web, folder):
    image = phony.builder().build("debian", folder / "guest")
    raw = ["qemu-img", "convert", "-O", "raw", image, folder / "guest.raw"]
    subprocess.run(raw, check=True, timeout=60)

    ended = imgprep("inspect", web.url("guest.raw"), "--guest=direct", "--json", **QUICK)

    assert ended.code == 0, ended.stderr
    assert ended.report["facts"]["guest"]["distro"] == "debian"
    assert web.sent < (folder / "guest.raw").stat().st_size


def test_tools_are_served_what_lies_on_a_server(web, folder, tmp_path):
    """As the appliance, and whatever qemu-img writes, are."""
    with open_address(web.url("disk.raw"), Cancellation()) as source:
        facts = container_facts(source, name=source.name)
        with GuestDisk(source, facts, tmp_path) as disk:
            served = f"nbd+unix:///?socket={disk.serve()}"
            same = [
                "qemu-img",
                "compare",
                "-f",
                "raw",
                "-F",
                "qcow2",
                served,
                folder / "disk.qcow2",
            ]
            assert subprocess.run(same, timeout=60).returncode == 0


# --- stores


@pytest.mark.servers
@pytest.mark.xdist_group("servers")
@pytest.mark.parametrize("kind", ["swift", "swift-s3", "radosgw-swift", "radosgw-s3"])
def test_an_object_of_a_store_is_a_source(imgprep, request, folder, tmp_path, kind):
    place = places.make(request.config, kind, tmp_path, "deep/")
    for name in ("disk.raw", "disk.qcow2"):
        place.put(name, (folder / name).read_bytes())
        ended = converted(imgprep, f"{place.url}{name}", tmp_path / f"{name}.vhd", **place.env)
        require_equal(tmp_path / f"{name}.vhd", folder)
        assert ("copied to scratch" in identify(ended)) == name.endswith("qcow2")

    missing = imgprep("check", f"{place.url}no.raw", "--guest=off", **QUICK, **place.env)
    assert missing.code == 3
    assert "source-missing" in missing.stderr


@pytest.mark.servers
@pytest.mark.xdist_group("servers")
def test_what_was_stored_in_segments_is_a_source(imgprep, request, folder, tmp_path):
    place = places.make(request.config, "swift", tmp_path)
    stored = imgprep(
        "run", folder / "disk.raw", place.url, "--guest=off", "--fail-on=never", **place.env
    )
    assert stored.code == 0, stored.stderr

    converted(imgprep, f"{place.url}disk.vhd", tmp_path / "back.vhd", **place.env)

    require_equal(tmp_path / "back.vhd", folder)


@pytest.mark.servers
@pytest.mark.xdist_group("servers")
@pytest.mark.parametrize("kind", ["swift", "radosgw-s3"])
def test_an_object_that_is_replaced_meanwhile_is_noticed(request, folder, tmp_path, kind):
    place = places.make(request.config, kind, tmp_path)
    place.put("o", b"a" * MIB)
    with (
        servers.environment(place.env),
        contextlib.closing(open_address(f"{place.url}o", Cancellation())) as source,
    ):
        assert source.read(5, 3) == b"aaa"
        source.require_unchanged()
        place.put("o", b"b" * MIB)
        with pytest.raises(SourceError) as reading:
            source.read(MIB // 2, MIB // 2)
        with pytest.raises(SourceError) as looking:
            source.require_unchanged()

    assert {reading.value.code, looking.value.code} == {"source-changed"}


@pytest.mark.servers
@pytest.mark.xdist_group("servers")
@pytest.mark.parametrize("kind", ["swift", "radosgw-s3"])
def test_many_objects_are_looked_at_at_once(request, tmp_path, kind):
    place = places.make(request.config, kind, tmp_path)
    for number in range(8):
        place.put(f"{number}.raw", bytes(512 + number))
    urls = [f"{place.url}{number}.raw" for number in range(9)]
    with servers.environment(place.env):
        found = on_servers(["/a/path", *urls], here=True)
    elsewhere = on_servers(urls[:1], here=False)  # where only the workers have credentials

    assert list(found) == urls
    assert [found[url].size for url in urls[:8]] == [512 + number for number in range(8)]
    assert len({found[url].stamp for url in urls[:8]}) == 8
    assert found[urls[8]].code == "source-missing"
    assert elsewhere[urls[0]].stamp == (urls[0],)


@pytest.mark.parametrize("server", [Ranged, Plain])
def test_every_byte_from_a_server_is_paced_before_it_is_taken(folder, server):
    paced: list[int] = []
    with (
        Web(folder, server).running() as site,
        open_address(site.url("disk.raw"), Cancellation(), pace=paced.append) as source,
    ):
        if server is Ranged:
            source.read(0, MIB)
            assert paced == [MIB]
            source.read(MIB + 7, 1)
            assert paced == [MIB, PAGE]
        else:
            taken: list[int] = []
            source.origin.whole(source.identity(), lambda pieces: taken.extend(map(len, pieces)))
            assert paced == taken
            assert sum(paced) == (folder / "disk.raw").stat().st_size
