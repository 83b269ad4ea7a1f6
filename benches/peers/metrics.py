#!/usr/bin/env python3
"""Times of metrics beside Quantus with Captum's gradients: one thread, the same images, the same numbers of passes.

    benches/peers/metrics.py --whyline target/release/whyline [--images FOLDER]

Two models: digits-cnn with its sample images, and MobileNetV2 at 224 x 224 with fixed
random weights and images of noise, or those of a folder. All engines explain each image
by its plain gradient, and score the map; both is timed, reading images and preparing the
model is not. They take turns, round after round, and what counts of a peer is the
fastest of its batch sizes, in the memory layout in which its gradient is faster.

    quantus         each metric's __call__ with explain_func, for all images at once or
                    one by one; steps, patches, draws and shares as whyline has them
    torch           insertion and deletion, which Quantus has not: RISE's CausalMetric, in
                    batches of 1, 8 or 64 perturbed images
    grad-cam        ROAD of more than one channel, at which Quantus fails: the imputer
                    of pytorch-grad-cam, all shares as one batch or one by one

Pixels are flipped a row's number at a time, and one by one (`single-pixel-flipping`), as by
Bach et al. and as Quantus does unless told otherwise; not those of colour images, whose
channels Quantus flips one by one.

Quantus randomises layer after layer; it is made to explain the model only after as many
stages as whyline does, and takes one more explanation of the model as it is. Steps of
pixel flipping must divide the image for Quantus: of 224 x 224 pixels there are 192.
Quantus asks for NumPy before 2.4, which called np.trapezoid np.trapz; it has that name
here, too.

Areas under curves are timed twice: of every step, as the peers take them, and with
`tolerance`, which takes only as many steps as that needs; how far these scores are off
is printed. Prints every engine's passes and distribution of seconds per image, and a
table of the ratios (peer / whyline, round by round). Exits with 1 if a metric's better
median is below --at-least.
Needs torch, torchvision, onnx, captum, quantus, grad-cam, zennit, pillow (PyPI).
"""

import argparse
import json
import logging
import math
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402  (the variables above must be set first)

np.trapz = np.trapezoid

import captum.attr  # noqa: E402
import quantus  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from PIL import Image  # noqa: E402
from pytorch_grad_cam.metrics.road import NoisyLinearImputer  # noqa: E402
from quantus.helpers.model.pytorch_model import PyTorchModel  # noqa: E402
from scipy.ndimage import gaussian_filter  # noqa: E402

from passes import export, model, timed  # noqa: E402
from method_parity import MEAN, STD, Rebuilt  # noqa: E402  (passes has said where it is)

MODELS = Path(__file__).resolve().parents[2] / "models"
DRAWS, SHARES, STAGES, PATCH, REGIONS = 10, 10, 8, 8, 100
SINGLE = "single-pixel-flipping"
CURVES, TOLERANCE = ("pixel-flipping", SINGLE, "region-perturbation", "insertion", "deletion"), 0.002


class Digits(Rebuilt):
    """Adding plainly, and without the values of its last pass, which Quantus could not copy."""

    def forward(self, x):
        values = {self.input: x}
        for layer, inputs, output in self.steps:
            a, *b = [values[name] for name in inputs]
            values[output] = a + b[0] if b else self.layers[layer](a)
        return values[self.output]


class Task:
    """A model with images, for whyline as files, for its peers as tensors."""

    def __init__(self, net, path, images, mean, std):
        self.path, self.images = path, images
        self.told = ["--mean", ",".join(map(str, mean)), "--std", ",".join(map(str, std))]
        mode = "L" if len(mean) == 1 else "RGB"
        pixels = [np.atleast_3d(Image.open(p).convert(mode)) / 255 for p in sorted(images.iterdir())]
        self.x = ((np.stack(pixels) - mean) / std).transpose(0, 3, 1, 2).astype(np.float32, order="C")
        self.net = self.faster(net.eval().requires_grad_(False))
        with torch.inference_mode():
            self.y = self.net(torch.from_numpy(self.x)).argmax(1).numpy()
        self.forward = self.gradient = 0
        # A function, for Quantus copies the net: a method would be copied with all that it belongs to.
        self.net.register_forward_hook(lambda net, inputs, output: self.count(len(output)))

    def count(self, passes):
        self.forward += passes

    def faster(self, net):
        """The net in the memory layout in which it is faster."""

        def taken(layout):
            net.to(memory_format=layout)
            return min(timed(lambda: explain(net, self.x[:1], [0]), 5))

        return net.to(memory_format=min((torch.contiguous_format, torch.channels_last), key=taken))

    def explain(self, model, inputs, targets, **_):
        self.gradient += len(inputs)
        return explain(model, inputs, targets)

    def map(self, i):
        return self.explain(self.net, self.x[i : i + 1], self.y[i : i + 1])[0, 0]


def explain(model, inputs, targets):
    """The gradient, channels added up."""
    inputs, targets = torch.as_tensor(inputs), torch.as_tensor(targets)
    map = captum.attr.Saliency(model).attribute(inputs.clone(), targets, abs=False)
    return map.sum(1, keepdim=True).numpy()


def digits(count, folder):
    images = Path(tempfile.mkdtemp(dir=folder))
    samples = [np.asarray(Image.open(p)) for p in sorted(MODELS.glob("samples/digit-?.png"))]
    for i in range(count):
        # Each ten after the first are moved by a pixel more.
        image = np.roll(samples[i % len(samples)], i // len(samples), axis=1)
        Image.fromarray(image).save(images / f"{i:03}.png")
    return Task(Digits(MODELS / "digits-cnn.onnx").float(), MODELS / "digits-cnn.onnx", images, [MEAN], [STD])


def mobilenet(count, folder, cache, photos):
    images, rng = Path(tempfile.mkdtemp(dir=folder)), np.random.default_rng(0)
    if photos:
        drawn = [Image.open(p).convert("RGB").resize((224, 224)) for p in sorted(photos.iterdir())[:count]]
    else:
        drawn = [Image.fromarray(rng.integers(0, 256, (224, 224, 3), np.uint8)) for _ in range(count)]
    for i, image in enumerate(drawn):
        image.save(images / f"{i:03}.png")
    return Task(model("mobilenet_v2"), export("mobilenet_v2", cache), images,
                (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


every_layer = PyTorchModel.get_random_layer_generator


def some_layers(self, order="top_down", seed=42):
    """The models of every so many-th layer randomised, the last one's included."""
    layers = sum(hasattr(m, "reset_parameters") for m in self.model.modules())
    ends = {math.ceil(stage * layers / STAGES) for stage in range(1, STAGES + 1)}
    for number, pair in enumerate(every_layer(self, order, seed), 1):
        if number in ends:
            yield pair


PyTorchModel.get_random_layer_generator = some_layers
PyTorchModel.random_layer_generator_length = STAGES


def of_quantus(task, name, softmax=True, **options):
    """Runs of a metric of Quantus, for all images at once and one by one."""

    def run(batch):
        metric = getattr(quantus, name)(disable_warnings=True, **options)
        metric(model=task.net, x_batch=task.x, y_batch=task.y, a_batch=None, explain_func=task.explain,
               softmax=softmax, batch_size=batch)

    return {f"quantus, batch {batch}": lambda batch=batch: run(batch) for batch in sorted({1, len(task.x)})}


def blurred(x):
    """RISE's blur: a point blurred inside 11 x 11 pixels is the kernel, over the image amid zeros."""
    point = np.zeros((11, 11), np.float32)
    point[5, 5] = 1
    kernel = torch.from_numpy(gaussian_filter(point, 5)).repeat(len(x), 1, 1, 1)
    return F.conv2d(x, kernel, padding=5, groups=len(x))


def causal(task, inserts):
    """Runs of RISE's insertion or deletion, by batches of perturbed images."""

    def area(i, batch):
        x, order = torch.from_numpy(task.x[i]), np.argsort(-task.map(i).reshape(-1), kind="stable")
        start, end = (blurred(x), x) if inserts else (x, torch.zeros_like(x))
        now, end, steps = start.flatten(1).clone(), end.flatten(1), x.shape[-2]
        each, found, waiting = math.ceil(order.size / steps), [], []
        for step in range(steps + 1):
            waiting.append(now.clone())
            if len(waiting) == batch or step == steps:
                logits = task.net(torch.stack(waiting).reshape(-1, *x.shape))
                found, waiting = found + logits.softmax(1)[:, task.y[i]].tolist(), []
            places = order[step * each : (step + 1) * each]
            now[:, places] = end[:, places]
        return float(np.trapezoid(found, dx=1 / steps))

    def run(batch):
        with torch.no_grad():
            return [area(i, batch) for i in range(len(task.x))]

    return {f"torch, batch {batch}": lambda batch=batch: run(batch) for batch in (1, 8, 64)}


def shares_of(task, batch):
    """ROAD by pytorch-grad-cam's imputer: how often the class stays."""
    impute, kept = NoisyLinearImputer(), []
    for i, x in enumerate(torch.from_numpy(task.x)):
        order, images = np.argsort(-task.map(i).reshape(-1), kind="stable"), []
        for share in range(SHARES):
            mask = torch.ones(order.size)
            mask[order[: order.size * (2 * share + 1) // (2 * SHARES)]] = 0
            images.append(impute(x, mask.reshape(x.shape[1:])))
        with torch.no_grad():
            logits = torch.cat([task.net(part) for part in torch.stack(images).split(batch)])
        kept.append((logits.argmax(1) == int(task.y[i])).float().mean().item())
    return kept


def metrics(task):
    """Each metric's title with whyline's parameters and its peers' runs."""
    channels, height, width = task.x.shape[1:]
    features = height * width
    # Quantus wants a divisor of the pixels, and counts every channel's value as a feature of its own.
    each = next(n for n in range(channels * width, features + 1) if features % n == 0)
    steps = math.ceil(channels * features / each)
    percentages = [100 * (2 * share + 1) / (2 * SHARES) for share in range(SHARES)]
    grad_cam = {f"grad-cam, batch {batch}": lambda batch=batch: shares_of(task, batch) for batch in (1, SHARES)}
    yield "pixel-flipping", [f"step={math.ceil(features / steps)}"], of_quantus(
        task, "PixelFlipping", features_in_step=each, return_auc_per_sample=True)
    if channels == 1:
        yield SINGLE, ["step=1"], of_quantus(task, "PixelFlipping", return_auc_per_sample=True)
    yield "region-perturbation", [f"size={PATCH}", f"regions={REGIONS}"], of_quantus(
        task, "RegionPerturbation", patch_size=PATCH, regions_evaluation=REGIONS, perturb_baseline="uniform")
    yield "insertion", [], causal(task, True)
    yield "deletion", [], causal(task, False)
    yield "local-lipschitz", [f"draws={DRAWS}"], of_quantus(task, "LocalLipschitzEstimate", nr_samples=DRAWS)
    yield "max-sensitivity", [f"draws={DRAWS}"], of_quantus(task, "MaxSensitivity", nr_samples=DRAWS, lower_bound=0.02)
    yield "mprt", [f"stages={STAGES}"], of_quantus(task, "MPRT", softmax=False, return_average_correlation=True)
    yield "road", [f"shares={SHARES}"], (
        of_quantus(task, "ROAD", percentages=percentages) if channels == 1 else grad_cam)


def whyline(binary, task, title, params):
    """Seconds, forward and gradient passes of all images, and their scores."""
    metric = title.removeprefix("single-")
    given = [word for p in params for word in ("--metric-param", f"{metric}.{p}")]
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "lines.jsonl"
        command = [binary, "evaluate", task.path, task.images, "-m", "vanilla", "--metrics", metric, *given, *task.told,
                   "--threads", "1", "-q", "--json", "-", "--samples", lines]
        out = subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout
        found = [json.loads(line)["methods"]["vanilla"] for line in lines.read_text().splitlines()]
        classes = [sample["class"] for sample in found]
    if classes != task.y.tolist():
        sys.exit(f"{task.path.name}: whyline explains the classes {classes}, PyTorch {task.y.tolist()}")
    own = json.loads(out)["methods"][0]
    # A gradient's forward pass is counted among the forward passes.
    return own["seconds"], own["passes"]["forward"], own["passes"]["gradient"], [s[metric] for s in found]


def peer(task, run):
    task.forward, task.gradient, start = 0, 0, time.perf_counter()
    run()
    return time.perf_counter() - start, task.forward, task.gradient, None


def measure(binary, task, metric, params, peers, rounds):
    """Seconds per image of every engine and round, and how many passes an image took."""
    own = {"whyline": params}
    if metric in CURVES:
        own[f"whyline, tolerance {TOLERANCE}"] = [*params, f"tolerance={TOLERANCE}"]
    engines = {name: lambda params=params: whyline(binary, task, metric, params) for name, params in own.items()}
    engines |= {name: lambda run=run: peer(task, run) for name, run in peers.items()}
    times, passes, scores = {name: [] for name in engines}, {}, {}
    for number in range(rounds):
        for name in list(engines) if number % 2 == 0 else reversed(engines):
            seconds, *taken, scores[name] = engines[name]()
            times[name].append(seconds / len(task.x))
            passes[name] = " + ".join(f"{count / len(task.x):g}" for count in taken)
    exact, *within = [scores[name] for name in own]
    off = max((abs(a - b) for a, b in zip(exact, *within)), default=0) if within else None
    return times, passes, list(own), off


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--whyline", default="target/release/whyline")
    parser.add_argument("--models", nargs="*", default=["digits-cnn", "mobilenet_v2"])
    parser.add_argument("--metrics", nargs="*", help="only these")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--digits", type=int, default=10, help="images of digits-cnn; beyond ten, moved ones")
    parser.add_argument("--photos", type=int, default=2, help="images of MobileNetV2")
    parser.add_argument("--images", type=Path, help="folder of images for MobileNetV2, in place of noise")
    parser.add_argument("--cache", type=Path, help="folder for the exported model")
    parser.add_argument("--at-least", type=float, default=5, help="ratio that every median must have")
    parser.add_argument("--json", type=Path, help="write every time")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    scratch = tempfile.TemporaryDirectory()
    folder = options.cache or Path(scratch.name)
    folder.mkdir(parents=True, exist_ok=True)
    everything, rows, reached = {}, [], []
    for name in options.models:
        task = (digits(options.digits, scratch.name) if name == "digits-cnn" else
                mobilenet(options.photos, scratch.name, folder, options.images))
        for metric, params, peers in metrics(task):
            if options.metrics and metric not in options.metrics:
                continue
            times, passes, own, off = measure(options.whyline, task, metric, params, peers, options.rounds)
            everything[label := f"{name} {metric}"] = times
            print(f"\n{label:<40} {'min':>9} {'25 %':>9} {'median':>9} {'75 %':>9} {'max':>9}  s/image, passes")
            for engine, t in times.items():
                five = " ".join(f"{v:9.4f}" for v in np.percentile(t, [0, 25, 50, 75, 100]))
                print(f"  {engine:<38} {five}  {passes[engine]}")
            if off is not None:
                print(f"  scores with a tolerance are off by {off:.1e} at most")
            sys.stdout.flush()
            best = min(peers, key=lambda engine: np.median(times[engine]))
            for engine in own:
                ratios, fast = np.divide(times[best], times[engine]), np.median(times[engine])
                title = metric + engine.removeprefix("whyline")
                rows.append((name, title, passes[engine], passes[best], best, np.median(times[best]), fast, ratios))
            reached.append(max(np.median(row[-1]) for row in rows[-len(own):]))
    print("\n| model | metric | passes, forward + gradient | of the peer | peer | peer, s/image | whyline, s/image "
          "| ratio: median (min..max) |\n|---|---|---|---|---|---|---|---|")
    for name, metric, own, others, best, slow, fast, ratios in rows:
        print(f"| {name} | {metric} | {own} | {others} | {best} | {slow:.4f} | {fast:.4f} "
              f"| {np.median(ratios):.1f} ({min(ratios):.1f}..{max(ratios):.1f}) |")
    if options.json:
        options.json.write_text(json.dumps(everything))
    sys.exit(any(ratio < options.at_least for ratio in reached))


if __name__ == "__main__":
    main()
