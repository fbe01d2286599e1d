"""``.imgprep.toml``: read, checked with line numbers, and only ever stricter beside an image."""

from datetime import date

import pytest

from pipeline import config
from pipeline.errors import UsageError

WHOLE = """\
# what our images go to
profile = "rackspace"
fail-on = "warning"
strict = true

[[waiver]]
rule = "machine-id"
reason = "cleared at first boot"
owner = "images@example.org"
expires = 2027-03-31

[[waiver]]
rule = "ssh-host-keys"
reason = "made anew"
owner = "images@example.org"
expires = 2026-01-31
"""


@pytest.fixture
def write(tmp_path):
    def written(text):
        path = tmp_path / config.NAME
        path.write_text(text)
        return path

    return written


def problems(path):
    with pytest.raises(UsageError) as error:
        config.load(path)
    assert error.value.code == "config-invalid"
    return error.value.message


def test_a_whole_file_is_read_with_the_place_of_everything(write):
    found = config.load(write(WHOLE))

    assert found.settings == {"profile": ["rackspace"], "fail-on": "warning", "strict": True}
    assert found.place("strict").endswith(f"{config.NAME}:4")
    assert [(item.rule, item.line) for item in found.waivers] == [
        ("machine-id", 6),
        ("ssh-host-keys", 12),
    ]


def test_a_waiver_holds_to_the_end_of_its_last_day(write):
    (waiver, expired) = config.load(write(WHOLE)).waivers

    assert waiver.holds(date(2027, 3, 31))
    assert not waiver.holds(date(2027, 4, 1))
    assert waiver.describe() == (
        "cleared at first boot (owner: images@example.org, until 2027-03-31)"
    )
    assert expired.expired() == "The waiver of images@example.org expired on 2026-01-31."


@pytest.mark.parametrize(
    ("change", "line", "word"),
    [
        (('fail-on = "warning"', 'fail-on = "worst"'), 3, "worst"),
        (("strict = true", 'strict = "yes"'), 4, "boolean"),
        (
            ('owner = "images@example.org"\nexpires = 2027-03-31', "expires = 2027-03-31"),
            6,
            "owner",
        ),
        (("expires = 2026-01-31", "expires = 2026-01-31\nuntil = 1"), 12, "until"),
        (("expires = 2026-01-31", 'expires = "2026-01-31"'), 16, "not a date"),
        (('rule = "ssh-host-keys"', 'rule = "machine-id"'), 12, "second waiver"),
        (("strict = true", "strct = true"), 1, "strct"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(write, change, line, word):
    assert change[0] in WHOLE

    told = problems(write(WHOLE.replace(*change, 1)))

    assert f"line {line}: " in told
    assert word in told


def test_everything_that_is_wrong_is_told_at_once(write):
    told = problems(write('guest = 1\nfail-on = 2\n[[waiver]]\nrule = "X"\n'))

    assert "problems: " in told
    for line in (1, 2, 3, 4):
        assert f"line {line}: " in told


@pytest.mark.parametrize("text", ["strict = x\n", "\udcff", "[waiver\n"])
def test_what_is_no_toml_says_where(write, tmp_path, text):
    path = write("")
    path.write_bytes(text.encode("utf-8", "surrogateescape"))

    assert any(word in problems(path) for word in ("line 1", "byte 0"))


def test_a_file_of_gigabytes_is_not_read(tmp_path):
    path = tmp_path / config.NAME
    with path.open("wb") as out:
        out.truncate(8 << 30)

    assert "larger than 1 MiB" in problems(path)


def test_beside_an_image_it_only_tightens(write):
    found = config.load(write(WHOLE + "# nothing more\n"))

    took = config.tightening(found, fail_on="error")
    assert (took.strict, took.fail_on, took.guest_required) == (True, "warning", False)
    assert took.ignored == ("profile", "2 waivers")
    assert config.tightening(found, fail_on="info").fail_on is None


def test_beside_an_image_it_does_not_loosen(write):
    path = write('fail-on = "never"\nguest = "off"\nstrict = false\ndestination = "/srv"\n')

    took = config.tightening(config.load(path), fail_on="error")

    assert (took.strict, took.fail_on, took.guest_required) == (False, None, False)
    assert set(took.ignored) == {"fail-on", "guest", "strict", "destination"}
