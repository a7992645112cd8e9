"""Ray's private parts: these tests fail first when Ray changes one, and one module alone uses them."""

from __future__ import annotations

import ast
import inspect
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray
from ray._private import node as node_module
from ray._private import ray_constants, services, state, utils, worker
from ray.air.execution._internal import RayActorManager
from ray.air.execution._internal.tracked_actor import TrackedActor
from ray.air.execution._internal.tracked_actor_task import TrackedActorTask
from ray.tune.execution.tune_controller import TrialRunnerWrapper, TuneController
from ray.util.client import worker as client_worker
from ray.util.client.server import proxier

from morel_search.cluster import ray_private
from morel_search.cluster.session import QUIET
from morel_search.search.outcome import DETERMINISTIC_FAILURES

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


def test_a_setting_of_ray_tune_reaches_the_controller_behind_the_wrapper() -> None:
    class Controller:
        _actor_force_cleanup_timeout = 10

    controller = Controller()
    ray_private.set_kill_seconds(TrialRunnerWrapper(controller, None))  # type: ignore[arg-type]
    assert controller._actor_force_cleanup_timeout == ray_private.KILL_SECONDS


@pytest.mark.parametrize("started", [True, False])
def test_a_kill_by_ray_s_memory_monitor_is_a_death_and_not_the_end_of_the_experiment(started: bool) -> None:
    """Ray Tune's own manager of processes raises a RuntimeError for this error."""
    manager = RayActorManager(resource_manager=None)  # type: ignore[arg-type]
    seen: list[Exception] = []
    lost: list[str] = []
    actor = TrackedActor(1, on_error=lambda _, error: seen.append(error))
    task = TrackedActorTask(actor, on_error=lambda _, error: seen.append(error))
    controller = SimpleNamespace(
        _actor_manager=manager, _actor_to_trial={actor: SimpleNamespace(trial_id="a")}
    )
    manager._cleanup_actor = lambda **_: None  # type: ignore[method-assign]
    error = ray.exceptions.OutOfMemoryError("the node is running low on memory")
    if started:
        with pytest.raises(RuntimeError, match="unexpected"):
            manager._actor_task_failed(task, error)
    for _ in range(2):  # twice: a search has many trials
        ray_private.watch_losses(TrialRunnerWrapper(controller, None), lambda name, _: lost.append(name))  # type: ignore[arg-type]
    if started:
        manager._actor_task_failed(task, error)
    else:
        manager._actor_start_failed(actor, error)
    assert lost == ["a"]
    assert [type(death) for death in seen] == [ray.exceptions.RayActorError] * (2 if started else 1)
    assert ray_private.loss_reason(error).startswith(DETERMINISTIC_FAILURES)


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (ray.exceptions.NodeDiedError("lost"), True),
        (
            ray.exceptions.RayActorError(error_msg="The actor died because its node has died. Node Id: 6"),
            True,
        ),
        (ray.exceptions.RayActorError(error_msg="drained", preempted=True), True),
        (ray.exceptions.RayActorError(error_msg="The actor is dead because its process has died"), False),
        (ray.exceptions.ObjectLostError("a", None, ""), False),
    ],
)
def test_a_lost_machine_is_told_from_a_dead_process(error: Exception, lost: bool) -> None:
    assert ray_private.loss_reason(error) == (ray_private.MACHINE_LOST if lost else "")


def test_every_lost_process_of_a_trial_is_noted() -> None:
    manager = RayActorManager(resource_manager=None)  # type: ignore[arg-type]
    seen: list[Exception] = []
    lost: list[Exception] = []
    actor = TrackedActor(1, on_error=lambda _, error: seen.append(error))
    controller = SimpleNamespace(
        _actor_manager=manager, _actor_to_trial={actor: SimpleNamespace(trial_id="a")}
    )
    manager._cleanup_actor = lambda **_: None  # type: ignore[method-assign]
    ray_private.watch_losses(controller, lambda _, error: lost.append(error))
    error = ray.exceptions.RayActorError(error_msg="The actor died because its node has died.")
    manager._actor_start_failed(actor, error)
    assert seen == lost == [error]


def test_other_errors_stay_what_they_are() -> None:
    manager = RayActorManager(resource_manager=None)  # type: ignore[arg-type]
    controller = SimpleNamespace(_actor_manager=manager, _actor_to_trial={})
    ray_private.watch_losses(controller, lambda *_: None)
    for error in (ray.exceptions.LocalRayletDiedError(), ValueError("a bug")):
        with pytest.raises(RuntimeError, match="unexpected"):
            manager._actor_task_failed(TrackedActorTask(TrackedActor(1)), error)


def test_ray_takes_a_temporary_folder() -> None:
    (argument,) = ray_private.temporary_folder_option(Path("/tmp/x"))
    assert f'kwargs.pop("{argument}"' in inspect.getsource(ray.init)


def test_ray_can_be_told_to_listen_on_the_loopback_interface() -> None:
    before = ray_constants.ENABLE_RAY_CLUSTER
    assert before or sys.platform in ("darwin", "win32")
    with ray_private.on_loopback():
        assert services.get_node_ip_address() == "127.0.0.1"
    assert before == ray_constants.ENABLE_RAY_CLUSTER


def test_a_submitted_job_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    assert worker.RAY_JOB_CONFIG_JSON_ENV_VAR == "RAY_JOB_CONFIG_JSON_ENV_VAR"
    monkeypatch.delenv(worker.RAY_JOB_CONFIG_JSON_ENV_VAR, raising=False)
    assert not ray_private.in_submitted_job()
    monkeypatch.setenv(worker.RAY_JOB_CONFIG_JSON_ENV_VAR, "{}")
    assert ray_private.in_submitted_job()


def test_the_processes_that_ray_cannot_run_without() -> None:
    names = (ray_constants.PROCESS_TYPE_GCS_SERVER, ray_constants.PROCESS_TYPE_RAYLET)
    assert names == ray_private._WATCHED
    assert worker._global_node is None  # Ray has not been started here
    assert ray_private.own_processes() == {}
    assert "process" in services.ProcessInfo._fields


def test_an_actor_of_nobody_has_no_process() -> None:
    assert ray_private.process_of_actor(object()) == 0
    assert '"Pid": ' in inspect.getsource(state.GlobalState._gen_actor_info)
    assert '"NodeID": ' in inspect.getsource(state.GlobalState._gen_actor_info)


def test_the_thread_that_listens_for_errors_can_be_ended() -> None:
    assert "threads_stopped.is_set()" in inspect.getsource(worker.listen_error_messages)
    ray_private.stop_listening()
    assert worker.global_worker.threads_stopped.is_set()
    worker.global_worker.threads_stopped.clear()


def test_ray_waits_longer_for_its_raylet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray compares the time only after a call of get_node has failed."""
    source = inspect.getsource(node_module.Node.__init__)
    assert "ray._private.services.get_node(" in source
    assert source.index("services.get_node(") < source.index("> raylet_start_wait_time_s")
    answers = iter([RuntimeError("not yet"), RuntimeError("not yet"), {"labels": {}}])

    def get_node(*_: object) -> object:
        answer = next(answers)
        if isinstance(answer, RuntimeError):
            raise answer
        return answer

    monkeypatch.setattr(services, "get_node", get_node)
    with ray_private.patient_start():
        assert services.get_node("address", "node") == {"labels": {}}
    assert services.get_node is get_node


def test_ray_does_not_wait_for_its_raylet_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([0.0, 100.0, ray_private.START_SECONDS])

    def get_node(*_: object) -> object:
        raise RuntimeError("no node")

    monkeypatch.setattr(services, "get_node", get_node)
    with ray_private.patient_start(lambda: next(moments)), pytest.raises(RuntimeError, match="no node"):
        services.get_node("address", "node")


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
            # os._exit is a documented function
            names += [] if owner in ("self", "cls", "os") else [node.attr]
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


def test_ray_reads_the_limits_of_its_logs() -> None:
    """Without them, a loss that prints in each step fills the disk."""
    source = inspect.getsource(node_module)
    for name in ("RAY_ROTATION_MAX_BYTES", "RAY_ROTATION_BACKUP_COUNT"):
        assert name in QUIET
        assert f'"{name}"' in source
