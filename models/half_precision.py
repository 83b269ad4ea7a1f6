"""What half precision does to gradients: whyline beside PyTorch, each against its own float32.

    python models/half_precision.py --whyline target/release/whyline --cache DIR [--only resnet18,mobilenet_v2]

The models, their random weights and their inputs are those of `parity.py`, in the same cache. For the plain gradient and
for integrated gradients (16 steps, baseline zero) it prints the cosine to the float32 map, median and worst over the
inputs, of PyTorch with convolutions' and linear layers' weights rounded to float16, of `--precision f16-weights`, and of
`--precision f16-emulated`; three classes are explained per input. It fails where in the median stored halves turn maps
more than PyTorch's rounded weights do (by more than a quarter of the angle), or multiplied halves leave a cosine under
0.98 (0.99 for integrated gradients).
The last column is the cosine that float32 itself leaves when the input changes by a thousandth: a network whose units
flip so easily has no better map to lose. An input whose float32 gradient is zero is left out.
"""
import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import parity

MODELS = "resnet18,mobilenet_v2,squeezenet1_1,efficientnet_b0"
STEPS = 16
OTHERS = (3, 17)  # classes explained besides the predicted one
LEAST = {"vanilla": 0.98, "integrated-gradients": 0.99}


def cosine(a, b):
    a, b = a.ravel().astype(float), b.ravel().astype(float)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def ours(whyline, model, source, target, method, precision):
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "map.npy"
        steps = ["--steps", str(STEPS)] if method == "integrated-gradients" else []
        subprocess.run([whyline, "explain", model, source, "-m", method, "--target", str(target), *steps,
                        "--precision", precision, "--npy", out, "--quiet"], check=True)
        return np.load(out)


def theirs(model, x, target, method):
    import torch

    def one(point):
        return parity.gradient(model, torch.from_numpy(point), target)[2]

    if method == "vanilla":
        return one(x)
    nodes, weights = np.polynomial.legendre.leggauss(STEPS)
    parts = [w / 2 * one((x * (t + 1) / 2).astype(np.float32)) for t, w in zip(nodes, weights)]
    return x * sum(parts)


def compare(whyline, folder, name, count):
    import torch

    size = 299 if name == "inception_v3" else 224
    info = parity.prepare(name, folder, ["dynamo"], count)
    model = parity.build(name, size)
    rounded = parity.build(name, size)
    for module in rounded.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            module.weight.data = module.weight.half().float()
    failed = False
    for method, least in LEAST.items():
        found = {"PyTorch, rounded": [], "f16-weights": [], "f16-emulated": [], "input moved": []}
        for i, target in [(i, t) for i in range(count) for t in {info["targets"][i], *OTHERS}]:
            source = folder / f"input{i}.npy"
            x = np.load(source)
            single = theirs(model, x, target, method)
            if not single.any():
                continue
            noise = 1e-3 * np.random.default_rng(i).standard_normal(x.shape)
            moved = (x * (1 + noise)).astype(np.float32)
            found["input moved"].append(cosine(theirs(model, moved, target, method), single))
            found["PyTorch, rounded"].append(cosine(theirs(rounded, x, target, method), single))
            single = ours(whyline, folder / "dynamo.onnx", source, target, method, "f32")
            for precision in ("f16-weights", "f16-emulated"):
                half = ours(whyline, folder / "dynamo.onnx", source, target, method, precision)
                found[precision].append(cosine(half, single))
        angle = {kind: np.arccos(np.clip(np.median(values), -1, 1)) for kind, values in found.items()}
        good = np.median(found["f16-emulated"]) >= least
        bad = angle["f16-weights"] > 1.25 * angle["PyTorch, rounded"] or not good
        failed |= bad
        cells = [f"{kind} {np.median(values):.5f} {min(values):.5f}" for kind, values in found.items()]
        print(f"{'FAIL' if bad else 'ok  '} {name} {method}: " + "; ".join(cells), flush=True)
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--whyline", required=True, type=pathlib.Path)
    parser.add_argument("--cache", required=True, type=pathlib.Path)
    parser.add_argument("--only", default=MODELS)
    parser.add_argument("--inputs", type=int, default=5)
    args = parser.parse_args()
    whyline = args.whyline.resolve()
    failed = [compare(whyline, args.cache / name, name, args.inputs) for name in args.only.split(",")]
    sys.exit(1 if any(failed) else 0)


if __name__ == "__main__":
    main()
