from __future__ import annotations

from torch import nn
from torchvision.models import resnet

from src.runtime import check

LAYERS = {18: [2, 2, 2, 2], 34: [3, 4, 6, 3], 50: [3, 4, 6, 3]}


class ResNet(resnet.ResNet):  # type: ignore[misc]  # torchvision states no types
    """torchvision's ResNet without its classifier: images (n, channels, height, width) -> h (n, 512), 2048 at depth 50.

    ``stem: small`` is a 3x3 convolution with stride 1 and no pooling, for images up to about 64 pixels (SimCLR,
    arXiv 2002.05709, appendix B.9); ``stem: standard`` is the 7x7 one for 224 pixels. Source: He et al., CVPR 2016.
    """

    def __init__(self, shape: tuple[int, int, int], *, depth: int, stem: str, zero_init_residual: bool) -> None:
        check.choice("model.depth", depth, tuple(LAYERS))
        check.choice("model.stem", stem, ("small", "standard"))
        check.flag("model.zero_init_residual", zero_init_residual)
        block = resnet.Bottleneck if depth == 50 else resnet.BasicBlock
        super().__init__(block, LAYERS[depth], zero_init_residual=zero_init_residual)
        if stem == "small":
            self.conv1 = nn.Conv2d(shape[0], 64, kernel_size=3, padding=1, bias=False)
            self.maxpool = nn.Identity()
        else:
            self.conv1 = nn.Conv2d(shape[0], 64, kernel_size=7, stride=2, padding=3, bias=False)
        # as torchvision initialises its own; this one was made after that
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.features = 512 * block.expansion
        self.fc = nn.Identity()
