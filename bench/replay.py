"""The yardstick: a step's matrix products alone, in their real shapes, 6 x (12 n_layer C^2 + V C) x tokens FLOP."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.rounds import Lap
from bench.shapes import Shape


@dataclass(frozen=True)
class Product:
    """A linear layer: weight (m, k) on inputs (n, k), with room for everything it gives."""

    weight: Tensor
    d_weight: Tensor
    x: Tensor
    y: Tensor
    d_x: Tensor

    def forward(self) -> None:
        """Compute y."""
        torch.mm(self.x, self.weight.T, out=self.y)

    def backward(self) -> None:
        """Compute both gradients, y standing for its own."""
        torch.mm(self.y, self.weight, out=self.d_x)
        torch.mm(self.y.T, self.x, out=self.d_weight)


def linear_shapes(shape: Shape) -> list[tuple[int, int]]:
    """(inputs, outputs) of every linear layer of a step, the head last."""
    C = shape.model.n_embd
    return [(C, 3 * C), (C, C), (C, 4 * C), (4 * C, C)] * shape.model.n_layer + [(C, shape.vocab_size)]


def flop(shape: Shape) -> int:
    """Floating-point operations of a step's products: a multiplication and an addition, forward and twice back.

    >>> from bench.shapes import SMALL
    >>> round(flop(SMALL) / 1e9)
    335
    """
    tokens = shape.batch_size * shape.model.context_length
    return sum(6 * k * m * tokens for k, m in linear_shapes(shape))


def make_products(shape: Shape) -> list[Product]:
    """A step's products; layers of one shape share the room for activations, each has its own weights."""
    n = shape.batch_size * shape.model.context_length
    rooms: dict[tuple[int, int], tuple[Tensor, Tensor, Tensor]] = {}
    products = []
    for k, m in linear_shapes(shape):
        if (k, m) not in rooms:
            rooms[k, m] = torch.randn(n, k), torch.empty(n, m), torch.empty(n, k)
        products.append(Product(torch.randn(m, k) / k**0.5, torch.empty(m, k), *rooms[k, m]))
    return products


def replay(lap: Lap, shape: Shape) -> None:
    """Compute the products of one step after the other."""
    products = make_products(shape)
    lap()
    while True:
        for product in products:
            product.forward()
        for product in reversed(products):
            product.backward()
        lap()
