"""torchvision's ResNet-18 in plain torch, with its names, and random weights and statistics."""

import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, channels, features, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, features, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(features)
        self.conv2 = nn.Conv2d(features, features, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(features)
        self.downsample = None
        if stride != 1 or channels != features:
            shortcut = nn.Conv2d(channels, features, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(features))

    def forward(self, values):
        inner = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(values)))))
        return torch.relu(inner + (values if self.downsample is None else self.downsample(values)))


class ResNet18(nn.Module):
    def __init__(self, channels=3, classes=1000):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(Block(64, 64, 1), Block(64, 64, 1))
        self.layer2 = nn.Sequential(Block(64, 128, 2), Block(128, 128, 1))
        self.layer3 = nn.Sequential(Block(128, 256, 2), Block(256, 256, 1))
        self.layer4 = nn.Sequential(Block(256, 512, 2), Block(512, 512, 1))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512, classes)

    def features(self, images):
        values = self.maxpool(torch.relu(self.bn1(self.conv1(images))))
        values = self.layer4(self.layer3(self.layer2(self.layer1(values))))
        return self.avgpool(values).flatten(1)

    def forward(self, images):
        return self.fc(self.features(images))


def drawn(seed=0, channels=3):
    """One in evaluation, whose weights and statistics of batches are random."""
    generator = torch.Generator().manual_seed(seed)
    network = ResNet18(channels)
    for name, each in network.state_dict().items():
        if not each.is_floating_point():
            continue
        normal = torch.randn(each.shape, generator=generator)
        if each.ndim == 4:
            each.copy_(normal * (2 / each[0].numel()) ** 0.5)
        elif name.endswith("running_var"):
            each.copy_(normal.abs() + 0.5)
        else:
            each.copy_(0.2 * normal + (each.ndim == 1 and name.endswith("weight")))
    return network.eval()
