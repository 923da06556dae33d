"""`croissant.json`: the tables of a run for programs, in Croissant 1.0 (JSON-LD).

Promised: each Parquet file with its sha256, each column with its type; a function of the card's facts alone. `problems` knows
what the specification requires and what a reader stumbles over, without a network.
Not promised: what only a publisher can say. Without a licence and a contact the file says nothing of either, and `problems`
names them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gristmill.export.facts import sha256

CONFORMS = "http://mlcommons.org/croissant/1.0"
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
TYPES = frozenset({"sc:Boolean", "sc:Integer", "sc:Float", "sc:Text"})
DATASET = ("@context", "conformsTo", "name", "description", "license", "url", "creator", "datePublished")
"""What the specification requires of a dataset, beside its type, files and record sets."""
FILE = ("@id", "name", "contentUrl", "encodingFormat", "sha256")


def croissant(facts: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    """The file, from the facts of a run and what its publisher wrote."""
    methods = "; ".join(step["summary"] or step["recipe"] for step in facts["steps"])
    languages = [name.strip() for name in written["language"].split(",") if name.strip()]
    cited = "; ".join(step["survey"]["paper"] for step in facts["steps"] if step["survey"].get("paper"))
    found = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS,
        "name": "-".join(step["name"] for step in facts["steps"]),
        "description": written["purpose"] or f"Synthetic rows: {methods}",
        "license": written["licence"],
        "creator": {"@type": "sc:Organization", "name": written["contact"]} if written["contact"] else None,
        "url": "./",
        "datePublished": facts["ended"],
        "inLanguage": languages,
        "keywords": ["synthetic", "gristmill", *dict.fromkeys(step["recipe"] for step in facts["steps"])],
        "citeAs": cited,
        "distribution": [_file(file) for file in facts["files"]],
        "recordSet": [_records(file) for file in facts["files"]],
    }
    return {key: value for key, value in found.items() if value or key in ("distribution", "recordSet")}


def _file(file: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": file["path"],
        "name": file["path"].rpartition("/")[2],
        "contentUrl": file["path"],
        "contentSize": f"{file['bytes']} B",
        "encodingFormat": "application/x-parquet",
        "sha256": file["sha256"],
    }


def _records(file: Mapping[str, Any]) -> dict[str, Any]:
    name = file["table"]
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "key": {"@id": f"{name}/id"},
        "field": [_field(column, name, file["path"], column["name"]) for column in file["columns"]],
    }


def _field(column: Mapping[str, Any], above: str, file: str, source: str, inside: str = "") -> dict[str, Any]:
    """A column, or what is in one: `inside` is the way to it."""
    extract: dict[str, Any] = {"fileObject": {"@id": file}, "extract": {"column": source}}
    if inside:
        extract["transform"] = {"jsonPath": inside}
    found: dict[str, Any] = {"@type": "cr:Field", "@id": f"{above}/{column['name']}", "name": column["name"]}
    if column.get("json"):
        found["description"] = "JSON"
    if column.get("many"):
        found["repeated"] = True
    if "columns" in column:
        within = [
            _field(one, found["@id"], file, source, f"{inside}.{one['name']}" if inside else one["name"])
            for one in column["columns"]
        ]
        return found | {"subField": within}
    return found | {"dataType": f"sc:{column['type']}", "source": extract}


def problems(document: Mapping[str, Any], folder: Path | None = None) -> list[str]:
    """What keeps a file from being valid Croissant.

    Args:
        folder: where its files lie; their hashes are looked at too.
    """
    found = [f"the dataset has no {key}" for key in DATASET if not document.get(key)]
    if document.get("@type") != "sc:Dataset":
        found.append("it is no sc:Dataset")
    if document.get("conformsTo") != CONFORMS:
        found.append(f"it does not conform to {CONFORMS}")
    if not re.fullmatch(r"[\w.-]+", str(document.get("name"))):
        found.append(f"{document.get('name')!r} is no name")
    files, sets = document.get("distribution") or [], document.get("recordSet") or []
    for file in files:
        found += [f"file {file.get('@id')} has no {key}" for key in FILE if not file.get(key)]
        if file.get("@type") != "cr:FileObject":
            found.append(f"file {file.get('@id')} is no cr:FileObject")
        if folder is not None:
            found += _other(folder, file)
    ids = [file.get("@id") for file in files]
    for records in sets:
        name = records.get("@id")
        if records.get("@type") != "cr:RecordSet" or not records.get("name") or not records.get("field"):
            found.append(f"record set {name} is no cr:RecordSet with a name and fields")
        fields = list(_fields(records.get("field") or []))
        ids += [name, *(one.get("@id") for one in fields)]
        if records.get("key", {}).get("@id") not in {one.get("@id") for one in fields}:
            found.append(f"record set {name} has a key that is none of its fields")
        for one in fields:
            found += _wrong(one, {file.get("@id") for file in files})
    found += [f"{name} is there twice" for name in sorted({str(name) for name in ids if ids.count(name) > 1})]
    return found


def _fields(fields: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for field in fields:
        yield field
        yield from _fields(field.get("subField") or [])


def _wrong(field: Mapping[str, Any], files: set[Any]) -> list[str]:
    name = field.get("@id")
    found = [] if field.get("@type") == "cr:Field" and field.get("name") else [f"{name} is no cr:Field with a name"]
    if field.get("subField"):
        return found
    source = field.get("source") or {}
    if field.get("dataType") not in TYPES:
        found.append(f"field {name} has no type that is known: {field.get('dataType')}")
    if source.get("fileObject", {}).get("@id") not in files or not source.get("extract", {}).get("column"):
        found.append(f"field {name} names no column of a file")
    return found


def _other(folder: Path, file: Mapping[str, Any]) -> list[str]:
    path = folder / str(file.get("contentUrl"))
    if not path.is_file():
        return [f"{file.get('contentUrl')} is missing"]
    return [] if sha256(path) == file.get("sha256") else [f"{file.get('contentUrl')} has another sha256"]
