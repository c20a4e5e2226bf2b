"""Every name of TensorRT that this project touches, with its type.

TensorRT's packages carry no types. These protocols give the checker some: code that holds a `Library` can use nothing
that is not written here, and a test compares what is written here with the real bindings of 10.3 and of 11.4. A
protocol is called as TensorRT's class with `Api` behind it; properties are written as attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

__all__ = ["SINCE_11", "UNTIL_10", "Library"]

SINCE_11 = ("HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY", "OnnxParserFlag.ADJUST_FOR_DLA")
"""Names that 10.3 does not have; they are looked up with a default."""
UNTIL_10 = ("BuilderFlag.FP16",)
"""Names that 11 does not have any more; likewise."""

Buffer = Any  # an object of the buffer protocol: bytes, IHostMemory
Member = Any  # a member of one of TensorRT's enumerations


class BuilderApi(Protocol):
    num_DLA_cores: int  # noqa: N815

    def create_network(self, flags: int) -> INetworkDefinitionApi: ...
    def create_builder_config(self) -> IBuilderConfigApi: ...
    def create_optimization_profile(self) -> IOptimizationProfileApi: ...
    def build_serialized_network(self, network: INetworkDefinitionApi, config: IBuilderConfigApi) -> Buffer | None: ...


class INetworkDefinitionApi(Protocol):
    num_inputs: int
    num_layers: int
    num_outputs: int

    def get_input(self, index: int) -> ITensorApi: ...
    def get_layer(self, index: int) -> ILayerApi: ...
    def get_output(self, index: int) -> ITensorApi: ...


class ILayerApi(Protocol):
    name: str
    type: Member


class ITensorApi(Protocol):
    name: str
    dtype: Member


class OnnxParserApi(Protocol):
    num_errors: int

    def set_flag(self, flag: Member) -> None: ...
    def parse(self, model: Buffer) -> bool: ...
    def get_error(self, index: int) -> ParserErrorApi: ...


class ParserErrorApi(Protocol):
    def desc(self) -> str: ...


class IBuilderConfigApi(Protocol):
    profiling_verbosity: Member
    hardware_compatibility_level: Member
    builder_optimization_level: int
    default_device_type: Member
    DLA_core: int

    def can_run_on_DLA(self, layer: ILayerApi) -> bool: ...  # noqa: N802
    def set_device_type(self, layer: ILayerApi, device_type: Member) -> None: ...
    def set_memory_pool_limit(self, pool: Member, pool_size: int) -> None: ...
    def set_flag(self, flag: Member) -> None: ...
    def clear_flag(self, flag: Member) -> None: ...
    def create_timing_cache(self, serialized_timing_cache: Buffer) -> ITimingCacheApi: ...
    def set_timing_cache(self, cache: ITimingCacheApi, ignore_mismatch: bool) -> bool: ...
    def get_timing_cache(self) -> ITimingCacheApi: ...
    def add_optimization_profile(self, profile: IOptimizationProfileApi) -> int: ...


class ITimingCacheApi(Protocol):
    def serialize(self) -> Buffer: ...


class IOptimizationProfileApi(Protocol):
    def set_shape(self, input: str, min: Sequence[int], opt: Sequence[int], max: Sequence[int]) -> None: ...  # noqa: A002


class RuntimeApi(Protocol):
    DLA_core: int
    engine_host_code_allowed: bool
    num_DLA_cores: int  # noqa: N815

    def deserialize_cuda_engine(self, serialized_engine: Buffer) -> ICudaEngineApi | None: ...


class ICudaEngineApi(Protocol):
    num_io_tensors: int

    def get_tensor_name(self, index: int) -> str: ...
    def get_tensor_mode(self, name: str) -> Member: ...
    def get_tensor_dtype(self, name: str) -> Member: ...
    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Sequence[int]]: ...
    def create_execution_context(self, strategy: Member) -> IExecutionContextApi | None: ...
    def create_engine_inspector(self) -> EngineInspectorApi: ...


class IExecutionContextApi(Protocol):
    profiler: Any

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool: ...
    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool: ...
    def infer_shapes(self) -> list[str]: ...
    def update_device_memory_size_for_shapes(self) -> int: ...
    def set_device_memory(self, memory: int, size: int) -> None: ...
    def set_tensor_address(self, name: str, memory: int) -> bool: ...
    def execute_async_v3(self, stream_handle: int) -> bool: ...


class EngineInspectorApi(Protocol):
    execution_context: IExecutionContextApi

    def get_engine_information(self, format: Member) -> str: ...  # noqa: A002


class BuilderFlagApi(Protocol):
    GPU_FALLBACK: Member
    TF32: Member
    VERSION_COMPATIBLE: Member


class DataTypeApi(Protocol):
    UINT8: Member


class DeviceTypeApi(Protocol):
    DLA: Member
    GPU: Member


class ExecutionContextAllocationStrategyApi(Protocol):
    USER_MANAGED: Member


class HardwareCompatibilityLevelApi(Protocol):
    AMPERE_PLUS: Member


class LayerInformationFormatApi(Protocol):
    JSON: Member


class LayerTypeApi(Protocol):
    CONVOLUTION: Member


class MemoryPoolTypeApi(Protocol):
    WORKSPACE: Member


class NetworkDefinitionCreationFlagApi(Protocol):
    STRONGLY_TYPED: Member


class OnnxParserFlagApi(Protocol):
    NATIVE_INSTANCENORM: Member


class ProfilingVerbosityApi(Protocol):
    DETAILED: Member


class TensorIOModeApi(Protocol):
    INPUT: Member
    OUTPUT: Member


class Library(Protocol):
    """The module `tensorrt`."""

    __version__: str

    ILogger: Any
    """A base class; its constructor must be called, and it holds `Severity`."""
    IProfiler: Any
    """A base class; its constructor must be called."""
    Builder: Callable[[Any], BuilderApi]
    OnnxParser: Callable[[INetworkDefinitionApi, Any], OnnxParserApi]
    Runtime: Callable[[Any], RuntimeApi]
    BuilderFlag: BuilderFlagApi
    DataType: DataTypeApi
    DeviceType: DeviceTypeApi
    ExecutionContextAllocationStrategy: ExecutionContextAllocationStrategyApi
    HardwareCompatibilityLevel: HardwareCompatibilityLevelApi
    LayerInformationFormat: LayerInformationFormatApi
    LayerType: LayerTypeApi
    MemoryPoolType: MemoryPoolTypeApi
    NetworkDefinitionCreationFlag: NetworkDefinitionCreationFlagApi
    OnnxParserFlag: OnnxParserFlagApi
    ProfilingVerbosity: ProfilingVerbosityApi
    TensorIOMode: TensorIOModeApi
