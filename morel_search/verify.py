"""``python -m morel_search.verify results/NAME``: attack the networks of a run's front, and its controls, with all there is."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from morel_search import __version__
from morel_search._cli import exit_code_of, print_out, terminate_as_interrupt

__all__ = ["main"]

EPILOG = """\
Every member of the front and every control is attacked on the test split: FGSM, the search's own PGD, PGD-50 with five starts, and
AutoAttack's APGD-CE, APGD-T, FAB-T and Square. An image counts as robust when it withstands all of them. With --replicates each of them is
trained again with other seeds too: how much was luck? What was found is kept after each piece, so the same command continues; when it
ends, the report is drawn again.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify and say what is left.

    Args:
        arguments: The command line's words; None takes those of the process.

    Returns:
        The exit code: 0, 2 after a mistake of the user's, 130 when it was interrupted.
    """
    parser = argparse.ArgumentParser(
        prog="python -m morel_search.verify",
        description="Verify the front of a run with strong attacks on the test split.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the run's folder, such as results/digits")
    parser.add_argument(
        "--minutes",
        type=float,
        metavar="M",
        help="stop attacking after so many minutes (default: when everything is done)",
    )
    parser.add_argument("--images", type=int, metavar="N", help="images of the test split (default: all)")
    parser.add_argument(
        "--replicates",
        type=int,
        metavar="N",
        help="train each network N times again (default: verify.replicates, 0)",
    )
    parser.add_argument(
        "--address",
        metavar="ADDRESS",
        help="on an existing Ray cluster: auto or HOST:PORT (default: Ray starts here)",
    )
    parser.add_argument(
        "-q", "--quiet", action="store_true", help="nothing but warnings, errors and where the report is"
    )
    parser.add_argument("--version", action="version", version=f"morel_search {__version__}")
    return exit_code_of(lambda: _verify(parser.parse_args(arguments)))


def _verify(options: argparse.Namespace) -> int:
    from morel_search.analysis.report.page import write_report
    from morel_search.analysis.report.replication import replication_text
    from morel_search.cluster.placement import MACHINE_SECONDS, check_resources
    from morel_search.cluster.session import ray_session
    from morel_search.cluster.tasks import on_cluster
    from morel_search.config import load_space
    from morel_search.errors import ResourceError
    from morel_search.results.folder import open_run_folder
    from morel_search.verification.runner import VerificationBudget
    from morel_search.workflows import preflight
    from morel_search.workflows.verify import networks_of, replicate_run, verification_text, verify_run

    for name, value in (
        ("--minutes", options.minutes),
        ("--images", options.images),
        ("--replicates", options.replicates),
    ):
        if value is not None and not value > 0:
            raise ResourceError(f"{name} must be above 0, got {value:g}")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # networks by import path, also for the console script
    run = open_run_folder(options.run)
    space = load_space(run.space, run.read_settings().get("overrides", []))
    networks_of(run)
    if options.address is None:
        preflight.check_device(space)
    budget = VerificationBudget(
        images=options.images or space.verify.images,
        seconds=None if options.minutes is None else 60 * options.minutes,
        seed=space.verify.seed,
    )
    with run.lock(), terminate_as_interrupt(), ray_session(options.address), terminate_as_interrupt():
        check_resources(space.resources, 0 if options.address is None else MACHINE_SECONDS)
        preflight_result = on_cluster(
            preflight.inspect, space, num_cpus=space.resources.cpu, num_gpus=space.resources.gpu
        )
        found = verify_run(space, run, preflight_result.compute, budget, quiet=options.quiet)
        count = options.replicates or space.verify.replicates
        again = (
            replicate_run(space, run, preflight_result.compute, count, quiet=options.quiet) if count else ()
        )
    report = write_report(run)
    if not options.quiet:
        print_out(
            "no image has seen all attacks by gradient yet: give it more time"
            if found is None
            else verification_text(found)
        )
        if again:
            print_out(replication_text(again))
    print_out(f"report: {report}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
