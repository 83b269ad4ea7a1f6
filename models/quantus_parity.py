#!/usr/bin/env python3
"""Computes metrics with Quantus 0.6, to compare `whyline evaluate --compat quantus` with.

    quantus_parity.py --goldens tests/goldens                           writes quantus.json, in a quarter of an hour
    quantus_parity.py --goldens tests/goldens --whyline target/release/whyline
    quantus_parity.py ... --only sparseness pixel-flipping              some of the metrics

The model is digits-cnn and, for metrics that it brings to the limits of float32, a smooth one that is made here; both
are rebuilt in PyTorch from their ONNX files, in float64. The samples are 32 held-out digits on backgrounds of their own,
the map is the gradient of the predicted class's logit, and Quantus sees one sample at a time, so that what it normalises
by is that sample's largest magnitude. Its random draws are replaced by whyline's, number by number: see `draws.py`.
Where Quantus gives a curve, the golden is the mean of its points. NaN becomes null; a metric that Quantus cannot
compute, or that is the same for every map, has no values and a note. Besides `metrics`, of single samples of digits-cnn,
and `smooth`, of the other model, there are `dataset`, of metrics that compare samples, and `formulas`, of metrics of
another model's map: the map of another class is taken for it.

With --whyline the samples are evaluated by that program with the same parameters, those of `metrics` and `smooth`. A
difference is taken relative to the expected value, or to a hundredth of the metric's largest one where that is more.
Exits with 1 where one is above the metric's bound, 1e-3 for most, or a score is there on one side only.

NumPy 2.4 has no `np.trapz`, which Quantus calls: `np.trapezoid` is put in its place.

    pip install torch onnx zennit quantus scikit-learn pillow
"""

import argparse
import functools
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
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from torch import nn

from draws import Draws, replaced
from method_parity import CAM_LAYER, HERE, Rebuilt

if not hasattr(np, "trapz"):
    np.trapz = np.trapezoid

SIDE, COUNT, CLASSES = 48, 32, 10
FEATURES = SIDE * SIDE
BOUND = 1e-3
SCALE, MEAN, STD = np.float32(1 / 255), np.float32(0.5), np.float32(0.25)

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


def write_smooth(file):
    """Positive weights and Softplus: everything is a sum of positive terms, so that no activation, logit or gradient is
    near zero, and float32 knows each to its last digits."""
    rng = np.random.default_rng(0)
    nodes, weights, value = [], [], "image"

    def node(kind, *shapes, gain=1.0, **flags):
        nonlocal value
        names = [f"{kind}-{len(nodes)}-{part}" for part in ("weight", "bias")[: len(shapes)]]
        for name, shape in zip(names, shapes):
            drawn = gain * rng.uniform(0.2, 1, shape) if len(shape) > 1 else rng.uniform(-1, 1, shape)
            weights.append(numpy_helper.from_array(drawn.astype(np.float32), name))
        nodes.append(helper.make_node(kind, [value, *names], [f"{kind}-{len(nodes)}"], **flags))
        value = nodes[-1].output[0]

    around = {"kernel_shape": [3, 3], "pads": [1] * 4, "strides": [1, 1], "group": 1}
    node("Conv", (6, 1, 3, 3), (6,), gain=0.3, **around)
    node("Softplus")
    node("AveragePool", kernel_shape=[8, 8], strides=[8, 8], pads=[0] * 4)
    node("Conv", (8, 6, 3, 3), (8,), gain=0.05, **around)
    node("Softplus")
    node("Flatten")
    node("Gemm", (CLASSES, 8 * (SIDE // 8) ** 2), (CLASSES,), gain=0.01, transB=1)
    sides = ["N", 1, SIDE, SIDE], ["N", CLASSES]
    ends = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)] for name, shape in zip(("image", value), sides)]
    made = helper.make_model(helper.make_graph(nodes, "smooth", *ends, weights), opset_imports=[helper.make_opsetid("", 18)])
    made.ir_version = 8
    file.write_bytes(made.SerializeToString())


class Setting:
    """A model, the samples with their classes and maps."""

    def __init__(self, folder, file):
        self.file, self.model = file, Double(Rebuilt(file)).eval()
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
# What is divided by values near zero: float32 is up to 9e-2 away from float64 where one of them decides.
RELATIVE = {"random": {"uniform": "uniform"}, "bound": 0.1}


def of(metric, **options):
    """Makes the metric for a sample."""
    return lambda draws, model: metric(disable_warnings=True, **options)


def representation(draws, model, layer):
    """Of a layer by its ONNX value, for which Quantus has another name."""
    names = [f"inner.layers.{i}" for i, _, name in model.inner.steps if name == layer]
    return quantus.RelativeRepresentationStability(nr_samples=10, layer_names=names, disable_warnings=True)


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
    # In large steps: what small ones do to a probability has ranks that float32 does not tell apart.
    Case("monotonicity-correlation", {"step": FEATURES // 12, "draws": 10},
         of(quantus.MonotonicityCorrelation, features_in_step=FEATURES // 12, nr_samples=10), {"uniform": "one_uniform"}),
    Case("pixel-flipping", STEP, of(quantus.PixelFlipping, features_in_step=48), note=MEAN_OF_CURVE),
    Case("region-perturbation", {"size": 8, "regions": 100}, of(quantus.RegionPerturbation), note=MEAN_OF_CURVE),
    Case("selectivity", {"size": 9}, of(quantus.Selectivity, patch_size=9),
         note=MEAN_OF_CURVE + "; the image is no whole number of patches, and is padded"),
    Case("sensitivity-n", STEP, of(quantus.SensitivityN, features_in_step=48)),
    Case("irof", {"segments": 100}, of(quantus.IROF), note="the mean is that of the image as it is by then"),
    Case("infidelity", {"size": 4}, of(quantus.Infidelity, n_perturb_samples=1),
         note="n_perturb_samples=1: all samples are alike"),
    Case("road", {"shares": 50, "noise": 0.01},
         lambda draws, model: quantus.ROAD(perturb_func=draws.fill_in, disable_warnings=True),
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
         functools.partial(representation, layer=CAM_LAYER), **RELATIVE),
    Case("random-logit", {}, of(quantus.RandomLogit, num_classes=CLASSES), {"randint": "randint"}),
    # A count of features: of a threshold of 1e-5, which is the default, float32 moves a probability or two across it.
    Case("non-sensitivity", {"epsilon": 1e-3}, of(quantus.NonSensitivity, eps=1e-3)),
]


def smoothly(case):
    """Of a metric that digits-cnn brings to the limits of float32, the case on the smooth model, within the usual bound."""
    if case.bound == BOUND and not case.ties:
        return None
    own = case._replace(bound=BOUND, ties=())
    if "layer" in case.params:
        layer = "Softplus-4"
        return own._replace(params={**case.params, "layer": layer}, make=functools.partial(representation, layer=layer))
    return own


def score(setting, case, i):
    """What Quantus gives for a sample."""
    one, draws = slice(i, i + 1), Draws(setting.x[i])
    metric = case.make(draws, setting.model)
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

    nested = ("metrics", "smooth", "dataset", "formulas")
    parts = (f' "{key}": {lines(value) if key in nested else json.dumps(value)}' for key, value in whole.items())
    return "{\n" + ",\n".join(parts) + "\n}\n"


def write(file, setting, found):
    packages = ["quantus", "numpy", "scipy", "scikit-image", "scikit-learn", "torch"]
    formulas = {name: [rounded(of_maps(setting, i)) for i in range(COUNT)] for name, of_maps in FORMULAS.items()}
    whole = {
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "classes": setting.y.tolist(),
        "other-classes": setting.others.tolist(),
        **found,
        "dataset": of_dataset(setting),
        "formulas": formulas,
    }
    file.write_text(text_of(whole))


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
        command = [binary, "evaluate", setting.file, folder / "samples", "-m", "vanilla", "-q",
                   "--mean", MEAN, "--std", STD]
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
    if not goldens:
        return False
    failed, got = False, whyline_scores(binary, setting, goldens)
    print(f"\n| metric of {setting.file.stem} | largest relative difference | |\n|---|---|---|")
    for name, own in goldens.items():
        difference = largest_difference(own, got[name])
        failed |= not difference <= own["bound"]
        print(f"| {name} | {difference:.1e} | {'pass' if difference <= own['bound'] else 'FAIL'} |", flush=True)
    return failed


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--goldens", type=Path, default=HERE.parent / "tests" / "goldens", help="folder of the samples")
    args.add_argument("--whyline", help="program to compare; quantus.json is read where it is there")
    args.add_argument("--only", nargs="*", help="metrics")
    args = args.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    smooth, file = args.goldens / "quantus-smooth.onnx", args.goldens / "quantus.json"
    if not smooth.exists():
        write_smooth(smooth)
    settings = {"metrics": Setting(args.goldens, HERE / "digits-cnn.onnx"), "smooth": Setting(args.goldens, smooth)}
    wanted = args.only or [case.name for case in CASES]
    if args.whyline and file.exists():
        found = {key: {n: g for n, g in json.loads(file.read_text())[key].items() if n in wanted} for key in settings}
    else:
        found = {key: {} for key in settings}
        for case in CASES:
            if case.name in wanted:
                for key, own in (("metrics", case), ("smooth", smoothly(case))):
                    if own:
                        found[key][case.name] = golden(settings[key], own)
                print(f"{case.name}: {found['metrics'][case.name]['note'] or 'done'}", file=sys.stderr, flush=True)
        if not args.only:
            write(file, settings["metrics"], found)
    if args.whyline:
        sys.exit(any([compare(args.whyline, settings[key], found[key]) for key in settings]))


if __name__ == "__main__":
    main()
