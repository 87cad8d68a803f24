from __future__ import annotations

from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from src import check


class ResNet18(ResNet):
    """torchvision's ResNet-18 without its classifier: images (n, channels, height, width) -> h (n, 512).

    ``stem: small`` is a 3x3 convolution with stride 1 and no pooling, for images up to about 64 pixels (SimCLR,
    arXiv 2002.05709, appendix B.9); ``stem: standard`` is the 7x7 one for 224 pixels. Source: He et al., CVPR 2016.
    """

    def __init__(self, channels: int, *, stem: str) -> None:
        check.choice("model.stem", stem, ("small", "standard"))
        super().__init__(BasicBlock, [2, 2, 2, 2])
        if stem == "small":
            self.conv1 = nn.Conv2d(channels, 64, kernel_size=3, padding=1, bias=False)
            self.maxpool = nn.Identity()
        else:
            self.conv1 = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.features = 512 * BasicBlock.expansion
        self.fc = nn.Identity()
