# Judges what lies beside an export by what the makers of the formats publish: CycloneDX's schema,
# strictly, from cyclonedx-python-lib; SPDX's rules, those of its schema and more, from spdx-tools;
# envelopes by securesystemslib, statements and provenance by in-toto-attestation.
#
#   judge.py FILE...               bills of materials
#   judge.py --key PEM FILE...     envelopes, which the key must have signed
#
# Prints a line for each fault; the exit status is 1 if there is one.
import json
import sys


def bill(path):
    if path.endswith(".cdx.json"):
        from cyclonedx.schema import SchemaVersion
        from cyclonedx.validation.json import JsonStrictValidator

        fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(path).read())
        return [str(fault)] if fault else []
    from spdx_tools.spdx.parser.parse_anything import parse_file
    from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

    faults = validate_full_spdx_document(parse_file(path))
    return [fault.validation_message for fault in faults]


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
    found = [f"{path}: {fault}" for path in words for fault in bill(path)]
print("\n".join(found))
sys.exit(1 if found else 0)
