# Judges bills of materials by what their makers publish: CycloneDX's schema, strictly, from
# cyclonedx-python-lib; SPDX's rules, those of its schema and more, from spdx-tools.
#
#   judge.py FILE...        prints a line for each fault; exit status 1 if there is one
import sys

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document


def faults(path):
    if path.endswith(".cdx.json"):
        fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(path).read())
        return [str(fault)] if fault else []
    document = parse_file(path)
    return [fault.validation_message for fault in validate_full_spdx_document(document)]


found = [f"{path}: {fault}" for path in sys.argv[1:] for fault in faults(path)]
print("\n".join(found))
sys.exit(1 if found else 0)
