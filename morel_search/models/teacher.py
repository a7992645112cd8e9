"""The teacher of a training, ``train.teacher``: a network in a folder, or one that an import path names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from morel_search._consent import Consent, import_paths, names_code
from morel_search._format import shortened
from morel_search._user_code import named_errors
from morel_search.errors import NetworkError
from morel_search.models import checkpoint
from morel_search.models.load import CHECKPOINT, SETTINGS, WEIGHTS, load_model, read_settings
from morel_search.training.networks.imported import import_network
from morel_search.training.networks.mixture import Mixture
from morel_search.training.networks.parts import explained
from morel_search.training.objectives import accuracy_objective
from morel_search.training.settings import TrainSettings

__all__ = [
    "LoadedTeacher",
    "load_teacher",
    "search_consent",
    "taught_settings",
    "teacher_files",
    "with_fingerprint",
]

_IN_A_SEARCH = (
    "a search runs only code that its space file names; set train.teacher to a function of your own that "
    "returns morel_search.load_model(FOLDER, trust_code=True)"
)


@dataclass(frozen=True, slots=True, eq=False)
class LoadedTeacher:
    """A teacher.

    Attributes:
        model: Images in [0, 1], shape (N, C, H, W), to logits, shape (N, classes); in eval mode, on the CPU.
        sha256: SHA-256 of the network and its weights; that of a network and of its export are equal.
    """

    model: nn.Module
    sha256: str

    @property
    def passes(self) -> int:
        """Forward passes of networks in each step of the training."""
        return self.model.passes if isinstance(self.model, Mixture) else 1


def search_consent(named: object) -> Consent:
    """Return the consent to the code of a search, for the settings in a teacher's folder.

    Args:
        named: The settings that the space file gives, or a part of them.
    """
    return Consent(frozenset(import_paths(named)), otherwise=_IN_A_SEARCH)


def load_teacher(
    train: TrainSettings,
    image_shape: Sequence[int],
    classes: Sequence[str],
    consent: Consent,
    *,
    copy: Path | None = None,
) -> LoadedTeacher | None:
    """Load the teacher of a training.

    Args:
        train: The settings of the training.
        image_shape: Channels, height and width of the images.
        classes: Names of the classes, in the order of the labels.
        consent: The code that may be run.
        copy: A copy of the teacher's folder, which is read instead if it exists.

    Returns:
        The teacher; None if the accuracy objective needs none, or the settings name none.

    Raises:
        NetworkError: It cannot be loaded, does not fit the images and classes, or is not that of
            ``teacher_sha256``.
        TrainingError: The accuracy objective cannot be used.
        UntrustedCodeError: The teacher is code without consent.
    """
    if train.teacher is None or not accuracy_objective(train).needs_teacher:
        return None
    text = shortened(train.teacher)
    with torch.random.fork_rng(devices=[]):
        if names_code(train.teacher):
            consent.check([train.teacher], "train.teacher")
            with named_errors(f"train.teacher {text}", [train.teacher]):
                loaded = _imported(train.teacher, len(classes))
        else:
            copied = copy is not None and (copy / SETTINGS).is_file()
            folder = copy if copy is not None and copied else _folder(train.teacher, text)
            loaded = _from_folder(folder, text, image_shape, classes, consent)
        _check_answers(loaded.model, text, image_shape, len(classes))
    if train.teacher_sha256 not in (None, loaded.sha256):
        raise NetworkError(
            f"train.teacher {text} is another network than that of train.teacher_sha256: its SHA-256 is "
            f"{loaded.sha256}, not {shortened(str(train.teacher_sha256))}"
        )
    return loaded


def taught_settings(train: TrainSettings, teacher: str | None, loss: str | None) -> TrainSettings:
    """Return settings with another teacher or another loss of the distillation.

    Args:
        train: The settings.
        teacher: The teacher; None keeps that of the settings.
        loss: The accuracy objective; None keeps that of the settings if it needs a teacher, else ``rslad``.

    Raises:
        NetworkError: There is no teacher.
    """
    if teacher is None and train.teacher is None:
        raise NetworkError(f"--loss {loss} needs a teacher: name a network with --teacher")
    kept = train.accuracy_loss if accuracy_objective(train).needs_teacher else "rslad"
    changed = replace(train, accuracy_loss=loss or kept)
    return changed if teacher is None else replace(changed, teacher=teacher, teacher_sha256=None)


def with_fingerprint(train: TrainSettings, loaded: LoadedTeacher | None) -> TrainSettings:
    """Return the settings with the SHA-256 of the teacher."""
    return train if loaded is None else replace(train, teacher_sha256=loaded.sha256)


def teacher_files(folder: Path) -> list[Path]:
    """Return the files that a copy of a teacher's folder needs, ``settings.json`` last."""
    weights = folder / WEIGHTS
    return [weights if weights.exists() else folder / CHECKPOINT, folder / SETTINGS]


def _folder(teacher: str, text: str) -> Path:
    try:
        folder = Path(teacher).expanduser()
        with suppress(FileNotFoundError, NotADirectoryError):
            folder.stat()  # refuses a zero byte, and a name that is too long
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise NetworkError(f"train.teacher {text} is not a path that can be used: {reason}") from error
    return folder


def _imported(path: str, classes: int) -> LoadedTeacher:
    try:
        model = import_network(path, classes)
    except NetworkError as error:
        raise NetworkError(f"train.teacher {path} {error}") from error
    return LoadedTeacher(model, _fingerprint(model, {"name": path}))


def _from_folder(
    folder: Path, text: str, image_shape: Sequence[int], classes: Sequence[str], consent: Consent
) -> LoadedTeacher:
    try:
        settings = read_settings(folder)
        with named_errors("the network", import_paths(settings.network)):
            if (folder / WEIGHTS).exists():
                model = load_model(folder, consent)
                shape, names, network = settings.image_shape, settings.classes, settings.network
            else:  # of a run, whose settings.json may lack what the checkpoint has
                model, metadata = checkpoint.load_model(folder / CHECKPOINT, consent)
                shape, names = metadata.image_shape, metadata.classes
                network = {"name": metadata.network.name, "options": dict(metadata.network.options)}
    except NetworkError as error:
        raise NetworkError(f"train.teacher {text} cannot be used: {error}") from error
    if tuple(shape or ()) != tuple(image_shape):
        sizes = [" x ".join(map(str, sides)) for sides in (shape or (), image_shape)]
        raise NetworkError(
            f"train.teacher {text} takes images of {sizes[0]}, and the images of data are {sizes[1]}"
        )
    if tuple(names or ()) != tuple(classes):
        raise NetworkError(
            f"train.teacher {text} has other classes than data ({len(names or ())} and {len(classes)}), or "
            "the same ones in another order"
        )
    described = {"name": network.get("name"), "options": network.get("options") or {}}
    return LoadedTeacher(model, _fingerprint(model, described))


@torch.no_grad()
def _check_answers(model: nn.Module, text: str, image_shape: Sequence[int], classes: int) -> None:
    """Check the logits of two random images.

    Raises:
        NetworkError: There are none, or they do not fit the classes.
    """
    images = torch.rand(2, *image_shape, generator=torch.Generator().manual_seed(0))
    try:
        with explained(f"does not take images of {' x '.join(map(str, image_shape))}"):
            logits = model(images)
    except NetworkError as error:
        raise NetworkError(f"train.teacher {text} {error}") from error
    if not isinstance(logits, Tensor) or logits.shape != (2, classes):
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise NetworkError(
            f"train.teacher {text} must give logits of shape (N, {classes}) for N images of {classes} "
            f"classes, got {got}"
        )
    if not torch.isfinite(logits).all():
        raise NetworkError(f"train.teacher {text} gives logits that are not finite")


def _fingerprint(model: nn.Module, described: Mapping[str, object]) -> str:
    digest = hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode())
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        if isinstance(value, Tensor):
            digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        else:  # of a module with get_extra_state
            digest.update(repr(value).encode())
    return digest.hexdigest()
