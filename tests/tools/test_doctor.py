"""What doctor tells: on this machine, and on machines that lack something."""

import os
import shutil
from pathlib import Path

import pytest

from pipeline.tools import confine, doctor, limits, seccomp
from pipeline.tools.doctor import Program


def by_name(checks):
    return {check.name: check for check in checks}


@pytest.mark.needs("qemu-img", "qemu-nbd", "bwrap", "setpriv", "prlimit")
class TestHere:
    def test_every_program_is_found_with_its_version(self):
        seen = by_name(doctor.diagnose())

        for program in doctor.PROGRAMS:
            assert seen[program.name].status == "ok"
            assert seen[program.name].found[0].isdigit()

    def test_what_is_not_well_says_what_to_do(self):
        for check in doctor.diagnose():
            assert check.needed_for
            assert (check.status == "ok") == (check.remedy == "")

    def test_versions_are_those_that_the_programs_print(self):
        seen = doctor.versions()

        assert set(seen) == {program.name for program in doctor.PROGRAMS}
        assert seen["qemu-img"] == seen["qemu-nbd"]


def fake(directory, name, script):
    path = directory / name
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(0o755)
    return path


class TestElsewhere:
    @pytest.mark.needs("module:pyfsext", "setpriv", "prlimit")
    def test_a_reader_that_cannot_be_locked_in_is_told(self, monkeypatch):
        monkeypatch.setattr(seccomp, "descriptor_only", lambda _descriptor: None)

        check = by_name(doctor.diagnose())["direct reader"]

        assert (check.status, check.found) == ("warning", "it cannot be locked in here")
        assert "--guest=direct" in check.remedy

    def test_a_missing_program_names_its_package(self, monkeypatch):
        gone = Program("no-such-tool", "its-package", (1, 0), "nothing")
        monkeypatch.setattr(doctor, "PROGRAMS", (gone,))

        check = by_name(doctor.diagnose())["no-such-tool"]

        assert check.status == "error"
        assert "apt-get install its-package" in check.remedy

    def test_an_old_one_is_told_with_both_versions(self, monkeypatch, tmp_path):
        fake(tmp_path, "qemu-img", "echo 'qemu-img version 2.11.1 (Debian)'\n")
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

        check = by_name(doctor.diagnose())["qemu-img"]

        assert check.status == "error"
        assert check.found.startswith("2.11.1 ")
        assert "older than 6.2" in check.found

    def test_one_that_does_not_run_is_not_taken_for_well(self, monkeypatch, tmp_path):
        fake(tmp_path, "qemu-nbd", "echo 'error while loading shared libraries' >&2; exit 127\n")
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

        check = by_name(doctor.diagnose())["qemu-nbd"]

        assert (check.status, "does not run" in check.found) == ("error", True)

    def test_confinement_that_does_not_work_is_a_warning_with_its_reason(self, monkeypatch):
        monkeypatch.setattr(
            confine, "detect", lambda: confine.Confinement(False, "setting up uid map: refused")
        )

        check = by_name(doctor.diagnose())["confinement"]

        assert check.status == "warning"
        assert check.found == "setting up uid map: refused"
        assert "bubblewrap" in check.remedy

    @pytest.mark.parametrize(
        ("free", "status"), [(100 << 30, "ok"), (1 << 30, "warning"), (1 << 20, "error")]
    )
    def test_space_is_judged_by_what_is_free(self, monkeypatch, tmp_path, free, status):
        usage = shutil.disk_usage(tmp_path)._replace(free=free)
        monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _path: usage)

        check = by_name(doctor.diagnose({"scratch": tmp_path}))["space for scratch"]

        assert check.status == status

    def test_a_directory_that_does_not_exist_yet_is_judged_by_its_parent(self, tmp_path):
        place = tmp_path / "not" / "yet"

        check = by_name(doctor.diagnose({"state": place}))["space for state"]

        assert str(tmp_path) in check.found
        assert not place.exists()

    def test_a_read_only_directory_is_an_error(self):
        check = by_name(doctor.diagnose({"state": Path("/proc/sys")}))["space for state"]

        assert check.status == "error"

    def test_problems_come_errors_first(self):
        warning = doctor.Diagnosis("a", "warning", "x", "y", "z")
        error = doctor.Diagnosis("b", "error", "x", "y", "z")
        fine = doctor.Diagnosis("c", "ok", "x", "y")

        assert list(doctor.problems((warning, fine, error))) == [error, warning]


def test_a_lower_hard_limit_of_the_machine_is_kept(monkeypatch):
    monkeypatch.setattr(limits.resource, "getrlimit", lambda _kind: (100, 100))

    assert "--nofile=100:100" in limits.launcher(limits.Limits())
