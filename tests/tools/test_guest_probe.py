"""What guest inspection needs: each thing that can be missing has its own name and remedy."""

import json
import os
import platform
import tempfile

import pytest

from pipeline.errors import ToolError
from pipeline.tools.appliance import kvm
from pipeline.tools.appliance import launch as guest
from pipeline.tools.appliance import probe as guest_probe
from pipeline.tools.appliance.probe import Machine

VERSION = "6.1.0-18-amd64"


@pytest.fixture
def machine(tmp_path):
    """A machine with a kernel, its modules, and room."""
    for name in ("boot", "cache", "tmp"):
        (tmp_path / name).mkdir()
    modules = tmp_path / "modules" / VERSION
    modules.mkdir(parents=True)
    (modules / "modules.dep").write_text("")
    (tmp_path / "boot" / f"vmlinuz-{VERSION}").write_bytes(b"kernel")
    env = {"LIBGUESTFS_CACHEDIR": str(tmp_path / "cache")}
    return Machine(tmp_path / "boot", tmp_path / "modules", tmp_path / "tmp", env)


def found(machine, name):
    return next(check for check in guest_probe.needed(machine) if check.name == name)


def test_a_machine_that_has_everything(machine):
    check = found(machine, "kernel")

    assert check.ok
    assert check.seen.endswith(f"boot/vmlinuz-{VERSION}")


@pytest.fixture
def somebody():
    """An ordinary user, where the suite runs as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_kernel_that_may_not_be_read(machine, request):
    # given a kernel as Ubuntu installs it
    for directory in (machine.boot, *machine.boot.parents):
        if directory.is_relative_to(tempfile.gettempdir()) and directory.owner() == "root":
            directory.chmod(directory.stat().st_mode | 0o755)
    (machine.boot / f"vmlinuz-{VERSION}").chmod(0)
    request.getfixturevalue("somebody")

    check = guest_probe._kernel(machine)

    assert (check.ok, check.code) == (False, "guest-kernel-unreadable")
    assert "chmod 0644" in check.remedy
    assert f"apt-get download linux-image-{VERSION}" in check.remedy  # the way without root


def test_no_kernel_at_all(machine):
    (machine.boot / f"vmlinuz-{VERSION}").unlink()

    check = found(machine, "kernel")

    assert (check.ok, check.code) == (False, "guest-kernel-missing")
    assert "apt-get install linux-image" in check.remedy


def test_a_kernel_without_its_modules_does_not_count(machine):
    (machine.modules / VERSION / "modules.dep").unlink()

    assert found(machine, "kernel").code == "guest-kernel-missing"


def test_the_newest_kernel_is_the_one_that_supermin_takes(machine):
    for version in ("6.9.0-1-amd64", "6.10.0-1-amd64"):
        (machine.modules / version).mkdir()
        (machine.modules / version / "modules.dep").write_text("")
        (machine.boot / f"vmlinuz-{version}").write_bytes(b"kernel")

    assert guest_probe.chosen_kernel(machine) == machine.boot / "vmlinuz-6.10.0-1-amd64"


def test_a_kernel_that_the_user_names(machine):
    named = Machine(
        machine.boot, machine.modules, machine.temporary, {"SUPERMIN_KERNEL": "/nowhere"}
    )

    assert found(named, "kernel").code == "guest-kernel-missing"


def test_a_fixed_appliance_needs_neither_kernel_nor_supermin(machine, tmp_path):
    (tmp_path / "README.fixed").write_text("")
    fixed = Machine(
        machine.boot, tmp_path, machine.temporary, {"LIBGUESTFS_PATH": f"/x:{tmp_path}"}
    )

    names = [check.name for check in guest_probe.needed(fixed)]

    assert "appliance" in names
    assert not {"kernel", "supermin", "cache directory"} & set(names)


def test_a_directory_without_room(tmp_path):
    check = guest_probe._space(
        "cache directory", tmp_path, 1 << 60, "make room", "guest-cache-full"
    )

    assert (check.ok, check.code) == (False, "guest-cache-full")
    assert "of the 1 EiB that are needed" in check.seen


def test_directories_that_cannot_be_written(machine, tmp_path):
    missing = Machine(
        machine.boot,
        machine.modules,
        tmp_path / "no",
        {"LIBGUESTFS_CACHEDIR": str(tmp_path / "gone")},
    )

    assert found(missing, "cache directory").code == "guest-cache-full"
    assert found(missing, "temporary directory").code == "guest-temporary-full"


def test_programs_that_are_not_installed(machine, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")

    assert found(machine, "supermin").code == "guest-supermin-missing"
    assert found(machine, "qemu").code == "guest-qemu-missing"
    assert "apt-get install qemu-system" in found(machine, "qemu").remedy


def test_the_first_thing_that_is_missing_becomes_the_error(machine, monkeypatch):
    monkeypatch.setattr(guest_probe, "worker_python", lambda: None)

    with pytest.raises(ToolError) as caught:
        guest_probe.require_ready(machine)

    assert (caught.value.code, caught.value.exit_code) == ("guest-module-missing", 3)
    assert "python3-guestfs" in caught.value.hint


def test_the_worker_gets_only_what_finds_the_appliance():
    env = {
        "LIBGUESTFS_CACHEDIR": "/c",
        "SUPERMIN_KERNEL": "/k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "HOME": "/h",
    }

    assert guest_probe.environment(Machine(env=env)) == {
        "LIBGUESTFS_CACHEDIR": "/c",
        "SUPERMIN_KERNEL": "/k",
    }


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (
            "cp: cannot open '/boot/vmlinuz-6.5' for reading: Permission denied",
            "guest-kernel-unreadable",
        ),
        ("supermin: failed to find a suitable kernel (host_cpu=x86_64).", "guest-kernel-missing"),
        ("supermin: error: statvfs: No space left on device", "guest-cache-full"),
        ('qemu: Failed to get "write" lock', "guest-image-in-use"),
        ("something new", "guest-launch-failed"),
    ],
)
def test_what_libguestfs_says_gets_a_name(said, code):
    error = guest_probe.launch_failure(said)

    assert (error.code, error.exit_code) == (code, 3)
    assert "imgprep doctor" in error.hint


def test_the_lines_that_tell_are_found_among_the_noise():
    noise = "libguestfs: trace: launch\nsupermin: version: 5.2.2\nsupermin: build: 214 packages\n"
    telling = "supermin: failed to find a suitable kernel (host_cpu=x86_64).\n"

    assert guest_probe.telling_lines(noise + telling + "libguestfs: closing\n") == telling.strip()


# ------------------------------------------------------------------------------------------------ KVM


@pytest.fixture(autouse=True)
def _asked_anew():
    kvm.accelerator.cache_clear()
    yield
    kvm.accelerator.cache_clear()


def test_a_machine_without_kvm(monkeypatch):
    monkeypatch.setattr(kvm, "_DEVICE", "/dev/there-is-none")

    assert kvm.accelerator(None) == kvm.Accelerator("tcg", "there is no /dev/there-is-none")


@pytest.mark.needs(kvm.QEMU.get(platform.machine(), kvm.QEMU["x86_64"])[0])
def test_a_kernel_that_does_not_start_means_emulation(tmp_path):
    # given a kernel that no processor runs, so that the verdict is the same with and without KVM
    kernel, memory = tmp_path / "vmlinuz", tmp_path / "cache" / "kvm.json"
    kernel.write_bytes(b"no kernel")

    first = kvm.accelerator(kernel, memory)
    kvm.accelerator.cache_clear()
    again = kvm.accelerator(kernel, memory)

    assert first.name == "tcg"
    assert again == first
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        assert json.loads(memory.read_text())["reason"] == first.reason


@pytest.mark.skipif(
    not os.access("/dev/kvm", os.R_OK | os.W_OK), reason="nothing is kept without /dev/kvm"
)
@pytest.mark.parametrize("kept", ["no JSON", "[]", '{"at": 0, "key": [], "name": "kvm"}'])
def test_a_verdict_that_does_not_hold_any_more_is_not_used(tmp_path, kept):
    kernel, memory = tmp_path / "vmlinuz", tmp_path / "kvm.json"
    kernel.write_bytes(b"no kernel")
    memory.write_text(kept)

    assert kvm.accelerator(kernel, memory).name == "tcg"
    assert json.loads(memory.read_text())["name"] == "tcg"


def test_diagnose_names_everything_and_says_what_to_do():
    checks = guest.diagnose()

    names = [check.name for check in checks]
    assert {"guestfs module", "qemu", "temporary directory", "KVM"} <= set(names)
    assert all(check.seen for check in checks)
    assert all(check.remedy and check.code for check in checks if not check.ok)
