"""Put a mutant in the place of the honest code, in memory; no file is changed.

Two ways.  The quick one gives the function that is there already its changed code: nothing is imported
again.  What runs while modules are imported (constants, class bodies, whatever they call) needs the slow
one: all modules of ours are forgotten, and imported again with one of them changed.
"""

from __future__ import annotations

import gc
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

from mutations import Mutant
from rooms import ROOT

HERE = str(Path(__file__).parent)


Functions = Mapping[str, Sequence[FunctionType]]
"""Those that are in use, by the file of their code."""


def functions(files: Sequence[str]) -> Functions:
    """All functions of these files; looked for once, as all of memory is looked through."""
    found: dict[str, list[FunctionType]] = {str(ROOT / file): [] for file in files}
    for each in gc.get_objects():
        if type(each) is FunctionType and each.__code__.co_filename in found:
            found[each.__code__.co_filename].append(each)
    return found


def swap_function(mutant: Mutant, function: str, there: Functions) -> bool:
    """Change a function that is in use; False: it was not found, or has another shape now."""
    path = str(ROOT / mutant.file)
    changed = {
        code.co_firstlineno: code
        for code in _inside(compile(mutant.source, path, "exec", dont_inherit=True))
        if code.co_qualname == function
    }
    found = [each for each in there[path] if each.__code__.co_qualname == function]
    fits = all(
        each.__code__.co_firstlineno in changed
        and each.__code__.co_freevars == changed[each.__code__.co_firstlineno].co_freevars
        for each in found
    )
    if not found or not fits:
        return False
    for each in found:
        each.__code__ = changed[each.__code__.co_firstlineno]
    return True


def _inside(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _inside(constant)


def swap_module(mutant: Mutant) -> None:
    """Forget our modules; the mutant's file is imported with its changed source from now on."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or ""
        ours = file.startswith(f"{ROOT}/") and not file.startswith((f"{ROOT}/.venv/", HERE))
        if ours and name != "__main__":
            del sys.modules[name]
    parts = Path(mutant.file).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    sys.meta_path.insert(0, _Finder(name, str(ROOT / mutant.file), mutant.source))


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, name: str, path: str, source: str) -> None:
        self._name, self._path, self._source = name, path, source

    def find_spec(
        self, name: str, _path: object = None, _target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self._name:
            return None
        loader = _Loader(name, self._path, self._source)
        return importlib.util.spec_from_file_location(name, self._path, loader=loader)


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self._source = source

    def get_code(self, _name: str) -> CodeType:
        code: CodeType = compile(self._source, self.path, "exec", dont_inherit=True)
        return code
