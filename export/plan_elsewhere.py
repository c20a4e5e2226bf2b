"""How to get a TensorRT plan where this machine cannot build one: the commands, ready to be copied."""

from __future__ import annotations

from postfilter.export.plan_options import FrameRange

__all__ = ["elsewhere", "trtexec_command"]


def elsewhere(model: str, *, precision: str, size: str, frames: FrameRange) -> str:
    """Return what to do where there is no GPU, for the end of an error.

    Args:
        model: the model's name.
        precision: of the engine.
        size: as `--size` takes it.
        frames: the shapes that the plan shall take.
    """
    graph = f"export-engine {model} --{precision} --size {size} --backend onnxruntime --output graph"
    return (
        "a TensorRT engine is built on a GPU of the kind that will run it, with the TensorRT that will run it. Run the "
        "same command there and copy the engine's folder. For a TensorRT program of your own take the graph along "
        f"instead: `{graph}` here, and there `{trtexec_command(frames)}`. Or make an engine for this machine with "
        "--backend openvino or onnxruntime"
    )


def trtexec_command(frames: FrameRange) -> str:
    """Return the command of NVIDIA's tool that builds the same plan from `model.onnx`, from TensorRT 10 on.

    Args:
        frames: the shapes that the plan shall take.
    """
    words = ["trtexec", "--onnx=graph/model.onnx", "--stronglyTyped", "--noTF32", "--saveEngine=model.plan"]
    shapes = {"min": frames.smallest, "opt": frames.usual, "max": frames.largest}
    # The graph leaves the number of frames open in any case.
    words += [f"--{name}Shapes=samples:{'x'.join(map(str, shape))}" for name, shape in shapes.items()]
    return " ".join(words)
