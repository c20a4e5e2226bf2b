"""A plan for a Jetson's deep-learning accelerator: what it asks of an engine, and how the builder is told.

After NVIDIA's "DLA Supported Layers and Restrictions" and "Strongly Typed Networks for DLA". Not yet run on hardware.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from postfilter.errors import ArtefactError, InputError
from postfilter.quantize import HEAD, TAIL
from postfilter.runtime.trt_dla import LARGEST_SIDE

if TYPE_CHECKING:
    from postfilter.export.plan_options import PlanOptions
    from postfilter.runtime.trt_api import IBuilderConfigApi, INetworkDefinitionApi, Library, OnnxParserApi

__all__ = ["adjust_parser", "check_dla", "check_dla_version", "is_strongly_typed", "use_dla"]

_PRECISIONS = ("fp16", "int8")
_FIRST_STRONGLY_TYPED = 11

_log = logging.getLogger(__name__)


def check_dla(*, precision: str, size: tuple[int, int] | None, options: PlanOptions) -> None:
    """Refuse what no DLA takes, before anything is built.

    Args:
        precision: of the engine.
        size: (width, height), None for any.
        options: of the builder.

    Raises:
        InputError: with what it takes instead.
    """
    if precision not in _PRECISIONS:
        raise InputError(f"the DLA computes in fp16 and int8, not in {precision}: give --fp16")
    if size is None:
        raise InputError("the DLA takes one frame size, and this engine shall take any: give --size, such as 1080p")
    if max(size) > LARGEST_SIDE:
        raise InputError(
            f"the DLA takes sides of up to {LARGEST_SIDE} samples, and the frame is {size[0]}x{size[1]}: give a "
            "smaller --size, or leave --dla out"
        )
    if options.compatibility != "none":
        raise InputError(
            f"--hardware-compatible {options.compatibility} is for desktop GPUs, which have no DLA: give one of the two"
        )


def check_dla_version(*, precision: str, tensorrt: str) -> None:
    """Refuse a precision that this TensorRT does not run on the DLA.

    Args:
        precision: `fp16` or `int8`.
        tensorrt: its version.

    Raises:
        InputError: int8 with TensorRT 10, whose DLA takes no graph that says itself where it is quantized.
    """
    if precision == "int8" and _major(tensorrt) < _FIRST_STRONGLY_TYPED:
        raise InputError(
            f"TensorRT {tensorrt} takes no graph with quantization nodes on the DLA: give --fp16, or leave --dla out "
            "to run int8 on the GPU"
        )


def is_strongly_typed(library: Library, *, core: int | None) -> bool:
    """Whether a network is to be made strongly typed: always, but for the DLA of TensorRT 10, which takes none such."""
    return core is None or _major(library.__version__) >= _FIRST_STRONGLY_TYPED


def adjust_parser(library: Library, parser: OnnxParserApi) -> None:
    """Have the parser put layers into the forms that the DLA takes, where it can (TensorRT 11)."""
    flag = getattr(library.OnnxParserFlag, "ADJUST_FOR_DLA", None)
    if flag is not None:
        parser.set_flag(flag)


def use_dla(
    library: Library, config: IBuilderConfigApi, network: INetworkDefinitionApi, *, core: int
) -> dict[str, int | list[str]]:
    """Have the builder put on the DLA what it takes, and the rest on the GPU.

    1. The samples' head and tail are fp32 and stay on the GPU, so that the DLA gets the network in one piece.
    2. TensorRT 10 is told that fp16 may be used: its networks for the DLA are not strongly typed. The output is
       verified against the model, as every engine's is.

    Args:
        library: TensorRT.
        config: to be changed.
        network: the parsed graph, whose layers have the names of its nodes.
        core: the DLA's core.

    Returns:
        What stands in `engine.json` under `built_for.dla`: `core`, `convolutions`, `taken`, and `left`, the names of
        those that run on the GPU.

    Raises:
        ArtefactError: the DLA takes no convolution at all.
    """
    config.default_device_type = library.DeviceType.DLA
    config.DLA_core = core
    config.set_flag(library.BuilderFlag.GPU_FALLBACK)
    if not is_strongly_typed(library, core=core):
        config.set_flag(getattr(library.BuilderFlag, "FP16"))  # noqa: B009  # not a name of TensorRT 11
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    for layer in layers:
        if layer.name.startswith((HEAD, TAIL)):
            config.set_device_type(layer, library.DeviceType.GPU)
    convolutions = [layer for layer in layers if layer.type == library.LayerType.CONVOLUTION]
    left = [layer.name for layer in convolutions if not config.can_run_on_DLA(layer)]
    if len(left) == len(convolutions):
        raise ArtefactError(
            f"the DLA takes none of the graph's {len(convolutions)} convolutions ({', '.join(left) or 'none'}): leave "
            "--dla out to run it on the GPU"
        )
    if left:
        _log.warning("on the GPU for want of room on the DLA: %s", ", ".join(left))
    taken = len(convolutions) - len(left)
    return {"core": core, "convolutions": len(convolutions), "taken": taken, "left": left}


def _major(version: str) -> int:
    head = version.split(".", 1)[0]
    return int(head) if head.isdigit() else 0
