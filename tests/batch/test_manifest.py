"""Manifests: what is understood, and everything that is wrong with one, at its line and column."""

import json

import pytest

from pipeline.batch import manifest, plan
from pipeline.batch.located import MOST_VALUES
from pipeline.batch.manifest import ManifestError


@pytest.fixture
def images(tmp_path):
    """A directory with images, side files and a directory in it."""
    for name in ("a.qcow2", "b.qcow2", "golden/c.vmdk", "golden/d.raw", "golden/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path


def tasks(text, base):
    return plan.make(manifest.parse(text, name="m.yaml", base=base))


def problems(text, base):
    with pytest.raises(ManifestError) as caught:
        tasks(text, base)
    return caught.value.lines


def sources(found, base):
    return [task.job.source.removeprefix(f"{base}/") for task in found]


def test_a_list_alone_is_a_manifest(images):
    assert sources(tasks("- a.qcow2\n- b.qcow2\n", images), images) == ["a.qcow2", "b.qcow2"]


def test_directories_and_patterns_stand_for_their_images(images):
    found = tasks('images:\n  - "?.qcow2"\n  - golden/\n', images)

    assert sources(found, images) == ["a.qcow2", "b.qcow2", "golden/c.vmdk", "golden/d.raw"]


def test_an_entry_stands_above_the_defaults_option_by_option(images):
    text = """
defaults: {profile: rackspace-2014, to: out/, options: {guest: off, verify: readback}}
images:
  - a.qcow2
  - image: b.qcow2
    name: web.vhd
    profile: [rackspace-2020]
    options: {verify: manifest, allow: {machine-id: cleared at the first boot}}
"""
    first, second = (task.job for task in tasks(text, images))

    assert (first.profile, first.destination) == ("rackspace-2014", "out/")
    assert (first.options.guest, first.options.verify) == ("off", "readback")
    assert (second.profile, second.options.name) == ("rackspace-2020", "web.vhd")
    assert (second.options.guest, second.options.verify) == ("off", "manifest")
    assert second.options.allow == {"machine-id": "cleared at the first boot"}


def test_several_profiles_are_several_jobs(images):
    text = "- {image: a.qcow2, profile: [rackspace-2020, rackspace-2014]}"

    assert [t.job.profile for t in tasks(text, images)] == ["rackspace-2020", "rackspace-2014"]


def test_json_is_a_manifest_too(images):
    text = json.dumps({"images": ["a.qcow2", {"image": "b.qcow2", "options": {"strict": True}}]})

    assert [task.job.options.strict for task in tasks(text, images)] == [False, True]


def test_words_of_yaml_that_only_look_like_truth_values_are_words(images):
    (images / "no").write_bytes(b"an image called no")

    assert sources(tasks("- no", images), images) == ["no"]


def test_everything_wrong_by_the_schema_is_told_at_once(images):
    text = """images:
  - a.qcow2
  - image: b.qcow2
    optoins: {guest: off}
  - image: a.qcow2
    options: {guest: maybe, connections: 0, name: x}
  - 7
"""
    assert [line.split(": ", 1)[0] for line in problems(text, images)] == [
        "m.yaml:4:5", "m.yaml:6:22", "m.yaml:6:42", "m.yaml:6:51", "m.yaml:7:5",
    ]  # fmt: skip
    assert "did you mean 'options'" in problems(text, images)[0]


def test_everything_wrong_with_the_images_is_told_at_once(images, monkeypatch):
    for name in ("ST_AUTH", "OS_CLOUD", "OS_AUTH_URL", "RS_USERNAME"):
        monkeypatch.delenv(name, raising=False)
    text = """images:
  - missing.qcow2
  - a.qcow2
  - "*.nothing"
  - a.qcow2
  - {image: b.qcow2, profile: no-such-cloud}
  - {image: b.qcow2, to: "swift://images/"}
  - {image: golden/c.vmdk, to: out/, name: x.vhd}
  - {image: golden/d.raw, to: out, name: x.vhd}
  - {image: golden/d.raw, to: "ftp://host/"}
"""
    lines = problems(text, images)

    assert [line.split(": ", 1)[0] for line in lines] == [
        f"m.yaml:{number}:5" for number in (2, 4, 5, 6, 7, 9, 10)
    ]
    for word, line in zip(
        ("missing.qcow2", "no file fits", "listed twice", "no-such-cloud", "credentials", "x.vhd", "ftp"),
        lines,
        strict=True,
    ):  # fmt: skip
        assert word in line


@pytest.mark.parametrize(
    ("text", "place", "word"),
    [
        ("images:\n\t- a.qcow2\n", "m.yaml:2:1", "tab"),
        ("images: [a.qcow2", "m.yaml:", ""),
        ("images: []", "m.yaml:1:9", "non-empty"),
        ("", "m.yaml", "empty"),
        ("- a.qcow2\n---\n- b.qcow2\n", "m.yaml:2:1", "second document"),
        ("images: [a.qcow2]\nimages: [b.qcow2]\n", "m.yaml:2:1", "line 1"),
        ("- &a [*a]", "m.yaml:1:7", "*a"),
        ("[" * 100, "m.yaml:1:33", "deeper"),
        ("[" * 100_000, "m.yaml:1:", "nest"),  # libyaml itself may stop first
        ("just words", "m.yaml:1:1", "object"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(images, text, place, word):
    (line,) = problems(text, images)

    assert line.startswith(place)
    assert word in line


def test_anchors_may_not_explode(images):
    text = "a: &a [" + "x, " * 9 + "x]\n"
    for this, before in zip("bcdefgh", "abcdefg", strict=True):
        text += f"{this}: &{this} [" + f"*{before}, " * 9 + f"*{before}]\n"

    (line,) = problems(text + "images: *h\n", images)

    assert "anchors explode" in line
    assert MOST_VALUES < 10**8


def test_anchors_that_save_typing_are_fine(images):
    text = """defaults: &usual {profile: rackspace-2014}
images:
  - {image: a.qcow2, options: &mine {strict: true}}
  - {image: b.qcow2, options: *mine}
"""
    assert all(task.job.options.strict for task in tasks(text, images))


def test_a_hundred_thousand_lines_are_read_and_every_missing_image_is_counted(images):
    text = "".join(f"- image-{number}.qcow2\n" for number in range(100_000))

    lines = problems(text, images)

    assert lines[0].startswith("m.yaml:1:3: the image")
    assert "99900 more problems" in lines[-1]


def test_the_stamp_follows_the_file_the_profile_and_the_options(images):
    (before,) = tasks("- a.qcow2", images)
    (other,) = tasks("- {image: a.qcow2, options: {strict: true}}", images)
    (images / "a.qcow2").write_bytes(b"another content")
    (changed,) = tasks("- a.qcow2", images)

    assert before.key == other.key == changed.key
    assert len({before.stamp, other.stamp, changed.stamp}) == 3


def identities(text, base, **how):
    made = plan.make(manifest.parse(text, name="m.yaml", base=base), **how)
    return [task.job.options.identity for task in made]


SAID = "defaults: {options: {identity: %s}}\nimages:\n  - a.qcow2\n  - image: b.qcow2\n"


def test_one_machine_knows_a_file_by_its_place_unless_content_is_asked_for(images):
    assert identities("- a.qcow2\n", images) == ["stat"]
    assert identities(SAID % "content", images) == ["content", "content"]
    assert identities(SAID % "content", images, identity="stat") == ["stat", "stat"]


def test_a_cluster_knows_an_image_by_its_content_always(images):
    assert identities("- a.qcow2\n", images, here=False) == ["content"]
    assert identities(SAID % "content", images, here=False) == ["content", "content"]
    assert identities(SAID % "stat", images, here=False, identity="content") == ["content"] * 2


def test_a_cluster_with_identity_stat_is_wrong_at_every_image(images):
    with pytest.raises(ManifestError) as caught:
        identities(SAID % "stat", images, here=False)

    first, second = caught.value.lines
    assert first.startswith("m.yaml:3:")
    assert second.startswith("m.yaml:4:")
    assert "with --scheduler leave it out or say 'content'" in first


def test_what_is_done_stays_done_when_it_is_known_by_other_means(images):
    here, there = (
        plan.make(manifest.parse("- a.qcow2\n", name="m", base=images), here=here)
        for here in (True, False)
    )

    assert here[0].stamp == there[0].stamp
    assert here[0].key == there[0].key
