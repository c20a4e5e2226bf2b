"""Every model by name, in one visible table. Needs no torch."""

from __future__ import annotations

from postfilter.errors import UnknownNameError
from postfilter.models.card import PICTURES, ModelCard

__all__ = ["MODELS", "card", "names"]

_ARCNN = "ARCNN (Dong, Deng, Loy, Tang, 'Compression Artifacts Reduction by a Deep Convolutional Network', ICCV 2015)"
_FAST = "Fast ARCNN (Yu, Dong, Loy, Tang, 'Deep Convolution Networks for Compression Artifacts Reduction', 2016)"


def _edge(name: str, *, width: int, depth: int, unshuffle: int, temporal: bool = False) -> ModelCard:
    """Return the card of a member of the edge family; a temporal one reads three frames."""
    return ModelCard(
        name=name,
        architecture="postfilter.models.edge:Edge",
        layout="luma",
        residual=True,
        size_multiple=unshuffle,
        # Each 3x3 convolution reaches one block further, and the last one from one of its ends to the other.
        halo=(depth + 1) * unshuffle - 1,
        summary=f"Edge: {depth} convolutions 3x3 of {width} channels on blocks of {unshuffle}x{unshuffle} samples"
        f"{' of three frames' if temporal else ''}, for real time; luma, for H.264 and HEVC, with or without the QP",
        inputs=(*(PICTURES if temporal else ()), "qp"),
        defaults={"qp": 0.0},
        settings={"width": width, "depth": depth, "unshuffle": unshuffle},
    )


# The halo is the sum over layers of the kernel's radius times the stride before it, rounded up to what an output
# sample of either parity can see: ARCNN 4+3+0+2; Fast ARCNN 4 + 2*(0+3+0) + 4.
MODELS: dict[str, ModelCard] = {
    card.name: card
    for card in (
        ModelCard(
            name="arcnn",
            architecture="postfilter.models.arcnn:ARCNN",
            layout="rgb",
            residual=True,
            size_multiple=1,
            halo=9,
            summary=f"{_ARCNN}, RGB, for JPEG",
        ),
        ModelCard(
            name="fastarcnn",
            architecture="postfilter.models.fastarcnn:FastARCNN",
            layout="rgb",
            residual=True,
            size_multiple=2,
            halo=14,
            summary=f"{_FAST}, RGB, for JPEG",
        ),
        ModelCard(
            name="arcnn-luma",
            architecture="postfilter.models.arcnn:ARCNN",
            layout="luma",
            residual=True,
            size_multiple=1,
            halo=9,
            summary=f"{_ARCNN}, luma, for H.264 and HEVC",
        ),
        ModelCard(
            name="fastarcnn-luma",
            architecture="postfilter.models.fastarcnn:FastARCNN",
            layout="luma",
            residual=True,
            size_multiple=2,
            halo=14,
            summary=f"{_FAST}, luma, for H.264 and HEVC",
        ),
        _edge("edge-s", width=15, depth=4, unshuffle=2),
        _edge("edge-m", width=16, depth=6, unshuffle=2),
        _edge("edge-l", width=32, depth=4, unshuffle=2),
        _edge("edge-t", width=32, depth=5, unshuffle=2, temporal=True),
        _edge("edge-x", width=48, depth=8, unshuffle=2, temporal=True),
    )
}


def names(*, shipped: bool = False) -> tuple[str, ...]:
    """The known model names, in the order of the table; of those with weights in the package alone where `shipped`."""
    return tuple(name for name, each in MODELS.items() if not shipped or each.weights_path.exists())


def card(name: str) -> ModelCard:
    """Return the card of the model called `name`.

    Raises:
        UnknownNameError: no such model; the message lists the known ones.
    """
    if name not in MODELS:
        raise UnknownNameError("model", name, names())
    return MODELS[name]
