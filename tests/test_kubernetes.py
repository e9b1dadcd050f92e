"""docs/kubernetes, for a cluster that is not there: an image that lock and tree can make, manifests that fit the API and each other."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from configs.shipped import CONFIGS

ROOT = CONFIGS.parent
FOLDER = ROOT / "docs" / "kubernetes"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
RECIPE = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
FILE = re.sub(r"\s*\\\n\s*", " ", (FOLDER / "Containerfile").read_text(encoding="utf-8"))
STEPS = [(step, words) for step, _, words in (line.partition(" ") for line in FILE.splitlines() if line and line[0] != "#")]
COPIED = [source for step, words in STEPS if step == "COPY" for source in words.split()[:-1]]
TEMPLATE = json.loads((FOLDER / "job-template.json").read_text(encoding="utf-8"))
RESOURCES = [
    document
    for name in yaml.safe_load((FOLDER / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    for document in yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8"))
]


def of(step: str) -> list[str]:
    return [words for one, words in STEPS if one == step]


def held(value: Any, key: str) -> Iterator[Any]:
    """Whatever stands under this key, at any depth."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == key:
                yield inner
            yield from held(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from held(inner, key)


def job(**variables: str) -> dict[str, Any]:
    """The job that prefect-kubernetes would make of a flow run."""
    pytest.importorskip("prefect_kubernetes")
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun
    from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration as Configuration

    nobody = PrefectClient("http://127.0.0.1:9/api")  # for blocks, of which the template names none
    made = asyncio.run(Configuration.from_template_and_values(TEMPLATE, variables, client=nobody))
    made.prepare_for_flow_run(FlowRun(flow_id=uuid4(), name="small-1a2b3c"))
    return made.job_manifest


def fitted(value: Any, kind: str) -> Any:
    """A document as an object of the Kubernetes API's own type. Raises where it has a key that the type has not, or lacks one, or holds another
    kind of value."""
    from kubernetes_asyncio import client

    if nested := re.fullmatch(r"list\[(.+)\]", kind):
        return [fitted(one, nested[1]) for one in value]
    if nested := re.fullmatch(r"dict\(str, (.+)\)", kind):
        return {name: fitted(one, nested[1]) for name, one in value.items()}
    if plain := {"str": str, "int": int, "bool": bool}.get(kind):
        assert type(value) is plain, f"{value!r} is no {kind}"
        return value
    if kind == "object":  # a number or a word
        return value
    model = getattr(client, kind)
    names = {written: name for name, written in model.attribute_map.items()}
    unknown = value.keys() - names.keys()
    assert not unknown, f"{kind} has no {unknown}"
    return model(**{names[key]: fitted(one, model.openapi_types[names[key]]) for key, one in value.items()})


def test_the_image_is_made_of_files_that_are_there_committed_and_let_through() -> None:
    ignored = (FOLDER / "Containerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert sorted(f"!{source}" for source in COPIED) == sorted(line for line in ignored if line.startswith("!"))
    assert all((ROOT / source).exists() for source in COPIED)
    if (ROOT / ".git").exists():
        tracked = subprocess.run(
            ["git", "-C", ROOT, "ls-files", "--", *COPIED], capture_output=True, text=True, check=True
        ).stdout
        assert {line.partition("/")[0] for line in tracked.splitlines()} == set(COPIED)


def test_it_installs_as_the_makefile_does_into_a_python_that_the_project_takes() -> None:
    ours = " ".join(of("RUN"))
    for line in re.findall(r"python -m pip install (.*)", (ROOT / "Makefile").read_text(encoding="utf-8").split("$(READY): ")[1]):
        options = line.replace("-e .", ".").split("#")[0].split()[:-1]
        if "'torch==2.13.0'" not in line:
            assert all(option in ours for option in options), line
    (base,) = of("FROM")
    assert re.fullmatch(r"python:[\d.]+-slim", base)
    assert f"{base.partition(':')[2].partition('-')[0]}.0" in SpecifierSet(PROJECT["requires-python"])
    (extras,) = (words.partition("=")[2].split(",") for words in of("ARG") if words.startswith("EXTRAS"))
    assert set(extras) <= set(PROJECT["optional-dependencies"])
    (entry,) = of("ENTRYPOINT")
    assert json.loads(entry) == ["palms"]
    assert "palms" in PROJECT["scripts"]
    assert int(*of("USER")) > 0


@pytest.mark.slow
def test_what_it_copies_makes_the_whole_package(tmp_path: Path) -> None:
    """The last layer's own command over nothing but what is copied, into a wheel instead of an image."""
    context = tmp_path / "context"
    context.mkdir()
    for source in COPIED:
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, context / source, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, context)
    folders = [source for source in COPIED if (context / source).is_dir()]
    wanted = {path.relative_to(context).as_posix() for name in folders for path in (context / name).rglob("*") if path.is_file()}
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-qq",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        ".",
    ]
    subprocess.run(command, cwd=context, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert wanted - set(archive.namelist()) == set()


def test_everything_runs_as_the_image_that_is_built_and_as_nobody_who_may_do_much() -> None:
    image = f"palms-sweep:{PROJECT['version']}"
    assert f"-t {image} ." in RECIPE
    (deployed,) = (
        one for one in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"] if one["name"] == "kubernetes"
    )
    assert deployed["work_pool"]["job_variables"]["image"] == image
    assert deployed["work_pool"]["job_variables"].keys() <= TEMPLATE["variables"]["properties"].keys()
    (retagged,) = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["images"]
    assert f"{retagged['name']}:{retagged['newTag']}" == image
    pods = [*held(RESOURCES, "template"), *held(TEMPLATE["job_configuration"]["job_manifest"], "template")]
    for pod in (one["spec"] for one in pods):
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod.get("automountServiceAccountToken") is False or pod["serviceAccountName"] == "palms-worker"
        for container in pod["containers"]:
            assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def test_what_one_names_another_is() -> None:
    named = {(one["kind"], one["metadata"]["name"]) for one in RESOURCES}
    for kind, key, field in (
        ("PersistentVolumeClaim", "persistentVolumeClaim", "claimName"),
        ("Role", "roleRef", "name"),
        ("ServiceAccount", "subjects", 0),
    ):
        found = [one[field] for one in held([RESOURCES, TEMPLATE], key)]
        assert found
        assert {(kind, one["name"] if isinstance(one, dict) else one) for one in found} <= named
    assert {(f"{one['name']}", one["key"]) for one in held([RESOURCES, TEMPLATE], "secretKeyRef")} == made_by_the_recipe()
    (account,) = held(RESOURCES, "serviceAccountName")
    assert ("ServiceAccount", account) in named
    (mount,) = held(TEMPLATE, "mountPath")
    (home,) = (
        one["value"] for envs in held(TEMPLATE, "env") if isinstance(envs, list) for one in envs if one["name"] == "PALMS_HOME"
    )
    assert mount == home == dict(words.split("=") for words in of("ENV"))["PALMS_HOME"]
    worker = next(one for one in RESOURCES if one["metadata"]["name"] == "palms-worker" and one["kind"] == "Deployment")
    (pool,) = (one["work_pool"]["name"] for one in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"][1:])
    assert next(held(worker, "command"))[-1] == pool


def made_by_the_recipe() -> set[tuple[str, str]]:
    """(secret, key), as the commands of docs/cluster.md make them."""
    made = re.sub(r"\s*\\\n\s*", " ", RECIPE)
    return {
        (name, key)
        for line in re.findall(r"kubectl -n palms create secret generic palms .*", made)
        for name in [shlex.split(line)[6]]
        for key in re.findall(r"--from-file=([\w-]+)=", line)
    }


@pytest.mark.external
def test_the_manifests_fit_the_kubernetes_api() -> None:
    pytest.importorskip("kubernetes_asyncio")
    for document in RESOURCES:
        fitted(document, f"V1{document['kind']}")
    with pytest.raises(AssertionError, match="V1PodSpec has no"):
        fitted({"spec": {"template": {"spec": {"containerz": []}}, "selector": {}}}, "V1Deployment")
    with pytest.raises(ValueError, match="containers"):
        fitted({"spec": {"template": {"spec": {}}, "selector": {}}}, "V1Deployment")


@pytest.mark.external
def test_a_job_is_what_its_deployment_asks_for_and_holds_no_secret() -> None:
    made = job(image="palms-sweep:0.1.0", memory="8Gi", gpus="1")
    fitted(made, "V1Job")
    (container,) = made["spec"]["template"]["spec"]["containers"]
    assert (container["command"], container["args"]) == (
        ["env"],
        ["prefect", "flow-run", "execute"],
    )  # past the image's entry point
    assert container["resources"]["limits"] == {"cpu": "4", "memory": "8Gi", "nvidia.com/gpu": "1"}
    given = {one["name"]: one for one in container["env"]}
    assert given["PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"]["value"] == "reschedule"  # what an evicted pod's sweep meets
    assert "valueFrom" in given["PALMS_MLFLOW_DATABASE"]
    assert given["PALMS_HOME"]["value"] == "/palms"
