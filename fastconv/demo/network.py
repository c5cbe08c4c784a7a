"""What a network needs besides convolutions, in plain NumPy, and the network itself."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Protocol

import numpy
from numpy.typing import NDArray

import fastconv

__all__ = ["Adam", "Network", "Stopwatch", "softmax_cross_entropy"]

Array = NDArray[Any]


class Stopwatch:
    """Seconds spent in each named part of the training steps."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.steps = 0
        self.running = False

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Time one training step; parts count only inside it."""
        self.running = True
        with self.part("step"):
            yield
        self.running = False
        self.steps += 1

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time of the block to part `name`."""
        start = time.perf_counter()
        yield
        if self.running:
            self.seconds[name] += time.perf_counter() - start


class TimedConv2D(fastconv.Conv2D):
    """A `fastconv.Conv2D` that notes the time of each of its three passes."""

    def __init__(self, watch: Stopwatch, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.watch = watch

    def forward(self, x: Array) -> Array:
        """Convolve."""
        with self.watch.part("forward"):
            self.input_shape = x.shape
            return super().forward(x)

    def backward(self, dy: Array, *, input_grad: bool = True) -> Array | None:
        """Do what `Conv2D.backward` does, in two halves so that each can be timed."""
        with self.watch.part("dL/dW"):
            super().backward(dy, input_grad=False)
        if not input_grad:
            return None
        with self.watch.part("dL/dx"):
            return fastconv.conv2d_input_grad(
                dy,
                self.weight,
                self.input_shape,
                stride=self.stride,
                padding=self.padding,
                dilation=self.dilation,
                groups=self.groups,
            )


class Relu:
    """max(x, 0)."""

    def forward(self, x: Array) -> Array:
        """Clip at zero."""
        self.passed = x > 0
        return x * self.passed

    def backward(self, dy: Array, *, input_grad: bool = True) -> Array | None:
        """Let the gradient through where x went through."""
        return dy * self.passed


class MaxPool2:
    """The largest of each 2x2 square; height and width must be even."""

    def forward(self, x: Array) -> Array:
        """Halve height and width."""
        n, height, width, c = x.shape
        squares = x.reshape(n, height // 2, 2, width // 2, 2, c)
        y = squares.max(axis=(2, 4))
        winners = squares == y[:, :, None, :, None, :]
        # Equal pixels share the gradient, or the square would pass on more than it got.
        self.share = winners / winners.sum(axis=(2, 4), keepdims=True, dtype=x.dtype)
        return y

    def backward(self, dy: Array, *, input_grad: bool = True) -> Array | None:
        """Send the gradient to the pixel that was the largest."""
        n, height, width, c = dy.shape
        return (self.share * dy[:, :, None, :, None, :]).reshape(n, 2 * height, 2 * width, c)


class Dense:
    """Flatten, then x @ weight + bias."""

    def __init__(self, inputs: int, outputs: int, rng: numpy.random.Generator) -> None:
        deviation = numpy.sqrt(1.0 / inputs)  # no ReLU follows, so half the variance of He
        self.weight = rng.normal(0.0, deviation, (inputs, outputs)).astype(numpy.float32)
        self.bias = numpy.zeros(outputs, numpy.float32)

    def forward(self, x: Array) -> Array:
        """(N, ...) to (N, outputs)."""
        self.shape = x.shape
        self.flat = x.reshape(len(x), -1)
        return self.flat @ self.weight + self.bias

    def backward(self, dy: Array, *, input_grad: bool = True) -> Array | None:
        """Set both gradients, return that of the input."""
        self.weight_grad = self.flat.T @ dy
        self.bias_grad = dy.sum(axis=0)
        return (dy @ self.weight.T).reshape(self.shape)


class Layer(Protocol):
    """What every layer above, and `fastconv.Conv2D`, can do."""

    def forward(self, x: Array) -> Array:
        """Return y."""

    def backward(self, dy: Array, *, input_grad: bool = True) -> Array | None:
        """Return dx, after setting the layer's own gradients."""


class Network:
    """Two 3x3 convolutions at 8x8, one at 4x4 between two max-pools, one dense layer."""

    def __init__(self, rng: numpy.random.Generator, watch: Stopwatch) -> None:
        first = TimedConv2D(watch, 1, 16, 3, padding="same", rng=rng)
        second = TimedConv2D(watch, 16, 32, 3, padding="same", rng=rng)
        third = TimedConv2D(watch, 32, 64, 3, padding="same", rng=rng)
        dense = Dense(2 * 2 * 64, 10, rng)
        self.watch = watch
        self.first = first
        self.trainable = (first, second, third, dense)
        self.layers: tuple[Layer, ...] = (
            first, Relu(), second, Relu(), MaxPool2(), third, Relu(), MaxPool2(), dense,
        )  # fmt: skip

    def forward(self, x: Array) -> Array:
        """Return the scores, (N, 10), of images (N, 8, 8, 1)."""
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, dy: Array) -> None:
        """Set every layer's gradients; nobody needs that of the image."""
        for layer in reversed(self.layers[1:]):
            dy = layer.backward(dy)  # type: ignore[assignment]
        self.layers[0].backward(dy, input_grad=False)

    def feature_maps(self, image: Array) -> Array:
        """Return what the first convolution and its ReLU make of one image, (8, 8, 16)."""
        first, relu = self.layers[:2]
        return relu.forward(first.forward(image))


def softmax_cross_entropy(scores: Array, labels: Array) -> tuple[float, Array]:
    """Return the mean of -log(softmax(scores)[label]) and its gradient, (N, 10)."""
    rows = numpy.arange(len(labels))
    shifted = scores - scores.max(axis=1, keepdims=True)
    log_chance = shifted - numpy.log(numpy.exp(shifted).sum(axis=1, keepdims=True))
    gradient = numpy.exp(log_chance)
    gradient[rows, labels] -= 1
    return float(-log_chance[rows, labels].mean()), gradient / len(labels)


class Adam:
    """Adam (Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015)."""

    def __init__(self, network: Network) -> None:
        self.parameters = [(layer, name) for layer in network.trainable for name in _NAMES]
        self.means = [numpy.zeros_like(getattr(*parameter)) for parameter in self.parameters]
        self.squares = [numpy.zeros_like(mean) for mean in self.means]
        self.steps = 0

    def step(self, rate: float) -> None:
        """Move every parameter against its gradient."""
        self.steps += 1
        mean_scale, square_scale = (1 / (1 - decay**self.steps) for decay in _DECAYS)
        for (layer, name), mean, square in zip(
            self.parameters, self.means, self.squares, strict=True
        ):
            gradient = getattr(layer, f"{name}_grad")
            mean += (1 - _DECAYS[0]) * (gradient - mean)
            square += (1 - _DECAYS[1]) * (gradient * gradient - square)
            parameter = getattr(layer, name)
            parameter -= rate * mean_scale * mean / (numpy.sqrt(square_scale * square) + 1e-8)


_NAMES = ("weight", "bias")
_DECAYS = (0.9, 0.999)
