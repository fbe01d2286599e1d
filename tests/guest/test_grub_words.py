"""GRUB's shell, word by word: which command a word is, what a condition holds, where its limits are."""

import subprocess

import pytest
from guests import GRUB_CFG
from phony import files_of

from pipeline.guest import boot
from pipeline.guest.boot import grub2, script, shell, words
from pipeline.guest.tree import TreeError


def run(text, there=(), matches=()):
    """What becomes of a script: its commands, those that may be skipped in brackets, and the interpreter."""
    said = []
    found = shell.Interpreter(
        {"set": "yes", "default": "0", "one": "x", "two": "x y"},
        lambda words, _: said.append(" ".join(words)),
        lambda words, *_: said.append(f"<{' '.join(words)}>"),
        lambda path: path in there,
        lambda pattern: list(matches),
        lambda words, _: said.append(f"[{' '.join(words)}]"),
    )
    found.run(script.parse(text))
    return [item.replace(shell.UNKNOWN, "?") for item in said], found


def variables(text):
    """The variables that a script changes."""
    _, before = run("")
    _, after = run(text)
    names = {**before.variables, **after.variables}
    changed = {
        name: after.variables.get(name)
        for name in names
        if after.variables.get(name) != before.variables.get(name)
    }
    return {
        name: value and value.replace(shell.UNKNOWN, "?")
        for name, value in changed.items()
        if name not in "123456789"
    }


# --------------------------------------------------------------------------------------- commands


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("set default=5", {"default": "5"}),
        ("default=5", {"default": "5"}),
        ("set default", {}),
        ("set", {}),
        ("set 'default=5 6'", {"default": "5 6"}),
        ("set de-fault=5", {}),
        *((f"{word} default=5", {}) for word in ("echo", "export", "true", "sets", "se")),
        ("unset default", {"default": None}),
        ("unset none", {}),
        ("unset", {}),
        *(
            (f"{word} default", {})
            for word in ("echo", "unse", "unsets", "video", "true", "export")
        ),
        ("read default", {"default": "?"}),
        ("read a b", {"a": "?", "b": "?"}),
        *((f"{word} a", {}) for word in ("cat", "rea", "reads", "sleep")),
        *(
            (f"{word} {how} /x", {"v": "?"})
            for word in ("cat", "probe", "regexp", "search", "smbios")
            for how in ("--set=v", "--set=1:v")
        ),
        *(
            (f"{word} {how} v", {} if word == "search" else {"v": "?"})
            for word in ("cat", "probe", "regexp", "search", "smbios")
            for how in ("--set", "-s")
        ),
        ("regexp -s 2:v x", {"v": "?"}),
        ("echo --set=v", {}),
        ("echo -s v", {}),
    ],
)
def test_what_a_command_does_to_variables(text, changed):
    assert variables(f"{text}\n") == changed


@pytest.mark.parametrize(
    ("length", "kept"), [(8189, 8189), (8190, 8190), (8191, 8190), (9000, 8190)]
)
def test_a_word_is_no_longer_than_the_limit(length, kept):
    assert words.MAX_VALUE == 8192

    assert variables(f"set v='{'x' * length}'")["v"] == "x" * kept  # and "v=" before it


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo $two", ["echo x y"]),
        ("for i in $two; do echo $i; done", ["echo x", "echo y"]),
        ('for i in "$two"; do echo $i; done', ["echo x y"]),
        ("for i in $two'a b'; do echo $i; done", ["echo x", "echo ya b"]),
        ("for i in a$two; do echo $i; done", ["echo ax", "echo y"]),
        ("echo $none a ${none}", ["echo a"]),
        ("echo a$none", ["echo a"]),
        ("echo \"$none\" '$two' \\$two \"\\$two\"", ["echo  $two $two $two"]),
        ("group go { true; }\ngo", ["<group go>", "go"]),
        ("zoo go { true; }\ngo", ["<zoo go>", "go"]),
        ("function go { echo in $1; }\ngo a", ["echo in a"]),
        ("function { echo in; }\necho end", ["echo end"]),
        ("function go { return; echo no; }\ngo; return; echo end", ["return", "echo end"]),
        ("function go { go; echo in; }\ngo", ["go", "echo in"]),
        ("function go { echo $2$1$3; }\ngo a b; echo $1.", ["echo ba", "echo ."]),
        ("if [ -f /q ]; then default=1; one=x; fi; echo $default $one", ["echo 0 x"]),
        ("if [ -f /q ]; then new=abc; fi; echo a$new", ["echo a?"]),
        ("for i in hd*; do new=abc; done; echo a$new", ["echo a?"]),
        ("for i in hd*; do new='%'; done; echo a$new", ["echo a?"]),
        ("long=abc; for i in hd*; do long=abc; done; echo $long", ["echo abc"]),
        ("long=abc; for i in hd*; do long=abd; done; echo $long", ["echo ?"]),
        ("long=abc; for i in hd*; do long=abb; done; echo $long", ["echo ?"]),
        ("for i in (hd*); do d=$i; done; echo $i $d", ["echo (?) (?)"]),
        ("for i in (hd*); do true; done; for i in hd*; do true; done; echo $i",
         ["[true]", "[true]", "echo ?"]),
    ],
)  # fmt: skip
def test_what_words_come_to(text, said):
    assert run(text)[0] == said


@pytest.mark.parametrize(
    ("matches", "said"),
    [((), ["echo /v-*"]), (("/v-1",), ["echo /v-1"]), (("/v-1", "/v-2"), ["echo /v-*"])],
)
def test_a_pattern_stands_for_the_only_file_that_it_means(matches, said):
    assert run("echo /v-*", matches=matches)[0] == said


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(hd0)/v", ["echo (hd0)/v"]),
        ("(hd*)/v", ["[echo (?)/v]"]),
        ("(hd*)", ["[echo (?)]"]),
        ("(hd*)/v?", ["[echo (?)?]"]),
        ("hd*", ["[echo ?]"]),
        ("/v*", ["[echo ?]"]),
        ("'/v*'", ["echo /v*"]),
    ],
)
def test_what_a_loop_goes_over(pattern, said):
    assert run(f"for i in {pattern}; do echo $i; done")[0] == said


def test_a_command_is_no_longer_than_the_limit():
    # given words that count as two characters each
    given = script.parse("a " * 40_000)[0].words

    assert words.MAX_TEXT == 1 << 16
    assert len(words.texts(given, {})) == 1 << 15
    assert len(words.texts(given[: 1 << 15], {})) == 1 << 15


@pytest.mark.parametrize(("length", "found"), [(8190, ["y", "y"]), (8192, [""]), (9000, [""])])
def test_what_is_behind_a_long_part_of_a_word(length, found):
    (command,) = script.parse(f"'{'x' * length}'$two")

    told = [each.text for each in words.texts(command.words, {"two": "y y"})]

    assert [told[0].lstrip("x"), *told[1:]] == found
    assert len(told[0]) == min(length + 1, 8192)


# ------------------------------------------------------------------------------------- conditions

HOLDS, FAILS, NOBODY_KNOWS = ["yes"], ["no"], ["[yes]", "no"]
"""What nobody knows is taken for false; what it would lead to may be carried out."""


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("true", HOLDS), ("false", FAILS), ("$none", HOLDS), ("other", NOBODY_KNOWS), ("aaa", NOBODY_KNOWS),
        ("zzz", NOBODY_KNOWS), ("[ a ]", HOLDS), ("[ ]", HOLDS), ("[ '' ]", FAILS), ("[ a", HOLDS),
        ("[ a )", HOLDS), ("[ a x", HOLDS), ("test a", HOLDS), ("test", HOLDS),
        ("test '' ]", FAILS), ("true ]", HOLDS), ("false ]", FAILS), ("other ]", NOBODY_KNOWS),
        ("A x ]", NOBODY_KNOWS), ("[ abc = abc ]", HOLDS), ("[ abc == abd ]", FAILS),
        ("[ abc = abb ]", FAILS),
        ("[ abc != abd ]", HOLDS), ("[ abc != abb ]", HOLDS), ("[ abc != abc ]", FAILS),
        ("[ a$one = ax ]", HOLDS), ("[ -n '' ]", FAILS), ("[ -n a ]", HOLDS), ("[ -z '' ]", HOLDS),
        ("[ -z a ]", FAILS), ("[ ! a ]", FAILS), ("[ ! ! a ]", HOLDS), ("[ ! ]", HOLDS),
        ("[ ! -f /q ]", NOBODY_KNOWS), ("[ -f /there ]", HOLDS), ("[ -s /there ]", HOLDS),
        ("[ -e /there ]", HOLDS), ("[ -e /q ]", NOBODY_KNOWS), ("[ -d /there ]", NOBODY_KNOWS),
        ("[ a -lt b ]", FAILS), ("[ a b c d ]", HOLDS),
        ("[ a -o '' ]", HOLDS), ("[ '' -o '' ]", FAILS), ("[ '' -o a ]", HOLDS), ("[ a -a '' ]", FAILS),
        ("[ a -a b ]", HOLDS), ("[ -f /q -o a ]", HOLDS), ("[ -f /q -o '' ]", NOBODY_KNOWS),
        ("[ -f /q -a '' ]", FAILS), ("[ -f /q -a a ]", NOBODY_KNOWS), ("[ '' -a '' -o a ]", HOLDS),
        ("[ a -o '' -a '' ]", HOLDS), ("[ x$grub_platform = xefi ]", NOBODY_KNOWS),
        ("[ 'x$grub_platform' = 'x$grub_platform' ]", HOLDS), ("[ ${root} ]", NOBODY_KNOWS),
        ("[ a$roots = a ]", HOLDS), ("[ $net_default_ip ]", NOBODY_KNOWS), ("[ $pxe_x ]", NOBODY_KNOWS),
        ("[ $cmdpath ]", NOBODY_KNOWS), ("[ $lockdown ]", NOBODY_KNOWS), ("[ $shim_lock ]", NOBODY_KNOWS),
    ],
)  # fmt: skip
def test_what_a_condition_comes_to(condition, said):
    carried_out, _ = run(f"if {condition}; then yes; else no; fi", there=("/there",))

    assert [each for each in carried_out if each in ("yes", "[yes]", "no", "[no]")] == said


def test_a_branch_behind_one_that_is_taken_is_not_carried_out():
    assert run("if true; then a; elif true; then b; else c; fi")[0] == ["a"]
    assert run("if false; then a; elif true; then b; else c; fi")[0] == ["b"]
    assert run("if other; then a; elif true; then b; else c; fi")[0] == ["other", "[a]", "b"]
    assert run("if other; then a; elif false; then b; else c; fi")[0] == ["other", "[a]", "c"]


# ------------------------------------------------------------------------------------------ loops


def ways_out():
    """Scripts that leave one of up to four loops in every way, before and behind the loops in it."""
    for depth in (1, 2, 3, 4):
        for at in range(1, depth + 1):
            for word in ("break", "continue"):
                for loops in range(1, 6):
                    for behind in (False, True):
                        yield depth, at, f"{word} {loops}", behind


def nested(depth, at, way, behind, level=1):
    """So many loops of two rounds in one another, with a command in one of them."""
    inner = nested(depth, at, way, behind, level + 1) if level < depth else ""
    name = "abcd"[level - 1]
    leave = f"{way}\n" if level == at else ""
    first, last = ("", leave) if behind else (leave, "")
    shown = "".join(f"${each}" for each in "abcd"[:level])
    return f"for {name} in 1 2; do\necho {shown}\n{first}{inner}{last}echo {shown}.\ndone\n"


def test_loops_are_left_as_a_shell_leaves_them():
    ways = list(ways_out())
    scripts = [nested(*way) for way in ways]
    all_of_them = "".join(f"{text}echo =\n" for text in scripts)

    truth = subprocess.run(["sh"], input=all_of_them, capture_output=True, text=True, check=True)

    expected = truth.stdout.split("=\n")[:-1]
    for way, text, said in zip(ways, scripts, expected, strict=True):
        assert run(text)[0] == [f"echo {line}" for line in said.splitlines()], way


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("for i in a b; do echo $i; continue 0; echo no; done", ["echo a", "echo b"]),
        ("for i in a b; do echo $i; break 0; done", ["echo a"]),
        ("for i in a b; do for j in c; do break x; done; echo $i; done", ["echo a", "echo b"]),
        ("for i in a b; do for j in c; do break ²; done; echo $i; done", ["echo a", "echo b"]),
        ("for i in a; do for j in b; do true; done; done; break; echo end", ["true", "break", "echo end"]),
        ("for i in a; do true; done; continue; return; echo end", ["true", "continue", "return", "echo end"]),
        ("while false; do true; done; break; echo end", ["break", "echo end"]),
        ("n=; while [ a$n != axx ]; do n=x$n; done; break; echo $n", ["break", "echo xx"]),
        ("function f { while true; do return; done; echo no; }\nfor i in a b; do f; echo $i; done",
         ["echo a", "echo b"]),
        ("function f { true; }\nfor i in a b; do f; break; done; echo end", ["true", "echo end"]),
        ("until [ -f /q ]; do a; done; b", ["[a]", "b"]),
        ("for i in a b; do other $i; done; until false; do break; done; c", ["other a", "other b", "c"]),
    ],
)  # fmt: skip
def test_where_a_loop_ends(text, said):
    assert run(text)[0] == said


# ----------------------------------------------------------------------------------------- limits


def test_no_more_commands_are_carried_out_than_the_limit(monkeypatch):
    # given a function of so many commands that the limit is met in the middle of its last call
    monkeypatch.setattr(shell, "MAX_COMMANDS", 700)
    body = "".join(f"c{n}\n" for n in range(299))

    said, found = run(f"function f {{\n{body}}}\nf\nf\nf\nf\nend\n")

    # one for the function, and one for each call besides its 299
    assert len(said) == 700 - 1 - 3
    assert said[-1] == "c97"
    assert found.steps > 700


@pytest.mark.parametrize(
    ("count", "whole"), [(298, True), (299, True), (300, True), (301, False), (400, False)]
)
def test_as_many_commands_as_the_limit_are_a_whole_script(monkeypatch, count, whole):
    monkeypatch.setattr(shell, "MAX_COMMANDS", 300)
    monkeypatch.setattr(grub2, "MAX_COMMANDS", 300)
    text = "true\n" * (count - 1) + "menuentry E { linux /k; }\n"
    files = files_of({GRUB_CFG: text})

    if whole:
        assert [entry.kernel for entry in boot.configuration(files).entries] == ["/k"]
    else:
        with pytest.raises(TreeError, match="more than 300 commands"):
            boot.configuration(files)


@pytest.mark.parametrize(("count", "whole"), [(299, True), (300, True), (301, False), (400, False)])
def test_as_many_commands_as_the_limit_are_a_whole_entry(monkeypatch, count, whole):
    monkeypatch.setattr(shell, "MAX_COMMANDS", 300)
    monkeypatch.setattr(grub2, "MAX_COMMANDS", 300)
    body = "linux /k\n" + "true\n" * (count - 1)
    text = f"menuentry E {{\n{body}}}\n"

    if whole:
        (entry,) = boot.configuration(files_of({GRUB_CFG: text})).entries
        assert (entry.kernel, entry.doubt) == ("/k", "")
    else:
        with pytest.raises(TreeError, match="what E starts shows only when GRUB runs"):
            boot.configuration(files_of({GRUB_CFG: text}))


def test_rounds_of_a_loop_count_as_commands(monkeypatch):
    monkeypatch.setattr(shell, "MAX_COMMANDS", 300)

    said, found = run("while true; do a; done; b")

    # one for the loop, and two for each round: itself and what is in it
    assert said == ["a"] * 149
    assert found.steps > 300


def test_sixteen_files_are_read_beside_grub_cfg():
    names = [f"{number:02}.cfg" for number in range(20)]
    tree = {f"boot/grub/{name}": f"menuentry {name} {{ linux /k; }}\n" for name in names}
    text = "".join(f"source /boot/grub/{name}\n" for name in names)

    found = boot.configuration(files_of({GRUB_CFG: text, **tree}))

    assert [entry.title for entry in found.entries] == names[:16]
