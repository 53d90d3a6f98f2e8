"""Batch to logits to update: the input step, AlexNet in every published variant, and the paper's update rule.

model = AlexNet(config, torch.Generator().manual_seed(0))  # config: a ModelConfig, as load_recipe("released").model
x = train_input(batch.images_nhwc, batch.flip, batch.noise_z, DeviceStats.from_stats(stats), InputConfig())
loss = functional.cross_entropy(model(x), batch.labels)
"""

from alexnet_network.bounds import Bounds, check_choices, check_numbers, shown
from alexnet_network.caffemodel import CaffeLayer, order_behind, read_caffemodel
from alexnet_network.classifier import AVERAGES, Average, Classifier, log_mean
from alexnet_network.input import DeviceStats, InputConfig, train_input, view_inputs
from alexnet_network.model import AlexNet, LayerCost, layer_costs
from alexnet_network.modelconfig import FEATURE_MAP_PX, LAYERS, ModelConfig, check_map_sides, layer_names
from alexnet_network.npydump import read_npy
from alexnet_network.optim import OptimConfig, drops_of_plateau, make_optimizer, phase_at, rates_at, set_rates
from alexnet_network.precision import Precision, autocast, make_scaler, set_switches, whole_float32

# Names for other rooms, and the modules that they may import from; everything else is private to the room.
__all__ = [
    "AVERAGES",
    "FEATURE_MAP_PX",
    "LAYERS",
    "AlexNet",
    "Average",
    "Bounds",
    "CaffeLayer",
    "Classifier",
    "DeviceStats",
    "InputConfig",
    "LayerCost",
    "ModelConfig",
    "OptimConfig",
    "Precision",
    "autocast",
    "check_choices",
    "check_map_sides",
    "check_numbers",
    "drops_of_plateau",
    "layer_costs",
    "layer_names",
    "log_mean",
    "make_optimizer",
    "make_scaler",
    "onnxgraph",
    "order_behind",
    "phase_at",
    "rates_at",
    "read_caffemodel",
    "read_npy",
    "set_rates",
    "set_switches",
    "shown",
    "train_input",
    "view_inputs",
    "whole_float32",
]
