"""whyline's random numbers, and what of `np.random` they take the place of in other programs."""

import contextlib
import hashlib

import numpy as np
import quantus

GOLDEN, WORD = 0x9E3779B97F4A7C15, (1 << 64) - 1


def mix(z):
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def mix_one(number):
    return int(mix(np.array([number & WORD], dtype=np.uint64))[0])


class Rng:
    """The stream of a draw, as runtime/src/rng.rs has it."""

    def __init__(self, seed, draw):
        self.key = mix_one(mix_one(seed + GOLDEN) + draw * GOLDEN)

    def bits(self, elements):
        elements = np.atleast_1d(np.asarray(elements, dtype=np.uint64))
        return mix(np.uint64(self.key) + (elements + np.uint64(1)) * np.uint64(GOLDEN))

    def uniform(self, elements):
        return (self.bits(elements) >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)

    def normal(self, elements):
        p = ((self.bits(elements) >> np.uint64(12)).astype(np.float64) + 0.5) / 2.0**52
        return quantile(p).astype(np.float32)


def quantile(p):
    """Of the normal distribution, by AS 241 to seven digits."""
    away = p - 0.5
    r = 0.180625 - away * away
    above = ((59.109374720 * r + 159.29113202) * r + 50.434271938) * r + 3.3871327179
    middle = away * above / (((67.187563600 * r + 78.757757664) * r + 17.895169469) * r + 1)
    root = np.sqrt(-np.log(np.minimum(p, 1 - p)))
    r = root - 1.6
    near = ((0.17023821103 * r + 1.3067284816) * r + 2.7568153900) * r + 1.4234372777
    near /= (0.12021132975 * r + 0.73700164250) * r + 1
    r = root - 5
    far = ((0.017337203997 * r + 0.42868294337) * r + 3.0812263860) * r + 6.6579051150
    far /= (0.012258202635 * r + 0.24197894225) * r + 1
    return np.where(np.abs(away) <= 0.425, middle, np.copysign(np.where(root <= 5, near, far), away))


def subset(rng, size, count):
    """So many different numbers, by Floyd's algorithm."""
    lasts = np.arange(count - size, count)
    numbers = ((rng.bits(lasts) >> np.uint64(32)) * (lasts.astype(np.uint64) + np.uint64(1))) >> np.uint64(32)
    drawn = {}
    for last, number in zip(lasts.tolist(), numbers.tolist()):
        drawn[last if number in drawn else number] = True
    return np.array(list(drawn))


def draw_of(x):
    return int(hashlib.sha256(np.ascontiguousarray(x, dtype="<f4").tobytes()).hexdigest()[:16], 16)


class Draws:
    """What takes the place of functions of `np.random`, for a sample. The n-th call of one (from zero) takes the stream
    Rng::new(seed ^ draw, n), with seed 0. A feature's number is the stream's element of the feature's place."""

    def __init__(self, x):
        self.draw, self.features, self.calls = draw_of(x), x.size, 0

    def stream(self, draw=None):
        self.calls += 1
        return Rng(self.draw if draw is None else draw, self.calls - 1)

    def choice(self, count, size, replace):
        """Sets of features: the stream of the sample's draw plus the set's size."""
        return subset(self.stream((self.draw + size) & WORD), size, count)

    def one_uniform(self, low, high, size):
        """One value for all features of a block: element 0."""
        return np.full(size, low + (high - low) * float(self.stream().uniform(0)[0]))

    def uniform(self, low, high, size):
        """In float32, as whyline: `high * (2 u - 1)`, or `low + (high - low) * u` where noise is not symmetrical."""
        u, both = self.stream().uniform(np.arange(self.features)).reshape(size), np.float32(high)
        if low == -high:
            return both * (np.float32(2) * u - np.float32(1))
        return np.float32(low) + np.float32(high - low) * u

    def normal(self, loc, scale, size):
        return np.float32(scale) * self.stream().normal(np.arange(self.features)).reshape(size)

    def randint(self, low, high, size):
        return (self.stream().bits(0) % np.uint64(high - low)).astype(int) + low

    def fill_in(self, arr, indices, noise):
        """ROAD's, in place of `noisy_linear_imputation`, with a call per share: element of each pixel's place."""
        normal = self.stream().normal(indices)
        with replaced(np.random, randn=lambda *shape: normal.reshape(shape)):
            return quantus.functions.perturb_func.noisy_linear_imputation(arr=arr, indices=indices, noise=noise)


@contextlib.contextmanager
def replaced(module, **functions):
    before = {name: getattr(module, name) for name in functions}
    for name, function in functions.items():
        setattr(module, name, function)
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(module, name, function)
