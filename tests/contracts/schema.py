"""The contracts' interfaces as JSON schemas: every answer of a test is held to the one it should be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator


def schema(contract: str, interface: str) -> dict[str, Any]:
    """The schema of an interface of this contract's document. Blocks, as tests may."""
    found = json.loads((Path(__file__).parent / contract / "schemas" / f"{interface}.json").read_text())
    assert isinstance(found, dict)
    Draft202012Validator.check_schema(found)
    return found


def conforms(contract: str, interface: str, value: object) -> None:
    """Fail unless the value is what the interface says."""
    errors = Draft202012Validator(schema(contract, interface)).iter_errors(value)
    problems = [f"{'/'.join(map(str, error.path))}: {error.message[:300]}" for error in errors]
    assert not problems, f"{interface}: {problems}"
