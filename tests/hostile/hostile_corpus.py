"""The corpus: built once a run, from fixtures/hostile/build_corpus.py, which is loaded by path."""

import importlib.util
import select
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load_builder() -> ModuleType:
    """The corpus builder, which is a program and no package."""
    name = "imgprep_hostile_builder"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            name, ROOT / "fixtures/hostile/build_corpus.py"
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@dataclass(frozen=True)
class Corpus:
    root: Path
    images: dict[str, Path]  # case to the path to check
    listeners: tuple[socket.socket, ...]  # where nobody may connect

    def connections(self) -> int:
        """How many listeners somebody tried to reach."""
        return len(select.select(self.listeners, [], [], 0)[0])


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    """All cases, and listeners behind every network name that an image mentions."""
    root = tmp_path_factory.mktemp("hostile")
    (root / "private").mkdir()
    with socket.socket() as network, socket.socket(socket.AF_UNIX) as local:
        network.bind(("127.0.0.1", 0))
        local.bind(str(root / "private/socket"))
        for listener in (network, local):
            listener.listen()
        images = load_builder().build(root, port=network.getsockname()[1])
        yield Corpus(root, images, (network, local))
