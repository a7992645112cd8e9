"""Copies of networks, also with the old weight normalisations of torch, which ``copy.deepcopy`` refuses.

It uses torch's private ``Module._forward_pre_hooks``, in which the old normalisations live, and
``Module._load_state_dict_pre_hooks``.
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm, SpectralNormLoadStateDictPreHook
from torch.nn.utils.weight_norm import WeightNorm

from morel_search._user_code import PASSED_ON, error_text
from morel_search.errors import NetworkError

__all__ = ["copied"]

Module = TypeVar("Module", bound=nn.Module)


def copied(model: Module) -> Module:
    """Return a copy of a network that can be copied again, as attacks and weight averages do.

    ``torch.nn.utils.weight_norm`` and ``spectral_norm`` keep a weight that was computed with gradients, which
    cannot be copied. The copy has ``torch.nn.utils.parametrizations.weight_norm`` and ``spectral_norm``
    instead, with the same weights, so it computes the same.

    Raises:
        NetworkError: The network cannot be copied.
    """
    computed: dict[int, object] = {}
    for part in model.modules():
        for name in _old_norms(part):
            value = getattr(part, name)
            computed[id(value)] = value.detach().clone()
    try:
        twin = copy.deepcopy(model, computed)
    except PASSED_ON:
        raise
    except BaseException as error:
        text = error_text(error)
        hint = ""
        if "graph leaves" in text or "deepcopy protocol" in text:
            hint = (
                "; it keeps a tensor that was computed with gradients as an attribute: compute it in "
                "forward, or use torch.nn.utils.parametrize"
            )
        raise NetworkError(f"cannot be copied by copy.deepcopy: {text}{hint}") from error
    for part in twin.modules():
        for name, norm in _old_norms(part).items():
            if isinstance(norm, WeightNorm):
                _renew_weight_norm(part, name, norm)
            else:
                _renew_spectral_norm(part, name, norm)
    return twin


def _old_norms(part: nn.Module) -> dict[str, WeightNorm | SpectralNorm]:
    """Return the old normalisations of one module, by the name of the weight."""
    hooks = part._forward_pre_hooks.values()
    return {hook.name: hook for hook in hooks if isinstance(hook, (WeightNorm, SpectralNorm))}


@torch.no_grad()
def _renew_weight_norm(part: nn.Module, name: str, norm: WeightNorm) -> None:
    old = [getattr(part, f"{name}_{suffix}") for suffix in "gv"]
    remove_weight_norm(part, name)
    parametrizations.weight_norm(part, name, norm.dim)
    for new, given in zip(_originals(part, name, 2), old, strict=True):
        new.copy_(given)
        new.requires_grad_(given.requires_grad)


@torch.no_grad()
def _renew_spectral_norm(part: nn.Module, name: str, norm: SpectralNorm) -> None:
    weight, left, right = (getattr(part, f"{name}_{suffix}") for suffix in ("orig", "u", "v"))
    remove_spectral_norm(part, name)
    # torch leaves this hook in place, and with it the module could not load its own state_dict
    hooks = part._load_state_dict_pre_hooks
    for key, wrapped in [*hooks.items()]:
        hook = getattr(wrapped, "hook", wrapped)
        if isinstance(hook, SpectralNormLoadStateDictPreHook) and hook.fn.name == name:
            del hooks[key]
    getattr(part, name).copy_(weight)
    parametrizations.spectral_norm(part, name, norm.n_power_iterations, norm.eps, norm.dim)
    (new,) = _originals(part, name, 1)
    new.requires_grad_(weight.requires_grad)
    parametrization: Any = part.get_submodule(f"parametrizations.{name}.0")
    parametrization._u.copy_(left)
    parametrization._v.copy_(right)


def _originals(part: nn.Module, name: str, count: int) -> list[Tensor]:
    """Return the tensors from which a parametrization computes a weight."""
    holder = part.get_submodule(f"parametrizations.{name}")
    names = ["original"] if count == 1 else [f"original{index}" for index in range(count)]
    return [holder.get_parameter(key) for key in names]
