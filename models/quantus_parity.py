#!/usr/bin/env python3
"""Computes metrics with Quantus 0.6 on digits-cnn, to compare `whyline evaluate --compat quantus` with.

    quantus_parity.py --goldens tests/goldens                           writes quantus.json, in a quarter of an hour
    quantus_parity.py --goldens tests/goldens --whyline target/release/whyline
    quantus_parity.py ... --only sparseness pixel-flipping              some of the metrics

The model is rebuilt in PyTorch from the ONNX file, in float64. The samples are 32 held-out digits on backgrounds of
their own, the map is the gradient of the predicted class's logit, and Quantus sees one sample at a time, so that what
it normalises by is that sample's largest magnitude. Its random draws are replaced by whyline's, number by number: see
`Draws`. Where Quantus gives a curve, the golden is the mean of its points. NaN becomes null; a metric that Quantus
cannot compute, or that is the same for every map, has no values and a note. Besides `metrics`, of single samples,
there are `dataset`, of metrics that compare samples, and `formulas`, of metrics of another model's map: the map of
another class is taken for it.

With --whyline the samples are evaluated by that program with the same parameters, those of `metrics`. A difference is
taken relative to the expected value, or to a hundredth of the metric's largest one where that is more. Exits with 1
where one is above the metric's bound, 1e-3 for most, or a score is there on one side only.

NumPy 2.4 has no `np.trapz`, which Quantus calls: `np.trapezoid` is put in its place.

    pip install torch onnx zennit quantus scikit-learn pillow
"""

import argparse
import contextlib
import functools
import hashlib
import importlib.metadata
import json
import math
import subprocess
import sys
import tempfile
import warnings
from collections import namedtuple
from pathlib import Path

import numpy as np
import quantus
import torch
from PIL import Image
from torch import nn

from method_parity import CAM_LAYER, HERE, Rebuilt

if not hasattr(np, "trapz"):
    np.trapz = np.trapezoid

SIDE, COUNT, CLASSES = 48, 32, 10
FEATURES = SIDE * SIDE
BOUND = 1e-3
SCALE, MEAN, STD = np.float32(1 / 255), np.float32(0.5), np.float32(0.25)

# ---------------------------------------------------------------- whyline's random numbers

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
        self.draw, self.calls = draw_of(x), 0

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
        u, both = self.stream().uniform(np.arange(FEATURES)).reshape(size), np.float32(high)
        if low == -high:
            return both * (np.float32(2) * u - np.float32(1))
        return np.float32(low) + np.float32(high - low) * u

    def normal(self, loc, scale, size):
        return np.float32(scale) * self.stream().normal(np.arange(FEATURES)).reshape(size)

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


# ---------------------------------------------------------------- samples and model


class Double(nn.Module):
    """Quantus hands over float32."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x.double())


def explain(model, inputs, targets, **_):
    """The gradient of the class's logit: values of float32, which Quantus reckons with in float64."""
    x = torch.as_tensor(np.asarray(inputs)).double().requires_grad_()
    targets = torch.as_tensor(np.asarray(targets))
    score = model(x)[torch.arange(len(x)), targets].sum()
    return torch.autograd.grad(score, x)[0].float().double().numpy()


def inputs_of(pixels):
    """In float32 from 8 bits, in the order that whyline calculates in."""
    return ((pixels.astype(np.float32) * SCALE - MEAN) / STD)[:, None]


def make_samples(model):
    """Held-out digits that the model is right about, three of each class and two more."""
    import train_digits

    digits, labels = train_digits.load("held-out")
    images, masks = train_digits.render(digits, train_digits.seed_for("samples", 1))
    with torch.no_grad():
        right = model(torch.from_numpy(inputs_of(images.numpy()))).argmax(1) == labels
    chosen = [i for label in range(CLASSES) for i in torch.nonzero(right & (labels == label))[:4, 0].tolist()]
    chosen = [i for n, i in enumerate(chosen) if n % 4 < 3 or n < 8]
    assert len(chosen) == COUNT
    return images[chosen].numpy(), masks[chosen].numpy().astype(np.uint8) * 255


def samples(folder, model):
    """The images and masks, one below the other; made where they are not there."""
    files = [folder / "quantus-samples.png", folder / "quantus-masks.png"]
    if not files[0].exists():
        for file, images in zip(files, make_samples(model)):
            Image.fromarray(images.reshape(-1, SIDE)).save(file, optimize=True)
    return [np.asarray(Image.open(file)).reshape(-1, SIDE, SIDE) for file in files]


class Setting:
    """The samples with their classes and maps."""

    def __init__(self, folder):
        self.model = Double(Rebuilt(HERE / "digits-cnn.onnx")).eval()
        self.pixels, masks = samples(folder, self.model)
        self.x, self.masks = inputs_of(self.pixels), (masks > 127)[:, None]
        with torch.no_grad():
            self.y = self.model(torch.from_numpy(self.x)).argmax(1).numpy()
        self.maps = explain(self.model, self.x, self.y)
        others = [Draws(x).randint(0, CLASSES - 1, 1)[0] for x in self.x]
        self.others = np.array([other + (other >= y) for other, y in zip(others, self.y)])


# ---------------------------------------------------------------- metrics

# A metric of Quantus with whyline's name and parameters. `random` says which function of `np.random` which of `Draws`
# takes the place of; `bound` is how far whyline's score may be away. The samples of `ties` are not compared.
Case = namedtuple("Case", "name params make random note bound ties", defaults=({}, "", BOUND, ()))

STEP = {"step": FEATURES // 48}
MEAN_OF_CURVE = "the mean of the curve that Quantus returns"
# What is divided by values near zero: float32 is 2e-2 away from float64 where one of them decides.
RELATIVE = {"random": {"uniform": "uniform"}, "bound": 0.1}


def of(metric, **options):
    """Makes the metric for a sample."""
    return lambda draws: metric(disable_warnings=True, **options)


@functools.cache
def module_of(output):
    """The name that Quantus has for the layer of an ONNX value."""
    return next(f"inner.layers.{i}" for i, _, name in Rebuilt(HERE / "digits-cnn.onnx").steps if name == output)


CASES = [
    Case("sparseness", {}, of(quantus.Sparseness)),
    Case("complexity", {}, of(quantus.Complexity)),
    Case("effective-complexity", {"epsilon": 1e-5}, of(quantus.EffectiveComplexity)),
    Case("pointing-game", {}, of(quantus.PointingGame)),
    Case("attribution-localisation", {}, of(quantus.AttributionLocalisation)),
    Case("top-k-intersection", {"k": 1000}, of(quantus.TopKIntersection)),
    Case("relevance-rank", {}, of(quantus.RelevanceRankAccuracy)),
    Case("relevance-mass", {}, of(quantus.RelevanceMassAccuracy)),
    Case("auc", {}, of(quantus.AUC)),
    Case("completeness", {}, of(quantus.Completeness), note="0 for every map here: whether two floats are equal"),
    Case("faithfulness-correlation", {"runs": 100, "size": 224}, of(quantus.FaithfulnessCorrelation),
         {"choice": "choice"}),
    Case("faithfulness-estimate", STEP, of(quantus.FaithfulnessEstimate, features_in_step=48)),
    Case("monotonicity", STEP, of(quantus.Monotonicity, features_in_step=48)),
    Case("monotonicity-correlation", {**STEP, "draws": 10},
         of(quantus.MonotonicityCorrelation, features_in_step=48, nr_samples=10), {"uniform": "one_uniform"}),
    Case("pixel-flipping", STEP, of(quantus.PixelFlipping, features_in_step=48), note=MEAN_OF_CURVE),
    Case("region-perturbation", {"size": 8, "regions": 100}, of(quantus.RegionPerturbation), note=MEAN_OF_CURVE),
    Case("selectivity", {"size": 9}, of(quantus.Selectivity, patch_size=9),
         note=MEAN_OF_CURVE + "; the image is no whole number of patches, and is padded"),
    Case("sensitivity-n", STEP, of(quantus.SensitivityN, features_in_step=48)),
    Case("irof", {"segments": 100}, of(quantus.IROF), note="the mean is that of the image as it is by then"),
    Case("infidelity", {"size": 4}, of(quantus.Infidelity, n_perturb_samples=1),
         note="n_perturb_samples=1: all samples are alike"),
    Case("road", {"shares": 50, "noise": 0.01},
         lambda draws: quantus.ROAD(perturb_func=draws.fill_in, disable_warnings=True),
         note="the mean over the shares"),
    Case("local-lipschitz", {"draws": 10, "sigma": 0.1}, of(quantus.LocalLipschitzEstimate, nr_samples=10),
         {"normal": "normal"}),
    Case("max-sensitivity", {"draws": 10, "radius": 0.2}, of(quantus.MaxSensitivity, nr_samples=10),
         {"uniform": "uniform"}),
    Case("avg-sensitivity", {"draws": 10, "radius": 0.2}, of(quantus.AvgSensitivity, nr_samples=10),
         {"uniform": "uniform"}),
    # In a blank area all windows of a max pool are ties, which a convolution's rounding breaks. Where the largest
    # change is one of a far shift, that decides: up to 5e-2.
    Case("continuity", {"shifts": 28}, of(quantus.Continuity), ties=(5, 6, 7, 14, 16, 25, 26)),
    Case("relative-input-stability", {"draws": 10}, of(quantus.RelativeInputStability, nr_samples=10), **RELATIVE),
    Case("relative-output-stability", {"draws": 10}, of(quantus.RelativeOutputStability, nr_samples=10), **RELATIVE),
    Case("relative-representation-stability", {"draws": 10, "layer": CAM_LAYER},
         lambda draws: quantus.RelativeRepresentationStability(
             nr_samples=10, layer_names=[module_of(CAM_LAYER)], disable_warnings=True), **RELATIVE),
    Case("random-logit", {}, of(quantus.RandomLogit, num_classes=CLASSES), {"randint": "randint"}),
    # A count of features, down to six; float32 moves a probability or two across the threshold.
    Case("non-sensitivity", {"epsilon": 1e-5}, of(quantus.NonSensitivity), bound=0.02),
]


def score(setting, case, i):
    """What Quantus gives for a sample."""
    one, draws = slice(i, i + 1), Draws(setting.x[i])
    metric = case.make(draws)
    arguments = {"x_batch": setting.x[one].copy(), "y_batch": setting.y[one], "a_batch": setting.maps[one].copy(),
                 "s_batch": setting.masks[one], "explain_func": explain, "batch_size": 1}  # fmt: skip
    functions = {theirs: getattr(draws, ours) for theirs, ours in case.random.items()}
    with replaced(np.random, **functions):
        found = metric(model=setting.model, **arguments)
    found = list(found.values()) if isinstance(found, dict) else found
    return float(np.mean(np.asarray(found, dtype=np.float64)))


def pair(setting, i):
    """The maps of the class and of the other one."""
    one = slice(i, i + 1)
    return setting.maps[one], explain(setting.model, setting.x[one], setting.others[one])


def mprt_similarity(maps):
    """Of magnitudes."""
    return float(quantus.correlation_spearman(*(np.abs(m).reshape(1, -1) for m in maps), batched=True)[0])


def smooth_pair(setting, i):
    """The same, each the mean over nine noisy copies and the input."""
    metric = quantus.SmoothMPRT(nr_samples=10, normalise=False, abs=False, disable_warnings=True)
    one, maps = slice(i, i + 1), []
    for classes in (setting.y[one], setting.others[one]):
        draws = Draws(setting.x[i])
        noise = lambda *shape: draws.normal(0, 1, shape)
        with replaced(np.random, randn=noise), replaced(quantus, explain=explain):
            maps.append(metric.explain_smooth_batch(setting.model, setting.x[one], classes))
    return maps


def emprt_score(maps):
    own, other = (quantus.complexity_func.discrete_entropy(a=m[0], x=m[0], n_bins=100) for m in maps)
    return float((other - own) / own)


FORMULAS = {
    "mprt": lambda setting, i: mprt_similarity(pair(setting, i)),
    "smooth-mprt": lambda setting, i: mprt_similarity(smooth_pair(setting, i)),
    "efficient-mprt": lambda setting, i: emprt_score(pair(setting, i)),
}


def of_dataset(setting):
    """Metrics that compare samples, all of them in one batch, with each map's largest magnitude one."""
    sizes = np.abs(setting.maps).max((1, 2, 3), keepdims=True)
    cells = np.abs(setting.maps / sizes).reshape(COUNT, 1, 16, 3, 16, 3).mean((3, 5))

    def whole(metric, maps=setting.maps / sizes):
        return np.asarray(metric(model=setting.model, x_batch=setting.x, y_batch=setting.y, a_batch=maps))

    def entry(params, values, note=""):
        return {"params": params, "value": rounded(values.mean()), "values": [rounded(v) for v in values], "note": note}

    sufficiency = quantus.Sufficiency(disable_warnings=True)
    found = whole(quantus.SensitivityN(features_in_step=48, return_aggregate=False, disable_warnings=True))
    return {
        "sensitivity-n": entry(STEP, found, "of each step, over the samples"),
        "consistency": entry({}, whole(quantus.Consistency(disable_warnings=True)), "by the first five signs"),
        "sufficiency": entry({"threshold": 0.6}, whole(sufficiency)),
        "sufficiency-of-cells": entry(
            {"threshold": 0.6}, whole(sufficiency, np.kron(cells, np.ones((3, 3)))), "of maps of 16 by 16 means"
        ),
    }


def rounded(value):
    return None if math.isnan(value) else float(f"{value:.9g}")


def golden(setting, case):
    values, note = [], case.note
    try:
        values = [rounded(score(setting, case, i)) for i in range(COUNT)]
    except Exception as error:
        values, note = None, f"{type(error).__name__}: {error}"
    if case.name == "monotonicity":
        assert set(values) == {1.0}
        values, note = None, "True for every map: what is put into the baseline is the baseline"
    if case.name == "completeness":
        assert set(values) == {0.0}
        values, note = None, "False for every map: whether two floats are equal, one the sum of a rescaled map"
    return {"params": case.params, "bound": case.bound, "ties": case.ties, "values": values, "note": note}


def text_of(whole):
    """JSON, a line for each metric."""

    def lines(table):
        return "{\n" + ",\n".join(f"  {json.dumps(name)}: {json.dumps(own)}" for name, own in table.items()) + "\n }"

    nested = ("metrics", "dataset", "formulas")
    parts = (f' "{key}": {lines(value) if key in nested else json.dumps(value)}' for key, value in whole.items())
    return "{\n" + ",\n".join(parts) + "\n}\n"


# ---------------------------------------------------------------- comparison


def whyline_scores(binary, setting, goldens):
    """By metric, of every sample."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "samples").mkdir()
        for i, (image, mask) in enumerate(zip(setting.pixels, setting.masks)):
            Image.fromarray(image).save(folder / "samples" / f"{i:02}.png")
            Image.fromarray(mask[0].astype(np.uint8) * 255).save(folder / "samples" / f"{i:02}.mask.png")
        told = [f"{name}.{key}={value}" for name, g in goldens.items() for key, value in g["params"].items()]
        told = [word for param in told for word in ("--metric-param", param)]
        command = [binary, "evaluate", HERE / "digits-cnn.onnx", folder / "samples", "-m", "vanilla", "-q"]
        command += ["--metrics", ",".join(goldens), *told, "--compat", "quantus", "--samples", folder / "out.jsonl"]
        subprocess.run([str(word) for word in command], check=True)
        lines = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    lines.sort(key=lambda line: line["file"])
    assert len(lines) == COUNT
    scores = [line["methods"]["vanilla"] for line in lines]
    return {name: [None if isinstance(s[name], dict) else s[name] for s in scores] for name in goldens}


def largest_difference(golden, got):
    least = 0.01 * max(abs(v) for v in golden["values"] if v is not None)
    worst = 0.0
    for i, (a, b) in enumerate(zip(golden["values"], got)):
        if (a is None) != (b is None):
            return math.inf
        if a is not None and a != b and i not in golden["ties"]:
            worst = max(worst, abs(a - b) / max(abs(a), least, sys.float_info.min))
    return worst


def compare(binary, setting, metrics):
    goldens = {name: g for name, g in metrics.items() if g["values"]}
    failed, got = False, whyline_scores(binary, setting, goldens)
    print("| metric | largest relative difference | |\n|---|---|---|")
    for name, own in goldens.items():
        difference = largest_difference(own, got[name])
        failed |= not difference <= own["bound"]
        print(f"| {name} | {difference:.1e} | {'pass' if difference <= own['bound'] else 'FAIL'} |")
    return failed


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--goldens", type=Path, default=HERE.parent / "tests" / "goldens", help="folder of the samples")
    args.add_argument("--whyline", help="program to compare; quantus.json is read where it is there")
    args.add_argument("--only", nargs="*", help="metrics")
    args = args.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    setting, file = Setting(args.goldens), args.goldens / "quantus.json"
    if args.whyline and file.exists():
        metrics = json.loads(file.read_text())["metrics"]
        sys.exit(compare(args.whyline, setting, {n: g for n, g in metrics.items() if n in (args.only or metrics)}))
    metrics = {}
    for case in CASES:
        if case.name in (args.only or [case.name]):
            metrics[case.name] = golden(setting, case)
            print(f"{case.name}: {metrics[case.name]['note'] or 'done'}", file=sys.stderr, flush=True)
    if not args.only:
        packages = ["quantus", "numpy", "scipy", "scikit-image", "scikit-learn", "torch"]
        formulas = {name: [rounded(of_maps(setting, i)) for i in range(COUNT)] for name, of_maps in FORMULAS.items()}
        whole = {
            "versions": {name: importlib.metadata.version(name) for name in packages},
            "classes": setting.y.tolist(),
            "other-classes": setting.others.tolist(),
            "metrics": metrics,
            "dataset": of_dataset(setting),
            "formulas": formulas,
        }
        file.write_text(text_of(whole))
    if args.whyline:
        sys.exit(compare(args.whyline, setting, metrics))


if __name__ == "__main__":
    main()
