"""What a mixture gains over its members, on the same test images, under all attacks that ran."""

from __future__ import annotations

from morel_search._format import inference_cost
from morel_search.analysis.differences import difference_words
from morel_search.analysis.intervals import Difference
from morel_search.analysis.verification import Network, Verification, compare

__all__ = ["gain_sentence", "member_gains"]


def member_gains(
    verification: Verification, mixture: Network
) -> list[tuple[Network, tuple[Difference, Difference]]]:
    """Return each verified member, with the clean and the robust accuracy of the mixture minus its own."""
    names = {network.name: network for network in verification.networks}
    members = [names[name] for name in mixture.members if name in names]
    return [(member, compare(mixture, member)) for member in members]


def gain_sentence(verification: Verification, mixture: Network) -> str:
    """Say how much a mixture gains over each member, with 95 % intervals, and what it costs."""
    gains = "; ".join(
        f"compared with {member.reference}: {difference_words(clean, 'clean accuracy')}, "
        f"{difference_words(robust, 'robust accuracy')}"
        for member, (clean, robust) in member_gains(verification, mixture)
    )
    cost = f"It costs {inference_cost(mixture.passes, mixture.parameters)}."
    return f"{mixture.title} {gains}. {cost}" if gains else f"{mixture.title}: {cost}"
