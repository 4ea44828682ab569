"""network.py: the demo model as it is trained: BitNet b1.58 with sub-norms, squared ReLU and GQA.

Weights are ternary (absmean, one scale per tensor) and activations int8 (absmax, one scale per
token) in the forward pass; the backward pass takes both roundings as the identity (the
straight-through estimator) and updates float32 master weights. The integer products run as bfloat16
products of small integers while training; with `exact` set they are summed in float32, which is
exact here, as docs/NUMERICS.md has it.
"""

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import nn

ACTIVATION_FLOOR = 1e-5
WEIGHT_FLOOR = 1e-5


@dataclass
class Shape:
    """The facts that config.json repeats."""

    vocab: int = 2048
    hidden: int = 256
    ffn: int = 768
    layers: int = 6
    heads: int = 4
    kv_heads: int = 2
    context: int = 512
    rope_theta: float = 10000.0
    eps: float = 1e-5

    @property
    def head(self):
        return self.hidden // self.heads

    def as_dict(self):
        return asdict(self)


def trits_of(weight):
    """The absmean rule: (trits as floats, the scale that they are multiplied by)."""
    inverse = 1.0 / weight.abs().mean().clamp(min=WEIGHT_FLOOR)
    return (weight * inverse).round().clamp(-1, 1), 1.0 / inverse


def quantise(x):
    """The absmax rule per token: (int8 values as floats, s = 127 / max)."""
    s = 127.0 / x.abs().amax(dim=-1, keepdim=True).clamp(min=ACTIVATION_FLOOR)
    return (x * s).round().clamp(-128, 127), s


class TernaryProduct(torch.autograd.Function):
    """y = x times each ternary weight, side by side; x is quantised once."""

    @staticmethod
    def forward(ctx, x, *weights):
        q, s = quantise(x)
        q = q.to(torch.bfloat16)
        pairs = [trits_of(w) for w in weights]
        trits = torch.cat([t.to(torch.bfloat16) for t, _ in pairs])
        scales = torch.cat([scale.expand(t.shape[0]) for t, scale in pairs])
        ctx.save_for_backward(q, s, trits, scales)
        ctx.rows = [w.shape[0] for w in weights]
        return (q @ trits.t()).float() * (scales / s)

    @staticmethod
    def backward(ctx, grad):
        q, s, trits, scales = ctx.saved_tensors
        grad_x = ((grad * scales).to(torch.bfloat16) @ trits).float()
        rows = (grad / s).to(torch.bfloat16).flatten(0, -2)
        grad_w = (rows.t() @ q.flatten(0, -2)).float()
        return (grad_x, *grad_w.split(ctx.rows))


def exact_product(x, *weights):
    """The same in float32: y = (float(dot) / s) * scale, every dot an exact integer."""
    q, s = quantise(x)
    parts = []
    for weight in weights:
        trits, scale = trits_of(weight)
        parts.append((q @ trits.t()) / s * scale)
    return torch.cat(parts, dim=-1)


class Norm(nn.Module):
    def __init__(self, n, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n))
        self.eps = eps

    def forward(self, x):
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + self.eps) * self.weight


def rope_table(shape):
    """cos and sin [context, head], the angles in double, rounded once."""
    half = torch.arange(0, shape.head, 2, dtype=torch.float64) / shape.head
    angle = torch.arange(shape.context, dtype=torch.float64)[:, None] * shape.rope_theta**-half
    angle = torch.cat((angle, angle), dim=-1)
    return angle.cos().float(), angle.sin().float()


def rotate(x, cos, sin):
    """NEOX pairs: (i, i + head / 2)."""
    low, high = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-high, low), dim=-1) * sin


def attend(q, k, v):
    """Causal attention with bfloat16 products: on one CPU thread faster than the fused kernel."""
    half = torch.bfloat16
    q = (q * q.shape[-1] ** -0.5).to(half)
    scores = (q @ k.to(half).transpose(-1, -2)).float()
    mask = torch.ones(q.shape[-2], q.shape[-2], dtype=torch.bool).triu(1)
    weights = scores.masked_fill(mask, float("-inf")).softmax(dim=-1)
    return (weights.to(half) @ v.to(half)).float()


class Layer(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        kv = shape.kv_heads * shape.head
        self.attn_norm = Norm(shape.hidden, shape.eps)
        self.attn_sub_norm = Norm(shape.hidden, shape.eps)
        self.ffn_norm = Norm(shape.hidden, shape.eps)
        self.ffn_sub_norm = Norm(shape.ffn, shape.eps)
        for name, rows, columns in (
            ("q", shape.hidden, shape.hidden),
            ("k", kv, shape.hidden),
            ("v", kv, shape.hidden),
            ("o", shape.hidden, shape.hidden),
            ("gate", shape.ffn, shape.hidden),
            ("up", shape.ffn, shape.hidden),
            ("down", shape.hidden, shape.ffn),
        ):
            self.register_parameter(name, nn.Parameter(torch.randn(rows, columns) * 0.02))
        self.begin_attention()
        self.exact = False
        self.ffn_zeros = None  # set by a measurement: [zeros, all]

    @torch.no_grad()
    def begin_attention(self):
        """Heads begin by finding tokens like their own and copying what they find: o is the
        transpose of v, and one head of each group asks as its key answers."""
        shape = self.shape
        group = shape.heads // shape.kv_heads
        for i in range(shape.heads):
            head = slice(i * shape.head, (i + 1) * shape.head)
            of_group = slice(i // group * shape.head, (i // group + 1) * shape.head)
            self.o[:, head] = self.v[of_group].t()
            if i % group == 0:
                self.q[head] = self.k[of_group]

    def product(self, x, *weights):
        return exact_product(x, *weights) if self.exact else TernaryProduct.apply(x, *weights)

    def attention(self, x, cos, sin):
        shape = self.shape
        rows, n, _ = x.shape
        kv = shape.kv_heads * shape.head
        q, k, v = self.product(x, self.q, self.k, self.v).split([shape.hidden, kv, kv], dim=-1)
        q = rotate(q.view(rows, n, shape.heads, shape.head).transpose(1, 2), cos, sin)
        k = rotate(k.view(rows, n, shape.kv_heads, shape.head).transpose(1, 2), cos, sin)
        v = v.view(rows, n, shape.kv_heads, shape.head).transpose(1, 2)
        group = shape.heads // shape.kv_heads
        k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
        if self.exact:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            y = attend(q, k, v)
        y = y.transpose(1, 2).reshape(rows, n, shape.hidden)
        return self.product(self.attn_sub_norm(y), self.o)

    def feed_forward(self, x):
        gate, up = self.product(x, self.gate, self.up).split(self.shape.ffn, dim=-1)
        y = F.relu(gate).square() * up
        if self.ffn_zeros is not None:
            self.ffn_zeros[0] += int((y == 0).sum())
            self.ffn_zeros[1] += y.numel()
        return self.product(self.ffn_sub_norm(y), self.down)

    def forward(self, x, cos, sin):
        x = x + self.attention(self.attn_norm(x), cos, sin)
        return x + self.feed_forward(self.ffn_norm(x))


class Network(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.embed = nn.Parameter(torch.randn(shape.vocab, shape.hidden) * 0.02)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = Norm(shape.hidden, shape.eps)
        cos, sin = rope_table(shape)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def set_exact(self, exact):
        for layer in self.layers:
            layer.exact = exact

    def forward(self, ids):
        x = F.embedding(ids, self.embed)
        cos, sin = self.cos[: ids.shape[1]], self.sin[: ids.shape[1]]
        for layer in self.layers:
            x = layer(x, cos, sin)
        x = self.norm(x)
        if self.layers[0].exact:
            return x @ self.embed.t()
        return (x.to(torch.bfloat16) @ self.embed.to(torch.bfloat16).t()).float()
