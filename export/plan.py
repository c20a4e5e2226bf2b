"""A graph as a TensorRT plan. Not yet run on hardware: see the contract test of `runtime.trt_api`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postfilter import models
from postfilter.errors import ArtefactError, DeviceError, InputError
from postfilter.export.plan_dla import adjust_parser, check_dla, check_dla_version, is_strongly_typed, use_dla
from postfilter.export.plan_elsewhere import elsewhere
from postfilter.export.plan_options import FrameRange, PlanOptions, frame_range
from postfilter.export.timing_cache import read_timings, timings_path, write_timings
from postfilter.runtime.cuda_api import Cuda, import_cuda
from postfilter.runtime.cuda_probe import require_device
from postfilter.runtime.trt_dla import dla_core, require_core
from postfilter.runtime.trt_library import complaints, import_library, shared_logger
from postfilter.runtime.trt_target import Target, target_here

if TYPE_CHECKING:
    from postfilter.runtime.trt_api import BuilderApi, IBuilderConfigApi, INetworkDefinitionApi, Library

__all__ = ["Plan", "Workshop", "build_plan", "open_workshop"]

_PURPOSE = "building a TensorRT engine"


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """What building takes: TensorRT and a GPU."""

    library: Library
    cuda: Cuda
    target: Target
    dla_core: int | None = None
    """The core of the DLA to build for; None for the GPU."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A plan that was built."""

    content: bytes
    """What `model.plan` holds."""
    built_for: dict[str, Any]
    """What it is bound to and how it was built; see `EngineManifest.built_for`."""


def open_workshop(
    device: str, *, model: str, precision: str, size: tuple[int, int] | None, options: PlanOptions | None = None
) -> Workshop:
    """Make sure that a plan can be built here, before time is spent on a graph.

    Args:
        device: `cuda` or `cuda:N`; `dla` or `dla:N` for a core of a Jetson's DLA.
        model: one of `models.names()`.
        precision: of the engine.
        size: (width, height), or None for any.
        options: of the builder; the defaults where None.

    Raises:
        InputError: something that the DLA does not take.
        DeviceError: this machine has no NVIDIA GPU; the message tells how to get the plan elsewhere.
        MissingDependencyError: TensorRT or cuda-bindings is not installed, or broken.
        UnknownNameError: there are GPUs, but none of this name.
    """
    core = dla_core(device)
    chosen = options or PlanOptions()
    if core is not None:
        check_dla(precision=precision, size=size, options=chosen)
    card = models.card(model)
    frames = frame_range(channels=card.input_channels, multiple=card.size_multiple, size=size, options=chosen)
    label = "dynamic" if size is None else f"{size[0]}x{size[1]}"
    remedy = elsewhere(model, precision=precision, size=label, frames=frames)
    found = require_device(device, purpose=_PURPOSE, remedy=remedy)
    library = import_library(_PURPOSE)
    if core is not None:
        check_dla_version(precision=precision, tensorrt=library.__version__)
    cuda = Cuda(import_cuda(_PURPOSE), found.index)
    target = target_here(found, tensorrt=library.__version__)
    return Workshop(library=library, cuda=cuda, target=target, dla_core=core)


def build_plan(
    workshop: Workshop, graph: bytes, frames: FrameRange, *, options: PlanOptions, timings: Path | None = None
) -> Plan:
    """Build a graph into a plan.

    The precision is the graph's own: the network is strongly typed, and TF32 is off, so that fp32 is fp32. For the DLA
    see `plan_dla`.

    Args:
        workshop: TensorRT and the GPU to build on and for.
        graph: `model.onnx`: one input and one output, uint8 [N, C, H, W], each next to a Cast, as TensorRT wants it.
        frames: the shapes that the plan shall take.
        options: of the builder.
        timings: the folder that keeps timings of kernels from build to build; None to keep none.

    Raises:
        ArtefactError: TensorRT cannot read the graph or makes no plan of it; with all that it said.
        InputError: an option that this version of TensorRT does not have.
        DeviceError: TensorRT does not start on this GPU, or the machine lacks the DLA core.
    """
    library, core = workshop.library, workshop.dla_core
    workshop.cuda.use()
    try:
        builder = library.Builder(shared_logger(library))
    except TypeError as error:  # what a constructor raises whose function returned nothing
        raise DeviceError(
            f"TensorRT {library.__version__} makes no builder on {workshop.target.gpu} ({complaints(library)}): its "
            "CUDA and the driver may not fit together; install a driver that serves it"
        ) from error
    if core is not None:
        require_core(core, cores=builder.num_DLA_cores, purpose=_PURPOSE, tensorrt=library.__version__)
    network = _parsed(library, builder, graph, core=core)
    config = _configuration(library, builder, network, frames, options)
    dla = {} if core is None else {"dla": use_dla(library, config, network, core=core)}
    kept = timings_path(timings, workshop.target) if timings else None
    if kept is not None:
        _take_timings(config, read_timings(kept))
    content = builder.build_serialized_network(network, config)
    if content is None:
        raise ArtefactError(
            f"TensorRT {library.__version__} makes no plan of the graph ({complaints(library)}); try another "
            "precision, a fixed --size, or more workspace"
        )
    if kept is not None:
        write_timings(kept, bytes(config.get_timing_cache().serialize()))
    return Plan(content=bytes(content), built_for=workshop.target.as_json() | options.as_json() | dla)


def _parsed(library: Library, builder: BuilderApi, graph: bytes, *, core: int | None) -> INetworkDefinitionApi:
    strong = is_strongly_typed(library, core=core)
    network = builder.create_network(int(strong) << int(library.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = library.OnnxParser(network, shared_logger(library))
    if core is not None:
        adjust_parser(library, parser)
    if not parser.parse(graph):
        told = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        raise ArtefactError(
            f"TensorRT {library.__version__} cannot read the graph: {'; '.join(told) or complaints(library)}; try "
            "another precision, or a newer TensorRT"
        )
    tensors = [network.get_input(index) for index in range(network.num_inputs)]
    tensors += [network.get_output(index) for index in range(network.num_outputs)]
    if len(tensors) != 2 or any(each.dtype != library.DataType.UINT8 for each in tensors):
        raise ArtefactError(
            f"the graph has {', '.join(f'{each.name} ({each.dtype})' for each in tensors) or 'no tensors'}; a plan is "
            "made of one uint8 input and one uint8 output"
        )
    return network


def _configuration(
    library: Library, builder: BuilderApi, network: INetworkDefinitionApi, frames: FrameRange, options: PlanOptions
) -> IBuilderConfigApi:
    config = builder.create_builder_config()
    # Names, types and nodes of each layer, for `precision_by_layer` and profile-engine.
    config.profiling_verbosity = library.ProfilingVerbosity.DETAILED
    config.builder_optimization_level = options.effort
    config.clear_flag(library.BuilderFlag.TF32)
    if options.workspace_mb is not None:
        config.set_memory_pool_limit(library.MemoryPoolType.WORKSPACE, options.workspace_mb * 2**20)
    if options.version_compatible:
        config.set_flag(library.BuilderFlag.VERSION_COMPATIBLE)
    if options.compatibility != "none":
        config.hardware_compatibility_level = _level(library, options)
    profile = builder.create_optimization_profile()
    profile.set_shape(network.get_input(0).name, frames.smallest, frames.usual, frames.largest)
    if config.add_optimization_profile(profile) < 0:
        raise ArtefactError(
            f"TensorRT {library.__version__} does not take the sizes {frames} for the graph ({complaints(library)}); "
            "give another --size"
        )
    return config


def _level(library: Library, options: PlanOptions) -> Any:
    levels = library.HardwareCompatibilityLevel
    # One of them came with TensorRT 11.
    level = getattr(levels, options.compatibility.upper(), None)
    if level is None:
        raise InputError(
            f"TensorRT {library.__version__} has no hardware compatibility {options.compatibility!r}; give ampere_plus "
            "or none, or install TensorRT 11"
        )
    return level


def _take_timings(config: IBuilderConfigApi, blob: bytes) -> None:
    """Start from the timings of earlier builds; a mismatch of versions or GPUs is refused by TensorRT itself."""
    if not config.set_timing_cache(config.create_timing_cache(blob), False):
        config.set_timing_cache(config.create_timing_cache(b""), False)
