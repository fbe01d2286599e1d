"""Conditions, arguments and quotes in grub.cfg: what GRUB itself comes to, and random scripts beside it."""

import itertools

import pytest
import real_grub


def cases(table):
    """An answer and a condition of each line; # begins a heading."""
    lines = [line.partition(" ") for line in table.strip().splitlines()]
    return [(condition, answer) for answer, _, condition in lines if answer != "#"]


ASKED = cases(
    r"""
# tests are looked for from left to right, those of three words first
y [ ]
y test
y [ $none ]
n [ "" ]
y [ x ]
y [ 0 ]
y [ $none = b ]
y [ a = ]
y [ = ]
y [ -f ]
y [ -n = ]
n [ -f = x ]
y [ ! = ! ]
y [ a = a b ]
n [ -n "" ]
y [ x = x
# and, or, not
y [ a = b -o ! c = d ]
n [ ! a = b -a c = d ]
n [ x -a "" ]
y [ -a ]
y [ "" -o ]
y [ "" -o ! ]
y [ -o x ]
y [ ! ! x ]
y [ ! -o x ]
y [ ! -a "" ]
y [ "" -a x -o y ]
y [ a = b -o -o c = c ]
n [ a = b -o c = d ]
# parentheses
n [ ( a = b ) ]
y [ ( a = a -a ( b = c -o d = d ) ) ]
y [ ! ( a = b ) ]
n [ a = b ) -o c ]
n [ ( a = b ]
n [ ( "" ) -o "" ]
n [ ! ( ) ]
y [ ( = ( ]
# texts and numbers
y [ abc "<" abd ]
n [ abc ">" abd ]
y [ a "<=" a ]
y [ B "<" a ]
y [ x ">=" "" ]
y [ 2 -eq 02 ]
y [ 2 -ne 3 ]
y [ 10 -gt 9 ]
n [ 10 -le 9 ]
y [ -3 -lt 2 ]
n [ 2 -ge 3 ]
y [ 0x10 -eq 16 ]
y [ 010 -eq 8 ]
y [ 09 -eq 9 ]
y [ 3x -eq 3 ]
y [ 0000000000000000000000000000000000000000000000000000000000000000000000000000000011 -eq 9 ]
y [ 0x -eq 0 ]
n [ a -lt b ]
y [ " 5" -eq 5 ]
y [ --5 -eq 0 ]
# commands
y true
n false
y $none
n ! true
y ! [ a = b ]
n ! test a = a
n true; false
y false; true
n [ a = a ]; [ a = b ]
y a=b
y set a=b
y export a
y unset a
y set a=q; [ $a = q ]
"""
)

UNKNOWN = cases(
    """
? [ -f /x ]
? [ ! -e /x ]
n [ -d /x -a a = b ]
y [ -d /x -o x ]
? [ a10 -pgt a9 ]
? [ 99999999999999999999 -gt 5 ]
y [ 9223372036854775807 -gt 5 ]
? [ 9223372036854775808 -gt 5 ]
y [ 0x7fffffffffffffff -gt 5 ]
? [ $? = 0 ]
? [ -n $? ]
? [ $? ]
n [ $? -a a = b ]
y [ ( -f /x ) -o x ]
? [ ( -f /x ]
? [ $grub_cpu = i386 ]
? search --set=a --file /x
? ! search --file /x
? if true; then true; fi
"""
)

NESTED = """
while true; do echo a
  until false; do echo b
    while true; do echo c; break %s; done
  echo d; break; done
echo e; break; done; echo end
"""
PRINTED = [
    # what is in double quotes
    ('echo "\\$two" "a\\\\b" "\\"q\\"" "\\a$two" "\\\'" "x\\\ny"', "$two a\\b \"q\" \\ax y \\' xy"),
    ("x='$two'; echo $x \"$x\" \"\\$x\"", "$two $two $x"),
    # names of variables
    ("x1y=5; echo $x1y ${x1y}z $x1y-; 1a=3; echo $1a $9x", "5 5z 5- a x"),
    # arguments
    ("function f { echo $# $1 $2 $@ $* ${#} ${2} $10-; }; f a b; f 'a b' c",
     "2 a b a b a b 2 b - 2 a b c a b c a b c 2 c -"),
    ("function f { for i in $@ - $* - \"$@\" - \"$*\"; do echo \"<$i>\"; done; }; f 'a b' c",
     "<a> <b> <c> <-> <a> <b> <c> <-> <a b> <c> <-> <a b c>"),
    ("function f { for i in \"x$@y\" x$@y; do echo \"<$i>\"; done; }; f 'a b' c",
     "<xa b> <cy> <xa> <b> <cy>"),
    ("function f { for i in \"$@\" $@; do echo \"<$i>\"; done; echo $#; }; f; echo \"<$@$#$*>\"", "<> 0 <>"),
    ("function f { echo $1 $#; shift 2; echo $1 $#; shift; echo $1 $#; }; f a b c", "a 3 c 1 0"),
    ("function f { shift x; echo $1; shift -1; echo $1; }; f a b", "a a"),
    ("function f { shift 3; echo $1 $#; shift 0; echo $1; }; f a b", "a 2 a"),
    ("function f { setparams x y z; echo $# $3; }; f a; echo $#", "3 z"),
    ("function f { echo $1; }; function g { f in; echo $1; }; g out", "in out"),
    # whiles whose condition does something
    ("while x=a$x; [ $x != aaa ]; do echo $x; done; echo end", "a aa end"),
    ("until echo q; true; do echo no; done", "q"),
    # loops within loops
    *((NESTED % count, said) for count, said in (
        ("", "a b c d e end"), (1, "a b c d e end"), (2, "a b c e end"), (3, "a b c end"), (4, "a b c end"),
    )),
]  # fmt: skip


def asking(condition):
    return f"if {condition}; then echo y; else echo n; fi"


@pytest.mark.parametrize(("condition", "said"), ASKED)
def test_conditions_are_as_grub_has_them(condition, said):
    assert real_grub.listed(asking(condition)) == said


@pytest.mark.parametrize(("text", "said"), PRINTED)
def test_words_are_as_grub_has_them(text, said):
    assert " ".join(real_grub.listed(text).split()) == said


@pytest.mark.parametrize(("condition", "said"), UNKNOWN)
def test_conditions_that_only_grub_knows_are_taken_for_false(condition, said):
    assert real_grub.listed(asking(condition)) == {"?": "[y] n"}.get(said, said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        # who may leave two loops makes what follows in both of them unsure, and nothing behind them
        ("for i in 1; do for j in 2; do if [ -f /x ]; then break 2; fi; done; echo a; done; echo b", "[a] b"),
        ("for i in 1; do for j in 2; do if [ -f /x ]; then continue 2; fi; done; echo a; done; echo b",
         "[a] b"),
        ("for i in 1; do for j in 2; do if [ -f /x ]; then break; fi; done; echo a; done; echo b", "a b"),
        ("for i in 1; do for j in 2; do if [ -f /x ]; then break 9; fi; done; done; echo b", "b"),
        ("function f { for i in 1; do if [ -f /x ]; then return; fi; done; echo a; }; f; echo b", "[a] b"),
        ("function f { for i in 1; do for j in 1; do if [ -f /x ]; then return; fi; done; done; echo a; }; f",
         "[a]"),
        ("function f { for i in 1; do if [ -f /x ]; then return 1; fi; done; echo a; }; f; echo b", "[a] b"),
        ("function f { for i in 1; do if [ -f /x ]; then break return; fi; done; echo a; }; f", "a"),
        ("function f { if [ -f /x ]; then shift; fi; echo $1 $#; }; f a b c", "? 2"),
        ("function f { if [ -f /x ]; then setparams d; fi; echo $1 $#; }; f a b", "? 1"),
        ("while echo in; [ -f /x ]; do echo body; done; echo end", "in [body] end"),
    ],
)  # fmt: skip
def test_what_is_not_sure_of_them(text, said):
    assert real_grub.listed(text) == said


def test_parentheses_cost_no_more_than_their_number():
    assert real_grub.listed(asking(f"[ {'( ' * 20_000} x ]")) == "y"


@pytest.mark.nightly
@real_grub.NEEDED
def test_grub_itself_says_so(tmp_path):
    scripts = {asking(condition): said for condition, said in ASKED} | dict(PRINTED)

    assert dict(zip(scripts, real_grub.printed([*scripts], tmp_path), strict=True)) == scripts


@pytest.mark.nightly
@real_grub.NEEDED
@pytest.mark.parametrize("seed", ["one", "two", "three", "four"])
def test_random_scripts_print_what_they_print_in_grub(seed, tmp_path):
    scripts = list(itertools.islice(real_grub.Scripts(seed), 200))
    ours = {text: " ".join(real_grub.listed(text).split()) for text in scripts}

    theirs = dict(zip(scripts, real_grub.printed(scripts, tmp_path), strict=True))

    sure = [text for text in scripts if not {"[", "?"} & set(ours[text])]
    assert len(sure) > 100
    assert {text: ours[text] for text in sure} == {text: theirs[text] for text in sure}
