"""The JSON Schema of a space file, made from the settings classes, for completion and checks in an editor.

It says less than the check of a space file: rules between settings, and the modules of import paths, are
checked when the file is read.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Mapping
from dataclasses import MISSING
from fractions import Fraction

from morel_search._values import JsonObject, JsonValue
from morel_search.config.constraints import MEASURED, constraint_names
from morel_search.config.controls import BUILT_IN
from morel_search.config.fieldspec import FieldSpec, specs
from morel_search.config.parameters import ParameterEntry, kinds_of
from morel_search.config.rational import format_rational
from morel_search.config.searchable import OPTION_PATTERN, OptionValue, named_fields, searchable
from morel_search.config.sections import REQUIRED, SECTIONS
from morel_search.results.names import RIVAL_NAME
from morel_search.results.renamed import RENAMED_SETTINGS
from morel_search.training.settings import NetworkSettings, TrainSettings

__all__ = ["IDENTIFIER", "json_schema", "schema_text"]

IDENTIFIER = "morel_search/space.schema.json"
"""The ``$id`` of the schema."""

_NUMBER = r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,3})?"
_RATIONAL: JsonObject = {"type": "string", "pattern": rf"^\s*{_NUMBER}(\s*/\s*{_NUMBER})?\s*$"}
_WORD = r"[A-Za-z_]\w*"
_IMPORT_PATH: JsonObject = {"type": "string", "pattern": rf"^{_WORD}(\.{_WORD})*:{_WORD}(\.{_WORD})*$"}
_LIBRARY: JsonObject = {"type": "string", "pattern": r"^(timm|torchvision)/[\w.-]+$"}
_HUB: JsonObject = {"type": "string", "pattern": r"^huggingface/[\w.-]+/[\w.-]+$"}
_NULL: JsonObject = {"type": "null"}
_LIMITS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_OPTION = "network.options.NAME"
_OPTION_VALUE: JsonObject = {"type": ["number", "string", "boolean"]}
_SIMPLE = {str: "string", int: "integer", float: "number", bool: "boolean", OptionValue: "number"}
_SECTION_DOCS = {
    "parameters": "the searched settings: any key of train, data.augmentation, data.extra_share and options "
    "of the network as network.options.NAME, each with its range and its conditions",
    "constraints": "bounds that every network of the front must satisfy",
    "controls": "trainings with known settings, which run beside the search",
    "rivals": "networks that this search does not train, verified beside the front",
}


def json_schema() -> JsonObject:
    """Return the schema, in the dialect draft 7, which editors support best."""
    properties: JsonObject = {name: _section(name) for name in SECTIONS}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": IDENTIFIER,
        "title": "Space file of morel_search",
        "type": "object",
        "properties": properties,
        "required": list(REQUIRED),
        "additionalProperties": False,
        "definitions": {
            **{name: _value(spec) for name, spec in named_fields().items()},
            _OPTION: _OPTION_VALUE,
            "when": _when(),
            "training": _object(
                {name: _reference(name) for name, spec in specs(TrainSettings).items() if not spec.fixed}
            ),
        },
    }


def schema_text() -> str:
    """Return the schema as the text of a file."""
    return json.dumps(json_schema(), indent=1) + "\n"


def _section(name: str) -> JsonValue:
    if name == "parameters":
        entries: JsonObject = {key: _parameter(spec) for key, spec in named_fields().items()}
        section = _with_options(_object(entries), _parameter(_option()))
        return {**section, "minProperties": 1, "description": _SECTION_DOCS[name]}
    if name == "constraints":
        return {**_or_empty(_constraints()), "description": _SECTION_DOCS[name]}
    if name == "controls":
        return {**_controls(), "description": _SECTION_DOCS[name]}
    if name == "rivals":
        return {**_rivals(), "description": _SECTION_DOCS[name]}
    settings = SECTIONS[name]
    assert settings is not None, "the sections without a class are above"
    fields = specs(settings)
    keys: JsonObject = {
        key: _described(_reference(key) if name == "train" and not spec.fixed else _value(spec), spec)
        for key, spec in fields.items()
    }
    for old, new in RENAMED_SETTINGS.get(name, {}).items():
        keys[old] = {**_value(fields[new]), "deprecated": True, "description": f"old name of {new}"}
    required: list[JsonValue] = [key for key, spec in fields.items() if spec.default is MISSING]
    if required:
        return {**_object(keys), "required": required}
    return _or_empty(_object(keys))


def _option() -> FieldSpec:
    spec = searchable(_OPTION)
    assert spec is not None, "NAME is a name of an option"
    return spec


def _with_options(schema: JsonObject, option: JsonValue) -> JsonObject:
    return {**schema, "patternProperties": {f"^{OPTION_PATTERN}$": option}}


def _value(spec: FieldSpec) -> JsonObject:
    """Return the schema of a value of a field."""
    kinds = _kinds(spec)
    if spec.optional:
        kinds.append(_NULL)
    return kinds[0] if len(kinds) == 1 else {"anyOf": [*kinds]}


def _kinds(spec: FieldSpec) -> list[JsonObject]:
    limits: JsonObject = {_LIMITS[sign]: limit for sign, limit in spec.limits.items()}
    if spec.choices:
        names: list[JsonObject] = [{"enum": [*spec.choices]}]
        names += [_IMPORT_PATH] * spec.module
        names += [_HUB] * spec.hub
        return [*names, _LIBRARY] if spec.libraries else names
    if spec.base is Fraction:
        return [{"type": "number", **limits}, _RATIONAL]
    for base, kind in _SIMPLE.items():
        if spec.base is base:
            return [{"type": kind, **limits}]
    if isinstance(spec.default, Mapping):
        return [{"type": "object"}]
    if typing.get_origin(spec.base) is tuple:
        return [{"type": "array", "items": {"type": _SIMPLE[typing.get_args(spec.base)[0]]}}]
    return [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]  # search.start_from


def _described(schema: JsonObject, spec: FieldSpec) -> JsonObject:
    """Add meaning and default, which editors show."""
    described: JsonObject = {"description": spec.doc}
    if spec.default is not MISSING:
        described["default"] = _plain(spec.default)
    # Keys beside $ref are ignored in draft 7.
    return {"allOf": [schema], **described} if "$ref" in schema else {**schema, **described}


def _plain(value: object) -> JsonValue:
    if isinstance(value, Fraction):
        return format_rational(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return {}


def _parameter(spec: FieldSpec) -> JsonValue:
    """Return the schema of one searched parameter: a branch for each type that it can have."""
    meanings = {key: entry.doc for key, entry in specs(ParameterEntry).items()}

    def entry(key: str, schema: JsonObject) -> JsonObject:
        return {**schema, "description": meanings[key]}

    bound = _described({"anyOf": [*_kinds(spec)]}, spec)
    step: JsonObject = {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, _RATIONAL, _NULL]}
    branches: list[JsonValue] = []
    for kind in kinds_of(spec):
        keys: JsonObject = {
            "type": entry("type", {"const": kind}),
            "when": {"allOf": [_reference("when")], "description": meanings["when"]},
        }
        if kind == "categorical":
            choices: JsonObject = {"type": "array", "items": _reference(spec.name), "minItems": 2}
            keys["choices"] = entry("choices", choices)
            required: list[JsonValue] = ["type", "choices"]
        else:
            keys |= {"low": entry("low", bound), "high": entry("high", bound)}
            keys |= {"log": entry("log", {"type": "boolean"}), "step": entry("step", step)}
            required = ["type", "low", "high"]
        branches.append({**_object(keys), "required": required})
    return {"anyOf": branches, "description": spec.doc}


def _when() -> JsonObject:
    """Return the schema of a condition: for each setting a value, a list of values or a range."""
    conditions: JsonObject = {}
    for name, spec in {**named_fields(), _OPTION: _option()}.items():
        values: list[JsonValue] = [
            _reference(name),
            {"type": "array", "items": _reference(name), "minItems": 1},
        ]
        if spec.base in (int, float, Fraction, OptionValue):
            bound: JsonObject = {"anyOf": [{"type": "number"}, _RATIONAL]}
            values.append({**_object({"low": bound, "high": bound}), "minProperties": 1})
        conditions[name] = {"anyOf": values}
    option = conditions.pop(_OPTION)
    return {"anyOf": [{**_with_options(_object(conditions), option), "minProperties": 1}, _NULL]}


def _constraints() -> JsonObject:
    bound: JsonObject = {
        "type": "string",
        "pattern": rf"^\s*(>=|<=)\s*{_NUMBER}(\s*/\s*{_NUMBER})?\s*$",
    }
    docs = {**{name: spec.doc for name, spec in specs(TrainSettings).items()}, **MEASURED}
    return _object({name: {**bound, "description": docs[name]} for name in constraint_names()})


def _controls() -> JsonObject:
    """Return the schema of the controls: a list of names and mappings, or a mapping of names to settings."""
    settings: JsonObject = {"anyOf": [_reference("training"), _NULL]}
    named: JsonObject = {
        "type": "object",
        "properties": dict.fromkeys(BUILT_IN, settings),
        "patternProperties": {r"^[A-Za-z][\w-]{0,39}$": settings},
        "additionalProperties": False,
    }
    names: JsonObject = {"enum": [*BUILT_IN]}
    return {"anyOf": [{"type": "array", "items": {"anyOf": [names, named]}}, named, _NULL]}


def _rivals() -> JsonObject:
    """Return the schema of the rivals: a mapping of names to texts, or to networks with their weights."""
    fields = specs(NetworkSettings)
    described = _object({key: _described(_value(spec), spec) for key, spec in fields.items()})
    network: JsonObject = {"anyOf": [{"type": "string"}, {**described, "required": ["name", "weights"]}]}
    return {
        "type": ["object", "null"],
        "patternProperties": {rf"^{RIVAL_NAME.pattern}$": network},
        "additionalProperties": False,
    }


def _reference(name: str) -> JsonObject:
    return {"$ref": f"#/definitions/{name}"}


def _object(properties: JsonObject) -> JsonObject:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _or_empty(section: JsonObject) -> JsonObject:
    """Return the schema of a section that may be left empty."""
    return {**section, "type": ["object", "null"]}
