#!/usr/bin/env python3
"""Makes argo-schema.json of api/jsonschema/schema.json of argoproj/argo-workflows (Apache-2.0):
what a Workflow needs of it, without descriptions, and closed: a key that the schema does not have
is an error, as it is to a server that validates strictly.

    argo-schema.py <schema.json >argo-schema.json
"""
import json
import sys

WORKFLOW = "io.argoproj.workflow.v1alpha1.Workflow"
whole = json.load(sys.stdin)
kept = {}


def trim(value):
    if isinstance(value, list):
        return [trim(one) for one in value]
    if not isinstance(value, dict):
        return value
    out = {}
    for key, one in value.items():
        if key == "properties":
            out[key] = {name: trim(of) for name, of in one.items() if name != "status"}
        elif key == "$ref":
            out[key] = one
            keep(one.removeprefix("#/definitions/"))
        elif key != "description" and not key.startswith("x-kubernetes"):
            out[key] = trim(one)
    if "properties" in out and "additionalProperties" not in out:
        out["additionalProperties"] = False
    return out


def keep(name):
    if name not in kept:
        kept[name] = None
        kept[name] = trim(whole["definitions"][name])


keep(WORKFLOW)
json.dump(
    {
        "$schema": whole["$schema"],
        "$ref": "#/definitions/" + WORKFLOW,
        "definitions": dict(sorted(kept.items())),
    },
    sys.stdout,
    indent=0,
    separators=(",", ":"),
)
print()
