"""The one door: what a child gets, what stops it, and that nothing of it stays."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import Interrupted, ToolError
from pipeline.stage import Cancellation
from pipeline.tools import command
from pipeline.tools.command import MIB, Limits

SHORT = Limits(wall_s=20)
ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.needs("setpriv", "prlimit", "sh")


def sh(script, *arguments, **options):
    """Run a shell script: the shell is the program under test's child here, never the door's."""
    limits = options.pop("limits", SHORT)
    return command.run(["sh", "-c", script, "sh", *arguments], limits=limits, **options)


def gone(pid, within_s=5.0):
    """Whether the process ended (a zombie has)."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in "ZX":
            return True
        time.sleep(0.01)
    return False


def read_number(path, within_s=5.0):
    """The number that a child writes into a file as soon as it can."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if path.exists() and path.read_text().endswith("\n"):
            return int(path.read_text())
        time.sleep(0.01)
    raise AssertionError(f"{path} was never written")


class TestWhatAChildGets:
    def test_arguments_reach_it_unchanged(self):
        odd = ["-n", "a b", "$(id)", "`id`", "*", "", "'\"\\", "line\nbreak", "ü\u202e"]

        done = command.run(["printf", "%s\\0", *odd], limits=SHORT)

        assert done.stdout.decode().split("\0")[:-1] == odd

    def test_its_environment_is_built_from_nothing(self, monkeypatch):
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "do-not-pass")

        done = command.run(["env"], limits=SHORT, env={"TMPDIR": "/nowhere"})

        names = {line.split("=")[0] for line in done.stdout.decode().splitlines()}
        assert names == {"PATH", "LC_ALL", "TMPDIR"}

    def test_a_memory_limit_brings_the_malloc_setting_that_it_needs(self):
        done = command.run(["env"], limits=Limits(memory=512 * MIB))

        assert b"MALLOC_ARENA_MAX=2" in done.stdout

    def test_stdin_is_empty_unless_bytes_are_given(self):
        assert sh("cat").stdout == b""

    def test_stdin_may_be_larger_than_a_pipe(self):
        data = os.urandom(3 * MIB)

        assert sh("cat", stdin=data).stdout == data

    def test_a_child_that_reads_nothing_is_no_error(self):
        assert sh("exec <&-; echo done", stdin=bytes(MIB)).stdout == b"done\n"

    def test_only_the_named_descriptors_are_inherited(self, tmp_path):
        path = tmp_path / "file"
        path.write_bytes(b"content")
        named, other = os.open(path, os.O_RDONLY), os.open(path, os.O_RDONLY)
        os.set_inheritable(other, True)
        try:
            done = sh(
                f"cat /proc/self/fd/{named}; test ! -e /proc/self/fd/{other}", pass_fds=[named]
            )
        finally:
            os.close(named)
            os.close(other)

        assert done.stdout == b"content"

    def test_its_limits_are_the_kernels(self):
        limits = Limits(cpu_s=7, memory=300 * MIB, file_size=1 * MIB)

        seen = sh("ulimit -t; ulimit -v; ulimit -f; ulimit -c; ulimit -n", limits=limits)

        assert seen.stdout.split() == [b"7", b"307200", b"2048", b"0", b"1024"]

    def test_it_leads_a_session_of_its_own(self):
        pid, session = sh("echo $$; ps -o sid= -p $$ || cut -d' ' -f6 /proc/$$/stat").stdout.split()

        assert pid == session != str(os.getsid(0)).encode()

    def test_the_door_works_from_several_threads_at_once(self):
        seen = []
        threads = [
            threading.Thread(target=lambda n=n: seen.append(sh(f"echo {n}").stdout))
            for n in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(int(item) for item in seen) == list(range(16))


class TestHowItEnds:
    def test_a_missing_program_has_its_own_code(self):
        with pytest.raises(ToolError, match="no-such-program") as caught:
            command.run(["no-such-program"], limits=SHORT)

        assert caught.value.code == "tool-missing"
        assert "doctor" in caught.value.hint

    def test_a_failing_one_is_quoted_cleaned(self):
        with pytest.raises(ToolError) as caught:
            sh(r"printf 'cannot \033[31mopen\033[0m it\n' >&2; exit 5")

        assert caught.value.code == "tool-failed"
        assert r"exit status 5; it said: cannot \x1b[31mopen" in caught.value.message

    def test_without_check_the_status_is_the_callers_business(self):
        assert sh("exit 3", check=False).returncode == 3

    def test_a_signal_is_named(self):
        with pytest.raises(ToolError, match="SIGSEGV") as caught:
            sh("kill -SEGV $$")

        assert caught.value.code == "tool-killed"

    def test_too_much_cpu_time(self):
        with pytest.raises(ToolError, match="more than 1 s of CPU time") as caught:
            sh("while :; do :; done", limits=Limits(wall_s=20, cpu_s=1))

        assert caught.value.code == "tool-killed"

    def test_too_large_a_file(self, tmp_path):
        with pytest.raises(ToolError):
            command.run(
                ["dd", "if=/dev/zero", f"of={tmp_path / 'big'}", "bs=1M", "count=3"],
                limits=Limits(file_size=MIB),
            )

        assert (tmp_path / "big").stat().st_size == MIB

    def test_too_much_memory(self):
        greedy = [sys.executable, "-I", "-c", "bytearray(1 << 30)"]

        with pytest.raises(ToolError, match="MemoryError"):
            command.run(greedy, limits=Limits(memory=512 * MIB))

    @pytest.mark.parametrize("stream", ["1", "2"])
    def test_output_without_end_is_cut_and_costs_no_memory(self, stream):
        started = time.monotonic()

        with pytest.raises(ToolError, match="printed more than 1 MiB") as caught:
            sh(f"exec yes >&{stream}", limits=Limits(wall_s=20, output=MIB))

        assert caught.value.code == "tool-output-limit"
        assert time.monotonic() - started < 5

    def test_of_errors_the_end_is_kept(self):
        done = sh("yes early | head -c 100000 >&2; echo late >&2", limits=Limits(errors=1000))

        assert done.stderr.endswith("late\n")
        assert len(done.stderr) <= 1000

    def test_handed_over_output_is_not_limited(self):
        seen = []

        done = sh(
            "yes | head -c 3000000",
            limits=Limits(output=MIB),
            on_stdout=lambda c: seen.append(len(c)),
        )

        assert sum(seen) == 3_000_000
        assert done.stdout == b""

    def test_the_wall_clock_counts_even_when_it_sleeps(self, tmp_path):
        note = tmp_path / "pid"
        started = time.monotonic()

        with pytest.raises(ToolError, match=r"within 0\.5 s") as caught:
            sh(f"trap '' TERM; sleep 100 & echo $! >{note}; wait", limits=Limits(wall_s=0.5))

        assert caught.value.code == "tool-timeout"
        assert time.monotonic() - started < 5
        assert gone(read_number(note))

    def test_a_grandchild_that_holds_the_pipes_is_not_waited_for(self, tmp_path):
        note = tmp_path / "pid"
        started = time.monotonic()

        done = sh(f"echo out; sleep 100 & echo $! >{note}")

        assert done.stdout == b"out\n"
        assert time.monotonic() - started < 5
        assert gone(read_number(note))

    def test_a_request_to_stop_kills_the_group(self, tmp_path):
        note, stop = tmp_path / "pid", Cancellation()
        timer = threading.Timer(0.3, stop.set, [signal.SIGTERM])
        timer.start()

        with pytest.raises(Interrupted) as caught:
            sh(f"sleep 100 & echo $! >{note}; wait", cancellation=stop)

        assert caught.value.exit_code == 143
        assert gone(read_number(note))

    def test_an_exception_of_the_reader_kills_the_group(self, tmp_path):
        note = tmp_path / "pid"

        def fail(_chunk):
            raise ValueError("not mine")

        with pytest.raises(ValueError, match="not mine"):
            sh(f"sleep 100 & echo $! >{note}; echo out; wait", on_stdout=fail)

        assert gone(read_number(note))

    def test_no_descriptor_and_no_zombie_stays(self):
        sh("true")
        before = len(os.listdir("/proc/self/fd"))

        for _round in range(20):
            sh("exit 1", check=False)

        assert len(os.listdir("/proc/self/fd")) == before
        assert zombies() == []

    @settings(max_examples=20, deadline=None)
    @given(data=st.binary(max_size=200_000))
    def test_any_bytes_pass_through(self, data):
        assert command.run(["cat"], limits=SHORT, stdin=data).stdout == data


def zombies() -> list[str]:
    """The names of our children that ended and were not reaped."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, _, rest = path.read_text().partition("(")[2].rpartition(")")
            state, parent = rest.split()[:2]
            if state == "Z" and int(parent) == os.getpid():
                found.append(name)
    return found


class TestWhenWeAreKilled:
    @pytest.mark.parametrize("confined", [False, True])
    @pytest.mark.parametrize("door", ["run", "background"])
    @pytest.mark.needs("bwrap")
    def test_the_child_dies_too(self, tmp_path, door, confined):
        # Unconfined, only the child itself is bound to us; a process namespace binds them all.
        note, last = tmp_path / "pid", "sleep 100 & wait" if confined else "exec sleep 100"
        program = textwrap.dedent(f"""
            import sys
            sys.path.insert(0, {str(ROOT)!r})
            from pipeline.tools import command
            from pathlib import Path
            argv = ["sh", "-c", "echo 1 >{note}; {last}"]
            box = command.Sandbox(writable=(Path({str(tmp_path)!r}),)) if {confined} else None
            if {door!r} == "run":
                command.run(argv, limits=command.Limits(wall_s=100), sandbox=box)
            with command.background(argv, limits=command.Limits(), sandbox=box) as child:
                child.wait(100)
        """)
        ours = subprocess.Popen([sys.executable, "-c", program])
        try:
            read_number(note, within_s=10)
            alive = processes_of(ours.pid)
        finally:
            ours.kill()
            ours.wait()

        assert len(alive) >= (3 if confined else 1)
        assert all(gone(pid) for pid in alive)


def processes_of(ancestor):
    """The numbers of all that descend from a process."""
    parents = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            parents[int(pid)] = int(
                Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1]
            )
        except (FileNotFoundError, ProcessLookupError):
            continue
    found = {ancestor}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {ancestor}


class TestBackground:
    def test_it_lives_as_long_as_the_block(self):
        with command.background(["sleep", "100"], limits=SHORT) as child:
            assert child.alive()
            pid = child.pid

        assert gone(pid, within_s=0.5)
        assert child.returncode == -signal.SIGKILL

    def test_it_outlives_the_thread_that_asked_for_it(self):
        entered = []
        block = command.background(["sleep", "100"], limits=SHORT)
        starter = threading.Thread(target=lambda: entered.append(block.__enter__()))
        starter.start()
        starter.join()
        time.sleep(0.2)

        alive = entered[0].alive()
        block.__exit__(None, None, None)

        assert alive
        assert not entered[0].alive()

    def test_what_it_says_can_be_read_while_it_runs(self):
        script = "echo warning >&2; exec sleep 100"
        with command.background(["sh", "-c", script], limits=SHORT) as child:
            deadline = time.monotonic() + 5
            while not child.stderr and time.monotonic() < deadline:
                time.sleep(0.01)

            assert child.stderr == "warning\n"

    def test_one_that_ended_by_itself_says_why(self):
        with command.background(["sh", "-c", "echo no socket >&2; exit 4"], limits=SHORT) as child:
            assert child.wait(5)

            assert child.returncode == 4
            assert "exit status 4; it said: no socket" in child.failure().message

    def test_a_server_may_print_for_ever(self):
        limits = Limits(output=1000, errors=1000)
        with command.background(["sh", "-c", "exec yes >&2"], limits=limits) as child:
            time.sleep(0.3)

            assert child.alive()
            assert len(child.stderr) <= 1000

    def test_an_exception_in_the_block_passes_and_kills(self):
        with (
            pytest.raises(KeyError),
            command.background(["sleep", "100"], limits=SHORT) as child,
        ):
            raise KeyError

        assert not child.alive()

    def test_a_missing_program_is_told_at_once(self):
        with (
            pytest.raises(ToolError, match="no-such-program"),
            command.background(["no-such-program"], limits=SHORT),
        ):
            pytest.fail("the block must not be entered")
