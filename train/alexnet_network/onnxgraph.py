"""The network as an ONNX model, written node by node in the oldest form that holds it: the same bytes every time."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from alexnet_network.input import DeviceStats, InputConfig
from alexnet_network.lrn import LocalResponseNorm, SameMapNorm
from alexnet_network.model import AlexNet
from alexnet_network.modelconfig import CONVOLUTIONS, map_sides_px, padding_px

# Version 7 gave Gemm its biases and the arithmetic its broadcasting; every onnxruntime and opencv.dnn reads it.
OPSET, IR_VERSION = 7, 3
PRODUCER = "alexnet-replication"
POOLED = ("conv1", "conv2", "conv5")


def onnx_model(
    model: AlexNet,
    metadata: Mapping[str, str],
    config: InputConfig,
    stats: DeviceStats | None = None,
    side_px: int = 0,
) -> bytes:
    """The ONNX model of a network, for any number of images.

    Without `stats`: "image" (N, 3, S, S) float32, as view_inputs makes it, to "logits" (N, classes). With them:
    "image" (N, side_px, side_px, 3) uint8 RGB, of which the centre is cropped, to "probabilities" (N, classes).
    """
    crop_px = config.view_crop_px
    graph = _Graph()
    if stats is None:
        shape, kind = ("batch", 3, crop_px, crop_px), TensorProto.FLOAT
        output = _network(graph, model, "image", "logits", crop_px)
    else:
        shape, kind = ("batch", side_px, side_px, 3), TensorProto.UINT8
        scaled = _input(graph, config, stats, side_px)
        output = graph.add("Softmax", [_network(graph, model, scaled, "logits", crop_px)], "probabilities", axis=1)
    outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, ("batch", model.config.num_classes))]
    inputs = [helper.make_tensor_value_info("image", kind, shape), *graph.described]
    network = helper.make_graph(graph.nodes, "AlexNet", inputs, outputs, graph.weights)
    content = helper.make_model(
        network, producer_name=PRODUCER, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)]
    )
    helper.set_model_props(content, dict(sorted(metadata.items())))
    onnx.checker.check_model(content)
    written: bytes = content.SerializeToString(deterministic=True)
    return written


class _Graph:
    """Nodes in their order, and the weights that they use, described among the inputs as old readers expect them."""

    def __init__(self) -> None:
        self.channels = 3  # of the last convolution
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.described: list[Any] = []

    def add(self, kind: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Append a node with one output, `name`, and return that."""
        self.nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def split(self, x: str, names: Sequence[str], sizes: Sequence[int]) -> None:
        """Append a node that parts the channels of `x`."""
        self.nodes.append(helper.make_node("Split", [x], names, f"{x}_split", axis=1, split=sizes))

    def weight(self, name: str, values: Tensor | npt.NDArray[np.float32] | float) -> str:
        """Add float32 numbers under a name and return that."""
        array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values, np.float32)
        array = np.ascontiguousarray(np.atleast_1d(array), np.float32)
        tensor = numpy_helper.from_array(array, name)
        self.weights.append(tensor)
        self.described.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape))
        return name


def _input(graph: _Graph, config: InputConfig, stats: DeviceStats, side_px: int) -> str:
    """The single test view (view_inputs): the centre of uint8 images, minus the mean, scaled."""
    first_px = (side_px - config.view_crop_px) // 2
    last_px = first_px + config.view_crop_px
    x = graph.add("Cast", ["image"], "pixels", to=TensorProto.FLOAT)
    if side_px != config.view_crop_px:
        x = graph.add("Slice", [x], "crop", axes=[1, 2], starts=[first_px] * 2, ends=[last_px] * 2)
    x = graph.add("Transpose", [x], "planes", perm=[0, 3, 1, 2])
    if config.mean != "none":
        mean = stats.mean_nchw if config.mean == "image" else stats.channel_mean_nchw
        x = graph.add("Sub", [x, graph.weight("mean", mean)], "centred")
    divisor = config.divisor(training=False)
    return graph.add("Mul", [x, graph.weight("scale", 1 / divisor)], "scaled") if divisor != 1 else x


def _network(graph: _Graph, model: AlexNet, x: str, output: str, crop_px: int) -> str:
    """AlexNet.forward, in evaluation, of an input of side `crop_px`."""
    sides_px = map_sides_px(model.config, crop_px)
    side_px = 0
    for name in CONVOLUTIONS:
        if name in model._modules:
            x, side_px = _conv(graph, model, name, x), sides_px[name]
        if name in POOLED:
            x = _behind(graph, model.get_submodule(f"after_{name}"), x, name, (side_px, sides_px[f"pool{name[-1]}"]))
            side_px = sides_px[f"pool{name[-1]}"]
        elif name in model._modules:
            x = graph.add("Relu", [x], f"{name}_relu")
    x = graph.add("Flatten", [x], "flat", axis=1)
    for name in ("fc6", "fc7"):
        if model.config.dropout_at == "inputs":
            x = _dropout(graph, model, x)
        x = graph.add("Relu", [_linear(graph, model, name, x, name)], f"{name}_relu")
        if model.config.dropout_at == "outputs":
            x = _dropout(graph, model, x)
    return _linear(graph, model, "fc8", x, output)


def _conv(graph: _Graph, model: AlexNet, name: str, x: str) -> str:
    """A convolution; conv1's padding, which differs from side to side, is in it."""
    layer = model.get_submodule(name)
    if not isinstance(layer, nn.Conv2d) or layer.bias is None:
        raise TypeError(f"{name} is {layer}; expected a convolution with biases")
    before, after = model.config.conv1_padding_px if name == "conv1" else (padding_px(name, model.config),) * 2
    inputs = [x, graph.weight(f"{name}.weight", layer.weight), graph.weight(f"{name}.bias", layer.bias)]
    how = {"strides": list(layer.stride), "pads": [before, before, after, after], "group": layer.groups}
    graph.channels = layer.out_channels
    return graph.add("Conv", inputs, name, kernel_shape=list(layer.kernel_size), **how)


def _linear(graph: _Graph, model: AlexNet, name: str, x: str, output: str) -> str:
    layer = model.get_submodule(name)
    weight, bias = (graph.weight(f"{name}.{part}", layer.get_parameter(part)) for part in ("weight", "bias"))
    return graph.add("Gemm", [x, weight, bias], output, transB=1)


def _dropout(graph: _Graph, model: AlexNet, x: str) -> str:
    """What dropout does in a test: all values times its scale."""
    scale = model.dropout.scale if model.dropout.rate else 1.0
    return x if scale == 1 else graph.add("Mul", [x, graph.weight(f"{x}_keep", scale)], f"{x}_kept")


def _behind(graph: _Graph, stages: nn.Module, x: str, layer: str, sides_px: tuple[int, int]) -> str:
    """The stages behind a convolution, in their order; `sides_px` are of the maps before and behind the pool."""
    for place, stage in enumerate(stages.children()):
        name = f"{layer}_{place}"
        if isinstance(stage, LocalResponseNorm):
            x = _channel_norm(graph, stage, x, name)
        elif isinstance(stage, SameMapNorm):
            x = _same_map_norm(graph, stage, x, name)
        elif isinstance(stage, nn.MaxPool2d):
            pool_px, stride_px = int(stage.kernel_size), int(stage.stride)  # type: ignore[arg-type]
            # How far the last window stands over the border; rounding up came to ONNX with opset 10.
            over_px = max(0, (sides_px[1] - 1) * stride_px + pool_px - sides_px[0])
            how = {"strides": [stride_px] * 2, "pads": [0, 0, over_px, over_px]}
            x = graph.add("MaxPool", [x], name, kernel_shape=[pool_px] * 2, **how)
        else:
            x = graph.add("Relu", [x], name)
    return x


def _channel_norm(graph: _Graph, norm: LocalResponseNorm, x: str, name: str) -> str:
    numbers = {"size": norm.size, "alpha": norm.alpha, "beta": norm.beta, "bias": norm.k}
    if norm.groups == 1:
        return graph.add("LRN", [x], name, **numbers)
    parts = [f"{name}_in{part}" for part in range(norm.groups)]
    graph.split(x, parts, [graph.channels // norm.groups] * norm.groups)
    normed = [graph.add("LRN", [part], f"{part}_norm", **numbers) for part in parts]
    return graph.add("Concat", normed, name, axis=1)


def _same_map_norm(graph: _Graph, norm: SameMapNorm, x: str, name: str) -> str:
    half = norm.size // 2
    how = {"kernel_shape": [norm.size] * 2, "strides": [1, 1], "pads": [half] * 4, "count_include_pad": 1}
    squares = graph.add("Mul", [x, x], f"{name}_squares")
    mean = graph.add("AveragePool", [squares], f"{name}_mean", **how)
    scaled = graph.add("Mul", [mean, graph.weight(f"{name}_alpha", norm.alpha)], f"{name}_scaled")
    total = graph.add("Add", [scaled, graph.weight(f"{name}_k", norm.k)], f"{name}_total")
    power = graph.add("Pow", [total, graph.weight(f"{name}_beta", -norm.beta)], f"{name}_power")
    return graph.add("Mul", [x, power], name)
