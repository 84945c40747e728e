# Judges what lies beside an export by what the makers of the formats publish: CycloneDX's schema,
# strictly, from cyclonedx-python-lib; SPDX's schema, the file beside this one, and the
# rules and spellings of spdx-tools; envelopes by securesystemslib, statements and provenance by
# in-toto-attestation.
#
#   judge.py FILE...               SBOMs
#   judge.py --key PEM FILE...     envelopes, which the key must have signed
#
# Prints a line for each fault; the exit status is 1 if there is one.
import json
import os
import sys


def sbom(path):
    if path.endswith(".cdx.json"):
        from cyclonedx.schema import SchemaVersion
        from cyclonedx.validation.json import JsonStrictValidator

        fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(path).read())
        return [str(fault)] if fault else []
    from jsonschema import Draft7Validator, FormatChecker
    from spdx_tools.spdx.jsonschema.document_converter import DocumentConverter
    from spdx_tools.spdx.parser.parse_anything import parse_file
    from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

    document, ours = parse_file(path), json.load(open(path))
    faults = [fault.validation_message for fault in validate_full_spdx_document(document)]
    schema = json.load(open(os.path.join(os.path.dirname(__file__), "spdx-2.3.schema.json")))
    validator = Draft7Validator(schema, format_checker=FormatChecker())
    faults += [fault.message for fault in validator.iter_errors(ours)]
    # spdx-tools reads more spellings than the schema allows; it writes one. Of categories that is
    # not the schema's.
    theirs = json.loads(json.dumps(DocumentConverter().convert(document)))
    for package in theirs["packages"]:
        for reference in package.get("externalRefs", []):
            reference["referenceCategory"] = reference["referenceCategory"].replace("_", "-")
    for key in ["packages", "creationInfo", "spdxVersion", "dataLicense", "documentNamespace"]:
        if ours[key] != theirs[key]:
            faults.append(f"`{key}` is not as spdx-tools writes it")
    return faults


def envelope(path, pem):
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from google.protobuf.json_format import ParseDict
    from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
    from in_toto_attestation.v1 import statement_pb2
    from in_toto_attestation.v1.statement import Statement
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import SSlibKey

    data = json.loads(open(path).read())
    key = load_pem_public_key(open(pem, "rb").read())
    key = SSlibKey.from_crypto(key, keyid=data["signatures"][0]["keyid"])
    try:
        signed = Envelope.from_dict(data)
        signed.verify([key], 1)
        statement = json.loads(signed.payload)
        Statement.copy_from_pb(ParseDict(statement, statement_pb2.Statement())).validate()
        ParseDict(statement["predicate"], provenance_pb2.Provenance())
    except Exception as fault:
        return [f"{type(fault).__name__}: {fault}"]
    return []


words = sys.argv[1:]
if words[0] == "--key":
    found = [f"{path}: {fault}" for path in words[2:] for fault in envelope(path, words[1])]
else:
    found = [f"{path}: {fault}" for path in words for fault in sbom(path)]
print("\n".join(found))
sys.exit(1 if found else 0)
