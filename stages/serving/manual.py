"""Write the manual of an HTTP interface from its OpenAPI schema: one page, nothing to fetch."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_Node = Mapping[str, Any]

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
body {{ font-family: system-ui, sans-serif; max-width: 50em; margin: 2em auto; padding: 0 1em; }}
pre {{ background: #eee; padding: 0.7em; overflow-x: auto; }}
td, th {{ text-align: left; vertical-align: top; padding: 0.15em 1em 0.15em 0; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{about} The same for machines: <a href="openapi.json">openapi.json</a>.</p>
{parts}
</body>
</html>
"""


def manual_page(schema: _Node, *, address: str) -> str:
    """Describe every path in HTML: what it takes, what it answers, and how curl asks it.

    Args:
        schema: As OpenAPI has it.
        address: Of the service, for the examples.
    """
    info = schema["info"]
    parts = [
        "\n".join(_operation(schema, path, verb, told, address.rstrip("/")))
        for path, verbs in schema["paths"].items()
        for verb, told in verbs.items()
    ]
    title = escape(f"{info['title']} {info['version']}")
    return _PAGE.format(
        title=title, about=escape(info.get("description", "")), parts="\n".join(parts)
    )


def _operation(schema: _Node, path: str, verb: str, told: _Node, address: str) -> Iterator[str]:
    yield f"<h2>{escape(verb.upper())} {escape(path)}</h2>"
    yield f"<p>{escape(told.get('description') or told.get('summary', ''))}</p>"
    fields = list(_fields(schema, told))
    if fields:
        yield _table(("parameter", "where", "what"), [row for row, _ in fields])
    yield _table(
        ("answer", "type", "what"),
        [
            (status, ", ".join(answer.get("content", {})), answer["description"])
            for status, answer in told["responses"].items()
        ],
    )
    files = [name for (name, _, _), is_file in fields if is_file]
    words = ["curl", *(part for name in files for part in ("-F", f"{name}=@frame.jpg"))]
    if verb != "get" and not files:
        words += ["-X", verb.upper()]
    yield f"<pre>{escape(shlex.join([*words, address + path]))}</pre>"


def _fields(schema: _Node, told: _Node) -> Iterator[tuple[tuple[str, str, str], bool]]:
    """Yield name, place and meaning of all that may be sent, and whether it is a file."""
    for form in told.get("requestBody", {}).get("content", {}).values():
        body = _followed(schema, form["schema"])
        for name, field in body.get("properties", {}).items():
            what = _meaning(schema, field, is_needed=name in body.get("required", ()))
            yield (name, "form", what), field.get("type") == "string"
    for one in told.get("parameters", []):
        described = {"description": one.get("description", ""), **one["schema"]}
        what = _meaning(schema, described, is_needed=one.get("required", False))
        yield (one["name"], one["in"], what), False


def _meaning(schema: _Node, field: _Node, *, is_needed: bool) -> str:
    said = [field.get("description", ""), _kind(schema, field)]
    if "default" in field:
        said.append(f"{field['default']} where it is left out")
    elif is_needed:
        said.append("needed")
    return "; ".join(filter(None, said))


def _kind(schema: _Node, field: _Node) -> str:
    """Say what values a field takes, in words."""
    field = _followed(schema, field)
    if "anyOf" in field:
        kinds = (_kind(schema, one) for one in field["anyOf"] if one.get("type") != "null")
        return " or ".join(kinds)
    if "enum" in field:
        return f"one of {', '.join(map(str, field['enum']))}"
    bounds = ((word, field.get(key)) for word, key in (("from", "minimum"), ("to", "maximum")))
    limits = [f"{word} {bound:g}" for word, bound in bounds if bound is not None]
    return " ".join([str(field.get("type", "")), *limits]).replace("string", "")


def _followed(schema: _Node, node: _Node) -> _Node:
    """Give what a node stands for: itself, or the component it points at."""
    found: _Node = node
    if "$ref" in node:
        found = schema
        for key in node["$ref"].removeprefix("#/").split("/"):
            found = found[key]
    return found


def _table(head: tuple[str, ...], rows: list[tuple[str, str, str]]) -> str:
    lines = [f"<tr>{''.join(f'<th>{escape(cell)}</th>' for cell in head)}</tr>"]
    lines += [f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows]
    return "\n".join(["<table>", *lines, "</table>"])
