"""Where reading a guest ends, to the last row, byte and page; and numbers in all their forms."""

import contextlib
import sqlite3

import pytest
from guests import facts
from phony import files_of

from pipeline.content import lvm
from pipeline.guest import passwd, sqlitefile, survey
from pipeline.guest.tree import TEXT_LIMIT, TreeError

NUMBERS = [
    None,
    0,
    1,
    2,
    -1,
    127,
    -128,
    128,
    32767,
    -32768,
    1 << 22,
    -(1 << 23),
    1 << 30,
    -(1 << 31),
]
NUMBERS += [1 << 40, -(1 << 47), 1 << 62, -(1 << 63)]


def database(path, size, rows):
    """A table with a text, a number, a text, in pages of so many bytes; its reader, and SQLite's rows."""
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA page_size={size}")
        connection.execute("CREATE TABLE other (a)")
        connection.execute("CREATE TABLE t (name TEXT, number INTEGER, rest TEXT)")
        connection.executemany("INSERT INTO t VALUES (?, ?, ?)", rows)
        connection.execute("INSERT INTO t (rowid, name) VALUES (9000000000000000000, 'far')")
        truth = [list(row) for row in connection.execute("SELECT * FROM t ORDER BY rowid")]
    connection.close()
    content = path.read_bytes()
    return sqlitefile.Database(lambda at, length: content[at : at + length]), truth


@pytest.mark.parametrize("size", [512, 4096, 65536])
@pytest.mark.parametrize("count", [0, 1, 40, 700])
def test_rows_are_those_that_sqlite_reads(tmp_path, size, count):
    rows = [(f"n{n}", NUMBERS[n % len(NUMBERS)], "é" * (n % 70)) for n in range(count)]
    reader, truth = database(tmp_path / "db", size, rows)

    assert list(sqlitefile.rows(reader, "t", 10_000)) == truth


@pytest.mark.parametrize("most", [0, 1, 2, 17, 100, 299, 300, 301, 302])
def test_no_more_rows_than_asked_for(tmp_path, most):
    reader, truth = database(tmp_path / "db", 512, [(f"n{n}", n, "x" * 30) for n in range(300)])

    assert list(sqlitefile.rows(reader, "t", most)) == truth[:most]


def test_a_table_that_is_not_there(tmp_path):
    reader, _ = database(tmp_path / "db", 512, [])

    with pytest.raises(TreeError, match="no table nothing"):
        list(sqlitefile.rows(reader, "nothing", 1))


@pytest.mark.parametrize(
    ("size", "fits"),
    [
        (0, 0),
        (1, 1),
        (2, 0),
        (256, 0),
        (511, 0),
        (512, 1),
        (513, 0),
        (1024, 1),
        (3072, 0),
        (32768, 1),
    ],
)
def test_sizes_of_pages_are_powers_of_two(size, fits):
    head = b"SQLite format 3\0" + size.to_bytes(2, "big") + bytes(82)

    with contextlib.nullcontext() if fits else pytest.raises(TreeError, match="pages of"):
        sqlitefile.Database(lambda at, length: head[at : at + length])


def test_pages_that_are_not_there(tmp_path):
    reader, _ = database(tmp_path / "db", 512, [("a", 1, "b")])

    assert reader.page(1)[1] == 100
    assert reader.page(2)[1] == 0
    for number in (0, -1, 4):
        with pytest.raises(TreeError, match=f"no page {number}"):
            reader.page(number)


def test_more_pages_than_a_package_database_has(monkeypatch, tmp_path):
    reader, truth = database(tmp_path / "db", 512, [(f"n{n}", n, "x" * 30) for n in range(300)])
    seen = []
    monkeypatch.setattr(sqlitefile.Database, "page", _counting(sqlitefile.Database.page, seen))
    assert len(list(sqlitefile.rows(reader, "t", 1000))) == len(truth)
    pages = len(seen) - 1  # the first is that of the list of tables

    for most, enough in ((pages - 1, True), (pages - 2, False)):
        monkeypatch.setattr(sqlitefile, "MAX_PAGES", most)
        if enough:
            assert len(list(sqlitefile.rows(reader, "t", 1000))) == len(truth)
        else:
            with pytest.raises(TreeError, match="loop"):
                list(sqlitefile.rows(reader, "t", 1000))


def _counting(page, seen):
    def counted(self, number):
        seen.append(number)
        return page(self, number)

    return counted


def test_a_record_of_many_columns_is_read_in_part(tmp_path):
    path = tmp_path / "db"
    with sqlite3.connect(path) as connection:
        connection.execute(f"CREATE TABLE t ({', '.join(f'c{n}' for n in range(20))})")
        connection.execute(f"INSERT INTO t VALUES ({', '.join(str(n + 2) for n in range(20))})")
    connection.close()
    content = path.read_bytes()
    reader = sqlitefile.Database(lambda at, length: content[at : at + length])

    assert list(sqlitefile.rows(reader, "t", 9)) == [[n + 2 for n in range(16)]]


# ------------------------------------------------------------------------------------------ accounts


def test_a_thousand_accounts_are_looked_at():
    assert passwd.MAX_ACCOUNTS == 1000
    lines = "".join(f"u{n}:x:{1000 + n}:100::/home/u{n}:/bin/sh\n" for n in range(1002))

    found = passwd.accounts(files_of({"etc/passwd": f"# comment\n\n{lines}"}))

    assert [account.name for account in found] == [f"u{n}" for n in range(1000)]


@pytest.mark.parametrize(
    ("number", "person"),
    [(0, True), (1, False), (499, False), (500, True), (999, True), (1000, True), (65533, True),
     (65534, False), (65535, False)],
)  # fmt: skip
def test_who_is_a_person(number, person):
    assert passwd.Account("a", number, "1", "/", "/bin/sh").person is person


@pytest.mark.parametrize(
    ("line", "shell"),
    [
        ("a:x:5:6:gecos:/home/a:/bin/ash", "/bin/ash"),
        ("a:x:5:6:gecos:/home/a", "/bin/sh"),
        ("a:x:5:6:gecos", None),
        ("a:x:five:6:gecos:/home/a:/bin/ash", None),
        ("a:x:12345678901:6:gecos:/home/a:/bin/ash", None),
        ("a:x:1234567890:6:gecos:/home/a:/bin/ash", "/bin/ash"),
    ],
)
def test_a_line_of_passwd(line, shell):
    found = passwd.accounts(files_of({"etc/passwd": f"{line}\n"}))

    assert [account.shell for account in found] == ([shell] if shell else [])
    assert all((it.name, it.group, it.home) == ("a", "6", "/home/a") for it in found)


# ----------------------------------------------------------------------------------------- leftovers


@pytest.mark.parametrize(
    ("name", "paths"),
    {
        "cloud_credentials": [
            *(f"root/{path}" for path in (
                ".aws/credentials", ".azure/accessTokens.json", ".azure/msal_token_cache.json",
                ".config/gcloud/credentials.db", ".config/gcloud/application_default_credentials.json",
                ".config/openstack/clouds.yaml", ".oci/config", ".docker/config.json", ".kube/config",
                ".netrc", ".git-credentials", ".config/doctl/config.yaml", ".s3cfg", ".boto",
            )),
            "etc/openstack/clouds.yaml", "etc/openstack/secure.yaml", "etc/boto.cfg",
        ],
        "dhcp_leases": [
            "var/lib/dhcp/a.leases", "var/lib/dhclient/a.lease", "var/lib/NetworkManager/x.lease",
            "var/lib/dhcpcd/e.lease",
        ],
        "jobs": ["var/spool/cron/root", "var/spool/cron/tabs/root", "var/spool/at/a01"],
        "random_seeds": ["var/lib/urandom/random-seed", "boot/efi/loader/random-seed"],
        "certificates": ["etc/pki/consumer/key.pem", "etc/sysconfig/rhn/systemid"],
    }.items(),
)  # fmt: skip
def test_each_thing_that_may_be_left(name, paths):
    tree = dict.fromkeys(paths, "x")

    assert sorted(facts(tree)["leftovers"][name]) == sorted(f"/{path}" for path in paths)


@pytest.mark.parametrize("directory", ["dnf", "yum", "zypp/packages", "pacman/pkg", "apt/archives"])
def test_each_cache_of_packages(directory):
    path = f"var/cache/{directory}"

    assert facts({f"{path}/a": "x"})["leftovers"]["package_caches"] == [f"/{path}"]
    assert facts({f"{path}/README": "x"})["leftovers"]["package_caches"] == []


def test_twenty_leftovers_of_a_kind_are_told():
    jobs = {f"var/spool/at/a{n:02}": "x" for n in range(25)}

    assert len(facts({**jobs, "var/spool/at/.SEQ": "x"})["leftovers"]["jobs"]) == 20


# ----------------------------------------------------------------------------------------------- LVM


@pytest.mark.parametrize(
    ("places", "pieces"),
    [
        ([("a", 10, 5)], ((110, 5),)),
        ([("a", 10, 5), ("a", 15, 5)], ((110, 10),)),
        ([("a", 10, 5), ("a", 16, 5)], ((110, 5), (116, 5))),
        ([("a", 10, 5), ("a", 15, 1), ("a", 16, 4)], ((110, 10),)),
        ([("a", 15, 5), ("a", 10, 5)], ((115, 5), (110, 5))),
        ([("a", 895, 5), ("b", 0, 7)], ((995, 12),)),  # the other physical volume begins there
        ([("a", 10, 5), ("gone", 0, 7)], None),
        ([], ()),
        (None, None),
    ],
)
def test_pieces_of_a_logical_volume_that_touch_are_one(places, pieces):
    at = None if places is None else tuple(lvm.Place(*place) for place in places)
    volume = lvm.LogicalVolume("root", 1, None, None, at)

    assert survey._pieces_on_disk(volume, {"a": 100, "b": 1000}) == pieces


@pytest.mark.parametrize("length", range(1, 10))
def test_numbers_of_any_length_lie_anywhere(length):
    # seven bits a byte, the highest one set where another follows; of nine bytes the last is whole
    number = bytes([*range(0x81, 0x80 + length), 0x7F])
    value = 0
    for at, byte in enumerate(number):
        value = value << 8 | byte if at == 8 else value << 7 | byte & 0x7F

    for at in range(40):
        data = bytes([0x55] * at) + number + b"\xaa"
        assert sqlitefile._varint(data, at) == (value, at + length)


TEXTS = (
    "etc/apt/apt.conf", "etc/apt/apt.conf.d/a", "etc/cloud/cloud.cfg", "etc/crypttab", "etc/dnf/dnf.conf",
    "etc/environment", "etc/fstab", "etc/netplan/a.yaml", "etc/network/interfaces", "etc/passwd",
    "etc/NetworkManager/NetworkManager.conf", "etc/NetworkManager/system-connections/a",
    "etc/ssh/sshd_config", "etc/sysconfig/network-scripts/ifcfg-a", "etc/systemd/network/a.network",
    "etc/udev/rules.d/70-a.rules", "etc/apt/sources.list", "boot/grub/grub.cfg",
    "boot/extlinux/extlinux.conf", "etc/yum.conf",
)  # fmt: skip


@pytest.mark.parametrize(
    "filling", ["\n", " ", "\t \n", "#", '"', "\\\n", "[", "a=", "1", "- ", "$x"]
)
def test_no_text_takes_more_than_its_length(filling):
    # what looked at each rest of 256 KiB again would not end before this test is given up
    text = filling * (TEXT_LIMIT // len(filling))

    assert facts(dict.fromkeys(TEXTS, text))["os"] == "linux"
