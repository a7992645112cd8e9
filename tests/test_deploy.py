"""The files in deploy/: they parse, they have only known fields, and they name commands of this project."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from ruamel.yaml import YAML

from morel_search.run import run

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"

# ray.io/v1 as KubeRay's API types have it (https://ray-project.github.io/kuberay/reference/api/); authOptions
# since 1.5.1
RAY_JOB_SPEC = {
    "activeDeadlineSeconds",
    "backoffLimit",
    "rayClusterSpec",
    "submitterPodTemplate",
    "metadata",
    "clusterSelector",
    "submitterConfig",
    "managedBy",
    "deletionStrategy",
    "entrypoint",
    "runtimeEnvYAML",
    "jobId",
    "submissionMode",
    "entrypointResources",
    "entrypointNumCpus",
    "entrypointNumGpus",
    "ttlSecondsAfterFinished",
    "shutdownAfterJobFinishes",
    "suspend",
}
RAY_CLUSTER_SPEC = {
    "authOptions",
    "headGroupSpec",
    "workerGroupSpecs",
    "rayVersion",
    "enableInTreeAutoscaling",
    "autoscalerOptions",
    "suspend",
}
HEAD_GROUP = {"serviceType", "headService", "enableIngress", "rayStartParams", "template"}
WORKER_GROUP = {
    "groupName",
    "replicas",
    "minReplicas",
    "maxReplicas",
    "numOfHosts",
    "rayStartParams",
    "template",
    "scaleStrategy",
}


def documents(name: str) -> list[dict]:
    return list(YAML(typ="safe").load_all((DEPLOY / name).read_text()))


def ray_job() -> dict:
    (job,) = documents("kuberay-rayjob.yaml")
    return job


def parse(words: list[str]) -> SimpleNamespace:
    return SimpleNamespace(**run.make_context("run", words).params)


def check_command(command: str) -> None:
    """Check that a command line of morel_search.run parses and names a space file that exists."""
    arguments = command.partition("morel_search.run")[2]
    words = shlex.split(arguments.partition("'")[0] if arguments.count("'") == 1 else arguments)
    options = parse(words)
    assert (ROOT / "search_spaces" / options.space.name).is_file()
    assert options.address is None or re.fullmatch(r"auto|HOST:\d+|ray://HOST:\d+", options.address)


def test_the_ray_job_has_the_fields_that_kuberay_knows() -> None:
    job = ray_job()
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]
    cluster = spec["rayClusterSpec"]
    assert not set(spec) - RAY_JOB_SPEC
    assert not set(cluster) - RAY_CLUSTER_SPEC
    assert not set(cluster["headGroupSpec"]) - HEAD_GROUP
    assert spec["submissionMode"] in {"K8sJobMode", "HTTPMode", "InteractiveMode"}
    assert cluster["authOptions"] == {"mode": "token"}
    for group in cluster["workerGroupSpecs"]:
        assert not set(group) - WORKER_GROUP
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        assert YAML(typ="safe").load(spec["runtimeEnvYAML"]).keys() == {"env_vars"}


def test_every_pod_of_the_ray_job_mounts_the_results_folder_that_the_command_names() -> None:
    spec, (claim,) = ray_job()["spec"], documents("kuberay-results.yaml")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    options = parse(shlex.split(spec["entrypoint"])[3:])
    cluster = spec["rayClusterSpec"]
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        claims = {
            volume["name"]: volume.get("persistentVolumeClaim", {}).get("claimName")
            for volume in pod["volumes"]
        }
        assert claims[mounts[str(options.results)]] == claim["metadata"]["name"]
        assert set(mounts.values()) == set(claims)


def test_the_ray_job_and_the_image_have_the_ray_of_the_project() -> None:
    import ray

    assert ray_job()["spec"]["rayClusterSpec"]["rayVersion"] == ray.__version__
    assert set(re.findall(r"rayproject/ray:([\d.]+)-", (DEPLOY / "Dockerfile").read_text())) == {
        ray.__version__
    }


def test_the_cluster_file_is_one_that_ray_takes() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    (config,) = documents("cluster.yaml")
    validate_config(prepare_config(config))


@pytest.mark.parametrize("name", ["cluster.yaml", "kuberay-rayjob.yaml", "README.md", "slurm.sh"])
def test_every_command_in_the_file_parses(name: str) -> None:
    text = (DEPLOY / name).read_text().replace("\\\n", " ")
    if name == "kuberay-rayjob.yaml":
        text = ray_job()["spec"]["entrypoint"]
    lines = [line for line in text.splitlines() if "-m morel_search.run" in line]
    if name == "slurm.sh":
        lines = [
            line.replace('"$space"', "digits.yaml").replace('"$address"', "HOST:1").partition('"$@"')[0]
            for line in lines
        ]
        lines += [
            f"morel_search.run --space {rest}"
            for rest in re.findall(r"sbatch deploy/slurm.sh (.*)", (DEPLOY / "README.md").read_text())
        ]
    assert lines
    for line in lines:
        check_command(line)


def test_the_image_copies_what_is_there_and_runs_a_command_that_parses() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    for sources in re.findall(r"^COPY --chown=\S+ (.*) \S+$", text, re.MULTILINE):
        assert all((ROOT / source).exists() for source in sources.split())
    (command,) = re.findall(r"^CMD (.*)$", text, re.MULTILINE)
    check_command(" ".join(YAML(typ="safe").load(command)))


def test_the_slurm_script_is_valid_bash() -> None:
    bash = shutil.which("bash")
    assert bash
    done = subprocess.run([bash, "-n", str(DEPLOY / "slurm.sh")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_file_that_the_page_names_is_there() -> None:
    for name in re.findall(r"deploy/[\w./-]+", (DEPLOY / "README.md").read_text()):
        assert (ROOT / name.rstrip(".")).exists(), name
