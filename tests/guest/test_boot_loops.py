"""Loops in grub.cfg: what they come to, and that nobody is told of an error that only GRUB could see."""

import subprocess

import pytest
import real_grub
from guests import GRUB_CFG, KERNEL, ROOT, facts, findings
from menus import GOOD
from phony import files_of
from real_grub import listed

from pipeline.guest import boot
from pipeline.guest.boot import script, shell, words
from pipeline.guest.tree import TreeError

LOOPS = [
    ("for i in a b c; do echo $i; done", "a b c"),
    ('for i in a \'b c\' "$two" $two; do echo "<$i>"; done', "<a> <b c> <x y> <x> <y>"),
    ("for i in; do echo $i; done; echo end", "end"),
    ("for i in a; do true; done; echo $i", "a"),
    ("for i in a b\ndo\n  for j in 1 2; do\n    echo $i$j\n  done\ndone", "a1 a2 b1 b2"),
    ("for i in a b c; do if [ $i = b ]; then continue; fi; echo $i; done", "a c"),
    ("for i in a b c; do if [ $i = b ]; then break; fi; echo $i; done; echo end", "a end"),
    ("for i in a b; do for j in 1 2; do echo $i$j; break 2; done; done; echo end", "a1 end"),
    ("for i in a b; do for j in 1 2; do echo $i$j; continue 2; done; done; echo end", "a1 b1 end"),
    ("for i in a b; do for j in 1 2; do echo $i$j; break; done; done", "a1 b1"),
    ("for i in a b; do break 9; done; echo end", "end"),
    (
        "for i in a b; do for j in 1 2; do for k in x; do true; done; echo $i$j; break 2; done; done",
        "a1",
    ),
    ("function f { for i in a b; do echo $i; return; done; }\nf; echo end", "a end"),
    ("function f { break; echo f; }\nfor i in a b; do f; echo $i; done", "f a f b"),
    ("break; return; continue; echo end", "end"),
    ("x=; while [ x$x != xaaa ]; do x=a$x; echo $x; done", "a aa aaa"),
    ("x=; until [ x$x = xaa ]; do x=a$x; echo $x; done", "a aa"),
    ("while false; do echo no; done; until true; do echo no; done; echo end", "end"),
    ("x=; while true; do x=a$x; if [ $x = aa ]; then break; fi; echo $x; done; echo end", "a end"),
    ("for i in a; do echo $i; done; if true; then echo b; fi", "a b"),
    ("if true; then for i in a; do echo $i; done; else echo c; fi; echo d", "a d"),
    ("insmod regexp\nfor i in /boot/b-*; do echo $i; done", "/boot/b-1"),
    ('for i in \'/boot/b-*\' "/boot/b-?"; do echo "$i"; done', "/boot/b-* /boot/b-?"),
    ("for i in /boot/b[1]* /boot/b-?; do echo $i; done", "/boot/b[1] /boot/b-1"),
    ("for i in /boot/b-?; do echo $i; done; echo $i", "/boot/b-1 /boot/b-1"),
    ("echo /boot/b-*", "/boot/b-1"),
    # what is in quotes is no pattern, and the rest of the word is
    ("echo '/boot/b'-* \"/boot/b\"-? /boot/'b-*'", "/boot/b-1 /boot/b-1 /boot/b-*"),
    (
        "echo /boot/c'*'? /boot/c\"*\"* /boot/c\\*? '/boot/c*'1",
        "/boot/c*1 /boot/c*1 /boot/c*1 /boot/c*1",
    ),
    (
        "x=/boot/b; echo $x-*; x='/boot/b-*'; echo $x \"$x\"; x='b-*'; echo /boot/$x",
        "/boot/b-1 /boot/b-1 /boot/b-* /boot/b-1",
    ),
    # what is not, is split
    (
        'for i in a$two $two/z a${two}b "a$two"$two; do echo "<$i>"; done',
        "<ax> <y> <x> <y/z> <ax> <yb> <ax yx> <y>",
    ),
    ("x=' a  b '; for i in $x p$x ${x}q; do echo \"<$i>\"; done", "<a> <b> <pa> <b> <a> <bq>"),
    ("x='  '; for i in $x p${x}q $none $none$none z; do echo \"<$i>\"; done", "<pq> <z>"),
    ('for i in "" ""$none \'\'; do echo "<$i>"; done', "<> <> <>"),
    ('y=a$two; set z=$two; echo "<$y> <$z>"', "<ax> <x>"),
    # texts that are scripts
    ("eval echo a b; eval 'echo c; echo d'; eval; eval ''; eval '  echo    e'", "a b c d e"),
    ('eval "set v=w"; eval "$v=3"; echo $v $w; eval echo \\$two', "w 3 x y"),
    ("eval 'for i in 1 2; do echo $i; done'; eval 'function g { echo g; }'; g", "1 2 g"),
    ("for i in 1 2; do eval break; echo $i; done; echo end", "end"),
    (
        "function f { eval return; echo f; }; f; function f { eval 'echo $1'; }; f q; echo end",
        "q end",
    ),
    ('eval "echo \'<a" "b>\'"; eval eval echo c', "<a b> c"),
]


@pytest.mark.parametrize(("text", "said"), LOOPS)
@pytest.mark.needs("grub-script-check")
def test_what_a_loop_comes_to(text, said, tmp_path):
    path = tmp_path / "grub.cfg"
    path.write_text(f"{text}\n")
    if "break; return" not in text:
        subprocess.run(["grub-script-check", path], check=True)

    assert listed(text) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("for i in (hd0,1)/boot/b-*; do echo $i; done", "(hd0,1)/boot/b-1"),
        ("for i in ($root)/b-*; do echo $i; done", "()/b-1"),
        ("echo /boot/a-*", "/boot/a-*"),
        # an order that nobody knows, and what comes after it
        ("for i in /boot/a-*; do echo $i; x=$i; done; echo $i $x end", "[/boot/a-1] [/boot/a-2] ? ? end"),
        ("for i in /boot/none-*; do echo $i; done; echo end", "[?] end"),
        ("for i in (hd*,gpt*); do echo $i/x; j=$i; k=$i/; done; echo $i $j $k end", "[(?)/x] (?) (?) ? end"),
        ("for i in (hd*) '!'; do true; done; echo $i; for i in '!' (hd*); do true; done; echo $i", "? (?)"),
        ("j=a; for i in (hd*)/x; do echo $i; j=$i; done; echo $i $j end", "[(?)/x] ? ? end"),
        ("for i in (hd*)/boot/b-*; do echo $i; done; echo end", "[(?)?] end"),
        ("for i in hd*; do echo $i; done", "[?]"),
        ("for i in /boot/a-*; do for j in 1 2; do echo $i$j; break; done; done",
         "[/boot/a-11] [/boot/a-12] [/boot/a-21] [/boot/a-22]"),
        ("for i in /boot/a-*; do y=same; done; y=same; for i in /boot/a-*; do y=same; done; echo $y", "same"),
        ("for i in 1 2; do if [ -f /x ]; then break; fi; echo $i; done; echo end", "[1] [2] end"),
        ("for i in 1 2; do if [ -f /x ]; then continue; fi; echo $i; done; echo $i end", "[1] [2] ? end"),
        ("while [ -f /x ]; do echo in; done; echo end", "[in] end"),
        ("until [ -f /x ]; do echo in; done; echo end", "[in] end"),
        # without end
        ("x=1; while [ $x = 1 ]; do if [ -f /x ]; then x=2; fi; echo $x; done; echo end", None),
        ("if [ -f /x ]; then for i in a b; do echo $i; done; fi; echo end", "[a] [b] end"),
        ("if [ -f /x ]; then while true; do echo a; done; fi; echo end", "[a] end"),
        ("if [ -f /x ]; then y=1; fi; echo $y", "?"),
        ("y=0; if [ -f /x ]; then y=1; fi; echo $y", "0"),
        ("function f { if [ -f /x ]; then return; fi; echo f; }\nf; echo end", "[f] end"),
        ("function f { echo $1; }\nif [ -f /x ]; then f a; fi; echo end", "[a] end"),
        ("for d in hd*; do r=$d; done; eval \"x=a$r; echo $r\"; echo $x end", "? a? end"),
        ("if [ -f /x ]; then eval 'echo a; v=1'; fi; echo $v", "[a] ?"),
        ("x='eval $x; echo a'; eval $x; echo end", None),
        ("".join(f"function f{i} {{ f{i + 1}; }}\n" for i in range(1000)) + "f0", None),
        # what other commands set
        ("regexp --set=1:v 'vmlinuz-(.*)' $x; echo $v", "?"),
        ("regexp --set v '(.*)' $x; echo $v", "?"),
        ("probe -s v --fs-uuid (hd0); echo $v", "?"),
        ("search --set=v --file /x; echo $v", "?"),
        ("root=a; search --set root --file /x; v=1; search --set v; echo $root $v",
         "a 1"),
        ("read v; echo $v; echo $w", "? "),
        ("echo -s v; echo $v-", "-s v -"),
        ("unset two; echo $two-", "-"),
    ],
)  # fmt: skip
def test_what_is_sure_of_a_loop(text, said):
    if said is None:  # it ends by a limit
        with pytest.raises(TreeError, match="it goes on for more than 20000 commands"):
            boot.configuration(files_of({GRUB_CFG: text}))
    else:
        assert listed(text) == said


@pytest.mark.parametrize(
    "text",
    [
        "while true; do echo $long; done",
        "while true; do for i in $many; do true; done; done",
        "while true; do eval \"$long\"; done",
        "while true; do echo /*/*; done",
        "while true; do if [ -f /boot/a-1 ]; then true; fi; done",
    ],
)  # fmt: skip
def test_work_without_end_has_one(text):
    # given more than two long words, lists and directories can be looked at in the time of a command
    looks = []
    interpreter = shell.Interpreter(
        {"long": "echo" + "_" * 8000, "many": "a " * 4000},
        lambda said, _: looks.append("".join(said)),
        lambda *_: None,
        lambda path: bool(looks.append(path)),
        lambda pattern: looks.append(pattern) or [],
    )

    interpreter.run(script.parse(text))

    assert interpreter.steps > script.MAX_COMMANDS
    assert sum(map(len, looks)) <= script.MAX_COMMANDS * shell.LINE


def test_a_line_of_variables_fills_no_memory():
    many = words.Values({"x": "a" * words.MAX_VALUE})
    line = script.parse("echo " + "$x" * 1000 + ' "' + "$x" * 1000 + '"' + " $x" * 1000)

    found = words.texts(line[0].words, many)

    assert sum(len(each.text) for each in found) <= words.MAX_TEXT + words.MAX_VALUE
    assert {len(each.text) for each in found[1:]} == {words.MAX_VALUE}
    assert len(words.expand("$x" * 1000 + "y", many)) == words.MAX_VALUE


def test_no_more_variables_are_put_in_than_there_is_room_for():
    class Counted(dict):
        asked = 0

        def get(self, *name):
            self.asked += 1
            return super().get(*name)

    for length, asked in ((5000, 2), (4096, 2), (4095, 3)):
        counted = Counted(x="a" * length)
        assert len(words.expand("$x" * 1000, words.Values(counted))) == words.MAX_VALUE
        assert counted.asked == asked


@pytest.mark.parametrize(
    ("length", "word", "lengths"),
    [
        (8191, "$x'yz'", [8192]), (8191, "$x$two", [8192]), (8192, "$x$two", [8192]), (8193, "$x", [8192]),
        (8190, "$x$two", [8191, 1]), (8190, "$x$two$x", [8191, 1]), (8189, "$x$two$x", [8190, 2]),
    ],
)  # fmt: skip
def test_a_word_is_cut_where_it_is_too_long(length, word, lengths):
    (statement,) = script.parse(f"echo {word}")
    values = words.Values({"x": "a" * length, "two": "b c"})

    assert [len(text.text) for text in words.texts(statement.words[1:], values)] == lengths


@pytest.mark.parametrize(("calls", "ends"), [(99, True), (100, False), (400, False)])
@pytest.mark.parametrize("before", ["", "if true; then true; fi\n" * 400])
def test_functions_call_one_another_up_to_a_depth(calls, ends, before):
    chain = "".join(f"function f{i} {{ f{i + 1}; }}\n" for i in range(1, calls))
    interpreter = shell.Interpreter({}, lambda *_: None, lambda *_: None, lambda _: False)

    interpreter.run(script.parse(f"{before}{chain}function f{calls} {{ x=here; }}\nf1"))

    assert (interpreter.variables.get("x") == "here") is ends
    assert (interpreter.steps <= script.MAX_COMMANDS) is ends


ENTRY = "menuentry '%s' {\n" + GOOD + "}\n"
LINE = f"linux %s root=UUID={ROOT} ro\ninitrd /boot/initrd.img-{KERNEL}\n"


@pytest.mark.parametrize(
    ("text", "titles"),
    [
        (f"for v in {KERNEL}; do\nmenuentry \"Debian $v\" {{\n{LINE % '/boot/vmlinuz-$v'}}}\ndone\n",
         [f"Debian {KERNEL}"]),
        (f"for k in /boot/vmlinuz-*; do\nmenuentry $k $k {{\n{LINE % '$2'}}}\ndone\n",
         [f"/boot/vmlinuz-{KERNEL}"]),
        (f"menuentry E {{\nfor k in /boot/vmlinuz-*; do\n{LINE % '$k'}done\n}}\n", ["E"]),
        (f"menuentry E {{\n{LINE % '($root)/boot/vmlinuz-*'}}}\n", ["E"]),
        (f"menuentry E {{\nfor k in a b; do if [ -f /x/$k ]; then break; fi; done\n{GOOD}}}\n", ["E"]),
        (f"for d in (hd*,gpt*); do if [ -f $d/x ]; then set root=$d; fi; done\n{ENTRY % 'E'}", ["E"]),
        (f"menuentry E {{\nfor d in (hd*,gpt*); do r=$d; done\n{LINE % f'$r/boot/vmlinuz-{KERNEL}'}}}\n",
         ["E"]),
        (f"menuentry E {{\nif [ $grub_cpu = x ]; then\n{GOOD.replace('x /', 'xefi /')}fi\n{GOOD}}}\n", ["E"]),
        (f"{ENTRY % 'E'}for d in (hd*); do\nmenuentry $d {{ chainloader $d+1 }}\ndone\n", ["E", "(…)"]),
        (f"set default=E\nfor k in /boot/a /boot/grub/*; do\n{ENTRY % '$k'}done\n{ENTRY % 'E'}", None),
        (f"for m in gzio part_gpt ext2; do insmod $m; done\n{ENTRY % 'E'}", ["E"]),
        (f"menuentry E {{\nif [ -f /x ]; then v=a; fi\n{LINE % f'/boot/vmlinuz-{KERNEL} $v'}}}\n", ["E"]),
    ],
)  # fmt: skip
def test_menus_with_loops_that_start_have_no_finding(text, titles):
    assert findings({GRUB_CFG: text}) == set()
    if titles:
        assert [entry["title"] for entry in facts({GRUB_CFG: text})["boot"]["entries"]] == titles


NOBODY_KNOWS_E = "/boot/grub/grub.cfg: what E starts shows only when GRUB runs"
NOBODY_KNOWS = "which boot entry starts shows only when GRUB runs: "


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"for d in (hd*,gpt*); do\n{ENTRY % 'E'}done\n", f"{NOBODY_KNOWS}a loop goes over (hd*,gpt*)"),
        (f"for d in hd* cd*; do\n{ENTRY % 'E'}done\n{ENTRY % 'F'}", f"{NOBODY_KNOWS}a loop goes over hd*"),
        (f"set default=2\n{ENTRY % 'E'}for d in hd*; do\nsubmenu x {{\n{ENTRY % 'S'}}}\ndone\n{ENTRY % 'F'}",
         f"{NOBODY_KNOWS}a loop goes over hd*"),
        (f"set default=G\nfor d in hd*; do\n{ENTRY % '$d'}done\n{ENTRY % 'F'}",
         f"{NOBODY_KNOWS}a loop goes over hd*"),
        (f"while [ -f /x ]; do\n{ENTRY % 'E'}done\n",
         f"{NOBODY_KNOWS}a loop's condition shows only when it starts"),
        (f"for i in 1 2; do\nif [ -f /x ]; then break; fi\n{ENTRY % '$i'}done\n",
         f"{NOBODY_KNOWS}a break may end a loop"),
        ("for d in hd*; do source ($d)/x/$d.cfg; done\n",
         f"{NOBODY_KNOWS}it reads a file whose name shows only then"),
        (f"menuentry E {{\nfor d in hd*; do\n{LINE % '/$d/vmlinuz'}done\n}}\n",
         NOBODY_KNOWS_E),
        (f"menuentry E {{\n{LINE % '/boot/[v]m*'}}}\n", NOBODY_KNOWS_E),
        (f"menuentry E {{\nif [ -f /x ]; then\n{LINE % '/a'}else\n{LINE % '/b'}fi\n}}\n",
         NOBODY_KNOWS_E),
        (f"if [ -f /x ]; then l=linux; fi\nmenuentry E {{\n$l {(LINE % '/gone')[6:]}}}\n",
         NOBODY_KNOWS_E),
        ("for d in hd*; do r=$d; done\nmenuentry E { linux /a root=$r }\n",
         NOBODY_KNOWS_E),
        ("for d in hd*; do r=$d; done\nmenuentry E { linux /a ro $r }\n",
         NOBODY_KNOWS_E),
        (f"for d in hd*; do default=$d; done\n{ENTRY % 'E'}",
         "/boot/grub/grub.cfg: its default is set to what shows only when GRUB runs"),
        ("menuentry E {\nwhile true; do true; done\nlinux /a\n}\n", NOBODY_KNOWS_E),
        ("for d in hd*; do r=$d; done\nlinux /$r\n",
         "/boot/grub/grub.cfg: what grub.cfg starts shows only when GRUB runs"),
    ],
)  # fmt: skip
def test_what_only_grub_can_see_is_unknown(text, reason):
    unknown = facts({GRUB_CFG: text})["unknown"]

    assert unknown["boot"] == reason
    assert all(rule.endswith("?") for rule in findings({GRUB_CFG: text}))


def test_a_device_that_grub_searches_for_is_told_as_one():
    search = f"search --no-floppy --fs-uuid --set=root {ROOT}\n"
    text = f"menuentry E {{\n{search}{LINE % f'($root)/boot/vmlinuz-{KERNEL}'}}}\n"

    (entry,) = facts({GRUB_CFG: text})["boot"]["entries"]

    assert entry["kernel"] == f"(…)/boot/vmlinuz-{KERNEL}"
    assert findings({GRUB_CFG: text}) == set()


def test_a_kernel_that_a_loop_names_and_that_is_not_there_is_missing():
    text = f"for v in gone; do\nmenuentry $v $v {{\n{LINE % '/boot/vmlinuz-$2'}}}\ndone\n"

    assert findings({GRUB_CFG: text}) == {"boot-files-missing"}


@pytest.mark.nightly
@real_grub.NEEDED
def test_grub_itself_comes_to_the_same(tmp_path):
    assert real_grub.printed([text for text, _ in LOOPS], tmp_path) == [said for _, said in LOOPS]
