"""A copy of a network that attacks ask for gradients: frozen, folded, and in the attack's arithmetic."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from morel_search.training.compute import autocast
from morel_search.training.compute_settings import FLOAT32, Compute
from morel_search.training.networks import Classifier
from morel_search.training.networks.classifier import BatchNorm

__all__ = ["FrozenNetwork"]

Pair = tuple[str, str]
"""The names of a convolution and of the batch norm that alone reads it."""


class FrozenNetwork:
    """A copy of a network for attacks.

    It is in eval mode, its weights have no gradients, and each batch norm is folded into the convolution
    before it. :meth:`refresh` brings it up to date with the network's parameters and buffers, in place, so
    that a compiled graph stays valid. Folding changes no number beyond rounding; it is done where a trial run
    shows that it does not. Convolutions and linear layers hold their weights in the attack's precision;
    normalisation, the head and the logits are float32.

    Args:
        network: The network; it is not changed.
        images: A few images in [0, 1], shape (N, C, H, W), on the network's device, for the trial run.
        compute: The arithmetic.
    """

    def __init__(self, network: nn.Module, images: Tensor, compute: Compute = FLOAT32) -> None:
        self._compute = compute
        self._module = module = copy.deepcopy(network).eval().requires_grad_(False)
        pairs = _foldable(network, images[:2].detach())
        _make_room(module, pairs)
        if compute.channels_last:
            module.to(memory_format=torch.channels_last)
        if compute.precision == "bfloat16":
            _narrow(module)
        self._head = module.head if isinstance(module, Classifier) else nn.Identity()
        self._encode: Any = module.features if isinstance(module, Classifier) else module
        if compute.compile:
            self._encode = torch.compile(self._encode)
        parts = dict(network.named_modules())
        copies = dict(module.named_modules())
        self._network = network
        self._folded = [(parts[conv], parts[norm], copies[conv]) for conv, norm in pairs]
        made = {
            id(tensor) for _, _, conv in self._folded for tensor in (conv.weight, conv.bias)
        }  # whatever other name it has
        self._targets = {name: tensor for name, tensor in _state(module).items() if id(tensor) not in made}
        self.refresh()

    def __call__(self, images: Tensor) -> Tensor:
        """Logits in float32, shape (N, classes), of float32 images, shape (N, C, H, W)."""
        with autocast(self._compute, images.device):
            out: Tensor = self._encode(images)
        logits: Tensor = self._head(out.float())
        return logits

    def modules(self) -> Iterator[nn.Module]:
        """The copy's parts."""
        return self._module.modules()

    @torch.no_grad()
    def refresh(self) -> None:
        """Take over the network's parameters and buffers as they are now."""
        _write_fused(self._folded)
        if self._targets:
            source = _state(self._network)  # anew: a forward pass may put another tensor in a buffer's place
            torch._foreach_copy_([*self._targets.values()], [source[name] for name in self._targets])


def _state(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _make_room(module: nn.Module, pairs: list[Pair]) -> None:
    """Give each convolution of a pair a bias, and let the batch norm behind it pass everything on."""
    for conv, norm in pairs:
        part: Any = module.get_submodule(conv)
        part.bias = nn.Parameter(part.weight.new_zeros(len(part.weight)), requires_grad=False)
        module.set_submodule(norm, nn.Identity())


def _write_fused(folded: Sequence[tuple[Any, Any, Any]]) -> None:
    """Write each convolution and the batch norm behind it into the convolution of the copy.

    The arithmetic is that of ``torch.nn.utils.fusion.fuse_conv_bn_weights``. Each operation takes all layers
    at once; only the product of a weight and its gain, which have different shapes, is one for each layer.
    """
    if not folded:
        return
    convs, norms, targets = ([*parts] for parts in zip(*folded, strict=True))
    gains = torch._foreach_add([norm.running_var for norm in norms], [norm.eps for norm in norms])
    torch._foreach_rsqrt_(gains)
    offsets = torch._foreach_neg([norm.running_mean for norm in norms])
    _grouped(torch._foreach_add_, offsets, [conv.bias for conv in convs])
    torch._foreach_mul_(offsets, gains)
    _grouped(torch._foreach_mul_, offsets, [norm.weight for norm in norms])
    _grouped(torch._foreach_add_, offsets, [norm.bias for norm in norms])
    torch._foreach_copy_([target.bias for target in targets], offsets)
    _grouped(torch._foreach_mul_, gains, [norm.weight for norm in norms])
    for conv, gain, target in zip(convs, gains, targets, strict=True):
        torch.mul(conv.weight, gain.reshape(-1, 1, 1, 1), out=target.weight)


def _grouped(
    operation: Callable[..., object], tensors: Sequence[Tensor], others: Sequence[Tensor | None]
) -> None:
    """Change each tensor that has a partner, in one operation."""
    pairs = [(tensor, other) for tensor, other in zip(tensors, others, strict=True) if other is not None]
    if pairs:
        operation([tensor for tensor, _ in pairs], [other for _, other in pairs])


def _narrow(module: nn.Module) -> None:
    """Convolutions and linear layers in bfloat16, as autocast would cast them in each pass.

    The head of a classifier stays in float32, also that of each member of a mixture.
    """
    heads = [part.head for part in module.modules() if isinstance(part, Classifier)]
    precise = {part for head in heads for part in head.modules()}
    for part in module.modules():
        if type(part) in (nn.Conv2d, nn.Linear) and part not in precise:
            part.to(torch.bfloat16)


@torch.no_grad()
def _foldable(network: nn.Module, images: Tensor) -> list[Pair]:
    """Pairs whose folding leaves the logits as they are, seen in trial runs.

    A convolution that something else reads too is none.
    """
    with torch.random.fork_rng(devices=[images.device] if images.is_cuda else []):
        trial = copy.deepcopy(network).eval()
        try:
            pairs = _followed(trial, images)
            _disturb(trial, [trial.get_submodule(norm) for _, norm in pairs])
            return _kept(trial, pairs, images, trial(images)) if pairs else []
        except (
            AttributeError,
            IndexError,
            RuntimeError,
            TypeError,
        ):  # a network that reads its own parts in ways of its own
            return []


def _kept(network: nn.Module, pairs: list[Pair], images: Tensor, expected: Tensor) -> list[Pair]:
    """The pairs that can be folded: all of them, or those of each half."""
    folded = copy.deepcopy(network)
    _make_room(folded, pairs)
    _write_fused(
        [
            (network.get_submodule(conv), network.get_submodule(norm), folded.get_submodule(conv))
            for conv, norm in pairs
        ]
    )
    if torch.allclose(folded(images), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max())):
        return pairs
    middle = len(pairs) // 2
    return [
        pair
        for half in (pairs[:middle], pairs[middle:])
        if middle
        for pair in _kept(network, half, images, expected)
    ]


def _followed(network: nn.Module, images: Tensor) -> list[Pair]:
    """Each convolution that ran once, and the batch norm that ran once on its output."""
    calls: Counter[str] = Counter()
    outputs: list[tuple[Tensor, str]] = []
    pairs: list[Pair] = []

    def after(name: str, part: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        calls[name] += 1
        if type(part) is nn.Conv2d:
            outputs.append((output, name))
        else:
            pairs.extend((conv, name) for tensor, conv in outputs if tensor is inputs[0])

    hooks = [
        part.register_forward_hook(lambda part, inputs, output, name=name: after(name, part, inputs, output))
        for name, part in network.named_modules()
        if type(part) is nn.Conv2d
        or (type(part) in (nn.BatchNorm2d, BatchNorm) and part.running_mean is not None)
    ]
    try:
        network(images)
    finally:
        for hook in hooks:
            hook.remove()
    return [(conv, norm) for conv, norm in pairs if calls[conv] == calls[norm] == 1]


def _disturb(network: nn.Module, norms: list[Any]) -> None:
    """Set statistics and gains far from 0 and 1, so that a wrong folding changes the logits.

    A fresh batch norm changes its input little, and a branch with gain 0 adds nothing.
    """
    for part in network.modules():
        if not isinstance(part, (nn.Conv2d, nn.Linear)):
            for gain in part.parameters(recurse=False):
                if gain.numel() == max(gain.shape, default=1):  # one number, or one a channel
                    gain.uniform_(0.5, 1.5)
    for norm in norms:
        for tensor, low, high in (
            (norm.running_mean, -0.5, 0.5),
            (norm.running_var, 0.5, 2.0),
            (norm.weight, 0.5, 2.0),
            (norm.bias, -0.5, 0.5),
        ):
            if tensor is not None:
                tensor.uniform_(low, high)
