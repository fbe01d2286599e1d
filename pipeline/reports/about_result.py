"""What a job made, where it is, and the one thing to do next."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import PurePath
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from pipeline import defaults
from pipeline.model import JsonObject
from pipeline.reports.about_image import format_name
from pipeline.text import clean, size

_TIMES = "\N{MULTIPLICATION SIGN}"
_VERIFIED: Mapping[str, str] = {
    "manifest": "checksums match; the {format}'s {part} back",
    "readback": "all data was read back and compared",
}


def headline(report: JsonObject, *, judged: bool) -> str:
    """The verdict, and what was done: ``accepted, stored``; ``converted, not judged in full``."""
    verdict = str(report["verdict"])
    if not judged and verdict in ("undetermined", "rejected"):
        return "inspected" if verdict == "undetermined" else "not a disk image that imgprep knows"
    done = _done(report)
    if not done:
        return verdict
    if verdict == "undetermined":
        return f"{done}, not judged in full"
    return f"{verdict}, {done}"


def _done(report: JsonObject) -> str:
    if report["error"]:
        return ""
    if report["receipt"]:
        return "stored"
    if report["artifact"]:
        return "planned" if report["job"]["options"].get("dry_run") else "converted"
    return ""


def rows(report: JsonObject) -> Iterable[tuple[str, str]]:
    """Label and value: what was made."""
    artifact, receipt = report["artifact"], report["receipt"]
    if artifact:
        yield from _artifact_rows(report, artifact)
        yield from (("to know", told) for told in _only_of_result(report))
    if receipt:
        count = len(receipt["segments"])
        parts = f" in {count} segments" if count > 1 else ""
        yield "stored", f"{clean(receipt['url'], 2000)}{parts}"
        if receipt.get("reused_bytes"):
            yield "resumed", f"{size(receipt['reused_bytes'])} were there already"
    sha256 = (receipt or {}).get("sha256") or (artifact or {}).get("sha256")
    if sha256:
        yield "sha256", sha256
    if receipt:
        name = _noun((artifact or {}).get("format") or "file")
        yield (
            "verified",
            _VERIFIED.get(str(receipt["verified"]), "not yet").format(
                format=name, part="ends were read" if name == "raw image" else "structure was read"
            ),
        )


def _artifact_rows(report: JsonObject, artifact: JsonObject) -> Iterator[tuple[str, str]]:
    options = report["job"]["options"]
    dry_run = options.get("dry_run")
    told = reasons(report["stages"], "convert")
    why = "".join(f" ({reason})" for reason in told if reason != "planned")
    name = _noun(artifact["format"])
    yield _stage_of(report), f"{name} of {size(artifact['size'])}{why}"
    container = report["facts"].get("container") or {}
    if container.get("file_size"):
        yield "source", _growth(artifact, container["file_size"])
    if options.get("keep") and not dry_run:
        yield "written", clean(options["keep"], 4000)
    if dry_run:
        yield from (("stored", why) for why in reasons(report["stages"], "upload"))


def _only_of_result(report: JsonObject) -> Iterator[str]:
    """What is said of the artifact and was not said of the source: a backup GPT that lies in the middle."""
    known = {(item["rule"], item["status"]) for item in report["findings"]}
    for item in (report.get("result") or {}).get("findings", ()):
        if (item["rule"], item["status"]) not in known and item["severity"] != "error":
            yield f"{clean(item['message'], 1000)}  [{item['rule']}]"


def is_made(report: JsonObject) -> bool:
    """Whether there is an artifact: what is made while it is sent is not made before it is stored."""
    options = report["job"]["options"]
    if not report["artifact"] or options.get("dry_run"):
        return False
    kept = report["job"]["destination"] is None or options.get("keep")
    return bool(report["receipt"] or kept)


def _stage_of(report: JsonObject) -> str:
    """How far the artifact came."""
    if report["job"]["options"].get("dry_run"):
        return "would be"
    return "made" if is_made(report) else "planned"


def _noun(name: str) -> str:
    """What a person calls it: the VHD, the qcow2; but the raw image."""
    return "raw image" if name == "raw" else format_name(name)


def _growth(artifact: JsonObject, before: int) -> str:
    """How the artifact compares, for instance that the VHD is 15 times larger (2 MiB blocks)."""
    name, factor = _noun(artifact["format"]), artifact["size"] / before
    if 0.95 <= factor <= 1.05:
        return f"{size(before)}; the {name} is as large"
    if factor < 1:
        return f"{size(before)}; the {name} has {factor:.0%} of that"
    blocks = " (2 MiB blocks)" if name == "VHD" else ""
    times = f"{factor:.0f}" if factor >= 10 else f"{factor:.1f}"
    return f"{size(before)}; the {name} is {times} {_TIMES} larger{blocks}"


def reasons(stages: Sequence[JsonObject], name: str) -> list[str]:
    """Why a stage did what it did, where it says so."""
    return [clean(s["reason"], 4000) for s in stages if s["name"] == name and s.get("reason")]


# --- what to do next -----------------------------------------------------------------------------


def next_command(report: JsonObject, *, judged: bool) -> str | None:
    """One command that can be pasted; None where only the shell knows it (an interrupted one)."""
    job, error, receipt = report["job"], report["error"], report["receipt"]
    if report["verdict"] == "interrupted":
        return None
    if error:
        return f"imgprep explain {error['code']}"
    failed = [item for item in report["findings"] if item["status"] == "fail"]
    errors = [item["rule"] for item in failed if item["severity"] == "error"]
    if errors:
        return f"imgprep explain {errors[0]}"
    if receipt:
        return _next_of_receipt(report, receipt)
    source = _quoted(job["source"])
    unread = (report["facts"].get("container") or {}).get("problems")
    if not judged and report["verdict"] == "rejected" and unread:
        return f"imgprep explain {unread[0]['rule']}"
    if not judged:
        return f"imgprep check {source}{kept(job, 'profile', 'unpack', 'allow_device')}"
    if report["artifact"] and job["options"].get("keep") and not job["destination"]:
        return f"imgprep check {_quoted(job['options']['keep'])}{kept(job, 'profile')}"
    return _next_of_check(report, source)


def _next_of_receipt(report: JsonObject, receipt: JsonObject) -> str:
    command = (report.get("profile") or {}).get("import_command")
    if command:
        return _import_command(command, report, receipt)
    parts = urlsplit(receipt["url"])
    if parts.scheme == "file":
        return f"imgprep check {_quoted(unquote(parts.path))}{kept(report['job'], 'profile')}"
    judged_by = report["job"]["profile"]
    return f"imgprep profiles {_quoted(judged_by)}" if judged_by else "imgprep profiles"


def _import_command(template: str, report: JsonObject, receipt: JsonObject) -> str:
    """The cloud's own command with the object in it; every word is quoted for the shell."""
    parts = urlsplit(receipt["url"])
    path = unquote(parts.path)
    kind = str((report["artifact"] or {}).get("format") or "")
    suffix = report["profile"]["target"]["suffix"]
    file_name = PurePath(path).name
    name = file_name.removesuffix(suffix) if suffix else file_name
    values = {
        "container": unquote(parts.netloc),
        "object": path.lstrip("/"),
        "path": path,
        "name": PurePath(name).stem if name == file_name else name,
        "size": str(receipt["size"]),
        "format": kind,
        "FORMAT": kind.upper(),
    }
    cleaned = {key: clean(value, 4000) for key, value in values.items()}
    return shlex.join(_filled_word(word, cleaned) for word in shlex.split(template))


def _filled_word(word: str, values: Mapping[str, str]) -> str:
    """A word of the command with the values in it: as JSON's strings, as an address's parts, or plain."""
    with suppress(ValueError):
        return json.dumps(_filled_json(json.loads(word), values), ensure_ascii=False)
    if word.startswith("https://"):
        values = {key: quote(value) for key, value in values.items()}
    return _filled(word, values)


def _filled_json(value: Any, values: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled_json(item, values) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled_json(item, values) for item in value]
    return _filled(value, values) if isinstance(value, str) else value


def _filled(text: str, values: Mapping[str, str]) -> str:
    """All at once: a value that looks like a placeholder stays as it is."""
    return _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), text)


_PLACEHOLDER = re.compile(r"\{(\w+)\}")


def _next_of_check(report: JsonObject, source: str) -> str:
    job, guest = report["job"], report["facts"].get("guest") or {}
    if _is_upload(report):
        return _next_of_dry_run(report, source)
    if guest.get("status") == "failed":
        return "imgprep doctor"
    if guest.get("status") == "skipped" and job["options"].get("guest") == "off":
        return f"imgprep check {source} --guest require{kept(job, *JUDGING)}"
    if job["destination"]:  # a dry run
        return _next_of_dry_run(report, source)
    stem = clean(PurePath(job["source"]).stem)
    return f"imgprep run {source} {shlex.quote(f'{stem}-out/')}{kept(job, *JUDGING)}"


def _next_of_dry_run(report: JsonObject, source: str) -> str:
    job = report["job"]
    command = "upload" if _is_upload(report) else "run"
    where, name = job["destination"], job["options"].get("name")
    named = f" --name {_quoted(name)}" if name else ""
    is_directory = urlsplit(where).scheme in ("", "file")  # which is made anyway
    options = JUDGING if is_directory else (*JUDGING, "create")
    return f"imgprep {command} {source} {_quoted(where)}{named}{kept(job, *options)}"


def _is_upload(report: JsonObject) -> bool:
    """Whether the file is stored as it is; nobody looks at the system inside then."""
    return any(stage["name"] == "adopt" for stage in report["stages"])


JUDGING = ("profile", "unpack", "allow_device", "strict", "fail_on", "allow", "format")


def kept(job: JsonObject, *names: str) -> str:
    """The options of this job that the next command needs too."""
    options = job["options"]
    words: list[str] = []
    for name in names:
        option = f"--{name.replace('_', '-')}"
        value = job["profile"] if name == "profile" else options.get(name)
        if not value or value == _DEFAULTS.get(name):
            continue
        if isinstance(value, Mapping):
            words += (f"{option} {_quoted(f'{key}={why}')}" for key, why in value.items())
        else:
            words.append(option if value is True else f"{option} {_quoted(value)}")
    return "".join(f" {word}" for word in words)


_DEFAULTS = {"profile": defaults.PROFILE, "fail_on": "error", "guest": "auto"}


def _quoted(text: str) -> str:
    return shlex.quote(clean(text, 4000))
