#!/usr/bin/env python3
"""Input gradients of whyline against PyTorch, over torchvision's architectures.

Every model gets fixed random weights (nothing is downloaded), is exported to ONNX
by both of PyTorch's exporters, and is explained with

    whyline explain MODEL.onnx INPUT.npy -m vanilla --target N --npy OUT.npy --quiet

The result is compared with float64 autograd: |a - b| / |b| over the whole map.
PyTorch's own float32 gradient is scored the same way, since kinks (ReLU, max
pooling) make even a correct float32 gradient differ from the float64 one. A row
passes when its median over the inputs is at most max(1e-4, 3 x PyTorch's float32
median) and its worst input is at most 5e-2. The exit code is 1 if a row fails.

Exports and references are kept in the cache, one folder per model:

    torchscript.onnx  dynamo.onnx   the model
    input{i}.npy                    float32 [1, 3, H, W], drawn from N(0, 1)
    logits{i}.npy                   float64 logits
    grad64_{i}.npy  grad32_{i}.npy  gradient of the target's logit, by precision
    info.json                       targets, float32 errors, node counts, ops

Scoring needs only NumPy; filling the cache torchvision, onnxscript, onnxruntime.
"""

import argparse
import gc
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
import zlib
from pathlib import Path

import numpy as np

RECIPE = 1  # raise when the way weights or inputs are made changes
EXPORTERS = ("torchscript", "dynamo")
MODELS = """squeezenet1_1 mobilenet_v2 resnet18 shufflenet_v2_x1_0 mnasnet1_0
    regnet_y_400mf mobilenet_v3_large efficientnet_b0 googlenet densenet121 resnet50
    resnext50_32x4d swin_t convnext_tiny efficientnet_v2_s inception_v3 maxvit_t
    alexnet vit_b_16 vgg11_bn""".split()  # roughly by size: the quick ones come first
FLOOR, SLACK, WORST = 1e-4, 3.0, 5e-2  # what passes, see above
ORT_LIMIT = 1e-3  # largest difference between ONNX Runtime's and torch's logits
COLUMNS = ("model", "exporter", "nodes", "median", "worst",
           "torch32_median", "torch32_worst", "seconds", "verdict")


def relative(a, b):
    """|a - b| / |b| in float64."""
    b = np.asarray(b, np.float64)
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def one_line(text, limit=160):
    """The first lines of an error message, fit for a table cell."""
    lines = [line.strip() for line in str(text).splitlines() if line.strip()]
    return " / ".join(lines[:3])[:limit]


def save(path, write):
    """Writes through a temporary name: a reader never sees half a file."""
    part = path.with_name("part-" + path.name)
    write(part)
    os.replace(part, path)


def build(name, size):
    """A torchvision model with fixed random weights, in eval mode.

    torchvision's own initial values make poor tests: heads, biases and class
    tokens of zero, layer scales of 1e-6, BatchNorm that does nothing. Here every
    parameter matters, and the normalisation keeps activations around one.
    """
    import torch
    import torchvision
    from torch import nn

    torch.manual_seed(zlib.crc32(name.encode()))
    inception = name in ("googlenet", "inception_v3")
    extra = {"aux_logits": False, "init_weights": False} if inception else {}
    model = torchvision.models.get_model(name, weights=None, **extra).eval()
    model.requires_grad_(False)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
    for path, value in model.named_parameters():
        if path.endswith("layer_scale"):
            value.uniform_(0.2, 1.0)
        elif path.endswith("bias"):
            value.normal_(0.0, 0.1)
        elif value.min() == value.max():  # a normalisation's scale, or a token
            value.normal_(0.0, 0.5) if value.max() == 0 else value.uniform_(0.6, 1.4)
    # BatchNorm takes its statistics from noise; only these modules train, so dropout
    # stays off. Shifts larger than scales keep most values away from the ReLU's kink,
    # where rounding alone flips a value, which costs 1e-3 of the gradient and more.
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.weight.uniform_(0.2, 0.5)
        norm.bias.uniform_(0.6, 1.2)
        norm.bias[torch.rand(norm.bias.shape) < 0.25] *= -1
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over the batches
        norm.train()
    for _ in range(2 if norms else 0):
        model(torch.randn(4, 3, size, size) * 1.2 + 0.1)
    return model.eval()


def fingerprint(model):
    """Tells whether cached files belong to these very weights."""
    digest = hashlib.sha256(f"recipe {RECIPE}".encode())
    for key, value in model.state_dict().items():
        digest.update(key.encode() + value.numpy().tobytes())
    return digest.hexdigest()


def gradient(model, x, target=None):
    """Logits, the explained class (the largest by default) and its gradient."""
    x = x.clone().requires_grad_(True)
    logits = model(x)
    target = int(logits[0].argmax()) if target is None else target
    logits[0, target].backward()
    return logits.detach()[0].numpy(), target, x.grad.numpy()


def references(model, folder, size, count):
    """Writes inputs and gradients; returns the targets and float32's errors."""
    import torch

    targets, errors = [], []
    for i in range(count):
        x = np.random.default_rng([RECIPE, size, i]).standard_normal(
            (1, 3, size, size), dtype=np.float32)
        # The weights are float32 values, so going back from double is exact.
        logits, target, grad = gradient(model.double(), torch.from_numpy(x).double())
        grad32 = gradient(model.float(), torch.from_numpy(x), target)[2]
        if not (np.isfinite(grad).all() and np.isfinite(logits).all()):
            raise RuntimeError(f"{folder.name}, input {i}: not finite")
        if logits.std() < 1e-3 or np.count_nonzero(grad) < grad.size / 2:
            raise RuntimeError(f"{folder.name}, input {i}: degenerate")
        targets.append(target)
        errors.append(relative(grad32, grad))
        for stem, array in ((f"input{i}", x), (f"logits{i}", logits),
                            (f"grad64_{i}", grad), (f"grad32_{i}", grad32)):
            save(folder / f"{stem}.npy", lambda part, array=array: np.save(part, array))
    return {"targets": targets, "torch32": errors}


def export(model, folder, exporter):
    """Writes one ONNX file, checks its logits and describes it."""
    import onnx
    import onnxruntime
    import torch

    x = torch.from_numpy(np.load(folder / "input0.npy"))
    extra = {"external_data": False} if exporter == "dynamo" else {}
    path, part = folder / f"{exporter}.onnx", folder / f"part-{exporter}.onnx"
    path.unlink(missing_ok=True)
    torch.onnx.export(model, (x,), str(part), dynamo=exporter == "dynamo", verbose=False,
                      input_names=["input"], output_names=["logits"], **extra)
    session = onnxruntime.InferenceSession(part, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        error = relative(session.run(None, {"input": x.numpy()})[0], model(x).numpy())
    if not error <= ORT_LIMIT:
        raise RuntimeError(f"ONNX Runtime's logits differ by {error:.1e}")
    os.replace(part, path)
    proto = onnx.load(path)
    ops = {f"{n.domain}::{n.op_type}".removeprefix("::") for n in proto.graph.node}
    return {"nodes": len(proto.graph.node), "ops": sorted(ops), "ort": error,
            "opset": {o.domain or "ai.onnx": o.version for o in proto.opset_import}}


def prepare(name, folder, exporters, count):
    """Fills the cache for one model and returns its info."""
    file = folder / "info.json"
    info = json.loads(file.read_text()) if file.exists() else {}
    if (info.get("recipe") == RECIPE and len(info.get("targets", [])) >= count
            and all("nodes" in info["exports"].get(e, {}) for e in exporters)):
        return info

    import torch

    torch.set_num_threads(1)
    torch.backends.mha.set_fastpath_enabled(False)  # its fused operator has no ONNX form
    warnings.simplefilter("ignore")
    folder.mkdir(parents=True, exist_ok=True)
    started, size = time.time(), 299 if name == "inception_v3" else 224
    model = build(name, size)
    if info.get("weights") != (weights := fingerprint(model)):
        info = {"recipe": RECIPE, "weights": weights, "torch": torch.__version__, "exports": {}}
    if len(info.get("targets", [])) < count:
        info.update(references(model, folder, size, count))
    for exporter in exporters:
        if "nodes" not in info["exports"].get(exporter, {}):
            try:
                info["exports"][exporter] = export(model, folder, exporter)
            except Exception as error:  # an exporter may fail in any way it likes
                info["exports"][exporter] = {"error": one_line(error, 1000) or repr(error)}
        save(file, lambda part: part.write_text(json.dumps(info, indent=1) + "\n"))
    del model
    gc.collect()  # the exporters leave cycles behind
    print(f"{name}: prepared in {time.time() - started:.0f} s", file=sys.stderr, flush=True)
    return info


def explain(args, folder, exporter, target, i):
    """One run of the command line: the error of the map it wrote."""
    model, source = folder / f"{exporter}.onnx", folder / f"input{i}.npy"
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out.npy"
        done = subprocess.run(
            [args.whyline.resolve(), "explain", model, source, "-m", "vanilla",
             "--target", str(target), "--npy", out, "--quiet"],
            capture_output=True, text=True, errors="replace", timeout=args.timeout)
        if done.returncode != 0:
            raise RuntimeError(one_line(done.stderr) or f"exit code {done.returncode}")
        got = np.load(out)
    ref = np.load(folder / f"grad64_{i}.npy")
    if got.shape != ref.shape or got.dtype != np.float32 or not np.isfinite(got).all():
        raise RuntimeError(f"wrote {got.dtype} {got.shape}, not finite float32 {ref.shape}")
    return relative(got, ref)


def score(args, folder, exporter, info):
    """The row of one ONNX file."""
    about, torch32 = info["exports"][exporter], info["torch32"][:args.inputs]
    row = dict.fromkeys(COLUMNS) | {
        "model": folder.name, "exporter": exporter, "nodes": about.get("nodes"),
        "torch32_median": float(np.median(torch32)), "torch32_worst": max(torch32),
        "errors": [], "passed": False}
    if args.no_run or "error" in about:
        problem = about.get("error")
        return row | {"passed": not problem, "verdict": one_line(problem or "exported")}
    started = time.time()
    try:
        for i, target in enumerate(info["targets"][:args.inputs]):
            row["errors"].append(explain(args, folder, exporter, target, i))
    except (RuntimeError, OSError, ValueError, subprocess.TimeoutExpired) as error:
        return row | {"verdict": one_line(error)}
    row["seconds"] = (time.time() - started) / args.inputs
    row["median"], row["worst"] = float(np.median(row["errors"])), max(row["errors"])
    row["passed"] = (row["median"] <= max(FLOOR, SLACK * row["torch32_median"])
                     and row["worst"] <= WORST)
    return row | {"verdict": "pass" if row["passed"] else "FAIL"}


def cell(key, value):
    """One table cell."""
    if not isinstance(value, float):
        return "-" if value is None else str(value).replace("|", "\\|")
    return f"{value:.2f}" if key == "seconds" else f"{value:.1e}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--whyline", type=Path, default="target/release/whyline", help="command line to test")
    add("--cache", type=Path, default="parity-cache", help="folder of exports and references")
    add("--only", default=",".join(MODELS), metavar="MODELS", help="comma-separated")
    add("--exporter", choices=(*EXPORTERS, "both"), default="both")
    add("--inputs", type=int, default=5, help="inputs per model (default: 5)")
    add("--timeout", type=float, default=600, help="seconds per run (default: 600)")
    add("--no-run", action="store_true", help="only fill the cache")
    add("--json", type=Path, help="also write the rows to this file")
    args = parser.parse_args()
    names = args.only.split(",")
    if args.inputs < 1 or not set(names) <= set(MODELS):
        parser.error(f"--inputs is at least 1, --only takes {', '.join(MODELS)}")
    if not args.no_run and not args.whyline.is_file():
        parser.error(f"{args.whyline} is not there: build it, or name it with --whyline")
    exporters = EXPORTERS if args.exporter == "both" else (args.exporter,)
    args.cache.mkdir(parents=True, exist_ok=True)
    (args.cache / ".gitignore").write_text("*\n")
    rows = []
    print("| " + " | ".join(c.replace("_", " ") for c in COLUMNS) + " |")
    print("|" + "---|" * len(COLUMNS), flush=True)
    for name in names:
        folder = args.cache / name
        info = prepare(name, folder, exporters, args.inputs)
        for exporter in exporters:
            rows.append(row := score(args, folder, exporter, info))
            print("| " + " | ".join(cell(c, row[c]) for c in COLUMNS) + " |", flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")
    good = sum(row["passed"] for row in rows)
    print(f"\n{good} of {len(rows)} {'exported' if args.no_run else 'passed'}")
    return 0 if good == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
