"""docs/contracts.md: each line of a contract names tests that exist, and no path of a contract is without a line."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import backends
from proxy.contracts import CONTRACTS
from proxy.contracts.models.errors import CODES

ROOT = Path(backends.__file__).parents[1]
TABLES = (ROOT / "docs" / "contracts.md").read_text(encoding="utf-8")
ROWS = [row.split(" | ") for row in re.findall(r"^\| (.+) \|$", TABLES, re.MULTILINE)]
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")


def names_in(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    names = {node.name for node in ast.walk(tree) if isinstance(node, functions)}
    # A state machine is a test by the name that it is bound to.
    names |= {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return {name for name in names if name.startswith(("test_", "Test"))}


def test_every_line_names_tests_that_exist() -> None:
    lines = [row for row in ROWS if row[0] != "line" and not row[0].startswith("---")]
    assert len(lines) > 100
    known: dict[str, set[str]] = {}
    for *line, tests in lines:
        named = NAMED.findall(tests)
        assert named, f"{' '.join(line)}: no test is named in {tests!r}"
        for path, name in named:
            if path not in known:
                assert (ROOT / "tests" / path).is_file(), f"{' '.join(line)}: there is no tests/{path}"
                known[path] = names_in(ROOT / "tests" / path)
            assert name in known[path], f"{' '.join(line)}: there is no {name} in tests/{path}"


def test_every_path_of_a_contract_has_a_line() -> None:
    lines = "\n".join(row[0] for row in ROWS)
    for contract in CONTRACTS:
        if contract.name in ("openai", "ops"):
            continue
        missing = [f"{o.method} {o.path}" for o in contract.operations() if f"`{o.method} {o.path}`" not in lines]
        assert not missing, contract.name


def test_every_code_of_the_models_api_has_a_line() -> None:
    lines = "\n".join(row[0] for row in ROWS)
    assert not [code for code in set(CODES.values()) if f"`{code}`" not in lines]
