"""The disk under test: opened once a run, and lent to every stage that asks.

    Source + container facts ──▶ GuestDisk ─┬─ view()   bytes and allocation of the disk
                                            ├─ serve()  a socket for a program that wants to read it
                                            └─ content id   names everything its bytes depend on

What costs a process is started when it is asked for first and serves everybody afterwards: one
qemu-nbd and one allocation map a run at the most, and none at all where the disk lies in its file as
it is.

What is on the disk and belongs to no file any more can be left out (``reclaim``): it then reads as
zeros, for everybody who asks for the view.

Three things are told apart.  The *change guard* (``Source.require_unchanged``) says whether the file
is still what it was.  The *content id* says which bytes these are: today the stat identity of the
user's file, which what was unpacked from it shares, and what is left out.  A VHD's *unique id* is
derived from the content id and the profile.
"""

from __future__ import annotations

import dataclasses
import threading
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pipeline.facts import ContainerFacts
from pipeline.model import digest
from pipeline.remote.view import view_of
from pipeline.source import DiskView, Identity, RemoteIdentity, Source

if TYPE_CHECKING:
    from pipeline.content.free_space import FreeSpace
    from pipeline.content.partitions import PartitionTable
    from pipeline.tools.mapped import Runs
    from pipeline.tools.nbd_view import NbdView


def stat_content_id(identity: Identity | RemoteIdentity) -> str:
    """The content id of a file that is known by its place and times: no copy of it has the same."""
    return f"stat:{digest(dataclasses.asdict(identity))}"


class GuestDisk:
    """One source's disk.  May be used from several threads; close it, or use it as a context."""

    def __init__(
        self,
        source: Source,
        container: ContainerFacts,
        scratch: Path,
        *,
        origin: Identity | RemoteIdentity | None = None,
        reclaim: bool = False,
        fingerprint: str | None = None,
    ) -> None:
        """``scratch``: a private directory, for sockets.

        ``origin``: of the user's file, where ``source`` was unpacked from it.  ``reclaim``: what its
        file systems call free reads as zeros.  ``fingerprint``: the content id of the user's file,
        where that is known by its bytes and not by its place and times.
        """
        self.source = source
        self.container = container
        self.reclaim = reclaim
        self.origin = origin or source.identity()
        self.fingerprint = fingerprint
        self._scratch = scratch
        self._lock = threading.RLock()
        self._opened = ExitStack()
        self._socket: Path | None = None
        self._served: NbdView | None = None
        self._runs: Runs | None = None
        self._table: PartitionTable | None = None
        self._free: FreeSpace | None = None
        self._mapped = False  # the map was asked for; None then: it is too long to be worth it

    @property
    def size(self) -> int:
        """Bytes that the guest sees; no stage comes so far with an image that does not tell."""
        size = self.container["virtual_size"]
        assert size is not None
        return size

    @property
    def content_id(self) -> str:
        """Names everything that the disk's bytes depend on."""
        source = self.fingerprint or stat_content_id(self.origin)
        return f"{source}+reclaimed:{self.free_space().id}" if self.reclaim else source

    def view(self, *, map_first: bool = False) -> DiskView:
        """The disk's bytes; with ``reclaim``, zeros where it is free.

        ``map_first``: for somebody who reads all data, so that it pays to ask first where it lies in the
        file (``pipeline.tools.mapped``).  Raises ``ToolError`` when qemu-nbd does not start,
        ``ConversionFailed`` when its disk has another size than the facts say.
        """
        from pipeline.content.free_space.view import ZeroedView

        plain = self.as_it_is(map_first=map_first)
        return ZeroedView(plain, self.free_space()) if self.reclaim else plain

    def free_space(self) -> FreeSpace:
        """What of the disk holds nothing, as its file systems say; looked for once.

        Where nothing is left out it is only a hint, for which not every witness is heard.
        """
        from pipeline.content import free_space

        with self._lock:
            if self._free is None:
                self._free = free_space.survey(
                    self.as_it_is(), self.partition_table(), thorough=self.reclaim
                )
            return self._free

    def partition_table(self) -> PartitionTable:
        """How the disk is divided; read once, for everybody who asks."""
        from pipeline.content import partitions
        from pipeline.content.disk import PagedReader

        with self._lock:
            if self._table is None:
                self._table = partitions.parse(PagedReader(self.as_it_is()))
            return self._table

    def as_it_is(self, *, map_first: bool = False) -> DiskView:
        """The disk's bytes, free space and all; raises what ``view`` raises."""
        from pipeline.tools import qemu_img
        from pipeline.tools.mapped import MappedView

        if qemu_img.lies_in_file(self.container):
            return view_of(self.source, self.size)
        with self._lock:
            runs = self._map() if map_first or self._mapped else None
            return self._server() if runs is None else MappedView(self.source, runs, self._server)

    def serve(self) -> Path:
        """The unix socket of an NBD server (read-only, for many clients at a time).

        It serves the disk as it is, free space and all, until the disk is closed.  Raises
        ``ToolError`` when it does not start.
        """
        from pipeline.tools import nbd, nbd_server

        with self._lock:
            if self._socket is None:
                if self.source.is_file:
                    serving = nbd.serve(self.source, self.container, scratch=self._scratch)
                else:  # it lies there as it is, else it would have been copied
                    serving = nbd_server.serving_in(self._scratch, self.as_it_is())
                self._socket = self._opened.enter_context(serving)
            return self._socket

    def close(self) -> None:
        """End what was started; a second call does nothing."""
        with self._lock:
            self._opened.close()
            self._socket = self._served = None

    def _server(self) -> NbdView:
        from pipeline.tools import nbd
        from pipeline.tools.nbd_view import NbdView

        with self._lock:
            if self._served is None:
                view = NbdView(self.serve(), self.source.name, nbd.CONNECTIONS)
                self._opened.callback(view.close)
                nbd.require_size(self.source.name, view.size, self.container["virtual_size"])
                self._served = view
            return self._served

    def _map(self) -> Runs | None:
        from pipeline.tools import nbd

        if not self._mapped:
            self._runs = nbd.map_runs(self.source, self.container)
            self._mapped = True
        return self._runs

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
