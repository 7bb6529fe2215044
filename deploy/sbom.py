"""Prints the software bill of materials of `requirements.lock` as CycloneDX 1.6: `./gatehouse sbom > sbom.json`.

It is made from the lock alone, so it needs no network and is the same on every machine.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tomllib
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from deploy.pins import Pin, pins

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
# Models that ship inside the package, and what they were made from.
MODELS = {
    "rag/model/minilm.onnx": "all-MiniLM-L6-v2 as int8 ONNX",
    "guardrails/personal/model/tagger.onnx": "tagger of names and addresses, made from all-MiniLM-L6-v2",
}
ONLY_FOR_WORK = "docs"  # the extra that nothing runs with


def sbom(lock: str, project: Mapping[str, Any], version: str) -> dict[str, Any]:
    """Returns the document, without a timestamp: the same lock gives the same document."""
    found = pins(lock)
    scopes = scopes_of(found, project)
    ours = f"pkg:pypi/{project['name']}@{version}"
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, ours + lock)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": ours,
                "name": project["name"],
                "version": version,
                "description": project["description"],
                "licenses": [{"license": {"id": project["license"]}}],
                "purl": ours,
            }
        },
        "components": [*(component(pin, scopes[pin.name]) for pin in found), *map(model, MODELS)],
        "dependencies": dependencies(found, ours),
    }


def purl(pin: Pin) -> str:
    """Returns the package URL (purl), which scanners use."""
    return f"pkg:pypi/{pin.name}@{pin.version}"


def component(pin: Pin, scope: str) -> dict[str, Any]:
    """Returns a package with the hashes of all files in the lock, one for each platform."""
    made: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl(pin),
        "name": pin.name,
        "version": pin.version,
        "scope": scope,
        "hashes": [{"alg": "SHA-256", "content": each} for each in pin.sha256],
        "purl": purl(pin),
    }
    if pin.marker:
        made["properties"] = [{"name": "gatehouse:marker", "value": pin.marker}]
    return made


def model(path: str) -> dict[str, Any]:
    """Returns a bundled model with the hash of its file."""
    return {
        "type": "machine-learning-model",
        "bom-ref": path,
        "name": path,
        "description": MODELS[path],
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256((ROOT / path).read_bytes()).hexdigest()}],
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }


def scopes_of(found: Iterable[Pin], project: Mapping[str, Any]) -> dict[str, str]:
    """Name -> `required` by a plain install, `optional` with an extra, `excluded`: for tests and docs only."""
    needs: dict[str, set[str]] = {}
    for pin in found:
        for name in pin.needed_by:
            needs.setdefault(name, set()).add(pin.name)
    extras = project["optional-dependencies"]
    scopes = dict.fromkeys((pin.name for pin in found), "excluded")
    with_extras = [each for extra, several in extras.items() if extra != ONLY_FOR_WORK for each in several]
    for scope, requirements in (("optional", with_extras), ("required", project["dependencies"])):
        waiting = [name_of(each) for each in requirements]
        while waiting:
            name = waiting.pop()
            if scopes.get(name) not in (None, scope):
                scopes[name] = scope
                waiting += needs.get(name, ())
    return scopes


def name_of(requirement: str) -> str:
    """The normalised name in a requirement such as `SQLAlchemy[asyncio]>=2`."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]).lower()


def dependencies(found: Iterable[Pin], ours: str) -> list[dict[str, Any]]:
    """Returns the dependencies between packages, from the lock."""
    places: dict[str, list[str]] = {}
    needs: dict[str, set[str]] = {ours: set()}
    for pin in found:
        places.setdefault(pin.name, []).append(purl(pin))
        needs[purl(pin)] = set()
    for pin in found:
        for name in pin.needed_by:
            for place in places.get(name, [ours]):
                needs[place].add(purl(pin))
    return [{"ref": place, "dependsOn": sorted(needed)} for place, needed in needs.items()]


def main() -> int:
    """Prints the bill of materials of this checkout."""
    if sys.argv[1:]:
        sys.stderr.write(f"gatehouse sbom: takes no options, and got {' '.join(sys.argv[1:])}\n")
        return 2
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    sys.stdout.write(json.dumps(sbom(LOCK.read_text(), project, project["version"]), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
