"""Ray's private parts: these tests fail first when Ray changes one, and one module alone uses them."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest
import ray
from ray._private import utils, worker
from ray.tune.execution.tune_controller import TuneController
from ray.util.client import worker as client_worker
from ray.util.client.server import proxier

from morel_search.cluster import ray_private

PACKAGE = Path(__file__).parents[1] / "morel_search"
ENVIRONMENT = ("RAY_JOB_CONFIG_JSON_ENV_VAR", *ray_private.CONNECT_RETRIES)


def test_ray_tune_waits_for_a_trial_as_long_as_it_is_told() -> None:
    """The attribute is set in the constructor and read where a trial is stopped."""
    assert f"self.{ray_private._FORCE_CLEANUP}" in inspect.getsource(TuneController.__init__)
    assert inspect.getsource(TuneController).count(f"self.{ray_private._FORCE_CLEANUP}") > 1

    class Controller:
        _actor_force_cleanup_timeout = 10

    controller = Controller()
    ray_private.set_kill_seconds(controller)
    assert controller._actor_force_cleanup_timeout == ray_private.KILL_SECONDS
    ray_private.set_kill_seconds(None)  # a Ray without the attribute keeps its own time


def test_ray_takes_a_temporary_folder() -> None:
    (argument,) = ray_private.temporary_folder_option(Path("/tmp/x"))
    assert f'kwargs.pop("{argument}"' in inspect.getsource(ray.init)


def test_a_submitted_job_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    assert worker.RAY_JOB_CONFIG_JSON_ENV_VAR == "RAY_JOB_CONFIG_JSON_ENV_VAR"
    monkeypatch.delenv(worker.RAY_JOB_CONFIG_JSON_ENV_VAR, raising=False)
    assert not ray_private.in_submitted_job()
    monkeypatch.setenv(worker.RAY_JOB_CONFIG_JSON_ENV_VAR, "{}")
    assert ray_private.in_submitted_job()


@pytest.mark.parametrize(
    ("text", "module"),
    [
        (ray_private.FORK_FAILED, proxier),
        (ray_private.CLIENT_TIMEOUT, client_worker),
        (ray_private.VERSION_MISMATCH, utils),
    ],
)
def test_ray_s_errors_say_what_is_looked_for(text: str, module: object) -> None:
    assert text in inspect.getsource(module)  # type: ignore[arg-type]


def private_names(tree: ast.AST) -> list[str]:
    """Return the private names of other objects that code uses, and environment variables."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            names += [] if owner in ("self", "cls") else [node.attr]
        elif isinstance(node, ast.keyword) and is_private(node.arg or ""):
            names.append(str(node.arg))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ray"):
            parts = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            names += [part for part in parts if is_private(part)]
        elif isinstance(node, ast.Import):
            names += [
                part
                for alias in node.names
                if alias.name.startswith("ray.")
                for part in alias.name.split(".")
                if is_private(part)
            ]
        elif isinstance(node, ast.Constant) and node.value in (
            *ENVIRONMENT,
            "_temp_dir",
            ray_private._FORCE_CLEANUP,
        ):
            names.append(str(node.value))
    return names


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


@pytest.mark.parametrize("folder", ["cluster", "verification", "workflows", "."])
def test_no_other_module_uses_a_private_name(folder: str) -> None:
    used = {
        f"{path.name}: {name}"
        for path in (PACKAGE / folder).glob("*.py")
        if path.name != "ray_private.py"
        for name in private_names(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert used == set()


def test_private_names_are_found() -> None:
    code = (
        "import ray._private.worker\nfrom ray._private import utils\nfrom ray.tune import _x\n"
        "ray.init(_temp_dir='a')\nself._own\ncontroller._secret\nhasattr(c, '_actor_force_cleanup_timeout')\n"
        "'RAY_JOB_CONFIG_JSON_ENV_VAR' in os.environ\n"
    )
    assert sorted(private_names(ast.parse(code))) == [
        "RAY_JOB_CONFIG_JSON_ENV_VAR",
        "_actor_force_cleanup_timeout",
        "_private",
        "_private",
        "_secret",
        "_temp_dir",
        "_x",
    ]
