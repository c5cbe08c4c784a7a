"""Train, test, report."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray
from tqdm import tqdm

from fastconv.demo import data, picture
from fastconv.demo.network import Adam, Network, Stopwatch, softmax_cross_entropy

__all__ = ["History", "run"]

_FIRST_RATE = 3e-3


@dataclass
class History:
    """How training went: one number an epoch."""

    loss: list[float] = field(default_factory=list)
    train_accuracy: list[float] = field(default_factory=list)
    test_accuracy: list[float] = field(default_factory=list)


def run(*, epochs: int = 20, seed: int = 0, batch_size: int = 32, output: str | Path) -> float:
    """Train the network, print a report, write the picture; return the test accuracy.

    Parameters
    ----------
    epochs, batch_size : int
    seed : int
        Of the first weights, the order of the digits and their shifts.
    output : path
        Where the PNG goes.
    """
    rng = numpy.random.default_rng(seed)
    train, test = data.load()
    network = Network(rng, Stopwatch())
    print(f"{len(train.labels)} digits to learn from, {len(test.labels)} to be tested on")

    history = _train(network, train, test, rng, epochs=epochs, batch_size=batch_size)
    scores = network.forward(test.images)
    right = int((scores.argmax(axis=1) == test.labels).sum())
    accuracy = right / len(test.labels)
    print(f"test accuracy   {accuracy:.2%}  ({right} of {len(test.labels)})")
    _print_times(network.watch, batch_size)

    picture.draw(output, history=history, network=network, test=test, scores=scores)
    print(f"picture         {output}")
    return accuracy


def _train(
    network: Network,
    train: data.Digits,
    test: data.Digits,
    rng: numpy.random.Generator,
    *,
    epochs: int,
    batch_size: int,
) -> History:
    """Train for `epochs`, with a learning rate that falls to zero along a cosine."""
    history, optimiser = History(), Adam(network)
    steps = epochs * math.ceil(len(train.labels) / batch_size)
    with tqdm(total=steps, unit="batch", desc="training", mininterval=0.5) as bar:
        for _ in range(epochs):
            losses, hits = [], 0
            for images, labels in data.batches(train, batch_size, rng):
                rate = _FIRST_RATE * (1 + math.cos(math.pi * optimiser.steps / steps)) / 2
                with network.watch.step():
                    scores = network.forward(images)
                    loss, gradient = softmax_cross_entropy(scores, labels)
                    network.backward(gradient)
                    optimiser.step(rate)
                losses.append(loss * len(labels))
                hits += int((scores.argmax(axis=1) == labels).sum())
                bar.update()
            history.loss.append(sum(losses) / len(train.labels))
            history.train_accuracy.append(hits / len(train.labels))
            history.test_accuracy.append(_accuracy(network, test))
            bar.set_postfix(loss=f"{history.loss[-1]:.4f}", test=f"{history.test_accuracy[-1]:.1%}")
    return history


def _accuracy(network: Network, digits: data.Digits) -> float:
    """Return the share of digits whose highest score is that of their label."""
    guesses: NDArray[Any] = network.forward(digits.images).argmax(axis=1)
    return float((guesses == digits.labels).mean())


def _print_times(watch: Stopwatch, batch_size: int) -> None:
    """Print the time a batch, and its shares."""
    total = watch.seconds["step"]
    print(
        f"time a batch    {1e3 * total / watch.steps:.2f} ms  ({batch_size} images, a whole step)"
    )
    shares = {name: watch.seconds[name] / total for name in ("forward", "dL/dx", "dL/dW")}
    for name, share in shares.items():
        print(f"  conv {name:<9} {share:5.1%}")
    print(f"  the rest       {1 - sum(shares.values()):5.1%}  (ReLU, max-pool, dense, loss, Adam)")
