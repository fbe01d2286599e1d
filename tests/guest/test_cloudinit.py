"""cloud-init: on or off, and where it looks, by all of its layers."""

import pytest
from guests import GRUB_CFG, KERNEL, ROOT, Link, facts, findings, trees
from phony import files_of

from pipeline.guest import yamlfile
from pipeline.guest.cloudinit import configuration

D = "etc/cloud/cloud.cfg.d"
NONE = {f"{D}/90_dpkg.cfg": ...}


def cmdline(words):
    line = f"linux /boot/vmlinuz-{KERNEL} root=UUID={ROOT} {words}"
    return {GRUB_CFG: f"menuentry x {{\n{line}\ninitrd /boot/initrd.img-{KERNEL}\n}}\n"}


@pytest.mark.parametrize(
    ("tree", "sources"),
    [
        ({}, None),
        ({f"{D}/90.cfg": "datasource_list: [ Ec2, None ]"}, ["Ec2", "None"]),
        (
            {f"{D}/90.cfg": "datasource_list:\n  - Azure # here\n  - None\nother: 1"},
            ["Azure", "None"],
        ),
        ({f"{D}/90.cfg": "datasource_list:\n- 'ConfigDrive'\n"}, ["ConfigDrive"]),
        ({f"{D}/90.cfg": "datasource_list: [\n  Ec2,\n  GCE\n]\n"}, ["Ec2", "GCE"]),
        ({f"{D}/90.cfg": '"datasource_list": ["Ec2"]\n'}, ["Ec2"]),
        ({f"{D}/90.cfg": "'datasource_list' : [Ec2]\n"}, ["Ec2"]),
        ({f"{D}/90.cfg": "{datasource_list: [Ec2]}\n"}, ["Ec2"]),
        ({f"{D}/90.cfg": "datasource_list: []\n"}, []),
        ({f"{D}/90.cfg": "datasource:\n  datasource_list: [Ec2]\n"}, None),
        ({f"{D}/90.cfg": "#datasource_list: [A]\n"}, None),
        ({f"{D}/90.cfg": "datasource_list: [A\n"}, None),
        ({f"{D}/10.cfg": "datasource_list: [A]", f"{D}/90.cfg": "datasource_list: [B]"}, ["B"]),
        ({f"{D}/90.cfg": "datasource_list: [A]", f"{D}/10.cfg": "datasource_list: [B]"}, ["A"]),
        ({f"{D}/90.cfg.disabled": "datasource_list: [A]"}, None),
        ({"etc/cloud/cloud.cfg": "datasource_list: [A]"}, ["A"]),
        ({"etc/cloud/cloud.cfg": "datasource_list: [A]", f"{D}/9.cfg": "x: 1"}, ["A"]),
        (
            {
                "etc/cloud/ds-identify.cfg": "datasource: Ec2\n",
                f"{D}/9.cfg": "datasource_list: [B]",
            },
            ["Ec2"],
        ),
        (
            {"etc/cloud/ds-identify.cfg": "policy: search\n", f"{D}/9.cfg": "datasource_list: [B]"},
            ["B"],
        ),
        *(
            (
                {
                    "etc/cloud/ds-identify.cfg": f"datasource: {named}\n",
                    f"{D}/9.cfg": "datasource_list: [B]",
                },
                ["B"],
            )
            for named in ("[A]", "''", "1", "")
        ),
        (cmdline("ds=nocloud quiet"), ["NoCloud"]),
        (cmdline("ds=nocloud-net"), ["NoCloud"]),
        (cmdline("ci.ds=Ec2"), ["Ec2"]),
        (cmdline("ci.datasource=Azure"), ["Azure"]),
        ({**cmdline("xds=nocloud"), f"{D}/9.cfg": "datasource_list: [B]"}, ["B"]),
    ],
)
def test_the_datasource_list_in_force(tree, sources):
    assert facts({**NONE, **tree})["cloud_init"]["datasource_list"] == sources


ASKING = {
    "usr/lib/systemd/system/cloud-init-local.service": "[Unit]\n"
    "ConditionPathExists=!/etc/cloud/cloud-init.disabled\n"
    "ConditionKernelCommandLine=!cloud-init=disabled\n"
}


@pytest.mark.parametrize(
    ("tree", "why"),
    [
        ({}, None),
        ({"etc/cloud/cloud-init.disabled": ""}, "/etc/cloud/cloud-init.disabled"),
        ({**cmdline("cloud-init=enabled"), "etc/cloud/cloud-init.disabled": ""}, None),
        ({"etc/cloud/cloud-init.enabled": "", "etc/cloud/cloud-init.disabled": ""}, None),
        (cmdline("cloud-init=disabled cloud-init=enabled"), None),
        # units that ask for themselves, as Debian 13 has them
        ({**ASKING, "etc/cloud/cloud-init.disabled": ""}, "/etc/cloud/cloud-init.disabled"),
        (
            {**ASKING, **cmdline("cloud-init=enabled"), "etc/cloud/cloud-init.disabled": ""},
            "/etc/cloud/cloud-init.disabled",
        ),
        (
            {**ASKING, "etc/cloud/cloud-init.enabled": "", "etc/cloud/cloud-init.disabled": ""},
            "/etc/cloud/cloud-init.disabled",
        ),
        (
            {**ASKING, **cmdline("cloud-init=disabled cloud-init=enabled")},
            "cloud-init=disabled on the kernel command line",
        ),
        ({**ASKING, "etc/cloud/cloud-init.enabled": ""}, None),
        (ASKING, None),
        (cmdline("cloud-init=disabled"), "cloud-init=disabled on the kernel command line"),
        (cmdline("cloud-init=enabled"), None),
        (cmdline("xcloud-init=disabled"), None),
        (
            {"etc/cloud/ds-identify.cfg": "policy: disabled\n"},
            "policy: disabled in /etc/cloud/ds-identify.cfg",
        ),
        (
            {"etc/cloud/ds-identify.cfg": "'policy': \"disabled\"\n"},
            "policy: disabled in /etc/cloud/ds-identify.cfg",
        ),
        (
            {"etc/cloud/ds-identify.cfg": "policy: search,found=all,maybe=all,notfound=disabled\n"},
            None,
        ),
        (cmdline("ci.di.policy=disabled"), "ci.di.policy="),
        (
            {"etc/systemd/system/cloud-init.service": Link("/dev/null")},
            "cloud-init.service is masked",
        ),
        ({"etc/systemd/system/cloud-init-local.service": ""}, "cloud-init-local.service is masked"),
        ({"etc/systemd/system/cloud-init.service": Link("/lib/systemd/system/x")}, None),
    ],
)
def test_ways_to_turn_it_off(tree, why):
    found = facts(tree)["cloud_init"]

    assert (found["disabled"], found["disabled_by"]) == (why is not None, why)
    assert findings(tree) == ({"cloud-init-missing"} if why else set())


@pytest.mark.parametrize(
    ("tree", "name", "value"),
    [
        ({f"{D}/9.cfg": "ssh_deletekeys: false"}, "ssh_deletekeys", False),
        ({f"{D}/9.cfg": "ssh_deletekeys: 'no'"}, "ssh_deletekeys", False),
        ({f"{D}/9.cfg": "ssh_pwauth: 1"}, "ssh_pwauth", True),
        ({f"{D}/9.cfg": "ssh_pwauth: unchanged"}, "ssh_pwauth", None),
        ({f"{D}/9.cfg": "disable_root: true"}, "disable_root", True),
        ({f"{D}/9.cfg": "network:\n  config: disabled\n"}, "network_disabled", True),
        ({f"{D}/9.cfg": "network: {version: 2}\n"}, "network_disabled", False),
        (
            {"var/lib/cloud/instance": Link("/var/lib/cloud/instances/i-1")},
            "instance_state",
            ["/var/lib/cloud/instance"],
        ),
        (
            {"var/lib/cloud/instances/i-1/user-data.txt": "x"},
            "instance_state",
            ["/var/lib/cloud/instances/i-1"],
        ),
        ({"var/lib/cloud/seed/nocloud": None}, "instance_state", []),
        ({}, "version", "22.4.2-1"),
        (
            {
                "var/lib/dpkg/status": ...,
                "usr/lib/python3/dist-packages/cloud_init-23.1.2.egg-info": "",
            },
            "version",
            "23.1.2",
        ),
    ],
)
def test_other_settings(tree, name, value):
    assert facts(tree)["cloud_init"][name] == value


def test_keys_of_later_files_replace_earlier_ones():
    tree = {
        "etc/cloud/cloud.cfg": "a: 1\nb: {x: 1}\n",
        f"{D}/20.cfg": "b: {y: 2}\n",
        f"{D}/10.cfg": "b: 5\n",
    }

    assert configuration(files_of(tree)) == {"a": 1, "b": {"y": 2}}


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x]\nb: &b [*a, *a]\n" + "c: [" + "*b, " * 70 + "]",
        "[" * 30 + "]" * 30,
        "a: " * 30,
        "x" * 70_000,
        "!!python/object/apply:os.getcwd []",
        "a: [",
        "\t- x",
        "? [a]\n: b\n? {a: 1}\n: c",
        "a: 2020-13-45",
        "\x00",
    ],
)
def test_what_yaml_can_do_harm_with_is_no_document(text):
    assert yamlfile.parse(text) is None or isinstance(yamlfile.parse(text), str)
    assert yamlfile.mapping(text) == {}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: &x 1\nb: *x", {"a": 1, "b": 1}),
        ("{}", {}),
        ("a: yes", {"a": True}),
        ("- 1", [1]),
        ("5", 5),
    ],
)
def test_documents(text, value):
    assert yamlfile.parse(text) == value


@pytest.mark.parametrize(
    ("tree", "final"),
    [
        ({}, ["scripts_vendor", "scripts_user", "final_message"]),
        ({f"{D}/9.cfg": "cloud_final_modules: [scripts_user]"}, ["scripts_user"]),
        ({f"{D}/9.cfg": "cloud_final_modules:\n - [scripts-vendor, always]"}, ["scripts_vendor"]),
        ({f"{D}/9.cfg": "cloud_final_modules:\n - name: scripts-vendor"}, ["scripts_vendor"]),
        ({f"{D}/9.cfg": "cloud_final_modules: scripts-vendor"}, []),
        ({f"{D}/9.cfg": "cloud_final_modules: [[], 5, {x: y}]"}, []),
        ({"etc/cloud/cloud.cfg": "users: []"}, []),
    ],
)
def test_the_modules_of_a_step_by_all_layers(tree, final):
    assert facts(tree)["cloud_init"]["modules"]["final"] == final


WANTS = "etc/systemd/system/cloud-init.target.wants"
UNIT = "usr/lib/systemd/system"


@pytest.mark.parametrize(
    ("tree", "states"),
    [
        ({}, {}),
        ({f"{WANTS}/cloud-final.service": ...}, {"cloud-final.service": "disabled"}),
        (
            {f"{WANTS}/cloud-final.service": ..., f"{UNIT}/cloud-final.service": ...},
            {"cloud-final.service": "absent"},
        ),
        (
            {
                f"{WANTS}/cloud-config.service": ...,
                "etc/systemd/system/cloud-config.service": Link("/dev/null"),
            },
            {"cloud-config.service": "masked"},
        ),
        (  # what 24.3 calls the second step
            {
                f"{WANTS}/cloud-init.service": ...,
                f"{UNIT}/cloud-init.service": ...,
                f"{WANTS}/cloud-init-network.service": Link("/lib/x"),
                f"{UNIT}/cloud-init-network.service": "[Unit]\n",
            },
            {},
        ),
    ],
)
def test_which_of_its_units_start(tree, states):
    enabled = dict.fromkeys(
        (
            *("cloud-init-local.service", "cloud-init.service"),
            *("cloud-config.service", "cloud-final.service"),
        ),
        "enabled",
    )

    assert facts(tree)["cloud_init"]["units"] == enabled | states


def test_on_openrc_its_services_stand_in_a_run_level():
    levels = {f"etc/runlevels/default/cloud-{name}": Link("x") for name in ("init", "config")}
    levels |= {f"etc/runlevels/boot/cloud-{name}": Link("x") for name in ("init-local", "final")}
    gone = dict.fromkeys(
        [path for path in trees.debian(ROOT) if path.startswith((WANTS, f"{UNIT}/cloud-"))], ...
    )

    assert set(facts({**gone, **levels})["cloud_init"]["units"].values()) == {"enabled"}


def test_a_guest_without_cloud_init_has_neither():
    found = facts({"usr/bin/cloud-init": ...})["cloud_init"]

    assert (found["modules"], found["units"]) == (None, None)
