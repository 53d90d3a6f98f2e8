"""From a batch's bytes to its losses: input step, network and loss as one module, of which torch.compile makes one graph."""

from torch import Tensor, nn
from torch.nn import functional

from alexnet_network import AlexNet, DeviceStats, InputConfig, train_input
from alexnet_train.results import label_ranks


class BatchLoss(nn.Module):
    """The loss of every sample of a batch, in training.

    `input` is how pixels become the network's input, of the phase under way; the next call goes by it.
    """

    def __init__(self, model: AlexNet, stats: DeviceStats, config: InputConfig, label_smoothing: float) -> None:
        super().__init__()
        self.model, self.stats, self.input = model, stats, config
        self.label_smoothing = label_smoothing

    def forward(self, images_nhwc: Tensor, flip: Tensor, noise_z: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The tensors of a Batch -> losses (B,) float32, and label ranks (B,) int64 that have no gradient."""
        logits = self.model(train_input(images_nhwc, flip, noise_z, self.stats, self.input)).float()
        losses = functional.cross_entropy(logits, labels, reduction="none", label_smoothing=self.label_smoothing)
        return losses, label_ranks(logits.detach(), labels)
