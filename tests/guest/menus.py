"""Menus of boot loaders, and files that they start."""

from guests import KERNEL, ROOT
from phony import files_of

from pipeline.guest import boot

GOOD = f"linux /boot/vmlinuz-{KERNEL} root=UUID={ROOT} ro\n initrd /boot/initrd.img-{KERNEL}\n"
BAD = f"linux /boot/vmlinuz-{KERNEL} root=/dev/sda1 ro\n initrd /boot/initrd.img-{KERNEL}\n"
MENU = (
    f"menuentry 'Good' --class os $menuentry_id_option 'good-id' {{\n {GOOD}}}\n"
    f"submenu 'More options' $menuentry_id_option 'more-id' {{\n"
    f"  menuentry 'Bad' $menuentry_id_option 'bad-id' {{\n {BAD} }}\n"
    f"  menuentry 'Bad, with > in it' {{\n {BAD} }}\n}}\n"
    f"menuentry 'Bad at the end' {{\n {BAD}}}\n"
)
HEADER = """
if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
   save_env next_entry
   set boot_once=true
else
   set default="%s"
fi
if [ x"${feature_menuentry_id}" = xy ]; then
  menuentry_id_option="--id"
else
  menuentry_id_option=""
fi
export menuentry_id_option
"""
SAVED = "# GRUB Environment Block\nsaved_entry=%s\n####"


def chosen(tree):
    """The title of what starts by itself."""
    configuration = boot.configuration(files_of(tree))
    return configuration.default_entry.title


def pe(**sections):
    """A PE file with these sections."""
    head = b"MZ".ljust(60, b"\0") + (128).to_bytes(4, "little")
    head = head.ljust(128, b"\0") + b"PE\0\0" + (0x8664).to_bytes(2, "little")
    head += (
        len(sections).to_bytes(2, "little")
        + bytes(12)
        + (16).to_bytes(2, "little")
        + bytes(2)
        + bytes(16)
    )
    at, table, data = 4096, b"", b""
    for name, content in sections.items():
        row = f".{name}".encode().ljust(8, b"\0") + len(content).to_bytes(4, "little") + bytes(4)
        row += (
            len(content).to_bytes(4, "little") + (at + len(data)).to_bytes(4, "little") + bytes(16)
        )
        table, data = table + row, data + content
    return (head + table).ljust(at, b"\0") + data


def bzimage(version, at=0x300):
    """The beginning of a kernel for x86: "HdrS" at 202h, where its version stands at 20Eh."""
    head = bytearray(0x200 + at)
    head[0x202:0x206] = b"HdrS"
    head[0x20E:0x210] = at.to_bytes(2, "little")
    return bytes(head) + f"{version} (builder@host) #1 SMP\0".encode()
