"""What a whole batch came to: by state, by verdict, by rule, and one exit code."""

from __future__ import annotations

from typing import Any

from pipeline.batch.ledger import Ledger, Row, State
from pipeline.model import JsonObject, combined_exit_code

MOST_RULES = 20


def lines(ledger: Ledger) -> list[str]:
    """The summary for people: states, verdicts, and what did not hold how often."""
    counts = ledger.counts()
    total = sum(counts.values())
    states = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    found = [f"{total} image{'' if total == 1 else 's'}: {states}"]
    verdicts = ledger.verdicts()
    if verdicts:
        told = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
        found.append(f"verdicts: {told}")
    for severity, words in (("error", "not met"), ("warning", "advice")):
        rules = [(rule, count) for rule, level, count in ledger.rules() if level == severity]
        if rules:
            told = ", ".join(f"{count} x {rule}" for rule, count in rules[:MOST_RULES])
            more = f" and {len(rules) - MOST_RULES} more rules" if len(rules) > MOST_RULES else ""
            found.append(f"{words}: {told}{more}")
    return found


def as_json(ledger: Ledger) -> JsonObject:
    """The state of a batch for programs."""
    return {
        "counts": {str(state): count for state, count in ledger.counts().items()},
        "verdicts": dict(ledger.verdicts()),
        "rules": [
            {"rule": rule, "severity": severity, "images": count}
            for rule, severity, count in ledger.rules()
        ],
        "exit_code": combined_exit_code(ledger.exit_codes()),
        "tasks": [_row(row) for row in ledger.rows()],
    }


def _row(row: Row) -> dict[str, Any]:
    ended = row.state not in (State.PENDING, State.RUNNING)
    return {
        "source": row.job.source,
        "profile": row.job.profile,
        "destination": row.job.destination,
        "name": row.job.options.name,
        "state": str(row.state),
        "attempts": row.attempts,
        "verdict": row.verdict if ended else None,
        "exit_code": row.exit_code if ended else None,
        "reason": row.reason,
        "seconds": row.seconds if ended else None,
    }
