"""timm's vision transformer, pooled by the mean, in plain torch with its names, and random weights."""

import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, units, heads):
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(units, 3 * units), nn.Linear(units, units)

    def forward(self, tokens):
        rows, n, units = tokens.shape
        joint = self.qkv(tokens).reshape(rows, n, 3, self.heads, units // self.heads).permute(2, 0, 3, 1, 4)
        found = nn.functional.scaled_dot_product_attention(*joint)
        return self.proj(found.transpose(1, 2).reshape(rows, n, units))


class Block(nn.Module):
    def __init__(self, units, heads):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(units, 1e-6), nn.LayerNorm(units, 1e-6)
        self.attn, self.mlp = Attention(units, heads), nn.Module()
        self.mlp.fc1, self.mlp.fc2 = nn.Linear(units, 4 * units), nn.Linear(4 * units, units)

    def forward(self, tokens):
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp.fc2(nn.functional.gelu(self.mlp.fc1(self.norm2(tokens))))


class ViT(nn.Module):
    """Without a class token; ``norm`` says whether tokens are normed before the mean or features after it."""

    def __init__(self, units, window, heads, depth, n_tokens, channels=3, norm="fc_norm", classes=7):
        super().__init__()
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(channels, units, window, window)
        self.pos_embed = nn.Parameter(torch.zeros(1, n_tokens, units))
        self.blocks = nn.ModuleList(Block(units, heads) for _ in range(depth))
        self.last = norm
        setattr(self, norm, nn.LayerNorm(units, 1e-6))
        self.head = nn.Linear(units, classes)

    def features(self, images):
        tokens = self.patch_embed.proj(images).flatten(2).transpose(1, 2) + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens).mean(dim=1) if self.last == "norm" else self.fc_norm(tokens.mean(dim=1))


def drawn(*sizes, seed=0, **named):
    """One whose weights are random."""
    generator, network = torch.Generator().manual_seed(seed), ViT(*sizes, **named)
    for name, each in network.state_dict().items():
        scale = each[0].numel() ** -0.5 if each.ndim in (2, 4) else 0.2
        is_scale = each.ndim == 1 and "norm" in name and name.endswith("weight")
        each.copy_(scale * torch.randn(each.shape, generator=generator) + is_scale)
    return network.eval()
