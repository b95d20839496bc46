"""Check requests and answers against GitHub's own OpenAPI description."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

FIXTURE = Path(__file__).parents[1] / "fixtures" / "github" / "openapi.json"


@functools.cache
def _paths() -> dict[str, Any]:
    paths: dict[str, Any] = json.loads(FIXTURE.read_bytes())["paths"]
    return paths


def _converted(schema: Any) -> Any:
    """OpenAPI 3.0's `nullable` in the words of JSON Schema."""
    if isinstance(schema, list):
        return [_converted(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: _converted(part) for key, part in schema.items() if key != "nullable"}
    if "oneOf" in out:
        # Deep alternatives come cut down to bare objects, so that more than one of them fits.
        out["anyOf"] = out.pop("oneOf")
    if schema.get("nullable") is not True:
        return out
    return {"anyOf": [{"type": "null"}, out]}


@functools.cache
def _validator(method: str, path: str, answer: int | None) -> Validator | None:
    # Imported late: it takes a third of the stand-in's start, and many tests never post a status.
    from jsonschema import Draft202012Validator

    operation = _paths().get(path, {}).get(method.lower(), {})
    if answer is None:
        holder = operation.get("requestBody", {})
    else:
        holder = operation.get("responses", {}).get(str(answer), {})
    schema = holder.get("content", {}).get("application/json", {}).get("schema")
    return None if schema is None else Draft202012Validator(_converted(schema))


def _errors(validator: Validator, instance: Any) -> Iterator[tuple[str, str, str]]:
    for error in sorted(validator.iter_errors(instance), key=lambda each: list(each.path)):
        field = ".".join(str(part) for part in error.path)
        if error.validator == "required" and not field:
            field = error.message.split("'")[1]
        yield field, "missing_field" if error.validator == "required" else "invalid", error.message


def request_errors(method: str, path: str, body: Any) -> list[dict[str, str]]:
    """What GitHub would refuse in this body: its `errors`, each `{field, code, message}`."""
    validator = _validator(method, path, None)
    if validator is None:
        return []
    first: dict[str, dict[str, str]] = {}
    for field, code, message in _errors(validator, body):
        first.setdefault(field, {"field": field, "code": code, "message": message})
    return list(first.values())


def parameter_errors(method: str, path: str, query: Mapping[str, str]) -> list[dict[str, str]]:
    """The query parameters that are not of the described type or one of the described values."""
    errors = []
    for parameter in _paths().get(path, {}).get(method.lower(), {}).get("parameters", []):
        name, schema = parameter["name"], parameter["schema"]
        if parameter["in"] != "query" or name not in query:
            continue
        value = query[name]
        if schema.get("type") == "integer" and not value.isdecimal():
            errors.append({"field": name, "code": "invalid", "message": f"{value} is no integer"})
        elif "enum" in schema and value not in schema["enum"]:
            message = f"{value} is not one of {', '.join(schema['enum'])}"
            errors.append({"field": name, "code": "invalid", "message": message})
    return errors


def answer_errors(method: str, path: str, status: int, body: Any) -> list[str]:
    """How an answer of our own differs from GitHub's description; empty when it does not."""
    validator = _validator(method, path, status)
    if validator is None:
        return [f"{method} {path} has no described answer {status}"]
    return [f"{field}: {message}" for field, _, message in _errors(validator, body)]
