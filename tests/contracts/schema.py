"""The contracts' interfaces as JSON schemas: every answer of a test is held to the one it should be."""

from __future__ import annotations

import json
from pathlib import Path

from jsonschema import Draft202012Validator


def conforms(contract: str, interface: str, value: object) -> None:
    """Fail unless the value is what the interface of this contract's document says. Blocks: call it in tests alone."""
    file = Path(__file__).parent / contract / "schemas" / f"{interface}.json"
    schema = json.loads(file.read_text())
    Draft202012Validator.check_schema(schema)
    problems = [
        f"{'/'.join(map(str, error.path))}: {error.message[:300]}"
        for error in Draft202012Validator(schema).iter_errors(value)
    ]
    assert not problems, f"{interface}: {problems}"
